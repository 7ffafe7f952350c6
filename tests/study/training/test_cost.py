import io
from itertools import product

import pytest
import torch
from torch import nn

from study.data.dataset import CIFAR10, ImageSpec
from study.recipe import BASELINE, RECIPES, Recipe
from study.training import cost, models
from study.training.cost import Counts, costs_of, count_costs, measure_costs

GREY = ImageSpec(8, 8, 1, 2, (0.5,), (0.5,))


def written(network: nn.Module) -> int:
    """Bytes of its weights as a run keeps them."""
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return len(file.getvalue())


def test_parameters_and_multiply_adds_are_those_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    # 36 positions x 4 filters x 9 pixels, and 144 x 2.
    assert count_costs(network, GREY) == Counts(4 * 9 + 4 + 288 + 2, 36 * 4 * 9 + 288, written(network))


def test_the_network_stays_in_its_mode_and_keeps_its_statistics() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2)).train()
    before = network[1].running_mean.clone()
    measure_costs(network, GREY)
    assert network.training
    assert torch.equal(network[1].running_mean, before)


def test_resnet18_for_small_images_has_the_costs_of_the_literature() -> None:
    """kuangliu/pytorch-cifar: 11.17 M parameters, 0.56 G multiply-adds."""
    [found] = costs_of([Recipe(model="resnet18")], CIFAR10)
    assert found.parameters == 11_173_962
    assert found.multiply_adds == pytest.approx(0.56e9, rel=0.01)


def test_networks_without_values_cost_what_real_ones_cost() -> None:
    recipes = [BASELINE, RECIPES["fast"], RECIPES["tutorial"], Recipe(padding="same", batch_norm=True, dropout=0.5)]
    for recipe, counted in zip(recipes, costs_of(recipes, CIFAR10), strict=True):
        real = models.build(recipe, CIFAR10, torch.randn(8, 3, 32, 32))
        assert counted == count_costs(real, CIFAR10), recipe


def test_recipes_that_differ_only_in_training_share_a_network() -> None:
    cost._count.cache_clear()
    recipes = [
        Recipe(lr=lr, seed=seed, optimizer=name, cutout=4)
        for lr, seed, name in product((0.1, 0.2), range(50), ("sgd", "adamw"))
    ]
    assert set(costs_of([*recipes, Recipe(hidden="64")], CIFAR10)) == {
        *costs_of([BASELINE], CIFAR10),
        *costs_of([Recipe(hidden="64")], CIFAR10),
    }
    assert cost._count.cache_info().misses == 2


def test_counting_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    costs_of([Recipe(hidden="77")], CIFAR10)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_file_size_of_a_network_without_values_is_that_of_the_file() -> None:
    for recipe in (BASELINE, Recipe(padding="same", batch_norm=True)):
        [found] = costs_of([recipe], CIFAR10)
        assert found.file_bytes == written(models.build(recipe, CIFAR10, torch.randn(8, 3, 32, 32)))


def test_measured_costs_name_file_size_times_and_where_they_were_measured() -> None:
    network = models.build(BASELINE, CIFAR10, torch.empty(0))
    found = measure_costs(network, CIFAR10)
    assert found.file_bytes >= 4 * found.parameters
    assert 0 < found.seconds_batch_1 < found.seconds_batch_64
    assert (found.device, found.threads) == ("cpu", torch.get_num_threads())
    assert set(found.as_dict()) == {
        "parameters", "multiply_adds", "file_bytes", "seconds_batch_1", "seconds_batch_64", "device", "threads",
    }  # fmt: skip
