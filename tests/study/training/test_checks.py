"""What is found before any training: recipes that do not fit the images, networks and options that do not work."""

import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from study.data.dataset import CIFAR10, ImageSpec
from study.errors import ModelError, RecipeError, StudyError, WeightsError
from study.recipe import Recipe
from study.training import models
from study.training.checks import check_network, check_recipe
from study.training.references import OBJECTS, reference_of

VIT = f"{Path(__file__).parents[3] / 'docs/examples/vit.py'}:ViT"
SMALL_GREY = ImageSpec(8, 8, 1, 10, (0.3,), (0.4,))
TALL = ImageSpec(40, 24, 3, 5, (0.5,) * 3, (0.25,) * 3)
LARGE = ImageSpec(96, 112, 3, 4, (0.5,) * 3, (0.25,) * 3)


def test_blocks_that_use_up_all_pixels_are_refused() -> None:
    with pytest.raises(RecipeError, match="no pixels of 32 x 32 are left after block 4"):
        check_recipe(Recipe(channels="8-8-8-8", kernel=5, padding="valid"), CIFAR10)
    with pytest.raises(RecipeError, match="no pixels of 8 x 8 are left after block 2"):
        check_recipe(Recipe(channels="8-8", kernel=5), SMALL_GREY)


def test_the_baseline_fits_images_of_8_x_8() -> None:
    check_recipe(Recipe(), SMALL_GREY)


def test_a_shift_beyond_the_image_is_refused_with_the_largest_that_is_allowed() -> None:
    check_recipe(Recipe(translate=7), SMALL_GREY)
    with pytest.raises(RecipeError, match=r"'translate' is 8; allowed for images of 8 x 8: an integer in \[0, 7\]"):
        check_recipe(Recipe(translate=8), SMALL_GREY)


def test_an_option_that_nothing_takes_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'model\.depth' is 3; model 'cnn' takes no such option"):
        check_recipe(Recipe().with_fields({"model.depth": 3}), CIFAR10)
    with pytest.raises(RecipeError, match="no augmentation 'blur' was added"):
        check_recipe(Recipe().with_fields({"augmentation.blur": 0.3}), CIFAR10)


@pytest.mark.parametrize("spec", [CIFAR10, SMALL_GREY, TALL])
def test_a_network_of_a_file_gets_what_it_names_of_the_images_and_its_options(spec: ImageSpec) -> None:
    shallow, deep = (Recipe(model=VIT).with_fields({"model.depth": depth, "model.width": 32}) for depth in (1, 3))
    assert check_network(deep, spec).parameters > 2 * check_network(shallow, spec).parameters
    network = models.build(shallow, spec, torch.empty(0))
    assert network.get_submodule("head").out_features == spec.num_classes


def write(folder: Path, code: str) -> Recipe:
    body = textwrap.dedent(code)
    (folder / "net.py").write_text(f"import torch\nfrom torch import nn\nfrom torch.nn import *\n\n{body}")
    return Recipe(model=f"{folder / 'net.py'}:Net")


