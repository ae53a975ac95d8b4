"""Synthesis network of StyleGAN2 and of ADA, without growing (StyleGAN2, figures 2c and 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import layout
from tf_ops.upfirdn_2d import upsample_2d
from training.architecture import styles
from training.architecture.layers import (
    apply_bias_act,
    check_architecture,
    conv2d_layer,
    level_size,
    modulated_conv2d_layer,
    resolution_log2,
    to_images,
    to_internal,
)
from training.architecture.precision import activation_dtype


def synthesize(
    dlatents_in: tf.Tensor,
    *,
    dlatent_size: int,
    num_channels: int,
    resolution: int,
    base_size: Sequence[int],
    nf: Callable[[int], int],
    fmap_const: int | None = None,
    use_noise: bool = True,
    randomize_noise: bool = True,
    architecture: str = "skip",
    nonlinearity: str = "lrelu",
    num_fp16_res: int = 0,
    conv_clamp: float | None = None,
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    random_seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Body of the official synthesis networks, which document the arguments of the same names.

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size].
        nf: feature maps by stage, see `layers.feature_maps`.

    Returns:
        images [N, num_channels, H, W].

    Raises:
        UserError: a resolution, a base size or an architecture that there is not.
    """
    check_architecture(architecture)
    log2 = resolution_log2(resolution)
    num_layers = log2 * 2 - 2
    dlatents_in.set_shape([None, num_layers, dlatent_size])
    noise = noise_inputs(num_layers - 1, base_size) if use_noise else None

    def layer(x, layer_idx, fmaps, up=False):
        w = dlatents_in[:, layer_idx]
        x, scale = modulated_conv2d_layer(x, w, fmaps, 3, up=up, resample_kernel=resample_kernel)
        added = None
        if noise is not None:
            seed = styles.stream(random_seed, "noise", layer_idx)
            added = scaled_noise(x, None if randomize_noise else noise[layer_idx], seed)
        return apply_bias_act(x, act=nonlinearity, clamp=conv_clamp, scale=scale, noise=added)

    def block(x, res):
        x = t = tf.cast(x, activation_dtype(res, log2, num_fp16_res))
        with tf.variable_scope("Conv0_up"):
            x = layer(x, res * 2 - 5, nf(res - 1), up=True)
        with tf.variable_scope("Conv1"):
            x = layer(x, res * 2 - 4, nf(res - 1))
        if architecture == "resnet":
            with tf.variable_scope("Skip"):
                t = conv2d_layer(t, nf(res - 1), 1, up=True, resample_kernel=resample_kernel)
                x = (x + t) * float(np.sqrt(0.5))
        return x

    def torgb(x, y, res):
        with tf.variable_scope("ToRGB"):
            w = dlatents_in[:, res * 2 - 3]
            t, _ = modulated_conv2d_layer(x, w, num_channels, 1, demodulate=False)
            # Images are summed up in float32, in whatever precision the features are.
            t = tf.cast(apply_bias_act(t, clamp=conv_clamp), tf.float32)
            return t if y is None else y + t

    y = None
    with tf.variable_scope("4x4"):
        with tf.variable_scope("Const"):
            fmaps = nf(1) if fmap_const is None else fmap_const
            x = _constant(fmaps, base_size, tf.shape(dlatents_in)[0])
        with tf.variable_scope("Conv"):
            x = layer(x, 0, nf(1))
        if architecture == "skip" or log2 == 2:
            y = torgb(x, y, 2)
    for res in range(3, log2 + 1):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            x = block(x, res)
            if architecture == "skip":
                y = upsample_2d(y, resample_kernel, data_format=layout.internal_format())
            if architecture == "skip" or res == log2:
                y = torgb(x, y, res)
    return tf.identity(to_images(y), name="images_out")


def noise_inputs(count: int, base_size: Sequence[int]) -> list[tf.Variable]:
    """Variables noise0, noise1, … of that many layers: one at 4×4, two for every doubling."""
    return styles.noise_inputs(level_size((i + 5) // 2, base_size) for i in range(count))


def scaled_noise(
    x: tf.Tensor, noise_input: tf.Variable | None, seed: tf.Tensor | None
) -> tf.Tensor:
    """Noise for all feature maps, by a learned strength (section 2.1): [N or 1, H, W].

    Args:
        x: activations that it is for.
        noise_input: noise [1, 1, H, W] of all samples; None draws an image of noise for each.
        seed: [2] int32 of that noise, or None for fresh numbers.
    """
    noise = styles.noise_image(x, noise_input, noise_input is None, seed)
    init = tf.initializers.zeros()
    strength = tf.get_variable("noise_strength", shape=[], initializer=init)
    return tf.squeeze(noise, layout.channel_axis(layout.internal_format())) * strength


def _constant(fmaps: int, base_size: Sequence[int], count: tf.Tensor) -> tf.Tensor:
    """The learned input of the first layer, the same for every sample."""
    init = tf.initializers.random_normal()
    shape = [1, fmaps, *level_size(2, base_size)]
    x = tf.get_variable("const", shape=shape, initializer=init)
    return tf.tile(to_internal(x), [count, 1, 1, 1])
