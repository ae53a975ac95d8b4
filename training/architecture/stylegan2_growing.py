"""Networks of StyleGAN2's layers that grow: configurations B to D of its table 1.

`revised` is their official name. How networks grow is in `growing`.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from training.architecture import growing
from training.architecture.calls import Call, GrowingCall
from training.architecture.discriminator import block_output, class_scores
from training.architecture.layers import (
    Resampling,
    apply_bias_act,
    conv2d_layer,
    dense_layer,
)
from training.architecture.specs import RevisedDiscriminatorSpec, RevisedSynthesisSpec
from training.architecture.styles import modulated_conv2d_layer
from training.architecture.synthesis import constant_input, noise_inputs, scaled_noise
from training.random_streams import stream


def synthesize_growing(
    dlatents_in: tf.Tensor, spec: RevisedSynthesisSpec, call: GrowingCall
) -> tf.Tensor:
    """Synthesis network that grows, with modulated convolutions (StyleGAN2, figure 2c).

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size].

    Returns:
        images [N, num_channels, H, W] at the level of detail that the variable `lod` holds.
    """
    structure = growing.select_structure(spec.structure, call.is_clean)
    randomize_noise = spec.randomize_noise and not call.is_clean
    log2, nf = spec.log2, spec.fmaps
    num_layers = log2 * 2 - 2
    dlatents_in.set_shape([None, num_layers, spec.dlatent_size])
    lod = growing.level_of_detail()
    noise = noise_inputs(num_layers - 1, spec)
    upsampling = Resampling(up=True, kernel=spec.resample_kernel)

    def layer(x, layer_idx, fmaps, resampling=None):
        w = dlatents_in[:, layer_idx]
        x, scale = modulated_conv2d_layer(x, w, fmaps, 3, resampling)
        seed = stream(call.random_seed, "noise", layer_idx)
        added = scaled_noise(x, None if randomize_noise else noise[layer_idx], seed)
        return apply_bias_act(x, act=spec.nonlinearity, scale=scale, noise=added)

    def block(x, res):
        with tf.variable_scope("Conv0_up"):
            x = layer(x, res * 2 - 5, nf(res - 1), upsampling)
        with tf.variable_scope("Conv1"):
            return layer(x, res * 2 - 4, nf(res - 1))

    def torgb(x, res):
        w = dlatents_in[:, res * 2 - 3]
        x, _ = modulated_conv2d_layer(x, w, spec.num_channels, 1, demodulate=False)
        return apply_bias_act(x)

    with tf.variable_scope("4x4"):
        with tf.variable_scope("Const"):
            x = constant_input(nf(1), spec)
            x = tf.tile(x, [tf.shape(dlatents_in)[0], 1, 1, 1])
        with tf.variable_scope("Conv"):
            x = layer(x, 0, nf(1))
    return growing.images_out(x, spec, lod, structure, block, torgb)


def score_growing(
    images_in: tf.Tensor, labels_in: tf.Tensor, spec: RevisedDiscriminatorSpec, call: Call
) -> tf.Tensor:
    """Scores [N, 1] of a discriminator that grows: labels choose from one output a class."""
    structure = growing.select_structure(spec.structure, call.is_template_graph)
    nf = spec.fmaps
    lod = growing.level_of_detail_of(images_in, labels_in, spec)
    downsampling = Resampling(up=False, kernel=spec.resample_kernel)

    def conv(x, fmaps, kernel, resampling=None):
        x = conv2d_layer(x, fmaps, kernel, resampling=resampling)
        return apply_bias_act(x, act=spec.nonlinearity)

    def fromrgb(images, res):
        return conv(images, nf(res - 1), 1)

    def block(x, res):
        with tf.variable_scope("Conv0"):
            x = conv(x, nf(res - 1), 3)
        with tf.variable_scope("Conv1_down"):
            x = conv(x, nf(res - 2), 3, downsampling)
        return block_output(x)

    x = growing.activations_of(images_in, spec, lod, structure, block, fromrgb)
    with tf.variable_scope("4x4"):
        with tf.variable_scope("Conv"):
            x = conv(x, nf(1), 3)
        with tf.variable_scope("Dense0"):
            x = apply_bias_act(dense_layer(x, nf(0)), act=spec.nonlinearity)
    return class_scores(x, labels_in)
