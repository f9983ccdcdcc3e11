"""How far a compressed file may expand."""

from __future__ import annotations

from ar_dmvc.errors import DataError

_HARMLESS_BYTES = 64 << 20
_MOST_TIMES = 100


def check_expansion(compressed: int, expanded: int, source: str) -> None:
    """Refuse decompression bombs: files made to fill the memory expand a thousandfold, data does not.

    Args:
        compressed: bytes that are stored.
        expanded: bytes that they claim to become.
        source: of the file, for messages.

    Raises:
        DataError: more than a hundred times, and more than 64 MiB.
    """
    if expanded > max(_HARMLESS_BYTES, _MOST_TIMES * compressed):
        raise DataError(
            f"{source}: would expand from {compressed} to {expanded} bytes, as files do that are made to fill the memory; "
            "store it uncompressed if it is yours"
        )
