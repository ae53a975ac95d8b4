"""The strength p of adaptive augmentation as a strength of what the discriminator does itself."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network
from training.random_streams import stream


class StrengthenedDiscriminator:
    """A discriminator that makes its own task harder, for loss functions; augments no images.

    Args:
        D: the discriminator, with `use_pagan` or `adaptive_dropout`.
        strength: p, a scalar tensor.
        seed: [2] int32; every use of the discriminator has random numbers of its own.
    """

    def __init__(self, D: Network, strength: tf.Tensor, seed: tf.Tensor):
        self._D, self._strength = D, strength
        self._seeds = (stream(seed, "augment", i) for i in itertools.count())

    def get_output_for(self, images: tf.Tensor, labels: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Scores of images."""
        kwargs |= {"augment_strength": self._strength, "random_seed": next(self._seeds)}
        return self._D.get_output_for(images, labels, **kwargs)
