"""The networks of StyleGAN (Karras et al. 2018, arXiv:1812.04948), by their official names.

Configuration A of StyleGAN2. Faces as in `networks_stylegan2`, over bodies in
`architecture.stylegan`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from tf_ops.fused_bias_act import fused_bias_act
from training.architecture import growing, layers, normalization, stylegan, styles
from training.architecture.calls import Call, GeneratorCall, GrowingCall
from training.architecture.faces import build_function
from training.architecture.generator import map_and_synthesize
from training.architecture.layers import Weight, to_images, to_internal
from training.architecture.specs import (
    GeneratorSpec,
    StyleganDiscriminatorSpec,
    StyleganMappingSpec,
    StyleganSynthesisSpec,
)
from training.architecture.stylegan import map_latents, score_stylegan, synthesize_stylegan

# What a snapshot or a keyword argument may name.
BUILD_FUNCTIONS: dict[str, Callable] = {}


@build_function(
    BUILD_FUNCTIONS,
    GeneratorSpec,
    GeneratorCall,
    without="mapping_func synthesis_func",
    truncation_psi=0.7,
    truncation_cutoff=8,
)
def G_style(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    spec: GeneratorSpec,
    call: GeneratorCall,
    **kwargs: Any,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Generator: mapping network, then synthesis network (figure 1b).

    A cutoff of None means no truncation here, unlike in StyleGAN2, where it means all layers.

    Returns:
        images [N, num_channels, H, W], about [-1, 1]; with `return_dlatents` also
        dlatents [N, num_layers, dlatent_size].
    """
    if call.truncation_cutoff is None:
        call = dataclasses.replace(call, truncation_psi=None)
    if call.truncation_cutoff_val is None:
        call = dataclasses.replace(call, truncation_psi_val=None)
    table = BUILD_FUNCTIONS
    return map_and_synthesize(latents_in, labels_in, spec, call, kwargs, table, with_lod=True)


@build_function(BUILD_FUNCTIONS, StyleganMappingSpec, without="label_fmaps")
def G_mapping(
    latents_in: tf.Tensor, labels_in: tf.Tensor, spec: StyleganMappingSpec, **_kwargs: Any
) -> tf.Tensor:
    """Mapping network f: z → w (section 2).

    Returns:
        dlatents [N, dlatent_size], or [N, dlatent_broadcast, dlatent_size].
    """
    return map_latents(latents_in, labels_in, spec)


@build_function(BUILD_FUNCTIONS, StyleganSynthesisSpec, GrowingCall, without="fmap_min is_training")
def G_synthesis(
    dlatents_in: tf.Tensor, spec: StyleganSynthesisSpec, call: GrowingCall, **_kwargs: Any
) -> tf.Tensor:
    """Synthesis network g of adaptive instance normalization (section 2, figure 1b).

    Args:
        dlatents_in: w for every layer [N, num_layers, dlatent_size]; one only without styles.

    Returns:
        images [N, num_channels, H, W] at the level of detail that the variable `lod` holds.
    """
    return synthesize_stylegan(dlatents_in, spec, call)


@build_function(BUILD_FUNCTIONS, StyleganDiscriminatorSpec, Call, without="fmap_min random_seed")
def D_basic(
    images_in: tf.Tensor, labels_in: tf.Tensor, spec: StyleganDiscriminatorSpec, call: Call
) -> tf.Tensor:
    """Discriminator of StyleGAN and Progressive GAN (PGGAN, table 2), one output a class.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1], pixels repeated where the level of detail in
            the variable `lod` is not 0.
        labels_in: [N, label_size].

    Returns:
        scores [N, 1], logits of being real.
    """
    return score_stylegan(images_in, labels_in, spec, call)


# Layers, for networks of one's own. They take and return activations [N, C, H, W] or vectors [N, C]
# float32, and create their variables in the current variable scope: `weight` and `bias`.
# `**kwargs` are keyword arguments of `get_weight`.


def blur2d(x: tf.Tensor, f: Sequence = (1, 2, 1), normalize: bool = True) -> tf.Tensor:
    """Filters [N, C, H, W] without changing their size; the taps are not flipped.

    Args:
        x: [N, C, H, W].
        f: filter [n], or [n, n]; 1-D means its outer product.
        normalize: divide the taps by their sum.
    """
    return to_images(stylegan.blur(to_internal(x), f, normalize))


def upscale2d(x: tf.Tensor, factor: int = 2) -> tf.Tensor:
    """Repeats every pixel of [N, C, H, W] factor×factor times."""
    return to_images(growing.repeat_pixels(to_internal(x), factor))


def downscale2d(x: tf.Tensor, factor: int = 2) -> tf.Tensor:
    """Averages boxes of factor×factor pixels of [N, C, H, W]."""
    return to_images(growing.average_pixels(to_internal(x), factor))


def get_weight(
    shape: Sequence[int],
    gain: float = stylegan.GAINS["lrelu"],
    use_wscale: bool = False,
    lrmul: float = 1,
) -> tf.Tensor:
    """Weight with a standard deviation of gain / sqrt(fan-in).

    Args:
        shape: [.., in, out] for dense layers, [kh, kw, in, out] for convolutions.
        gain: He gain; its default, √2, goes with leaky ReLU.
        use_wscale: keep the variable at unit variance and scale it when used (PGGAN, section 4.1).
        lrmul: learning-rate multiplier: the variable is 1/lrmul as large and scaled by lrmul.
    """
    return layers.get_weight(shape, Weight(gain, use_wscale, lrmul))


