"""Consistency regularisation (Zhao et al. 2020, arXiv:2002.04724): `--cmethod=bcr` and `zcr`.

Losses as in `training.loss`, with terms for every minibatch: ADA's appendix on comparison methods
found that they do not go with lazy regularisation. R1 and path lengths stay lazy.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network
from dnnlib.tflib.autosummary import autosummary
from training.augment import augment_pipeline
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
from training.random_streams import normal, stream

# Largest shift of bCR, as a part of the image's size: 8 pixels of 256 (ADA, same appendix).
_MAX_SHIFT = 1 / 32


def D_bcr(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    gamma: float = 10.0,
    bcr_real_weight: float = 10.0,
    bcr_fake_weight: float = 10.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`D_logistic_r1` with balanced consistency: λᵣ·(D(x) - D(T(x)))² + λ_f·(the same of fakes).

    Zhao et al. 2020, section 2.2; the weights are those of ADA. T shifts by whole pixels, see
    `shift_images`.
    """
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    loss = logistic(real_scores, fakes.scores)
    seed = stream(seed, "D_loss")
    real = _inconsistency(D, reals, labels, real_scores, stream(seed, "augment", 0))
    fake = _inconsistency(D, fakes.images, fakes.labels, fakes.scores, stream(seed, "augment", 1))
    loss += autosummary("Loss/D/bcr_real", real) * bcr_real_weight
    loss += autosummary("Loss/D/bcr_fake", fake) * bcr_fake_weight
    return loss, r1_regularizer(real_scores, reals, gamma)


def G_zcr(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    pl_mean: PathLengthMean,
    zcr_gen_weight: float = 0.02,
    zcr_noise_std: float = 0.1,
    pl_minibatch_shrink: int = 2,
    pl_decay: float = 0.01,
    pl_weight: float = 2.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """`G_logistic_ns_pathreg` that rewards how far images move with z: -λ·mean((G(z) - G(z'))²).

    Zhao et al. 2020, section 2.3, with the mean over pixels and the numbers of ADA. Latents z' are
    z + `zcr_noise_std`·N(0, 1); labels, style mixing and noise are the same. A `pl_weight` of 0
    leaves path length regularisation out.
    """
    fakes = score_fakes(G, D, training_set, minibatch_size, seed, dlatent_avg_beta)
    moved = _fakes_beside(G, fakes.labels, stream(seed, "G_loss"), zcr_noise_std)
    distance = tf.reduce_mean(tf.square(fakes.images - moved), axis=[1, 2, 3])
    loss = logistic_ns(fakes.scores) - autosummary("Loss/G/zcr", distance) * zcr_gen_weight
    if not pl_weight:
        return loss, None
    regularizer = path_length_regularizer(
        G, training_set, minibatch_size, seed, pl_mean, pl_minibatch_shrink, pl_decay, pl_weight
    )
    return loss, regularizer


def D_zcr(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    gamma: float = 10.0,
    zcr_dis_weight: float = 0.2,
    zcr_noise_std: float = 0.1,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`D_logistic_r1` with latent consistency: λ·(D(G(z)) - D(G(z')))², z' as in `G_zcr`."""
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    moved = _fakes_beside(G, fakes.labels, stream(seed, "D_loss"), zcr_noise_std)
    moved_scores = D.get_output_for(moved, fakes.labels, is_training=True)[:, 0]
    term = autosummary("Loss/D/zcr", tf.square(fakes.scores - moved_scores))
    loss = logistic(real_scores, fakes.scores) + term * zcr_dis_weight
    return loss, r1_regularizer(real_scores, reals, gamma)


LOSS_FUNCTIONS = (D_bcr, G_zcr, D_zcr)


def shift_images(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Images shifted by whole pixels, a 32nd of their size at most.

    # Deviation: one pixel where that is less, so that small images move too.

    Args:
        images: [N, C, H, W], beyond whose borders their mirror images lie.
        seed: [2] int32.
    """
    largest = max(_MAX_SHIFT, 1 / min(images.shape.as_list()[2:]))
    return augment_pipeline(images, None, xint=1, xint_max=largest, seed=seed)[0]


def _inconsistency(
    D: Network, images: tf.Tensor, labels: tf.Tensor, scores: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """(D(x) - D(T(x)))² of images x whose scores D(x) are known, [N]."""
    shifted = shift_images(images, seed)
    return tf.square(scores - D.get_output_for(shifted, labels, is_training=True)[:, 0])


def _fakes_beside(G: Network, labels: tf.Tensor, seed: tf.Tensor, deviation: float) -> tf.Tensor:
    """Fakes as `training.loss.make_fakes` makes them of a seed, but of latents beside those."""
    shape = [tf.shape(labels)[0], *G.input_shapes[0][1:]]
    latents = normal(shape, stream(seed, "latents"))
    latents += normal(shape, stream(seed, "latents", 1)) * deviation
    # The mean of w is moved by the fakes of the loss itself.
    return G.get_output_for(
        latents, labels, is_training=True, random_seed=seed, dlatent_avg_beta=None
    )
