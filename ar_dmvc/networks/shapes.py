"""What kind of view a shape is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Shape = tuple[int, ...]
SMALLEST_IMAGE = 8


def check_shape(shape: Sequence[int]) -> Shape:
    """A view's shape as a tuple: (features,) or (channels, height, width).

    Raises:
        ValueError: it is neither, has a size below one, or is an image with a side below 8.
    """
    checked = tuple(int(size) for size in shape)
    if len(checked) not in (1, 3) or min(checked) < 1:
        raise ValueError(f"a view's shape is (features,) or (channels, height, width), not {checked}")
    if len(checked) == 3 and min(checked[1:]) < SMALLEST_IMAGE:
        raise ValueError(
            f"images need sides of at least {SMALLEST_IMAGE} pixels, got {checked}; flatten smaller ones to feature vectors"
        )
    return checked


def check_shapes(shapes: Iterable[Sequence[int]]) -> tuple[Shape, ...]:
    """:func:`check_shape` for all views of a data set."""
    return tuple(check_shape(shape) for shape in shapes)


def is_image(shape: Shape) -> bool:
    """Whether a checked shape is that of an image."""
    return len(shape) == 3
