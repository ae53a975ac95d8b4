"""Layers that all networks are made of (StyleGAN2, section 2 and appendix B).

Activations are in `tf_ops.layout.internal_format()`. Weights are kept at unit variance and scaled
when used (equalised learning rate, Progressive GAN, section 4.1).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib.network import unknown_keyword
from tf_ops import layout
from tf_ops.fused_bias_act import fused_bias_act
from tf_ops.upfirdn_2d import conv_downsample_2d, upsample_conv_2d


def resolution_log2(resolution: int) -> int:
    """n for a resolution of 2^n pixels.

    Raises:
        UserError: not a power of two, or below 4.
    """
    n = int(resolution).bit_length() - 1
    if resolution < 4 or resolution != 2**n:
        raise UserError(f"resolution {resolution}: expected a power of two of at least 4")
    return n


def feature_maps(
    fmap_base: int, fmap_decay: float, fmap_min: int, fmap_max: int
) -> Callable[[int], int]:
    """Number of feature maps by stage (0 at 2×2, 1 at 4×4, …): halves with every doubling."""

    def nf(stage: int) -> int:
        return int(np.clip(int(fmap_base / (2.0 ** (stage * fmap_decay))), fmap_min, fmap_max))

    return nf


def reject_unknown(kwargs: Mapping[str, Any], functions: Iterable[Callable]) -> None:
    """Raises a UserError if a keyword argument belongs to none of the functions.

    A generator hands all its keyword arguments to both of its components, as in the official
    snapshots, so that each of them has to pass over those of the other, and only those.
    """
    known = {name for f in functions for name in inspect.signature(f).parameters}
    unknown = sorted(set(kwargs) - known)
    if unknown:
        raise unknown_keyword("the network", unknown)


def get_weight(
    shape: Sequence[int],
    gain: float = 1.0,
    use_wscale: bool = True,
    lrmul: float = 1.0,
    weight_var: str = "weight",
) -> tf.Tensor:
    """Weight with He's standard deviation gain / sqrt(fan_in), scaled at run time.

    Args:
        shape: [.., in, out] for dense layers, [kh, kw, in, out] for convolutions.
        gain: He gain.
        use_wscale: keep the variable at unit variance and scale it here.
        lrmul: learning-rate multiplier: the variable is 1/lrmul as large and scaled by lrmul.
        weight_var: name of the variable.
    """
    he_std = gain / np.sqrt(np.prod(shape[:-1]))
    if use_wscale:
        init_std, runtime_coef = 1.0 / lrmul, he_std * lrmul
    else:
        init_std, runtime_coef = he_std / lrmul, lrmul
    init = tf.initializers.random_normal(0, init_std)
    weight = tf.get_variable(weight_var, shape=shape, initializer=init)
    return weight * np.float32(runtime_coef)


def dense_layer(
    x: tf.Tensor,
    fmaps: int,
    gain: float = 1.0,
    use_wscale: bool = True,
    lrmul: float = 1.0,
    weight_var: str = "weight",
) -> tf.Tensor:
    """Fully connected layer without bias: [N, …] to [N, fmaps].

    Images are flattened in the order C, H, W, whatever layout they are in.
    """
    if x.shape.ndims == 4:
        x = layout.convert(x, layout.internal_format(), layout.NCHW)
    if x.shape.ndims > 2:
        x = tf.reshape(x, [-1, int(np.prod(x.shape[1:].as_list()))])
    w = get_weight([x.shape[1].value, fmaps], gain, use_wscale, lrmul, weight_var)
    return tf.matmul(x, w)


def conv2d_layer(
    x: tf.Tensor,
    fmaps: int,
    kernel: int,
    up: bool = False,
    down: bool = False,
    resample_kernel: Sequence[float] | None = None,
    gain: float = 1.0,
    use_wscale: bool = True,
    lrmul: float = 1.0,
    weight_var: str = "weight",
) -> tf.Tensor:
    """Convolution without bias, with optional up- or downsampling by 2."""
    shape = [kernel, kernel, _channels(x), fmaps]
    w = get_weight(shape, gain, use_wscale, lrmul, weight_var)
    return _resampled_conv(x, w, up, down, resample_kernel)


def modulated_conv2d_layer(
    x: tf.Tensor,
    y: tf.Tensor,
    fmaps: int,
    kernel: int,
    up: bool = False,
    down: bool = False,
    demodulate: bool = True,
    resample_kernel: Sequence[float] | None = None,
    gain: float = 1.0,
    use_wscale: bool = True,
    lrmul: float = 1.0,
    weight_var: str = "weight",
    mod_weight_var: str = "mod_weight",
    mod_bias_var: str = "mod_bias",
) -> tf.Tensor:
    """Convolution whose kernel is scaled by a style, per sample (StyleGAN2, eqs. 1 and 3).

    Scaling the kernel's inputs equals scaling the activations before the convolution, and
    demodulation equals scaling them after it, so that no kernel per sample is ever made.

    Args:
        x: activations.
        y: disentangled latents w [N, dlatent_size]; an affine layer turns them into styles.
        demodulate: scale outputs back to unit expected variance.
    """
    channels = _channels(x)
    w = get_weight([kernel, kernel, channels, fmaps], gain, use_wscale, lrmul, weight_var)
    style = dense_layer(y, channels, weight_var=mod_weight_var)
    style = apply_bias_act(style, bias_var=mod_bias_var) + 1  # [N, C]
    x = _resampled_conv(x * _per_channel(style), w, up, down, resample_kernel)
    if demodulate:
        # sum over (kh, kw, C) of (style·w)²: one matrix product, [N, C] × [C, fmaps].
        energy = tf.matmul(tf.square(style), tf.reduce_sum(tf.square(w), axis=[0, 1]))
        x = x * _per_channel(tf.math.rsqrt(energy + 1e-8))
    return x


def apply_bias_act(
    x: tf.Tensor,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    lrmul: float = 1.0,
    clamp: float | None = None,
    bias_var: str = "bias",
) -> tf.Tensor:
    """Adds a bias per channel and applies an activation, see `fused_bias_act`."""
    b = tf.get_variable(bias_var, shape=[_channels(x)], initializer=tf.initializers.zeros())
    axis = layout.channel_axis(layout.internal_format()) if x.shape.ndims == 4 else 1
    return fused_bias_act(x, b * lrmul, axis, act, alpha, gain, clamp)


def minibatch_stddev_layer(
    x: tf.Tensor, group_size: int = 4, num_new_features: int = 1
) -> tf.Tensor:
    """Appends the standard deviation within groups of samples as features (PGGAN, section 3).

    Args:
        x: activations of N samples. Sample n belongs to group n mod (N / group_size).
        group_size: samples in a group, or N if that is fewer; N must be a multiple of it.
        num_new_features: maps added; each is the mean over its share of the channels.
    """
    data_format = layout.internal_format()
    x_chw = layout.convert(x, data_format, layout.NCHW)
    channels, height, width = x_chw.shape[1:].as_list()
    group_size = tf.minimum(group_size, tf.shape(x)[0])
    features = num_new_features
    y = tf.reshape(x_chw, [group_size, -1, features, channels // features, height, width])
    y -= tf.reduce_mean(y, axis=0, keepdims=True)
    y = tf.sqrt(tf.reduce_mean(tf.square(y), axis=0) + 1e-8)  # [M, F, c, H, W]
    y = tf.reduce_mean(y, axis=[2, 3, 4])  # [M, F]
    y = tf.tile(y[:, :, np.newaxis, np.newaxis], [group_size, 1, height, width])
    y.set_shape([None, features, height, width])
    y = layout.convert(y, layout.NCHW, data_format)
    return tf.concat([x, y], axis=layout.channel_axis(data_format))


def normalize_2nd_moment(x: tf.Tensor, axis: int = 1, eps: float = 1e-8) -> tf.Tensor:
    """Scales vectors to a mean square of one."""
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=axis, keepdims=True) + eps)


def to_internal(images: tf.Tensor) -> tf.Tensor:
    """Images [N, C, H, W] in the layout of activations."""
    return layout.convert(images, layout.NCHW, layout.internal_format())


def to_images(x: tf.Tensor) -> tf.Tensor:
    """Activations as images [N, C, H, W]."""
    return layout.convert(x, layout.internal_format(), layout.NCHW)


def _channels(x: tf.Tensor) -> int:
    axis = layout.channel_axis(layout.internal_format()) if x.shape.ndims == 4 else 1
    return x.shape[axis].value


def _per_channel(values: tf.Tensor) -> tf.Tensor:
    """[N, C] shaped to multiply activations."""
    if layout.internal_format() == layout.NCHW:
        return values[:, :, np.newaxis, np.newaxis]
    return values[:, np.newaxis, np.newaxis, :]


def _resampled_conv(x, w, up, down, resample_kernel):
    data_format = layout.internal_format()
    if up:
        return upsample_conv_2d(x, w, resample_kernel, data_format=data_format)
    if down:
        return conv_downsample_2d(x, w, resample_kernel, data_format=data_format)
    return layout.conv2d(x, w, data_format=data_format)
