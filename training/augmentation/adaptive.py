"""Adaptive augmentation: the discriminator sees augmented images, and p follows its overfitting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from dnnlib.tflib.autosummary import autosummary
from dnnlib.tflib.workers import ALONE, Alone
from training.augmentation.pipeline import augment
from training.augmentation.presets import MAX_STRENGTH, TARGETS, AugmentOptions, augment_preset
from training.augmentation.spec import AugmentSpec
from training.random_streams import stream

# Mean scores of reals and of fakes that are closer than this say nothing: r_v divides by what is
# between them.
_MIN_GAP = 1e-3
# Added to the number of minibatches when one has scores that are not finite: too few to tell.
_UNKNOWN = -1e9


class AdaptiveAugment:
    """Strength p of the augmentation as a variable, and the heuristic that moves it.

    Two heuristics tell overfitting, from scores of augmented images (ADA, equation 1):

        ada    r_t = E[sign(D_train)]
        adarv  r_v = (E[D_train] - E[D_validation]) / (E[D_train] - E[D_generated])

    Both are 0 where there is none, and 1 where it is complete. The means are over `interval`
    minibatches, after which p moves by a fixed step towards r = target, at a speed of 0 to 1 in
    `kimg` thousand images (section 3.1).

    Args:
        options: of the run.
        augments_images: False: p is the strength of what the discriminator does itself, see
            `StrengthenedDiscriminator`. Nothing can leak into the images then, and p may reach 1.
        workers: that move p together.

    Attributes:
        strength: p, a scalar variable.
    """

    def __init__(
        self, options: AugmentOptions, augments_images: bool = True, workers: Alone = ALONE
    ):
        if options.mode not in ("noaug", "fixed", *TARGETS):
            raise UserError(f"--aug={options.mode}: use noaug, fixed, ada or adarv")
        self._options, self._augments_images = options, augments_images
        self._workers = workers
        self._max_strength = MAX_STRENGTH if augments_images else 1.0
        self._spec = augment_preset(options.preset)
        with tf.name_scope(None), tf.control_dependencies(None):
            start = options.p if options.mode == "fixed" else 0.0
            self.strength = tf.Variable(start, trainable=False, name="augment_p")
            # Since p was moved last: sum and number of the means of signs; or the sums of the mean
            # scores of train, validation, generated, and the number of each. Always finite.
            size, name = (4, "augment_scores") if self.needs_validation else (2, "augment_signs")
            self._sums = tf.Variable([0.0] * size, trainable=False, name=name)

    @property
    def needs_validation(self) -> bool:
        """Whether p depends on the scores of held-out images."""
        return self._options.mode == "adarv"

    def wrap(self, D: Network, seed: tf.Tensor) -> Discriminator:
        """The discriminator as losses use it."""
        if not self._augments_images:
            return StrengthenedDiscriminator(D, self.strength, seed)
        if self._options.mode == "noaug":
            return D
        return AugmentedDiscriminator(D, self.strength, self._spec, seed)

    def collect(self, signs: Sequence[tf.Tensor], scores: Sequence[tf.Tensor]) -> tf.Operation:
        """An op that takes in what a minibatch tells.

        Args:
            signs: mean sign of the scores of reals, of each replica.
            scores: [2], mean scores of reals and of fakes, of each replica.
        """
        if self._options.mode == "ada":
            update = tf.stack([tf.add_n(signs), float(len(signs))])
        elif self.needs_validation:
            real, fake = tf.unstack(tf.add_n(scores))
            update = tf.stack([real, 0.0, fake, float(len(scores))])
        else:
            return tf.group(*signs)
        with tf.control_dependencies(signs):  # Signs are reported in every mode.
            return self._add(update)

    def collect_validation(self, scores: Sequence[tf.Tensor]) -> tf.Operation:
        """An op that takes in the replicas' mean scores of held-out images of a minibatch."""
        if not self.needs_validation:  # Held-out images are only reported.
            return tf.group(*scores)
        return self._add(tf.stack([0.0, tf.add_n(scores), 0.0, 0.0]))

    def _add(self, update: tf.Tensor) -> tf.Operation:
        update = self._workers.sum(update)
        nothing = tf.one_hot(update.shape[0].value - 1, update.shape[0].value, _UNKNOWN, 0.0)
        is_finite = tf.reduce_all(tf.is_finite(update))
        return self._sums.assign_add(tf.where(is_finite, update, nothing), read_value=False)

    def build_move(self, minibatch_size: tf.Tensor) -> tf.Operation | None:
        """An op that moves p and starts to collect anew; None if p stays.

        Args:
            minibatch_size: images a step.
        """
        options = self._options
        if options.mode not in TARGETS:
            return None
        sums = self._sums.read_value()
        r = self._r_v(sums) if self.needs_validation else sums[0] / tf.maximum(sums[1], 1.0)
        # Scores that are not finite, as in a step that the optimizer skips, leave p alone.
        is_known = tf.is_finite(r) & (sums[-1] >= 0)
        direction = tf.sign(r - options.target)
        direction = tf.where(is_known, direction, tf.zeros_like(direction))
        step = tf.cast(minibatch_size * options.interval, tf.float32) / (options.kimg * 1000)
        moved = self.strength.read_value() + direction * step
        with tf.control_dependencies([sums, moved]):
            return tf.group(
                self.strength.assign(
                    tf.clip_by_value(moved, 0.0, self._max_strength), read_value=False
                ),
                self._sums.assign(tf.zeros_like(sums), read_value=False),
            )

    def _r_v(self, sums: tf.Tensor) -> tf.Tensor:
        """r_v, NaN where it cannot be told."""
        train, validation, generated = tf.unstack(sums[:3] / tf.maximum(sums[3], 1.0))
        gap = train - generated
        is_known = (sums[3] > 0) & (tf.abs(gap) > _MIN_GAP)
        r = tf.where(is_known, (train - validation) / gap, np.nan)
        known = tf.boolean_mask([r], [is_known])
        with tf.control_dependencies([autosummary("r_v", known, condition=self._workers.once())]):
            return tf.identity(r)

    def moves_at(self, minibatch: int) -> bool:
        """Whether p moves after this minibatch."""
        return self._options.mode in TARGETS and (minibatch + 1) % self._options.interval == 0


