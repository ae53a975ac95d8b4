"""All attributes that can be measured on a picture by itself, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from training.datasets.photos.arrays import on_white
from training.latents.attributes.color import measure_color, to_lab
from training.latents.attributes.mask import product_mask
from training.latents.attributes.names import MEASURED
from training.latents.attributes.shape import measure_shape
from training.latents.attributes.texture import measure_texture, without_rim

# Larger pictures are averaged down to this.
MAX_SIDE = 256


@dataclass(frozen=True)
class Measure:
    """What measures attributes.

    Attributes:
        names: of the attributes.
        function: takes images, uint8 [N, C, H, W]; gives float64 [N, len(names)], NaN where a
            picture has none.
    """

    names: tuple[str, ...]
    function: Callable[[np.ndarray], np.ndarray]


def combined(measures: Sequence[Measure]) -> Measure:
    """One measure of the attributes of several."""
    names = tuple(name for part in measures for name in part.names)
    return Measure(names, lambda images: np.hstack([part.function(images) for part in measures]))


def measure(images: np.ndarray) -> np.ndarray:
    """Measures color, shape and texture.

    Args:
        images: uint8 [N, C, H, W], sRGB with three channels or grey with one; of four, the picture
            on white counts.

    Returns:
        float64 [N, len(MEASURED)], NaN where there is no clean background.
    """
    values = np.full([len(images), len(MEASURED)], np.nan)
    for row, image in zip(values, on_white(images), strict=True):
        lab = to_lab(_shrunk(image))
        mask = product_mask(lab)
        if mask is not None:
            found = measure_color(lab, without_rim(mask))
            found |= measure_shape(mask) | measure_texture(lab, mask)
            row[:] = [found[name] for name in MEASURED]
    return values


PICTURE = Measure(MEASURED, measure)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """An image [C, H, W] of at most MAX_SIDE pixels a side, boxes averaged."""
    side = 1
    while max(image.shape[1:]) > side * MAX_SIDE:
        side *= 2
    if side == 1:
        return image
    channels, height, width = image.shape
    boxes = image.reshape(channels, height // side, side, width // side, side)
    return np.rint(boxes.mean(axis=(2, 4))).astype(np.uint8)
