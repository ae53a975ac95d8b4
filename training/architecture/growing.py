"""Networks that grow: the resolution follows the level of detail (PGGAN, section 2 and figure 2).

A level of detail `lod` of 0 means full resolution, 1 half of it, and so on; in between, two levels
are blended linearly. Images keep their full size at every level: coarse pixels are repeated.

There are three ways of building such a network, with the same numbers:

    fixed       full resolution only, whatever `lod` is
    linear      all levels are computed and blended; blending weights of 0 drop what is not needed
    recursive   only the levels that take part are computed, by nested conditionals
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from tf_ops import layout
from training.architecture.layers import to_images, to_internal
from training.architecture.normalization import minibatch_stddev_layer
from training.architecture.specs import (
    ImagesSpec,
    RevisedDiscriminatorSpec,
    StyleganDiscriminatorSpec,
)

STRUCTURES = ("auto", "fixed", "linear", "recursive")

# (activations or images, log2 of the resolution of the result or of the argument) -> activations.
Stage = Callable[[tf.Tensor, int], tf.Tensor]


def level_of_detail() -> tf.Tensor:
    """Value of the variable `lod` of the network that is being built."""
    lod = tf.get_variable("lod", shape=[], initializer=tf.initializers.zeros(), trainable=False)
    return tf.identity(lod)  # Read here, once: later reads would not stay behind `pass_on_lod`.


def level_of_detail_of(
    images_in: tf.Tensor,
    labels_in: tf.Tensor,
    spec: RevisedDiscriminatorSpec | StyleganDiscriminatorSpec,
) -> tf.Tensor:
    """`level_of_detail` of a discriminator, whose inputs get their shapes."""
    images_in.set_shape([None, spec.num_channels, *spec.size(spec.log2)])
    labels_in.set_shape([None, spec.label_size])
    return level_of_detail()


def select_structure(structure: str, clean_graph: bool) -> str:
    """`structure`, with `auto` resolved: `linear` for graphs to look at, else `recursive`.

    Raises:
        UserError: not one of `STRUCTURES`.
    """
    if structure not in STRUCTURES:
        raise UserError(f"structure {structure!r}: use one of {', '.join(STRUCTURES)}")
    if structure == "auto":
        return "linear" if clean_graph else "recursive"
    return structure


def grow_images(
    x: tf.Tensor, log2: int, lod: tf.Tensor, structure: str, block: Stage, torgb: Stage
) -> tf.Tensor:
    """Images of a generator that grows, from its activations at 4×4.

    Args:
        x: activations at 4×4.
        log2: the images have 2^log2 pixels.
        lod: scalar.
        structure: `fixed`, `linear` or `recursive`.
        block: (activations at 2^(res-1), res) → activations at 2^res.
        torgb: (activations at 2^res, res) → images at 2^res, in the layout of activations.
    """
    if structure == "fixed":
        for res in range(3, log2 + 1):
            x = block(x, res)
        return torgb(x, log2)
    if structure == "linear":
        images = torgb(x, 2)
        for res in range(3, log2 + 1):
            x = block(x, res)
            images = tflib.lerp_clip(torgb(x, res), repeat_pixels(images, 2), lod - (log2 - res))
        return images

    def images_from(x, res):
        """Images at full size for lod <= level + 1, or any lod where res is 2."""
        level = log2 - res

        def this():
            return repeat_pixels(torgb(x, res), 2**level)

        def next_level():
            y = block(x, res + 1)

            def blended():
                coarse = repeat_pixels(torgb(x, res), 2)
                images = tflib.lerp(torgb(y, res + 1), coarse, lod - (level - 1))
                return repeat_pixels(images, 2 ** (level - 1))

            return tf.cond(lod > level - 1, blended, lambda: images_from(y, res + 1))

        return tf.cond(lod < level, next_level, this) if level else this()

    return images_from(x, 2)


def images_out(
    x: tf.Tensor, spec: ImagesSpec, lod: tf.Tensor, structure: str, block: Stage, torgb: Stage
) -> tf.Tensor:
    """What `grow_images` makes, [N, C, H, W] as the output of a network.

    Variables of a block are in the scope of its resolution, those of `torgb` in one of its level.
    """
    block, torgb = _in_scopes(block, torgb, "ToRGB", spec.log2)
    images = to_images(grow_images(x, spec.log2, lod, structure, block, torgb))
    images.set_shape([None, spec.num_channels, *spec.size(spec.log2)])
    return tf.identity(images, name="images_out")


def shrink_images(
    images: tf.Tensor, log2: int, lod: tf.Tensor, structure: str, block: Stage, fromrgb: Stage
) -> tf.Tensor:
    """Activations at 4×4 of a discriminator that grows.

    Args:
        images: 2^log2 pixels, in the layout of activations.
        log2, lod, structure: as in `grow_images`.
        block: (activations at 2^res, res) → activations at 2^(res-1).
        fromrgb: (images at 2^res, res) → activations at 2^res.
    """
    if structure in ("fixed", "linear"):
        x = fromrgb(images, log2)
        for res in range(log2, 2, -1):
            x = block(x, res)
            if structure == "linear":
                images = average_pixels(images, 2)
                x = tflib.lerp_clip(x, fromrgb(images, res - 1), lod - (log2 - res))
        return x

    def activations_at(res):
        level = log2 - res

        def this():
            return fromrgb(average_pixels(images, 2**level), res)

        def from_finer():
            x = block(activations_at(res + 1), res + 1)
            return tf.cond(
                lod > level - 1, lambda: tflib.lerp(x, this(), lod - (level - 1)), lambda: x
            )

        return tf.cond(lod < level, from_finer, this) if level else this()

    return activations_at(2)


def activations_of(
    images_in: tf.Tensor,
    spec: RevisedDiscriminatorSpec | StyleganDiscriminatorSpec,
    lod: tf.Tensor,
    structure: str,
    block: Stage,
    fromrgb: Stage,
) -> tf.Tensor:
    """What `shrink_images` makes of a network's input [N, C, H, W], and the minibatch's deviation.

    Variables are in scopes as in `images_out`.
    """
    block, fromrgb = _in_scopes(block, fromrgb, "FromRGB", spec.log2)
    x = shrink_images(to_internal(images_in), spec.log2, lod, structure, block, fromrgb)
    if spec.mbstd_group_size > 1:
        x = minibatch_stddev_layer(x, spec.mbstd_group_size, spec.mbstd_num_features)
    return x


def _in_scopes(block: Stage, rgb: Stage, rgb_name: str, log2: int) -> tuple[Stage, Stage]:
    def block_in_scope(x, res):
        with tf.variable_scope(f"{2**res}x{2**res}"):
            return block(x, res)

    def rgb_in_scope(x, res):
        with tf.variable_scope(f"{rgb_name}_lod{log2 - res}"):
            return rgb(x, res)

    return block_in_scope, rgb_in_scope


def repeat_pixels(x: tf.Tensor, factor: int) -> tf.Tensor:
    """Upsamples activations, every pixel repeated factor×factor times."""
    if factor == 1:
        return x
    split, inner, shape = _pixel_boxes(x, 1, factor)
    x = tf.tile(tf.reshape(x, split), [factor if i in inner else 1 for i in range(6)])
    return tf.reshape(x, shape)


def average_pixels(x: tf.Tensor, factor: int) -> tf.Tensor:
    """Downsamples activations, boxes of factor×factor pixels averaged."""
    if factor == 1:
        return x
    split, inner, shape = _pixel_boxes(x, factor, 1)
    return tf.reshape(tf.reduce_mean(tf.reshape(x, split), axis=inner), shape)


def _pixel_boxes(x: tf.Tensor, size: int, new_size: int) -> tuple[list[int], list[int], list[int]]:
    """(shape with boxes of size×size apart, their axes in it, shape with new_size×new_size each)"""
    height, width = layout.spatial_axes(layout.internal_format())
    split = [-1, *x.shape.as_list()[1:]]
    shape = list(split)
    for axis in (width, height):
        split[axis] //= size
        shape[axis] = split[axis] * new_size
        split.insert(axis + 1, size)
    return split, [height + 1, width + 2], shape
