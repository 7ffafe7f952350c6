"""From a config to a command line: flags, help, shell completion, and errors of one line with exit code 2."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin

from study import DISTRIBUTION, installed_version
from study.config import TrainingConfig, extra_of, key_of, read_yaml
from study.errors import StudyError, StudyFailed, StudyInterrupted

if TYPE_CHECKING:
    from results import Run
    from study.winner.model import Winner

EXIT_CODES = """exit codes:
  0  done
  1  the study failed; the message says why, where the run is, and how to resume it
  2  the command line or an input is wrong
  128 + N  stopped by signal N (130: Ctrl-C); resume the run with --resume"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, without the usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options, allow_abbrev=False, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.add_argument("--version", action="version", version=f"{DISTRIBUTION} {installed_version()}")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}\n")


def parser_of(config: type[TrainingConfig], prog: str, description: str) -> Parser:
    """A parser with one flag a setting. It returns only what was given, as text."""
    parser = Parser(prog=prog, description=description, argument_default=argparse.SUPPRESS)
    groups: dict[str, Any] = {}
    # A subclass's own settings come first.
    own = [name for name in config.model_fields if name not in TrainingConfig.model_fields]
    for name in [*own, *(name for name in config.model_fields if name in TrainingConfig.model_fields)]:
        extra = extra_of(config, name)
        if extra.get("flag", True):
            group = groups.setdefault(extra["group"], None) or parser.add_argument_group(extra["group"])
            groups[extra["group"]] = group
            _add_flag(group, config, name, extra)
    resume = parser.add_argument_group("resume and files of settings")
    resume.add_argument("--config", metavar="FILE", help="settings from a YAML file; flags win")
    resume.add_argument("--resume", metavar="RUN", help="continue a run: its directory, its name, 'latest', or a URL")
    resume.add_argument(
        "--resume-or-start", action="store_true", help="resume the run called --name if it exists, else start it"
    )
    _add_completion(parser)
    return parser


def _add_flag(group: Any, config: type[TrainingConfig], name: str, extra: Mapping[str, Any]) -> None:
    field = config.model_fields[name]
    flag = flag_of(key_of(config, name))
    text = f"{field.description}{_default(field.default)}".replace("%", "%%")
    options: dict[str, Any] = {"dest": key_of(config, name), "help": text}
    kinds = {field.annotation, *get_args(field.annotation)}
    if bool in kinds:
        group.add_argument(flag, action="store_true", **options)
        return
    choices = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), None)
    if choices:
        options["choices"] = choices
    elif "metavar" in extra:
        options["metavar"] = extra["metavar"]
    if isinstance(field.default, list | dict):
        options["action"] = "append"
    group.add_argument(flag, **options)


def _default(value: Any) -> str:
    if value is None or isinstance(value, bool) or value in ([], {}):
        return ""
    shown = ", ".join(map(str, value)) if isinstance(value, list) else value
    return f" (default: {shown})"


def _add_completion(parser: argparse.ArgumentParser) -> None:
    import shtab

    shtab.add_argument_to(parser, ["--print-completion"], help="print a completion script for this shell")


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def given_settings(parser: Parser, command: Sequence[str]) -> dict[str, Any]:
    """What a command line and its `--config` file name: public name -> value; flags win.

    Raises:
        UsageError: the file cannot be read.
    """
    given = vars(parser.parse_args(list(command)))
    given.pop("print_completion", None)
    config = given.pop("config", None)
    return {**({} if config is None else read_yaml(Path(config))), **given}


def add_winner_arguments(parser: Parser) -> None:
    """The arguments with which a command names a finished run and allows code of the user's own."""
    parser.add_argument("run", metavar="RUN", help="a run directory, its name, or 'latest'")
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="where runs are kept (default: runs)")
    parser.add_argument("--model", metavar="FILE:CLASS", help="the network of a run of somebody else, which you trust")
    parser.add_argument("--trainer", metavar="FILE:CLASS", help="the trainer of a run of somebody else, the same")
    parser.add_argument("--trust-code", action="store_true", help="run the files that a run of somebody else names")
    parser.add_argument(
        "--accept-changed-code", action="store_true", help="load a network or trainer of yours that has changed"
    )


def load_winner(arguments: argparse.Namespace) -> "Winner":
    """The winner of the run that such arguments name; lines about code of the user's own go to standard error.

    Raises:
        StudyError: as study.winner.model.load.
    """
    from study.pipeline.find_run import find_run
    from study.pipeline.trusted_code import Permission
    from study.winner.model import load

    run_dir = find_run(arguments.run, Path(arguments.runs_dir))
    allowed = arguments.model, arguments.trainer, arguments.trust_code, arguments.accept_changed_code
    return load(run_dir, Permission(*allowed), lambda notice: print(printable(notice), file=sys.stderr))


def run_command(program: str, function: Callable[[], int]) -> int:
    """What `function` returns; a StudyError becomes its one line on standard error and an exit code.

    Returns:
        The exit code: 1 where a study had begun and failed, 128 + the signal that stopped it.

    Raises:
        SystemExit: with 2 for bad input, as argparse does.
    """
    from results.terminal import discard_output, tolerate_any_output  # brings pandas, which --help does not need

    tolerate_any_output()
    try:
        code = function()
        sys.stdout.flush()
        return code
    except StudyInterrupted as error:
        return _say(program, str(error), 128 + error.signal_number)
    except StudyFailed as error:
        return _say(program, str(error), 1)
    except StudyError as error:
        sys.exit(_say(program, str(error), 2))
    except KeyboardInterrupt:
        return _say(program, "stopped by SIGINT", 130)
    except BrokenPipeError:
        discard_output()
        return 141
    except OSError as error:  # such as a standard output whose disk is full
        discard_output()
        said = error.strerror or str(error)
        return _say(program, f"{error.filename}: {said}" if error.filename else said, 1)


def _say(program: str, message: str, code: int) -> int:
    print(f"{program}: {printable(message)}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    """`text` without characters that would steer a terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text)


def run_with_settings(
    parser: Parser, command: Sequence[str], function: Callable[[dict[str, Any], Sequence[str]], "Run"]
) -> int:
    """Calls `function` with the settings that `command` names, and with `command`; --json prints what came out.

    Returns:
        The exit code, as run_command.
    """
    return run_command(parser.prog, partial(_run_with_settings, parser, command, function))


def _run_with_settings(
    parser: Parser, command: Sequence[str], function: Callable[[dict[str, Any], Sequence[str]], "Run"]
) -> int:
    given = given_settings(parser, command)
    as_json = given.get("json")
    run = function(given, command)
    if as_json:
        best = run.path / "best.json"
        content: dict[str, Any] = {"run": str(run.path), "final": run.final}
        if best.exists():
            content["best"] = json.loads(best.read_bytes())
        print(json.dumps(content, indent=2))
    return 0
