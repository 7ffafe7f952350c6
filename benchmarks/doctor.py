"""How often the doctor raises a false alarm, and how often it misses: each finding on made studies of known truth.

    python -m benchmarks.doctor [--studies 200]

A study is made of trials with a true accuracy each, what 5,000 validation images show of it (a binomial draw), other
seeds (a normal draw of 0.9 points) and ASHA's stopping. For each finding there are studies in which it is true and
studies, most of them close to that, in which it is not. Nothing is trained.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json

from results import MetricInfo, Run, diagnose
from results.events import EpochFinished, State, TrialEnded, TrialStarted
from results.tables import epochs_table, trials_table

VALIDATION, TEST, EPOCHS, TRIALS = 5_000, 10_000, 9, 40
SEEDS = 0.009  # standard deviation of accuracy between seeds, as results/seed_deviation.csv has it for CIFAR-10's CNN
ACCURACY = MetricInfo("accuracy", "max", "{:.2%}")
RANGES = {"lr": FloatDistribution(1e-3, 1e-1, log=True), "batch_size": CategoricalDistribution([32, 64, 128])}
Curve = Callable[[int], float]  # the share of its final accuracy that a trial has at an epoch


def settled(epoch: int) -> float:
    return 1 - math.exp(-2.0 * epoch)


def rising(epoch: int) -> float:
    return epoch / EPOCHS


@dataclass(frozen=True)
class Study:
    """What is true of a made study.

    Attributes:
        accuracies: each trial's true final accuracy.
        positions: each trial's place in lr's range, 0 to 1.
        curves: each trial's way to its accuracy.
        diverged: the numbers of trials that diverged.
        losses: training and validation loss at the end.
        final: the winner's true test accuracy and the epochs of the final, if there was one.
        final_loss: the training loss that the winner's final training ended with; the search's is in `losses`.
        counts: training images by class, if they were counted.
    """

    accuracies: Sequence[float]
    positions: Sequence[float]
    curves: Sequence[Curve]
    diverged: frozenset[int] = frozenset()
    losses: tuple[float, float] = (0.95, 1.0)
    final: tuple[float, int] | None = None
    final_loss: float | None = None
    counts: Mapping[str, int] | None = None


def base(random: np.random.Generator, peak: float = 0.5, height: float = 0.8, slope: float = 0.9) -> Study:
    """A study in which nothing is wrong: the best lr lies at `peak`, and accuracy falls on both sides of it."""
    positions = random.permutation((np.arange(TRIALS) + random.random(TRIALS)) / TRIALS)
    accuracies = height - slope * np.abs(positions - peak)
    return Study(accuracies.tolist(), positions.tolist(), [settled] * TRIALS)


def leaders(gap: float, random: np.random.Generator) -> Study:
    """The best trial is `gap` better than the next, which others equal."""
    study = base(random)
    order = np.argsort(study.accuracies)[::-1]
    accuracies = np.minimum(study.accuracies, 0.8 - gap)
    accuracies[order[1:8]] = 0.8 - gap
    accuracies[order[0]] = 0.8
    return replace(study, accuracies=accuracies.tolist())


def tested(drop: float, epochs: int, random: np.random.Generator) -> Study:
    """The final's true test accuracy is `drop` below the winner's true validation accuracy."""
    study = leaders(0.0, random)
    return replace(study, final=(0.8 - drop, epochs))


def retrained(final_loss: float, random: np.random.Generator) -> Study:
    """The winner's training loss was 0.95 in the search and is `final_loss` after the final."""
    return replace(tested(0.0, 30, random), final_loss=final_loss)


def rungs_say_nothing(random: np.random.Generator) -> Study:
    """What a trial has after an epoch has nothing to do with what it will have."""
    study = base(random)
    shares = random.permutation(np.linspace(0.3, 0.6, TRIALS))
    curves = [partial(_late, share * 0.5 / accuracy) for share, accuracy in zip(shares, study.accuracies, strict=True)]
    return replace(study, curves=curves)


def _late(first: float, epoch: int) -> float:
    return first if epoch < 3 else settled(epoch)


