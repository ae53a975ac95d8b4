"""Layers that all networks are made of (StyleGAN2, section 2 and appendix B).

Activations are in `tf_ops.layout.internal_format()`. Weights are kept at unit variance and scaled
when used (equalised learning rate, Progressive GAN, section 4.1).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.util import one_line
from tf_ops import layout
from tf_ops.fused_bias_act import fused_bias_act
from tf_ops.upfirdn_2d import conv_downsample_2d, upsample_conv_2d
from training.architecture.precision import clamp_for
from training.datasets.format.levels import BASE_LOG2, MAX_BASE_SIDE, MIN_SIDE

# Height and width of the coarsest grid of a square network.
SQUARE_BASE = (4, 4)
# Numbers in one layer, of its weights or of its activations for one image: 1 GiB in float32, which
# is eight times what 1024×1024 images take.
_MAX_SIZE = 1 << 28


def resolution_log2(resolution: int) -> int:
    """n for a resolution of 2^n pixels.

    Raises:
        UserError: not a power of two, or below 4.
    """
    n = int(resolution).bit_length() - 1
    if resolution < 4 or resolution != 2**n:
        raise UserError(f"resolution {resolution}: expected a power of two of at least 4")
    return n


def level_size(level: int, base_size: Sequence[int] = SQUARE_BASE) -> tuple[int, int]:
    """(height, width) of images and activations at a level: base_size·2^(level - 2).

    # Deviation: official networks are square. Ours take the keyword argument `base_size` for other
    images: the coarsest grid, as in `datasets.format.levels`, (8, 6) for 32×24. `resolution`,
    feature maps and names of scopes are those of a square with as many levels: 16 for 32×24.

    Args:
        level: 2 for the coarsest, `resolution_log2` for full resolution.
        base_size: height and width at the coarsest level.

    Raises:
        UserError: `base_size` is not two whole numbers that a dataset can have.
    """
    is_pair = isinstance(base_size, (list, tuple)) and len(base_size) == 2
    if not is_pair or not all(
        isinstance(side, (int, np.integer)) and MIN_SIDE <= side <= MAX_BASE_SIDE
        for side in base_size
    ):
        raise UserError(
            f"base_size {one_line(repr(base_size), 40)}: expected height and width of the coarsest "
            f"grid, two whole numbers from {MIN_SIDE} to {MAX_BASE_SIDE}"
        )
    height, width = (int(side) << level - BASE_LOG2 for side in base_size)
    return height, width


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
    known = {
        p.name
        for f in functions
        for p in inspect.signature(f).parameters.values()
        if p.default is not p.empty  # Inputs and the name of **kwargs are no keywords.
    }
    unknown = sorted(set(kwargs) - known)
    if unknown:
        raise UserError(f"networks have no keyword argument {', '.join(map(repr, unknown))}")


def check_architecture(architecture: str) -> None:
    """Raises a UserError unless it is one of StyleGAN2's, section 4: orig, skip, resnet."""
    if architecture not in ("orig", "skip", "resnet"):
        raise UserError(f"architecture {architecture!r}: use one of orig, skip, resnet")


def check_dtype(dtype: str) -> None:
    """Raises a UserError unless it is float32, the only type of inputs, outputs and variables."""
    if dtype != "float32":
        raise UserError(f"dtype {dtype!r}: networks are computed in float32")


def get_weight(
    shape: Sequence[int],
    gain: float = 1.0,
    use_wscale: bool = True,
    lrmul: float = 1.0,
    weight_var: str = "weight",
    trainable: bool = True,
) -> tf.Tensor:
    """Weight with He's standard deviation gain / sqrt(fan_in), scaled at run time.

    Args:
        shape: [.., in, out] for dense layers, [kh, kw, in, out] for convolutions.
        gain: He gain.
        use_wscale: keep the variable at unit variance and scale it here.
        lrmul: learning-rate multiplier: the variable is 1/lrmul as large and scaled by lrmul.
        weight_var: name of the variable.
        trainable: whether optimizers change it.
    """
    weight, coefficient = get_unscaled_weight(shape, gain, use_wscale, lrmul, weight_var, trainable)
    return weight * coefficient


