"""How many trials run at once, and what each may take: `--gpus-per-trial`, `--cpus-per-trial`, `--max-concurrent`.

Ray places a trial on one node only, hands out CPUs and GPUs in steps of 0.0001, and splits a GPU among trials. A
training uses one GPU or a share of one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.errors import ResourceError

STEP = 0.0001  # Ray's finest fraction of a resource
ACCELERATOR = "accelerator_type:"  # before the kind of a node's GPUs among its resources


@dataclass(frozen=True)
class Slots:
    """What each trial gets (CPUs and GPUs, fractions allowed) and how many trials run at once."""

    cpus: float
    gpus: float
    count: int
    reason: str  # what to know about the slots, such as why the CPUs are not what was asked for; may be empty

    @property
    def threads(self) -> int:
        """Of torch, in each trial."""
        return max(1, int(self.cpus))


def plan(
    nodes: Sequence[Mapping[str, float]],
    gpus_per_trial: float | None,
    cpus_per_trial: float | None,
    max_concurrent: int | None,
) -> Slots:
    """The slots that `nodes` offer.

    Args:
        nodes: each node's resources as Ray names them: {"CPU": 2.0, "GPU": 1.0}.
        gpus_per_trial: None for a quarter where GPUs exist and none elsewhere.
        cpus_per_trial: None for one. Where trials share GPUs it shrinks, asked for or not, so that CPUs never limit how
            many trials a GPU holds.
        max_concurrent: None for as many as fit.

    Raises:
        ResourceError: no node can run a single trial, or no trial could use what was asked for.
    """
    has_gpus = any(node.get("GPU", 0) for node in nodes)
    gpus = (0.25 if has_gpus else 0.0) if gpus_per_trial is None else gpus_per_trial
    check_fraction("--gpus-per-trial", gpus)
    cpus = asked = 1.0 if cpus_per_trial is None else cpus_per_trial
    check_fraction("--cpus-per-trial", cpus)
    if gpus > max((node.get("GPU", 0) for node in nodes), default=0):
        raise ResourceError(
            f"--gpus-per-trial is {gpus:g}, but {_most('GPU', nodes)}; give at most that, or 0 to train on CPUs"
        )
    if cpus > max((node.get("CPU", 0) for node in nodes), default=0):
        raise ResourceError(f"--cpus-per-trial is {cpus:g}, but {_most('CPU', nodes)}; give at most that")
    if gpus:
        holding = [(node.get("CPU", 0), _fitting(node.get("GPU", 0), gpus)) for node in nodes]
        cpus = min([cpus, *(_floor(node_cpus / trials) for node_cpus, trials in holding if trials)])
    count = sum(
        min(_fitting(node.get("CPU", 0), cpus), _fitting(node.get("GPU", 0), gpus) if gpus else 10**9) for node in nodes
    )
    notes = []
    if cpus < asked:
        notes.append(
            f"{cpus:g} CPU a trial instead of {asked:g}, so that CPUs do not limit how many trials a GPU holds; small "
            "networks need CPU time to launch their kernels: a larger --gpus-per-trial gives each trial more of it"
        )
    if gpus and len(kinds := gpu_kinds(nodes)) > 1:
        notes.append(
            f"GPUs of several kinds ({', '.join(kinds)}): a trial may get any of them, so times and memory "
            "differ between trials"
        )
    return Slots(cpus, gpus, count if max_concurrent is None else min(count, max_concurrent), "; ".join(notes))


def gpu_kinds(nodes: Sequence[Mapping[str, float]]) -> list[str]:
    """Names of the kinds of GPU, such as A100 and T4, as Ray finds them on nodes with GPUs."""
    names = {name for node in nodes if node.get("GPU", 0) for name in node if name.startswith(ACCELERATOR)}
    return sorted(name.removeprefix(ACCELERATOR) for name in names)


def check_fraction(flag: str, amount: float) -> None:
    """Raises ResourceError where Ray can place `amount` of a resource on no machine at all."""
    if flag == "--gpus-per-trial" and not 0 <= amount <= 1:
        raise ResourceError(f"{flag} is {amount:g}; allowed: from 0 to 1, as a training uses one GPU or a share of one")
    if not math.isfinite(amount) or amount < 0 or (amount == 0 and flag == "--cpus-per-trial"):
        raise ResourceError(f"{flag} is {amount:g}; allowed: a fraction of one, or an integer")
    if amount > 1 and amount != int(amount):
        raise ResourceError(
            f"{flag} is {amount:g}; above one Ray places integers only: {int(amount)} or {int(amount) + 1}"
        )
    if abs(amount / STEP - round(amount / STEP)) > 1e-6:
        raise ResourceError(f"{flag} is {amount!r}; Ray places steps of {STEP} only")


def _fitting(available: float, each: float) -> int:
    """How many trials of `each` fit; a fraction of a GPU is never put together from two."""
    return int(available) * int(1 / each + 1e-9) if 0 < each < 1 else int(available / each + 1e-9)


def _floor(amount: float) -> float:
    return math.floor(amount / STEP + 1e-9) * STEP if amount < 1 else float(int(amount))


def _most(resource: str, nodes: Sequence[Mapping[str, float]]) -> str:
    most = max((node.get(resource, 0) for node in nodes), default=0)
    return f"no node has more than {most:g} {resource}" if most else f"no node has a {resource}"
