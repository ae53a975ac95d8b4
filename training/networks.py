"""The networks of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676), by their official names.

Faces as in `networks_stylegan2`, over the same bodies. What differs from StyleGAN2: labels are
embedded, activations can be clamped, the highest resolutions can be computed in float16.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from training.architecture import layers, normalization, styles
from training.architecture.calls import Call, DiscriminatorCall, GeneratorCall
from training.architecture.discriminator import score_by_projection
from training.architecture.faces import build_function
from training.architecture.generator import map_and_synthesize
from training.architecture.layers import Weight, resampling_of, to_images, to_internal
from training.architecture.mapping import map_with_embedded_labels
from training.architecture.specs import (
    AdaDiscriminatorSpec,
    GeneratorSpec,
    MappingSpec,
    SynthesisSpec,
)
from training.architecture.spectral_norm import spectral_normalize
from training.architecture.synthesis import synthesize

# What a snapshot or a keyword argument may name.
BUILD_FUNCTIONS: dict[str, Callable] = {}


@build_function(BUILD_FUNCTIONS, GeneratorSpec, GeneratorCall)
def G_main(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    spec: GeneratorSpec,
    call: GeneratorCall,
    **kwargs: Any,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Generator: mapping network, then synthesis network. It has no variable `lod`.

    Returns:
        images [N, num_channels, H, W], about [-1, 1]; with `return_dlatents` also
        dlatents [N, num_layers, dlatent_size].
    """
    table = BUILD_FUNCTIONS
    return map_and_synthesize(latents_in, labels_in, spec, call, kwargs, table, with_lod=False)


@build_function(BUILD_FUNCTIONS, MappingSpec)
def G_mapping(
    latents_in: tf.Tensor, labels_in: tf.Tensor, spec: MappingSpec, **_kwargs: Any
) -> tf.Tensor:
    """Mapping network f: [z, embedded label] → w (StyleGAN, section 2; ADA, appendix D).

    Returns:
        dlatents [N, dlatent_size], or [N, dlatent_broadcast, dlatent_size].
    """
    return map_with_embedded_labels(latents_in, labels_in, spec)


@build_function(
    BUILD_FUNCTIONS,
    SynthesisSpec,
    Call,
    without="is_training is_template_graph",
    fused_modconv=False,
)
def G_synthesis(
    dlatents_in: tf.Tensor, spec: SynthesisSpec, call: Call, **_kwargs: Any
) -> tf.Tensor:
    """Synthesis network (StyleGAN2, figure 7).

    Returns:
        images [N, num_channels, H, W].
    """
    return synthesize(dlatents_in, spec, call)


@build_function(BUILD_FUNCTIONS, AdaDiscriminatorSpec, DiscriminatorCall)
def D_main(
    images_in: tf.Tensor,
    labels_in: tf.Tensor,
    spec: AdaDiscriminatorSpec,
    call: DiscriminatorCall,
) -> tf.Tensor:
    """Discriminator with labels by projection (Miyato and Koyama 2018, equation 3).

    With labels, the score is ⟨f(x), m(c)⟩ / sqrt(mapping_fmaps), f being the output layer and m a
    mapping network of the discriminator's own: the embedded label, scaled to a mean square of one,
    then `mapping_layers` fully connected layers.

    Returns:
        scores [N, score_size], the first of them logits of being real.

    Raises:
        UserError: more scores than there are.
    """
    return score_by_projection(images_in, labels_in, spec, call)


# Layers, for networks of one's own. They take and return activations [N, C, H, W] or vectors [N, C]
# float32, and create their variables in the current variable scope.


def get_weight(
    shape: Sequence[int],
    gain: float = 1,
    equalized_lr: bool = True,
    lrmul: float = 1,
    weight_var: str = "weight",
    trainable: bool = True,
    use_spectral_norm: bool = False,
) -> tf.Tensor:
    """Weight with a standard deviation of gain / sqrt(fan-in).

    Args:
        shape: [.., in, out] for dense layers, [kh, kw, in, out] for convolutions.
        gain: He gain.
        equalized_lr: keep the variable at unit variance and scale it when used (PGGAN, section
            4.1).
        lrmul: learning-rate multiplier: the variable is 1/lrmul as large and scaled by lrmul.
        weight_var: name of the variable.
        trainable: whether optimizers change it.
        use_spectral_norm: apply `apply_spectral_norm`, with a variable named `<weight_var>_sn`.
    """
    weight = _weight(lrmul, weight_var, trainable, use_spectral_norm)
    weight = dataclasses.replace(weight, gain=gain, use_wscale=equalized_lr)
    return layers.get_weight(shape, weight)


def apply_bias_act(
    x: tf.Tensor,
    act: str = "linear",
    gain: float | None = None,
    lrmul: float = 1,
    clamp: float | None = None,
    bias_var: str = "bias",
    trainable: bool = True,
) -> tf.Tensor:
    """Adds a bias per channel, and applies an activation: clip(gain · act(x + lrmul · bias)).

    Args:
        x: [N, C, H, W] or [N, C].
        act: `linear relu lrelu tanh sigmoid elu selu softplus swish`.
        gain: None: the activation's own (√2 for relu, lrelu and swish, else 1).
        lrmul: learning-rate multiplier.
        clamp: limit of the absolute value, or None.
        bias_var: name of the variable, which starts at zero.
        trainable: whether optimizers change it.
    """
    x = to_internal(x)
    return to_images(layers.apply_bias_act(x, act, gain, lrmul, clamp, bias_var, trainable))


