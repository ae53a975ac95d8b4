"""All attributes that can be measured on a picture by itself, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError
from dnnlib.util import did_you_mean
from training.latents.attributes.color import measure_color, to_lab
from training.latents.attributes.mask import product_mask
from training.latents.attributes.shape import measure_shape
from training.latents.attributes.texture import measure_texture, without_rim

GROUPS: dict[str, tuple[str, ...]] = {
    "color": ("lightness", "saturation", "hue-red", "hue-yellow"),
    "shape": ("area", "aspect", "center-x", "center-y", "solidity"),
    "texture": ("edge-density", "fine-detail", "middle-detail", "coarse-detail", "contrast"),
}
MEASURED: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
# One of each group: what a direction for an attribute of another group should leave alone.
REPRESENTATIVES = ("lightness", "area", "edge-density")
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
        images: uint8 [N, C, H, W], sRGB with three channels or grey with one.

    Returns:
        float64 [N, len(MEASURED)], NaN where there is no clean background.
    """
    values = np.full([len(images), len(MEASURED)], np.nan)
    for row, image in zip(values, images, strict=True):
        lab = to_lab(_shrunk(image))
        mask = product_mask(lab)
        if mask is not None:
            found = measure_color(lab, without_rim(mask))
            found |= measure_shape(mask) | measure_texture(lab, mask)
            row[:] = [found[name] for name in MEASURED]
    return values


PICTURE = Measure(MEASURED, measure)


def of_other_groups(name: str) -> list[str]:
    """The representatives of the groups that an attribute is not in."""
    return [r for r in REPRESENTATIVES if not any({r, name} <= set(g) for g in GROUPS.values())]


def find_attributes(text: str, known: Sequence[str], option: str) -> list[str]:
    """Attributes by name or group: `lightness,shape` is lightness and all of shape.

    Raises:
        UserError: there is no such attribute; names the nearest.
    """
    found: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part in known:
            found.append(part)
        elif part in GROUPS:
            found += [name for name in GROUPS[part] if name in known]
        else:
            choices = [*known, *GROUPS]
            hint = did_you_mean(part, choices)
            raise UserError(f"{option}: no attribute {part!r}: {hint}use {', '.join(choices)}")
    return list(dict.fromkeys(found))


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
