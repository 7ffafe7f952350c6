"""A folder of one's own images: its layouts, its order, and everything that can be wrong with it."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from study import data
from study.data import DataOptions, Dataset, test_set
from study.data.test_set import Opening
from study.errors import DataError

OPENING = Opening("run", "winner", 0, "recipe")


def save(path: Path, image: np.ndarray | Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return path


def plain(value: int) -> Image.Image:
    return Image.new("L", (8, 8), value)


def load(root: Path, **options: object) -> Dataset:
    # Beside the images, as it is for a user.
    data_dir = root.parent / "data"
    return data.load(str(root), DataOptions(data_dir, **options), lambda line: None)  # type: ignore[arg-type]


def values(dataset: Dataset) -> list[int]:
    return dataset.training.images[:, 0, 0, 0].tolist()


def test_images_come_by_file_name_across_classes_and_classes_by_name(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for number, name in enumerate(["dog", "cat", "dog", "cat"]):
        save(root / "train" / name / f"{number:03d}.png", plain(number))
        save(root / "test" / name / f"{number:03d}.png", plain(100 + number))
    dataset = load(root)
    assert dataset.class_names == ("cat", "dog")
    assert values(dataset) == [0, 1, 2, 3]
    assert dataset.training.labels.tolist() == [1, 0, 1, 0]
    assert dataset.names[1] == "train/cat/001.png"
    assert test_set.open_test_set(dataset, [OPENING]).images[:, 0, 0, 0].tolist() == [100, 101, 102, 103]


def test_classes_whose_names_are_numbers_come_by_number(tmp_path: Path) -> None:
    for name in ("10", "9", "2"):
        for number in range(2):
            save(tmp_path / "images" / "train" / name / f"{number}.png", plain(0))
            save(tmp_path / "images" / "test" / name / f"{number}.png", plain(0))
    assert load(tmp_path / "images").class_names == ("2", "9", "10")


@pytest.mark.parametrize("folder", ["val", "validation", "Valid"])
def test_validation_images_that_are_given_are_the_validation_split(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "images"
    for part, count in (("train", 4), (folder, 2), ("test", 1)):
        for label, name in enumerate(["a", "b"]):
            for number in range(count):
                save(root / part / name / f"{number}.png", plain(100 * label + number))
    train, validation = load(root).split()
    assert np.bincount(train.labels).tolist() == [4, 4]
    assert np.bincount(validation.labels).tolist() == [2, 2]


def test_without_test_images_a_share_of_each_class_is_set_aside_and_sealed(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for label, name in enumerate(["a", "b"]):
        for number in range(20 * (label + 1)):
            save(root / name / f"{number:02d}.png", plain(100 * label + number))
    dataset = load(root)
    test = test_set.open_test_set(dataset, [OPENING])
    assert np.bincount(test.labels).tolist() == [4, 8]
    assert not set(test.images[:, 0, 0, 0].tolist()) & set(values(dataset))
    assert len(values(dataset)) == 48
    assert "12 of 60 are set aside and sealed (test_share 0.2, split_seed 10)" in dataset.notes[0]
    assert values(load(root)) == values(dataset)
    assert values(load(root, split_seed=11)) != values(dataset)


def test_without_test_images_none_of_those_set_aside_is_opened_by_training_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "images"
    for name in ("a", "b"):
        for number in range(10):
            save(root / name / f"{number}.png", plain(number))
    sealed: list[str] = []

    def seal(sources: object, *arguments: object) -> object:
        sealed.extend(source.name for source in sources)  # type: ignore[attr-defined]
        return original(sources, *arguments)  # type: ignore[arg-type]

    original = test_set.seal
    monkeypatch.setattr(test_set, "seal", seal)
    dataset = load(root)
    assert len(sealed) == 4
    assert not set(sealed) & set(dataset.names)


# Faults, one of each kind, planted in a folder of real images: three classes, unequal in number, grey, of odd sizes


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Crops of two photographs in scikit-learn; the third class is rare."""
    root, random = tmp_path / "images", np.random.default_rng(0)
    for part, counts in {
        "train": {"sky": 20, "flower": 10, "roof": 4},
        "test": {"sky": 5, "flower": 3, "roof": 2},
    }.items():
        for name, count in counts.items():
            photograph = load_sample_image("flower.jpg" if name == "flower" else "china.jpg").mean(2).astype(np.uint8)
            top = {"sky": 0, "flower": 100, "roof": 150}[name]
            for number in range(count):
                height, width = random.integers(41, 90, 2)
                y, x = top + random.integers(0, 60), random.integers(0, 500)
                save(root / part / name / f"{number:02d}.png", photograph[y : y + height, x : x + width])
    return root


