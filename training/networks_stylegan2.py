"""The networks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), by their official names.

Every network here is a build function of `dnnlib.tflib.Network`: the parameters without default
are the network's inputs, the others its keyword arguments, in snapshots too. They are faces: the
keyword arguments and their defaults are the fields of `architecture.specs`, apart from what a face
says itself, and what is computed is in other modules of `architecture`. The layers below them are
faces too, for networks that people build themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from training.architecture import growing, layers, normalization, styles
from training.architecture.calls import Call, GeneratorCall, GrowingCall
from training.architecture.discriminator import score_by_class
from training.architecture.faces import build_function
from training.architecture.generator import map_and_synthesize
from training.architecture.layers import Weight, resampling_of, to_images, to_internal
from training.architecture.mapping import map_with_concatenated_labels
from training.architecture.specs import (
    ConcatMappingSpec,
    DiscriminatorSpec,
    GeneratorSpec,
    RevisedDiscriminatorSpec,
    RevisedSynthesisSpec,
    SynthesisSpec,
)
from training.architecture.stylegan2_growing import score_growing, synthesize_growing
from training.architecture.synthesis import synthesize

# What a snapshot or a keyword argument may name.
BUILD_FUNCTIONS: dict[str, Callable] = {}


@build_function(
    BUILD_FUNCTIONS, GeneratorSpec, GeneratorCall, synthesis_func="G_synthesis_stylegan2"
)
def G_main(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    spec: GeneratorSpec,
    call: GeneratorCall,
    **kwargs: Any,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Generator: mapping network, then synthesis network.

    Returns:
        images [N, num_channels, H, W], about [-1, 1]; with `return_dlatents` also
        dlatents [N, num_layers, dlatent_size].
    """
    table = BUILD_FUNCTIONS
    return map_and_synthesize(latents_in, labels_in, spec, call, kwargs, table, with_lod=True)


@build_function(BUILD_FUNCTIONS, ConcatMappingSpec, without="label_fmaps")
def G_mapping(
    latents_in: tf.Tensor, labels_in: tf.Tensor, spec: ConcatMappingSpec, **_kwargs: Any
) -> tf.Tensor:
    """Mapping network f: z → w (StyleGAN, section 2).

    Returns:
        dlatents [N, dlatent_size], or [N, dlatent_broadcast, dlatent_size].
    """
    return map_with_concatenated_labels(latents_in, labels_in, spec)


@build_function(
    BUILD_FUNCTIONS,
    SynthesisSpec,
    Call,
    without="fmap_const use_noise num_fp16_res conv_clamp is_training is_template_graph",
)
def G_synthesis_stylegan2(
    dlatents_in: tf.Tensor, spec: SynthesisSpec, call: Call, **_kwargs: Any
) -> tf.Tensor:
    """Synthesis network of StyleGAN2 (figures 2c and 7).

    Returns:
        images [N, num_channels, H, W].
    """
    return synthesize(dlatents_in, spec, call)


@build_function(
    BUILD_FUNCTIONS,
    RevisedSynthesisSpec,
    GrowingCall,
    without="fmap_const use_noise num_fp16_res conv_clamp architecture is_training",
)
def G_synthesis_stylegan_revised(
    dlatents_in: tf.Tensor, spec: RevisedSynthesisSpec, call: GrowingCall, **_kwargs: Any
) -> tf.Tensor:
    """Synthesis network that grows, with modulated convolutions (StyleGAN2, figure 2c).

    Returns:
        images [N, num_channels, H, W] at the level of detail that the variable `lod` holds.
    """
    return synthesize_growing(dlatents_in, spec, call)


@build_function(
    BUILD_FUNCTIONS,
    DiscriminatorSpec,
    Call,
    without="num_fp16_res conv_clamp freeze_layers random_seed",
)
def D_stylegan2(
    images_in: tf.Tensor, labels_in: tf.Tensor, spec: DiscriminatorSpec, _call: Call
) -> tf.Tensor:
    """Discriminator of StyleGAN2 (figure 7), with labels by projection onto one output a class.

    Returns:
        scores [N, 1], logits of being real.
    """
    return score_by_class(images_in, labels_in, spec)


@build_function(
    BUILD_FUNCTIONS,
    RevisedDiscriminatorSpec,
    Call,
    without="num_fp16_res conv_clamp freeze_layers architecture random_seed",
)
def D_stylegan(
    images_in: tf.Tensor, labels_in: tf.Tensor, spec: RevisedDiscriminatorSpec, call: Call
) -> tf.Tensor:
    """Discriminator that grows, with labels by projection onto one output a class.

    Args:
        images_in: [N, num_channels, H, W] in [-1, 1], pixels repeated where the level of detail in
            the variable `lod` is not 0.
        labels_in: [N, label_size].

    Returns:
        scores [N, 1], logits of being real.
    """
    return score_growing(images_in, labels_in, spec, call)


# Layers, for networks of one's own. They take and return activations [N, C, H, W] or vectors [N, C]
# float32, and create their variables in the current variable scope.


