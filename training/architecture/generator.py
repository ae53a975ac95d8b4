"""What the generators of all papers share: z → w → images, with what happens to w on the way.

The official build functions (`G_main` of StyleGAN2 and of ADA, `G_style`) are faces of `generate`:
they differ in their parameters, in their defaults, and in whether they grow progressively.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError, tflib
from training import random_streams
from training.architecture.layers import dense_stack, reject_unknown
from training.architecture.styles import mix_styles, stream, track_w_average, truncate


def add_components(
    components: EasyDict | None,
    build_functions: Mapping[str, Callable],
    main_func: Callable,
    mapping_func: str,
    synthesis_func: str,
    kwargs: Mapping[str, Any],
) -> EasyDict:
    """The networks `mapping` and `synthesis` of a generator, made here where they are missing.

    Args:
        components: {name: Network} that there are, or None; this mapping is filled.
        build_functions: build functions by name: no other code is reached.
        main_func: build function of the generator, whose parameters `kwargs` may name too.
        mapping_func, synthesis_func: names in `build_functions`.
        kwargs: static keyword arguments of both networks.

    Raises:
        UserError: a name that is not in the table; a keyword argument that no function has.
    """
    components = EasyDict() if components is None else components
    for name in (mapping_func, synthesis_func):
        if name not in build_functions:
            raise UserError(f"no build function {name!r}: use one of {', '.join(build_functions)}")
    mapping, synthesis = build_functions[mapping_func], build_functions[synthesis_func]
    reject_unknown(kwargs, (main_func, mapping, synthesis))
    if "synthesis" not in components:
        components.synthesis = tflib.Network("G_synthesis", func_name=synthesis, **kwargs)
    if "mapping" not in components:
        num_layers = components.synthesis.input_shape[1]
        components.mapping = tflib.Network(
            "G_mapping", func_name=mapping, dlatent_broadcast=num_layers, **kwargs
        )
    return components


def generate(
    latents_in: tf.Tensor,
    labels_in: tf.Tensor,
    components: EasyDict,
    kwargs: Mapping[str, Any],
    *,
    truncation_psi: float | tf.Tensor | None,
    truncation_cutoff: int | tf.Tensor | None,
    truncation_psi_val: float | tf.Tensor | None,
    truncation_cutoff_val: int | tf.Tensor | None,
    dlatent_avg_beta: float | tf.Tensor | None,
    style_mixing_prob: float | tf.Tensor | None,
    is_training: bool,
    is_validation: bool,
    return_dlatents: bool,
    random_seed: tf.Tensor | None,
    with_lod: bool,
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Body of every generator's build function, which documents the arguments of the same names.

    Args:
        latents_in: z [N, latent_size], standard normal.
        labels_in: [N, label_size].
        components: networks `mapping` and `synthesis`, see `add_components`.
        kwargs: dynamic keyword arguments for both components.
        with_lod: the generator has a variable `lod`, the level of detail of progressive growing
            (Progressive GAN, section 3): 0 for full resolution, 1 for half of it, …

    Returns:
        images [N, C, H, W]; with `return_dlatents` also dlatents [N, num_layers, dlatent_size].
    """
    lod = _state_variable("lod", []) if with_lod else None
    dlatent_avg = _state_variable("dlatent_avg", [components.synthesis.input_shape[2]])
    dynamic = {"is_training": is_training, **kwargs}

    dlatents = components.mapping.get_output_for(latents_in, labels_in, **dynamic)
    if is_training:
        if dlatent_avg_beta is not None:
            dlatents = track_w_average(dlatents, dlatent_avg, dlatent_avg_beta)
        if _differs(style_mixing_prob, 0):
            z = random_streams.normal(tf.shape(latents_in), stream(random_seed, "mixing_latents"))
            other = components.mapping.get_output_for(z, labels_in, **dynamic)
            dlatents = mix_styles(dlatents, other, style_mixing_prob, random_seed, lod)
    else:
        psi, cutoff = truncation_psi, truncation_cutoff
        if is_validation:
            psi, cutoff = truncation_psi_val, truncation_cutoff_val
        if _differs(psi, 1):
            dlatents = truncate(dlatents, dlatent_avg, psi, cutoff)

    # A synthesis network that grows has a variable of its own, which follows the generator's.
    follow = []
    if lod is not None and "lod" in components.synthesis.vars:
        follow.append(components.synthesis.vars["lod"].assign(lod))
    with tf.control_dependencies(follow):
        images = components.synthesis.get_output_for(
            dlatents, random_seed=stream(random_seed, "noise"), **dynamic
        )
        images = tf.identity(images, name="images_out")
    return (images, dlatents) if return_dlatents else images


def map_latents(
    x: tf.Tensor,
    *,
    dlatent_size: int,
    dlatent_broadcast: int | None,
    mapping_layers: int,
    mapping_fmaps: int,
    mapping_lrmul: float,
    mapping_nonlinearity: str,
) -> tf.Tensor:
    """Body of the official mapping networks, which document the arguments of the same names.

    Args:
        x: latents [N, …], with what has become of the labels.

    Returns:
        dlatents [N, dlatent_size], or [N, dlatent_broadcast, dlatent_size].
    """
    widths = [mapping_fmaps] * (mapping_layers - 1) + [dlatent_size] * min(mapping_layers, 1)
    x = dense_stack(x, widths, mapping_nonlinearity, mapping_lrmul)
    if dlatent_broadcast is not None:
        x = tf.tile(x[:, tf.newaxis], [1, dlatent_broadcast, 1])
    return tf.identity(x, name="dlatents_out")


def _differs(value: float | tf.Tensor | None, neutral: float) -> bool:
    """Whether an option may have an effect: not None, and if a number, not the neutral one."""
    return value is not None and (tflib.is_tf_expression(value) or value != neutral)


def _state_variable(name: str, shape: list[int]) -> tf.Variable:
    """A variable that no optimizer changes."""
    zeros = tf.initializers.zeros()
    return tf.get_variable(name, shape=shape, initializer=zeros, trainable=False)
