"""What varies from one use of a network to the next: keyword arguments as in `specs`."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow.compat.v1 as tf


@dataclass(frozen=True)
class Call:
    """One use of a network.

    Attributes:
        is_training: the network is being trained; makes no difference to a discriminator.
        is_template_graph: True while `Network` builds its first graph, one to look at.
        random_seed: [2] int32: makes all random numbers a function of it. None: fresh numbers.
    """

    is_training: bool = False
    is_template_graph: bool = False
    random_seed: tf.Tensor | None = None


@dataclass(frozen=True)
class GeneratorCall(Call):
    """One use of a generator.

    Attributes:
        truncation_psi: w ← mean(w) + psi·(w - mean(w)); None or 1 for none (StyleGAN, appendix B).
        truncation_cutoff: number of layers that truncation applies to; None for all.
        truncation_psi_val, truncation_cutoff_val: the same where `is_validation`.
        dlatent_avg_beta: decay of the running mean of w while training; None keeps the mean.
        style_mixing_prob: probability of mixing two w at a random layer while training.
        is_training: no truncation; style mixing; moves the mean of w.
        is_validation: use the `_val` truncation.
        return_dlatents: return (images, dlatents).
    """

    truncation_psi: float | tf.Tensor | None = 0.5
    truncation_cutoff: int | tf.Tensor | None = None
    truncation_psi_val: float | tf.Tensor | None = None
    truncation_cutoff_val: int | tf.Tensor | None = None
    dlatent_avg_beta: float | tf.Tensor | None = 0.995
    style_mixing_prob: float | tf.Tensor | None = 0.9
    is_validation: bool = False
    return_dlatents: bool = False


@dataclass(frozen=True)
class GrowingCall(Call):
    """One use of a synthesis network that grows.

    Attributes:
        force_clean_graph: a graph to look at, as while `is_template_graph`: without conditionals
            and random numbers.
    """

    force_clean_graph: bool = False

    @property
    def is_clean(self) -> bool:
        return self.is_template_graph or self.force_clean_graph


@dataclass(frozen=True)
class DiscriminatorCall(Call):
    """One use of the discriminator of ADA.

    Attributes:
        augment_strength: p, the strength of PA-GAN and of dropout: 0 except in training.
        score_size: scores to return, of which the first is that of being real.
    """

    augment_strength: float | tf.Tensor = 0
    score_size: int = 1
