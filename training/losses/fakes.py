"""Generated images, and the discriminator's scores of them and of reals."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from dnnlib.tflib.autosummary import autosummary
from training.losses.context import LossContext, LossOptions, LossResult
from training.random_streams import normal, stream


@dataclass(frozen=True)
class Fakes:
    """Generated images.

    Attributes:
        images: [N, C, H, W].
        labels: [N, label_size].
        dlatents: [N, num_layers, dlatent_size].
    """

    images: tf.Tensor
    labels: tf.Tensor
    dlatents: tf.Tensor


@dataclass(frozen=True)
class Scores:
    """What a discriminator's loss is made of.

    Attributes:
        real: [N], scores of the context's reals.
        fake: [N], scores of `fakes`.
        fakes: the generated images.
        real_sign, mean_scores: as in `LossResult`.
    """

    real: tf.Tensor
    fake: tf.Tensor
    fakes: Fakes
    real_sign: tf.Tensor
    mean_scores: tf.Tensor

    def result(self, loss: tf.Tensor, regularizer: tf.Tensor | None = None) -> LossResult:
        """The result of a loss that was computed from these scores."""
        return LossResult(loss, regularizer, self.real_sign, self.mean_scores)


def make_fakes(
    context: LossContext,
    seed: tf.Tensor,
    dlatent_avg_beta: float | None = None,
    count: int | tf.Tensor | None = None,
) -> Fakes:
    """Random images as a function of a seed.

    Args:
        context: of the loss.
        seed: [2] int32, derived from that of the context.
        dlatent_avg_beta: decay of G's mean of w; None leaves the mean alone.
        count: how many; None: a minibatch.
    """
    count = context.minibatch_size if count is None else count
    latents = normal([count, *context.G.input_shapes[0][1:]], stream(seed, "latents"))
    labels = context.training_set.get_random_labels_tf(count, stream(seed, "labels"))
    images, dlatents = context.G.get_output_for(
        latents,
        labels,
        is_training=True,
        return_dlatents=True,
        random_seed=seed,
        dlatent_avg_beta=dlatent_avg_beta,
    )
    return Fakes(images, labels, dlatents)


def score(context: LossContext, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The discriminator's scores of images, [N]."""
    return context.D.get_output_for(images, labels, is_training=True)[:, 0]


def score_fakes(context: LossContext, options: LossOptions) -> tuple[Fakes, tf.Tensor]:
    """Fakes for a loss of the generator, and their scores [N]."""
    fakes = make_fakes(context, stream(context.seed, "G_loss"), _w_mean_decay(context, options))
    return fakes, score(context, fakes.images, fakes.labels)


def score_both(context: LossContext, options: LossOptions) -> Scores:
    """Scores of reals and of fakes for a loss of the discriminator."""
    fakes = make_fakes(context, stream(context.seed, "D_loss"), _w_mean_decay(context, options))
    real = score(context, context.reals, context.labels)
    fake = score(context, fakes.images, fakes.labels)
    real = autosummary("Loss/scores/real", real)
    real_sign = tf.reduce_mean(autosummary("Loss/signs/real", tf.sign(real)))
    mean_scores = tf.stack([tf.reduce_mean(scores) for scores in (real, fake)])
    fake = autosummary("Loss/scores/fake", fake)
    return Scores(real, fake, fakes, real_sign, mean_scores)


def _w_mean_decay(context: LossContext, options: LossOptions) -> float | None:
    return options.dlatent_avg_beta if context.moves_w_mean else None
