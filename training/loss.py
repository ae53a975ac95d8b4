"""Losses and regularisers, by their official names.

Every function returns (loss, reg): tensors of one number a sample, or None for no regulariser. The
training loop minimises their means, `reg` every few minibatches only (lazy regularisation,
StyleGAN2, section 3.1). Latents, labels and noise are functions of `seed` (DESIGN D4).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network
from dnnlib.tflib.autosummary import autosummary
from training.dataset import TFRecordDataset
from training.random_streams import normal, stream, uniform

# Collections of what tells overfitting, one tensor for each replica: the mean sign of the scores of
# reals; [2], the mean scores of reals and of fakes.
REAL_SIGNS = "real_signs"
MEAN_SCORES = "mean_scores"


def G_logistic(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, None]:
    """Saturating logistic loss (Goodfellow et al. 2014): -softplus(D(G(z))).

    Args:
        G, D: the networks.
        training_set: whose labels the fakes get.
        minibatch_size: fakes.
        seed: [2] int32.
        dlatent_avg_beta: decay of G's mean of w; None leaves the mean alone.
    """
    fakes = score_fakes(G, D, training_set, minibatch_size, seed, dlatent_avg_beta)
    return autosummary("Loss/G/loss", -tf.nn.softplus(fakes.scores)), None


def G_logistic_ns(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, None]:
    """Non-saturating logistic loss (Goodfellow et al. 2014): softplus(-D(G(z)))."""
    fakes = score_fakes(G, D, training_set, minibatch_size, seed, dlatent_avg_beta)
    return logistic_ns(fakes.scores), None


def G_wgan(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, None]:
    """Wasserstein loss (Arjovsky et al. 2017): -D(G(z))."""
    fakes = score_fakes(G, D, training_set, minibatch_size, seed, dlatent_avg_beta)
    return autosummary("Loss/G/loss", -fakes.scores), None


def G_logistic_ns_pathreg(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    pl_mean: PathLengthMean,
    pl_minibatch_shrink: int = 2,
    pl_decay: float = 0.01,
    pl_weight: float = 2.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`G_logistic_ns` with path length regularisation (StyleGAN2, section 3.2 and equation 4).

    Args:
        G, D, training_set, minibatch_size, seed, dlatent_avg_beta: as in `G_logistic`.
        pl_mean: running mean of path lengths, shared by replicas.
        pl_minibatch_shrink: regularise with fewer fakes by this factor, to save time and memory.
        pl_decay: decay of the running mean.
        pl_weight: weight of the penalty.
    """
    loss, _ = G_logistic_ns(G, D, training_set, minibatch_size, seed, dlatent_avg_beta)
    regularizer = path_length_regularizer(
        G, training_set, minibatch_size, seed, pl_mean, pl_minibatch_shrink, pl_decay, pl_weight
    )
    return loss, regularizer


def D_logistic(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, None]:
    """Logistic loss (Goodfellow et al. 2014): softplus(D(G(z))) + softplus(-D(x)).

    Args:
        G, D, training_set, minibatch_size, seed, dlatent_avg_beta: as in `G_logistic`.
        reals: [N, C, H, W] in [-1, 1].
        labels: [N, label_size], those of the reals.
    """
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    return logistic(real_scores, fakes.scores), None


