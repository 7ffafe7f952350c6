import json
from pathlib import Path

import pytest
import torch
import yaml
from finished_run import CLASSES, RECIPE, FinishedRun, finished_run

from study.errors import ModelError
from study.training.cost import measure_costs
from study.winner import model_card
from study.winner.model import load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return finished_run(tmp_path_factory.mktemp("runs") / "colours")


def changed_metrics(run: FinishedRun, **changes: object) -> None:
    file = run.path / "final" / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_the_header_is_what_the_hub_reads(run: FinishedRun) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    file = model_card.write(run.path)
    assert file == run.path / "final" / "README.md"
    card = huggingface_hub.ModelCard.load(file)
    [result] = card.data.eval_results
    accuracy = float((run.probabilities.argmax(1) == run.test.labels).mean())
    assert card.data.pipeline_tag == "image-classification"
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", accuracy, "colours")


def test_a_known_data_set_is_linked_to_the_hub(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "colours", dataset="mnist")
    header = yaml.safe_load(model_card.render(run.path).split("---\n")[1])
    assert header["datasets"] == ["ylecun/mnist"]


def test_it_says_data_recipe_metrics_verdict_limits_and_how_to_load(run: FinishedRun) -> None:
    text = model_card.render(run.path)
    right = run.probabilities.argmax(1) == run.test.labels
    for part in (
        f"| accuracy | {right.mean():.2%} |",
        "verdict: no evidence",
        "They tie.",
        "d1" * 32,
        "12 x 12 pixels, RGB",
        "all 240 training images",
        "24 validation images",
        "| `channels` | 4-8 |",
        "`lr` 0.05",
        "study.load_winner(",
        ", ".join(CLASSES),
    ):
        assert part in text, part
    assert "\n\n\n" not in text


def test_the_worst_classes_and_unequal_ones_are_named(run: FinishedRun, tmp_path: Path) -> None:
    other = finished_run(tmp_path / "colours")
    file = other.path / "final" / "predictions.csv"
    lines = file.read_text().splitlines()
    # Three quarters of class 2 are gone, and what is left of it is wrong.
    others = [line for line in lines[1:] if line.split(",")[1] != "2"]
    reds = [line.split(",") for line in lines[1:] if line.split(",")[1] == "2"][:5]
    wrong = [",".join([image, label, "0", *rest]) for image, label, _, *rest in reds]
    file.write_text("\n".join([lines[0], *others, *wrong]) + "\n")
    text = model_card.render(other.path)
    assert "worst in the test set: red 0.0% (of 5 images), " in text
    assert "20 images of blue and 5 of red" in text
    assert "Classes are unequal" not in model_card.render(run.path)


def test_costs_stand_in_it_where_they_were_measured(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "colours")
    assert "## Costs" not in model_card.render(run.path)
    winner = load(run.path)
    side = json.loads((run.path / "final" / "metrics.json").read_text())["winner"]
    costs = measure_costs(winner.module.network, winner.spec)
    changed_metrics(run, winner={**side, "costs": costs.as_dict()})
    assert f"| parameters | {costs.parameters:,} |" in model_card.render(run.path)


def test_a_reproduction_has_a_card_without_a_comparison(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "colours", kind="baseline")
    metrics = json.loads((run.path / "final" / "metrics.json").read_text())
    kept = {name: metrics[name] for name in ("final_epochs", "dataset", "published_accuracy")}
    (run.path / "final" / "metrics.json").write_text(json.dumps({"recipe_under_test": metrics["winner"], **kept}))
    table = run.path / "final" / "predictions.csv"
    table.write_text(table.read_text().replace("winner", "recipe_under_test"))
    text = model_card.render(run.path)
    assert "It was not chosen by a search" in text
    assert "verdict" not in text


def test_text_of_the_user_does_not_break_a_table(tmp_path: Path) -> None:
    data = json.loads((finished_run(tmp_path / "one").path / "study.json").read_text())["data"]
    run = finished_run(tmp_path / "two", data={**data, "classes": ["a|b", "c\nd", "e"]})
    # results.load_run shows characters that would steer a terminal as escapes.
    assert "| classes | a\\|b, c\\nd, e |" in model_card.render(run.path)


def test_a_run_without_a_finished_final_has_no_card(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "colours")
    (run.path / "final" / "model.pt").unlink()
    with pytest.raises(ModelError, match="has no winner"):
        model_card.write(run.path)


@pytest.mark.parametrize(("state", "is_kept"), [({"epoch": 1, "own": None}, False), ({"epoch": 1, "own": {}}, True)])
def test_the_card_says_whether_the_winner_of_a_trainer_of_ones_own_can_be_loaded(
    tmp_path: Path, state: object, is_kept: bool
) -> None:
    run = finished_run(tmp_path / "colours", arguments={"trainer": "mine.py:Mine"})
    torch.save(state, run.path / "final" / "model.pt")
    text = model_card.render(run.path)
    assert ("study.load_winner(" in text) is is_kept
    assert ("mine.py:Mine, has no `state_dict` and `load_state_dict`" in text) is not is_kept


def test_fields_that_the_network_ignores_are_not_shown_as_if_they_mattered(run: FinishedRun, tmp_path: Path) -> None:
    ignoring = finished_run(tmp_path / "colours", RECIPE.with_fields({"epochs": 1}))
    side = json.loads((ignoring.path / "final" / "metrics.json").read_text())["winner"]
    changed_metrics(ignoring, winner={**side, "unused": {"kernel": "model is 'mine.py:Net'"}})
    text = model_card.render(ignoring.path)
    assert "| `kernel` | not used |" in text
    assert "| `channels` | 4-8 |" in text
