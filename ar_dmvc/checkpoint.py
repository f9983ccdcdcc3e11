"""Checkpoints: written atomically, checksummed; read as weights and plain values only, to rebuild what they describe by name.

A checkpoint comes from elsewhere and is not trusted. It is unpickled with ``weights_only=True``, and a class that it
names is looked up in a list of known classes; nothing is imported because a checkpoint says so. The seal, a checksum, tells a
damaged file from a whole one; it is no signature.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import torch
from torch import Tensor

from ar_dmvc.errors import CheckpointError, is_out_of_memory
from ar_dmvc.files import whole_file

_SEAL = b"ar_dmvc sha256 "
_DIGITS = 64
_PIECE_BYTES = 1 << 20
_LARGEST = 10_000_000


def write_checkpoint(content: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint atomically, with its checksum; folders are made as needed.

    Args:
        content: tensors and plain values.
        path: where to.

    Raises:
        OSError: it cannot be written; an earlier checkpoint there is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(cause := error.__context__, OSError):  # of which torch says where in its archive, and not why
                raise cause from error
            raise
        _seal(file)


def read_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint that Lightning wrote.

    Args:
        path: the checkpoint file.
        map_location: device to put its tensors on.

    Returns:
        The checkpoint's content: tensors and plain Python values.

    Raises:
        CheckpointError: the file is missing, unreadable, damaged, compressed, holds pickled code or weights that are not
            finite, or is no Lightning checkpoint.
        ValueError: there is no such device here.
        OSError: the file cannot be read at the moment.
        MemoryError: nor for want of memory.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        torch.empty(0, device=map_location)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"map_location: there is no device {map_location!r} here") from error
    content = read_plain(path, map_location)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{path}: not a checkpoint of a LightningModule, it has no 'state_dict'")
    if (name := not_finite(content["state_dict"])) is not None:
        raise CheckpointError(f"{path}: its weights are not finite numbers ({name}); the training that made it broke down")
    return content


def read_plain(path: Path, map_location: str | torch.device = "cpu") -> Any:
    """Read what :func:`write_checkpoint` wrote, whatever that is.

    Raises:
        CheckpointError: the file is damaged, compressed, holds pickled code, or what would grow once it is used.
        OSError: the file cannot be read at the moment.
        MemoryError: nor for want of memory.
    """
    content = _unpickle(path, map_location)
    _check_size(content, path)
    return content


def not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of a tensor with values that are not finite; None where there is none."""
    tensors = ((name, value) for name, value in state.items() if isinstance(value, Tensor))
    return next((str(name) for name, value in tensors if not torch.isfinite(value).all()), None)


def _check_size(content: object, path: Path) -> None:
    """Check that the content cannot grow once it is used: no tensor larger than its storage, no container that holds itself.

    Raises:
        CheckpointError: it would.
    """
    sizes: dict[int, int] = {}

    def size(value: object) -> int:
        if isinstance(value, Tensor):
            held = value.layout is torch.strided and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
            return 1 if held else _LARGEST
        if isinstance(value, (str, bytes)):
            return 1 + len(value) // 64
        if not isinstance(value, (Mapping, list, tuple, set)):
            return 1
        if id(value) not in sizes:
            sizes[id(value)] = _LARGEST  # what holds itself has no end
            parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
            sizes[id(value)] = min(_LARGEST, 1 + sum(map(size, parts)))
        return sizes[id(value)]

    try:
        too_large = size(content) >= _LARGEST
    except RecursionError:
        too_large = True
    if too_large:
        raise CheckpointError(f"{path}: holds tensors or containers that repeat themselves and would grow once they are used")


def _unpickle(path: Path, map_location: str | torch.device) -> Any:
    try:
        _check_archive(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of weights and plain values, or one that carries pickled code, which is never run"
        ) from error
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # whatever a damaged file makes the unpickler stumble on
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise  # the file may be as whole as it was, and nothing is to go on from an earlier one
        raise CheckpointError(f"{path}: damaged or cut short, not a readable checkpoint") from error


def _seal(file: BinaryIO) -> None:
    """Add the checksum of a zip archive as its comment."""
    file.seek(-2, os.SEEK_END)
    file.write((len(_SEAL) + _DIGITS).to_bytes(2, "little") + _SEAL)
    file.write(_digest(file, file.tell()))


