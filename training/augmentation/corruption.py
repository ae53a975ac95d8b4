"""Image-space filtering, additive noise and cutout of augmentation (ADA, appendix B)."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops.resample_2d import weighted_gather
from training.augmentation.color import opacity_of
from training.augmentation.draws import Draws
from training.augmentation.spec import AugmentSpec
from training.augmentation.wavelets import band_filters, reflecting_filter

# Power of a natural image in each band, for a spectrum of 1/f².
_BAND_POWER = np.array([10, 1, 1, 1]) / 13


def filter_images(images: tf.Tensor, draws: Draws, spec: AugmentSpec) -> tf.Tensor:
    """Amplifies or damps four bands of frequencies, keeping the expected power.

    Args:
        images: [N, C, H, W].
        draws: random numbers.
        spec: multipliers and parameters.

    Raises:
        UserError: not four multipliers.
    """
    if len(spec.imgfilter_bands) != len(_BAND_POWER):
        raise UserError(f"imgfilter_bands={tuple(spec.imgfilter_bands)}: expected 4 numbers")
    gains = tf.ones([draws.count, len(_BAND_POWER)])
    for band, multiplier in enumerate(spec.imgfilter_bands):
        if multiplier > 0:
            factor = draws.lognormal("imgfilter", spec.imgfilter_std, band)
            probability = draws.strength * (spec.imgfilter * multiplier)
            factor = draws.gate("imgfilter", probability, factor, 1, band)
            factor = tf.cast(factor, tf.float32)[:, tf.newaxis]
            power = 1 + (tf.square(factor) - 1) * _BAND_POWER[band]
            gains *= (1 + (factor - 1) * np.eye(4, dtype=np.float32)[band]) / tf.sqrt(power)
    taps = tf.matmul(gains, tf.constant(band_filters(), tf.float32))
    reach = band_filters().shape[1] // 2
    # Height, then width in its place: whole rows are faster to add up than single pixels.
    for size in images.shape.as_list()[2:]:
        indices, weights = reflecting_filter(taps, tf.range(size), size, reach)
        indices = tf.broadcast_to(indices, tf.shape(weights))
        images = tf.transpose(weighted_gather(images, indices, weights, axis=2), [0, 1, 3, 2])
    return images


def add_noise(images: tf.Tensor, draws: Draws, spec: AugmentSpec) -> tf.Tensor:
    """Adds white noise whose deviation is drawn for each sample; to colors as far as they are
    opaque, and not to opacity.

    Args:
        images: [N, C, H, W], less their background.
        draws: random numbers.
        spec: multipliers and parameters.
    """
    sigma = draws.half_normal("noise", spec.noise_std)
    sigma = draws.gate("noise", draws.strength * spec.noise, sigma, 0)
    sigma = tf.reshape(tf.cast(sigma, tf.float32), [-1, 1, 1, 1])
    noise = draws.white("noise", tf.shape(images)) * sigma
    if images.shape[1].value == 4:
        noise *= opacity_of(images) * np.float32([1, 1, 1, 0]).reshape(-1, 1, 1)
    return images + noise


def cut_out(images: tf.Tensor, draws: Draws, spec: AugmentSpec) -> tf.Tensor:
    """Sets a rectangle to zero whose center is anywhere in the image.

    Args:
        images: [N, C, H, W], less their background, which the rectangle becomes.
        draws: random numbers.
        spec: multipliers and parameters.
    """
    height, width = images.shape.as_list()[2:]
    size = tf.fill([draws.count], tf.constant(spec.cutout_size, tf.float32))
    size = draws.gate("cutout", draws.strength * spec.cutout, size, 0)
    outside = []
    for use, pixels in enumerate((width, height)):
        center = tf.cast(draws.uniform("cutout", 0, 1, use), tf.float32)[:, tf.newaxis]
        distance = tf.abs((np.arange(pixels, dtype=np.float32) + 0.5) / pixels - center)
        outside.append(distance >= size[:, tf.newaxis] / 2)
    outside_x, outside_y = outside
    kept = tf.logical_or(outside_x[:, tf.newaxis, :], outside_y[:, :, tf.newaxis])
    return images * tf.cast(kept, images.dtype)[:, tf.newaxis]
