"""The networks of StyleGAN (Karras et al. 2018, arXiv:1812.04948), by their official names.

Configuration A of StyleGAN2. Faces as in `networks_stylegan2`, over bodies in
`architecture.stylegan`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from training.architecture.calls import Call, GeneratorCall, GrowingCall
from training.architecture.faces import build_function
from training.architecture.generator import map_and_synthesize
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