def _check_archive(path: Path) -> None:
    """Check that the archive is whole, and no larger once it is read; of earlier ones, which have no seal, each member is.

    Raises:
        CheckpointError: it is not.
        zipfile.BadZipFile: it is no archive.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or sum(m.file_size for m in members) > size:
            raise CheckpointError(f"{path}: is compressed, which checkpoints are not: it could expand to any size")
        comment = archive.comment
        whole = comment.startswith(_SEAL) if comment else archive.testzip() is None
    if whole and comment:
        with path.open("rb") as file:
            whole = comment == _SEAL + _digest(file, size - _DIGITS)
    if not whole:
        raise CheckpointError(f"{path}: damaged, its content does not have the checksum kept in it")


def _digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first ``size`` bytes, in hexadecimal digits; leaves the file there."""
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(min(_PIECE_BYTES, size - file.tell())):
        digest.update(piece)
    return digest.hexdigest().encode()


def name_of(kind: type) -> str:
    """The name of a class in checkpoints and configurations: of those of this package that of its package, not of its file."""
    return current_name(f"{kind.__module__}.{kind.__qualname__}")


def current_name(name: str) -> str:
    """A class's name, also where an earlier version wrote the file that it is in: ``ar_dmvc.clusterers.CoMVC``."""
    package, *rest = name.split(".")
    return ".".join([package, rest[0], rest[-1]]) if package == "ar_dmvc" and len(rest) > 1 else name


@runtime_checkable
class Described(Protocol):
    """What says itself what a checkpoint keeps of it."""

    def description(self) -> dict[str, Any]:
        """See :func:`describe`."""


def describe(instance: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of an object: its class's name and its constructor's arguments, in plain values."""
    return {"class_path": name_of(type(instance)), "init_args": plain(settings)}


def plain(value: Any) -> Any:
    """Turn nested containers into dictionaries and lists of numbers, strings and descriptions.

    Raises:
        TypeError: there is something else in it.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Described):
        return value.description()
    raise TypeError(f"settings must be plain values to be kept in a checkpoint, not {type(value).__name__}: {value!r}")


def build(description: object, known: Iterable[type], source: str | Path) -> Any:
    """Rebuild an object from what :func:`describe` kept of it.

    Args:
        description: a mapping with ``class_path`` and ``init_args``, among which there may be others.
        known: the classes that it may name, also in these.
        source: where the description came from, for messages.

    Raises:
        CheckpointError: it names no known class, or arguments which that class does not take.
    """
    if not isinstance(description, Mapping) or "class_path" not in description:
        raise CheckpointError(f"{source}: does not say which class it was made from")
    known = list(known)
    classes = {name_of(kind): kind for kind in known}
    name = current_name(str(description["class_path"]))
    if name not in classes:
        allowed = ", ".join(sorted(kind.__name__ for kind in classes.values()))
        raise CheckpointError(
            f"{source}: made from class {name!r}, which is not among the allowed ones ({allowed}); if you trust it, allow it "
            "(on the command line with --allow)"
        )
    arguments = description.get("init_args", {})
    if not isinstance(arguments, Mapping):
        raise CheckpointError(f"{source}: gives {name} no arguments by name")
    try:
        arguments = {
            key: build(value, known, source) if isinstance(value, Mapping) and "class_path" in value else value
            for key, value in arguments.items()
        }
        inspect.signature(classes[name]).bind(**arguments)
        return classes[name](**arguments)
    except (TypeError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"{source}: {name} cannot be made from the arguments kept in it ({error})") from error


def submodule_state(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The part of a checkpoint's ``state_dict`` that belongs to the attribute ``name`` of its module."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in content["state_dict"].items() if key.startswith(prefix)}


def check_shapes(make: Callable[[], torch.nn.Module], state: Mapping[str, Any], source: str | Path) -> None:
    """Check that a module has the parameters of a state, before memory is taken for them: a description may ask for any size.

    Args:
        make: builds it; called where tensors have shapes alone.
        state: names to tensors.
        source: where it came from, for messages.

    Raises:
        CheckpointError: names or shapes differ, or it cannot be made.
    """
    try:
        with torch.device("meta"):
            module = make()
    except RuntimeError as error:
        if "meta" in str(error):  # a class that computes with values when it is made, which have none there
            return
        raise CheckpointError(f"{source}: describes what cannot be made ({error})") from error
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    held = {name: value.shape for name, value in state.items() if isinstance(value, Tensor)}
    if wanted != held:
        odd = next(name for name in {**wanted, **held} if wanted.get(name) != held.get(name))
        sizes = (tuple(found) if (found := shapes.get(odd)) is not None else "none" for shapes in (held, wanted))
        raise CheckpointError(
            "{}: its parameters do not fit {} ({}: {} held, {} described)".format(source, type(module).__name__, odd, *sizes)
        )


def load_state(module: torch.nn.Module, state: Mapping[str, Any], source: str | Path) -> None:
    """Load a state into a module.

    Raises:
        CheckpointError: names or shapes differ.
    """
    try:
        module.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{source}: its parameters do not fit {type(module).__name__} ({error})") from error
