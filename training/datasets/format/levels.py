"""The resolutions that a dataset has: a base grid, doubled again and again.

Square datasets grow from 4×4. Others grow from the smallest grid that their size can be halved to:
256×384 from 4×6, 512×384 from 8×6. The file of the base grid is `-r02`, whatever the grid is.
"""

from __future__ import annotations

import numpy as np

MIN_SIDE = 4
MAX_BASE_SIDE = 16  # of the longer side of a base grid
MAX_SIDE = 4096
BASE_LOG2 = 2  # the number of the coarsest level's file


def is_resolution(size: int) -> bool:
    """Whether `size` is the side of a square dataset: a power of two from 4 to 4096."""
    return MIN_SIDE <= size <= MAX_SIDE and size & (size - 1) == 0


def level_count(height: int, width: int) -> int | None:
    """Number of levels of a size, or None if no dataset can have it."""
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        return None
    if height == width and not is_resolution(height):
        return None
    count = 1
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * MIN_SIDE:
        height, width, count = height // 2, width // 2, count + 1
    return count if max(height, width) <= MAX_BASE_SIDE else None


def finest_log2(height: int, width: int) -> int:
    """The number NN of the file `-rNN` of a size; log2 of the side if it is a square."""
    count = level_count(height, width)
    if count is None:
        raise ValueError(f"{height}x{width} is not a base grid times a power of two")
    return BASE_LOG2 + count - 1


def coarser(image: np.ndarray, factor_log2: int) -> np.ndarray:
    """An image at a coarser level, the rounded mean of boxes.

    Args:
        image: uint8 [channels, height, width].
        factor_log2: how many levels coarser, at least 0.
    """
    return image_levels(image, factor_log2 + 1)[-1]


def image_levels(image: np.ndarray, count: int | None = None) -> list[np.ndarray]:
    """An image at every resolution from its own down to the base grid, finest first.

    Each level is the 2x2 box mean of the unrounded level above, rounded half to even: the official
    numbers. The sums are whole numbers, which are exact and quicker than float32.

    Args:
        image: uint8 [channels, height, width].
        count: number of levels; None for all.

    Returns:
        uint8 arrays [channels, height, width], [channels, height/2, width/2], ...

    Raises:
        ValueError: The shape or type is another.
    """
    fits = image.ndim == 3 and image.dtype == np.uint8
    most = level_count(*image.shape[1:]) if fits else None
    if most is None:
        raise ValueError(f"{image.dtype} {image.shape} is not [channels, height, width] of uint8")
    levels, sums = [image], image
    for k in range(1, count or most):
        # Sums of 4^4 bytes still fit in 16 bits.
        dtype = np.uint16 if k <= 4 else np.uint32
        rows = np.add(sums[:, 0::2], sums[:, 1::2], dtype=dtype)
        sums = np.add(rows[:, :, 0::2], rows[:, :, 1::2], dtype=dtype)
        bits = 2 * k
        wide = sums if k < 4 else sums.astype(np.uint32)
        levels.append(((wide + ((1 << bits - 1) - 1) + ((wide >> bits) & 1)) >> bits).astype("u1"))
    return levels