WRONG = {
    "no parameters": ("def Net(): return Flatten()", "has no parameters to train"),
    "no module": ("def Net(): return 3", "gives int; allowed: a torch.nn.Module"),
    "a number of classes": (
        "def Net(in_channels): return Sequential(Flatten(), Linear(3072, 7))",
        r"gives \[2, 7\] for 2 images; allowed: logits \[2, 10\]",
    ),
    "a tuple": (
        """
        class Net(Sequential):
            def __init__(self): super().__init__(Flatten(), Linear(3072, 10))
            def forward(self, x): return super().forward(x), 0
        """,
        r"gives tuple; allowed: a tensor of logits \[B, 10\]",
    ),
    "not finite": (
        """
        class Net(Sequential):
            def __init__(self): super().__init__(Flatten(), Linear(3072, 10))
            def forward(self, x): return super().forward(x) / 0
        """,
        "gives logits that are not finite at the first step",
    ),
    "unused": (
        """
        class Net(Sequential):
            def __init__(self):
                super().__init__(Flatten(), Linear(3072, 10))
                self.forgotten = Parameter(torch.zeros(3))
        """,
        r"forgotten \(1 of 3 parameters\) get no gradient",
    ),
    "raises in forward": (
        "def Net(): return Sequential(Flatten(), Linear(5, 10))",
        r"raised at the first step, on images \[2, 3, 32, 32\]: RuntimeError",
    ),
    "raises in the constructor": ("def Net(): raise OSError('no disk')",
        r"raised OSError: no disk \(.*net\.py, line 5\)"),
    "a required argument": ("def Net(depth): return Linear(1, 1)", r"needs model\.depth, which nothing sets"),
    "another name": ("class Other: pass", "has no 'Net'"),
    "a syntax error": ("def Net(:", r"SyntaxError: .*net\.py, line 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_network_that_does_not_work_is_one_line_before_any_training(tmp_path: Path, name: str) -> None:
    code, message = WRONG[name]
    with pytest.raises(ModelError, match=message) as error:
        check_network(write(tmp_path, code), CIFAR10)
    assert "net.py" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelt_option_names_those_that_the_network_has() -> None:
    with pytest.raises(ModelError, match=r"has no hyperparameter model\.dept; allowed: model\.depth, model\.width"):
        check_network(Recipe(model=VIT).with_fields({"model.dept": 1}), CIFAR10)


def test_a_class_passed_from_python_has_a_name_in_the_recipe() -> None:
    class Small(nn.Sequential):
        def __init__(self, in_channels: int, num_classes: int, width: int = 4) -> None:
            super().__init__(nn.Conv2d(in_channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                             nn.Linear(width, num_classes))  # fmt: skip

    recipe = Recipe(model=reference_of(Small)).with_fields({"model.width": 6})
    assert recipe.as_dict()["model"] == "python:Small"
    assert check_network(recipe, CIFAR10).trained == 6 * 28 + 70
    del OBJECTS["python:Small"]
    with pytest.raises(ModelError, match="must be passed again"):
        check_network(recipe, CIFAR10)


def test_a_layer_may_be_computed_from_a_sample_of_the_training_images(tmp_path: Path) -> None:
    code = (
        "def Net(train_images, num_classes): return Sequential(Flatten(), Linear(train_images[0].numel(), num_classes))"
    )
    check_network(write(tmp_path, code), TALL)


def test_the_check_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    check_network(Recipe(), CIFAR10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model", "spec", "note"),
    [
        ("torchvision:resnet18", CIFAR10, "3 x 3 convolution with stride 1 and no pooling as stem"),
        ("torchvision:resnet18", SMALL_GREY, "grey images are repeated to three channels"),
        ("torchvision:squeezenet1_1", TALL, "images are enlarged from 40 x 24 to 64 x 64"),
        ("torchvision:shufflenet_v2_x0_5", LARGE, ""),
        ("timm:resnet10t", CIFAR10, "images are enlarged from 32 x 32 to 64 x 64"),
        ("timm:lcnet_035", SMALL_GREY, "images are enlarged from 8 x 8 to 64 x 64"),
    ],
)
def test_networks_of_other_libraries_are_adapted_to_the_images_and_it_is_said_how(
    model: str, spec: ImageSpec, note: str
) -> None:
    facts = check_network(Recipe(model=model), spec)
    assert facts.trained == facts.parameters > 100_000
    assert note in facts.note
    assert bool(note) == bool(facts.note)


def test_options_reach_the_networks_of_other_libraries() -> None:
    plain = Recipe(model="timm:lcnet_035")
    with pytest.raises(StudyError, match="depht"):
        check_network(plain.with_fields({"model.depht": 1}), CIFAR10)
    dropped = models.build(plain.with_fields({"model.drop_rate": 0.3}), CIFAR10, torch.empty(0))
    assert 0.3 in [getattr(each, "drop_rate", 0) for each in dropped.modules()]
    with pytest.raises(StudyError, match="depht"):
        check_network(Recipe(model="torchvision:resnet18").with_fields({"model.depht": 1}), CIFAR10)


@pytest.mark.parametrize(
    ("model", "near"), [("torchvision:resnet19", "resnet18"), ("timm:resnet_50", "resnet50"), ("timm:", "resnet")]
)
def test_a_network_that_a_library_does_not_have_is_refused_with_near_ones(model: str, near: str) -> None:
    with pytest.raises(StudyError, match=near if model != "timm:" else "'timm:'"):
        check_recipe(Recipe(model=model), CIFAR10)


def test_pretrained_weights_of_timm_that_cannot_be_downloaded_are_asked_for_by_name_and_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    with pytest.raises(
        WeightsError, match=r"timm:lcnet_050 .*no route to host.*hf download .*pretrained=false"
    ) as error:
        models.require_weights(Recipe(model="timm:lcnet_050", pretrained=True))
    assert "\n" not in str(error.value)


def test_fields_that_a_network_does_not_use_are_named() -> None:
    assert Recipe(model=VIT).unused_fields()["channels"] == f"model is {VIT!r}"
    assert "pretrained" in Recipe(model=VIT).unused_fields()
    assert "pretrained" not in Recipe(model="torchvision:resnet50").unused_fields()
    assert "channels" in Recipe(model="timm:resnet50").unused_fields()
