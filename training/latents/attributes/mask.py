"""Which pixels of a picture show the product: what differs from the color along the border.

The classical model of a product photo: a background of one color, whose brightness may change
evenly over the picture, fills most of the border; the product is what has another color. Colors are
CIELAB, where distances are about as large as they look.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage

_BORDER = 1 / 16  # Width of the border, of the shorter side.
_NEAREST = 0.5  # Part of the border's pixels that the background is fitted to.
_THRESHOLDS = (10.0, 30.0)  # Of the distance between product and background; 2 can just be seen.
_LEAST_CLEAN = 0.55  # Part of the border that has to look like the background.
_LEAST_DISTINCT = 0.6  # Part of the variance of distances that product and background explain.
_AREAS = (0.01, 0.9)  # Of the picture, that a product may have.
_SMALL_PART = 0.05  # Of the largest one: crumbs.
_SMALL_HOLE = 0.02  # Of the picture: pale details. Larger holes are handles.
_ROUNDS = 3


def product_mask(lab: np.ndarray) -> np.ndarray | None:
    """The product's pixels; None where there is no clean background to tell them from.

    The background is a plane, color = a + b·x + c·y, fitted to that half of the border's pixels
    that is nearest to it, from the border's median on. What is further away from it than a
    threshold is the product: Otsu's (1979), which splits the distances of all pixels into two
    classes of the largest variance between them, kept within 10 to 30. Gaps of a pixel are closed,
    crumbs removed, small holes filled.

    There is no clean background if less than 55 % of the border looks like it, if the two classes
    explain less than 60 % of the variance of the distances, or if what is left fills less than 1 %
    or more than 90 % of the picture, or less of its middle than of its border.

    Args:
        lab: CIELAB, float [H, W, 3].

    Returns:
        bool [H, W], or None.
    """
    height, width = lab.shape[:2]
    places = _places(height, width)
    border = _border(height, width)
    colors, where = lab[border], places[border]
    distance = np.linalg.norm(colors - np.median(colors, axis=0), axis=1)
    for _ in range(_ROUNDS):
        nearest = distance <= np.quantile(distance, _NEAREST)
        plane, *_ = np.linalg.lstsq(where[nearest], colors[nearest], rcond=None)
        distance = np.linalg.norm(colors - where @ plane, axis=1)
    everywhere = np.linalg.norm(lab - places @ plane, axis=2)
    best, explained = otsu_threshold(everywhere.ravel())
    threshold = float(np.clip(best, *_THRESHOLDS))
    if explained < _LEAST_DISTINCT or np.mean(distance <= threshold) < _LEAST_CLEAN:
        return None
    mask = _cleaned(everywhere > threshold)
    middle = mask[height // 4 : -(height // 4), width // 4 : -(width // 4)]
    is_product = _AREAS[0] <= mask.mean() <= _AREAS[1] and middle.mean() > mask[border].mean()
    return mask if is_product else None


def otsu_threshold(values: np.ndarray) -> tuple[float, float]:
    """The threshold with the largest variance between two classes (Otsu 1979).

    Args:
        values: float [N].

    Returns:
        (threshold, its variance between classes as a part of the whole variance, 0 to 1).
    """
    ordered = np.sort(values)
    count = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1]
    means = below / count, (ordered.sum() - below) / (len(ordered) - count)
    weights = count * (len(ordered) - count) / len(ordered) ** 2
    between = weights * np.square(means[1] - means[0])
    best = int(np.argmax(between))
    return float(ordered[best : best + 2].mean()), float(between[best] / max(values.var(), 1e-12))


def _places(height: int, width: int) -> np.ndarray:
    """(1, x, y) of each pixel, -1 to 1, [H, W, 3]."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([np.ones_like(x), x, y], axis=2)


def _border(height: int, width: int) -> np.ndarray:
    border = np.ones([height, width], bool)
    thick = max(1, round(min(height, width) * _BORDER))
    border[thick:-thick, thick:-thick] = False
    return border


def _cleaned(mask: np.ndarray) -> np.ndarray:
    # Closing must not eat the border.
    mask = mask | scipy.ndimage.binary_closing(np.pad(mask, 1, "edge"))[1:-1, 1:-1]
    parts, _ = scipy.ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    mask = (sizes >= max(_SMALL_PART * sizes.max(), 1))[parts]
    holes, _ = scipy.ndimage.label(~mask)
    sizes = np.bincount(holes.ravel())
    small = sizes <= _SMALL_HOLE * mask.size
    small[np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))] = False
    small[0] = False
    return mask | small[holes]
