"""The networks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), by their official names.

Every function here is a build function of `dnnlib.tflib.Network`: the parameters without default
are the network's inputs, the others its keyword arguments, in snapshots too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError, tflib
from tf_ops import layout
from tf_ops.upfirdn_2d import downsample_2d, upsample_2d
from training import random_streams
from training.layers import (
    apply_bias_act,
    conv2d_layer,
    dense_layer,
    feature_maps,
    minibatch_stddev_layer,
    modulated_conv2d_layer,
    normalize_2nd_moment,
    reject_unknown,
    resolution_log2,
    to_images,
    to_internal,
)

ARCHITECTURES = ("orig", "skip", "resnet")


def G_main(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    truncation_psi: float | None = 0.5,
    truncation_cutoff: int | None = None,
    truncation_psi_val: float | None = None,
    truncation_cutoff_val: int | None = None,
    dlatent_avg_beta: float | None = 0.995,
    style_mixing_prob: float | None = 0.9,
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
        is_template_graph: True while `Network` builds its first graph.
        components: networks `mapping` and `synthesis`; made here where they are missing.
        mapping_func, synthesis_func: names in `BUILD_FUNCTIONS`.
        random_seed: [2] int32: makes style mixing and noise a function of it. None: fresh numbers.
        kwargs: for both components.

    Returns:
        images [N, num_channels, resolution, resolution], about [-1, 1]; with `return_dlatents` also
        dlatents [N, num_layers, dlatent_size].
    """
    components = EasyDict() if components is None else components
    if is_validation:
        truncation_psi, truncation_cutoff = truncation_psi_val, truncation_cutoff_val
    if is_training or truncation_psi == 1:
        truncation_psi = None
    _make_components(components, mapping_func, synthesis_func, kwargs)
    num_layers, dlatent_size = components.synthesis.input_shape[1:]
    tf.get_variable("lod", shape=[], initializer=tf.initializers.zeros(), trainable=False)
    dlatent_avg = tf.get_variable(
        "dlatent_avg", shape=[dlatent_size], initializer=tf.initializers.zeros(), trainable=False
    )

    dynamic = {"is_training": is_training, **kwargs}
    dlatents = components.mapping.get_output_for(latents_in, labels_in, **dynamic)
    dlatents = tf.cast(dlatents, tf.float32)
    if is_training and dlatent_avg_beta is not None:
        batch_avg = tf.reduce_mean(dlatents[:, 0], axis=0)
        update = dlatent_avg.assign(tflib.lerp(batch_avg, dlatent_avg, dlatent_avg_beta))
        with tf.control_dependencies([update]):
            dlatents = tf.identity(dlatents)
    if is_training and style_mixing_prob:
        z = random_streams.normal(tf.shape(latents_in), _stream(random_seed, "mixing_latents"))
        other = components.mapping.get_output_for(z, labels_in, **dynamic)
        dlatents = _mix_styles(dlatents, other, style_mixing_prob, random_seed)
    if truncation_psi is not None:
        layers = np.arange(num_layers)[np.newaxis, :, np.newaxis]
        cutoff = num_layers if truncation_cutoff is None else truncation_cutoff
        ones = tf.ones(layers.shape)
        psi = tf.where(layers < cutoff, ones * truncation_psi, ones)
        dlatents = tflib.lerp(dlatent_avg, dlatents, psi)

    seed = _stream(random_seed, "noise")
    images = components.synthesis.get_output_for(dlatents, random_seed=seed, **dynamic)
    images = tf.identity(images, name="images_out")
    return (images, dlatents) if return_dlatents else images


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
    reject_unknown(_kwargs, _COMPONENT_FUNCTIONS)
    _check_dtype(dtype)
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
            x = dense_layer(x, fmaps, lrmul=mapping_lrmul)
            x = apply_bias_act(x, act=mapping_nonlinearity, lrmul=mapping_lrmul)
    if dlatent_broadcast is not None:
        x = tf.tile(x[:, np.newaxis], [1, dlatent_broadcast, 1])
    return tf.identity(x, name="dlatents_out")


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

    Returns:
        images [N, num_channels, resolution, resolution].
    """
    reject_unknown(_kwargs, _COMPONENT_FUNCTIONS)
    _check_dtype(dtype)
    _check_architecture(architecture)
    log2 = resolution_log2(resolution)
    nf = feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max)
    num_layers = log2 * 2 - 2
    dlatents_in.set_shape([None, num_layers, dlatent_size])
    data_format = layout.internal_format()
    noise_inputs = _noise_inputs(num_layers - 1)

    def layer(x, layer_idx, fmaps, up=False):
        w = dlatents_in[:, layer_idx]
        x = modulated_conv2d_layer(x, w, fmaps, 3, up=up, resample_kernel=resample_kernel)
        seed = _stream(random_seed, "noise", layer_idx)
        x = _add_noise(x, noise_inputs[layer_idx], randomize_noise, seed)
        return apply_bias_act(x, act=nonlinearity)

    def block(x, res):
        t = x
        with tf.variable_scope("Conv0_up"):
            x = layer(x, res * 2 - 5, nf(res - 1), up=True)
        with tf.variable_scope("Conv1"):
            x = layer(x, res * 2 - 4, nf(res - 1))
        if architecture == "resnet":
            with tf.variable_scope("Skip"):
                t = conv2d_layer(t, nf(res - 1), 1, up=True, resample_kernel=resample_kernel)
                x = (x + t) * np.float32(1 / np.sqrt(2))
        return x

    def torgb(x, y, res):
        with tf.variable_scope("ToRGB"):
            w = dlatents_in[:, res * 2 - 3]
            t = apply_bias_act(modulated_conv2d_layer(x, w, num_channels, 1, demodulate=False))
            return t if y is None else y + t

    y = None
    with tf.variable_scope("4x4"):
        with tf.variable_scope("Const"):
            init = tf.initializers.random_normal()
            x = tf.get_variable("const", shape=[1, nf(1), 4, 4], initializer=init)
            x = tf.tile(to_internal(x), [tf.shape(dlatents_in)[0], 1, 1, 1])
        with tf.variable_scope("Conv"):
            x = layer(x, 0, nf(1))
        if architecture == "skip":
            y = torgb(x, y, 2)
    for res in range(3, log2 + 1):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            x = block(x, res)
            if architecture == "skip":
                y = upsample_2d(y, resample_kernel, data_format=data_format)
            if architecture == "skip" or res == log2:
                y = torgb(x, y, res)
    if y is None:  # 4×4 images without skip connections.
        with tf.variable_scope("4x4"):
            y = torgb(x, y, 2)
    return tf.identity(to_images(y), name="images_out")


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
) -> tf.Tensor:
    """Discriminator of StyleGAN2 (figure 7), with labels by projection onto one output a class.

    Args:
        images_in: [N, num_channels, resolution, resolution] in [-1, 1].
        labels_in: [N, label_size].
        fmap_base, fmap_decay, fmap_min, fmap_max: as in `G_synthesis_stylegan2`.
        architecture: `orig`, `skip` or `resnet`.
        mbstd_group_size: group of the minibatch standard deviation; 0 or 1 leaves it out.
        mbstd_num_features: feature maps that it adds.
        is_training, is_template_graph: official arguments that make no difference here.

    Returns:
        scores [N, 1], logits of being real.
    """
    _check_dtype(dtype)
    _check_architecture(architecture)
    log2 = resolution_log2(resolution)
    nf = feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max)
    images_in.set_shape([None, num_channels, resolution, resolution])
    labels_in.set_shape([None, label_size])
    data_format = layout.internal_format()

    def fromrgb(x, y, res):
        with tf.variable_scope("FromRGB"):
            t = apply_bias_act(conv2d_layer(y, nf(res - 1), 1), act=nonlinearity)
            return t if x is None else x + t

    def block(x, res):
        t = x
        with tf.variable_scope("Conv0"):
            x = apply_bias_act(conv2d_layer(x, nf(res - 1), 3), act=nonlinearity)
        with tf.variable_scope("Conv1_down"):
            x = conv2d_layer(x, nf(res - 2), 3, down=True, resample_kernel=resample_kernel)
            x = apply_bias_act(x, act=nonlinearity)
        if architecture == "resnet":
            with tf.variable_scope("Skip"):
                t = conv2d_layer(t, nf(res - 2), 1, down=True, resample_kernel=resample_kernel)
                x = (x + t) * np.float32(1 / np.sqrt(2))
        return x

    x, y = None, to_internal(images_in)
    for res in range(log2, 2, -1):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            if architecture == "skip" or res == log2:
                x = fromrgb(x, y, res)
            x = block(x, res)
            if architecture == "skip":
                y = downsample_2d(y, resample_kernel, data_format=data_format)
    with tf.variable_scope("4x4"):
        if architecture == "skip" or x is None:
            x = fromrgb(x, y, 2)
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


# What a snapshot or a keyword argument may name, see `dnnlib.tflib.network`.
BUILD_FUNCTIONS = {f.__name__: f for f in (G_main, G_mapping, G_synthesis_stylegan2, D_stylegan2)}
_COMPONENT_FUNCTIONS = (G_main, G_mapping, G_synthesis_stylegan2)


def _make_components(components, mapping_func, synthesis_func, kwargs):
    reject_unknown(kwargs, _COMPONENT_FUNCTIONS)
    for func in (mapping_func, synthesis_func):
        if func not in BUILD_FUNCTIONS:
            raise UserError(f"no build function {func!r}: use one of {', '.join(BUILD_FUNCTIONS)}")
    if "synthesis" not in components:
        components.synthesis = tflib.Network(
            "G_synthesis", func_name=BUILD_FUNCTIONS[synthesis_func], **kwargs
        )
    if "mapping" not in components:
        num_layers = components.synthesis.input_shape[1]
        components.mapping = tflib.Network(
            "G_mapping",
            func_name=BUILD_FUNCTIONS[mapping_func],
            dlatent_broadcast=num_layers,
            **kwargs,
        )


def _mix_styles(dlatents, other, probability, seed):
    """Layers from a random one on take the other w, with the given probability."""
    num_layers = dlatents.shape[1].value
    # One draw decides both whether and where: a cutoff of num_layers mixes nothing.
    chance = random_streams.uniform([], _stream(seed, "mixing_cutoff", 0))
    cutoff = random_streams.uniform(
        [], _stream(seed, "mixing_cutoff", 1), maxval=num_layers - 1, dtype=tf.int32
    )
    cutoff = tf.where(chance < probability, cutoff + 1, num_layers)
    keep = tf.range(num_layers)[np.newaxis, :, np.newaxis] < cutoff
    return tf.where(tf.broadcast_to(keep, tf.shape(dlatents)), dlatents, other)


def _noise_inputs(count: int) -> list[tf.Variable]:
    """Variables noise0, noise1, …: at 4×4 one, two for every doubling."""
    inputs = []
    for layer_idx in range(count):
        size = 2 ** ((layer_idx + 5) // 2)
        init = tf.initializers.random_normal()
        shape = [1, 1, size, size]
        name = f"noise{layer_idx}"
        inputs.append(tf.get_variable(name, shape=shape, initializer=init, trainable=False))
    return inputs


def _add_noise(x, noise_input, randomize, seed):
    """Adds one noise image a sample to all feature maps, by a learned strength."""
    # With one channel, NCHW and NHWC differ in shape only, not in memory.
    height, width = (x.shape[a].value for a in layout.spatial_axes(layout.internal_format()))
    rows = tf.shape(x)[0] if randomize else 1
    one_channel = {"NCHW": [rows, 1, height, width], "NHWC": [rows, height, width, 1]}
    shape = one_channel[layout.internal_format()]
    noise = random_streams.normal(shape, seed) if randomize else tf.reshape(noise_input, shape)
    init = tf.initializers.zeros()
    strength = tf.get_variable("noise_strength", shape=[], initializer=init)
    return x + noise * strength


def _stream(seed, name, index=0):
    return None if seed is None else random_streams.stream(seed, name, index)


def _check_architecture(architecture: str) -> None:
    if architecture not in ARCHITECTURES:
        raise UserError(f"architecture {architecture!r}: use one of {', '.join(ARCHITECTURES)}")


def _check_dtype(dtype: str) -> None:
    if dtype != "float32":
        raise UserError(f"dtype {dtype!r}: networks are computed in float32")
