"""Sizes of images and activations by level, and how large a layer may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dnnlib import UserError
from dnnlib.util import one_line
from training.datasets.format.levels import BASE_LOG2, MAX_BASE_SIDE, MIN_SIDE

# Height and width of the coarsest grid of a square network.
SQUARE_BASE = (4, 4)
# Numbers in one layer, of its weights or of its activations for one image: 1 GiB in float32, which
# is eight times what 1024×1024 images take.
_MAX_SIZE = 1 << 28


def resolution_log2(resolution: int) -> int:
    """n for a resolution of 2^n pixels.

    Raises:
        UserError: not a power of two, or below 4.
    """
    n = int(resolution).bit_length() - 1
    if resolution < 4 or resolution != 2**n:
        raise UserError(f"resolution {resolution}: expected a power of two of at least 4")
    return n


def level_size(level: int, base_size: Sequence[int] = SQUARE_BASE) -> tuple[int, int]:
    """(height, width) of images and activations at a level: base_size·2^(level - 2).

    # Deviation: official networks are square. Ours take the keyword argument `base_size` for other
    images: the coarsest grid, as in `datasets.format.levels`, (8, 6) for 32×24. `resolution`,
    feature maps and names of scopes are those of a square with as many levels: 16 for 32×24.

    Args:
        level: 2 for the coarsest, `resolution_log2` for full resolution.
        base_size: height and width at the coarsest level.

    Raises:
        UserError: `base_size` is not two whole numbers that a dataset can have.
    """
    is_pair = isinstance(base_size, (list, tuple)) and len(base_size) == 2
    if not is_pair or not all(
        isinstance(side, (int, np.integer)) and MIN_SIDE <= side <= MAX_BASE_SIDE
        for side in base_size
    ):
        raise UserError(
            f"base_size {one_line(repr(base_size), 40)}: expected height and width of the coarsest "
            f"grid, two whole numbers from {MIN_SIDE} to {MAX_BASE_SIDE}"
        )
    height, width = (int(side) << level - BASE_LOG2 for side in base_size)
    return height, width


def check_size(what: str, shape: Sequence[int | None]) -> None:
    """Sizes come from files too: a layer is refused before it takes memory.

    Raises:
        UserError: more numbers than a layer may have.
    """
    if math.prod(n or 1 for n in shape) > _MAX_SIZE:
        raise UserError(
            f"a layer has {what} of {'×'.join(map(str, shape))} numbers, more than {_MAX_SIZE:,}: "
            "make the network smaller, with a lower fmap_base, fmap_max, latent_size or resolution"
        )
