"""What the generators of all papers share: z → w → images, with what happens to w on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError, tflib
from training import random_streams
from training.architecture.calls import GeneratorCall
from training.architecture.specs import GeneratorSpec
from training.architecture.styles import mix_styles, track_w_average, truncate


def map_and_synthesize(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    spec: GeneratorSpec,
    call: GeneratorCall,
    kwargs: Mapping[str, Any],
    build_functions: Mapping[str, Callable],
    with_lod: bool,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Body of every generator: the mapping network, then the synthesis network.

    Args:
        latents_in: z [N, latent_size], standard normal.
        labels_in: [N, label_size].
        spec: of which networks it consists.
        call: what is wanted of it this time.
        kwargs: keyword arguments for both components.
        build_functions: build functions of components by name: no other code is reached.
        with_lod: the generator has a variable `lod`, the level of detail of progressive growing
            (Progressive GAN, section 3): 0 for full resolution, 1 for half of it, …

    Returns:
        images [N, C, H, W]; with `return_dlatents` also dlatents [N, num_layers, dlatent_size].

    Raises:
        UserError: a build function or a keyword argument is not known.
    """
    components = _with_components(spec, kwargs, build_functions)
    mapping, synthesis = components.mapping, components.synthesis
    lod = _state_variable("lod", []) if with_lod else None
    dlatent_avg = _state_variable("dlatent_avg", [synthesis.input_shape[2]])
    kwargs = {"is_training": call.is_training, **kwargs}

    dlatents = mapping.get_output_for(latents_in, labels_in, **kwargs)
    if call.is_training:
        if call.dlatent_avg_beta is not None:
            dlatents = track_w_average(dlatents, dlatent_avg, call.dlatent_avg_beta)
        if _differs(call.style_mixing_prob, 0):
            shape = tf.shape(latents_in)
            seed = random_streams.stream(call.random_seed, "mixing_latents")
            z = random_streams.normal(shape, seed)
            other = mapping.get_output_for(z, labels_in, **kwargs)
            dlatents = mix_styles(dlatents, other, call.style_mixing_prob, call.random_seed, lod)
    else:
        psi, cutoff = call.truncation_psi, call.truncation_cutoff
        if call.is_validation:
            psi, cutoff = call.truncation_psi_val, call.truncation_cutoff_val
        if _differs(psi, 1):
            dlatents = truncate(dlatents, dlatent_avg, psi, cutoff)

    # A synthesis network that grows has a variable of its own, which follows the generator's.
    follow = []
    if lod is not None and "lod" in synthesis.vars:
        kwargs = {"force_clean_graph": call.is_template_graph, **kwargs}
        follow.append(synthesis.vars["lod"].assign(lod))
    with tf.control_dependencies(follow):
        seed = random_streams.stream(call.random_seed, "noise")
        images = synthesis.get_output_for(dlatents, random_seed=seed, **kwargs)
        images = tf.identity(images, name="images_out")
    return (images, dlatents) if call.return_dlatents else images


def _with_components(
    spec: GeneratorSpec, kwargs: Mapping[str, Any], build_functions: Mapping[str, Callable]
) -> EasyDict:
    """The networks `mapping` and `synthesis`: made and added to the components where missing."""
    components = EasyDict() if spec.components is None else spec.components
    for name in (spec.mapping_func, spec.synthesis_func):
        if name not in build_functions:
            raise UserError(f"no build function {name!r}: use one of {', '.join(build_functions)}")
    if "synthesis" not in components:
        function = build_functions[spec.synthesis_func]
        components.synthesis = tflib.Network("G_synthesis", func_name=function, **kwargs)
    if "mapping" not in components:
        function = build_functions[spec.mapping_func]
        num_layers = components.synthesis.input_shape[1]
        components.mapping = tflib.Network(
            "G_mapping", func_name=function, dlatent_broadcast=num_layers, **kwargs
        )
    return components


def _differs(value: float | tf.Tensor | None, neutral: float) -> bool:
    """Whether an option may have an effect: not None, and if a number, not the neutral one."""
    return value is not None and (tflib.is_tf_expression(value) or value != neutral)


def _state_variable(name: str, shape: list[int]) -> tf.Variable:
    """A variable that no optimizer changes."""
    zeros = tf.initializers.zeros()
    return tf.get_variable(name, shape=shape, initializer=zeros, trainable=False)
