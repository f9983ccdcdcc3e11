"""What can be wrong with a user's input; the command line prints each as one line."""

from __future__ import annotations

import errno


class ArDmvcError(Exception):
    """Base of every error that a user can fix."""


class DataError(ArDmvcError):
    """A data set that is missing, damaged, or does not fit what is asked of it."""


class CheckpointError(ArDmvcError):
    """A checkpoint that is missing, damaged, hostile, or of another kind."""


class TrainingError(ArDmvcError):
    """Training that broke down."""


class DivergedError(TrainingError):
    """Training whose numbers are not finite any more."""


class ConfigurationError(ArDmvcError):
    """Settings that do not fit together."""


def message_of(error: BaseException) -> str:
    """What an error says; of one that is nobody's input, also its kind."""
    return str(error) if isinstance(error, ArDmvcError) else f"{type(error).__name__}: {error}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on a device or off."""
    said = ("out of memory", "can't allocate memory", "not enough memory")
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)