def dense_layer(
    x: tf.Tensor,
    fmaps: int,
    lrmul: float = 1,
    weight_var: str = "weight",
    trainable: bool = True,
    use_spectral_norm: bool = False,
) -> tf.Tensor:
    """Fully connected layer without bias: [N, …] to [N, fmaps]. Its weight is that of `get_weight`.

    Images are flattened in the order C, H, W.
    """
    weight = _weight(lrmul, weight_var, trainable, use_spectral_norm)
    return layers.dense_layer(to_internal(x), fmaps, weight)


def conv2d(
    x: tf.Tensor,
    w: tf.Tensor,
    up: bool = False,
    down: bool = False,
    resample_kernel: Sequence[float] | None = None,
    padding: int = 0,
) -> tf.Tensor:
    """Convolution with a given weight.

    Args:
        x: [N, C, H, W].
        w: [n, n, C, fmaps], n odd.
        up: upsample by 2 before it.
        down: downsample by 2 after it.
        resample_kernel: FIR filter of that; None for boxes.
        padding: pixels more on each side of the result, of zeros around `x`; negative for fewer.
            Without `up` or `down` it is 0, or -(n // 2) for pixels that need no zeros.

    Returns:
        [N, fmaps, H, W], twice or half as high and wide with `up` or `down`, plus the padding.

    Raises:
        UserError: `up` and `down` together, or a padding that there is not.
    """
    resampling = resampling_of(up, down, resample_kernel)
    return to_images(layers.resampled_conv(to_internal(x), w, resampling, padding))


def conv2d_layer(
    x: tf.Tensor,
    fmaps: int,
    kernel: int,
    up: bool = False,
    down: bool = False,
    resample_kernel: Sequence[float] | None = None,
    lrmul: float = 1,
    trainable: bool = True,
    use_spectral_norm: bool = False,
) -> tf.Tensor:
    """Convolution without bias. Its weight [kernel, kernel, C, fmaps] is that of `get_weight`.

    Args:
        x: [N, C, H, W].
        fmaps: feature maps of the result.
        kernel: side of the kernel, odd.
        up, down, resample_kernel: see `conv2d`.
        lrmul, trainable, use_spectral_norm: see `get_weight`.

    Returns:
        [N, fmaps, H, W], twice or half as high and wide with `up` or `down`.

    Raises:
        UserError: `up` and `down` together.
    """
    weight = _weight(lrmul, "weight", trainable, use_spectral_norm)
    resampling = resampling_of(up, down, resample_kernel)
    return to_images(layers.conv2d_layer(to_internal(x), fmaps, kernel, weight, resampling))


def modulated_conv2d_layer(
    x: tf.Tensor,
    y: tf.Tensor,
    fmaps: int,
    kernel: int,
    up: bool = False,
    down: bool = False,
    demodulate: bool = True,
    resample_kernel: Sequence[float] | None = None,
    lrmul: float = 1,
    fused_modconv: bool = False,
    trainable: bool = True,
    use_spectral_norm: bool = False,
) -> tf.Tensor:
    """Convolution whose kernel is scaled by a style, per sample (StyleGAN2, equations 1 and 3).

    Args:
        x: [N, C, H, W].
        y: disentangled latents w [N, dlatent_size]; an affine layer, with variables `mod_weight`
            and `mod_bias`, turns them into styles.
        fmaps, kernel, up, down, resample_kernel: see `conv2d_layer`.
        demodulate: scale outputs back to unit expected variance.
        lrmul: of the kernel, see `get_weight`.
        fused_modconv: makes no difference to the numbers.
        trainable, use_spectral_norm: of the kernel and of the affine layer, see `get_weight`.

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
        _weight(lrmul, "weight", trainable, use_spectral_norm),
        _weight(1, "mod_weight", trainable, use_spectral_norm),
    )
    return to_images(styles.demodulated(x, scale))


def normalize_2nd_moment(x: tf.Tensor, axis: int = 1, eps: float = 1e-8) -> tf.Tensor:
    """Scales vectors along an axis to a mean square of one."""
    return normalization.normalize_2nd_moment(x, axis, eps)


def minibatch_stddev_layer(
    x: tf.Tensor, group_size: int | None = None, num_new_features: int = 1
) -> tf.Tensor:
    """Appends the standard deviation within groups of samples as features (PGGAN, section 3).

    Args:
        x: [N, C, H, W]; N is at most `group_size`, or a multiple of it.
        group_size: samples in a group; None: all samples are one group.
        num_new_features: features added, each the mean over its share of the channels.

    Returns:
        [N, C + num_new_features, H, W].
    """
    x = normalization.minibatch_stddev_layer(to_internal(x), group_size, num_new_features)
    return to_images(x)


def apply_spectral_norm(
    w: tf.Tensor, state_var: str = "sn", iterations: int = 1, eps: float = 1e-8
) -> tf.Tensor:
    """w / σ, its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    Power iteration finds σ. It starts from a variable that is not trained, and that every use of
    the result moves on.

    Args:
        w: [.., inputs, outputs].
        state_var: name of the variable [1, outputs].
        iterations: at every use.
        eps: the least σ.
    """
    return spectral_normalize(w, state_var, iterations, eps, updates=True)


def _weight(lrmul: float, name: str, trainable: bool, use_spectral_norm: bool) -> Weight:
    normalize = None
    if use_spectral_norm:
        normalize = functools.partial(apply_spectral_norm, state_var=f"{name}_sn")
    return Weight(lrmul=lrmul, name=name, trainable=trainable, normalize=normalize)