def test_the_planted_folder_is_read_before_any_fault_is_planted(planted: Path) -> None:
    dataset = load(planted)
    assert (dataset.spec.height, dataset.spec.width, dataset.spec.channels, dataset.spec.num_classes) == (64, 64, 1, 3)
    assert np.bincount(dataset.training.labels).tolist() == [10, 4, 20]
    assert dataset.notes == (dataset.notes[0],)
    assert dataset.notes[0].endswith("wide; they are scaled, and cropped where need be, to 64 x 64")


def test_every_treatment_is_reported_with_its_files(planted: Path) -> None:
    folder = planted / "train" / "roof"
    image = Image.open(folder / "00.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("P").save(folder / "palette.png")
    image.convert("RGBA").save(folder / "transparent.png")
    image.convert("CMYK").save(folder / "print.tif")
    Image.fromarray(np.asarray(image).astype(np.uint16) * 257).save(folder / "sixteen.png")
    image.save(folder / "moving.gif", save_all=True, append_images=[image.rotate(90)])
    image.save(folder / "misnamed.png", "JPEG")
    image.save(folder / ("Ünïcode 猫" + "x" * 180 + ".png"))
    save(folder / "deeper" / "still" / "nested.png", image)
    (folder / ".hidden.png").write_bytes(b"not shown by the file manager")
    (folder / "Thumbs.db").write_bytes(b"left by Windows")
    (folder / "notes.txt").write_text("no image")
    (planted / "readme.md").write_text("no image")
    (planted / "sketches").mkdir()
    (folder / "loop").symlink_to(planted, target_is_directory=True)
    dataset = load(planted)
    for treatment, name in {
        "turned upright as its EXIF orientation says": "turned.jpg",
        "palette: converted to RGB": "palette.png",
        "transparent: laid over white": "transparent.png",
        "CMYK: converted to RGB": "print.tif",
        "16-bit: the upper 8 bits are taken": "sixteen.png",
        "animated: the first frame is taken": "moving.gif",
        "named as another format: read by the content": "misnamed.png",
    }.items():
        line = next(line for line in dataset.notes if treatment in line)
        assert f"train/roof/{name}" in line
    ignored = next(line for line in dataset.notes if "ignored" in line)
    assert ignored.startswith("4 ignored")
    for name in ("notes.txt", "readme.md", "sketches", "roof/loop (a link to a folder above it)"):
        assert name in ignored
    assert np.bincount(dataset.training.labels)[1] == 4 + 9
    assert dataset.spec.channels == 3  # the palette and the CMYK image are no grey ones


@pytest.fixture
def damaged(planted: Path) -> Path:
    train, test = planted / "train" / "sky", planted / "test" / "sky"
    content = (train / "00.png").read_bytes()
    (train / "truncated.png").write_bytes(content[: len(content) // 2])
    (train / "empty.png").touch()
    (train / "text.jpg").write_text("no image")
    (train / "gone.png").symlink_to(planted / "nothing")
    (test / "truncated.png").write_bytes(content[: len(content) // 2])
    save(train / "floating.tif", np.zeros((9, 9), np.float32))
    os.mkfifo(train / "pipe.png")
    return planted


def test_files_that_cannot_be_read_are_refused_all_at_once_with_their_reasons(damaged: Path) -> None:
    with pytest.raises(DataError) as raised:
        load(damaged)
    message = str(raised.value)
    assert message.startswith("7 files cannot be read: ")
    assert message.endswith("; fix them, or give --skip-unreadable")
    assert "\n" not in message
    for name, reason in {
        "train/sky/truncated.png": "image file is truncated",
        "train/sky/empty.png": "no image",
        "train/sky/text.jpg": "no image",
        "train/sky/gone.png": "no such file",
        "train/sky/floating.tif": "its pixels are floating-point numbers",
        "train/sky/pipe.png": "not a file",
        "test/sky/truncated.png": "image file is truncated",
    }.items():
        assert f"{name} ({reason}" in message


def test_skip_unreadable_leaves_them_out_and_says_which(damaged: Path) -> None:
    dataset = load(damaged, skip_unreadable=True)
    assert np.bincount(dataset.training.labels).tolist() == [10, 4, 20]
    assert "7 files that cannot be read left out: train/sky/empty.png (no image" in "\n".join(dataset.notes)
    assert len(test_set.open_test_set(dataset, [OPENING]).labels) == 10


def test_more_than_ten_unreadable_files_are_ten_and_a_count(planted: Path) -> None:
    for number in range(13):
        (planted / "train" / "sky" / f"empty{number}.png").touch()
    with pytest.raises(DataError, match=r"13 files cannot be read: .* and 3 more; fix them"):
        load(planted)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: (root / "train" / "empty").mkdir(), r"class folder .*train/empty has no images; add some"),
        (lambda root: save(root / "test" / "ghost" / "0.png", plain(0)), "test images of a class that has no training"),
        (lambda root: (root / "train").rename(root / "other"), "has test and no train; give the training images a"),
        (lambda root: save(root / "Training" / "sky" / "0.png", plain(0)), "has two folders for the same split"),
    ],
)
def test_a_folder_whose_layout_is_wrong_is_refused_in_one_line(planted: Path, prepare: object, message: str) -> None:
    prepare(planted)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        load(planted)


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "cat" / "0.png", plain(0))
    save(tmp_path / "images" / "cat" / "1.png", plain(0))
    with pytest.raises(DataError, match="there is one class only, cat; a classifier needs two or more"):
        load(tmp_path / "images")


def test_a_folder_without_class_folders_is_refused_with_the_layouts(tmp_path: Path) -> None:
    save(tmp_path / "images" / "0.png", plain(0))
    with pytest.raises(DataError, match=r"has no class folders; images are expected at train/CLASS/\*"):
        load(tmp_path / "images")


def test_a_path_that_does_not_exist_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is neither a name nor a path that exists; allowed: cifar10, "):
        load(tmp_path / "nothing")


def test_one_name_in_two_unicode_spellings_is_one_class(tmp_path: Path) -> None:
    for part, name in (("train", "cafe\u0301"), ("train", "tea"), ("test", "caf\u00e9")):
        save(tmp_path / "images" / part / name / "0.png", plain(0))
    assert load(tmp_path / "images").class_names == ("caf\u00e9", "tea")


def test_a_name_that_is_no_unicode_can_be_read_and_shown(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in ("a", "b"):
        save(root / "train" / name / "0.png", plain(0))
        save(root / "test" / name / "0.png", plain(0))
    name = os.fsdecode(b"\xff.png")
    (root / "train" / "a" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"1 file cannot be read: train/a/\\udcff.png \(no image"):
        load(root)
    (root / "train" / "a" / name).write_bytes((root / "train" / "a" / "0.png").read_bytes())
    assert len(load(root).training.labels) == 3


def test_an_image_file_that_is_called_by_its_content_only_is_ignored_and_said(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in ("a", "b"):
        save(root / "train" / name / "0.png", plain(0))
        save(root / "test" / name / "0.png", plain(0))
    encoded = io.BytesIO()
    plain(1).save(encoded, "PNG")
    (root / "train" / "a" / "noname").write_bytes(encoded.getvalue())
    assert load(root).notes == ("1 ignored, no images by their names or places: a/noname",)
