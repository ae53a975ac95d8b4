"""Path length regularization of the generator (StyleGAN2, section 3.2 and equation 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.keywords import keyword
from dnnlib.tflib.autosummary import autosummary
from training.losses.context import LossContext, LossOptions, LossResult, Number, WholeNumber
from training.losses.fakes import make_fakes, score_fakes
from training.losses.logistic import logistic_ns
from training.losses.path_length_mean import PathLengthMean
from training.random_streams import normal, stream


@dataclass(frozen=True)
class PathLengthOptions(LossOptions):
    """Keyword arguments of losses with path length regularization."""

    pl_minibatch_shrink: WholeNumber = keyword(
        "regularize with fewer fakes by this factor, to save time and memory", default=2
    )
    pl_decay: Number = keyword("decay of the running mean of path lengths", default=0.01)
    pl_weight: Number = keyword("weight of the penalty", default=2.0)


def G_logistic_ns_pathreg(context: LossContext, options: PathLengthOptions) -> LossResult:
    """`G_logistic_ns` with path length regularization (StyleGAN2, section 3.2 and equation 4)."""
    _, scores = score_fakes(context, options)
    return LossResult(logistic_ns(scores), path_length_regularizer(context, options))


def path_length_regularizer(context: LossContext, options: PathLengthOptions) -> tf.Tensor:
    """Weight · (|Jᵀy| - mean)² of further fakes, [N / shrink]."""
    seed = stream(context.seed, "G_reg")
    count = tf.maximum(context.minibatch_size // options.pl_minibatch_shrink, 1)
    # Deviation: these fakes leave the mean of w alone. Without lazy regularization they are made in
    # one go with those of the loss, and two moves of one mean at once have no order.
    fakes = make_fakes(context, seed, dlatent_avg_beta=None, count=count)
    noise = normal(tf.shape(fakes.images), stream(seed, "pl_noise"))
    lengths = path_lengths(fakes.images, fakes.dlatents, noise)
    lengths = autosummary("Loss/pl_lengths", lengths)
    mean = context.pl_mean or PathLengthMean()
    penalty = tf.square(lengths - mean.update(lengths, options.pl_decay))
    if context.pl_mean is None:  # Nobody else stores it: whoever evaluates the penalty does.
        with tf.control_dependencies([mean.apply()]):
            penalty = tf.identity(penalty)
    return autosummary("Loss/G/pl_penalty", penalty) * options.pl_weight


def weighted_path_lengths(context: LossContext, options: PathLengthOptions) -> tf.Tensor | None:
    """`path_length_regularizer`, or None for a `pl_weight` of 0."""
    return path_length_regularizer(context, options) if options.pl_weight else None


def path_lengths(images: tf.Tensor, dlatents: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """|Jᵀy| of the generator at `dlatents`, [N] (StyleGAN2, equation 4).

    Args:
        images: [N, C, H, W], computed from `dlatents`.
        dlatents: [N, num_layers, dlatent_size].
        noise: standard normal like `images`; y is it divided by sqrt(H·W), so that the lengths do
            not depend on the resolution.
    """
    height, width = images.shape[2].value, images.shape[3].value
    y = noise / np.sqrt(height * width)
    gradients = tf.gradients(tf.reduce_sum(images * y), [dlatents])[0]
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=2), axis=1))
