"""All command lines under one name, `imagestudy`, which no file in the current folder can shadow:

    imagestudy run --samples 20
    imagestudy results show latest

Each command is the `main` of a module that can also be started as `python -m MODULE`.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from study import DISTRIBUTION, installed_version

# The module of each command, and what the command does.
COMMANDS = {
    "run": ("study.run", "search hyperparameters, retrain the winner, compare it with the baseline"),
    "baseline": ("study.baseline", "train one recipe over several seeds"),
    "replay": ("study.replay", "train one trial of a run again and compare every epoch"),
    "predict": ("study.predict", "classify images with the winner of a run"),
    "export": ("study.export", "write the winner of a run for use elsewhere"),
    "data": ("study.data.__main__", "list, check and describe data sets"),
    "results": ("results.__main__", "show, compare, report and export what came out of runs"),
    "spaces": ("search_spaces.__main__", "list search spaces, or draw from one"),
}


def parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    top = argparse.ArgumentParser(
        prog=DISTRIBUTION,
        usage=f"{DISTRIBUTION} COMMAND ...",
        description="Hyperparameter studies of image classifiers whose numbers stand up.",
        epilog=f"commands:\n{commands}\n\n{DISTRIBUTION} COMMAND --help describes one. "
        f"{DISTRIBUTION} --print-completion SHELL prints a script for the shell.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    top.add_argument("--version", action="version", version=f"{DISTRIBUTION} {installed_version()}")
    return top


def completion(shell: str) -> str:
    """A completion script of `imagestudy` for bash, zsh, fish, ...: all commands, and the flags of run and baseline.

    Raises:
        SystemExit: with 2, for another shell.
    """
    import shtab

    from study.command_line import parser_of
    from study.config import ReproduceConfig, StudyConfig

    if shell not in shtab.SUPPORTED_SHELLS:
        shells = ", ".join(shtab.SUPPORTED_SHELLS)
        print(f"{DISTRIBUTION}: no completion for {shell!r}; allowed: {shells}", file=sys.stderr)
        raise SystemExit(2)
    top = argparse.ArgumentParser(prog=DISTRIBUTION)
    commands = top.add_subparsers()
    for name, (_, about) in COMMANDS.items():
        commands.add_parser(name, help=about)
    for name, config in (("run", StudyConfig), ("baseline", ReproduceConfig)):
        commands.choices[name] = parser_of(config, f"{DISTRIBUTION} {name}", COMMANDS[name][1])
    return str(shtab.complete(top, shell=shell))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command's name and its own arguments; None for those of this process.

    Returns:
        The command's exit code; 2 where there is no such command.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        parser().print_help()
        return 2
    if arguments[0] == "--print-completion":
        print(completion(arguments[1] if len(arguments) > 1 else ""))
        return 0
    name = parser().parse_args(arguments[:1]).command
    if name not in COMMANDS:
        print(f"{DISTRIBUTION}: {name!r} is no command; allowed: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module, _ = COMMANDS[name]
    code: int | None = import_module(module).main(arguments[1:])
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
