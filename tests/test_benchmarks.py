"""The benchmarks measure what they say; what they measured is in docs/performance.md and docs/lab-notes.md."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import gpu, label_errors, same_recipe, search_quality, whole_job
from benchmarks.curves import EPOCHS, RECIPES, drawn
from benchmarks.estimate import off_by
from benchmarks.schedulers import POLICIES, SAMPLES, Curves, Promotion, Tpe, load_curves, shuffled, simulate

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def curves() -> Curves:
    return load_curves()


def test_the_recorded_curves_are_of_the_recipes_that_the_default_space_draws(curves: Curves) -> None:
    assert curves.accuracies.shape == (RECIPES, EPOCHS)
    for (config, _), recorded in zip(drawn(RECIPES), curves.configs, strict=True):
        assert recorded == pytest.approx(config)


def test_without_a_scheduler_every_trial_is_complete_and_nothing_is_lost(curves: Curves) -> None:
    spent = simulate(curves, POLICIES["none"](), shuffled(3, RECIPES), slots=2)
    assert (spent.epochs, spent.regret, spent.lost) == (SAMPLES * EPOCHS, 0.0, False)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_scheduler_trains_each_trial_and_no_more_than_all_epochs(curves: Curves, policy: str) -> None:
    spent = simulate(curves, POLICIES[policy](), shuffled(3, RECIPES), slots=4)
    assert SAMPLES <= spent.epochs <= SAMPLES * EPOCHS
    assert len(spent.incumbent) == spent.epochs
    assert spent.incumbent == sorted(spent.incumbent)


def test_promotion_takes_fewer_epochs_than_stopping_alone(curves: Curves) -> None:
    for order in range(10):
        stopping = simulate(curves, POLICIES["Ray's ASHA, 1, 2"](), shuffled(order, RECIPES), slots=2)
        promoting = simulate(curves, Promotion(1, 2), shuffled(order, RECIPES), slots=2)
        assert promoting.epochs < stopping.epochs


def test_tpe_on_the_table_tries_no_recipe_twice(curves: Curves) -> None:
    choose, begun = Tpe(curves, order=0), list[int]()
    for _ in range(SAMPLES):
        begun.append(choose(begun, {recipe: [0.5] for recipe in begun}, set()))
    assert begun[0] == 0
    assert len(set(begun)) == SAMPLES


def test_the_list_of_benchmarks_has_every_one_with_its_command() -> None:
    said = subprocess.run([sys.executable, "-m", "benchmarks"], capture_output=True, text=True, check=True).stdout
    for file in BENCHMARKS.glob("[a-z]*.py"):
        assert f"python -m benchmarks.{file.stem}\n    " in said


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_benchmark_fits_the_packages_that_it_measures(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{path.stem}")
    if hasattr(module, "main"):
        monkeypatch.setattr(sys, "argv", [path.name, "--help"])
        with pytest.raises(SystemExit) as exit_:
            module.main()
        assert exit_.value.code == 0
        assert path.name in capsys.readouterr().out


def test_the_recorded_studies_are_complete_and_every_arm_has_every_seed() -> None:
    table = pd.read_csv(search_quality.TABLE)
    studies = table.groupby(["arm", "seed"])["epoch"].agg(["count", "max"])
    assert (studies["count"] == studies["max"]).all()
    seeds = table.groupby("arm")["seed"].unique().map(set)
    assert set(seeds.index) == set(search_quality.ARMS)
    assert len(seeds.map(tuple).unique()) == 1
    assert (studies.loc["random search", "count"] == search_quality.COMPLETE_TRIALS * search_quality.EPOCHS).all()
    for curves in search_quality.incumbents(table).values():
        assert (np.diff(curves) >= 0).all()


def test_pairs_of_networks_that_differ_by_mcnemar_are_counted() -> None:
    right = np.arange(1000) < 600
    other = right.copy()
    other[:40] = False  # 40 images that the other networks alone get wrong: p is far below 0.05
    differ, disagreement = same_recipe.share_that_differs(np.stack([right, right, other]))
    assert differ == pytest.approx(2 / 3)
    assert disagreement == pytest.approx(2 / 3 * 0.04)


@pytest.mark.parametrize(("took", "outside"), [(10, 0.0), (20, 0.0), (26, 0.3), (7, -0.3)])
def test_an_estimate_is_off_by_the_share_of_its_nearer_end(took: float, outside: float) -> None:
    assert off_by(took, 10, 20) == pytest.approx(outside)


def test_candidate_label_errors_are_counted_against_published_ones(tmp_path: Path) -> None:
    file = tmp_path / "opinions.json"
    opinions = [{"id": 3, "mturk": {"given": 2}}, {"id": 8, "mturk": {"given": 3}}, {"id": 9, "mturk": {"given": 0}}]
    file.write_text(json.dumps(opinions))
    published, wrong = label_errors.published(file)
    assert (published, wrong) == ([3, 8, 9], [3, 9])
    found = label_errors.agreement(np.array([9, 3, 1, 0]), published, images=20)
    assert (found.published, found.candidates, found.common, found.by_chance) == (3, 4, 2, 0.6)


IN_THIS_PROCESS = [
    *["machine", "steps", "precision", "resume", "waiting", "memory", "kernels", "epochs", "graph"],
    *["out_of_memory", "packing"],  # these start others
]


@pytest.mark.parametrize("part", IN_THIS_PROCESS)
def test_a_part_of_the_gpu_benchmark_runs_in_small_on_a_cpu(part: str) -> None:
    said = gpu.PARTS[part][0](gpu.DRY)
    assert said.get("passed", True)
    json.dumps(said)


def test_a_part_of_the_gpu_benchmark_that_takes_too_long_or_fails_says_so_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gpu.json"
    monkeypatch.setitem(gpu.PARTS, "steps", (gpu.steps, 0.001))
    monkeypatch.setattr(sys, "argv", ["gpu", "--dry-run", "--out", str(out), "--parts", "steps", "mps"])
    assert gpu.main() == 1
    parts = json.loads(out.read_text())["parts"]
    assert parts["steps"] == {"passed": False, "failed": "not done after 0 s"}
    assert parts["mps"]["not_measured"] == "no nvidia-cuda-mps-control here"


@pytest.mark.slow
@pytest.mark.ray
def test_the_parts_of_the_gpu_benchmark_with_several_processes_run_in_small_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, out = ["quarters", "study"], tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--dry-run", "--out", str(out), "--parts", *parts])
    assert gpu.main() == 0
    assert list(json.loads(out.read_text())["parts"]) == parts


def test_a_busy_clock_counts_what_the_machine_computes() -> None:
    with whole_job.BusyClock() as clock:
        began = time.time()
        while sum(at >= began for at, _ in clock.notes) < 4:
            pass
    share = clock.share(began, time.time())
    assert 0.5 / os.cpu_count() < share <= 1.05
