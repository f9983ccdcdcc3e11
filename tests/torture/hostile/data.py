"""Data files of every format that lie, swell, point elsewhere or hold code."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import savemat

from tests.conftest import QUIET, fit_arguments
from tests.torture.hostile.case import FEW, MARKUP, Case, Pickled

SAMPLES = 60
INFO = ["data", "info", "FeatureViews", "--data.num_clusters=3"]
FIT = [*fit_arguments("victims/simvc.yaml"), "--data=FeatureViews", "--data.num_clusters=3", "--trainer.max_epochs=1", *FEW]
VIEW = np.random.default_rng(0).random((SAMPLES, 4))
LABELS = np.arange(SAMPLES) % 3
Write = Callable[[Path], object]


def cases() -> Iterator[Case]:
    """All of them."""
    for name, content in _arrays().items():
        yield Case("data: npz and npy", f"npz, {name}", partial(_met, "x.npz", partial(_npz, {"view_0.npy": content})))
        yield Case("data: npz and npy", f"npy, {name}", partial(_met, "x", partial(_folder, content)))
    for name, write in _ARCHIVES.items():
        yield Case("data: npz and npy", name, partial(_met, "x.npz", write))
    for target in ("../../secret/view.npy", "/dev/zero", "view_0.npy", "/proc/self/mem", "/dev/stdin"):
        yield Case("data: links and devices", f"a link to {target}", partial(_met, "x", partial(_link, target)))
    for name in ("x/view_0.npy", "x.npz", "x.mat"):
        yield Case("data: links and devices", f"a pipe, {name}", partial(_met, name.partition("/")[0], partial(_pipe, name)))
    for name, write in {**_CELLS, **_TRICKS}.items():
        yield Case("data: mat", name, partial(_met, "x.mat", write))
    for name, content in _IMAGES.items():
        yield Case("data: IDX", name, partial(_idx, content))
    yield Case("data: IDX", "a bomb", partial(_idx, None))
    yield Case("data: names", "labels that are markup", partial(_named, "x.npz", [f"{label}{MARKUP}" for label in LABELS]))
    yield Case("data: names", "a file whose name is markup", partial(_named, f"{MARKUP}.npz".replace("/", ""), LABELS))
    for line in ("../../secret/file 0", "/etc/passwd 0", "visible 0", "a.png", "a.png x", "a.png 9" * 1000, "\0 1"):
        yield Case("data: image folders", line[:30], partial(_image_folder, line))


def _met(name: str, write: Write, folder: Path) -> list[list[str]]:
    write(folder / name)
    return [[*command, f"--data.path={name}"] for command in (INFO, FIT)]


def _named(name: str, labels: Sequence[object], folder: Path) -> list[list[str]]:
    """As far as a page."""
    np.savez(folder / name, view_0=VIEW, labels=np.array(labels))
    place = [f"--data.path={name}", "--data.partition=all", "--data.batch_size=20"]
    tested = ["test", "--ckpt_path=runs/simvc/version_0/checkpoints/last.ckpt", "--model.attacks={}", *QUIET]
    return [[*INFO, place[0]], [*FIT, *place, "--trainer.logger.version=0"], tested, ["report", "runs"]]


def _header(shape: tuple[int, ...], kind: object = "<f8") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _arrays() -> dict[str, bytes]:
    """What pretends to be an array."""
    shapes = ((1 << 40, 4), (60, 1 << 40), (-60, 4), (0, 0), (60, 0), (1 << 62, 1 << 62), (60,) * 40)
    kinds: tuple[object, ...] = ("|O", "<U9", "<M8[s]", "|V8", "<c16", "x", [])
    return {
        **{f"shape {shape}": _header(shape) + bytes(100) for shape in shapes},
        **{f"type {kind}": _header((SAMPLES, 4), kind) + bytes(1920) for kind in kinds},
        "a header that is code": b"\x93NUMPY\x01\x00\x40\x00" + b"__import__('os').system('touch canary')".ljust(63) + b"\n",
        "a header of brackets": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 16) + b"(" * (1 << 16),
        "a header longer than the file": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + b" ",
        "nothing": b"",
    }


def _npz(members: dict[str, bytes], path: Path, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _folder(content: bytes, path: Path) -> None:
    path.mkdir()
    (path / "view_0.npy").write_bytes(content)


def _bomb(path: Path) -> None:
    _npz({"view_0.npy": _header((1 << 25, 4)) + bytes(1 << 30)}, path, zipfile.ZIP_DEFLATED)


_WHOLE = _header((SAMPLES, 4)) + bytes(1920)
_ARCHIVES: dict[str, Write] = {
    "arrays of objects": lambda path: np.savez(path, view_0=np.array([Pickled()] * SAMPLES, dtype=object)[:, None]),
    "members that lead out": partial(_npz, {"view_0.npy": _WHOLE, "../secret/canary.npy": _WHOLE, "/canary": _WHOLE}),
    "many members": partial(_npz, {"view_0.npy": _WHOLE, **{f"{number}.npy": b"" for number in range(30_000)}}),
    "a bomb": _bomb,
}


def _link(target: str, path: Path) -> None:
    path.mkdir()
    (path / "view_0.npy").symlink_to(target)


def _pipe(name: str, path: Path) -> None:
    pipe = path.parent / name
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)


def _mat(value: object, path: Path, depth: int = 1) -> None:
    for _ in range(depth):
        held = np.empty((1, 1), dtype=object)
        held[0, 0] = value
        value = held
    savemat(path, {"X": value, "Y": LABELS[:, None]})


_CELLS: dict[str, Write] = {
    "text": partial(_mat, "x"),
    "complex": partial(_mat, VIEW * 1j),
    "a struct": partial(_mat, {"a": 1}),
    "three axes": partial(_mat, np.ones((3, 3, 3))),
    "nothing": partial(_mat, np.ones((0, 0))),
    "200 cells in each other": partial(_mat, VIEW, depth=200),
}


def _mat73(trick: Callable[[Any], object], path: Path) -> None:
    with h5py.File(path, "w") as file:
        trick(file)


def _pipe_beside(file: Any) -> str:
    os.mkfifo(Path(file.filename).with_name("pipe"))
    return "pipe"


_TRICKS: dict[str, Write] = {
    f"7.3, {name}": partial(_mat73, trick)
    for name, trick in {
        "an external link": lambda file: file.__setitem__("X", h5py.ExternalLink("../secret/file", "X")),
        "a soft link to itself": lambda file: file.__setitem__("X", h5py.SoftLink("/X")),
        "kept in another file": lambda file: file.create_dataset("X", (8, 1), "|u1", external=[("../secret/file", 0, 8)]),
        # The library opens these by itself, unheard; whoever opens a pipe waits for its other end.
        "an external link to a pipe": lambda file: file.__setitem__("X", h5py.ExternalLink(_pipe_beside(file), "X")),
        "kept in a pipe": lambda file: file.create_dataset("X", (8, 1), "|u1", external=[(_pipe_beside(file), 0, 8)]),
        "a shape that nothing holds": lambda file: file.create_dataset("X", (1 << 20, 1 << 20), "f8", chunks=(1024, 1024)),
        "compressed zeros": lambda file: file.create_dataset("X", data=np.zeros((1 << 22, 8)), compression="gzip"),
        "a group": lambda file: file.create_group("X"),
    }.items()
}

_IMAGES = {
    "more images than bytes": struct.pack(">IIII", 2051, 1 << 31, 28, 28) + bytes(1000),
    "huge images": struct.pack(">IIII", 2051, SAMPLES, 1 << 31, 1 << 31) + bytes(1000),
    "no images": struct.pack(">IIII", 2051, 0, 28, 28),
    "another kind": b"\x89PNG" + bytes(1000),
    "nothing": b"",
}


def _idx(content: bytes | None, folder: Path) -> list[list[str]]:
    """As NoisyMNIST is read; without content a bomb."""
    root = folder / "root"
    root.mkdir()
    if content is None:
        with gzip.open(root / "t10k-images-idx3-ubyte.gz", "wb", 1) as file:
            file.write(struct.pack(">IIII", 2051, SAMPLES, 28, 28) + bytes(1 << 29))
    else:
        (root / "t10k-images-idx3-ubyte").write_bytes(content)
    (root / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, SAMPLES) + LABELS.astype(np.uint8).tobytes())
    return [["data", "info", "NoisyMNIST", "--data.root=root", "--data.splits=[test]"]]


def _image_folder(line: str, folder: Path) -> list[list[str]]:
    lists = folder / "root" / "idx"
    lists.mkdir(parents=True)
    for spectrum in ("visible", "thermal"):
        (lists / f"train_{spectrum}_1.txt").write_text(f"{line}\n")
    return [["data", "info", "RegDB", "--data.root=root"]]
