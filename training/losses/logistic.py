"""Logistic losses (Goodfellow et al. 2014), and the gradient penalties R1 and R2.

The penalties are those of Mescheder et al. 2018, "Which training methods for GANs do actually
converge?", section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from dnnlib.keywords import keyword
from dnnlib.tflib.autosummary import autosummary
from training.losses.context import LossContext, LossOptions, LossResult, Number
from training.losses.fakes import Scores, score_both, score_fakes


@dataclass(frozen=True)
class GradientPenaltyOptions(LossOptions):
    """Keyword arguments of losses with R1 or R2."""

    gamma: Number = keyword("γ, weight of the gradient penalty", default=10.0)


def G_logistic(context: LossContext, options: LossOptions) -> LossResult:
    """Saturating logistic loss (Goodfellow et al. 2014): -softplus(D(G(z)))."""
    _, scores = score_fakes(context, options)
    return LossResult(autosummary("Loss/G/loss", -tf.nn.softplus(scores)))


def G_logistic_ns(context: LossContext, options: LossOptions) -> LossResult:
    """Non-saturating logistic loss (Goodfellow et al. 2014): softplus(-D(G(z)))."""
    _, scores = score_fakes(context, options)
    return LossResult(logistic_ns(scores))


def D_logistic(context: LossContext, options: LossOptions) -> LossResult:
    """Logistic loss (Goodfellow et al. 2014): softplus(D(G(z))) + softplus(-D(x))."""
    scores = score_both(context, options)
    return scores.result(logistic(scores))


def D_logistic_r1(context: LossContext, options: GradientPenaltyOptions) -> LossResult:
    """`D_logistic` with R1: γ/2·|∇D(x)|² of reals x (Mescheder et al. 2018, equation 9)."""
    scores = score_both(context, options)
    return scores.result(logistic(scores), r1_regularizer(context, scores, options))


def D_logistic_r2(context: LossContext, options: GradientPenaltyOptions) -> LossResult:
    """`D_logistic` with R2: γ/2·|∇D(G(z))|² (Mescheder et al. 2018, section 4.1)."""
    scores = score_both(context, options)
    return scores.result(logistic(scores), r2_regularizer(scores, options))


def logistic_ns(scores: tf.Tensor) -> tf.Tensor:
    """Loss of a generator by the scores of its images, [N]."""
    return autosummary("Loss/G/loss", tf.nn.softplus(-scores))


def logistic(scores: Scores) -> tf.Tensor:
    """Loss of a discriminator by its scores, [N]."""
    loss = tf.nn.softplus(scores.fake) + tf.nn.softplus(-scores.real)
    return autosummary("Loss/D/loss", loss)


def r1_regularizer(
    context: LossContext, scores: Scores, options: GradientPenaltyOptions
) -> tf.Tensor:
    """γ/2·|∇D(x)|² of reals x, [N]."""
    penalty = autosummary("Loss/D/r1_penalty", r1_penalty(scores.real, context.reals))
    return penalty * (options.gamma * 0.5)


def r2_regularizer(scores: Scores, options: GradientPenaltyOptions) -> tf.Tensor:
    """γ/2·|∇D(G(z))|² of fakes, [N]."""
    penalty = autosummary("Loss/D/r2_penalty", r1_penalty(scores.fake, scores.fakes.images))
    return penalty * (options.gamma * 0.5)


def r1_penalty(scores: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Squared norm of the scores' gradient, [N].

    Args:
        scores: computed from `images`, any shape.
        images: [N, C, H, W].
    """
    gradients = tf.gradients(tf.reduce_sum(scores), [images])[0]
    return tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3])
