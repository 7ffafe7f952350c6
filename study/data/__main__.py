"""Describe a data set and look for what is wrong with it, before anything is trained:

    python -m study.data PATH
    python -m study.data cifar10 --json

Without a data set, the names that are known are listed.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from study.command_line import Parser
from study.errors import DataError

if TYPE_CHECKING:
    from study.data.checks import Findings


def flags() -> Parser:
    parser = Parser(prog="study.data", description="Describe a data set and look for what is wrong with it.")
    parser.add_argument("dataset", nargs="?", help="a name, a folder, a listing, Parquet, an .npz, or file.py:function")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), metavar="DIR", help="downloads and decoded images"
    )
    parser.add_argument("--image-size", type=int, metavar="N", help="scale images to N x N")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out files that cannot be read")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="where contact sheets go; by default DATA_DIR/pictures"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and write no pictures")
    return parser


def main(command: Sequence[str] | None = None) -> int:
    arguments = flags().parse_args(command)
    # What is heavy is not needed for --help.
    from study import data
    from study.data import DataOptions, checks, test_set

    if arguments.dataset is None:
        print("\n".join(data.DATASETS))
        return 0
    console = Console(stderr=arguments.json, soft_wrap=True, highlight=False)
    try:
        options = DataOptions(arguments.data_dir, arguments.image_size, arguments.skip_unreadable)
        dataset = data.load(arguments.dataset, options, lambda line: console.print(line, markup=False))
        findings = checks.inspect(dataset)
        if arguments.json:
            print(json.dumps(findings.as_dict()))
            return 0
        slug = re.sub(r"\W+", "-", dataset.name).strip("-")
        folder = arguments.pictures or arguments.data_dir / "pictures" / slug
        _print(findings, console)
        pictures = checks.write_pictures(findings, folder)
        if findings.test.leaked:
            pictures.append(folder / "test-also-in-training.png")
            test_set.write_picture(dataset, findings.test, pictures[-1])
        console.print(f"Pictures: {', '.join(map(str, pictures))}", markup=False)
    except DataError as error:
        print(f"study.data: {error}", file=sys.stderr)
        return 2
    return 0


def _print(findings: "Findings", console: Console) -> None:
    dataset, spec = findings.dataset, findings.dataset.spec
    counts = {**findings.counts, "test": findings.test.counts}
    colour = "grey" if spec.channels == 1 else "RGB"
    console.print(
        f"{dataset.name}: {spec.num_classes} classes, {spec.height} x {spec.width} pixels, {colour}", markup=False
    )
    console.print(f"mean {_numbers(spec.mean)}, standard deviation {_numbers(spec.std)} of the training images")
    table = Table("class", *(f"{part}" for part in counts))
    for label, name in enumerate(dataset.class_names):
        table.add_row(name, *(f"{own[label]:,}" for own in counts.values()))
    table.add_row("all", *(f"{sum(own):,}" for own in counts.values()), style="bold")
    console.print(table)
    for line in sentences(findings):
        console.print(line, markup=False)


def sentences(findings: "Findings") -> list[str]:
    """What was found, one line each; what was not found is said too."""
    test, near = findings.test, findings.near
    leaked, tests = len(test.leaked), sum(test.counts)
    smallest, largest = (extreme(map(sum, zip(*findings.counts.values(), strict=True))) for extreme in (min, max))
    lines = [
        f"Equal images in training: {sum(map(len, findings.equal))} in {len(findings.equal)} groups, "
        f"{len(findings.conflicting)} of them with different labels"
        f"{_examples(findings.names(group) for group in findings.equal)}",
        f"Near duplicates in training: {len(near)} pairs"
        f"{_examples(findings.names(pair) for pair in zip(near.first, near.second, strict=True))}",
        f"Test images that are also in training, equal or nearly: {leaked} of {tests:,} ({leaked / tests:.2%}); "
        f"{test.equal_leaks} equal, {test.other_label} of these with another label"
        f"{_examples([str(index)] for index in test.leaked)}",
        f"Images of one colour: {len(findings.constant)} in training, {len(test.constant)} in the test set"
        f"{_examples([findings.name(index)] for index in findings.constant)}",
    ]
    if largest >= 3 * smallest:
        lines.append(
            f"The largest class has {largest / smallest:.1f} times as many images as the smallest: accuracy can "
            "mislead, look at balanced accuracy"
        )
    return lines


def _examples(groups: Iterable[Sequence[str]]) -> str:
    shown = [" = ".join(group[:3]) for group in islice(groups, 3)]
    return f" (such as {'; '.join(shown)})" if shown else ""


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
