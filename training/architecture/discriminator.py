"""Discriminators of StyleGAN2 and of ADA (StyleGAN2, figure 7)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import layout
from tf_ops.upfirdn_2d import downsample_2d
from training.architecture.calls import Call, DiscriminatorCall
from training.architecture.dropout import GaussianDropout
from training.architecture.layers import (
    Resampling,
    Weight,
    apply_bias_act,
    conv2d_layer,
    dense_layer,
    dense_stack,
    to_internal,
)
from training.architecture.mapping import embed_labels
from training.architecture.normalization import minibatch_stddev_layer, normalize_2nd_moment
from training.architecture.precision import activation_dtype
from training.architecture.progressive_augmentation import checksum, draw_bits, embed_bits
from training.architecture.specs import AdaDiscriminatorSpec, DiscriminatorSpec
from training.architecture.spectral_norm import spectral_normalize


def score_by_class(
    images_in: tf.Tensor, labels_in: tf.Tensor, spec: DiscriminatorSpec, _call: Call
) -> tf.Tensor:
    """Discriminator of StyleGAN2 (figure 7), with labels by projection onto one output a class.

    Returns:
        scores [N, 1], logits of being real.
    """
    labels_in.set_shape([None, spec.label_size])
    if spec.mbstd_group_size <= 1:
        spec = dataclasses.replace(spec, mbstd_num_features=0)
    return class_scores(extract_features(images_in, spec), labels_in)


def class_scores(features: tf.Tensor, labels_in: tf.Tensor) -> tf.Tensor:
    """Scores [N, 1]: the output, or that of the class [N, label_size] where there are labels."""
    label_size = labels_in.shape[1].value
    with tf.variable_scope("Output"):
        x = apply_bias_act(dense_layer(features, max(label_size, 1)))
        if label_size:
            x = tf.reduce_sum(x * labels_in, axis=1, keepdims=True)
    return tf.identity(x, name="scores_out")


def score_by_projection(
    images_in: tf.Tensor, labels_in: tf.Tensor, spec: AdaDiscriminatorSpec, call: DiscriminatorCall
) -> tf.Tensor:
    """Discriminator of ADA, with what its comparison methods add.

    With labels, the score is ⟨f(x), m(c)⟩ / sqrt(mapping_fmaps), f being the output layer and m a
    mapping network of the discriminator's own: the embedded label, scaled to a mean square of one,
    then `mapping_layers` fully connected layers (Miyato and Koyama 2018, equation 3).

    Returns:
        scores [N, score_size], the first of them logits of being real.

    Raises:
        UserError: more scores than there are.
    """
    score_size, score_max = call.score_size, spec.score_max
    if not 1 <= score_size <= score_max:
        raise UserError(f"D_main: score_size={score_size}, expected 1 to score_max={score_max}")
    labels_in.set_shape([None, spec.label_size])
    fmaps = spec.mapping_fmaps or spec.fmaps(0)
    if spec.label_size:
        m = normalize_2nd_moment(embed_labels(labels_in, fmaps))
        widths = [fmaps] * spec.mapping_layers
        m = dense_stack(m, widths, spec.nonlinearity, spec.mapping_lrmul, "Mapping")
    strength, seed = call.augment_strength, call.random_seed
    dropout = bits = None
    if spec.adaptive_dropout:
        dropout = GaussianDropout(strength * spec.adaptive_dropout, seed)
    if spec.use_pagan:
        count = tf.shape(images_in)[0]
        bits = draw_bits(count, strength, spec.pagan_num, spec.pagan_fade, seed)
    normalize_weight = spectral_normalize if spec.use_spectral_norm else None
    x = extract_features(images_in, spec, normalize_weight, dropout, bits)
    with tf.variable_scope("Output"):
        others = score_max - 1
        x = apply_bias_act(dense_layer(x, (fmaps if spec.label_size else 1) + others))
        x, more = (x[:, :-others], x[:, -others:]) if others else (x, None)
        if spec.label_size:
            x = tf.reduce_sum(x * m, axis=1, keepdims=True) * float(1 / np.sqrt(fmaps))
    if bits is not None:
        x *= checksum(bits)
    if more is not None:
        x = tf.concat([x, more], axis=1)[:, :score_size]
    return tf.identity(x, name="scores_out")


# The last operation of every block, by which its activations are found in a graph.
BLOCK_OUTPUT = "block_out"


def block_output(x: tf.Tensor) -> tf.Tensor:
    """Gives the activations of a block at the end of its scope a name."""
    return tf.identity(x, name=BLOCK_OUTPUT)


def extract_features(
    images_in: tf.Tensor,
    spec: DiscriminatorSpec,
    normalize_weight: Callable[[tf.Tensor], tf.Tensor] | None = None,
    dropout: Callable[[tf.Tensor], tf.Tensor] | None = None,
    bits: tf.Tensor | None = None,
) -> tf.Tensor:
    """Everything up to the output layer.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1].
        spec: in which mbstd_num_features of 0 leaves the minibatch standard deviation out.
        normalize_weight: what the weights of 3×3 convolutions go through before they are used.
        dropout: what the features of every layer with an activation go through.
        bits: [N, any], what else the first layer sees.

    Returns:
        features [N, spec.fmaps(0)] float32.

    Raises:
        UserError: a resolution or a base size that there is not.
    """
    log2, nf = spec.log2, spec.fmaps
    images_in.set_shape([None, spec.num_channels, *spec.size(log2)])
    downsampling = Resampling(up=False, kernel=spec.resample_kernel)
    layer_numbers = itertools.count()

    def next_weight():
        return Weight(trainable=next(layer_numbers) >= spec.freeze_layers)

    def layer(x, fmaps, kernel, weight, resampling=None, added=None):
        if kernel == 3:
            weight = dataclasses.replace(weight, normalize=normalize_weight)
        x = conv2d_layer(x, fmaps, kernel, weight, resampling)
        x = x if added is None else x + tf.cast(added, x.dtype)
        act, clamp = spec.nonlinearity, spec.conv_clamp
        x = apply_bias_act(x, act=act, clamp=clamp, trainable=weight.trainable)
        return x if dropout is None else dropout(x)

    def fromrgb(x, y, res):
        with tf.variable_scope("FromRGB"):
            y = tf.cast(y, activation_dtype(res, log2, spec.num_fp16_res))
            added = embed_bits(bits, nf(res - 1)) if bits is not None and x is None else None
            t = layer(y, nf(res - 1), 1, next_weight(), added=added)
            return t if x is None else tf.cast(x, t.dtype) + t

    def block(x, res):
        x = t = tf.cast(x, activation_dtype(res, log2, spec.num_fp16_res))
        with tf.variable_scope("Conv0"):
            x = layer(x, nf(res - 1), 3, next_weight())
        with tf.variable_scope("Conv1_down"):
            x = layer(x, nf(res - 2), 3, next_weight(), downsampling)
        if spec.architecture == "resnet":
            with tf.variable_scope("Skip"):
                t = conv2d_layer(t, nf(res - 2), 1, next_weight(), downsampling)
                x = (x + t) * float(np.sqrt(0.5))
        return block_output(x)

    x, y = None, to_internal(images_in)
    for res in range(log2, 2, -1):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            if spec.architecture == "skip" or res == log2:
                x = fromrgb(x, y, res)
            x = block(x, res)
            if spec.architecture == "skip":
                y = downsample_2d(y, spec.resample_kernel, data_format=layout.internal_format())
    with tf.variable_scope("4x4"):
        if spec.architecture == "skip" or x is None:
            x = fromrgb(x, y, 2)
        x = tf.cast(x, tf.float32)
        if spec.mbstd_num_features:
            x = minibatch_stddev_layer(x, spec.mbstd_group_size, spec.mbstd_num_features)
        with tf.variable_scope("Conv"):
            x = layer(x, nf(1), 3, Weight())
        with tf.variable_scope("Dense0"):
            x = apply_bias_act(dense_layer(x, nf(0)), act=spec.nonlinearity)
            return x if dropout is None else dropout(x)
