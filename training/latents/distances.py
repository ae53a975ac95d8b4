"""How far apart two pictures are, from the pictures and the networks of a snapshot alone.

A distance takes images and targets, float32 [N, C, h, w] of 0 to 255, at most `MAX_SIDE` pixels
high and wide, and gives [N]. LPIPS, the distance of the StyleGAN2 paper, is one too: it comes from
`metrics`, and is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from tf_ops import layout
from training.architecture.discriminator import BLOCK_OUTPUT

Distance = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# Images are averaged down to this before they are compared (StyleGAN2, appendix D).
MAX_SIDE = 256
# Boxes of pixels whose means `pixel_distance` compares.
_BOXES = (1, 2, 4)
_GROWING = ("D_stylegan", "D_basic")
_MINIBATCH = 32
_TINY = 1e-20  # Keeps the slope of a square root finite.


def box_means(images: tf.Tensor, side: int) -> tf.Tensor:
    """Images [N, C, H, W] with boxes of side×side pixels averaged; `side` divides H and W."""
    if side == 1:
        return images
    channels, height, width = images.shape[1:].as_list()
    boxes = [-1, channels, height // side, side, width // side, side]
    return tf.reduce_mean(tf.reshape(images, boxes), axis=[3, 5])


def shrink(images: tf.Tensor, max_side: int | None = MAX_SIDE) -> tf.Tensor:
    """Images whose height and width are at most `max_side`, boxes averaged; None: as they are."""
    factor = 1
    while max_side is not None and max(images.shape[2:].as_list()) > factor * max_side:
        factor *= 2
    return box_means(images, factor)


def pixel_distance(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean squared differences of boxes of 1×1, 2×2 and 4×4 pixels, added up, [N].

    In units of half the range of values. Blurry pictures come out best: for want of anything else.
    """
    difference = (images - targets) * (1 / 127.5)
    total = 0.0
    for side in _BOXES:
        total += tf.reduce_mean(tf.square(box_means(difference, side)), axis=[1, 2, 3])
    return total


class DiscriminatorDistance:
    """Distance of a discriminator's features: as LPIPS, with a network that knows the domain.

    The activations of every block before 4×4 are scaled to unit length in each pixel; the distance
    is the mean over blocks and pixels of the squared difference of these vectors, 0 to 4.

    Args:
        D: a discriminator.

    Attributes:
        max_side: None: it takes images of its own size only.

    Raises:
        UserError: D is none, or too small to have such blocks.
    """

    max_side = None

    def __init__(self, D: Network):
        if not D.build_func_name.startswith("D_"):
            raise UserError(f"{D.build_func_name} is no discriminator")
        if min(D.input_shape[2:]) < 8:
            raise UserError("a discriminator of less than 8x8 pixels has no features to compare")
        self._D = D

    def __call__(self, images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Adds the network to the graph: distances [N]."""
        if images.shape[1:].as_list() != self._D.input_shape[1:]:
            raise UserError(
                f"the discriminator takes images of {self._D.input_shape[1:]}, the generator makes "
                f"{images.shape[1:].as_list()}: use another --distance"
            )
        axis = layout.channel_axis(layout.internal_format())
        pairs = tf.concat([images, targets], axis=0) * (1 / 127.5) - 1
        features = self._features(pairs)
        total = 0.0
        for x in features:
            energy = tf.reduce_sum(tf.square(x), axis=axis, keepdims=True)
            first, second = tf.split(x * tf.math.rsqrt(tf.maximum(energy, _TINY)), 2, axis=0)
            squared = tf.reduce_sum(tf.square(first - second), axis=axis)  # [N, h, w]
            total += tf.reduce_mean(squared, axis=[1, 2]) * (1 / len(features))
        return total

    def _features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Activations after every block, in the layout of activations."""
        return block_activations(self._D, images)


def block_activations(D: Network, images: tf.Tensor) -> list[tf.Tensor]:
    """Adds a discriminator to the graph: the activations after every block, float32.

    Args:
        D: a discriminator.
        images: [N, C, H, W] of -1 to 1, of its size.

    Returns:
        A tensor for each block before 4×4, in the layout of activations.
    """
    kwargs = dict[str, Any]()
    if "num_fp16_res" in D.static_kwargs:
        kwargs["num_fp16_res"] = 0  # Slopes are small.
    if D.build_func_name in _GROWING:
        kwargs["structure"] = "fixed"  # Else blocks are in branches.
    with tf.name_scope("Features") as scope:
        # A number of images that is known would have to suit the groups of their deviation.
        images = tf.placeholder_with_default(images, D.input_shape)
        D.get_output_for(images, *[None] * (D.num_inputs - 1), **kwargs)
    pattern = re.compile(rf"{re.escape(scope)}[^/]+/(\d+)x\1/{BLOCK_OUTPUT}")
    operations = images.graph.get_operations()
    return [tf.cast(o.outputs[0], tf.float32) for o in operations if pattern.fullmatch(o.name)]


class OfImages:
    """A function of a discriminator's activations, for arrays.

    Args:
        D: a discriminator; None raises the error.
        why: what needs it, for the error.

    Raises:
        UserError: there is no discriminator, or one without blocks before 4×4.
    """

    def __init__(self, D: Network | None, why: str):
        if D is None:
            raise UserError(
                f"{why}: the snapshot holds no discriminator, whose features this needs"
            )
        if min(D.input_shape[2:]) < 8:
            raise UserError(f"{why}: a discriminator of less than 8x8 pixels has no features")
        self._D = D
        with D.as_default(), tf.name_scope("OfImages"):
            self._images = tf.placeholder(tf.uint8, D.input_shape)
            self._output = self._build(D, tf.cast(self._images, tf.float32) / 127.5 - 1)

    def _build(self, D: Network, images: tf.Tensor) -> tf.Tensor:
        """Adds the function to the graph: [N, F] of images float32 of -1 to 1."""
        raise NotImplementedError

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, F] of images, uint8 [N, C, H, W]."""
        parts = []
        with self._D.as_default() as session:
            for begin in range(0, len(images), _MINIBATCH):
                feed = {self._images: images[begin : begin + _MINIBATCH]}
                parts.append(session.run(self._output, feed))
        return np.concatenate(parts)
