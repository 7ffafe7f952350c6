"""One training on one, two and four threads."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.dataset import Split
from study.recipe import Recipe
from study.training.lanes import Dropout, Lanes
from study.training.loop import Training

CASES: dict[str, dict[str, object]] = {
    "three passes": {"batch_size": 150, "optimizer": "nesterov", "flip": "random", "translate": 2},
    "dropout": {"batch_size": 150, "dropout": 0.3, "hidden": "32-16", "optimizer": "adam"},
    "bfloat16": {"batch_size": 150, "dropout": 0.3, "precision": "bfloat16", "optimizer": "rmsprop"},
    "mixed images": {"batch_size": 140, "mixup": 0.4, "label_smoothing": 0.1, "class_weights": "balanced"},
    "one pass": {"batch_size": 32, "dropout": 0.2},
    "a batch of four": {"batch_size": 4, "channels": "6-16"},
}


@pytest.fixture(autouse=True)
def _threads_are_put_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(recipe: Recipe, splits: tuple[Split, Split], threads: int) -> tuple[list[Tensor], list[object], bytes]:
    torch.set_num_threads(threads)
    training = Training(recipe, *splits)
    metrics: list[object] = [epoch.metrics for epoch in training]
    assert torch.get_num_threads() == threads
    state = [value.clone() for value in training.model.state_dict().values()]
    return state, metrics, training.predict(splits[1].images).tobytes()


@pytest.fixture(scope="module")
def splits(synthetic: Split) -> tuple[Split, Split]:
    return (
        Split(synthetic.images[:310], synthetic.labels[:310]),
        Split(synthetic.images[500:750], synthetic.labels[500:750]),
    )


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_weights_losses_and_predictions_are_the_same_bits_on_1_2_and_4_threads(
    splits: tuple[Split, Split], fields: dict[str, object]
) -> None:
    recipe = Recipe(channels="8-8", hidden="32", epochs=2, lr=0.01, normalization="cifar10").with_fields(fields)
    state, metrics, predictions = trained(recipe, splits, threads=1)
    for threads in (2, 4):
        other, other_metrics, other_predictions = trained(recipe, splits, threads)
        assert all(torch.equal(one, two) for one, two in zip(state, other, strict=True))
        assert (other_metrics, other_predictions) == (metrics, predictions)


def test_a_training_that_was_interrupted_on_two_threads_goes_on_with_one(splits: tuple[Split, Split]) -> None:
    recipe = Recipe(channels="8-8", hidden="32", epochs=2, batch_size=150, dropout=0.3)
    torch.set_num_threads(2)
    first = Training(recipe, splits[0])
    next(iter(first))
    torch.set_num_threads(1)
    resumed, alone = Training(recipe, splits[0]), Training(recipe, splits[0])
    resumed.load_state_dict(first.state_dict())
    (last,) = resumed
    assert last.metrics == list(alone)[-1].metrics


def test_a_network_with_batch_normalisation_has_no_lanes(splits: tuple[Split, Split]) -> None:
    assert Training(Recipe(batch_norm=True), splits[0])._lanes is None
    assert Training(Recipe(model="resnet18"), splits[0])._lanes is None
    assert Training(Recipe(), splits[0])._lanes is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_draws_what_torch_draws_whether_beforehand_or_not(dtype: torch.dtype) -> None:
    inputs = torch.arange(1.0, 301).view(3, 100).to(dtype)
    ours = Dropout(0.3, 100)
    torch.manual_seed(5)
    expected = F.dropout(inputs, 0.3)
    torch.manual_seed(5)
    assert torch.equal(ours(inputs), expected)
    torch.manual_seed(5)
    assert torch.equal(inputs * ours.draw(3, dtype), expected)
    assert torch.equal(ours.eval()(inputs), inputs)


def test_gradients_are_those_of_backward_also_of_a_parameter_that_is_not_used() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.used(inputs)  # type: ignore[no-any-return]

    torch.set_num_threads(2)
    network = Network()
    passes = [(torch.randn(3, 4), torch.tensor([0, 1, 0])) for _ in range(5)]
    for images, targets in passes:
        F.cross_entropy(network(images), targets).backward()  # type: ignore[no-untyped-call]
    expected = network.used.weight.grad
    network.zero_grad()
    lanes = Lanes(network)
    with lanes.running():
        assert lanes.are_several
        losses = lanes.backward(lambda *each: F.cross_entropy(network(each[0]), each[1]), passes, torch.float32)
    assert expected is not None
    assert network.used.weight.grad is not None
    assert torch.equal(network.used.weight.grad, expected)
    assert network.unused.weight.grad is None
    assert len(losses) == 5
    assert not any(loss.requires_grad for loss in losses)


def test_an_error_in_a_pass_reaches_the_caller_and_torchs_threads_are_put_back() -> None:
    torch.set_num_threads(2)
    lanes = Lanes(nn.Linear(1, 1))

    def fails(images: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"), lanes.running():
        lanes.backward(fails, [(torch.zeros(1, 1), torch.zeros(1))] * 2, torch.float32)
    assert torch.get_num_threads() == 2
    assert not lanes.are_several
