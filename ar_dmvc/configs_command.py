"""``ardmvc configs``: the configuration files that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ar_dmvc.errors import ConfigurationError
from ar_dmvc.files import write_whole
from ar_dmvc.settings import find_file, shipped

USAGE = """usage: ardmvc configs [copy NAME [TO]]

Lists the configuration files that come with the package, each with its first line. They can be used from any folder under the
names that are listed, with or without configs/ in front; a file of that name in the working directory comes first.

  ardmvc fit --config victims/comvc.yaml --config data/digits.yaml

copy puts one into a folder, or under another name, to be changed; by default into the working directory. No file is replaced.
"""


def main(args: Sequence[str]) -> None:
    """``ardmvc configs``.

    Args:
        args: what follows the command.

    Raises:
        ConfigurationError: no such file, or one that would be replaced.
    """
    if any(argument in ("-h", "--help") for argument in args):
        print(USAGE, end="")
    elif not args:
        files = shipped()
        width = max(map(len, files), default=0)
        for name, path in files.items():
            print(f"{name:<{width}}  {_first_line(path)}")
    elif args[0] == "copy" and 2 <= len(args) <= 3:
        print(f"ardmvc: {_copy(args[1], Path(args[2] if len(args) == 3 else '.'))}")
    else:
        raise ConfigurationError("ardmvc configs takes nothing, or copy NAME [TO]; see --help")


def _first_line(path: Path) -> str:
    line = path.read_text().partition("\n")[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""


def _copy(name: str, to: Path) -> Path:
    source = find_file(name)
    if not source.is_file():
        raise ConfigurationError(f"{name}: no such file")
    target = to / source.name if to.is_dir() else to
    if target.exists():
        raise ConfigurationError(f"{target}: is there already")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, source.read_text())
    return target
