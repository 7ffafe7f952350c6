import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from study.data.dataset import CIFAR10, ImageSpec, Split
from study.errors import RecipeError, WeightsError
from study.recipe import BASELINE, RECIPES, Recipe
from study.training import models
from study.training.checks import check_recipe
from study.training.loop import Training
from study.training.models.fast import BIAS_SCALE, whitening_filters

IMAGES = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
FAST = RECIPES["fast"].with_fields({"channels": "24-16-16-16"})
RECIPE_OF = {
    "baseline": BASELINE,
    "four blocks": Recipe(channels="8-8-16-16", padding="same", batch_norm=True, dropout=0.2, hidden="32-16"),
    "fast": FAST,
    "fast without whitening": FAST.with_fields({"whitening": False}),
    "resnet18": Recipe(model="resnet18"),
    "vgg11_bn": Recipe(model="vgg11_bn"),
    "vgg16_bn": Recipe(model="vgg16_bn"),
}


def built(recipe: Recipe, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.build(recipe, CIFAR10, IMAGES)


@pytest.mark.parametrize("name", RECIPE_OF)
def test_every_network_gives_ten_logits_and_learns_with_all_that_is_not_frozen(name: str) -> None:
    model = built(RECIPE_OF[name])
    logits = model(IMAGES[:8])
    assert logits.shape == (8, 10)
    F.cross_entropy(logits, torch.arange(8)).backward()
    for parameter in model.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) > 1000


@pytest.mark.parametrize("name", ["baseline", "fast without whitening", "resnet18", "vgg11_bn"])
def test_the_seed_fixes_the_initial_weights(name: str) -> None:
    one, same, other = (built(RECIPE_OF[name], seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("name", "millions"),
    # kuangliu/pytorch-cifar's ResNet-18; the table of Simonyan & Zisserman less its fully connected layers.
    [("resnet18", 11.17), ("vgg11_bn", 9.23), ("vgg16_bn", 14.73)],
)
def test_large_networks_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    model = built(RECIPE_OF[name])
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_resnet_sees_the_small_image_at_full_size() -> None:
    model = built(RECIPE_OF["resnet18"])
    shapes: list[torch.Size] = []
    for name in ("layer1", "layer4"):
        model.get_submodule(name).register_forward_hook(lambda *call: shapes.append(call[2].shape[2:]))
    model(IMAGES[:2])
    assert shapes == [(32, 32), (4, 4)]


@pytest.mark.parametrize("recipe", [Recipe(dropout=0.5), Recipe(model="vgg11_bn", dropout=0.5)])
def test_dropout_acts_in_training_only(recipe: Recipe) -> None:
    model = built(recipe)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    assert not torch.equal(model(IMAGES[:2]), model(IMAGES[:2]))
    model.eval()
    assert torch.equal(model(IMAGES[:2]), model(IMAGES[:2]))


def test_whitening_filters_leave_patches_uncorrelated_with_unit_variance() -> None:
    mixed = F.avg_pool2d(IMAGES, 3, stride=1, padding=1) + IMAGES.mean(1, keepdim=True)
    filters = whitening_filters(mixed, 24)
    assert torch.equal(filters[12:], -filters[:12])
    out = F.conv2d(mixed, filters[:12]).transpose(0, 1).flatten(1)
    assert torch.allclose(out @ out.T / out.shape[1], torch.eye(12), atol=0.05)


def test_fewer_whitening_filters_are_the_ones_of_largest_variance() -> None:
    mixed = F.avg_pool2d(IMAGES, 3, stride=1, padding=1)
    assert torch.equal(whitening_filters(mixed, 8)[:4], whitening_filters(mixed, 24)[:4])
    norms = whitening_filters(mixed, 24)[:12].flatten(1).norm(dim=1)
    assert torch.all(norms.diff() >= 0)


def test_grey_images_have_as_many_whitening_filters_as_their_patches_allow() -> None:
    grey = ImageSpec(32, 32, 1, 10, (0.5,), (0.5,))
    check_recipe(FAST, grey)
    model = models.build(FAST, grey, IMAGES[:, :1])
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d)).weight
    assert torch.equal(first, whitening_filters(IMAGES[:, :1], 8))
    assert model(IMAGES[:4, :1]).shape == (4, 10)
    with pytest.raises(RecipeError, match="the first even and at most 24 with whitening"):
        check_recipe(FAST.with_fields({"channels": "26-16-16-16"}), grey)


def test_the_whitening_layer_is_frozen_and_without_whitening_it_is_trained() -> None:
    first = next(built(FAST).parameters())
    assert torch.equal(first, whitening_filters(IMAGES, 24))
    assert not first.requires_grad
    assert next(built(RECIPE_OF["fast without whitening"]).parameters()).requires_grad


