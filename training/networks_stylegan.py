"""The networks of StyleGAN (Karras et al. 2018, arXiv:1812.04948), by their official names.

Configuration A of StyleGAN2. All of them grow, see `growing`. Activations have a gain of
one here: weights make up for it, whereas StyleGAN2 scales what comes out of the activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError
from tf_ops import layout
from tf_ops.upfirdn_2d import filter_2d, setup_filter, upsample_conv_2d
from training.architecture import growing
from training.architecture.generator import add_components, generate
from training.architecture.layers import (
    SQUARE_BASE,
    apply_bias_act,
    check_dtype,
    conv2d_layer,
    dense_layer,
    feature_maps,
    get_weight,
    instance_norm,
    level_size,
    minibatch_stddev_layer,
    noise_layer,
    normalize_2nd_moment,
    reject_unknown,
    resolution_log2,
    style_mod_layer,
    to_images,
    to_internal,
)
from training.architecture.styles import noise_image, noise_inputs, stream

# Activations, and the gain of the weights before them that keeps the variance (He et al. 2015).
GAINS = {"relu": float(np.sqrt(2)), "lrelu": float(np.sqrt(2))}
# From this resolution on, `fused_scale="auto"` merges resampling with the convolution.
AUTO_FUSED_RESOLUTION = 128


def G_style(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    truncation_psi: float | tf.Tensor | None = 0.7,
    truncation_cutoff: int | tf.Tensor | None = 8,
    truncation_psi_val: float | tf.Tensor | None = None,
    truncation_cutoff_val: int | tf.Tensor | None = None,
    dlatent_avg_beta: float | tf.Tensor | None = 0.995,
    style_mixing_prob: float | tf.Tensor | None = 0.9,
    is_training: bool = False,
    is_validation: bool = False,
    return_dlatents: bool = False,
    is_template_graph: bool = False,
    components: EasyDict | None = None,
    random_seed: tf.Tensor | None = None,
    **kwargs: Any,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Generator: mapping network, then synthesis network (figure 1b).

    Args:
        latents_in: z [N, latent_size], standard normal.
        labels_in: [N, label_size], one-hot; [N, 0] without labels.
        truncation_psi: w ← mean(w) + psi·(w - mean(w)); None or 1 for none (appendix B).
        truncation_cutoff: number of layers that truncation applies to. None for no truncation,
            unlike StyleGAN2, where it means all layers.
        truncation_psi_val, truncation_cutoff_val: the same where `is_validation`.
        dlatent_avg_beta: decay of the running mean of w while training; None keeps the mean.
        style_mixing_prob: probability of mixing two w at a random layer while training.
        is_training: no truncation; style mixing; moves the mean of w.
        is_validation: use the `_val` truncation.
        return_dlatents: return (images, dlatents).
        is_template_graph: True while `Network` builds its first graph.
        components: networks `mapping` and `synthesis`; made here where they are missing.
        random_seed: [2] int32: makes style mixing and noise a function of it. None: fresh numbers.
        kwargs: for both components.

    Returns:
        images [N, num_channels, H, W], about [-1, 1]; with `return_dlatents` also
        dlatents [N, num_layers, dlatent_size].
    """
    components = add_components(
        components, BUILD_FUNCTIONS, G_style, "G_mapping", "G_synthesis", kwargs
    )
    return generate(
        latents_in,
        labels_in,
        components,
        {"force_clean_graph": is_template_graph, **kwargs},
        truncation_psi=truncation_psi if truncation_cutoff is not None else None,
        truncation_cutoff=truncation_cutoff,
        truncation_psi_val=truncation_psi_val if truncation_cutoff_val is not None else None,
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
    use_wscale: bool = True,
    normalize_latents: bool = True,
    dtype: str = "float32",
    **_kwargs: Any,
) -> tf.Tensor:
    """Mapping network f: z → w (section 2).

    Args:
        latents_in: z [N, latent_size].
        labels_in: [N, label_size].
        dlatent_broadcast: return [N, dlatent_broadcast, dlatent_size] instead of [N, dlatent_size].
        mapping_layers, mapping_fmaps: depth and width.
        mapping_lrmul: learning-rate multiplier.
        mapping_nonlinearity: `relu` or `lrelu`.
        use_wscale: equalised learning rate.
        normalize_latents: scale z (and the embedded label) to a mean square of one first.
    """
    reject_unknown(_kwargs, _GENERATOR_FUNCTIONS)
    check_dtype(dtype)
    gain = _gain(mapping_nonlinearity)
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
    for i in range(mapping_layers):
        with tf.variable_scope(f"Dense{i}"):
            fmaps = dlatent_size if i == mapping_layers - 1 else mapping_fmaps
            x = dense_layer(x, fmaps, gain, use_wscale, mapping_lrmul)
            x = apply_bias_act(x, mapping_nonlinearity, gain=1.0, lrmul=mapping_lrmul)
    if dlatent_broadcast is not None:
        x = tf.tile(x[:, np.newaxis], [1, dlatent_broadcast, 1])
    return tf.identity(x, name="dlatents_out")


