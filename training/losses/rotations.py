"""Auxiliary rotations (Chen et al. 2019, arXiv:1811.11212): `--cmethod=auxrot`.

Besides real or fake, the discriminator tells which way up an image is; the generator is rewarded
for images of which it can be told. The weights are those of ADA's appendix on comparison methods,
which has the terms in every minibatch: they do not go with lazy regularization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.keywords import keyword
from dnnlib.tflib.autosummary import autosummary
from training.augmentation.adaptive import Discriminator
from training.losses.context import LossContext, LossResult, Number
from training.losses.fakes import score_both, score_fakes
from training.losses.logistic import (
    GradientPenaltyOptions,
    logistic,
    logistic_ns,
    r1_regularizer,
)
from training.losses.path_length import PathLengthOptions, weighted_path_lengths

_TURNS = 4


@dataclass(frozen=True)
class GRotationOptions(PathLengthOptions):
    """Keyword arguments of `G_auxrot`."""

    auxrot_alpha: Number = keyword("α, weight of the rotations of fakes", default=10.0)


@dataclass(frozen=True)
class DRotationOptions(GradientPenaltyOptions):
    """Keyword arguments of `D_auxrot`."""

    auxrot_beta: Number = keyword("β, weight of the rotations of reals", default=5.0)


def G_auxrot(context: LossContext, options: GRotationOptions) -> LossResult:
    """`G_logistic_ns_pathreg` + α·`rotation_loss` of fakes; a `pl_weight` of 0: no path lengths."""
    fakes, scores = score_fakes(context, options)
    term = autosummary("Loss/G/auxrot", rotation_loss(context.D, fakes.images, fakes.labels))
    loss = logistic_ns(scores) + term * options.auxrot_alpha
    return LossResult(loss, weighted_path_lengths(context, options))


def D_auxrot(context: LossContext, options: DRotationOptions) -> LossResult:
    """`D_logistic_r1` + β·`rotation_loss` of reals."""
    scores = score_both(context, options)
    term = autosummary("Loss/D/auxrot", rotation_loss(context.D, context.reals, context.labels))
    loss = logistic(scores) + term * options.auxrot_beta
    return scores.result(loss, r1_regularizer(context, scores, options))


def rotation_loss(D: Discriminator, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean over the four turns r of -log Q(r | images turned by r), [N].

    Q is the softmax of the scores of D but the first (Chen et al. 2019, equations 3 and 4).

    Args:
        D: discriminator with `score_max` of 5.
        images: [N, C, H, W].
        labels: [N, label_size].
    """
    count = tf.shape(images)[0]
    scores = D.get_output_for(
        turn_images(images), tf.tile(labels, [_TURNS, 1]), is_training=True, score_size=1 + _TURNS
    )
    turns = tf.repeat(tf.range(_TURNS), count)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=turns, logits=scores[:, 1:])
    return tf.reduce_mean(tf.reshape(losses, [_TURNS, count]), axis=0)


def turn_images(images: tf.Tensor) -> tf.Tensor:
    """Images turned counterclockwise by 0, 1, 2, 3 quarters of a turn, one after another.

    Those that are not square are turned about their center within their frame: ends are cut off,
    and what comes in from the sides is a mirror image.

    Args:
        images: [N, C, H, W].

    Returns:
        [4N, C, H, W]
    """
    upright = tf.transpose(images, [0, 1, 3, 2])
    quarters = (
        images,
        _fit(tf.reverse(upright, [2]), images.shape),
        tf.reverse(images, [2, 3]),
        _fit(tf.reverse(upright, [3]), images.shape),
    )
    return tf.concat(quarters, axis=0)


def _fit(images: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """The middle of images, extended by reflection where it is smaller than `shape`."""
    for axis in (2, 3):
        size, wanted = images.shape[axis].value, shape[axis].value
        if size != wanted:
            index = np.abs(np.arange(wanted) + (size - wanted) // 2) % max(2 * size - 2, 1)
            images = tf.gather(images, np.minimum(index, 2 * size - 2 - index), axis=axis)
    return images
