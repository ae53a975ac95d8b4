"""Discriminator of StyleGAN2 and of ADA up to its output layer (StyleGAN2, figure 7)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import layout
from tf_ops.upfirdn_2d import downsample_2d
from training.architecture.layers import (
    apply_bias_act,
    check_architecture,
    conv2d_layer,
    dense_layer,
    level_size,
    minibatch_stddev_layer,
    resolution_log2,
    to_internal,
)
from training.architecture.precision import activation_dtype
from training.architecture.progressive_augmentation import embed_bits


def extract_features(
    images_in: tf.Tensor,
    *,
    num_channels: int,
    resolution: int,
    base_size: Sequence[int],
    nf: Callable[[int], int],
    architecture: str = "resnet",
    nonlinearity: str = "lrelu",
    num_fp16_res: int = 0,
    conv_clamp: float | None = None,
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    mbstd_group_size: int | None = 4,
    mbstd_num_features: int = 1,
    freeze_layers: int = 0,
    normalize_weight: Callable[[tf.Tensor], tf.Tensor] | None = None,
    dropout: Callable[[tf.Tensor], tf.Tensor] | None = None,
    bits: tf.Tensor | None = None,
) -> tf.Tensor:
    """Body of the official discriminators, which document the arguments of the same names.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1].
        nf: feature maps by stage, see `layers.feature_maps`.
        mbstd_num_features: 0 leaves the minibatch standard deviation out.
        normalize_weight: what the weights of 3×3 convolutions go through before they are used.
        dropout: what the features of every layer with an activation go through.
        bits: [N, any], what else the first layer sees.

    Returns:
        features [N, nf(0)] float32.

    Raises:
        UserError: a resolution, a base size or an architecture that there is not.
    """
    check_architecture(architecture)
    log2 = resolution_log2(resolution)
    images_in.set_shape([None, num_channels, *level_size(log2, base_size)])
    layer_numbers = itertools.count()

    def is_next_trainable():
        return next(layer_numbers) >= freeze_layers

    def layer(x, fmaps, kernel, trainable, down=False, added=None):
        filters = {"down": down, "resample_kernel": resample_kernel}
        normalize = normalize_weight if kernel == 3 else None
        x = conv2d_layer(x, fmaps, kernel, **filters, trainable=trainable, normalize=normalize)
        x = x if added is None else x + tf.cast(added, x.dtype)
        x = apply_bias_act(x, act=nonlinearity, clamp=conv_clamp, trainable=trainable)
        return x if dropout is None else dropout(x)

    def fromrgb(x, y, res):
        with tf.variable_scope("FromRGB"):
            y = tf.cast(y, activation_dtype(res, log2, num_fp16_res))
            added = embed_bits(bits, nf(res - 1)) if bits is not None and x is None else None
            t = layer(y, nf(res - 1), 1, is_next_trainable(), added=added)
            return t if x is None else tf.cast(x, t.dtype) + t

    def block(x, res):
        x = t = tf.cast(x, activation_dtype(res, log2, num_fp16_res))
        with tf.variable_scope("Conv0"):
            x = layer(x, nf(res - 1), 3, is_next_trainable())
        with tf.variable_scope("Conv1_down"):
            x = layer(x, nf(res - 2), 3, is_next_trainable(), down=True)
        if architecture == "resnet":
            with tf.variable_scope("Skip"):
                filters = {"down": True, "resample_kernel": resample_kernel}
                t = conv2d_layer(t, nf(res - 2), 1, **filters, trainable=is_next_trainable())
                x = (x + t) * float(np.sqrt(0.5))
        return x

    x, y = None, to_internal(images_in)
    for res in range(log2, 2, -1):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            if architecture == "skip" or res == log2:
                x = fromrgb(x, y, res)
            x = block(x, res)
            if architecture == "skip":
                y = downsample_2d(y, resample_kernel, data_format=layout.internal_format())
    with tf.variable_scope("4x4"):
        if architecture == "skip" or x is None:
            x = fromrgb(x, y, 2)
        x = tf.cast(x, tf.float32)
        if mbstd_num_features:
            x = minibatch_stddev_layer(x, mbstd_group_size, mbstd_num_features)
        with tf.variable_scope("Conv"):
            x = layer(x, nf(1), 3, trainable=True)
        with tf.variable_scope("Dense0"):
            x = apply_bias_act(dense_layer(x, nf(0)), act=nonlinearity)
            return x if dropout is None else dropout(x)
