"""What the generators of all papers share: z → w → images, with what happens to w on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError, tflib
from training import random_streams
from training.architecture.calls import GeneratorCall
from training.architecture.specs import GeneratorSpec


def generator(
    build_functions: Mapping[str, Callable],
    with_lod: bool,
    prepare: Callable[[GeneratorCall], GeneratorCall] = lambda call: call,
) -> Callable:
    """The body of the generator of a module.

    Args:
        build_functions: those of its components by name: no other code is reached.
        with_lod: the generator has a variable `lod`, the level of detail of progressive growing
            (Progressive GAN, section 3): 0 for full resolution, 1 for half of it, …
        prepare: what truncation options mean in that module, as they mean in StyleGAN2.
    """

    def generate(
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

        Raises:
            UserError: a build function or a keyword argument is not known.
        """
        components = _with_components(spec, kwargs, build_functions)
        return _generate(latents_in, labels_in, components, prepare(call), kwargs, with_lod)

    return generate


def _generate(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    components: EasyDict,
    call: GeneratorCall,
    kwargs: Mapping[str, Any],
    with_lod: bool,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """z → w → images, with `kwargs` for both components."""
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


def track_w_average(dlatents: tf.Tensor, mean: tf.Variable, beta: float) -> tf.Tensor:
    """dlatents, of which using them moves their running mean: mean ← batch + (mean - batch)·beta.

    A minibatch that is not finite leaves the mean alone.

    Args:
        dlatents: [N, num_layers, dlatent_size]; the first layer's are averaged.
        mean: [dlatent_size].
        beta: decay.
    """
    batch = tf.reduce_mean(dlatents[:, 0], axis=0)
    moved = tflib.lerp(batch, mean, beta)
    with tf.control_dependencies([mean.assign(tf.where(tf.is_finite(moved), moved, mean))]):
        return tf.identity(dlatents)


def mix_styles(
    dlatents: tf.Tensor,
    other: tf.Tensor,
    probability: float,
    seed: tf.Tensor | None,
    lod: tf.Tensor | None = None,
) -> tf.Tensor:
    """Layers from a random one on take the other w, with a probability (StyleGAN, section 3.1).

    Args:
        dlatents, other: [N, num_layers, dlatent_size].
        probability: of mixing.
        seed: [2] int32 or None.
        lod: level of detail, if the networks grow: each whole level leaves two layers without
            effect on the images, and the cut is among the others.
    """
    num_layers = dlatents.shape[1].value
    active_layers = num_layers if lod is None else num_layers - 2 * tf.cast(lod, tf.int32)
    # One draw decides both whether and where: a cutoff of num_layers mixes nothing.
    chance = random_streams.uniform([], random_streams.stream(seed, "mixing_cutoff", 0))
    places = tf.maximum(active_layers - 1, 1)  # A single layer has nothing to mix with: keeps w.
    cutoff = random_streams.uniform(
        [], random_streams.stream(seed, "mixing_cutoff", 1), maxval=places, dtype=tf.int32
    )
    cutoff = tf.where(chance < probability, cutoff + 1, num_layers)
    keep = tf.range(num_layers)[np.newaxis, :, np.newaxis] < cutoff
    return tf.where(tf.broadcast_to(keep, tf.shape(dlatents)), dlatents, other)


def truncate(
    dlatents: tf.Tensor,
    mean: tf.Tensor,
    psi: float | tf.Tensor,
    cutoff: int | tf.Tensor | None,
) -> tf.Tensor:
    """w ← mean + (w - mean)·psi for the first `cutoff` layers, None for all (StyleGAN, appendix B).

    Args:
        dlatents: [N, num_layers, dlatent_size].
        mean: [dlatent_size].
    """
    num_layers = dlatents.shape[1].value
    layers = np.arange(num_layers, dtype=np.float32)[np.newaxis, :, np.newaxis]
    ones = tf.ones(layers.shape)
    cut = tf.less(layers, tf.cast(num_layers if cutoff is None else cutoff, tf.float32))
    truncated = tflib.lerp(mean, dlatents, tf.where(cut, ones * psi, ones))
    # 1 changes nothing, not the last bit either, like None.
    return tf.where_v2(tf.equal(psi, 1), dlatents, truncated) if tf.is_tensor(psi) else truncated


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