def get_weight(
    shape: Sequence[int],
    gain: float = 1,
    use_wscale: bool = True,
    lrmul: float = 1,
    weight_var: str = "weight",
) -> tf.Tensor:
    """Weight with a standard deviation of gain / sqrt(fan-in).

    Args:
        shape: [.., in, out] for dense layers, [kh, kw, in, out] for convolutions.
        gain: He gain.
        use_wscale: keep the variable at unit variance and scale it when used (PGGAN, section 4.1).
        lrmul: learning-rate multiplier: the variable is 1/lrmul as large and scaled by lrmul.
        weight_var: name of the variable.
    """
    return layers.get_weight(shape, Weight(gain, use_wscale, lrmul, weight_var))


def dense_layer(
    x: tf.Tensor,
    fmaps: int,
    gain: float = 1,
    use_wscale: bool = True,
    lrmul: float = 1,
    weight_var: str = "weight",
) -> tf.Tensor:
    """Fully connected layer without bias: [N, …] to [N, fmaps]. Its weight is that of `get_weight`.

    Images are flattened in the order C, H, W.
    """
    weight = Weight(gain, use_wscale, lrmul, weight_var)
    return layers.dense_layer(to_internal(x), fmaps, weight)


def conv2d_layer(
    x: tf.Tensor,
    fmaps: int,
    kernel: int,
    up: bool = False,
    down: bool = False,
    resample_kernel: Sequence[float] | None = None,
    gain: float = 1,
    use_wscale: bool = True,
    lrmul: float = 1,
    weight_var: str = "weight",
) -> tf.Tensor:
    """Convolution without bias. Its weight [kernel, kernel, C, fmaps] is that of `get_weight`.

    Args:
        x: [N, C, H, W].
        fmaps: feature maps of the result.
        kernel: side of the kernel, odd.
        up: upsample by 2 before it.
        down: downsample by 2 after it.
        resample_kernel: FIR filter of that; None for boxes.
        gain, use_wscale, lrmul, weight_var: see `get_weight`.

    Returns:
        [N, fmaps, H, W], twice or half as high and wide with `up` or `down`.

    Raises:
        UserError: `up` and `down` together.
    """
    weight = Weight(gain, use_wscale, lrmul, weight_var)
    resampling = resampling_of(up, down, resample_kernel)
    return to_images(layers.conv2d_layer(to_internal(x), fmaps, kernel, weight, resampling))


def apply_bias_act(
    x: tf.Tensor,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    lrmul: float = 1,
    bias_var: str = "bias",
) -> tf.Tensor:
    """Adds a bias per channel, and applies an activation: gain · act(x + lrmul · bias).

    Args:
        x: [N, C, H, W] or [N, C].
        act: `linear relu lrelu tanh sigmoid elu selu softplus swish`.
        alpha: slope of `lrelu` for negative values; None: 0.2.
        gain: None: the activation's own (√2 for relu, lrelu and swish, else 1).
        lrmul: learning-rate multiplier.
        bias_var: name of the variable, which starts at zero.
    """
    options = {"gain": gain, "lrmul": lrmul, "bias_var": bias_var, "alpha": alpha}
    return to_images(layers.apply_bias_act(to_internal(x), act, **options))


def naive_upsample_2d(x: tf.Tensor, factor: int = 2) -> tf.Tensor:
    """Repeats every pixel of [N, C, H, W] factor×factor times."""
    return to_images(growing.repeat_pixels(to_internal(x), factor))


def naive_downsample_2d(x: tf.Tensor, factor: int = 2) -> tf.Tensor:
    """Averages boxes of factor×factor pixels of [N, C, H, W]."""
    return to_images(growing.average_pixels(to_internal(x), factor))


def modulated_conv2d_layer(
    x: tf.Tensor,
    y: tf.Tensor,
    fmaps: int,
    kernel: int,
    up: bool = False,
    down: bool = False,
    demodulate: bool = True,
    resample_kernel: Sequence[float] | None = None,
    gain: float = 1,
    use_wscale: bool = True,
    lrmul: float = 1,
    fused_modconv: bool = True,
    weight_var: str = "weight",
    mod_weight_var: str = "mod_weight",
    mod_bias_var: str = "mod_bias",
) -> tf.Tensor:
    """Convolution whose kernel is scaled by a style, per sample (section 2.2, equations 1 and 3).

    Args:
        x: [N, C, H, W].
        y: disentangled latents w [N, dlatent_size]; an affine layer turns them into styles.
        fmaps, kernel, up, down, resample_kernel: see `conv2d_layer`.
        demodulate: scale outputs back to unit expected variance.
        gain, use_wscale, lrmul, weight_var: of the kernel, see `get_weight`.
        fused_modconv: makes no difference to the numbers.
        mod_weight_var, mod_bias_var: names of the variables of the affine layer.

    Returns:
        [N, fmaps, H, W], twice or half as high and wide with `up` or `down`.

    Raises:
        UserError: `up` and `down` together.
    """
    x, scale = styles.modulated_conv2d_layer(
        to_internal(x),
        y,
        fmaps,
        kernel,
        resampling_of(up, down, resample_kernel),
        demodulate,
        Weight(gain, use_wscale, lrmul, weight_var),
        Weight(name=mod_weight_var),
        mod_bias_var,
    )
    return to_images(styles.demodulated(x, scale))


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
