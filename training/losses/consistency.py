"""Consistency regularization (Zhao et al. 2020, arXiv:2002.04724): `--cmethod=bcr` and `zcr`.

The terms come with every minibatch: ADA's appendix on comparison methods found that they do not go
with lazy regularization. R1 and path lengths stay lazy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from dnnlib.keywords import keyword
from dnnlib.tflib.autosummary import autosummary
from training.augmentation.pipeline import augment
from training.augmentation.spec import AugmentSpec
from training.losses.context import LossContext, LossOptions, LossResult, Number
from training.losses.fakes import Fakes, Scores, score, score_both, score_fakes
from training.losses.logistic import (
    GradientPenaltyOptions,
    logistic,
    logistic_ns,
    r1_regularizer,
)
from training.losses.path_length import PathLengthOptions, weighted_path_lengths
from training.random_streams import normal, stream

# Largest shift of bCR, as a fraction of the image's size: 8 pixels of 256 (ADA, same appendix).
_MAX_SHIFT = 1 / 32


@dataclass(frozen=True)
class BcrOptions(GradientPenaltyOptions):
    """Keyword arguments of `D_bcr`; the weights are those of ADA."""

    bcr_real_weight: Number = keyword("λᵣ, weight of the consistency of reals", default=10.0)
    bcr_fake_weight: Number = keyword("λ_f, weight of the consistency of fakes", default=10.0)


@dataclass(frozen=True)
class _ZcrOptions(LossOptions):
    zcr_noise_std: Number = keyword("σ, how far z' lies from z", default=0.1)


@dataclass(frozen=True)
class GZcrOptions(_ZcrOptions, PathLengthOptions):
    """Keyword arguments of `G_zcr`; the numbers are those of ADA."""

    zcr_gen_weight: Number = keyword("λ, weight of the distance of images", default=0.02)


@dataclass(frozen=True)
class DZcrOptions(_ZcrOptions, GradientPenaltyOptions):
    """Keyword arguments of `D_zcr`; the numbers are those of ADA."""

    zcr_dis_weight: Number = keyword("λ, weight of the distance of scores", default=0.2)


def D_bcr(context: LossContext, options: BcrOptions) -> LossResult:
    """`D_logistic_r1` with balanced consistency: λᵣ·(D(x) - D(T(x)))² + λ_f·(the same of fakes).

    Zhao et al. 2020, section 2.2. T shifts by whole pixels, see `shift_images`.
    """
    scores = score_both(context, options)
    loss = logistic(scores) + balanced_consistency(context, scores, options)
    return scores.result(loss, r1_regularizer(context, scores, options))


def G_zcr(context: LossContext, options: GZcrOptions) -> LossResult:
    """`G_logistic_ns_pathreg` that rewards how far images move with z: -λ·mean((G(z) - G(z'))²).

    Zhao et al. 2020, section 2.3, with the mean over pixels. Latents z' are z + σ·N(0, 1); labels,
    style mixing and noise are the same. A `pl_weight` of 0 leaves out path length regularization.
    """
    fakes, scores = score_fakes(context, options)
    loss = logistic_ns(scores) - image_distances(context, fakes, options)
    return LossResult(loss, weighted_path_lengths(context, options))


def D_zcr(context: LossContext, options: DZcrOptions) -> LossResult:
    """`D_logistic_r1` with latent consistency: λ·(D(G(z)) - D(G(z')))², z' as in `G_zcr`."""
    scores = score_both(context, options)
    loss = logistic(scores) + score_distances(context, scores, options)
    return scores.result(loss, r1_regularizer(context, scores, options))


def balanced_consistency(
    context: LossContext,
    scores: Scores,
    options: BcrOptions,
    transform: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """The terms of `D_bcr`, weighted, [N].

    Args:
        context: of the loss.
        scores: of the context's reals and of fakes.
        options: their weights.
        transform: T, called with images and a seed; None for `shift_images`.
    """
    transform, fakes = transform or shift_images, scores.fakes

    def inconsistency(images, labels, known, index):
        seed = stream(stream(context.seed, "D_loss"), "augment", index)
        return tf.square(known - score(context, transform(images, seed), labels))

    real = inconsistency(context.reals, context.labels, scores.real, 0)
    fake = inconsistency(fakes.images, fakes.labels, scores.fake, 1)
    real = autosummary("Loss/D/bcr_real", real) * options.bcr_real_weight
    return real + autosummary("Loss/D/bcr_fake", fake) * options.bcr_fake_weight


def image_distances(context: LossContext, fakes: Fakes, options: GZcrOptions) -> tf.Tensor:
    """λ·mean((G(z) - G(z'))²) of fakes that `score_fakes` made, [N]."""
    moved = _neighbors(context, options, fakes.labels, stream(context.seed, "G_loss"))
    distance = tf.reduce_mean(tf.square(fakes.images - moved), axis=[1, 2, 3])
    return autosummary("Loss/G/zcr", distance) * options.zcr_gen_weight


def score_distances(context: LossContext, scores: Scores, options: DZcrOptions) -> tf.Tensor:
    """λ·(D(G(z)) - D(G(z')))² of fakes that `score_both` made, [N]."""
    labels = scores.fakes.labels
    moved = _neighbors(context, options, labels, stream(context.seed, "D_loss"))
    term = tf.square(scores.fake - score(context, moved, labels))
    return autosummary("Loss/D/zcr", term) * options.zcr_dis_weight


def shift_images(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Images shifted by whole pixels, by at most a 32nd of their size.

    # Deviation: one pixel where that is less, so that small images move too.

    Args:
        images: [N, C, H, W], beyond whose borders their mirror images lie.
        seed: [2] int32.
    """
    largest = max(_MAX_SHIFT, 1 / min(images.shape.as_list()[2:]))
    return augment(images, 1, AugmentSpec(xint=1, xint_max=largest), seed)


def _neighbors(
    context: LossContext, options: _ZcrOptions, labels: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Images like those that `make_fakes` makes from a seed, but of latents z' next to its z."""
    shape = [tf.shape(labels)[0], *context.G.input_shapes[0][1:]]
    latents = normal(shape, stream(seed, "latents"))
    latents += normal(shape, stream(seed, "latents", 1)) * options.zcr_noise_std
    # The mean of w is moved by the fakes of the loss itself.
    return context.G.get_output_for(
        latents, labels, is_training=True, random_seed=seed, dlatent_avg_beta=None
    )
