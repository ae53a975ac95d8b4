"""The networks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), by their official names.

Every function here is a build function of `dnnlib.tflib.Network`: the parameters without default
are the network's inputs, the others its keyword arguments, in snapshots too. They are faces: what
they compute is in `generator`, `synthesis` and `discriminator`, which `networks` (ADA) shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import EasyDict
from training.architecture.discriminator import extract_features
from training.architecture.generator import add_components, generate, map_latents
from training.architecture.layers import (
    SQUARE_BASE,
    apply_bias_act,
    check_dtype,
    dense_layer,
    feature_maps,
    normalize_2nd_moment,
    reject_unknown,
)
from training.architecture.networks_growing import D_stylegan, G_synthesis_stylegan_revised
from training.architecture.synthesis import synthesize


def G_main(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    truncation_psi: float | tf.Tensor | None = 0.5,
    truncation_cutoff: int | tf.Tensor | None = None,
    truncation_psi_val: float | tf.Tensor | None = None,
    truncation_cutoff_val: int | tf.Tensor | None = None,
    dlatent_avg_beta: float | tf.Tensor | None = 0.995,
    style_mixing_prob: float | tf.Tensor | None = 0.9,
    is_training: bool = False,
    is_validation: bool = False,
    return_dlatents: bool = False,
    is_template_graph: bool = False,
    components: EasyDict | None = None,
    mapping_func: str = "G_mapping",
    synthesis_func: str = "G_synthesis_stylegan2",
    random_seed: tf.Tensor | None = None,
    **kwargs: Any,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Generator: mapping network, then synthesis network.

    Args:
        latents_in: z [N, latent_size], standard normal.
        labels_in: [N, label_size], one-hot; [N, 0] without labels.
        truncation_psi: w ← mean(w) + psi·(w - mean(w)); None or 1 for none (StyleGAN, appendix B).
        truncation_cutoff: number of layers that truncation applies to; None for all.
        truncation_psi_val, truncation_cutoff_val: the same where `is_validation`.
        dlatent_avg_beta: decay of the running mean of w while training; None keeps the mean.
        style_mixing_prob: probability of mixing two w at a random layer while training.
        is_training: no truncation; style mixing; moves the mean of w.
        is_validation: use the `_val` truncation.
        return_dlatents: return (images, dlatents).
        is_template_graph: True while `Network` builds its first graph, one to look at.
        components: networks `mapping` and `synthesis`; made here where they are missing.
        mapping_func, synthesis_func: names in `BUILD_FUNCTIONS`.
        random_seed: [2] int32: makes style mixing and noise a function of it. None: fresh numbers.
        kwargs: for both components.

    Returns:
        images [N, num_channels, H, W], about [-1, 1]; with `return_dlatents` also
        dlatents [N, num_layers, dlatent_size].
    """
    components = add_components(
        components, BUILD_FUNCTIONS, G_main, mapping_func, synthesis_func, kwargs
    )
    return generate(
        latents_in,
        labels_in,
        components,
        {"force_clean_graph": is_template_graph, **kwargs},
        truncation_psi=truncation_psi,
        truncation_cutoff=truncation_cutoff,
        truncation_psi_val=truncation_psi_val,
        truncation_cutoff_val=truncation_cutoff_val,
        dlatent_avg_beta=dlatent_avg_beta,
        style_mixing_prob=style_mixing_prob,
        is_training=is_training,
        is_validation=is_validation,
        return_dlatents=return_dlatents,
        random_seed=random_seed,
        with_lod=True,
    )


def G_mapping(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    latent_size: int = 512,
    label_size: int = 0,
    dlatent_size: int = 512,
    dlatent_broadcast: int | None = None,
    mapping_layers: int = 8,
    mapping_fmaps: int = 512,
    mapping_lrmul: float = 0.01,
    mapping_nonlinearity: str = "lrelu",
    normalize_latents: bool = True,
    dtype: str = "float32",
    **_kwargs: Any,
) -> tf.Tensor:
    """Mapping network f: z → w (StyleGAN, section 2).

    Args:
        latents_in: z [N, latent_size].
        labels_in: [N, label_size].
        dlatent_broadcast: return [N, dlatent_broadcast, dlatent_size] instead of [N, dlatent_size].
        mapping_layers, mapping_fmaps: depth and width.
        mapping_lrmul: learning-rate multiplier.
        mapping_nonlinearity: see `fused_bias_act`.
        normalize_latents: scale z (and the embedded label) to a mean square of one first.
    """
    reject_unknown(_kwargs, _GENERATOR_FUNCTIONS)
    check_dtype(dtype)
    latents_in.set_shape([None, latent_size])
    labels_in.set_shape([None, label_size])
    x = latents_in
    if label_size:
        with tf.variable_scope("LabelConcat"):
            init = tf.initializers.random_normal()
            w = tf.get_variable("weight", shape=[label_size, latent_size], initializer=init)
            x = tf.concat([x, tf.matmul(labels_in, w)], axis=1)
    if normalize_latents:
        x = normalize_2nd_moment(x)
    return map_latents(
        x,
        dlatent_size=dlatent_size,
        dlatent_broadcast=dlatent_broadcast,
        mapping_layers=mapping_layers,
        mapping_fmaps=mapping_fmaps,
        mapping_lrmul=mapping_lrmul,
        mapping_nonlinearity=mapping_nonlinearity,
    )


