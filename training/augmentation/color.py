"""Colors in augmentation (ADA, appendix B): one affine map of RGB for each sample.

What becomes of a white background: images are in [-1, 1], white is w = (1, 1, 1), gray colors lie
on the axis v = w/√3.

    hue         R(θ)x, a turn about v               R(θ)w = w
    saturation  (vvᵀ + s(I - vvᵀ))x                 w has no part across v: w stays
    brightness  x + b                               w + b
    contrast    c·x, about mid-gray 0               c·w
    luma flip   (I - 2vvᵀ)x, a mirror through 0     -w

About white, x -> w + M(x - w), every matrix M keeps it. So `AugmentSpec.background` = 1 computes
all of the pipeline on x - w: contrast becomes w + c(x - w), which can be undone as the official one
can, leaves [-1, 1] like it (darker than black for c > 1), and like it is not clipped. Brightness
still adds, and the luma flip makes colors up to 3 times as bright as white: the presets that keep
white leave both out. Zeros are white then, exactly, in every linear step: what lies beyond a whole
reflection, and filters, whose taps do not quite add up to 1.

Images of four channels hold colors over white, and opacity: for a color c and an opacity a of 0 to
1, (w + a(c - w), 2a - 1). All is computed on what is zero where they are transparent, y = a(c - w)
and 2a: geometry, filters and cutout are linear in both, and what they bring in is transparent. A
map of colors b + M(c - b) + t about the background b becomes

    y -> a(b + M(c - b) + t - w) = M·y + a((M - I)(w - b) + t)

so that offsets fade with the opacity, transparent pixels stay so, and opacity itself is left alone.

# Deviation: the official code refuses four channels.
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops.resample_2d import weighted_gather
from training.augmentation.draws import Draws
from training.augmentation.spec import AugmentSpec

# The axis of gray colors, in homogeneous coordinates, and the projection on it.
_LUMA = np.array([1, 1, 1, 0]) / np.sqrt(3)
_LUMA_PROJECTION = np.outer(_LUMA, _LUMA)
# K of Rodrigues' formula R(θ) = I + sin θ·K + (1 - cos θ)·K², for turns about the luma axis.
_CROSS = np.array([[0, -1, 1, 0], [1, 0, -1, 0], [-1, 1, 0, 0], [0, 0, 0, 0]]) / np.sqrt(3)


def background_of(channels: int, spec: AugmentSpec) -> np.ndarray | float | None:
    """What is zero while images are transformed, for all channels or [channels, 1, 1]; None: 0."""
    if channels == 4:
        return np.array([1, 1, 1, -1], np.float32).reshape(-1, 1, 1)
    return spec.background or None


def opacity_of(images: tf.Tensor) -> tf.Tensor | float:
    """Opacity 0 to 1 [N, 1, H, W] of images less their background; 1 where they have none."""
    return images[:, 3:] / 2 if images.shape[1].value == 4 else 1.0


def color_transforms(draws: Draws, spec: AugmentSpec) -> list[tf.Tensor]:
    """Brightness, contrast, inverted luma, turned hue and saturation, in this order.

    Args:
        draws: random numbers.
        spec: multipliers and parameters.

    Returns:
        Matrices [N, 4, 4] float32 for colors (r, g, b, 1); none for a multiplier of 0.
    """
    one, p = np.eye(4), draws.strength
    transforms = []
    if spec.brightness > 0:
        offset = draws.normal("brightness", spec.brightness_std)
        offset = draws.gate("brightness", p * spec.brightness, offset, 0)
        shift = np.outer([1, 1, 1, 0], [0, 0, 0, 1])
        transforms.append(_combine((1, one), (offset, shift)))
    if spec.contrast > 0:
        factor = draws.lognormal("contrast", spec.contrast_std)
        factor = draws.gate("contrast", p * spec.contrast, factor, 1)
        transforms.append(_combine((factor, np.diag([1, 1, 1, 0])), (1, np.diag([0, 0, 0, 1]))))
    if spec.lumaflip > 0:
        flip = draws.gate("lumaflip", p * spec.lumaflip, draws.choice("lumaflip", 2), 0)
        transforms.append(_combine((1, one), (-2 * flip, _LUMA_PROJECTION)))
    if spec.hue > 0:
        angle = draws.uniform("hue", -spec.hue_max, spec.hue_max) * np.pi
        angle = draws.gate("hue", p * spec.hue, angle, 0)
        turn = (tf.sin(angle), _CROSS), (1 - tf.cos(angle), _CROSS @ _CROSS)
        transforms.append(_combine((1, one), *turn))
    if spec.saturation > 0:
        factor = draws.lognormal("saturation", spec.saturation_std)
        factor = draws.gate("saturation", p * spec.saturation, factor, 1)
        transforms.append(
            _combine((1, one), (factor - 1, one - _LUMA_PROJECTION - np.diag([0, 0, 0, 1])))
        )
    return transforms


def transform_colors(
    images: tf.Tensor, transforms: list[tf.Tensor], background: float = 0
) -> tf.Tensor:
    """Applies matrices to the colors of images, the first of the list first.

    Args:
        images: [N, C, H, W], less their background, with C = 3, or C = 4 for opacity too, or C = 1
            for gray: the mean of what the three equal colors of a pixel become.
        transforms: [N, 4, 4] each.
        background: of the transforms, see `AugmentSpec`.

    Raises:
        UserError: another number of channels.
    """
    channels = images.shape[1].value
    if channels not in (1, 3, 4):
        raise UserError(f"color augmentation of {channels} channels: expected 3, 4 or 1")
    matrix = transforms[0]
    for step in transforms[1:]:
        matrix = tf.matmul(step, matrix)
    factors, offset = matrix[:, :3, :3], matrix[:, :3, 3:, tf.newaxis]
    if channels == 4:
        white = tf.reduce_sum(factors, axis=2)[:, :, tf.newaxis, tf.newaxis] - 1  # (M - I)w
        offset += white * (1 - background)
    if channels == 1:
        factors = tf.reduce_mean(tf.reduce_sum(factors, axis=2, keepdims=True), 1, keepdims=True)
        offset = tf.reduce_mean(offset, axis=1, keepdims=True)
    # Not by tf.matmul, which rounds to 10 bits on some GPUs.
    planes = tf.broadcast_to(tf.range(min(channels, 3)), tf.shape(factors))
    colors = weighted_gather(images, planes, factors, axis=1) + offset * opacity_of(images)
    return colors if channels < 4 else tf.concat([colors, images[:, 3:]], axis=1)


def _combine(*terms: tuple[tf.Tensor | float, np.ndarray]) -> tf.Tensor:
    """Σ factor·matrix, [N, 4, 4] float32; factors are [N] or the number 1."""
    constant = sum(matrix for factor, matrix in terms if isinstance(factor, int))
    result = tf.constant(constant, tf.float32)
    for factor, matrix in terms:
        if not isinstance(factor, int):
            factor = tf.cast(factor, tf.float32)[:, tf.newaxis, tf.newaxis]
            result += factor * tf.constant(matrix, tf.float32)
    return result
