"""Layers that all networks are made of (StyleGAN2, section 2 and appendix B).

Activations are in `tf_ops.layout.internal_format()`. Weights are kept at unit variance and scaled
when used (equalized learning rate, Progressive GAN, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import layout
from tf_ops.fused_bias_act import fused_bias_act
from tf_ops.upfirdn_2d import conv_downsample_2d, upsample_conv_2d
from training.architecture.precision import clamp_for
from training.architecture.sizes import check_size


@dataclass(frozen=True)
class Weight:
    """How the weight of a layer is kept, and by what it is scaled when used.

    Attributes:
        gain: He gain: the weight has a standard deviation of gain / sqrt(fan_in).
        use_wscale: keep the variable at unit variance and scale it when used.
        lrmul: learning-rate multiplier: the variable is 1/lrmul as large and scaled by lrmul.
        name: of the variable.
        trainable: whether optimizers change it.
        normalize: what the scaled weight goes through before it is used; None for nothing.
    """

    gain: float = 1.0
    use_wscale: bool = True
    lrmul: float = 1.0
    name: str = "weight"
    trainable: bool = True
    normalize: Callable[[tf.Tensor], tf.Tensor] | None = None


@dataclass(frozen=True)
class Resampling:
    """A change of size by 2 beside a convolution.

    Attributes:
        up: upsampling before it, else downsampling after it.
        kernel: FIR filter; None for boxes.
    """

    up: bool
    kernel: Sequence[float] | None = None


PLAIN = Weight()


def get_weight(shape: Sequence[int], weight: Weight = PLAIN) -> tf.Tensor:
    """Weight with He's standard deviation, scaled.

    Args:
        shape: [.., in, out] for dense layers, [kh, kw, in, out] for convolutions.
        weight: how it is kept.
    """
    variable, coefficient = get_unscaled_weight(shape, weight)
    return variable * coefficient


def get_unscaled_weight(
    shape: Sequence[int], weight: Weight = PLAIN
) -> tuple[tf.Tensor, np.float32]:
    """What `get_weight` scales, the variable or a normalized weight, and by what."""
    check_size("weights", shape)
    he_std = weight.gain / np.sqrt(np.prod(shape[:-1]))
    if weight.use_wscale:
        init_std, coefficient = 1.0 / weight.lrmul, he_std * weight.lrmul
    else:
        init_std, coefficient = he_std / weight.lrmul, weight.lrmul
    init = tf.initializers.random_normal(0, init_std)
    variable = tf.get_variable(
        weight.name, shape=shape, initializer=init, trainable=weight.trainable
    )
    if weight.normalize is None:
        return variable, np.float32(coefficient)
    return weight.normalize(variable * np.float32(coefficient)), np.float32(1)


def dense_layer(x: tf.Tensor, fmaps: int, weight: Weight = PLAIN) -> tf.Tensor:
    """Fully connected layer without bias: [N, …] to [N, fmaps].

    Images are flattened in the order C, H, W, whatever layout they are in.
    """
    if x.shape.ndims == 4:
        x = layout.convert(x, layout.internal_format(), layout.NCHW)
    if x.shape.ndims > 2:
        x = tf.reshape(x, [-1, int(np.prod(x.shape[1:].as_list()))])
    w = get_weight([x.shape[1].value, fmaps], weight)
    return tf.matmul(x, w)


def dense_stack(
    x: tf.Tensor, widths: Sequence[int], act: str, lrmul: float, scope: str = "Dense"
) -> tf.Tensor:
    """Fully connected layers with biases and activations, in the scopes Dense0, Dense1, …"""
    for i, fmaps in enumerate(widths):
        with tf.variable_scope(f"{scope}{i}"):
            x = apply_bias_act(dense_layer(x, fmaps, Weight(lrmul=lrmul)), act=act, lrmul=lrmul)
    return x


def conv2d_layer(
    x: tf.Tensor,
    fmaps: int,
    kernel: int,
    weight: Weight = PLAIN,
    resampling: Resampling | None = None,
) -> tf.Tensor:
    """Convolution without bias, with optional up- or downsampling by 2, in the precision of `x`."""
    w = get_weight([kernel, kernel, channels_of(x), fmaps], weight)
    return resampled_conv(x, w, resampling)


def resampled_conv(
    x: tf.Tensor, w: tf.Tensor, resampling: Resampling | None, padding: int = 0
) -> tf.Tensor:
    """Convolution with w [kh, kw, in, out], with up- or downsampling by 2 or neither.

    Args:
        x: activations.
        w: [n, n, in, out], n odd.
        resampling: None for neither.
        padding: pixels more on each side of the result, of zeros around `x`; negative for fewer.
            Without resampling it is 0, or -(n // 2) for pixels that need no zeros.

    Raises:
        UserError: a padding that there is not.
    """
    data_format = layout.internal_format()
    w = tf.cast(w, x.dtype)
    if resampling is not None:
        resampled = upsample_conv_2d if resampling.up else conv_downsample_2d
        return resampled(x, w, resampling.kernel, padding=padding, data_format=data_format)
    radius = w.shape[0].value // 2
    if padding not in (0, -radius):
        raise UserError(f"padding {padding} of a convolution: use 0 or {-radius}")
    return layout.conv2d(x, w, padding="VALID" if padding else "SAME", data_format=data_format)


def apply_bias_act(
    x: tf.Tensor,
    act: str = "linear",
    gain: float | None = None,
    lrmul: float = 1.0,
    clamp: float | None = None,
    bias_var: str = "bias",
    trainable: bool = True,
    alpha: float | None = None,
    scale: tf.Tensor | None = None,
    noise: tf.Tensor | None = None,
) -> tf.Tensor:
    """Adds a bias per channel and applies an activation and a clamp, see `fused_bias_act`.

    Scale [N, channels] and noise, both float32 or None, come before the bias.
    """
    check_size("activations", x.shape[1:].as_list())
    shape, zeros = [channels_of(x)], tf.initializers.zeros()
    b = tf.get_variable(bias_var, shape=shape, initializer=zeros, trainable=trainable)
    axis = layout.channel_axis(layout.internal_format()) if x.shape.ndims == 4 else 1
    clamp = clamp_for(x.dtype, clamp)
    scale, noise = (None if t is None else tf.cast(t, x.dtype) for t in (scale, noise))
    b = tf.cast(b * lrmul, x.dtype)
    return fused_bias_act(x, b, axis, act, alpha, gain, clamp, scale=scale, noise=noise)


def to_internal(images: tf.Tensor) -> tf.Tensor:
    """Images [N, C, H, W] in the layout of activations; tensors of other ranks as they are."""
    if images.shape.ndims != 4:
        return images
    return layout.convert(images, layout.NCHW, layout.internal_format())


def to_images(x: tf.Tensor) -> tf.Tensor:
    """Activations as images [N, C, H, W]; tensors of other ranks as they are."""
    if x.shape.ndims != 4:
        return x
    return layout.convert(x, layout.internal_format(), layout.NCHW)


def channels_of(x: tf.Tensor) -> int:
    """C of activations, or of vectors [N, C]."""
    axis = layout.channel_axis(layout.internal_format()) if x.shape.ndims == 4 else 1
    return x.shape[axis].value


def per_channel(values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """[N, C] shaped to multiply activations of that type."""
    values = tf.cast(values, dtype)
    if layout.internal_format() == layout.NCHW:
        return values[:, :, np.newaxis, np.newaxis]
    return values[:, np.newaxis, np.newaxis, :]
