"""Feeding: batches a second against the plain way, share of an epoch, and memory of data in memory and mapped from files."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from ar_dmvc.clusterers import CoMVC
from ar_dmvc.data.dataset import BatchLoader, MultiViewDataset
from ar_dmvc.data.pairing import pair_with_noisy
from benchmarks.timing import alternate, ratio

BATCH_SIZE = 100
MAPPED_SAMPLES, MAPPED_VIEWS, MAPPED_FEATURES = 2_000_000, 3, 64


def speed(samples: int, rounds: int) -> None:
    """An epoch over two 28x28 views, batch by batch, with an empty training step."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (samples, 28, 28), dtype=np.uint8)
    data = pair_with_noisy(images, np.arange(samples, dtype=np.uint8) % 10, seed=7, largest=255)
    loader = BatchLoader(MultiViewDataset(data), BATCH_SIZE, seed=0)
    plain = DataLoader(TensorDataset(*data.views, data.labels), BATCH_SIZE, shuffle=True, drop_last=True)
    seconds = alternate({"plain": lambda: [None for _ in plain], "ar_dmvc": lambda: [None for _ in loader]}, rounds)
    median, low, high = ratio(seconds, "plain", "ar_dmvc")
    clusterer = CoMVC([(1, 28, 28)] * 2, num_clusters=10)
    optimizer = torch.optim.Adam(clusterer.parameters())
    batch = next(iter(loader))

    def step() -> None:
        optimizer.zero_grad()
        sum(clusterer.losses(batch.views, clusterer(batch.views)).values()).backward()
        optimizer.step()

    epoch = len(loader) * min(alternate({"step": step}, 5)["step"])
    print(f"Feeding {samples} samples of two 28x28 views, batch {BATCH_SIZE}, in memory")
    print(f"  plain way / ar_dmvc: {median:.1f} times as many batches a second ({low:.1f} to {high:.1f})")
    print(f"  share of a CoMVC epoch: {min(seconds['ar_dmvc']) / epoch:.2%}")


def memory() -> None:
    """Peak memory beyond start-up, each measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("Memory beyond start-up, peak")
        _write_images(root, 70_000)
        _measure("NoisyMNIST's form, 70,000 samples", "images", root)
        _write_mapped(root / "mapped")
        _measure(
            f"{MAPPED_SAMPLES} samples x {MAPPED_VIEWS} views x {MAPPED_FEATURES} features, mapped, one step", "mapped", root
        )


def _measure(title: str, what: str, root: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.feeding", what, str(root)]
    used, size = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    print(f"  {title}: {used / 1e6:.0f} MB, {used / size:.2f} times the data's own {size / 1e6:.0f} MB")


def _write_images(root: Path, samples: int) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (samples, 28, 28), dtype=np.uint8)
    for stem, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", np.arange(samples) % 10)):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        (root / stem).write_bytes(header + array.astype(np.uint8).tobytes())


def _write_mapped(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for view in range(MAPPED_VIEWS):
        shape = (MAPPED_SAMPLES, MAPPED_FEATURES)
        array = np.lib.format.open_memmap(folder / f"view_{view}.npy", "w+", np.float32, shape)
        for start in range(0, MAPPED_SAMPLES, 100_000):
            array[start : start + 100_000] = random.random((100_000, MAPPED_FEATURES), dtype=np.float32)
        array.flush()


def _peak() -> int:
    """Largest resident size so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory a process used")


def _child(what: str, root: Path) -> None:
    """Load, or load and train one step; print bytes used beyond start-up, and the data's own."""
    from lightning.pytorch import Trainer

    from ar_dmvc.clusterers import SiMVC
    from ar_dmvc.data import FeatureViews, NoisyMNIST
    from ar_dmvc.modules import VictimClusterer

    before = _peak()
    if what == "images":
        data = NoisyMNIST(root=root, splits=["test"])
        data.prepare_data()
        next(iter(data.train_dataloader()))
    else:
        data = FeatureViews(path=root / "mapped", num_clusters=10)
        module = VictimClusterer(SiMVC(data.view_shapes, 10))
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        Trainer(accelerator="cpu", max_steps=1, limit_val_batches=0, **quiet).fit(module, data)
    print(_peak() - before, sum(view.nbytes for view in data.data.views))


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
