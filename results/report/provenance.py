"""How a run was made: its command, and everything that decides whether another one gives the same."""

import shlex
from collections.abc import Iterator

from results.formatting import count
from results.report.summary import role
from results.run import Run


def command(run: Run) -> str:
    module = "study.baseline" if run.study["kind"] == "baseline" else "study.run"
    return shlex.join(["python", "-m", module, *map(str, run.study["command"])])


def provenance(run: Run) -> Iterator[tuple[str, str]]:
    """What there is to say, name by name."""
    study, data = run.study, run.study["data"]
    yield "Status", f"{run.status}{', ' + study['reason'] if study['reason'] else ''}"
    yield "Begun (UTC)", _moment(study["created"])
    yield "Ended (UTC)", _moment(study["ended"]) if study["ended"] else "not ended"
    yield "Seed of the study", str(study["seed"])
    if run.final is not None:
        yield "Seeds of the finals", ", ".join(str(each["seed"]) for each in run.final[role(run)]["seeds"])
    if study["kind"] == "search":
        yield "Space", str(study["space"])
        yield "Search", _search(run)
        yield "Selected by", f"{run.metric.words}, {'highest' if run.metric.maximize else 'lowest'} is best"
    yield "Git revision", _revision(run)
    yield "Versions", ", ".join(f"{package} {version}" for package, version in study["versions"].items())
    images = f"{count(data['train'], 'training image')} and {count(data['validation'], 'validation image')}"
    yield "Data", f"{study['dataset']}, {images}"
    yield "Digest of the training images (SHA-256)", str(data["digest"])
    yield "Digest of the split (SHA-256)", str(data["split_digest"])
    hardware = study["hardware"]
    gpus = ", ".join(hardware["gpus"]) or "no GPU"
    memory = hardware["memory_bytes"] / 2**30
    yield "Hardware", f"{hardware['cpus']} x {hardware['cpu']}, {gpus}, {memory:.0f} GiB, {hardware['machine']}"


def _search(run: Run) -> str:
    study = run.study
    return (
        f"{count(study['samples'], 'sample')}, {count(study['max_epochs'], 'epoch')} at most, rungs "
        f"{', '.join(map(str, study['rungs']))}, reduction factor {study['reduction_factor']}, {study['slots']} at once"
    )


def _revision(run: Run) -> str:
    git = run.study["git"]
    if not git:
        return "not in a checkout"
    return f"{git['revision']}{', with changes not committed' if git['dirty'] else ''}"


def _moment(iso: str) -> str:
    return iso[:19].replace("T", " ")