class AugmentedDiscriminator:
    """A discriminator behind the augmentation pipeline, for losses.

    Args:
        D: the discriminator.
        strength: p, a scalar tensor.
        spec: which transformations.
        seed: [2] int32; every use of the discriminator has its own random numbers.
    """

    def __init__(self, D: Network, strength: tf.Tensor, spec: AugmentSpec, seed: tf.Tensor):
        self._D, self._strength, self._spec = D, strength, spec
        self._seeds = _seeds_of_uses(seed)

    def get_output_for(self, images: tf.Tensor, labels: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Scores of augmented images."""
        images = augment(images, self._strength, self._spec, next(self._seeds))
        return self._D.get_output_for(images, labels, **kwargs)


class StrengthenedDiscriminator:
    """A discriminator that makes its own task harder, for losses; augments no images.

    Args:
        D: the discriminator, with `use_pagan` or `adaptive_dropout`.
        strength: p, a scalar tensor.
        seed: [2] int32; every use of the discriminator has its own random numbers.
    """

    def __init__(self, D: Network, strength: tf.Tensor, seed: tf.Tensor):
        self._D, self._strength = D, strength
        self._seeds = _seeds_of_uses(seed)

    def get_output_for(self, images: tf.Tensor, labels: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Scores of images."""
        kwargs |= {"augment_strength": self._strength, "random_seed": next(self._seeds)}
        return self._D.get_output_for(images, labels, **kwargs)


# As losses use it.
Discriminator = Network | AugmentedDiscriminator | StrengthenedDiscriminator


def overfitting(train: float, validation: float, generated: float) -> float | None:
    """r_v of mean scores; None where it cannot be told."""
    gap = train - generated
    return (train - validation) / gap if abs(gap) > _MIN_GAP else None


def _seeds_of_uses(seed: tf.Tensor) -> Iterator[tf.Tensor]:
    return (stream(seed, "augment", use) for use in itertools.count())
