"""Dropout as strong as the discriminator overfits: `--cmethod=adropout` (ADA, section 4.1)."""

from __future__ import annotations

import itertools

import tensorflow.compat.v1 as tf

from tf_ops import layout
from training.random_streams import normal, stream


class GaussianDropout:
    """Multiplies features by N(1, σ²) (Srivastava et al. 2014, section 10).

    Every sample has a factor of its own for each feature map, not for each pixel: neighboring
    pixels say the same, and would make up for what one of them loses. σ = 1 is as strong as leaving
    out half of the maps. Nothing is left to scale when the network is used, with σ = 0.

    Args:
        deviation: σ, a number or a scalar tensor.
        seed: [2] int32 that fixes all numbers; None draws fresh ones at every run.
    """

    def __init__(self, deviation: float | tf.Tensor, seed: tf.Tensor | None):
        self._deviation = deviation
        self._seeds = (stream(seed, "noise", i) for i in itertools.count())

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """The features of one layer, [N, C] or activations; every call has numbers of its own."""
        axis = layout.channel_axis(layout.internal_format()) if x.shape.ndims == 4 else 1
        shape = [1] * x.shape.ndims
        shape[0], shape[axis] = tf.shape(x)[0], x.shape[axis].value
        factors = 1 + normal(shape, next(self._seeds)) * self._deviation
        return x * tf.cast(factors, x.dtype)