def G_synthesis_stylegan2(
    dlatents_in: tf.Tensor,
    dlatent_size: int = 512,
    num_channels: int = 3,
    resolution: int = 1024,
    fmap_base: int = 16 << 10,
    fmap_decay: float = 1.0,
    fmap_min: int = 1,
    fmap_max: int = 512,
    randomize_noise: bool = True,
    architecture: str = "skip",
    nonlinearity: str = "lrelu",
    dtype: str = "float32",
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    fused_modconv: bool = True,
    random_seed: tf.Tensor | None = None,
    base_size: Sequence[int] = SQUARE_BASE,
    **_kwargs: Any,
) -> tf.Tensor:
    """Synthesis network of StyleGAN2 (figures 2c and 7).

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size].
        num_channels, resolution: of the images.
        fmap_base, fmap_decay, fmap_min, fmap_max: feature maps at a resolution r are
            fmap_base·2 / r^fmap_decay (for a decay of 1), within [fmap_min, fmap_max].
        randomize_noise: fresh noise instead of the variables noise0, noise1, …
        architecture: `orig`, `skip` or `resnet` (section 4).
        nonlinearity: see `fused_bias_act`.
        resample_kernel: FIR filter of up- and downsampling; None for boxes.
        fused_modconv: how modulation is computed, not what: both ways give the same numbers, and
            one way is used for both.
        random_seed: [2] int32, makes the noise a function of it.
        base_size: height and width of the coarsest grid where images are not square, see
            `layers.level_size`.

    Returns:
        images [N, num_channels, H, W].
    """
    reject_unknown(_kwargs, _GENERATOR_FUNCTIONS)
    check_dtype(dtype)
    return synthesize(
        dlatents_in,
        dlatent_size=dlatent_size,
        num_channels=num_channels,
        resolution=resolution,
        base_size=base_size,
        nf=feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max),
        randomize_noise=randomize_noise,
        architecture=architecture,
        nonlinearity=nonlinearity,
        resample_kernel=resample_kernel,
        random_seed=random_seed,
    )


def D_stylegan2(
    images_in: tf.Tensor,
    labels_in: tf.Tensor,
    num_channels: int = 3,
    resolution: int = 1024,
    label_size: int = 0,
    fmap_base: int = 16 << 10,
    fmap_decay: float = 1.0,
    fmap_min: int = 1,
    fmap_max: int = 512,
    architecture: str = "resnet",
    nonlinearity: str = "lrelu",
    mbstd_group_size: int = 4,
    mbstd_num_features: int = 1,
    dtype: str = "float32",
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    is_training: bool = False,
    is_template_graph: bool = False,
    base_size: Sequence[int] = SQUARE_BASE,
) -> tf.Tensor:
    """Discriminator of StyleGAN2 (figure 7), with labels by projection onto one output a class.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1].
        labels_in: [N, label_size].
        fmap_base, fmap_decay, fmap_min, fmap_max: as in `G_synthesis_stylegan2`.
        architecture: `orig`, `skip` or `resnet`.
        mbstd_group_size: group of the minibatch standard deviation; 0 or 1 leaves it out.
        mbstd_num_features: feature maps that it adds.
        is_training, is_template_graph: official arguments that make no difference here.
        base_size: as in `G_synthesis_stylegan2`.

    Returns:
        scores [N, 1], logits of being real.
    """
    check_dtype(dtype)
    labels_in.set_shape([None, label_size])
    x = extract_features(
        images_in,
        num_channels=num_channels,
        resolution=resolution,
        base_size=base_size,
        nf=feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max),
        architecture=architecture,
        nonlinearity=nonlinearity,
        resample_kernel=resample_kernel,
        mbstd_group_size=mbstd_group_size,
        mbstd_num_features=mbstd_num_features if mbstd_group_size > 1 else 0,
    )
    with tf.variable_scope("Output"):
        x = apply_bias_act(dense_layer(x, max(label_size, 1)))
        if label_size:
            x = tf.reduce_sum(x * labels_in, axis=1, keepdims=True)
    return tf.identity(x, name="scores_out")


_GENERATOR_FUNCTIONS = (G_main, G_mapping, G_synthesis_stylegan2, G_synthesis_stylegan_revised)
# What a snapshot or a keyword argument may name, see `dnnlib.tflib.network`.
BUILD_FUNCTIONS = {f.__name__: f for f in (*_GENERATOR_FUNCTIONS, D_stylegan2, D_stylegan)}
