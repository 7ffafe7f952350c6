"""Every kind of image file has one defined treatment, and damage is a reason, not a traceback."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from study.decoding import Target, decode_image

RED, WHITE = [255, 0, 0], [255, 255, 255]


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """A real photograph of 96 x 64 pixels."""
    return Image.fromarray(load_sample_image("china.jpg")).resize((96, 64))


def encoded(image: Image.Image, format: str, **arguments: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **arguments)
    return file.getvalue()


def pixels(content: bytes, height: int, width: int, channels: int = 3) -> np.ndarray:
    return decode_image(content, Target(height, width, channels)).pixels


def treatments(content: bytes, height: int, width: int) -> list[str]:
    return decode_image(content, Target(height, width, 3)).treatments


def test_an_image_of_the_wanted_size_is_not_touched(photograph: Image.Image) -> None:
    assert np.array_equal(pixels(encoded(photograph, "PNG"), 64, 96), np.asarray(photograph))
    assert treatments(encoded(photograph, "PNG"), 64, 96) == []


def test_an_image_of_another_size_is_scaled_to_cover_the_target_and_cropped_at_its_centre() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 255  # the middle half of the width, which is what a square crop keeps
    found = pixels(encoded(Image.fromarray(image), "PNG"), 20, 20)
    assert (found[:, 1:-1] == 255).all()
    assert found.min() > 200


def test_scaling_down_is_antialiased() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = pixels(encoded(Image.fromarray(stripes), "PNG"), 8, 8, 1)
    assert np.abs(small.astype(int) - 127).max() <= 6  # without antialiasing it would be all black or all white


def test_exif_orientation_turns_the_image_upright(photograph: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    content = encoded(photograph, "PNG", exif=exif)
    assert np.array_equal(pixels(content, 96, 64), np.asarray(photograph.transpose(Image.Transpose.ROTATE_270)))
    assert treatments(content, 96, 64) == ["turned upright as its EXIF orientation says"]


def test_a_palette_is_converted_to_its_colours() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *RED])
    assert (pixels(encoded(image, "PNG"), 8, 8) == RED).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_white_whatever_colour_they_hide(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 4, 8))
    content = encoded(image.convert(mode) if mode != "P" else image.quantize(4), "PNG")
    found = pixels(content, 8, 8)
    assert (found[:, 4:] == WHITE).all()
    assert not (found[:, :4] == WHITE).all()
    assert "transparent: laid over white" in treatments(content, 8, 8)


def test_a_png_colour_that_is_declared_transparent_is_white_too() -> None:
    content = encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert (pixels(content, 8, 8) == WHITE).all()


def test_cmyk_is_converted_to_rgb() -> None:
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert (pixels(content, 8, 8) == RED).all()
    assert treatments(content, 8, 8) == ["CMYK: converted to RGB"]


def test_of_16_bits_the_upper_8_are_taken() -> None:
    image = Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16))
    for format in ("PNG", "TIFF"):
        assert pixels(encoded(image, format), 1, 4, 1).ravel().tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.array([[0.0, 1.0]], np.float32), "its pixels are floating-point numbers, whose range is not known"),
        (np.array([[0, 1 << 20]], np.int32), "its pixels are 32-bit integers, whose range is not known"),
    ],
)
def test_pixels_whose_range_is_not_known_are_refused(image: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pixels(encoded(Image.fromarray(image), "TIFF"), 1, 2)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert np.abs(pixels(content, 8, 8).astype(int) - RED).max() <= 3
    assert "animated: the first frame is taken" in treatments(content, 8, 8)


def test_a_grey_target_keeps_one_channel(photograph: Image.Image) -> None:
    grey = photograph.convert("L")
    assert np.array_equal(pixels(encoded(grey, "PNG"), 64, 96, 1)[:, :, 0], np.asarray(grey))


def test_a_very_long_image_is_cropped_without_a_huge_intermediate() -> None:
    assert pixels(encoded(Image.new("L", (60_000, 2), 7), "PNG"), 64, 64, 1).mean() == 7


# Damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: b"", "no image"),
        (lambda content: b"a text that is called an image", "no image"),
        (lambda content: content[: len(content) // 2], "truncated"),
        (lambda content: content[:40], "."),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "TIFF", "WEBP"])
def test_damage_is_a_value_error_with_a_reason_of_one_line(
    photograph: Image.Image, damage: object, reason: str, format: str
) -> None:
    with pytest.raises(ValueError, match=reason if format in ("PNG", "JPEG") else ".") as raised:
        pixels(damage(encoded(photograph, format)), 64, 96)  # type: ignore[operator]
    assert "\n" not in str(raised.value)


def test_random_damage_never_raises_anything_else(photograph: Image.Image) -> None:
    random, messages = np.random.default_rng(0), []
    for format in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        content = np.frombuffer(encoded(photograph, format), np.uint8)
        for _ in range(40):
            damaged = content.copy()
            damaged[random.integers(0, len(content), 20)] = random.integers(0, 256, 20)
            try:
                assert pixels(damaged.tobytes(), 64, 96).shape == (64, 96, 3)
            except ValueError as error:
                messages.append(str(error))
    assert len(messages) > 10
    assert all(messages)


def test_the_processes_that_decode_load_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "pyarrow", "sklearn", "optuna", "study.data"}
    check = f"import sys, study.decoding; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=True, capture_output=True).stdout == b"[]\n"
