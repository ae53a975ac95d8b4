"""The networks of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676), by their official names.

Faces as in `networks_stylegan2`, over the same bodies. What differs from StyleGAN2: labels are
embedded, activations can be clamped, the highest resolutions can be computed in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from training.architecture.calls import Call, DiscriminatorCall, GeneratorCall
from training.architecture.discriminator import score_by_projection
from training.architecture.faces import build_function
from training.architecture.generator import map_and_synthesize
from training.architecture.mapping import map_with_embedded_labels
from training.architecture.specs import (
    AdaDiscriminatorSpec,
    GeneratorSpec,
    MappingSpec,
    SynthesisSpec,
)
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
