"""What the command lines of `study` share: flag types whose refusals are one clear line, and exit code 2 for them."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that refuses in one line, without repeating the usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {re.sub('^argument ', '', message)}\n")


def whole(lowest: int) -> Callable[[str], int]:
    """A whole number, `lowest` or above."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is refused; allowed: a whole number from {lowest}")
        return int(text)

    return parse


def number(text: str) -> float:
    """A finite number, zero or above."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is refused; allowed: a number from 0")
    return value


def duration(text: str) -> float:
    """Seconds, from a number with a unit: 90s, 30m, 1.5h, 2d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text)
    if not match or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is refused; allowed: a number and s, m, h or d, such as 30m")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def pinned(text: str) -> tuple[str, str]:
    """A Recipe field and the text of its value, from field=value."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is refused; allowed: field=value, such as lr=0.01")
    return name, value


def run_name(text: str) -> str:
    """A name for a run's directory, below --runs-dir."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is refused; allowed: up to 100 letters, digits, '.', '_', '+' and '-', a letter or digit first"
        )
    return text


def storage_path(text: str) -> str:
    """A folder as its absolute path, or a URL of a store as it is."""
    if "://" not in text:
        return str(Path(text).resolve())
    if not re.match(r"(s3|gs|gcs)://[^/?]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is refused; allowed: a folder, or an s3:// or gs:// URL")
    return text


def run_or_url(text: str) -> Path | str:
    """A run: its directory, or the URL of its copy in a store."""
    return storage_path(text) if "://" in text else Path(text)


def add_machine_and_files(parser: argparse.ArgumentParser) -> None:
    """The flags that every command line that trains has."""
    machine = parser.add_argument_group("machine")
    machine.add_argument("--gpus-per-trial", type=number, metavar="X", help="0.25 where GPUs exist, else 0")
    machine.add_argument("--cpus-per-trial", type=number, metavar="X", help="1, or less where trials share GPUs")
    machine.add_argument("--max-concurrent", type=whole(1), metavar="N", help="at once; as many as fit if not given")
    machine.add_argument(
        "--address",
        default="local",
        metavar="local|auto|HOST:PORT",
        help="the Ray cluster to use; local starts one on this machine",
    )
    files = parser.add_argument_group("files and words")
    files.add_argument("--name", type=run_name, help="of the run; made from the date if not given")
    files.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept")
    files.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="where CIFAR-10 is kept")
    files.add_argument(
        "--storage-path",
        type=storage_path,
        metavar="DIR|URL",
        help="which all nodes of a cluster see, or s3:// or gs://, for states and a copy of the record",
    )
    datasets = ["cifar10", "synthetic"]
    files.add_argument("--dataset", choices=datasets, default="cifar10", help="synthetic: a stand-in, to try the suite")
    files.add_argument("--json", action="store_true", help="the result as JSON on standard output, words on the other")
