"""Networks of StyleGAN (Karras et al. 2018, arXiv:1812.04948), which grow, see `growing`.

Activations have a gain of one here: weights make up for it, whereas StyleGAN2 scales what comes out
of the activation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import layout
from tf_ops.upfirdn_2d import filter_2d, setup_filter, upsample_conv_2d
from training.architecture import growing
from training.architecture.calls import Call, GeneratorCall, GrowingCall
from training.architecture.discriminator import block_output
from training.architecture.layers import (
    Resampling,
    Weight,
    apply_bias_act,
    channels_of,
    conv2d_layer,
    dense_layer,
    get_weight,
    to_internal,
)
from training.architecture.mapping import broadcast, concatenated
from training.architecture.normalization import (
    instance_norm,
    normalize_2nd_moment,
)
from training.architecture.specs import (
    StyleganDiscriminatorSpec,
    StyleganMappingSpec,
    StyleganSynthesisSpec,
)
from training.architecture.styles import (
    noise_image,
    noise_layer,
    noise_variables,
    style_mod_layer,
)
from training.random_streams import stream

# Activations, and the gain of the weights before them that keeps the variance (He et al. 2015).
GAINS = {"relu": float(np.sqrt(2)), "lrelu": float(np.sqrt(2))}
# From this resolution on, `fused_scale="auto"` merges resampling with the convolution.
AUTO_FUSED_RESOLUTION = 128


def without_cutoff(call: GeneratorCall) -> GeneratorCall:
    """A cutoff of None means no truncation in StyleGAN; in StyleGAN2 it means all layers."""
    psi = None if call.truncation_cutoff is None else call.truncation_psi
    psi_val = None if call.truncation_cutoff_val is None else call.truncation_psi_val
    return dataclasses.replace(call, truncation_psi=psi, truncation_psi_val=psi_val)


def map_latents(
    latents_in: tf.Tensor, labels_in: tf.Tensor, spec: StyleganMappingSpec
) -> tf.Tensor:
    """Mapping network f: z → w (section 2).

    Returns:
        dlatents [N, dlatent_size], or [N, dlatent_broadcast, dlatent_size].
    """
    gain, lrmul = _gain(spec.mapping_nonlinearity), spec.mapping_lrmul
    weight = Weight(gain, spec.use_wscale, lrmul)
    x = concatenated(latents_in, labels_in, spec)
    for i in range(spec.mapping_layers):
        with tf.variable_scope(f"Dense{i}"):
            is_last = i == spec.mapping_layers - 1
            x = dense_layer(x, spec.dlatent_size if is_last else spec.mapping_fmaps, weight)
            x = apply_bias_act(x, spec.mapping_nonlinearity, gain=1.0, lrmul=lrmul)
    return broadcast(x, spec.dlatent_broadcast)


def synthesize_stylegan(
    dlatents_in: tf.Tensor, spec: StyleganSynthesisSpec, call: GrowingCall
) -> tf.Tensor:
    """Synthesis network g of adaptive instance normalization (section 2, figure 1b).

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size]; one only without styles.

    Returns:
        images [N, num_channels, H, W] at the level of detail that the variable `lod` holds.
    """
    structure = growing.select_structure(spec.structure, call.is_clean)
    randomize_noise = spec.randomize_noise and not call.is_clean
    gain, log2, nf = _gain(spec.nonlinearity), spec.log2, spec.fmaps
    weight, output_weight = Weight(gain, spec.use_wscale), Weight(use_wscale=spec.use_wscale)
    num_layers = log2 * 2 - 2
    dlatents_in.set_shape([None, num_layers if spec.use_styles else 1, spec.dlatent_size])
    lod = growing.level_of_detail()
    sizes = [spec.size(i // 2 + 2) for i in range(num_layers)]
    noise = noise_variables(sizes) if spec.use_noise else []

    def finish_layer(x, layer_idx):
        if spec.use_noise:
            with tf.variable_scope("Noise"):
                seed = stream(call.random_seed, "noise", layer_idx)
                x = noise_layer(x, noise_image(x, noise[layer_idx], randomize_noise, seed))
        x = apply_bias_act(x, spec.nonlinearity, gain=1.0)
        if spec.use_pixel_norm:
            x = normalize_2nd_moment(x, axis=layout.channel_axis(layout.internal_format()))
        if spec.use_instance_norm:
            x = instance_norm(x)
        if spec.use_styles:
            with tf.variable_scope("StyleMod"):
                x = style_mod_layer(x, dlatents_in[:, layer_idx], output_weight)
        return x

    def first_layer():
        if spec.const_input_layer:
            with tf.variable_scope("Const"):
                init = tf.initializers.ones()
                x = tf.get_variable("const", shape=[1, nf(1), *sizes[0]], initializer=init)
                x = tf.tile(to_internal(x), [tf.shape(dlatents_in)[0], 1, 1, 1])
                return finish_layer(x, 0)
        with tf.variable_scope("Dense"):
            # A gain of 1/4 of the usual: that of PGGAN, which feeds normalized latents here.
            dense_weight = Weight(gain / 4, spec.use_wscale)
            x = dense_layer(dlatents_in[:, 0], nf(1) * np.prod(sizes[0]), dense_weight)
            return finish_layer(to_internal(tf.reshape(x, [-1, nf(1), *sizes[0]])), 0)

    def block(x, res):
        with tf.variable_scope("Conv0_up"):
            x = up_conv(x, nf(res - 1), 3, weight, spec.fused_scale)
            x = finish_layer(blur(x, spec.blur_filter), res * 2 - 4)
        with tf.variable_scope("Conv1"):
            return finish_layer(conv2d_layer(x, nf(res - 1), 3, weight), res * 2 - 3)

    def torgb(x, res):
        return apply_bias_act(conv2d_layer(x, spec.num_channels, 1, output_weight))

    with tf.variable_scope("4x4"):
        x = first_layer()
        with tf.variable_scope("Conv"):
            x = finish_layer(conv2d_layer(x, nf(1), 3, weight), 1)
    return growing.images_out(x, spec, lod, structure, block, torgb)


def score_stylegan(
    images_in: tf.Tensor, labels_in: tf.Tensor, spec: StyleganDiscriminatorSpec, call: Call
) -> tf.Tensor:
    """Discriminator of StyleGAN and Progressive GAN (PGGAN, table 2), one output a class.

    Returns:
        scores [N, 1], logits of being real.
    """
    # How downsampling is computed, not what: one way is used always.
    is_fused(spec.fused_scale, spec.resolution)
    structure = growing.select_structure(spec.structure, call.is_template_graph)
    gain, nf = _gain(spec.nonlinearity), spec.fmaps
    weight, output_weight = Weight(gain, spec.use_wscale), Weight(use_wscale=spec.use_wscale)
    lod = growing.level_of_detail_of(images_in, labels_in, spec)

    def activate(x):
        return apply_bias_act(x, spec.nonlinearity, gain=1.0)

    def fromrgb(images, res):
        return activate(conv2d_layer(images, nf(res - 1), 1, weight))

    def block(x, res):
        with tf.variable_scope("Conv0"):
            x = activate(conv2d_layer(x, nf(res - 1), 3, weight))
        with tf.variable_scope("Conv1_down"):
            x = blur(x, spec.blur_filter)
            x = activate(conv2d_layer(x, nf(res - 2), 3, weight, Resampling(up=False)))
        return block_output(x)

    x = growing.activations_of(images_in, spec, lod, structure, block, fromrgb)
    with tf.variable_scope("4x4"):
        with tf.variable_scope("Conv"):
            x = activate(conv2d_layer(x, nf(1), 3, weight))
        with tf.variable_scope("Dense0"):
            x = activate(dense_layer(x, nf(0), weight))
        with tf.variable_scope("Dense1"):
            x = apply_bias_act(dense_layer(x, max(spec.label_size, 1), output_weight))
    if spec.label_size:
        x = tf.reduce_sum(x * labels_in, axis=1, keepdims=True)
    return tf.identity(x, name="scores_out")


def up_conv(
    x: tf.Tensor, fmaps: int, kernel: int, weight: Weight, fused_scale: bool | str
) -> tf.Tensor:
    """Pixels repeated 2×2, then a convolution.

    The official merged form scatters each pixel through the kernel, whereas a convolution gathers
    through it: its weights are mirrored. Ours are merged always, and mirrored where theirs are.
    """
    data_format = layout.internal_format()
    height = x.shape[layout.spatial_axes(data_format)[0]].value
    w = get_weight([kernel, kernel, channels_of(x), fmaps], weight)
    if is_fused(fused_scale, height * 2):
        w = w[::-1, ::-1]
    return upsample_conv_2d(x, w, data_format=data_format)


def blur(x: tf.Tensor, blur_filter: Sequence[float] | None, normalize: bool = True) -> tf.Tensor:
    """Low-pass filter of the same size in and out (section 2); the taps are not flipped.

    Args:
        x: activations.
        blur_filter: [n], or [n, n]; None or nothing for none.
        normalize: divide the taps by their sum.
    """
    if blur_filter is None or not len(blur_filter):
        return x
    k = setup_filter(blur_filter, 1, normalize=normalize)
    # An even filter reaches one pixel further right and down: odd with a tap of zero in front.
    k = np.pad(k, [(1 - len(k) % 2, 0)] * 2)[::-1, ::-1]
    return filter_2d(x, k, normalize=normalize, data_format=layout.internal_format())


def is_fused(fused_scale: bool | str, resolution: int) -> bool:
    """Whether to merge up- or downsampling with the convolution beside it, at the higher size."""
    if fused_scale not in (True, False, "auto"):
        raise UserError(f"fused_scale {fused_scale!r}: use True, False or 'auto'")
    return resolution >= AUTO_FUSED_RESOLUTION if fused_scale == "auto" else bool(fused_scale)


def _gain(nonlinearity: str) -> float:
    if nonlinearity not in GAINS:
        raise UserError(f"nonlinearity {nonlinearity!r}: use one of {', '.join(GAINS)}")
    return GAINS[nonlinearity]
