"""Shape of the product: size, proportions, place, and how compact its outline is."""

from __future__ import annotations

import numpy as np
import scipy.spatial


def measure_shape(mask: np.ndarray) -> dict[str, float]:
    """Attributes of shape.

    area: part of the picture that the product covers.
    aspect: width / height of the upright box around it.
    center-x, center-y: its center of gravity, from 0 at the left and upper side to 1.
    solidity: its area / that of its convex hull; 1 for a box, less for what has handles or legs.

    Args:
        mask: bool [H, W], not empty.
    """
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    extent = [float(axis.max() - axis.min() + 1) for axis in (columns, rows)]
    return {
        "area": float(mask.mean()),
        "aspect": extent[0] / extent[1],
        "center-x": float((columns.mean() + 0.5) / width),
        "center-y": float((rows.mean() + 0.5) / height),
        "solidity": len(rows) / _hull_area(mask),
    }


def _hull_area(mask: np.ndarray) -> float:
    """Area of the convex hull of the pixels as squares: that of the corners of every row's ends."""
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [np.stack([x, y], axis=1) for x in (left, right) for y in (rows, rows + 1)]
    return float(scipy.spatial.ConvexHull(np.concatenate(corners)).volume)