def D_logistic_r1(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    gamma: float = 10.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`D_logistic` with R1: γ/2·|∇D(x)|² of reals x.

    Mescheder et al. 2018, "Which training methods for GANs do actually converge?", equation 9.
    """
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    return logistic(real_scores, fakes.scores), r1_regularizer(real_scores, reals, gamma)


def D_logistic_r2(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    gamma: float = 10.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`D_logistic` with R2: γ/2·|∇D(G(z))|² (Mescheder et al. 2018, section 4.1)."""
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    penalty = autosummary("Loss/D/r2_penalty", r1_penalty(fakes.scores, fakes.images))
    return logistic(real_scores, fakes.scores), penalty * (gamma * 0.5)


def D_wgan(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    wgan_epsilon: float = 0.001,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, None]:
    """Wasserstein loss with a drift term: D(G(z)) - D(x) + ε·D(x)² (PGGAN, appendix A.1)."""
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    return _wasserstein(real_scores, fakes.scores, wgan_epsilon), None


def D_wgan_gp(
    G: Network,
    D: Network,
    training_set: TFRecordDataset,
    minibatch_size: int | tf.Tensor,
    seed: tf.Tensor,
    reals: tf.Tensor,
    labels: tf.Tensor,
    wgan_lambda: float = 10.0,
    wgan_epsilon: float = 0.001,
    wgan_target: float = 1.0,
    dlatent_avg_beta: float | None = 0.995,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`D_wgan` with gradient penalty λ/τ²·(|∇D(x̂)| - τ)² between reals and fakes.

    Gulrajani et al. 2017, equation 3, and PGGAN, appendix A.1.
    """
    real_scores, fakes = score_both(
        G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
    )
    loss = _wasserstein(real_scores, fakes.scores, wgan_epsilon)
    mix = uniform([tf.shape(reals)[0], 1, 1, 1], stream(stream(seed, "D_loss"), "gp_mixing"))
    mixed = tflib.lerp(reals, fakes.images, mix)
    mixed_scores = D.get_output_for(mixed, labels, is_training=True)[:, 0]
    # The slope of the root at zero is infinite, and would make the weights of a flat D NaN.
    squared = tf.maximum(r1_penalty(mixed_scores, mixed), 1e-20)
    norms = autosummary("Loss/D/gradient_norm", tf.sqrt(squared))
    return loss, tf.square(norms - wgan_target) * (wgan_lambda / wgan_target**2)


LOSS_FUNCTIONS = (
    G_logistic,
    G_logistic_ns,
    G_logistic_ns_pathreg,
    G_wgan,
    D_logistic,
    D_logistic_r1,
    D_logistic_r2,
    D_wgan,
    D_wgan_gp,
)


class Fakes(NamedTuple):
    """Generated images [N, C, H, W], their labels, and the discriminator's scores of them [N]."""

    images: tf.Tensor
    labels: tf.Tensor
    scores: tf.Tensor


def score_fakes(G, D, training_set, minibatch_size, seed, dlatent_avg_beta) -> Fakes:
    """Fakes for a generator's loss; arguments as of `G_logistic`."""
    seed = stream(seed, "G_loss")
    images, labels, _ = make_fakes(G, training_set, minibatch_size, seed, dlatent_avg_beta)
    return Fakes(images, labels, D.get_output_for(images, labels, is_training=True)[:, 0])


def score_both(
    G, D, training_set, minibatch_size, seed, reals, labels, dlatent_avg_beta
) -> tuple[tf.Tensor, Fakes]:
    """Scores [N] of reals, and fakes, for a discriminator's loss; arguments as of `D_logistic`."""
    seed = stream(seed, "D_loss")
    images, fake_labels, _ = make_fakes(G, training_set, minibatch_size, seed, dlatent_avg_beta)
    real_scores = D.get_output_for(reals, labels, is_training=True)[:, 0]
    fake_scores = D.get_output_for(images, fake_labels, is_training=True)[:, 0]
    real_scores = autosummary("Loss/scores/real", real_scores)
    # By which adaptive augmentation tells overfitting.
    signs = autosummary("Loss/signs/real", tf.sign(real_scores))
    tf.add_to_collection(REAL_SIGNS, tf.reduce_mean(signs))
    means = [tf.reduce_mean(scores) for scores in (real_scores, fake_scores)]
    tf.add_to_collection(MEAN_SCORES, tf.stack(means))
    fake_scores = autosummary("Loss/scores/fake", fake_scores)
    return real_scores, Fakes(images, fake_labels, fake_scores)


def logistic_ns(scores: tf.Tensor) -> tf.Tensor:
    """Loss of a generator by scores of its images."""
    return autosummary("Loss/G/loss", tf.nn.softplus(-scores))


def logistic(real_scores: tf.Tensor, fake_scores: tf.Tensor) -> tf.Tensor:
    """Loss of a discriminator by its scores."""
    loss = tf.nn.softplus(fake_scores) + tf.nn.softplus(-real_scores)
    return autosummary("Loss/D/loss", loss)


def path_length_regularizer(
    G, training_set, minibatch_size, seed, pl_mean, pl_minibatch_shrink, pl_decay, pl_weight
) -> tf.Tensor:
    """Weight · (|Jᵀy| - mean)² of further fakes; arguments as of `G_logistic_ns_pathreg`."""
    seed = stream(seed, "G_reg")
    count = tf.maximum(minibatch_size // pl_minibatch_shrink, 1)
    # Deviation: these fakes leave the mean of w alone. Without lazy regularisation they are made in
    # one go with those of the loss, and two moves of one mean at once have no order.
    images, _, dlatents = make_fakes(G, training_set, count, seed, None)
    lengths = path_lengths(images, dlatents, normal(tf.shape(images), stream(seed, "pl_noise")))
    lengths = autosummary("Loss/pl_lengths", lengths)
    penalty = tf.square(lengths - pl_mean.update(lengths, pl_decay))
    return autosummary("Loss/G/pl_penalty", penalty) * pl_weight


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


def r1_regularizer(real_scores: tf.Tensor, reals: tf.Tensor, gamma: float) -> tf.Tensor:
    """γ/2·|∇D(x)|² of reals x, [N]."""
    return autosummary("Loss/D/r1_penalty", r1_penalty(real_scores, reals)) * (gamma * 0.5)


def r1_penalty(scores: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Squared norm of the scores' gradient, [N].

    Args:
        scores: computed from `images`, any shape.
        images: [N, C, H, W].
    """
    gradients = tf.gradients(tf.reduce_sum(scores), [images])[0]
    return tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3])


class PathLengthMean:
    """Running mean of path lengths: one variable, whatever the number of replicas.

    # Deviation: the official code keeps a mean for each GPU and loses it when a run ends; here all
    # replicas move the same one, and it belongs to what a run saves.

    Attributes:
        var: the mean, a scalar variable.
    """

    def __init__(self) -> None:
        with tf.name_scope(None), tf.control_dependencies(None):
            self.var = tf.Variable(0.0, trainable=False, name="pl_mean")
        self._replicas: list[tf.Tensor] = []

    def update(self, lengths: tf.Tensor, decay: float) -> tf.Tensor:
        """The mean as moved by a replica's path lengths."""
        moved = tflib.lerp(self.var, tf.reduce_mean(lengths), decay)
        self._replicas.append(tf.stop_gradient(moved))
        # The official code lets gradients flow into the moved mean; the weight of that is `decay`.
        return moved

    def apply(self) -> tf.Operation:
        """An op that stores the average over the replicas, unless it is not finite."""
        if not self._replicas:
            return tf.no_op()
        mean = tf.add_n(self._replicas) / len(self._replicas)
        return self.var.assign(tf.where(tf.is_finite(mean), mean, self.var), read_value=False)


def make_fakes(
    G: Network,
    training_set: TFRecordDataset,
    count: int | tf.Tensor,
    seed: tf.Tensor,
    dlatent_avg_beta: float | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Random images, their labels and their dlatents, as functions of `seed`."""
    latents = normal([count, *G.input_shapes[0][1:]], stream(seed, "latents"))
    labels = training_set.get_random_labels_tf(count, stream(seed, "labels"))
    images, dlatents = G.get_output_for(
        latents,
        labels,
        is_training=True,
        return_dlatents=True,
        random_seed=seed,
        dlatent_avg_beta=dlatent_avg_beta,
    )
    return images, labels, dlatents


def _wasserstein(real_scores: tf.Tensor, fake_scores: tf.Tensor, epsilon: float) -> tf.Tensor:
    loss = fake_scores - real_scores + epsilon * tf.square(real_scores)
    return autosummary("Loss/D/loss", loss)