def test_the_biases_of_the_fast_network_move_sixty_four_times_as_far() -> None:
    scaled = next(layer for layer in built(FAST) if isinstance(layer, nn.BatchNorm2d))
    plain = nn.BatchNorm2d(16, affine=True)
    images = torch.randn(4, 16, 5, 5)
    moved = []
    for layer, factor in ((scaled, BIAS_SCALE), (plain, 1.0)):
        (layer(images) * torch.arange(16).view(1, 16, 1, 1)).sum().backward()
        assert layer.bias.grad is not None
        moved.append(layer.bias.grad * factor)
    assert torch.allclose(moved[0], 64 * moved[1])
    assert torch.equal(scaled.running_mean, plain.running_mean)


@pytest.mark.parametrize(
    ("channels", "whitening"), [("8-16", True), ("24-32-64-64-64", False), ("23-8-8-8", True), ("26-8-8-8", True)]
)
def test_widths_that_the_fast_network_cannot_have_are_refused(channels: str, whitening: bool) -> None:
    with pytest.raises(RecipeError, match=f"'channels' is '{channels}'; allowed where model is 'fast': four widths"):
        check_recipe(Recipe(model="fast", channels=channels, whitening=whitening), CIFAR10)


@pytest.fixture
def weights_folder(tmp_path: Path) -> Iterator[Path]:
    """Torch's cache of weights, empty and by itself."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


PRETRAINED = Recipe(model="resnet18", pretrained=True)


def test_pretrained_weights_are_taken_from_torch_s_cache(weights_folder: Path) -> None:
    from torchvision.models import resnet18

    weights_folder.mkdir()
    torch.manual_seed(5)
    imagenet = resnet18().state_dict()
    torch.save(imagenet, weights_folder / "resnet18-f37072fd.pth")
    models.require_weights(PRETRAINED)
    state = built(PRETRAINED).state_dict()
    fresh = built(PRETRAINED.with_fields({"pretrained": False})).state_dict()
    for name, value in state.items():
        if name == "conv1.weight":
            assert torch.equal(value, imagenet[name][:, :, 2:5, 2:5])
        elif name.startswith("fc."):
            assert torch.equal(value, fresh[name])
        else:
            assert torch.equal(value, imagenet[name])


def test_pretrained_vgg_takes_the_convolutions(weights_folder: Path) -> None:
    recipe = Recipe(model="vgg11_bn")
    weights_folder.mkdir()
    features = built(recipe, seed=5).get_submodule("0").state_dict()
    content = {f"features.{name}": value for name, value in features.items()} | {"classifier.0.weight": torch.ones(1)}
    torch.save(content, weights_folder / "vgg11_bn-6002323d.pth")
    loaded = built(recipe.with_fields({"pretrained": True})).get_submodule("0").state_dict()
    assert all(torch.equal(loaded[name], features[name]) for name in features)


def test_weights_that_cannot_be_downloaded_are_asked_for_by_file_and_folder(
    weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(WeightsError) as error:
        models.require_weights(PRETRAINED)
    message = str(error.value)
    assert "ResNet18_Weights.IMAGENET1K_V1" in message
    assert f"put the file resnet18-f37072fd.pth into {weights_folder}" in message
    assert "no route to host" in message
    assert "\n" not in message
    with pytest.raises(WeightsError):
        built(PRETRAINED)


def test_a_damaged_weights_file_is_named(weights_folder: Path) -> None:
    weights_folder.mkdir()
    (weights_folder / "resnet18-f37072fd.pth").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="cannot be read") as error:
        models.require_weights(PRETRAINED)
    assert "\n" not in str(error.value)


def test_no_weights_are_asked_for_where_none_are_used(weights_folder: Path) -> None:
    models.require_weights(Recipe(model="resnet18"))
    models.require_weights(Recipe(model="cnn", pretrained=True))
    assert not weights_folder.exists()


def test_torchvision_is_loaded_for_its_own_networks_only() -> None:
    code = (
        "import sys, torch\n"
        "from study.data.dataset import CIFAR10\nfrom study.training import loop, models\n"
        "from study.recipe import BASELINE, RECIPES\n"
        "for name in ('baseline', 'fast'): models.build(RECIPES[name], CIFAR10, torch.randn(4, 3, 32, 32))\n"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_family_trains_with_every_augmentation_in_either_precision() -> None:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8), np.arange(24) % 10)
    everything = {"translate": 4, "flip": "alternating", "jitter": 0.2, "cutout": 8, "mixup": 0.2, "cutmix": 1.0}
    predicted = {}
    for precision in ("float32", "bfloat16"):
        for recipe in (BASELINE, FAST):
            fields = {**everything, "precision": precision, "epochs": 2, "batch_size": 10}
            training = Training(recipe.with_fields(fields), split, split)
            assert len(list(training)) == 2
            predicted[precision, recipe.model] = torch.from_numpy(training.predict(split.images))
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in predicted.values())
    for model in ("cnn", "fast"):
        assert not torch.equal(predicted["float32", model], predicted["bfloat16", model])
        assert torch.allclose(predicted["float32", model], predicted["bfloat16", model], atol=0.3)
