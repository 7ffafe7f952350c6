"""Describe a data set and look for what is wrong with it, before anything is trained:

    python -m study.data PATH
    python -m study.data cifar10 --json

Without a data set, the names that are known are listed.
"""

import json
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.command_line import Parser, printable, run_command

if TYPE_CHECKING:
    from study.data.checks import Findings


def flags() -> Parser:
    parser = Parser(prog="study.data", description="Describe a data set and look for what is wrong with it.")
    parser.add_argument("dataset", nargs="?", help="a name, a folder, a listing, Parquet, an .npz, or file.py:function")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), metavar="DIR", help="downloads and decoded images"
    )
    parser.add_argument("--image-size", type=int, metavar="N", help="scale images to N x N")
    parser.add_argument("--validation-share", type=float, default=0.1, metavar="X", help="as for study.run")
    parser.add_argument("--test-share", type=float, default=0.2, metavar="X", help="as for study.run")
    parser.add_argument("--split-seed", type=int, default=10, metavar="N", help="as for study.run")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out files that cannot be read")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="where contact sheets go; by default DATA_DIR/pictures"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and write no pictures")
    return parser


def main(command: Sequence[str] | None = None) -> int:
    arguments = flags().parse_args(command)
    return run_command("study.data", lambda: _describe(arguments))


def _describe(arguments: Namespace) -> int:
    # What is heavy is not needed for --help.
    from study import data
    from study.data import DataOptions, checks, test_set

    if arguments.dataset is None:
        print("\n".join(data.DATASETS))
        return 0
    console = Console(stderr=arguments.json, soft_wrap=True, highlight=False)
    options = DataOptions(
        arguments.data_dir,
        arguments.image_size,
        arguments.skip_unreadable,
        arguments.validation_share,
        arguments.test_share,
        arguments.split_seed,
    )
    dataset = data.load(arguments.dataset, options, lambda line: console.print(printable(line), markup=False))
    findings = checks.inspect(dataset)
    if arguments.json:
        print(json.dumps(findings.as_dict()))
        return 0
    slug = re.sub(r"\W+", "-", dataset.name).strip("-")
    folder = arguments.pictures or options.cache_dir / "pictures" / slug
    _print(findings, console)
    pictures = checks.write_pictures(findings, folder)
    if findings.test.leaked:
        pictures.append(folder / "test-also-in-training.png")
        test_set.write_picture(findings, pictures[-1])
    console.print(f"Pictures: {', '.join(map(str, pictures))}", markup=False)
    return 0


def _print(findings: "Findings", console: Console) -> None:
    dataset, spec = findings.dataset, findings.dataset.spec
    counts = {**findings.counts, "test": findings.test.counts}
    colour = "grey" if spec.channels == 1 else "RGB"
    size = f"{spec.num_classes} classes, {spec.height} x {spec.width} pixels, {colour}"
    console.print(printable(f"{dataset.name}: {size}"), markup=False)
    console.print(f"mean {_numbers(spec.mean)}, standard deviation {_numbers(spec.std)} of the training images")
    table = Table("class", *(f"{part}" for part in counts))
    for label, name in enumerate(dataset.class_names):
        table.add_row(Text(printable(name)), *(f"{own[label]:,}" for own in counts.values()))
    table.add_row("all", *(f"{sum(own):,}" for own in counts.values()), style="bold")
    console.print(table)
    for line in sentences(findings):
        console.print(printable(line), markup=False)


def sentences(findings: "Findings") -> list[str]:
    """What was found, one line each; what was not found is said too."""
    from study.data import checks

    return [
        f"{each.name[0].upper()}{each.name[1:]}: {each.count:,} {each.sentence}" for each in checks.remarks(findings)
    ]


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
