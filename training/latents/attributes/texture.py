"""Texture of the product: edges, details of three sizes, contrast; from the lightness L."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

# Width of a Gaussian, of the picture's height: details are what it blurs away.
_FINEST = 1 / 64
_BANDS = ("fine-detail", "middle-detail", "coarse-detail")
_LEAST_SIGMA = 0.5  # Pixels: below it nothing is blurred.
_WHOLE_EDGE = 10.0  # Change of L from pixel to pixel that counts as an edge in full.
_LEAST_PIXELS = 9  # That are left of a mask without its rim.


def measure_texture(lab: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Attributes of texture. The outline does not count: the rim of a pixel is left out.

    edge-density: mean of min(|∇L| / 10, 1): the part of the product that shows an edge; weak edges
        count in part. ∇ are differences of neighbors, central ones.
    fine-detail, middle-detail, coarse-detail: root of the energy of L by frequency band, root mean
        square of G(s/2) - G(s), where G(s) is L blurred inside of the mask by a Gaussian of s, or
        L itself for the first; s = 1/64, 1/32, 1/16 of the height (at least half a pixel).
    contrast: standard deviation of L.

    Args:
        lab: float [H, W, 3].
        mask: bool [H, W], not empty.
    """
    lightness = lab[..., 0]
    inside = without_rim(mask)
    # What is outside has the mean of the product, so that the background makes no edges.
    filled = np.where(mask, lightness, lightness[mask].mean())
    slope = np.hypot(*np.gradient(filled))
    found = {"edge-density": float(np.minimum(slope[inside] / _WHOLE_EDGE, 1).mean())}
    weight, sharp = mask.astype(float), lightness
    for i, name in enumerate(_BANDS):
        sigma = max(_FINEST * 2**i * mask.shape[0], _LEAST_SIGMA * 2**i)
        total = scipy.ndimage.gaussian_filter(weight, sigma, mode="constant")
        blurred = scipy.ndimage.gaussian_filter(lightness * weight, sigma, mode="constant")
        blurred = blurred / np.maximum(total, 1e-6)
        found[name] = float(np.sqrt(np.mean((sharp - blurred)[inside] ** 2)))
        sharp = blurred
    return found | {"contrast": float(lightness[inside].std())}


def without_rim(mask: np.ndarray) -> np.ndarray:
    """A mask without its outermost pixels, unless hardly any would be left."""
    inside = scipy.ndimage.binary_erosion(mask, np.ones([3, 3]))
    return inside if inside.sum() >= _LEAST_PIXELS else mask