def dense(x: tf.Tensor, fmaps: int, **kwargs: Any) -> tf.Tensor:
    """Fully connected layer without bias: [N, …] to [N, fmaps], images in the order C, H, W."""
    return layers.dense_layer(to_internal(x), fmaps, _weight(**kwargs))


def conv2d(x: tf.Tensor, fmaps: int, kernel: int, **kwargs: Any) -> tf.Tensor:
    """Convolution without bias, [N, C, H, W] to [N, fmaps, H, W].

    Args:
        x: [N, C, H, W].
        fmaps: feature maps of the result.
        kernel: side of the kernel, odd.
        kwargs: see `get_weight`.
    """
    return to_images(layers.conv2d_layer(to_internal(x), fmaps, kernel, _weight(**kwargs)))


def upscale2d_conv2d(
    x: tf.Tensor, fmaps: int, kernel: int, fused_scale: bool | str = "auto", **kwargs: Any
) -> tf.Tensor:
    """`upscale2d`, then `conv2d`: [N, C, H, W] to [N, fmaps, 2H, 2W].

    Args:
        x: [N, C, H, W].
        fmaps, kernel, kwargs: see `conv2d`.
        fused_scale: whether the kernel is mirrored, as that of the official merged form is; `auto`:
            where the result has 128×128 pixels or more.

    Raises:
        UserError: unknown `fused_scale`.
    """
    fused = stylegan.is_fused(fused_scale, 2 * min(x.shape[2:].as_list()))
    x = stylegan.up_conv(to_internal(x), fmaps, kernel, _weight(**kwargs), fused)
    return to_images(x)


def conv2d_downscale2d(
    x: tf.Tensor, fmaps: int, kernel: int, fused_scale: bool | str = "auto", **kwargs: Any
) -> tf.Tensor:
    """`conv2d`, then `downscale2d`: [N, C, H, W] to [N, fmaps, H/2, W/2].

    Args:
        x: [N, C, H, W].
        fmaps, kernel, kwargs: see `conv2d`.
        fused_scale: makes no difference to the numbers.

    Raises:
        UserError: unknown `fused_scale`.
    """
    stylegan.is_fused(fused_scale, min(x.shape[2:].as_list()))
    weight, halving = _weight(**kwargs), layers.Resampling(up=False)
    return to_images(layers.conv2d_layer(to_internal(x), fmaps, kernel, weight, halving))


def apply_bias(x: tf.Tensor, lrmul: float = 1) -> tf.Tensor:
    """x + lrmul · bias, one per channel of [N, C, H, W] or [N, C]; it starts at zero."""
    return to_images(layers.apply_bias_act(to_internal(x), lrmul=lrmul))


def leaky_relu(x: tf.Tensor, alpha: float = 0.2) -> tf.Tensor:
    """x where it is positive, else alpha · x."""
    return fused_bias_act(x, act="lrelu", alpha=alpha, gain=1)


def pixel_norm(x: tf.Tensor, epsilon: float = 1e-8) -> tf.Tensor:
    """Scales the vector of every pixel, [N, C, H, W] or [N, C], to a mean square of one."""
    return normalization.normalize_2nd_moment(x, eps=epsilon)


def instance_norm(x: tf.Tensor, epsilon: float = 1e-8) -> tf.Tensor:
    """Every feature map of every sample of [N, C, H, W] with mean 0 and deviation 1."""
    return to_images(normalization.instance_norm(to_internal(x), epsilon))


def style_mod(x: tf.Tensor, dlatent: tf.Tensor, **kwargs: Any) -> tf.Tensor:
    """x · (scale + 1) + shift, both per channel, from an affine layer in the scope `StyleMod`.

    Args:
        x: [N, C, H, W], normalized.
        dlatent: disentangled latents w [N, dlatent_size].
        kwargs: `use_wscale` and `lrmul` of the layer, see `get_weight`; its gain is 1.
    """
    with tf.variable_scope("StyleMod"):
        weight = _weight(gain=1, **kwargs)
        return to_images(styles.style_mod_layer(to_internal(x), dlatent, weight))


def apply_noise(
    x: tf.Tensor, noise_var: tf.Tensor | None = None, randomize_noise: bool = True
) -> tf.Tensor:
    """Adds noise by a learned strength per channel, the variable `Noise/weight`, zero at first.

    Args:
        x: [N, C, H, W].
        noise_var: noise [1, 1, H, W] of all samples, or [N, 1, H, W].
        randomize_noise: fresh standard normal noise for every sample instead, as without
            `noise_var`.
    """
    x, randomize = to_internal(x), randomize_noise or noise_var is None
    with tf.variable_scope("Noise"):
        return to_images(styles.noise_layer(x, styles.noise_image(x, noise_var, randomize, None)))


def minibatch_stddev_layer(
    x: tf.Tensor, group_size: int = 4, num_new_features: int = 1
) -> tf.Tensor:
    """Appends the standard deviation within groups of samples as features (PGGAN, section 3).

    Args:
        x: [N, C, H, W]; N is at most `group_size`, or a multiple of it.
        group_size: samples in a group.
        num_new_features: features added, each the mean over its share of the channels.

    Returns:
        [N, C + num_new_features, H, W].
    """
    x = normalization.minibatch_stddev_layer(to_internal(x), group_size, num_new_features)
    return to_images(x)


def _weight(
    gain: float = stylegan.GAINS["lrelu"], use_wscale: bool = False, lrmul: float = 1
) -> Weight:
    return Weight(gain, use_wscale, lrmul)
