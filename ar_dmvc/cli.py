"""The ``ardmvc`` command: its help, its exit codes, and which function runs."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from jsonargparse import ArgumentError

import ar_dmvc
from ar_dmvc import api, usage
from ar_dmvc.errors import ArDmvcError, message_of
from ar_dmvc.help_kept import keep, kept
from ar_dmvc.plain_words import put_plainly, quiet
from ar_dmvc.repeated import given_again
from ar_dmvc.suggestions import did_you_mean

COMMANDS = {
    "fit": "train a clusterer, an attacker or a defender",
    "validate": "measure a checkpoint's clusterer on clean data",
    "test": "measure a checkpoint's clusterer under a suite of attacks",
    "predict": "write the cluster of every sample",
    "benchmark": "train, attack and compare several clusterers: one table",
    "report": "collect the tests below a folder: tables, and one page to look at",
    "export": "write a trained clusterer as a file that runs without this package: ONNX or torch.export",
    "configs": "list the configuration files that come with the package, or copy one",
    "data": "prepare a data set, say what it is, show a picture of it",
}

_OTHERS = {
    "benchmark": "ar_dmvc.benchmark",
    "report": "ar_dmvc.report",
    "data": "ar_dmvc.data_command",
    "configs": "ar_dmvc.configs_command",
    "export": "ar_dmvc.export",
    "--completion": "ar_dmvc.completion",
}
"""Commands with a ``main`` of their own, imported where they are asked for."""

_BY_HAND = {"data": usage.DATA, "report": usage.REPORT}

_HELP = """usage: ardmvc COMMAND [--config FILE ...] [--NAME VALUE ...]

Adversarially robust deep multi-view clustering.

commands:
{commands}

options:
  --help       this text; after a command, all of its settings; --model.help CLASS, those of a class
  --version    the version
  --completion SHELL
               a script for bash, zsh or tcsh that completes all of this: eval "$(ardmvc --completion bash)"
  --debug      show the traceback of an error

Several --config are merged in order; every setting can be given by its dotted name. With --print_config a command prints
what it would run with. Start with:

  ardmvc fit --config configs/victims/comvc.yaml --config configs/data/digits.yaml
"""


def run(command: str, args: Sequence[str]) -> None:
    """Run one command.

    Args:
        command: its name.
        args: what follows it.

    Raises:
        ArDmvcError: something that a user can fix.
    """
    if command in _OTHERS:
        importlib.import_module(_OTHERS[command]).main(args)
    else:
        made = api.run(command, args)
        if made.starts:
            told = [f"{start.loss:.4g}, {start.agreement:.3f} (seed {start.seed})" for start in made.starts]
            print(f"ardmvc: loss, agreement with the others: {'; '.join(told)}: the first is kept", file=sys.stderr)
        if command in ("fit", "test") and made.folder is not None:  # which the first of several processes knows
            print(f"ardmvc: in {made.folder}", file=sys.stderr)


def main(args: Sequence[str] | None = None) -> int:
    """The ``ardmvc`` command.

    Args:
        args: as on the command line, without the program's name; None takes the command line's.

    Returns:
        The exit code: 0 when all went well, 1 for an error, 2 for a wrong call, 130 when interrupted, 141 where nobody
        reads on.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"ardmvc {ar_dmvc.__version__}")
        return 0
    if arguments[0] not in {*COMMANDS, *_OTHERS}:
        meant = did_you_mean(arguments[0], COMMANDS)
        return _complain(f"unknown command {arguments[0]!r}, not one of {', '.join(COMMANDS)}{meant}", 2)
    _find_classes_here()
    if arguments[0] in COMMANDS and arguments[1:] in (["-h"], ["--help"]):
        return _help(arguments[0])
    if again := given_again(arguments):
        return _complain(again, 2)
    return _outcome(arguments[0], arguments[1:], debug)


def _help(command: str) -> int:
    """Print the help of a command; the exit code."""
    text = _BY_HAND.get(command) or kept(command)
    if text is None:
        written, code = io.StringIO(), 0
        with redirect_stdout(written):
            try:
                code = _outcome(command, ["--help"])
            except SystemExit as end:  # as parsers do once they have printed it
                code = int(end.code or 0)
        text = written.getvalue()
        if code != 0:
            return code
        keep(command, text)
    print(text, end="")
    return 0


def _outcome(command: str, args: Sequence[str], debug: bool = False) -> int:
    """Run a command; the exit code."""
    try:
        with quiet():
            run(command, args)
    except ArDmvcError as error:
        return _complain(str(error), 1, debug)
    except ArgumentError as error:
        return _complain(str(error), 2, debug)
    except KeyboardInterrupt:
        how = {"fit": "; it goes on with --ckpt_path last", "benchmark": "; it goes on with the same command"}
        several = command == "fit" and any(word.startswith("--starts") for word in args)
        return _complain(f"interrupted{how.get('benchmark' if several else command, '')}", 130, debug)
    except BrokenPipeError:  # what reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:  # noqa: BLE001  what a user sees of any error is one line
        return _complain(message_of(error), 1, debug)
    return 0


def _complain(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"ardmvc: error: {put_plainly(message)}", file=sys.stderr)
    return code


def _find_classes_here() -> None:
    """Let class paths name the user's own modules, those in the working directory."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    sys.exit(main())
