"""Synthesis network of StyleGAN2 and of ADA, without growing (StyleGAN2, figures 2c and 7)."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import layout
from tf_ops.upfirdn_2d import upsample_2d
from training.architecture.calls import Call
from training.architecture.layers import (
    Resampling,
    apply_bias_act,
    conv2d_layer,
    to_images,
    to_internal,
)
from training.architecture.precision import activation_dtype
from training.architecture.specs import SynthesisSpec
from training.architecture.styles import modulated_conv2d_layer, noise_image, noise_variables
from training.random_streams import stream


def synthesize(dlatents_in: tf.Tensor, spec: SynthesisSpec, call: Call) -> tf.Tensor:
    """Synthesis network (StyleGAN2, figures 2c and 7).

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size].

    Returns:
        images [N, num_channels, H, W].

    Raises:
        UserError: a resolution or a base size that there is not.
    """
    log2, nf = spec.log2, spec.fmaps
    num_layers = log2 * 2 - 2
    dlatents_in.set_shape([None, num_layers, spec.dlatent_size])
    noise = noise_inputs(num_layers - 1, spec) if spec.use_noise else None
    upsampling = Resampling(up=True, kernel=spec.resample_kernel)

    def layer(x, layer_idx, fmaps, resampling=None):
        w = dlatents_in[:, layer_idx]
        x, scale = modulated_conv2d_layer(x, w, fmaps, 3, resampling)
        added = None
        if noise is not None:
            seed = stream(call.random_seed, "noise", layer_idx)
            added = scaled_noise(x, None if spec.randomize_noise else noise[layer_idx], seed)
        act, clamp = spec.nonlinearity, spec.conv_clamp
        return apply_bias_act(x, act=act, clamp=clamp, scale=scale, noise=added)

    def block(x, res):
        x = t = tf.cast(x, activation_dtype(res, log2, spec.num_fp16_res))
        with tf.variable_scope("Conv0_up"):
            x = layer(x, res * 2 - 5, nf(res - 1), upsampling)
        with tf.variable_scope("Conv1"):
            x = layer(x, res * 2 - 4, nf(res - 1))
        if spec.architecture == "resnet":
            with tf.variable_scope("Skip"):
                t = conv2d_layer(t, nf(res - 1), 1, resampling=upsampling)
                x = (x + t) * float(np.sqrt(0.5))
        return x

    def torgb(x, y, res):
        with tf.variable_scope("ToRGB"):
            w = dlatents_in[:, res * 2 - 3]
            t, _ = modulated_conv2d_layer(x, w, spec.num_channels, 1, demodulate=False)
            # Images are summed up in float32, in whatever precision the features are.
            t = tf.cast(apply_bias_act(t, clamp=spec.conv_clamp), tf.float32)
            return t if y is None else y + t

    y = None
    with tf.variable_scope("4x4"):
        with tf.variable_scope("Const"):
            fmaps = nf(1) if spec.fmap_const is None else spec.fmap_const
            count = tf.shape(dlatents_in)[0]
            x = tf.tile(constant_input(fmaps, spec), [count, 1, 1, 1])
        with tf.variable_scope("Conv"):
            x = layer(x, 0, nf(1))
        if spec.architecture == "skip" or log2 == 2:
            y = torgb(x, y, 2)
    for res in range(3, log2 + 1):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            x = block(x, res)
            if spec.architecture == "skip":
                y = upsample_2d(y, spec.resample_kernel, data_format=layout.internal_format())
            if spec.architecture == "skip" or res == log2:
                y = torgb(x, y, res)
    return tf.identity(to_images(y), name="images_out")


def noise_inputs(count: int, spec: SynthesisSpec) -> list[tf.Variable]:
    """Variables noise0, noise1, … of that many layers: one at 4×4, two for every doubling."""
    return noise_variables(spec.size((i + 5) // 2) for i in range(count))


def scaled_noise(
    x: tf.Tensor, noise_input: tf.Variable | None, seed: tf.Tensor | None
) -> tf.Tensor:
    """Noise for all feature maps, by a learned strength (section 2.1): [N or 1, H, W].

    Args:
        x: activations that it is for.
        noise_input: noise [1, 1, H, W] of all samples, or [N, 1, H, W] of each; None draws an image
            of noise for each.
        seed: [2] int32 of that noise, or None for fresh numbers.
    """
    noise = noise_image(x, noise_input, noise_input is None, seed)
    init = tf.initializers.zeros()
    strength = tf.get_variable("noise_strength", shape=[], initializer=init)
    return tf.squeeze(noise, layout.channel_axis(layout.internal_format())) * strength


def constant_input(fmaps: int, spec: SynthesisSpec) -> tf.Tensor:
    """The learned activations of one sample at 4×4, the input of the first layer."""
    init = tf.initializers.random_normal()
    return to_internal(tf.get_variable("const", shape=[1, fmaps, *spec.size(2)], initializer=init))
