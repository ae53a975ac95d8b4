"""Adaptive augmentation: the discriminator sees augmented images, and p follows its overfitting."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from training.augment import augment_pipeline
from training.augment_presets import AugmentOptions, augment_preset
from training.random_streams import stream

# Deviation: the official code bounds p only below. Augmentations leak into the generated images at
# high p: below 0.8 they do not in practice (ADA, section 2.2).
MAX_STRENGTH = 0.8


class AugmentedDiscriminator:
    """A discriminator behind the augmentation pipeline, for loss functions.

    Args:
        D: the discriminator.
        strength: p, a scalar tensor.
        multipliers: keyword arguments of `augment_pipeline`.
        seed: [2] int32; every use of the discriminator has random numbers of its own.
    """

    def __init__(
        self, D: Network, strength: tf.Tensor, multipliers: dict[str, Any], seed: tf.Tensor
    ):
        self._D, self._strength, self._multipliers = D, strength, multipliers
        self._seeds = (stream(seed, "augment", i) for i in itertools.count())

    def get_output_for(self, images: tf.Tensor, labels: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Scores of augmented images."""
        images, labels = augment_pipeline(
            images, labels, self._strength, **self._multipliers, seed=next(self._seeds)
        )
        return self._D.get_output_for(images, labels, **kwargs)


class AdaptiveAugment:
    """Strength p of the augmentation as a variable, and the heuristic that moves it.

    r_t is the mean sign of the discriminator's scores of augmented reals (ADA, equation 1): the
    higher it is, the more the discriminator overfits. Every `interval` minibatches p moves by a
    fixed step towards r_t = target, at a speed of 0 to 1 in `kimg` thousand images (section 3.1).

    Args:
        options: of the run.

    Attributes:
        strength: p, a scalar variable.
    """

    def __init__(self, options: AugmentOptions):
        if options.mode not in ("noaug", "fixed", "ada"):
            raise UserError(f"--aug={options.mode}: use noaug, fixed or ada")
        self._options = options
        self._multipliers = augment_preset(options.preset)
        with tf.name_scope(None), tf.control_dependencies(None):
            start = options.p if options.mode == "fixed" else 0.0
            self.strength = tf.Variable(start, trainable=False, name="augment_p")
            # Sum and number of the means of signs since p was moved last.
            self._signs = tf.Variable([0.0, 0.0], trainable=False, name="augment_signs")

    @property
    def is_on(self) -> bool:
        """Whether the discriminator sees augmented images."""
        return self._options.mode != "noaug"

    def wrap(self, D: Network, seed: tf.Tensor) -> Network | AugmentedDiscriminator:
        """The discriminator as losses use it."""
        if not self.is_on:
            return D
        return AugmentedDiscriminator(D, self.strength, self._multipliers, seed)

    def collect(self, signs: list[tf.Tensor]) -> tf.Operation:
        """An op that takes in r_t of a minibatch, from the replicas' mean signs."""
        if self._options.mode != "ada" or not signs:
            return tf.no_op()
        update = tf.stack([tf.add_n(signs), float(len(signs))])
        return self._signs.assign_add(update, read_value=False)

    def build_move(self, minibatch_size: tf.Tensor) -> tf.Operation | None:
        """An op that moves p and starts to collect anew; None if p stays.

        Args:
            minibatch_size: images a step.
        """
        options = self._options
        if options.mode != "ada":
            return None
        signs = self._signs.read_value()
        mean = signs[0] / tf.maximum(signs[1], 1.0)
        # Scores that are not finite, as in a step that the optimizer skips, leave p alone.
        direction = tf.sign(mean - options.target)
        direction = tf.where(tf.is_finite(mean), direction, tf.zeros_like(direction))
        step = tf.cast(minibatch_size * options.interval, tf.float32) / (options.kimg * 1000)
        moved = self.strength.read_value() + direction * step
        with tf.control_dependencies([signs, moved]):
            return tf.group(
                self.strength.assign(tf.clip_by_value(moved, 0.0, MAX_STRENGTH), read_value=False),
                self._signs.assign([0.0, 0.0], read_value=False),
            )

    def moves_at(self, minibatch: int) -> bool:
        """Whether p moves after this minibatch."""
        return self._options.mode == "ada" and (minibatch + 1) % self._options.interval == 0
