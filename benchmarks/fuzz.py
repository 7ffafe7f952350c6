"""Damages files that a user may have, in ten thousand ways, and counts what each one comes to.

    python -m benchmarks.fuzz --count 10000

A mutation replaces or removes one value, somewhere in a real file: recipes, the lines of an event log, study.json as
`results` reads it and as a resumed study reads it. Each must be read, or refused in one line; nothing may raise another
error, hang, or need more than 1 GB.
"""

import argparse
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

import results
from results import schema
from study.api import Call, errors_as_study_errors, merged_settings
from study.config import StudyConfig
from study.errors import StudyError
from study.pipeline.make_problem import make_problem
from study.recipe import BASELINE, load_recipe

DEEP = "[" * 100_000 + "]" * 100_000
HOSTILE = [
    None, True, -1, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "1", "\x1b[31mred\x1b[0m",
    "\u202eback", "\ud800", [], [[]], {}, {"a": {}}, ["x"] * 3, "a" * 10_000, "x:y", "../../x", "/dev/zero",
]  # fmt: skip
LONGEST = 2_000  # characters of a message


def mutated(content: Any, chance: random.Random) -> Any:
    """A copy with one value, somewhere, taken away or replaced by a hostile one."""
    copy = json.loads(json.dumps(content))
    place = copy
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.choice(keys)
        inside = place[key]
        if isinstance(inside, dict | list) and inside and chance.random() < 0.7:
            place = inside
            continue
        if chance.random() < 0.2:
            del place[key]
        else:
            place[key] = chance.choice(HOSTILE)
        return copy


def outcome(work: Callable[[], object]) -> str:
    """`read`, `refused` in one line, or what went wrong."""
    try:
        with errors_as_study_errors():
            work()
    except (StudyError, schema.SchemaError) as error:
        message = str(error)
        return "refused" if "\n" not in message and len(message) <= LONGEST else f"ugly: {message[:200]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"
    return "read"


def resumed(run_dir: Path) -> None:
    """What a resumed study does with study.json before it prepares data and Ray."""
    config, _ = merged_settings(StudyConfig, {}, Call(resume=run_dir), "search")
    content = schema.read_study(run_dir / "study.json")
    make_problem(config, content)
    results.load_run(run_dir)


def subjects(run_dir: Path) -> dict[str, tuple[Any, Callable[[Any], object]]]:
    """What is damaged -> its content, and what is done with a damaged copy of it."""
    recipe, study = run_dir / "recipe.json", run_dir / "study.json"
    events = [json.loads(line) for line in (run_dir / "epochs.jsonl").read_text().splitlines()]

    def written(path: Path, content: Any, read: Callable[[], object]) -> object:
        path.write_text(json.dumps(content))
        return read()

    return {
        "recipe file": (BASELINE.as_dict(), lambda each: written(recipe, each, lambda: load_recipe(str(recipe)))),
        "event": (events, lambda each: [schema.read_event(json.dumps(line).encode(), ()) for line in each]),
        "study.json, shown": (
            json.loads(study.read_text()),
            lambda each: written(study, each, lambda: results.load_run(run_dir)),
        ),
        "study.json, resumed": (
            json.loads(study.read_text()),
            lambda each: written(study, each, lambda: resumed(run_dir)),
        ),
    }


def fuzz(run_dir: Path, count: int, seed: int = 0) -> tuple[dict[str, Counter[str]], float]:
    """Outcomes by subject, of `count` mutations in all, and the seconds of the slowest one.

    Args:
        run_dir: of a study; its study.json is overwritten.
    """
    chance, slowest = random.Random(seed), 0.0
    found: dict[str, Counter[str]] = {}
    for name, (content, use) in subjects(run_dir).items():
        found[name] = Counter()
        for _ in range(count // 4):
            damaged, began = mutated(content, chance), time.perf_counter()
            found[name][outcome(lambda damaged=damaged, use=use: use(damaged))] += 1  # type: ignore[misc]
            slowest = max(slowest, time.perf_counter() - began)
    return found, slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--run", type=Path, default=Path("tests/kept_run_0_1"), help="the run whose files are damaged")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        for name in ("study.json", "epochs.jsonl"):
            (Path(folder) / name).write_bytes((asked.run / name).read_bytes())
        found, slowest = fuzz(Path(folder), asked.count, asked.seed)
    table = Table("subject", "outcome", "mutations", box=None)
    for subject, outcomes in found.items():
        for said, times in outcomes.most_common():
            table.add_row(subject, said, str(times))
    console = Console()
    console.print(table)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    console.print(f"slowest {slowest:.2f} s, memory at most {memory:.2f} GB")


if __name__ == "__main__":
    main()
