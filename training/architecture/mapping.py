"""Mapping networks f: z → w (StyleGAN, section 2; ADA, appendix D)."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from training.architecture.layers import apply_bias_act, dense_layer, dense_stack
from training.architecture.normalization import normalize_2nd_moment
from training.architecture.specs import ConcatMappingSpec, MappingSpec


def map_with_concatenated_labels(
    latents_in: tf.Tensor, labels_in: tf.Tensor, spec: ConcatMappingSpec
) -> tf.Tensor:
    """Mapping network f: z → w (StyleGAN, section 2).

    Returns:
        dlatents [N, dlatent_size], or [N, dlatent_broadcast, dlatent_size].
    """
    x = concatenated(latents_in, labels_in, spec)
    return _mapped(x, spec.mapping_fmaps, spec)


def map_with_embedded_labels(
    latents_in: tf.Tensor, labels_in: tf.Tensor, spec: MappingSpec
) -> tf.Tensor:
    """Mapping network f: [z, embedded label] → w (StyleGAN, section 2; ADA, appendix D).

    z and the embedded label are scaled each by itself.

    Returns:
        dlatents [N, dlatent_size], or [N, dlatent_broadcast, dlatent_size].
    """
    latents_in.set_shape([None, spec.latent_size])
    labels_in.set_shape([None, spec.label_size])
    parts = [latents_in]
    if spec.label_size:
        parts.append(embed_labels(labels_in, spec.label_fmaps or spec.latent_size))
    if spec.normalize_latents:
        parts = [normalize_2nd_moment(part) for part in parts]
    return _mapped(tf.concat(parts, axis=1), spec.mapping_fmaps or spec.dlatent_size, spec)


def concatenated(latents_in: tf.Tensor, labels_in: tf.Tensor, spec: ConcatMappingSpec) -> tf.Tensor:
    """[z, embedded label], scaled to a mean square of one together where the spec says so."""
    latents_in.set_shape([None, spec.latent_size])
    labels_in.set_shape([None, spec.label_size])
    x = latents_in
    if spec.label_size:
        with tf.variable_scope("LabelConcat"):
            init = tf.initializers.random_normal()
            shape = [spec.label_size, spec.latent_size]
            w = tf.get_variable("weight", shape=shape, initializer=init)
            x = tf.concat([x, tf.matmul(labels_in, w)], axis=1)
    return normalize_2nd_moment(x) if spec.normalize_latents else x


def embed_labels(labels: tf.Tensor, fmaps: int) -> tf.Tensor:
    """Linear layer with bias, [N, label_size] to [N, fmaps]."""
    with tf.variable_scope("LabelEmbed"):
        return apply_bias_act(dense_layer(labels, fmaps))


def broadcast(x: tf.Tensor, num_layers: int | None) -> tf.Tensor:
    """The output of a mapping network: [N, dlatent_size], or as often for that many layers."""
    if num_layers is not None:
        x = tf.tile(x[:, tf.newaxis], [1, num_layers, 1])
    return tf.identity(x, name="dlatents_out")


def _mapped(x: tf.Tensor, fmaps: int, spec: MappingSpec) -> tf.Tensor:
    depth = spec.mapping_layers
    widths = [fmaps] * (depth - 1) + [spec.dlatent_size] * min(depth, 1)
    x = dense_stack(x, widths, spec.mapping_nonlinearity, spec.mapping_lrmul)
    return broadcast(x, spec.dlatent_broadcast)
