"""Pairwise work on blocks of rows, where whole matrices would not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LARGEST_BLOCK = 2**24
"""Entries of the largest matrix that is made at once: 64 MB in single precision."""


def by_blocks(function: Callable[..., Tensor], columns: int, *rows: Tensor) -> list[Tensor]:
    """Apply a function that builds matrices with the rows of its arguments and ``columns`` columns, block by block.

    Args:
        function: tensors of equal length to a tensor; must not be random. Its intermediate results are recomputed for the
            gradient rather than kept, unless one block is enough.
        columns: of the matrices.
        rows: tensors (n, ...).

    Returns:
        The results, block by block.
    """
    blocks = list(zip(*(blocks_of(tensor, columns) for tensor in rows), strict=True))
    if len(blocks) == 1:
        return [function(*rows)]
    return [checkpoint(function, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks]


def blocks_of(rows: Tensor, columns: int) -> Iterator[Tensor]:
    """The blocks of rows that :func:`by_blocks` takes."""
    yield from torch.split(rows, max(1, LARGEST_BLOCK // max(1, columns)))
