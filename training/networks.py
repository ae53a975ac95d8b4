"""The networks of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676), by their official names.

Faces as in `networks_stylegan2`, over the same bodies. What differs from StyleGAN2: labels are
embedded, activations can be clamped, the highest resolutions can be computed in float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError
from training.architecture.discriminator import extract_features
from training.architecture.dropout import GaussianDropout
from training.architecture.generator import add_components, generate, map_latents
from training.architecture.layers import (
    SQUARE_BASE,
    apply_bias_act,
    check_dtype,
    dense_layer,
    dense_stack,
    feature_maps,
    normalize_2nd_moment,
    reject_unknown,
)
from training.architecture.progressive_augmentation import checksum, draw_bits
from training.architecture.spectral_norm import spectral_normalize
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
    synthesis_func: str = "G_synthesis",
    random_seed: tf.Tensor | None = None,
    **kwargs: Any,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Generator: mapping network, then synthesis network.

    Arguments and results are those of `networks_stylegan2.G_main`; there is no variable `lod`.
    """
    components = add_components(
        components, BUILD_FUNCTIONS, G_main, mapping_func, synthesis_func, kwargs
    )
    return generate(
        latents_in,
        labels_in,
        components,
        kwargs,
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
        with_lod=False,
    )


def G_mapping(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    latent_size: int = 512,
    label_size: int = 0,
    label_fmaps: int | None = None,
    dlatent_size: int = 512,
    dlatent_broadcast: int | None = None,
    mapping_layers: int = 8,
    mapping_fmaps: int | None = None,
    mapping_lrmul: float = 0.01,
    mapping_nonlinearity: str = "lrelu",
    normalize_latents: bool = True,
    dtype: str = "float32",
    **_kwargs: Any,
) -> tf.Tensor:
    """Mapping network f: [z, embedded label] → w (StyleGAN, section 2; ADA, appendix D).

    Args:
        latents_in: z [N, latent_size].
        labels_in: [N, label_size].
        label_fmaps: size of the embedded label; None: latent_size.
        dlatent_broadcast: return [N, dlatent_broadcast, dlatent_size] instead of [N, dlatent_size].
        mapping_layers: depth.
        mapping_fmaps: width of the layers before the last; None: dlatent_size.
        mapping_lrmul: learning-rate multiplier, which the embedding does not have.
        mapping_nonlinearity: see `fused_bias_act`.
        normalize_latents: scale z and the embedded label, each by itself, to a mean square of one.
    """
    reject_unknown(_kwargs, _GENERATOR_FUNCTIONS)
    check_dtype(dtype)
    latents_in.set_shape([None, latent_size])
    labels_in.set_shape([None, label_size])
    parts = [latents_in]
    if label_size:
        parts.append(_embed_labels(labels_in, label_fmaps or latent_size))
    if normalize_latents:
        parts = [normalize_2nd_moment(part) for part in parts]
    return map_latents(
        tf.concat(parts, axis=1),
        dlatent_size=dlatent_size,
        dlatent_broadcast=dlatent_broadcast,
        mapping_layers=mapping_layers,
        mapping_fmaps=mapping_fmaps or dlatent_size,
        mapping_lrmul=mapping_lrmul,
        mapping_nonlinearity=mapping_nonlinearity,
    )


