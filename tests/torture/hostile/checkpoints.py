"""Checkpoints that hold code, name foreign classes and other places, swell, or are damaged."""

from __future__ import annotations

import copy
import hashlib
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ar_dmvc import load_clusterer
from ar_dmvc.checkpoint import read_checkpoint, write_checkpoint
from ar_dmvc.errors import CheckpointError
from tests.torture import Trial
from tests.torture.hostile.case import FOREIGN, Case, Pickled, entry, uses

ODD = (
    3 * 10**6,
    10**8,
    10**9,
    10**18,
    -1,
    0,
    1e308,
    float("nan"),
    "x" * 10_000,
    None,
    [],
    {},
    [[[]]],
    True,
    "\x1b[2J",
    "../secret/file",
)
PROCESS = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "../secret/canary"]}}
_RESEALED = 100
Content = Mapping[str, Any]
Way = tuple[Any, ...]


def cases(checkpoint: Path) -> Iterator[Case]:
    """Changes of a checkpoint, in every place that it has."""
    content = read_checkpoint(checkpoint)
    for number, way in enumerate(_ways(content)):
        yield Case("checkpoints with pickled code", _words(way), partial(_with_code, content, way, number))
    for name, save in _CONTAINERS.items():
        yield Case("checkpoints with pickled code", name, partial(_in_container, content, save))
    yield from _descriptions(content)
    yield from _states(content)
    yield from _archives(checkpoint)
    for number in range(_RESEALED):
        yield Case("checkpoints with bits flipped and sealed again", f"lot {number}", partial(_flipped, checkpoint, number))


def flips(checkpoint: Path, folder: Path, count: int = 10_000) -> Iterator[Trial]:
    """Flip bits of a checkpoint, one at a time, at random places: each is found."""
    whole = bytearray(checkpoint.read_bytes())
    lot = random.Random(0)
    path = folder / "flipped.ckpt"
    path.write_bytes(whole)
    with path.open("r+b", buffering=0) as file:
        for _ in range(count):
            place, bit = lot.randrange(len(whole)), lot.randrange(8)
            file.seek(place)
            file.write(bytes([whole[place] ^ 1 << bit]))
            try:
                load_clusterer(path)
            except CheckpointError:
                fault = ""
            else:
                fault = "was read as if it were whole"
            yield Trial("checkpoints with a bit flipped", f"byte {place}, bit {bit}", fault)
            file.seek(place)
            file.write(bytes([whole[place]]))


def _with_code(content: Content, way: Way, number: int, folder: Path) -> list[list[str]]:
    torch.save(_changed(content, way, Pickled()), folder / "x.ckpt")
    return [entry("x.ckpt", number)]


def _in_container(content: Content, save: Callable[[dict[Any, Any], Path], object], folder: Path) -> list[list[str]]:
    save({**content, "x": Pickled()}, folder / "x.ckpt")
    return uses("x.ckpt", fit=True)


_CONTAINERS: dict[str, Callable[[dict[Any, Any], Path], object]] = {
    "as torch wrote before its zip files": lambda content, path: torch.save(
        content, path, _use_new_zipfile_serialization=False
    ),
    "a bare pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
    "as a key": lambda content, path: torch.save({**content, Pickled(): 1}, path),
    "a list": lambda content, path: torch.save([content], path),
    "nothing but code": lambda content, path: torch.save(Pickled(), path),
    "a module": lambda content, path: torch.save({"state_dict": torch.nn.Linear(1, 1)}, path),
}


def _descriptions(content: Content) -> Iterator[Case]:
    """Foreign classes and odd values in all that says how something is built."""
    number = count()
    for way in (way for way in _ways(content) if way[0] in ("clusterer", "config")):
        for name in FOREIGN if way[-1] == "class_path" else ():
            made = partial(_described, content, way, name, next(number))
            yield Case("checkpoints that name foreign classes", f"{_words(way)}: {name}", made)
        made = partial(_described, content, way, PROCESS, next(number))
        yield Case("checkpoints that name foreign classes", f"a process at {_words(way)}", made)
        for value in ODD:
            made = partial(_described, content, way, value, next(number))
            yield Case("checkpoints with odd settings", f"{_words(way)} = {str(value)[:20]}", made)


