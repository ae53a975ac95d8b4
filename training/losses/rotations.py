"""Auxiliary rotations (Chen et al. 2019, arXiv:1811.11212): `--cmethod=auxrot`.

Beside real or fake, the discriminator tells which way up an image is; the generator is rewarded for
images of which it can be told. The weights are those of ADA's appendix on comparison methods, which
has the terms in every minibatch: they do not go with lazy regularisation.
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network
from dnnlib.tflib.autosummary import autosummary
from training.dataset import TFRecordDataset
from training.loss import (
    PathLengthMean,
    logistic,
    logistic_ns,
    path_length_regularizer,
    r1_regularizer,
    score_both,
    score_fakes,
)

_TURNS = 4


def G_auxrot(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    pl_mean: PathLengthMean,
    auxrot_alpha: float = 10.0,
    pl_minibatch_shrink: int = 2,
    pl_decay: float = 0.01,
    pl_weight: float = 2.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """`G_logistic_ns_pathreg` + α·`rotation_loss` of fakes; a `pl_weight` of 0: no path lengths."""
    fakes = score_fakes(G, D, training_set, minibatch_size, seed, dlatent_avg_beta)
    term = autosummary("Loss/G/auxrot", rotation_loss(D, fakes.images, fakes.labels))
    loss = logistic_ns(fakes.scores) + term * auxrot_alpha
    if not pl_weight:
        return loss, None
    regularizer = path_length_regularizer(
        G, training_set, minibatch_size, seed, pl_mean, pl_minibatch_shrink, pl_decay, pl_weight
    )
    return loss, regularizer


def D_auxrot(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    gamma: float = 10.0,
    auxrot_beta: float = 5.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`D_logistic_r1` + β·`rotation_loss` of reals."""
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    term = autosummary("Loss/D/auxrot", rotation_loss(D, reals, labels))
    loss = logistic(real_scores, fakes.scores) + term * auxrot_beta
    return loss, r1_regularizer(real_scores, reals, gamma)


LOSS_FUNCTIONS = (G_auxrot, D_auxrot)


def rotation_loss(D: Network, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
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

    Those that are not square are turned about their centre within their frame: ends are cut off,
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
