"""Classify images with the winner of a run, or evaluate it on a labelled folder:

    python -m study.predict runs/NAME photo.jpg more/
    python -m study.predict runs/NAME more/ --format csv > predictions.csv
    python -m study.predict runs/NAME --test labelled/

Predictions go to standard output, everything else to standard error. Images that cannot be read are named there; all
others are predicted, and the exit code is 2.
"""

import csv
import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.command_line import Parser, add_winner_arguments, load_winner, printable, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.data.inputs import Item, Unreadable
    from study.winner.model import Winner

PROGRAM = "study.predict"
# Unreadable files that are named one by one.
EXAMPLES = 20


@dataclass(frozen=True)
class Score:
    """A number about predictions of labelled images.

    Attributes:
        metric: a name in study.training.metrics.METRICS, or "recall".
        class_name: of a recall: the class whose images were to be recognised; None: all classes.
        value: the number.
        low, high: its 95% interval; Wilson's for accuracy and recall, otherwise that of
            results.bootstrap.metric_interval.
        images: how many it is about.
    """

    metric: str
    class_name: str | None
    value: float
    low: float
    high: float
    images: int


class TableWriter:
    """A table for people on standard output: fractions with four decimals."""

    def __init__(self, columns: Sequence[str]) -> None:
        from rich.table import Column, Table

        self._table = Table(*(Column(each, overflow="fold") for each in columns), box=None)

    def write(self, row: Sequence[Any]) -> None:
        from rich.text import Text

        cells = (f"{cell:.4f}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in row)
        self._table.add_row(*(Text(printable(cell)) for cell in cells))

    def end(self) -> None:
        from rich.console import Console

        Console(soft_wrap=True).print(self._table)


class CsvWriter:
    """Rows of a CSV table on standard output."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._table = csv.writer(sys.stdout, lineterminator="\n")
        self._table.writerow(columns)

    def write(self, row: Sequence[Any]) -> None:
        self._table.writerow(row)

    def end(self) -> None:
        pass


class JsonWriter:
    """One JSON array on standard output, of an object a row."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns, self._rows = columns, 0
        sys.stdout.write("[")

    def write(self, row: Sequence[Any]) -> None:
        content = json.dumps(dict(zip(self._columns, row, strict=True)), allow_nan=False)
        sys.stdout.write(f"{',' if self._rows else ''}\n  {content}")
        self._rows += 1

    def end(self) -> None:
        sys.stdout.write("\n]\n")


Writer = TableWriter | CsvWriter | JsonWriter
WRITERS: dict[str, type[Writer]] = {"table": TableWriter, "csv": CsvWriter, "json": JsonWriter}


def main(command: Sequence[str] | None = None) -> int:
    """Predicts or evaluates; the exit code is 2 for a wrong input or an image that cannot be read, else 0."""
    parser = Parser(prog=PROGRAM, description="Classify images with the winner of a run, or evaluate it on images.")
    add_winner_arguments(parser)
    parser.add_argument("images", nargs="*", metavar="IMAGE|FOLDER", help="images of any size and format")
    parser.add_argument("--test", metavar="FOLDER", help="evaluate on the labelled images FOLDER/CLASS/*")
    parser.add_argument("--format", choices=WRITERS, help="of what is printed (default: table on a terminal, else csv)")
    parser.add_argument("--probabilities", action="store_true", help="also print the probability of every class")
    arguments = parser.parse_args(sys.argv[1:] if command is None else list(command))
    arguments.format = arguments.format or ("table" if sys.stdout.isatty() else "csv")
    if bool(arguments.images) == bool(arguments.test):
        parser.error("give either images and folders to classify, or --test FOLDER")
    return run_command(PROGRAM, lambda: _predict(arguments))


def _predict(arguments: Namespace) -> int:
    winner = load_winner(arguments)
    if arguments.test:
        _print_scores(evaluate(winner, Path(arguments.test)), arguments.format)
        return 0
    unreadable = _print_predictions(winner, arguments)
    _name_unreadable(unreadable)
    return 2 if unreadable else 0


def evaluate(winner: "Winner", folder: Path) -> list[Score]:
    """Predicts the images folder/CLASS/* and compares with their classes. No image outside `folder` is read.

    Returns:
        The metrics over all images, accuracy first, then the recall of each class that has images.

    Raises:
        DataError: the folder has no class folders, one is no class of the winner, or an image cannot be read.
    """
    import numpy as np

    from results.formatting import count
    from study.errors import DataError

    files, labels = _labelled(winner, folder)
    batches = list(_predicted(winner, files))
    unreadable = [each for _, failed in batches for each in failed]
    if unreadable:
        raise DataError(
            f"{len(unreadable)} of {count(len(files), 'image')} cannot be read; {_described(unreadable[0])}"
        )
    probabilities = np.concatenate([batch for batch, _ in batches])
    right = probabilities.argmax(1) == labels
    scores = [_proportion("accuracy", None, right), *_other_metrics(labels, probabilities)]
    recalls = [
        _proportion("recall", str(winner.classes_[label]), right[labels == label]) for label in np.unique(labels)
    ]
    return scores + recalls


def _labelled(winner: "Winner", folder: Path) -> "tuple[list[Item], NDArray[np.int64]]":
    """The image files of a folder, and their labels as the winner has them, int64 [N]."""
    import numpy as np

    from study.data.sources.folder import find
    from study.data.sources.labelled import PARTS
    from study.errors import DataError

    if not folder.is_dir():
        raise DataError(f"--test is {folder}; allowed: a folder of class folders")
    if any(each.name.lower() in PARTS for each in folder.iterdir()):
        raise DataError(f"--test is {folder}, which has splits; name one of them, such as {folder / 'test'}")
    found = find(folder)
    known = {str(name): label for label, name in enumerate(winner.classes_)}
    unknown = [name for name in found.class_names if name not in known]
    if unknown:
        raise DataError(
            f"--test is {folder} with a class {unknown[0]!r}; allowed, as {winner.run_dir} has them: {', '.join(known)}"
        )
    files: list[Item] = [folder / source.name for source in found.select(np.ones(len(found.labels), bool))]
    return files, np.array([known[name] for name in found.class_names], np.int64)[found.labels]


def _proportion(metric: str, class_name: str | None, right: "NDArray[np.bool_]") -> Score:
    from results.model_comparison import wilson

    interval = wilson(int(right.sum()), len(right))
    return Score(metric, class_name, float(right.mean()), interval.low, interval.high, len(right))


def _other_metrics(labels: "NDArray[np.int64]", probabilities: "NDArray[np.float32]") -> list[Score]:
    from results.bootstrap import metric_interval
    from study.training.metrics import METRICS

    scores = []
    for name, metric in METRICS.items():
        if metric.cheap and name != "accuracy":
            interval = metric_interval(labels, probabilities, metric.function)
            value = metric.function(labels, probabilities)
            scores.append(Score(name, None, value, interval.low, interval.high, len(labels)))
    return scores


def _predicted(winner: "Winner", items: "Sequence[Item]") -> "Iterator[tuple[NDArray[np.float32], list[Unreadable]]]":
    """Batch by batch, the probabilities of the readable images and those that are not; with a progress bar."""
    from study.data.inputs import read_images
    from study.winner.model import BATCH

    with _progress_bar(len(items)) as advance:
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            images, unreadable = read_images(batch, winner.spec)
            yield winner.predict_batch(images), unreadable
            advance(len(batch))


@contextmanager
def _progress_bar(total: int) -> Iterator[Any]:
    """Yields a function that takes how many more are done; shown on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("images", total=total)
        yield lambda count: bar.advance(task, count)


def _print_predictions(winner: "Winner", arguments: Namespace) -> "list[Unreadable]":
    """Prints a row an image, batch by batch; returns the images that cannot be read."""
    from study.data.inputs import list_images, name_of
    from study.winner.model import BATCH

    items = list_images(arguments.images, winner.spec)
    classes = [str(name) for name in winner.classes_]
    each_class = [f"probability/{name}" for name in classes] if arguments.probabilities else []
    writer = WRITERS[arguments.format](["image", "class", "confidence", *each_class])
    unreadable: list[Unreadable] = []
    for number, (probabilities, failed) in enumerate(_predicted(winner, items)):
        batch = items[number * BATCH : (number + 1) * BATCH]
        missing = {each.position for each in failed}
        names = [name_of(item) for position, item in enumerate(batch) if position not in missing]
        for name, row in zip(names, probabilities.tolist(), strict=True):
            confidence = max(row)
            writer.write([name, classes[row.index(confidence)], confidence, *row[: len(each_class)]])
        unreadable += failed
    writer.end()
    return unreadable


def _print_scores(scores: Sequence[Score], format: str) -> None:
    from results.formatting import count

    accuracy = scores[0]
    writer = WRITERS[format](["metric", "class", "value", "low", "high", "images"])
    for score in scores:
        writer.write(list(asdict(score).values()))
    writer.end()
    print(
        f"accuracy {accuracy.value:.2%} on {count(accuracy.images, 'image')} "
        f"(95% interval {accuracy.low:.2%} to {accuracy.high:.2%})",
        file=sys.stderr,
    )


def _name_unreadable(unreadable: "Sequence[Unreadable]") -> None:
    for each in unreadable[:EXAMPLES]:
        print(f"{PROGRAM}: {_described(each)}", file=sys.stderr)
    if len(unreadable) > EXAMPLES:
        print(f"{PROGRAM}: and {len(unreadable) - EXAMPLES} more that cannot be read", file=sys.stderr)


def _described(unreadable: "Unreadable") -> str:
    return f"{unreadable.name} cannot be read: {unreadable.reason}"


if __name__ == "__main__":
    sys.exit(main())
