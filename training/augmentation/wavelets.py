"""Wavelets of augmentation, and reflection, filtering and upsampling as sparse matrices.

Each of these is linear and treats rows and columns alike, so an image X becomes A_y·X·A_xᵀ, and
images of unequal sides are nothing special. `tf_ops.resample_2d.weighted_gather` multiplies.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow.compat.v1 as tf

# Low-pass filters of Daubechies' least asymmetric wavelets ("symlets") with 2 and 6 vanishing
# moments: "Ten lectures on wavelets", table 6.3. Orthonormal: the sum is √2, the sum of squares 1.
SYM2 = (
    -0.12940952255092145,
    0.22414386804185735,
    0.836516303737469,
    0.48296291314469025,
)
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)


def reflecting_filter(
    taps: tf.Tensor, rows: tf.Tensor, size: int, margin: int, factor: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """Matrix that extends a signal by reflection, inserts zeros and filters.

    The pixel at position p of the extended signal lies at factor·p in the result. Beyond the margin
    the signal is zero.

    Args:
        taps: [..., K]; the middle is tap (K - 1) // 2.
        rows: [..., R] int32, positions of the result to be computed. Either this or the taps may
            have dimensions before the last.
        size: length of the signal.
        margin: pixels by which it is extended at either end.
        factor: upsampling factor.

    Returns:
        What each row reads, -1 for nothing, [..., R, ⌈K / factor⌉] int32, and by which weights.
    """
    length = taps.shape[-1].value
    last = rows + (length - 1) // 2  # The place upsampled on which the first tap falls.
    first_tap = tf.math.floormod(last, factor)
    steps = tf.range(-(-length // factor))
    position = ((last - first_tap) // factor)[..., tf.newaxis] - steps
    period = max(2 * size - 2, 1)
    place = tf.math.floormod(position, period)
    inside = tf.logical_and(position >= -margin, position < size + margin)
    indices = tf.where(inside, tf.minimum(place, period - place), -tf.ones_like(place))
    taps = tf.pad(taps, [[0, 0]] * (taps.shape.ndims - 1) + [[0, -length % factor]])
    return indices, tf.gather(taps, first_tap[..., tf.newaxis] + factor * steps, axis=-1)


@functools.cache
def band_filters() -> np.ndarray:
    """Filters of the bands [0, π/8], [π/8, π/4], [π/4, π/2], [π/2, π], which add up to identity.

    ADA, appendix B, "Image-space filtering": low-pass H(z)·H(1/z)/2 and high-pass
    H(-z)·H(-1/z)/2 of SYM2 at every scale; the high-pass of a scale belongs to one band, the
    low-pass is split further.

    Returns:
        [4, K] float64, symmetric, K odd.
    """
    low = np.asarray(SYM2)
    high = low * (-1.0) ** np.arange(len(low))
    low_pass, high_pass = np.convolve(low, low[::-1]) / 2, np.convolve(high, high[::-1]) / 2
    bands, coarser = [], np.ones(1)
    for scale in (1, 2, 4):
        bands.append(np.convolve(coarser, _spread(high_pass, scale)))
        coarser = np.convolve(coarser, _spread(low_pass, scale))
    bands = [coarser, *reversed(bands)]
    return np.stack([np.pad(band, (len(coarser) - len(band)) // 2) for band in bands])


def _spread(taps: np.ndarray, factor: int) -> np.ndarray:
    """Taps of h(z^factor): zeros in between."""
    result = np.zeros((len(taps) - 1) * factor + 1)
    result[::factor] = taps
    return result
