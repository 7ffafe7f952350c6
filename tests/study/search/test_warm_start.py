"""What a study learns from earlier ones: runs of the same or another question, Optuna databases and CSV files."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from made_run import MadeTrial, made_run
from optuna.distributions import CategoricalDistribution, FloatDistribution

import results
import search_spaces
from results.optuna_storage import opened
from study.config import StudyConfig, validate
from study.errors import UsageError
from study.pipeline.make_problem import make_problem
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem

SPACE = """
def small(trial):
    return {
        "lr": trial.suggest_float("lr", 1e-3, 0.2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
    }


def derived(trial):
    width = trial.suggest_int("width", 1, 4)
    return {"channels": f"{8 * width}-{16 * width}", "lr": trial.suggest_float("lr", 1e-3, 0.2, log=True)}
"""
RANGES = {"lr": FloatDistribution(1e-3, 0.2, log=True), "batch_size": CategoricalDistribution([16, 32, 64])}


@pytest.fixture
def space(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(SPACE)
    return f"{tmp_path / 'mine.py'}:small"


def problem_of(space: str, *warm_start: Any, **settings: Any) -> SearchProblem:
    given = {"space": space, "warm_start": list(warm_start), "max_epochs": 3, **settings}
    return make_problem(validate(StudyConfig, given))


def earlier_run(path: Path, *, lr: float = 0.05, **study: Any) -> results.Run:
    """Eight completed trials, the better the nearer their lr is to `lr`; the best two have batch size 64."""
    trials = []
    for number in range(8):
        factor = 1.4 ** (number - 4)
        score = 0.8 - 0.05 * abs(number - 4)
        config = {"lr": lr * factor, "batch_size": 64 if number in (4, 5) else 16}
        trials.append(MadeTrial(config, [score - 0.2, score - 0.1, score]))
    arguments = {"dataset": study.pop("dataset_setting", "cifar10")}
    return made_run(path, trials, study.pop("ranges", RANGES), max_epochs=3, rungs=[1], arguments=arguments, **study)


def suggestions(problem: SearchProblem, count: int) -> list[dict[str, Any]]:
    """What the first trials after trial 0 draw, all without a result so far."""
    study, found = OptunaStudy(problem), []
    for _ in range(count + 1):
        suggestion = study.ask()
        assert suggestion is not None
        study.apply(suggestion.started())
        found.append(dict(suggestion.draw.params))
    return found[1:]


def test_the_trials_of_several_comparable_runs_are_known_to_the_sampler(space: str, tmp_path: Path) -> None:
    one, other = earlier_run(tmp_path / "one"), earlier_run(tmp_path / "other", lr=0.01)
    problem = problem_of(space, str(one.path), str(other.path))
    assert len(problem.history) == 16
    assert (problem.leaders, problem.priors) == ([], {})
    known = [trial for number, trial in OptunaStudy(problem).trials().items() if number < 0]
    assert [trial.params["lr"] for trial in known] == [
        *one.trials["config/lr"].tolist(), *other.trials["config/lr"].tolist()
    ]  # fmt: skip


@pytest.mark.parametrize(
    "study",
    [
        {"dataset_setting": "digits"},
        {"metric": {"name": "macro_f1", "mode": "max", "format": "{:.4f}"}},
        {"ranges": {**RANGES, "lr": FloatDistribution(1e-4, 1.0, log=True)}},
    ],
    ids=["another data set", "another metric", "other ranges"],
)
def test_of_a_run_that_cannot_be_compared_the_best_trials_become_priors(
    space: str, tmp_path: Path, study: dict[str, Any]
) -> None:
    run = earlier_run(tmp_path / "other", **study)
    if "metric" in study:  # the made run measured accuracy only
        lines = (run.path / "epochs.jsonl").read_text()
        (run.path / "epochs.jsonl").write_text(lines.replace('"val_accuracy"', '"val_macro_f1"').replace(
            '"val_macro_f1":', '"val_accuracy": null, "val_macro_f1":'))  # fmt: skip
    problem = problem_of(space, str(run.path))
    if "ranges" not in study:
        assert problem.history == []
    assert [each["fields"]["lr"] for each in problem.leaders] == pytest.approx([0.05, 0.05 / 1.4], rel=1e-6)
    lr, batch = problem.priors["lr"], problem.priors["batch_size"]
    assert lr.centre_in(RANGES["lr"], {"optimizer": "sgd"}) == pytest.approx(0.05 / 1.4**0.5, rel=0.01)
    assert str(run.path) in lr.source
    # Of the two best, one has 64 and one 16: neither is ruled out, and 32 is less likely than both.
    density = [batch.log_density(RANGES["batch_size"], size) for size in (16, 32, 64)]
    assert density[0] == density[2] > density[1]


def test_the_sampler_draws_near_the_best_of_another_data_set_and_resumes_with_the_same_priors(
    space: str, tmp_path: Path
) -> None:
    run = earlier_run(tmp_path / "other", lr=0.004, dataset_setting="digits")
    warm, cold = problem_of(space, str(run.path)), problem_of(space)
    near = [
        np.mean([abs(np.log(each["lr"] / 0.0035)) < np.log(3) for each in suggestions(problem, 40)])
        for problem in (warm, cold)
    ]
    assert near[0] > near[1] + 0.2
    config = validate(StudyConfig, {"space": space, "warm_start": ["gone"], "max_epochs": 3})
    recorded = {"warm_start": {"run": "gone", "trials": [], "leaders": list(warm.leaders)}}
    again = make_problem(config, recorded)
    assert suggestions(again, 5) == suggestions(warm, 5)


def test_a_sampler_without_priors_refuses_what_would_only_be_one(space: str, tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "other", dataset_setting="digits")
    with pytest.raises(UsageError, match=r"no finished trial of this data set.*--sampler prior would learn"):
        problem_of(space, str(run.path), sampler="tpe")


def database(path: Path, name: str = "theirs", direction: str = "maximize", scale: float = 1.0) -> str:
    """Five trials of an Optuna study: three complete, one pruned after two steps, one failed."""
    url = f"sqlite:///{path}"
    with opened(url) as storage:
        add_trials(optuna.create_study(study_name=name, storage=storage, direction=direction), scale)
    return url


def add_trials(study: optuna.Study, scale: float) -> None:
    for lr, value in ((0.1, 0.6), (0.05, 0.8), (0.01, 0.7)):
        trial = optuna.trial.create_trial(
            params={"lr": lr, "batch_size": 32}, distributions=RANGES, value=scale * value
        )
        study.add_trial(trial)
    pruned = {"state": optuna.trial.TrialState.PRUNED, "intermediate_values": {0: 0.3, 1: 0.4}, "value": 0.4}
    study.add_trial(optuna.trial.create_trial(params={"lr": 0.2, "batch_size": 16}, distributions=RANGES, **pruned))
    failed = {"state": optuna.trial.TrialState.FAIL}
    study.add_trial(optuna.trial.create_trial(params={"lr": 0.15, "batch_size": 16}, distributions=RANGES, **failed))


def test_the_trials_of_an_optuna_database_are_known_to_the_sampler_and_the_file_stays_as_it_is(
    space: str, tmp_path: Path
) -> None:
    url = database(tmp_path / "theirs.db")
    before = (tmp_path / "theirs.db").read_bytes()
    for given in (url, str(tmp_path / "theirs.db"), f"{url}#theirs"):
        problem = problem_of(space, given)
        known = [trial for number, trial in OptunaStudy(problem).trials().items() if number < 0]
        assert [trial.params.get("lr") for trial in known] == [0.1, 0.05, 0.01, 0.2, 0.15]
        assert [trial.state.name for trial in known] == ["COMPLETE"] * 3 + ["PRUNED", "FAIL"]
        assert known[1].value == 0.8
        assert known[1].last_step == 3  # as a trial that was trained to its end
        assert known[3].intermediate_values == {1: 0.3, 2: 0.4}
    assert (tmp_path / "theirs.db").read_bytes() == before


def test_a_csv_of_trials_is_known_to_the_sampler_whatever_the_columns_are_called(space: str, tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "run")
    results.write_tables(run)
    ours = problem_of(space, str(run.path / "trials.csv"))
    assert [past["value"] for past in ours.history] == run.trials["val_accuracy"].tolist()
    assert [past["recipe"]["batch_size"] for past in ours.history] == run.trials["config/batch_size"].tolist()
    (tmp_path / "optuna.csv").write_text(
        "number,value,params_lr,params_batch_size,state\n0,0.7,0.05,32.0,COMPLETE\n1,,0.01,,FAIL\n2,0.9,0.1,64,COMPLETE\n"
    )
    theirs = problem_of(space, str(tmp_path / "optuna.csv"))
    assert [(past["recipe"]["batch_size"], past["value"]) for past in theirs.history] == [(32, 0.7), (64, 0.9)]


def test_what_was_drawn_under_other_names_than_a_recipes_is_known_as_well(space: str, tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text("width,lr,accuracy\n2,0.1,0.7\n3,0.05,0.8\n")
    problem = problem_of(space.replace("small", "derived"), str(tmp_path / "wide.csv"))
    known = [trial for number, trial in OptunaStudy(problem).trials().items() if number < 0]
    assert [trial.params for trial in known] == [{"width": 2, "lr": 0.1}, {"width": 3, "lr": 0.05}]
    assert [past["recipe"]["channels"] for past in problem.history] == ["16-32", "24-48"]


def test_a_trial_that_no_recipe_can_be_or_that_names_code_is_not_known(space: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise SystemExit('was executed')")
    rows = ["0.1,32,cnn,0.5", "fast,32,cnn,0.6", "-1,32,cnn,0.7", f"0.05,32,{tmp_path / 'net.py'}:Net,0.8"]
    (tmp_path / "odd.csv").write_text("\n".join(["lr,batch_size,model,accuracy", *rows]))
    problem = problem_of(space, str(tmp_path / "odd.csv"))
    assert [past["value"] for past in problem.history] == [0.5]


def refused(tmp_path: Path) -> dict[str, tuple[str, str]]:
    database(tmp_path / "two.db", "one")
    database(tmp_path / "two.db", "two")
    database(tmp_path / "loss.db", direction="minimize")
    database(tmp_path / "percent.db", scale=100)
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "value.csv").write_text("lr,value\n0.1,good\n")
    return {
        "gone.db": ("there is no file", "gone.db"),
        "two.db": ("give one study as", "one, two"),
        "two.db#three": ("#NAME", "one, two"),
        "loss.db": ("direction minimize", "accuracy has maximize"),
        "percent.db": ("beyond 0 to 1", "accuracy as a fraction"),
        "text.db": ("cannot be read", "not a database"),
        "empty.db": ("no database of Optuna", "empty.db"),
        "columns.csv": ("its columns are a, b", "such as lr"),
        "value.csv": ("a value is 'good'", "allowed: a number"),
        "gone.csv": ("cannot be read", "gone.csv"),
    }


def test_an_earlier_study_that_cannot_be_used_is_one_clear_line(space: str, tmp_path: Path) -> None:
    for name, words in refused(tmp_path).items():
        with pytest.raises(UsageError) as raised:
            problem_of(space, str(tmp_path / name))
        assert all(word in str(raised.value) for word in words), (name, str(raised.value))
        assert "\n" not in str(raised.value)


def test_priors_of_an_earlier_study_follow_the_hyperparameter_that_decides(tmp_path: Path) -> None:
    """lr is recommended by optimizer: the best SGD trials say nothing about AdamW's."""
    (tmp_path / "mixed.csv").write_text("optimizer,lr,hidden,accuracy\n" + "sgd,0.2,64,0.9\n" * 4)
    assert "lr" in search_spaces.hyperparameters(search_spaces.load("optimizers"))
    problem = problem_of("optimizers", str(tmp_path / "mixed.csv"))
    usual = search_spaces.priors_of(problem.space)["lr"]
    lr = problem.priors["lr"]
    anywhere = FloatDistribution(1e-5, 1.0, log=True)
    assert lr.centre_in(anywhere, {"optimizer": "sgd"}) == pytest.approx(0.2, rel=0.01)
    assert lr.centre_in(anywhere, {"optimizer": "adamw"}) == usual.centre_in(anywhere, {"optimizer": "adamw"})