def failing(where: str, random: np.random.Generator) -> Study:
    """Trials diverge above 0.85 of lr's range ("above"), or a tenth of them anywhere ("anywhere")."""
    study = base(random)
    lost = (
        [number for number, position in enumerate(study.positions) if position > 0.85]
        if where == "above"
        else random.choice(TRIALS, TRIALS // 10, replace=False).tolist()
    )
    return replace(study, diverged=frozenset(lost))


def curved(curve: Curve, random: np.random.Generator) -> Study:
    return replace(base(random), curves=[curve] * TRIALS)


def losses(train: float, validation: float, random: np.random.Generator) -> Study:
    return replace(base(random), losses=(train, validation))


def counted(sizes: Sequence[int], random: np.random.Generator) -> Study:
    return replace(base(random), counts={str(at): size for at, size in enumerate(sizes)})


@dataclass(frozen=True)
class Case:
    finding: str
    studies: str
    is_true: bool
    make: Callable[[np.random.Generator], Study]


CASES = [
    Case("leaders within noise", "eight equal leaders", True, partial(leaders, 0.0)),
    Case("leaders within noise", "the best 0.4 points ahead", True, partial(leaders, 0.004)),
    Case("leaders within noise", "the best 8 points ahead", False, partial(leaders, 0.08)),
    Case("validation above test", "test 8 points lower", True, partial(tested, 0.08, 30)),
    Case("validation above test", "equal; the best of 40 is lucky", False, partial(tested, 0.0, 30)),
    Case("validation above test", "a final of fewer epochs, 8 points lower", False, partial(tested, 0.08, 5)),
    Case("a final training failed", "training loss 2.3, in the search 0.95", True, partial(retrained, 2.3)),
    Case("a final training failed", "training loss 1.1, in the search 0.95", False, partial(retrained, 1.1)),
    Case("stopped on noise", "the first rung says nothing of the end", True, rungs_say_nothing),
    Case("stopped on noise", "the first rung orders as the end does", False, base),
    Case("best on an edge", "the optimum beyond the upper edge", True, partial(base, peak=1.05)),
    Case("best on an edge", "the optimum in the middle", False, base),
    Case("a range that fails", "all above 0.85 of the range diverge", True, partial(failing, "above")),
    Case("a range that fails", "a tenth diverges, anywhere", False, partial(failing, "anywhere")),
    Case("still improving", "curves that rise to the end", True, partial(curved, rising)),
    Case("still improving", "curves that have settled", False, base),
    Case("over-fitting", "training loss 0.5, validation loss 1.0", True, partial(losses, 0.5, 1.0)),
    Case("over-fitting", "training loss 0.9, validation loss 1.0", False, partial(losses, 0.9, 1.0)),
    Case("under-fitting", "training loss 1.05, validation loss 1.0", True, partial(losses, 1.05, 1.0)),
    Case("under-fitting", "training loss 0.9, validation loss 1.0", False, partial(losses, 0.9, 1.0)),
    Case("imbalanced classes", "9 to 1", True, partial(counted, [9000, 1000])),
    Case("imbalanced classes", "equal within 10%", False, partial(counted, [5000, 4500, 5200])),
]


def observed(study: Study, random: np.random.Generator) -> Run:
    """What a run directory would hold of the study: accuracies as validation images show them, stopped at rungs."""
    rungs = [1, 3, EPOCHS]
    seeds = random.normal(0, SEEDS, TRIALS)
    seen = np.array(
        [[_seen(study, n, epoch, seeds[n], random) for epoch in range(1, EPOCHS + 1)] for n in range(TRIALS)]
    )
    alive = [n for n in range(TRIALS) if n not in study.diverged]
    length = dict.fromkeys(range(TRIALS), 0)
    for rung in rungs:
        for number in alive:
            length[number] = rung
        alive = sorted(alive, key=lambda n: -seen[n][rung - 1])[: max(1, len(alive) // 3)]
    state = State(event for n in range(TRIALS) for event in _events(study, n, seen[n], length[n]))
    epochs = epochs_table(state, ACCURACY)
    trials = trials_table(state, epochs, RANGES, ACCURACY, is_running=False)
    return _run(study, trials, epochs, random)


def _seen(study: Study, number: int, epoch: int, seed: float, random: np.random.Generator) -> float:
    true = np.clip(study.accuracies[number] * study.curves[number](epoch) + seed, 0.01, 0.99)
    return float(random.binomial(VALIDATION, true) / VALIDATION)


def _events(study: Study, number: int, seen: Sequence[float], length: int) -> Iterable[Any]:
    config = {"lr": 1e-3 * 100 ** study.positions[number], "batch_size": (32, 64, 128)[number % 3]}
    yield TrialStarted(number=number, config=config, seed=number, trial_id=f"trial_{number:05d}")
    train, validation = study.losses
    for epoch in range(1, length + 1):
        metrics = {"train_loss": train, "val_loss": validation, "val_accuracy": float(seen[epoch - 1])}
        yield EpochFinished(number=number, epoch=epoch, metrics=metrics, seconds=1.0, time_total_s=float(epoch))
    if number in study.diverged:
        yield TrialEnded(number=number, status="diverged", reason="loss nan")
    else:
        status = "completed" if length == EPOCHS else "stopped"
        yield TrialEnded(number=number, status=status, reason=None if status == "completed" else f"rung {length}")


def _run(study: Study, trials: pd.DataFrame, epochs: pd.DataFrame, random: np.random.Generator) -> Run:
    recipe = {"model": "cnn", "lr": 0.5, "flip": "none"}  # lr as no trial has it: trial 0 is not the baseline
    about = {
        "name": "made", "kind": "search", "space": "made", "dataset": "cifar10", "base": recipe, "max_epochs": EPOCHS,
        "grace_period": 1, "reduction_factor": 3, "rungs": [1, 3, EPOCHS], "samples": TRIALS,
        "knobs": {name: json.loads(distribution_to_json(each)) for name, each in RANGES.items()},
        "data": {"train": 45_000, "validation": VALIDATION, "digest": "", "split_digest": ""},
    }  # fmt: skip
    final = None
    if study.final is not None:
        accuracy, length = study.final
        right = random.binomial(TEST, accuracy + random.normal(0, SEEDS)) / TEST
        side = {"recipe": recipe, "accuracy": right, "n": TEST, "seeds": [{"seed": 1, "accuracy": right}]}
        final = {"winner": side, "baseline": side, "verdict": "better", "final_epochs": length}
    nothing, trained_again = pd.DataFrame(), pd.DataFrame()
    if study.final_loss is not None:
        trained_again = pd.DataFrame([{"role": "winner", "seed": 1, "train_loss": study.final_loss}])
    return Run(
        path=Path("made"), study=about, status="finished", metric=ACCURACY, trials=trials, epochs=epochs, best=None,
        final=final, final_epochs=trained_again, predictions=None, finalist_epochs=nothing, audit_epochs=nothing,
        data=None if study.counts is None else {"counts": {"training": study.counts}}, control=None,
        tuned_baseline=None, dropped=(),
    )  # fmt: skip


def rate(case: Case, studies: int, seed: int = 0) -> float:
    """The share of `studies` made studies in which the doctor reports the case's finding."""
    random = np.random.default_rng(seed)
    found = [
        any(finding.name == case.finding for finding in diagnose(observed(case.make(random), random)))
        for _ in range(studies)
    ]
    return sum(found) / studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200, help="made studies of each kind (default: %(default)s)")
    asked = parser.parse_args()
    print(f"| finding | {asked.studies} made studies with | true | reported | wrong |\n| --- | --- | --- | --- | --- |")
    for case in CASES:
        share = rate(case, asked.studies)
        wrong = f"{1 - share:.1%} missed" if case.is_true else f"{share:.1%} false alarms"
        print(f"| {case.finding} | {case.studies} | {'yes' if case.is_true else 'no'} | {share:.1%} | {wrong} |")


if __name__ == "__main__":
    main()
