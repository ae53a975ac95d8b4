"""Layers that measure activations: normalization, and statistics of a minibatch."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import layout


def normalize_2nd_moment(x: tf.Tensor, axis: int = 1, eps: float = 1e-8) -> tf.Tensor:
    """Scales vectors to a mean square of one."""
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=axis, keepdims=True) + eps)


def instance_norm(x: tf.Tensor, eps: float = 1e-8) -> tf.Tensor:
    """Every feature map of every sample with mean 0 and deviation 1 (StyleGAN, equation 1)."""
    axes = layout.spatial_axes(layout.internal_format())
    x = x - tf.reduce_mean(x, axis=axes, keepdims=True)
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=axes, keepdims=True) + eps)


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