def get_unscaled_weight(
    shape: Sequence[int],
    gain: float = 1.0,
    use_wscale: bool = True,
    lrmul: float = 1.0,
    weight_var: str = "weight",
    trainable: bool = True,
) -> tuple[tf.Tensor, np.float32]:
    """The variable of `get_weight`, and by what it is to be scaled."""
    _check_size("weights", shape)
    he_std = gain / np.sqrt(np.prod(shape[:-1]))
    if use_wscale:
        init_std, coefficient = 1.0 / lrmul, he_std * lrmul
    else:
        init_std, coefficient = he_std / lrmul, lrmul
    init = tf.initializers.random_normal(0, init_std)
    weight = tf.get_variable(weight_var, shape=shape, initializer=init, trainable=trainable)
    return weight, np.float32(coefficient)


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
    trainable: bool = True,
    normalize: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """Convolution without bias, with optional up- or downsampling by 2, in the precision of `x`.

    The weight [kernel, kernel, in, out] goes through `normalize` before it is used.
    """
    shape = [kernel, kernel, _channels(x), fmaps]
    w = get_weight(shape, gain, use_wscale, lrmul, weight_var, trainable)
    w = w if normalize is None else normalize(w)
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
        demodulate: scale outputs back to unit expected variance.

    Returns:
        (activations, scale): demodulation is multiplying them by scale [N, fmaps], which
        `apply_bias_act` does in one pass with what comes after; None without demodulation.
    """
    channels = _channels(x)
    shape = [kernel, kernel, channels, fmaps]
    w, coefficient = get_unscaled_weight(shape, gain, use_wscale, lrmul, weight_var)
    style = dense_layer(y, channels, weight_var=mod_weight_var)
    # Styles are scaled in place of weights, which are so much larger. [N, C]
    style = (apply_bias_act(style, bias_var=mod_bias_var) + 1) * coefficient
    if demodulate and x.dtype == tf.float16:
        fan_in = kernel * kernel * channels
        w = w / (np.sqrt(fan_in, dtype=np.float32) * _largest(w, axis=[0, 1, 2]))
        style *= 1 / _largest(style, axis=[1])
    if kernel == 1 and not (up or down):
        x = _pixelwise(x, style[:, :, np.newaxis] * w[0, 0])
    else:
        x = _resampled_conv(x * _per_channel(style, x.dtype), w, up, down, resample_kernel)
    if not demodulate:
        return x, None
    # sum over (kh, kw, C) of (style·w)²: one matrix product, [N, C] × [C, fmaps].
    energy = tf.matmul(tf.square(style), tf.reduce_sum(tf.square(w), axis=[0, 1]))
    return x, tf.math.rsqrt(energy + 1e-8)


def apply_bias_act(
    x: tf.Tensor,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    lrmul: float = 1.0,
    clamp: float | None = None,
    bias_var: str = "bias",
    trainable: bool = True,
    scale: tf.Tensor | None = None,
    noise: tf.Tensor | None = None,
) -> tf.Tensor:
    """Adds a bias per channel and applies an activation and a clamp, see `fused_bias_act`.

    Scale [N, channels] and noise, both float32 or None, come before the bias.
    """
    _check_size("activations", x.shape[1:].as_list())
    zeros = tf.initializers.zeros()
    b = tf.get_variable(bias_var, shape=[_channels(x)], initializer=zeros, trainable=trainable)
    axis = layout.channel_axis(layout.internal_format()) if x.shape.ndims == 4 else 1
    clamp = clamp_for(x.dtype, clamp)
    scale, noise = (None if t is None else tf.cast(t, x.dtype) for t in (scale, noise))
    b = tf.cast(b * lrmul, x.dtype)
    return fused_bias_act(x, b, axis, act, alpha, gain, clamp, scale=scale, noise=noise)


def dense_stack(
    x: tf.Tensor, widths: Sequence[int], act: str, lrmul: float, scope: str = "Dense"
) -> tf.Tensor:
    """Fully connected layers with biases and activations, in the scopes Dense0, Dense1, …"""
    for i, fmaps in enumerate(widths):
        with tf.variable_scope(f"{scope}{i}"):
            x = apply_bias_act(dense_layer(x, fmaps, lrmul=lrmul), act=act, lrmul=lrmul)
    return x


def minibatch_stddev_layer(
    x: tf.Tensor, group_size: int | None = 4, num_new_features: int = 1
) -> tf.Tensor:
    """Appends the standard deviation within groups of samples as features (PGGAN, section 3).

    Args:
        x: activations of N samples. Sample n belongs to group n mod (N / group_size).
        group_size: samples in a group, or N if that is fewer; N must be a multiple of it. None:
            all samples are one group.
        num_new_features: maps added; each is the mean over its share of the channels.
    """
    data_format = layout.internal_format()
    x_chw = layout.convert(x, data_format, layout.NCHW)
    channels, height, width = x_chw.shape[1:].as_list()
    count = tf.shape(x)[0]
    group_size = count if group_size is None else tf.minimum(group_size, count)
    features = num_new_features
    y = tf.reshape(x_chw, [group_size, -1, features, channels // features, height, width])
    y -= tf.reduce_mean(y, axis=0, keepdims=True)
    y = tf.sqrt(tf.reduce_mean(tf.square(y), axis=0) + 1e-8)  # [M, F, c, H, W]
    y = tf.reduce_mean(y, axis=[2, 3, 4])  # [M, F]
    y = tf.tile(y[:, :, np.newaxis, np.newaxis], [group_size, 1, height, width])
    y.set_shape([None, features, height, width])
    y = layout.convert(y, layout.NCHW, data_format)
    return tf.concat([x, y], axis=layout.channel_axis(data_format))


def style_mod_layer(x: tf.Tensor, y: tf.Tensor, use_wscale: bool = True) -> tf.Tensor:
    """x·(scale + 1) + shift, scale and shift per channel from a style (StyleGAN, equation 1).

    Args:
        x: activations, normalised.
        y: disentangled latents w [N, dlatent_size]; an affine layer turns them into both.
    """
    style = dense_layer(y, _channels(x) * 2, use_wscale=use_wscale)
    scale, shift = tf.split(apply_bias_act(style), 2, axis=1)  # [N, C] each
    return x * _per_channel(scale + 1, x.dtype) + _per_channel(shift, x.dtype)


def noise_layer(x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Adds noise, see `styles.noise_image`, by a learned strength per channel."""
    init = tf.initializers.zeros()
    strength = tf.get_variable("weight", shape=[_channels(x)], initializer=init)
    return x + noise * _per_channel(strength[np.newaxis], x.dtype)