def G_synthesis(
    dlatents_in: tf.Tensor,
    dlatent_size: int = 512,
    num_channels: int = 3,
    resolution: int = 1024,
    fmap_base: int = 8192,
    fmap_decay: float = 1.0,
    fmap_max: int = 512,
    use_styles: bool = True,
    const_input_layer: bool = True,
    use_noise: bool = True,
    randomize_noise: bool = True,
    nonlinearity: str = "lrelu",
    use_wscale: bool = True,
    use_pixel_norm: bool = False,
    use_instance_norm: bool = True,
    dtype: str = "float32",
    fused_scale: bool | str = "auto",
    blur_filter: Sequence[float] | None = (1, 2, 1),
    structure: str = "auto",
    is_template_graph: bool = False,
    force_clean_graph: bool = False,
    random_seed: tf.Tensor | None = None,
    base_size: Sequence[int] = SQUARE_BASE,
    **_kwargs: Any,
) -> tf.Tensor:
    """Synthesis network g of adaptive instance normalisation (section 2, figure 1b).

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size]; one only without styles.
        num_channels, resolution: of the images.
        fmap_base, fmap_decay, fmap_max: feature maps at a resolution r are fmap_base·2 /
            r^fmap_decay (for a decay of 1), at most fmap_max.
        use_styles: modulate every layer by w.
        const_input_layer: begin with a learned constant, else with a dense layer of w.
        use_noise: add noise after every convolution.
        randomize_noise: fresh noise instead of the variables noise0, noise1, …
        nonlinearity: `relu` or `lrelu`.
        use_wscale: equalised learning rate.
        use_pixel_norm: normalise the feature vector of every pixel (PGGAN, section 4.2).
        use_instance_norm: normalise every feature map.
        fused_scale: see `_up_conv`.
        blur_filter: low-pass filter after upsampling, [n]; None for none.
        structure, is_template_graph, force_clean_graph, random_seed, base_size: as in
            `training.architecture.networks_growing.G_synthesis_stylegan_revised`.

    Returns:
        images [N, num_channels, H, W] at the level of detail that the variable
        `lod` holds.
    """
    reject_unknown(_kwargs, _GENERATOR_FUNCTIONS)
    check_dtype(dtype)
    clean_graph = is_template_graph or force_clean_graph
    structure = growing.select_structure(structure, clean_graph)
    randomize_noise = randomize_noise and not clean_graph
    gain = _gain(nonlinearity)
    log2 = resolution_log2(resolution)
    nf = feature_maps(fmap_base, fmap_decay, 1, fmap_max)
    num_layers = log2 * 2 - 2
    dlatents_in.set_shape([None, num_layers if use_styles else 1, dlatent_size])
    lod = growing.level_of_detail()
    sizes = [level_size(i // 2 + 2, base_size) for i in range(num_layers)]
    noise = noise_inputs(sizes) if use_noise else []

    def finish_layer(x, layer_idx):
        if use_noise:
            with tf.variable_scope("Noise"):
                seed = stream(random_seed, "noise", layer_idx)
                x = noise_layer(x, noise_image(x, noise[layer_idx], randomize_noise, seed))
        x = apply_bias_act(x, nonlinearity, gain=1.0)
        if use_pixel_norm:
            x = normalize_2nd_moment(x, axis=layout.channel_axis(layout.internal_format()))
        if use_instance_norm:
            x = instance_norm(x)
        if use_styles:
            with tf.variable_scope("StyleMod"):
                x = style_mod_layer(x, dlatents_in[:, layer_idx], use_wscale)
        return x

    def first_layer():
        if const_input_layer:
            with tf.variable_scope("Const"):
                init = tf.initializers.ones()
                x = tf.get_variable("const", shape=[1, nf(1), *sizes[0]], initializer=init)
                x = tf.tile(to_internal(x), [tf.shape(dlatents_in)[0], 1, 1, 1])
                return finish_layer(x, 0)
        with tf.variable_scope("Dense"):
            # A gain of 1/4 of the usual: that of PGGAN, which feeds normalised latents here.
            x = dense_layer(dlatents_in[:, 0], nf(1) * np.prod(sizes[0]), gain / 4, use_wscale)
            return finish_layer(to_internal(tf.reshape(x, [-1, nf(1), *sizes[0]])), 0)

    def block(x, res):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            with tf.variable_scope("Conv0_up"):
                x = _up_conv(x, nf(res - 1), gain, use_wscale, fused_scale)
                x = finish_layer(_blur(x, blur_filter), res * 2 - 4)
            with tf.variable_scope("Conv1"):
                x = conv2d_layer(x, nf(res - 1), 3, gain=gain, use_wscale=use_wscale)
                return finish_layer(x, res * 2 - 3)

    def torgb(x, res):
        with tf.variable_scope(f"ToRGB_lod{log2 - res}"):
            return apply_bias_act(conv2d_layer(x, num_channels, 1, use_wscale=use_wscale))

    with tf.variable_scope("4x4"):
        x = first_layer()
        with tf.variable_scope("Conv"):
            x = finish_layer(conv2d_layer(x, nf(1), 3, gain=gain, use_wscale=use_wscale), 1)
    images = to_images(growing.grow_images(x, log2, lod, structure, block, torgb))
    images.set_shape([None, num_channels, *level_size(log2, base_size)])
    return tf.identity(images, name="images_out")


def D_basic(
    images_in: tf.Tensor,
    labels_in: tf.Tensor,
    num_channels: int = 1,
    resolution: int = 32,
    label_size: int = 0,
    fmap_base: int = 8192,
    fmap_decay: float = 1.0,
    fmap_max: int = 512,
    nonlinearity: str = "lrelu",
    use_wscale: bool = True,
    mbstd_group_size: int = 4,
    mbstd_num_features: int = 1,
    dtype: str = "float32",
    fused_scale: bool | str = "auto",
    blur_filter: Sequence[float] | None = (1, 2, 1),
    structure: str = "auto",
    is_training: bool = False,
    is_template_graph: bool = False,
    base_size: Sequence[int] = SQUARE_BASE,
) -> tf.Tensor:
    """Discriminator of StyleGAN and Progressive GAN (PGGAN, table 2), one output a class.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1], pixels repeated where the
            level of detail in the variable `lod` is not 0.
        labels_in: [N, label_size].
        fmap_base, fmap_decay, fmap_max, nonlinearity, use_wscale: as in `G_synthesis`.
        mbstd_group_size: group of the minibatch standard deviation; 0 or 1 leaves it out.
        mbstd_num_features: feature maps that it adds.
        fused_scale: how downsampling is computed, not what: one way is used always.
        blur_filter: low-pass filter before downsampling, [n]; None for none.
        structure: see `growing`; `auto` is `linear` in template graphs, else `recursive`.
        is_training: official argument that makes no difference here.
        is_template_graph: True while `Network` builds its first graph.
        base_size: as in `G_synthesis`.

    Returns:
        scores [N, 1], logits of being real.
    """
    check_dtype(dtype)
    _is_fused(fused_scale, resolution)
    structure = growing.select_structure(structure, is_template_graph)
    gain = _gain(nonlinearity)
    log2 = resolution_log2(resolution)
    nf = feature_maps(fmap_base, fmap_decay, 1, fmap_max)
    images_in.set_shape([None, num_channels, *level_size(log2, base_size)])
    labels_in.set_shape([None, label_size])
    lod = growing.level_of_detail()

    def activate(x):
        return apply_bias_act(x, nonlinearity, gain=1.0)

    def conv(x, fmaps, kernel):
        return activate(conv2d_layer(x, fmaps, kernel, gain=gain, use_wscale=use_wscale))

    def fromrgb(images, res):
        with tf.variable_scope(f"FromRGB_lod{log2 - res}"):
            return conv(images, nf(res - 1), 1)

    def block(x, res):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            with tf.variable_scope("Conv0"):
                x = conv(x, nf(res - 1), 3)
            with tf.variable_scope("Conv1_down"):
                x = _blur(x, blur_filter)
                x = conv2d_layer(x, nf(res - 2), 3, down=True, gain=gain, use_wscale=use_wscale)
                return activate(x)

    x = growing.shrink_images(to_internal(images_in), log2, lod, structure, block, fromrgb)
    with tf.variable_scope("4x4"):
        if mbstd_group_size > 1:
            x = minibatch_stddev_layer(x, mbstd_group_size, mbstd_num_features)
        with tf.variable_scope("Conv"):
            x = conv(x, nf(1), 3)
        with tf.variable_scope("Dense0"):
            x = activate(dense_layer(x, nf(0), gain, use_wscale))
        with tf.variable_scope("Dense1"):
            x = apply_bias_act(dense_layer(x, max(label_size, 1), use_wscale=use_wscale))
    if label_size:
        x = tf.reduce_sum(x * labels_in, axis=1, keepdims=True)
    return tf.identity(x, name="scores_out")


# What a snapshot or a keyword argument may name, see `dnnlib.tflib.network`.
BUILD_FUNCTIONS = {f.__name__: f for f in (G_style, G_mapping, G_synthesis, D_basic)}
_GENERATOR_FUNCTIONS = (G_style, G_mapping, G_synthesis)


def _gain(nonlinearity: str) -> float:
    if nonlinearity not in GAINS:
        raise UserError(f"nonlinearity {nonlinearity!r}: use one of {', '.join(GAINS)}")
    return GAINS[nonlinearity]


def _is_fused(fused_scale: bool | str, resolution: int) -> bool:
    """Whether to merge up- or downsampling with the convolution beside it, at the higher size."""
    if fused_scale not in (True, False, "auto"):
        raise UserError(f"fused_scale {fused_scale!r}: use True, False or 'auto'")
    return resolution >= AUTO_FUSED_RESOLUTION if fused_scale == "auto" else bool(fused_scale)


def _up_conv(x, fmaps, gain, use_wscale, fused_scale):
    """Pixels repeated 2×2, then a 3×3 convolution.

    The official merged form scatters each pixel through the kernel, whereas a convolution gathers
    through it: its weights are mirrored. Ours are merged always, and mirrored where theirs are.
    """
    data_format = layout.internal_format()
    channels = x.shape[layout.channel_axis(data_format)].value
    height = x.shape[layout.spatial_axes(data_format)[0]].value
    w = get_weight([3, 3, channels, fmaps], gain, use_wscale)
    if _is_fused(fused_scale, height * 2):
        w = w[::-1, ::-1]
    return upsample_conv_2d(x, w, data_format=data_format)


def _blur(x, blur_filter):
    """Low-pass filter of the same size in and out (section 2); the taps are not flipped."""
    if not blur_filter:
        return x
    k = setup_filter(blur_filter, 1)
    # An even filter reaches one pixel further right and down: odd with a tap of zero in front.
    k = np.pad(k, [(1 - len(k) % 2, 0)] * 2)
    return filter_2d(x, k[::-1, ::-1], data_format=layout.internal_format())
