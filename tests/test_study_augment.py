import numpy as np
import pytest
import torch

from study import augment
from study.recipe import Recipe


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
    blanked = augment.recolour(torch.ones(200, 3, 32, 32), Recipe(cutout=6)) == 0
    areas = blanked[:, 0].flatten(1).sum(1)
    assert torch.equal(blanked[:, 0], blanked[:, 1])
    assert areas.max() == 36
    assert 9 <= areas.min() < 36
    rows, columns = blanked[:, 0].any(2).sum(1), blanked[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, areas)
