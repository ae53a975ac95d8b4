"""Cutting products out of photos on white.

1. The ground is what is nearly white and connected with the border. White that is enclosed, as in
   a handle, stays: a hole looks like a white print.
2. Along its edge, a pixel x is a mixture a·F + (1 - a)·white. F, the color of the product there, is
   where one comes to by going inwards, from pixel to pixel, to what is farthest from white; a is
   how far x is on the way from white to F.
3. Only what is connected with the ground through such mixtures is one: so the product's own light
   parts, and its texture, stay opaque.

Shadows on the floor stay too, as a part of the product.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_WHITE = 245  # Of 255, each color: what is lighter is ground, if it is connected with the border.
_MIN_BORDER = 0.5  # The product may touch the border, but much of it is white.
_SOFT = 0.06  # How wide an edge can be, as a fraction of the longer side.
_OPAQUE = 0.98  # What is more opaque belongs to the product.
_SPECK = 1e-4  # Of the picture: what is smaller and lies on the ground is noise of a JPEG.
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def why_not(pixels: np.ndarray) -> str | None:
    """Why nothing can be cut out of a photo, if so.

    Args:
        pixels: uint8 [height, width, 3].
    """
    sides = [pixels[[0, -1]], pixels[1:-1, [0, -1]].swapaxes(0, 1)]
    white = np.concatenate([side.min(axis=2).ravel() >= _WHITE for side in sides])
    if white.mean() >= _MIN_BORDER:
        return None
    return f"{white.mean():.0%} of its border is white: at least {_MIN_BORDER:.0%} must be"


def cut_out(colors: np.ndarray) -> np.ndarray:
    """A photo on white without its ground.

    Args:
        colors: uint8 [3, height, width].

    Returns:
        uint8 [4, height, width], see `arrays`; what is no ground has the colors of the photo.
    """
    depth = 255 - colors.astype(np.float32)  # How far from white.
    ground = _ground(colors.min(axis=0) >= _WHITE)
    reach = max(3, round(_SOFT * max(ground.shape)))
    distance = ndimage.distance_transform_edt(~ground)
    inner = _deepest(depth.sum(axis=0), distance, reach)
    product = depth.reshape(3, -1)[:, inner]  # 255 - F.
    length = np.maximum(np.square(product).sum(axis=0), 1)
    share = (depth * product).sum(axis=0) / length
    is_mixed = _connected(ground | ((distance <= reach) & (share < _OPAQUE)), ground)
    is_mixed &= ~(_pure(depth.max(axis=0), ground, reach) | (ground & ground.ravel()[inner]))
    opacity = np.where(is_mixed, share, ~ground)
    opacity = np.rint(opacity * 255).astype(np.uint8)[np.newaxis]
    return np.concatenate([np.maximum(colors, 255 - opacity), opacity])


def _ground(is_white: np.ndarray) -> np.ndarray:
    """What is white and connected with the border, with the specks on it."""
    border = np.ones_like(is_white)
    border[1:-1, 1:-1] = False
    ground = _connected(is_white, is_white & border)
    parts, count = ndimage.label(~ground, np.ones([3, 3]))
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    return ground | (areas < _SPECK * ground.size)[parts]


def _pure(depth: np.ndarray, ground: np.ndarray, reach: int) -> np.ndarray:
    """The ground without what the product's edge leaves there: what is no darker than elsewhere."""
    outside = ndimage.distance_transform_edt(ground)
    far = outside > reach
    noise = np.percentile(depth[far], 99) if far.any() else 255 - _WHITE
    return ground & (far | (depth <= noise))


def _connected(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The parts of a mask that hold a seed."""
    parts, count = ndimage.label(mask)
    chosen = np.zeros(count + 1, bool)
    chosen[parts[seeds]] = True
    chosen[0] = False
    return chosen[parts]


def _deepest(depth: np.ndarray, distance: np.ndarray, steps: int) -> np.ndarray:
    """The place, an index into all pixels, that each pixel comes to by so many steps upwards.

    Args:
        depth: [height, width], where up is.
        distance: [height, width], from the ground: each step leads out of it, or away from it.
        steps: a power of two, or the next one counts.
    """
    # Noise would stop it.
    smooth = ndimage.gaussian_filter(depth, 0.7, mode="nearest")
    height, width = depth.shape
    padded, farther = np.pad(smooth, 1, constant_values=-1), np.pad(distance, 1)
    places = np.arange(depth.size).reshape(depth.shape)
    best, place = smooth, places
    for dy, dx in _AROUND:
        window = np.s_[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        other = padded[window]
        is_inwards = (farther[window] > distance) | (distance == 0)
        is_higher = (other > best) & is_inwards
        best = np.where(is_higher, other, best)
        place = np.where(is_higher, places + dy * width + dx, place)
    place = place.ravel()
    for _ in range(int(np.ceil(np.log2(steps)))):  # Twice as far each time.
        place = place[place]
    return place.reshape(depth.shape)
