"""How checkpoints of a run are written, atomically, and resumed from, never at a path that a checkpoint names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from packaging.version import InvalidVersion, Version
from torch import Tensor

from ar_dmvc.checkpoint import read_checkpoint, write_checkpoint
from ar_dmvc.errors import CheckpointError

_LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically with a checksum; refuses damaged ones, and all but weights and plain values."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; what is not on a local disk is written as Lightning does."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU.

        Raises:
            CheckpointError: see :func:`read_checkpoint` and :func:`check_trainer_state`.
        """
        content = read_checkpoint(path)
        check_trainer_state(content, path, resumes=False)
        return content


def keep_final(callback: ModelCheckpoint, trainer: Trainer, changed: bool) -> None:
    """Keep the state in which training ended, unless the callback has done so.

    Args:
        callback: that keeps checkpoints.
        trainer: at the end of ``fit``.
        changed: whether the module is another than after the last step.
    """
    keeps_none = callback.save_top_k == 0 and not callback.save_last
    if keeps_none or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    written = callback._last_checkpoint_saved
    if callback._last_global_step_saved != trainer.global_step and (callback.monitor is None or not written):
        callback._save_checkpoint(trainer, callback.format_checkpoint_name(callback._monitor_candidates(trainer)))
    elif changed:
        callback._save_checkpoint(trainer, written)


def own_state(callback: ModelCheckpoint, state: object) -> dict[str, Any]:
    """What of a checkpoint callback's state in a checkpoint is taken: scores of files that are in the callback's own folder.

    Lightning removes and replaces files at the paths in that state, and a checkpoint may name any.

    Args:
        callback: that is set up.
        state: what the checkpoint has for it.
    """
    given = state if isinstance(state, Mapping) else {}
    scores = given.get("best_k_models")
    kept = {
        path: score
        for path, score in (scores if isinstance(scores, Mapping) else {}).items()
        if _is_own(callback, path) and isinstance(score, Tensor) and score.numel() == 1 and torch.isfinite(score)
    }
    order = sorted(kept, key=lambda path: float(kept[path]), reverse=callback.mode == "max")
    last, best = (path if _is_own(callback, path) else "" for path in map(given.get, ("last_model_path", "best_model_path")))
    is_full = len(order) == callback.save_top_k and bool(order)
    return {
        "dirpath": callback.dirpath,
        "best_k_models": kept,
        "best_model_path": order[0] if order else best,
        "best_model_score": kept[order[0]] if order else None,
        "kth_best_model_path": order[-1] if is_full else "",
        "kth_value": kept[order[-1]] if is_full else callback.kth_value,
        "last_model_path": last,
    }


def _is_own(callback: ModelCheckpoint, path: object) -> bool:
    if not isinstance(path, str) or not path or callback.dirpath is None:
        return False
    return Path(path).parent.resolve() == Path(callback.dirpath).resolve() and Path(path).is_file()


def epochs_begun(content: Mapping[str, Any]) -> int:
    """In how many epochs a checkpoint was trained; the last may not be finished."""
    try:
        return int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["ready"])
    except (KeyError, TypeError, ValueError):
        return int(content["epoch"]) + 1


def check_trainer_state(content: Mapping[str, Any], source: str | Path, resumes: bool) -> None:
    """Check that a checkpoint has what a trainer needs.

    Args:
        content: of the checkpoint.
        source: its path, for messages.
        resumes: whether training is to go on, rather than its weights to be used.

    Raises:
        CheckpointError: it has not.
    """
    version, loops = content.get("pytorch-lightning_version"), content.get("loops")
    try:
        Version(str(version))
    except InvalidVersion as error:
        raise CheckpointError(f"{source}: not of a version of Lightning ({version!r})") from error
    counts = (content.get("epoch"), content.get("global_step"))
    if any(not isinstance(count, int) or count < 0 for count in counts):
        raise CheckpointError(f"{source}: has no valid epoch and step, {counts[0]!r} and {counts[1]!r}")
    if not isinstance(loops, Mapping) or not all(isinstance(loops.get(loop), Mapping) for loop in _LOOPS):
        raise CheckpointError(f"{source}: does not say how far its training is, or not in full ('loops')")
    needed = ("optimizer_states", "lr_schedulers")
    if resumes and not all(isinstance(content.get(name), list) for name in needed):
        raise CheckpointError(f"{source}: has weights only, from which training cannot go on")
    if not isinstance(content.get("callbacks", {}), Mapping):
        raise CheckpointError(f"{source}: its state of callbacks is none")
