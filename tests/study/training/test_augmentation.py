import numpy as np
import pytest
import torch

from study.recipe import Recipe
from study.training import augmentation as augment
from study.training.augmentation import cutout, jitter


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))


INDEX = torch.arange(40)


def channels_first(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(0, 3, 1, 2)


def test_without_augmentation_a_batch_is_the_images_at_the_index(pixels: torch.Tensor) -> None:
    index = torch.tensor([3, 1, 1])
    assert torch.equal(augment.gather(pixels, index, Recipe(), 1), channels_first(pixels[index]))


def test_a_random_flip_mirrors_some_images_and_leaves_the_others(pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    flipped = augment.gather(pixels, INDEX, Recipe(flip="random"), 1)
    straight, mirrored = channels_first(pixels), channels_first(pixels).flip(3)
    kept = [torch.equal(flipped[i], straight[i]) for i in range(40)]
    assert all(torch.equal(flipped[i], straight[i] if kept[i] else mirrored[i]) for i in range(40))
    assert 10 < sum(kept) < 30


def test_an_alternating_flip_shows_the_other_side_in_the_next_epoch(pixels: torch.Tensor) -> None:
    odd, even, again = (augment.gather(pixels, INDEX, Recipe(flip="alternating"), epoch) for epoch in (1, 2, 3))
    assert torch.equal(odd, even.flip(3))
    assert torch.equal(odd, again)
    mirrored = sum(torch.equal(odd[i], channels_first(pixels)[i].flip(2)) for i in range(40))
    assert 5 < mirrored < 35


def test_translation_shifts_each_image_by_its_own_few_pixels_and_reflects_the_edge(pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    shifted = augment.gather(pixels, INDEX, Recipe(translate=2), 1)
    padded = torch.nn.functional.pad(channels_first(pixels).float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    shifts = set()
    for i in range(40):
        found = [
            (y, x) for y in range(5) for x in range(5) if torch.equal(shifted[i], padded[i, :, y : y + 32, x : x + 32])
        ]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 10


def test_cutout_blanks_one_square_of_each_image_also_over_the_edge() -> None:
    torch.manual_seed(0)
    blanked = cutout(torch.ones(200, 3, 32, 32), 6) == 0
    areas = blanked[:, 0].flatten(1).sum(1)
    assert torch.equal(blanked[:, 0], blanked[:, 1])
    assert areas.max() == 36
    assert 9 <= areas.min() < 36
    rows, columns = blanked[:, 0].any(2).sum(1), blanked[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, areas)


def test_jitter_leaves_the_pixels_alone_when_off(pixels: torch.Tensor) -> None:
    images = channels_first(pixels)
    assert augment.augment(images, Recipe(), "pixels") is images


def test_jitter_scales_a_grey_image_by_its_brightness_only() -> None:
    """On one flat grey, contrast and saturation have nothing to act on."""
    torch.manual_seed(0)
    jittered = jitter(torch.full((300, 3, 32, 32), 100, dtype=torch.uint8), 0.4)
    factors = jittered[:, 0, 0, 0] / 100
    assert torch.allclose(jittered, 100 * factors.view(-1, 1, 1, 1).expand_as(jittered), atol=0.01)
    assert 0.6 <= factors.min() < 0.65
    assert 1.35 < factors.max() <= 1.4


def test_jitter_changes_contrast_about_the_mean_grey_and_saturation_about_each_pixels_own() -> None:
    torch.manual_seed(0)
    images = torch.randint(90, 130, (50, 3, 32, 32), dtype=torch.uint8)
    before, after = images.float(), jitter(images, 0.2)
    grey, grey_after = (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2] for x in (before, after))
    brightness = grey_after.mean((1, 2)) / grey.mean((1, 2))
    contrast = grey_after.std((1, 2)) / grey.std((1, 2)) / brightness
    colour, colour_after = before[:, 0] - before[:, 2], after[:, 0] - after[:, 2]
    saturation = colour_after.std((1, 2)) / colour.std((1, 2)) / brightness / contrast
    for factor in (brightness, contrast, saturation):
        assert 0.79 < factor.min() < 0.85
        assert 1.15 < factor.max() < 1.21


def test_jitter_stays_within_the_range_of_pixels() -> None:
    torch.manual_seed(0)
    jittered = jitter(torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8), 1.0)
    assert jittered.dtype == torch.float32
    assert (jittered.min(), jittered.max()) == (0, 255)


def constant_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is i all over, with label i modulo 10."""
    number = torch.arange(200.0)
    return number.view(-1, 1, 1, 1).expand(-1, 3, 32, 32), number.long() % 10


def shares(targets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each image's share of its own label; the rest must be its neighbour's."""
    own = targets.gather(1, labels[:, None])[:, 0]
    neighbours = targets.gather(1, labels.roll(1)[:, None])[:, 0]
    assert torch.allclose(own + neighbours, torch.ones(len(labels)))
    assert torch.allclose(targets.sum(1), torch.ones(len(labels)))
    return own


def test_without_mixup_and_cutmix_images_and_labels_pass_through() -> None:
    images, labels = constant_images()
    assert augment.blend(images, labels, Recipe(), 10) == (images, labels)


def test_mixup_blends_neighbours_in_the_proportion_of_their_targets() -> None:
    torch.manual_seed(0)
    images, labels = constant_images()
    blended, targets = augment.blend(images, labels, Recipe(mixup=1.0), 10)
    own = shares(targets, labels)
    expected = own * images[:, 0, 0, 0] + (1 - own) * images.roll(1, 0)[:, 0, 0, 0]
    assert torch.allclose(blended, expected.view(-1, 1, 1, 1).expand_as(blended), atol=1e-3)
    assert own.min() < 0.1
    assert own.max() > 0.9


def test_a_small_alpha_hardly_mixes() -> None:
    torch.manual_seed(0)
    images, labels = constant_images()
    own = shares(augment.blend(images, labels, Recipe(mixup=0.05), 10)[1], labels)
    assert ((own < 0.1) | (own > 0.9)).float().mean() > 0.7


def test_cutmix_pastes_a_square_of_the_neighbour_and_targets_are_the_areas() -> None:
    torch.manual_seed(0)
    images, labels = constant_images()
    cut, targets = augment.blend(images, labels, Recipe(cutmix=1.0), 10)
    own = shares(targets, labels)
    pasted = cut != images
    assert torch.equal(cut[pasted], images.roll(1, 0)[pasted])
    assert torch.allclose(pasted.float().mean((1, 2, 3)), 1 - own)
    rows, columns = pasted[:, 0].any(2).sum(1), pasted[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, pasted[:, 0].sum((1, 2)))
    assert len(own.unique()) > 100


def test_with_mixup_and_cutmix_each_batch_has_one_of_the_two() -> None:
    torch.manual_seed(0)
    images, labels = constant_images()
    kinds = set()
    for _ in range(20):
        blended, _ = augment.blend(images, labels, Recipe(mixup=1.0, cutmix=1.0), 10)
        kinds.add(bool((blended == blended.round()).all()))
    assert kinds == {True, False}


EVERYTHING = Recipe(flip="random", translate=4, jitter=0.4, cutout=8, mixup=1.0, cutmix=1.0)


def test_the_seed_fixes_every_augmentation(pixels: torch.Tensor) -> None:
    def augmented(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        images = augment.augment(augment.gather(pixels, INDEX, EVERYTHING, 1), EVERYTHING, "pixels")
        images = augment.augment(images, EVERYTHING, "normalized")
        return torch.cat([part.flatten(1) for part in augment.blend(images, INDEX % 10, EVERYTHING, 10)], dim=1)

    assert torch.equal(augmented(0), augmented(0))
    assert not torch.equal(augmented(0), augmented(1))
