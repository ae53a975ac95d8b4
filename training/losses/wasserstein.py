"""Wasserstein losses: WGAN (Arjovsky et al. 2017) and WGAN-GP (Gulrajani et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.keywords import keyword
from dnnlib.tflib.autosummary import autosummary
from training.losses.context import LossContext, LossOptions, LossResult, Number
from training.losses.fakes import Scores, score, score_both, score_fakes
from training.losses.logistic import r1_penalty
from training.random_streams import stream, uniform


@dataclass(frozen=True)
class DriftOptions(LossOptions):
    """Keyword arguments of `D_wgan`."""

    wgan_epsilon: Number = keyword("ε, weight of the drift term", default=0.001)


@dataclass(frozen=True)
class WganGpOptions(DriftOptions):
    """Keyword arguments of `D_wgan_gp`."""

    wgan_lambda: Number = keyword("λ, weight of the gradient penalty", default=10.0)
    wgan_target: Number = keyword("τ, norm of the gradient that costs nothing", default=1.0)


def G_wgan(context: LossContext, options: LossOptions) -> LossResult:
    """Wasserstein loss (Arjovsky et al. 2017): -D(G(z))."""
    _, scores = score_fakes(context, options)
    return LossResult(autosummary("Loss/G/loss", -scores))


def D_wgan(context: LossContext, options: DriftOptions) -> LossResult:
    """Wasserstein loss with a drift term: D(G(z)) - D(x) + ε·D(x)² (PGGAN, appendix A.1)."""
    scores = score_both(context, options)
    return scores.result(_wasserstein(scores, options))


def D_wgan_gp(context: LossContext, options: WganGpOptions) -> LossResult:
    """`D_wgan` with gradient penalty λ/τ²·(|∇D(x̂)| - τ)² between reals and fakes.

    Gulrajani et al. 2017, equation 3, and PGGAN, appendix A.1.
    """
    scores = score_both(context, options)
    loss = _wasserstein(scores, options)
    seed = stream(stream(context.seed, "D_loss"), "gp_mixing")
    mix = uniform([tf.shape(context.reals)[0], 1, 1, 1], seed)
    mixed = tflib.lerp(context.reals, scores.fakes.images, mix)
    # The slope of the root at zero is infinite, and would make the weights of a flat D NaN.
    squared = tf.maximum(r1_penalty(score(context, mixed, context.labels), mixed), 1e-20)
    norms = autosummary("Loss/D/gradient_norm", tf.sqrt(squared))
    target = options.wgan_target
    penalty = tf.square(norms - target) * (options.wgan_lambda / target**2)
    return scores.result(loss, penalty)


def _wasserstein(scores: Scores, options: DriftOptions) -> tf.Tensor:
    drift = options.wgan_epsilon * tf.square(scores.real)
    return autosummary("Loss/D/loss", scores.fake - scores.real + drift)