def _states(content: Content) -> Iterator[Case]:
    """Other places and odd values in what training goes on from."""
    for way in (way for way in _ways(content) if way[0] not in ("clusterer", "config", "state_dict")):
        value = _at(content, way)
        if isinstance(value, str):
            elsewhere = partial(_with, content, way, "../secret/file", fit=True)
            yield Case("checkpoints that point elsewhere", _words(way), elsewhere)
        elif not isinstance(value, (torch.Tensor, Mapping, list)):
            yield Case("checkpoints with odd states", _words(way), partial(_with, content, way, 10**18, fit=True))


def _described(content: Content, way: Way, value: object, number: int, folder: Path) -> list[list[str]]:
    """Beside code that would run where it is imported."""
    (folder / "theirs.py").write_text("open('canary', 'w').close()\nclass Data: ...\n")
    write_checkpoint(_changed(content, way, value), folder / "x.ckpt")
    return [entry("x.ckpt", number)]


def _with(content: Content, way: Way, value: object, folder: Path, fit: bool = False) -> list[list[str]]:
    write_checkpoint(_changed(content, way, value), folder / "x.ckpt")
    return uses("x.ckpt", fit=fit)


def _archives(checkpoint: Path) -> Iterator[Case]:
    """Cut short, with members that lead out or swell, with tensors larger than what they hold."""
    kind = "checkpoints that are no whole archives"
    for part in range(40):
        yield Case(kind, f"{part}/40 of it", partial(_cut, checkpoint, part / 40))
    for name in ("../secret/canary", "/canary", "a/../../secret/canary", "x" * 60_000):
        yield Case(kind, f"a member {name[:20]}", partial(_with_member, checkpoint, name, zipfile.ZIP_STORED, 10))
    yield Case(kind, "a bomb", partial(_with_member, checkpoint, "bomb", zipfile.ZIP_DEFLATED, 1 << 28))
    yield Case(kind, "tensors larger than their storage", partial(_swollen, checkpoint))


def _flipped(checkpoint: Path, seed: int, folder: Path) -> list[list[str]]:
    """A few bits of what is read are others, and the seal is of these."""
    whole = bytearray(checkpoint.read_bytes())
    comment = whole.rindex(b"ar_dmvc sha256 ")
    lot = random.Random(seed)
    with zipfile.ZipFile(checkpoint) as archive:
        pickled = next(member for member in archive.infolist() if member.filename.endswith("data.pkl"))
    inside = range(pickled.header_offset, pickled.header_offset + pickled.file_size) if seed % 2 else range(comment)
    for _ in range(1 + seed % 3):
        whole[lot.choice(inside)] ^= 1 << lot.randrange(8)
    digest = hashlib.sha256(whole[: comment + len(b"ar_dmvc sha256 ")]).hexdigest()
    (folder / "x.ckpt").write_bytes(whole[:comment] + b"ar_dmvc sha256 " + digest.encode())
    return uses("x.ckpt", fit=False)[:1]


def _cut(checkpoint: Path, share: float, folder: Path) -> list[list[str]]:
    whole = checkpoint.read_bytes()
    (folder / "x.ckpt").write_bytes(whole[: int(len(whole) * share)])
    return uses("x.ckpt", fit=False)[:1]


def _with_member(checkpoint: Path, name: str, method: int, size: int, folder: Path) -> list[list[str]]:
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile(folder / "x.ckpt", "w", method) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        new.writestr(name, bytes(size))
    return uses("x.ckpt", fit=False)[:1]


def _swollen(checkpoint: Path, folder: Path) -> list[list[str]]:
    content = read_checkpoint(checkpoint)
    content["state_dict"] = {name: torch.ones(1).expand(10**6, 10**6) for name in content["state_dict"]}
    write_checkpoint(content, folder / "x.ckpt")
    return uses("x.ckpt", fit=True)


def _ways(value: object, way: Way = ()) -> Iterator[Way]:
    """The ways to everything in nested containers."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in items:
        yield (*way, key)
        yield from _ways(item, (*way, key))


def _at(content: Any, way: Way) -> Any:
    for key in way:
        content = content[key]
    return content


def _changed(part: Any, way: Way, value: object) -> Any:
    """The same with another value in one place."""
    if not way:
        return value
    items = copy.copy(part) if isinstance(part, Mapping) else list(part)
    items[way[0]] = _changed(part[way[0]], way[1:], value)
    return tuple(items) if isinstance(part, tuple) else items


def _words(way: Way) -> str:
    return ".".join(map(str, way))