def instance_norm(x: tf.Tensor, eps: float = 1e-8) -> tf.Tensor:
    """Every feature map of every sample with mean 0 and deviation 1 (StyleGAN, equation 1)."""
    axes = layout.spatial_axes(layout.internal_format())
    x = x - tf.reduce_mean(x, axis=axes, keepdims=True)
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=axes, keepdims=True) + eps)


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


def _check_size(what: str, shape: Sequence[int | None]) -> None:
    """Sizes come from files too: a layer is refused before it takes memory."""
    if math.prod(n or 1 for n in shape) > _MAX_SIZE:
        raise UserError(
            f"a layer has {what} of {'×'.join(map(str, shape))} numbers, more than {_MAX_SIZE:,}: "
            "make the network smaller, with a lower fmap_base, fmap_max, latent_size or resolution"
        )


def _largest(x: tf.Tensor, axis: Sequence[int]) -> tf.Tensor:
    """Largest absolute value, kept from zero so that it can be divided by."""
    return tf.maximum(tf.reduce_max(tf.abs(x), axis=axis, keepdims=True), 1e-8)


def _per_channel(values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """[N, C] shaped to multiply activations of that type."""
    values = tf.cast(values, dtype)
    if layout.internal_format() == layout.NCHW:
        return values[:, :, np.newaxis, np.newaxis]
    return values[:, np.newaxis, np.newaxis, :]


def _pixelwise(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """1×1 convolution with kernels [N, C, fmaps] of the samples' own.

    As matrix products, in half the time of scaling activations and a convolution for fmaps of 3.
    """
    data_format = layout.internal_format()
    w = tf.cast(w, x.dtype)
    height, width = (x.shape[axis].value for axis in layout.spatial_axes(data_format))
    fmaps = w.shape[2].value
    if data_format == layout.NHWC:
        y = tf.matmul(tf.reshape(x, [-1, height * width, _channels(x)]), w)
        return tf.reshape(y, [-1, height, width, fmaps])
    y = tf.matmul(w, tf.reshape(x, [-1, _channels(x), height * width]), transpose_a=True)
    return tf.reshape(y, [-1, fmaps, height, width])


def _resampled_conv(x, w, up, down, resample_kernel):
    data_format = layout.internal_format()
    w = tf.cast(w, x.dtype)
    if up:
        return upsample_conv_2d(x, w, resample_kernel, data_format=data_format)
    if down:
        return conv_downsample_2d(x, w, resample_kernel, data_format=data_format)
    return layout.conv2d(x, w, data_format=data_format)
