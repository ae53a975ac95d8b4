"""Progressive growing networks with the layers of StyleGAN2: configurations B to D of its table 1.

Build functions of `training.networks_stylegan2` by their official names; they stand here to keep
that module short. How the networks grow is in `architecture.growing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.tflib.static_kwargs import reject_unknown
from training.architecture import growing
from training.architecture.layers import (
    SQUARE_BASE,
    apply_bias_act,
    check_dtype,
    conv2d_layer,
    dense_layer,
    feature_maps,
    level_size,
    minibatch_stddev_layer,
    modulated_conv2d_layer,
    resolution_log2,
    to_images,
    to_internal,
)
from training.architecture.styles import stream
from training.architecture.synthesis import noise_inputs, scaled_noise

# What `G_main` hands to both of its components alike: its own keyword arguments and those of the
# mapping network. A table, since both stand in `networks_stylegan2`, which imports this module.
SIBLING_KEYWORDS = frozenset(
    "truncation_psi truncation_cutoff truncation_psi_val truncation_cutoff_val dlatent_avg_beta "
    "style_mixing_prob is_training is_validation return_dlatents components mapping_func "
    "synthesis_func latent_size label_size dlatent_broadcast mapping_layers mapping_fmaps "
    "mapping_lrmul mapping_nonlinearity normalize_latents".split()
)


def G_synthesis_stylegan_revised(
    dlatents_in: tf.Tensor,
    dlatent_size: int = 512,
    num_channels: int = 3,
    resolution: int = 1024,
    fmap_base: int = 16 << 10,
    fmap_decay: float = 1.0,
    fmap_min: int = 1,
    fmap_max: int = 512,
    randomize_noise: bool = True,
    nonlinearity: str = "lrelu",
    dtype: str = "float32",
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    fused_modconv: bool = True,
    structure: str = "auto",
    is_template_graph: bool = False,
    force_clean_graph: bool = False,
    random_seed: tf.Tensor | None = None,
    base_size: Sequence[int] = SQUARE_BASE,
    **_kwargs: Any,
) -> tf.Tensor:
    """Synthesis network that grows, with modulated convolutions (StyleGAN2, figure 2c).

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size].
        num_channels, resolution: of the images.
        fmap_base, fmap_decay, fmap_min, fmap_max: feature maps at a resolution r are
            fmap_base·2 / r^fmap_decay (for a decay of 1), within [fmap_min, fmap_max].
        randomize_noise: fresh noise instead of the variables noise0, noise1, …
        nonlinearity: see `fused_bias_act`.
        resample_kernel: FIR filter of upsampling within layers; None for boxes.
        fused_modconv: how modulation is computed, not what: one way is used for both.
        structure: see `growing`; `auto` is `linear` in clean graphs, else `recursive`.
        is_template_graph: True while `Network` builds its first graph, which is a clean one.
        force_clean_graph: a graph to look at: without conditionals and random numbers.
        random_seed: [2] int32, makes the noise a function of it.
        base_size: height and width of the coarsest grid where images are not square, see
            `layers.level_size`.

    Returns:
        images [N, num_channels, H, W] at the level of detail that the variable
        `lod` holds.
    """
    reject_unknown("G_synthesis_stylegan_revised()", _kwargs, SIBLING_KEYWORDS)
    check_dtype(dtype)
    clean_graph = is_template_graph or force_clean_graph
    structure = growing.select_structure(structure, clean_graph)
    randomize_noise = randomize_noise and not clean_graph
    log2 = resolution_log2(resolution)
    nf = feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max)
    num_layers = log2 * 2 - 2
    dlatents_in.set_shape([None, num_layers, dlatent_size])
    lod = growing.level_of_detail()
    noise = noise_inputs(num_layers - 1, base_size)

    def layer(x, layer_idx, fmaps, up=False):
        w = dlatents_in[:, layer_idx]
        x, scale = modulated_conv2d_layer(x, w, fmaps, 3, up=up, resample_kernel=resample_kernel)
        seed = stream(random_seed, "noise", layer_idx)
        added = scaled_noise(x, None if randomize_noise else noise[layer_idx], seed)
        return apply_bias_act(x, act=nonlinearity, scale=scale, noise=added)

    def block(x, res):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            with tf.variable_scope("Conv0_up"):
                x = layer(x, res * 2 - 5, nf(res - 1), up=True)
            with tf.variable_scope("Conv1"):
                return layer(x, res * 2 - 4, nf(res - 1))

    def torgb(x, res):
        with tf.variable_scope(f"ToRGB_lod{log2 - res}"):
            w = dlatents_in[:, res * 2 - 3]
            x, _ = modulated_conv2d_layer(x, w, num_channels, 1, demodulate=False)
            return apply_bias_act(x)

    with tf.variable_scope("4x4"):
        with tf.variable_scope("Const"):
            init = tf.initializers.random_normal()
            shape = [1, nf(1), *level_size(2, base_size)]
            x = tf.get_variable("const", shape=shape, initializer=init)
            x = tf.tile(to_internal(x), [tf.shape(dlatents_in)[0], 1, 1, 1])
        with tf.variable_scope("Conv"):
            x = layer(x, 0, nf(1))
    images = to_images(growing.grow_images(x, log2, lod, structure, block, torgb))
    images.set_shape([None, num_channels, *level_size(log2, base_size)])
    return tf.identity(images, name="images_out")


def D_stylegan(
    images_in: tf.Tensor,
    labels_in: tf.Tensor,
    num_channels: int = 3,
    resolution: int = 1024,
    label_size: int = 0,
    fmap_base: int = 16 << 10,
    fmap_decay: float = 1.0,
    fmap_min: int = 1,
    fmap_max: int = 512,
    nonlinearity: str = "lrelu",
    mbstd_group_size: int = 4,
    mbstd_num_features: int = 1,
    dtype: str = "float32",
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    structure: str = "auto",
    is_training: bool = False,
    is_template_graph: bool = False,
    base_size: Sequence[int] = SQUARE_BASE,
) -> tf.Tensor:
    """Discriminator that grows, with labels by projection onto one output a class.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1], pixels repeated where the
            level of detail in the variable `lod` is not 0.
        labels_in: [N, label_size].
        fmap_base, fmap_decay, fmap_min, fmap_max: as in `G_synthesis_stylegan_revised`.
        mbstd_group_size: group of the minibatch standard deviation; 0 or 1 leaves it out.
        mbstd_num_features: feature maps that it adds.
        resample_kernel: FIR filter of downsampling within layers; None for boxes.
        structure: see `growing`; `auto` is `linear` in template graphs, else `recursive`.
        is_training: official argument that makes no difference here.
        is_template_graph: True while `Network` builds its first graph.
        base_size: as in `G_synthesis_stylegan_revised`.

    Returns:
        scores [N, 1], logits of being real.
    """
    check_dtype(dtype)
    structure = growing.select_structure(structure, is_template_graph)
    log2 = resolution_log2(resolution)
    nf = feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max)
    images_in.set_shape([None, num_channels, *level_size(log2, base_size)])
    labels_in.set_shape([None, label_size])
    lod = growing.level_of_detail()

    def fromrgb(images, res):
        with tf.variable_scope(f"FromRGB_lod{log2 - res}"):
            return apply_bias_act(conv2d_layer(images, nf(res - 1), 1), act=nonlinearity)

    def block(x, res):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            with tf.variable_scope("Conv0"):
                x = apply_bias_act(conv2d_layer(x, nf(res - 1), 3), act=nonlinearity)
            with tf.variable_scope("Conv1_down"):
                x = conv2d_layer(x, nf(res - 2), 3, down=True, resample_kernel=resample_kernel)
                return apply_bias_act(x, act=nonlinearity)

    x = growing.shrink_images(to_internal(images_in), log2, lod, structure, block, fromrgb)
    with tf.variable_scope("4x4"):
        if mbstd_group_size > 1:
            x = minibatch_stddev_layer(x, mbstd_group_size, mbstd_num_features)
        with tf.variable_scope("Conv"):
            x = apply_bias_act(conv2d_layer(x, nf(1), 3), act=nonlinearity)
        with tf.variable_scope("Dense0"):
            x = apply_bias_act(dense_layer(x, nf(0)), act=nonlinearity)
    with tf.variable_scope("Output"):
        x = apply_bias_act(dense_layer(x, max(label_size, 1)))
        if label_size:
            x = tf.reduce_sum(x * labels_in, axis=1, keepdims=True)
    return tf.identity(x, name="scores_out")
