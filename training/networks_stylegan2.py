"""The networks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), by their official names.

Every function here is a build function of `dnnlib.tflib.Network`: the parameters without default
are the network's inputs, the others its keyword arguments, in snapshots too. They are faces: the
keyword arguments and their defaults are the fields of `architecture.specs`, apart from what a face
says itself, and what is computed is in other modules of `architecture`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from training.architecture.calls import Call, GeneratorCall, GrowingCall
from training.architecture.discriminator import score_by_class
from training.architecture.faces import build_function
from training.architecture.generator import map_and_synthesize
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
