"""Pixel blitting and general geometric transformations of augmentation (ADA, appendix B).

All of them together are one affine transform for each sample, done by a single resampling between
two filters. A matrix here takes a position in the result to the position in the image it is taken
from, in pixels from the center; so an image that is to be magnified by s is sampled under 1/s.
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops.resample_2d import resample_2d, weighted_gather
from tf_ops.upfirdn_2d import upfirdn_2d
from training.augmentation.draws import Draws
from training.augmentation.matrices import rotate_2d, scale_2d, scale_2d_inv, translate_2d_inv
from training.augmentation.spec import AugmentSpec
from training.augmentation.wavelets import SYM6, reflecting_filter

# Pixels of the image upsampled by 2 that the low-pass filter needs beyond each border.
_BORDER = len(SYM6) // 2


def blit_transforms(draws: Draws, spec: AugmentSpec, size: tuple[int, int]) -> list[tf.Tensor]:
    """Mirroring, quarter turns and shifts by whole pixels, in this order.

    Args:
        draws: random numbers.
        spec: multipliers and parameters.
        size: height and width of the images.

    Returns:
        Matrices [N, 3, 3] float64; none for a multiplier of 0.
    """
    height, width = size
    transforms = []
    if spec.xflip > 0:
        flip = draws.gate("xflip", draws.strength * spec.xflip, draws.choice("xflip", 2), 0)
        transforms.append(scale_2d(1 - 2 * flip, 1))
    if spec.rotate90 > 0:
        turns = draws.choice("rotate90", 4)
        turns = draws.gate("rotate90", draws.strength * spec.rotate90, turns, 0)
        transforms.append(rotate_2d(tf.cast(turns, tf.float64) * (np.pi / 2)))
    if spec.xint > 0:
        shift = [draws.uniform("xint", -spec.xint_max, spec.xint_max, use) for use in (0, 1)]
        # In float32, which decides where a percentile is halfway between two pixels.
        shift = tf.round(tf.cast(tf.stack(shift, axis=1), tf.float32) * [width, height])
        shift = draws.gate("xint", draws.strength * spec.xint, shift, 0)
        transforms.append(translate_2d_inv(shift[:, 0], shift[:, 1]))
    return [tf.cast(matrix, tf.float64) for matrix in transforms]


def geometric_transforms(draws: Draws, spec: AugmentSpec, size: tuple[int, int]) -> list[tf.Tensor]:
    """Scaling, rotation, anisotropic scaling, rotation again, shift by parts of pixels.

    With a = `aniso_rotate_prob`, one rotation is applied with probability 1 - (1 - p)^a, the other
    with 1 - (1 - p)^(1 - a), so that at least one of them is applied with probability p. ADA,
    appendix B, has a = 1/2. With a = 1, all rotations come before the anisotropic scaling, so that
    its axes lie anywhere in the picture; with 0, all come after it.

    Arguments and result are as those of `blit_transforms`.
    """
    transforms = []
    if spec.scale > 0:
        factor = draws.lognormal("scale", spec.scale_std)
        factor = draws.gate("scale", draws.strength * spec.scale, factor, 1)
        transforms.append(scale_2d_inv(factor, factor))
    if spec.rotate > 0:
        transforms.append(_random_rotation(draws, spec, "rotate", spec.aniso_rotate_prob))
    if spec.aniso > 0:
        factor = draws.lognormal("aniso", spec.aniso_std)
        factor = draws.gate("aniso", draws.strength * spec.aniso, factor, 1)
        transforms.append(scale_2d(1 / factor, factor))
    if spec.rotate > 0 and not draws.is_debug:  # Percentiles of both would be hard to tell apart.
        transforms.append(_random_rotation(draws, spec, "post_rotate", 1 - spec.aniso_rotate_prob))
    if spec.xfrac > 0:
        shift = [draws.normal("xfrac", spec.xfrac_std, use) for use in (0, 1)]
        shift = draws.gate("xfrac", draws.strength * spec.xfrac, tf.stack(shift, axis=1), 0)
        transforms.append(translate_2d_inv(shift[:, 0] * size[1], shift[:, 1] * size[0]))
    return [tf.cast(matrix, tf.float64) for matrix in transforms]


def transform_images(images: tf.Tensor, transforms: list[tf.Tensor]) -> tf.Tensor:
    """Resamples images without aliasing: extended by reflection, at twice the resolution.

    Upsampling with the wavelet's low-pass filter and downsampling with the same one in reverse
    give back the image where nothing is to be transformed, since the wavelet is orthonormal. What
    lies beyond a whole reflection of the image is zero.

    # Deviation: the official code extends all images of a minibatch by one margin. Here each is
    # extended as far as it is read, so that what it becomes does not depend on the others.

    Args:
        images: [N, C, H, W].
        transforms: matrices [N, 3, 3], the first of them is the last to be applied to a position.

    Returns:
        [N, C, H, W]
    """
    height, width = images.shape.as_list()[2:]
    to_centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    # Pixel (i, j) lies at (2i, 2j) when upsampled; the result begins a border further left.
    to_pixels = np.array([[0.5, 0, -_BORDER / 2], [0, 0.5, -_BORDER / 2], [0, 0, 1]])
    to_samples = np.diag([2.0, 2.0, 1.0])
    transform = tf.constant(to_samples @ to_centre)
    for step in [*transforms, tf.constant(np.linalg.inv(to_centre) @ to_pixels)]:
        transform = tf.matmul(transform, step)
    out_size = (2 * (height + _BORDER), 2 * (width + _BORDER))
    corners = np.array([[u, v, 1.0] for u in (0, out_size[1] - 1) for v in (0, out_size[0] - 1)])
    positions = tf.matmul(transform[:, :2], corners.T)
    along_x, first_column = _upsampling(positions[:, 0], width)
    along_y, first_row = _upsampling(positions[:, 1], height)
    x = tf.transpose(images, [0, 2, 3, 1])
    x = weighted_gather(weighted_gather(x, *along_x, axis=2), *along_y, axis=1)
    start = tf.cast(tf.stack([first_column, first_row], axis=1), tf.float64)
    transform = tf.concat(
        [transform[:, :2, :2], transform[:, :2, 2:] - start[..., tf.newaxis]], axis=2
    )
    x = resample_2d(x, transform, out_size)
    return tf.transpose(_downsample(x), [0, 3, 1, 2])


def _upsampling(positions: tf.Tensor, size: int) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Matrices that upsample along an axis, and where their rows begin, [N] int32.

    The rows are those that a sample reads, between the least and the largest of its `positions`
    [N, 4], and as many for each. All rows would make 36 pixels of each one, mostly for nothing.
    """
    first, end = -2 * (size - 1), 2 * (2 * size - 1)
    low = tf.clip_by_value(tf.floor(tf.reduce_min(positions, axis=1)), first, end - 1)
    high = tf.clip_by_value(tf.floor(tf.reduce_max(positions, axis=1)) + 2, low + 1, end)
    low, high = tf.cast(low, tf.int32), tf.cast(high, tf.int32)
    count = tf.reduce_max(high - low)
    start = tf.minimum(low, end - count)
    taps = tf.constant(np.sqrt(2) * np.array(SYM6), tf.float32)
    rows = start[:, tf.newaxis] + tf.range(count)
    return reflecting_filter(taps, rows, size, size - 1, factor=2), start


def _downsample(x: tf.Tensor) -> tf.Tensor:
    """[N, 2·(H + border), 2·(W + border), C] -> [N, H, W, C]: the adjoint of upsampling, halved."""
    taps = np.array(SYM6[::-1])
    k = np.outer(taps, taps) / 2
    # Along either axis, pixel p is √½ times the sum over k of SYM6[k]·x[2p + crop + k].
    crop = _BORDER - (len(taps) - 1) // 2
    return upfirdn_2d(x, k, downx=2, downy=2, padx0=-crop, padx1=-crop, pady0=-crop, pady1=-crop)


def _random_rotation(draws: Draws, spec: AugmentSpec, name: str, share: float) -> tf.Tensor:
    p = tf.clip_by_value(draws.strength * spec.rotate, 0.0, 1.0)
    angle = draws.uniform(name, -spec.rotate_max, spec.rotate_max)
    angle = draws.gate(name, 1 - (1 - p) ** share, angle, 0)
    return rotate_2d(tf.cast(angle, tf.float64) * np.pi)
