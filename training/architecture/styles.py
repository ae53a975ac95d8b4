"""What styles and noise do to activations (StyleGAN, section 3; StyleGAN2, section 2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import layout
from training import random_streams
from training.architecture.layers import (
    PLAIN,
    Resampling,
    Weight,
    apply_bias_act,
    channels_of,
    dense_layer,
    get_unscaled_weight,
    per_channel,
    resampled_conv,
)

STYLE = Weight(name="mod_weight")


def modulated_conv2d_layer(
    x: tf.Tensor,
    y: tf.Tensor,
    fmaps: int,
    kernel: int,
    resampling: Resampling | None = None,
    demodulate: bool = True,
    weight: Weight = PLAIN,
    style_weight: Weight = STYLE,
    style_bias: str = "mod_bias",
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Convolution whose kernel is scaled by a style, per sample (StyleGAN2, eqs. 1 and 3).

    # Deviation: `fused_modconv` of the networks chooses nothing; both ways give the same numbers.
    Scaling the kernel's inputs equals scaling the activations before the convolution, and
    demodulation equals scaling them after it, so that no kernel per sample is ever made.

    In float16, kernels and styles are first scaled to largest values of 1/sqrt(fan-in) and 1: their
    sums stay within range then, and demodulation undoes it (ADA, appendix D). Without
    demodulation they are used as they are.

    Args:
        x: activations.
        y: disentangled latents w [N, dlatent_size]; an affine layer turns them into styles.
        fmaps: feature maps of the result.
        kernel: side of the kernel.
        resampling: upsampling or downsampling beside the convolution.
        demodulate: scale outputs back to unit expected variance.
        weight: how the kernel is kept.
        style_weight, style_bias: how the affine layer is kept, and the name of its bias.

    Returns:
        (activations, scale): demodulation is multiplying them by scale [N, fmaps], which
        `apply_bias_act` does in one pass with what comes after; None without demodulation.
    """
    channels = channels_of(x)
    w, coefficient = get_unscaled_weight([kernel, kernel, channels, fmaps], weight)
    style = dense_layer(y, channels, style_weight)
    style = apply_bias_act(style, bias_var=style_bias, trainable=style_weight.trainable)
    # Styles are scaled in place of weights, which are so much larger. [N, C]
    style = (style + 1) * coefficient
    if demodulate and x.dtype == tf.float16:
        fan_in = kernel * kernel * channels
        w = w / (np.sqrt(fan_in, dtype=np.float32) * _largest(w, axis=[0, 1, 2]))
        style *= 1 / _largest(style, axis=[1])
    if kernel == 1 and resampling is None:
        x = _pixelwise(x, style[:, :, np.newaxis] * w[0, 0])
    else:
        x = resampled_conv(x * per_channel(style, x.dtype), w, resampling)
    if not demodulate:
        return x, None
    # sum over (kh, kw, C) of (style·w)²: one matrix product, [N, C] × [C, fmaps].
    energy = tf.matmul(tf.square(style), tf.reduce_sum(tf.square(w), axis=[0, 1]))
    return x, tf.math.rsqrt(energy + 1e-8)


def demodulated(x: tf.Tensor, scale: tf.Tensor | None) -> tf.Tensor:
    """What `modulated_conv2d_layer` returns, where nothing comes after it that scales."""
    return x if scale is None else x * per_channel(scale, x.dtype)


def style_mod_layer(x: tf.Tensor, y: tf.Tensor, weight: Weight) -> tf.Tensor:
    """x·(scale + 1) + shift, scale and shift per channel from a style (StyleGAN, equation 1).

    Args:
        x: activations, normalized.
        y: disentangled latents w [N, dlatent_size]; an affine layer turns them into both.
        weight: of that layer.
    """
    style = dense_layer(y, channels_of(x) * 2, weight)
    scale, shift = tf.split(apply_bias_act(style), 2, axis=1)  # [N, C] each
    return x * per_channel(scale + 1, x.dtype) + per_channel(shift, x.dtype)


def noise_variables(sizes: Iterable[tuple[int, int]]) -> list[tf.Variable]:
    """Variables noise0, noise1, …: [1, 1, height, width], not trained."""
    init = tf.initializers.random_normal()
    return [
        tf.get_variable(f"noise{i}", shape=[1, 1, *size], initializer=init, trainable=False)
        for i, size in enumerate(sizes)
    ]


def noise_image(
    x: tf.Tensor, noise_input: tf.Tensor | None, randomize: bool, seed: tf.Tensor | None
) -> tf.Tensor:
    """Noise that broadcasts over the feature maps of activations.

    Args:
        x: activations.
        noise_input: [1, 1, H, W], used for all samples unless `randomize`, or [N, 1, H, W].
        randomize: fresh standard normal noise for every sample instead.
        seed: [2] int32 or None, of the fresh noise.
    """
    # With one channel, NCHW and NHWC differ in shape only, not in memory.
    data_format = layout.internal_format()
    height, width = (x.shape[axis].value for axis in layout.spatial_axes(data_format))
    rows = tf.shape(x)[0] if randomize else -1
    shape = [rows, 1, height, width] if data_format == layout.NCHW else [rows, height, width, 1]
    return random_streams.normal(shape, seed) if randomize else tf.reshape(noise_input, shape)


def noise_layer(x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Adds noise, see `noise_image`, by a learned strength per channel."""
    init = tf.initializers.zeros()
    strength = tf.get_variable("weight", shape=[channels_of(x)], initializer=init)
    return x + noise * per_channel(strength[np.newaxis], x.dtype)


def _largest(x: tf.Tensor, axis: list[int]) -> tf.Tensor:
    """Largest absolute value, kept from zero so that it can be divided by."""
    return tf.maximum(tf.reduce_max(tf.abs(x), axis=axis, keepdims=True), 1e-8)


def _pixelwise(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """1×1 convolution with kernels [N, C, fmaps] of the samples' own.

    As matrix products, in half the time of scaling activations and a convolution for fmaps of 3.
    """
    data_format = layout.internal_format()
    w = tf.cast(w, x.dtype)
    height, width = (x.shape[axis].value for axis in layout.spatial_axes(data_format))
    fmaps = w.shape[2].value
    if data_format == layout.NHWC:
        y = tf.matmul(tf.reshape(x, [-1, height * width, channels_of(x)]), w)
        return tf.reshape(y, [-1, height, width, fmaps])
    y = tf.matmul(w, tf.reshape(x, [-1, channels_of(x), height * width]), transpose_a=True)
    return tf.reshape(y, [-1, fmaps, height, width])