def G_synthesis(
    dlatents_in: tf.Tensor,
    dlatent_size: int = 512,
    num_channels: int = 3,
    resolution: int = 1024,
    fmap_base: int = 16 << 10,
    fmap_decay: float = 1.0,
    fmap_min: int = 1,
    fmap_max: int = 512,
    fmap_const: int | None = None,
    use_noise: bool = True,
    randomize_noise: bool = True,
    architecture: str = "skip",
    nonlinearity: str = "lrelu",
    dtype: str = "float32",
    num_fp16_res: int = 0,
    conv_clamp: float | None = None,
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    fused_modconv: bool = False,
    random_seed: tf.Tensor | None = None,
    base_size: Sequence[int] = SQUARE_BASE,
    **_kwargs: Any,
) -> tf.Tensor:
    """Synthesis network (StyleGAN2, figure 7).

    The arguments of `networks_stylegan2.G_synthesis_stylegan2`, and:

    Args:
        fmap_const: feature maps of the constant input; None: as many as the first layer has.
        use_noise: False: no noise, and no variables for it.
        num_fp16_res: number of the highest resolutions that are computed in float16, on GPUs
            only; inputs, outputs and variables are float32 (ADA, appendix D).
        conv_clamp: limit of the absolute values after every convolution with its bias and
            activation, ToRGB included; None for none. Keeps float16 within its range.
        fused_modconv: as there, off by default.

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
        fmap_const=fmap_const,
        use_noise=use_noise,
        randomize_noise=randomize_noise,
        architecture=architecture,
        nonlinearity=nonlinearity,
        num_fp16_res=num_fp16_res,
        conv_clamp=conv_clamp,
        resample_kernel=resample_kernel,
        random_seed=random_seed,
    )


def D_main(
    images_in: tf.Tensor,
    labels_in: tf.Tensor,
    num_channels: int = 3,
    resolution: int = 1024,
    label_size: int = 0,
    fmap_base: int = 16 << 10,
    fmap_decay: float = 1.0,
    fmap_min: int = 1,
    fmap_max: int = 512,
    mapping_layers: int = 0,
    mapping_fmaps: int | None = None,
    mapping_lrmul: float = 0.1,
    architecture: str = "resnet",
    nonlinearity: str = "lrelu",
    dtype: str = "float32",
    num_fp16_res: int = 0,
    conv_clamp: float | None = None,
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
    mbstd_group_size: int | None = None,
    mbstd_num_features: int = 1,
    augment_strength: float | tf.Tensor = 0,
    use_pagan: bool = False,
    pagan_num: int = 16,
    pagan_fade: float = 0.5,
    score_size: int = 1,
    score_max: int = 1,
    use_spectral_norm: bool = False,
    adaptive_dropout: float = 0,
    freeze_layers: int = 0,
    is_training: bool = False,
    is_template_graph: bool = False,
    random_seed: tf.Tensor | None = None,
    base_size: Sequence[int] = SQUARE_BASE,
) -> tf.Tensor:
    """Discriminator with labels by projection (Miyato and Koyama 2018, equation 3).

    With labels, the score is ⟨f(x), m(c)⟩ / sqrt(mapping_fmaps), f being the output layer and m a
    mapping network of the discriminator's own: the embedded label, scaled to a mean square of one,
    then `mapping_layers` fully connected layers.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1].
        labels_in: [N, label_size].
        fmap_base, fmap_decay, fmap_min, fmap_max: as in `G_synthesis`.
        mapping_layers: depth of m after the embedding.
        mapping_fmaps: size of the embedded label, and width of m; None: as many as the last hidden
            layer has. Without labels, no part of m exists.
        mapping_lrmul: learning-rate multiplier of m, which the embedding does not have.
        architecture: `orig`, `skip` or `resnet`.
        nonlinearity: of f and of m.
        num_fp16_res, conv_clamp: as in `G_synthesis`, FromRGB included.
        mbstd_group_size: group of the minibatch standard deviation; None: the whole minibatch.
        mbstd_num_features: feature maps that it adds; 0 leaves it out.
        augment_strength: p, the strength of PA-GAN and of dropout: 0 but in training.
        use_pagan: get random bits, and score by their checksum, see `progressive_augmentation`.
        pagan_num, pagan_fade: bits at p = 1; the part of the way to the next in which one fades in.
        score_size: scores to return, of which the first is that of being real.
        score_max: how many there are.
        use_spectral_norm: normalise the weights of all 3×3 convolutions, see `spectral_norm`. ADA
            found FromRGB, skip connections and the output better without.
        adaptive_dropout: deviation of multiplicative dropout at p = 1, see `dropout`.
        freeze_layers: number of convolutions from the image on that are not trained, skip
            connections counted, those at 4×4 excluded (Mo et al. 2020, "Freeze the discriminator").
        is_training, is_template_graph: official arguments that make no difference here.
        random_seed: [2] int32, makes bits and dropout a function of it.
        base_size: as in `G_synthesis`.

    Returns:
        scores [N, score_size], the first of them logits of being real.

    Raises:
        UserError: more scores than there are.
    """
    check_dtype(dtype)
    if not 1 <= score_size <= score_max:
        raise UserError(f"D_main: score_size={score_size}, expected 1 to score_max={score_max}")
    labels_in.set_shape([None, label_size])
    nf = feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max)
    fmaps = mapping_fmaps or nf(0)
    if label_size:
        m = normalize_2nd_moment(_embed_labels(labels_in, fmaps))
        m = dense_stack(m, [fmaps] * mapping_layers, nonlinearity, mapping_lrmul, "Mapping")
    dropout = bits = None
    if adaptive_dropout:
        dropout = GaussianDropout(augment_strength * adaptive_dropout, random_seed)
    if use_pagan:
        count = tf.shape(images_in)[0]
        bits = draw_bits(count, augment_strength, pagan_num, pagan_fade, random_seed)
    x = extract_features(
        images_in,
        num_channels=num_channels,
        resolution=resolution,
        base_size=base_size,
        nf=nf,
        architecture=architecture,
        nonlinearity=nonlinearity,
        num_fp16_res=num_fp16_res,
        conv_clamp=conv_clamp,
        resample_kernel=resample_kernel,
        mbstd_group_size=mbstd_group_size,
        mbstd_num_features=mbstd_num_features,
        freeze_layers=freeze_layers,
        normalize_weight=spectral_normalize if use_spectral_norm else None,
        dropout=dropout,
        bits=bits,
    )
    with tf.variable_scope("Output"):
        others = score_max - 1
        x = apply_bias_act(dense_layer(x, (fmaps if label_size else 1) + others))
        x, more = (x[:, :-others], x[:, -others:]) if others else (x, None)
        if label_size:
            x = tf.reduce_sum(x * m, axis=1, keepdims=True) * float(1 / np.sqrt(fmaps))
    if bits is not None:
        x *= checksum(bits)
    if more is not None:
        x = tf.concat([x, more], axis=1)[:, :score_size]
    return tf.identity(x, name="scores_out")


_GENERATOR_FUNCTIONS = (G_main, G_mapping, G_synthesis)
# What a snapshot or a keyword argument may name, see `dnnlib.tflib.network`.
BUILD_FUNCTIONS = {f.__name__: f for f in (*_GENERATOR_FUNCTIONS, D_main)}


def _embed_labels(labels: tf.Tensor, fmaps: int) -> tf.Tensor:
    """Linear layer with bias, [N, label_size] to [N, fmaps]."""
    with tf.variable_scope("LabelEmbed"):
        return apply_bias_act(dense_layer(labels, fmaps))
