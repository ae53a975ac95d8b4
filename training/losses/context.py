"""What every loss gets, and what it gives back.

A loss is a function (context, options) -> result. The training graph minimizes the means of the
result's `loss` and `regularizer`, the latter only every few minibatches (lazy regularization,
StyleGAN2, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tensorflow.compat.v1 as tf

from dnnlib.keywords import keyword
from dnnlib.schema import Range
from dnnlib.tflib import Network
from training.augmentation.adaptive import Discriminator
from training.dataset import TFRecordDataset
from training.losses.path_length_mean import PathLengthMean

# Options may come from a file: bounds far beyond any real run.
Number = Annotated[float, Range(-(1 << 20), 1 << 20)]
WholeNumber = Annotated[int, Range(-(1 << 20), 1 << 20)]


@dataclass(frozen=True)
class LossContext:
    """What a loss is computed from.

    Latents, labels and noise of fakes are functions of `seed` (DESIGN D4).
    """

    G: Network = keyword("the generator")
    D: Discriminator = keyword("the discriminator, maybe behind augmentation")
    training_set: TFRecordDataset = keyword("the dataset whose labels fakes get")
    minibatch_size: int | tf.Tensor = keyword("number of fakes")
    seed: tf.Tensor = keyword("[2] int32, fixes all random numbers; None: others at every run")
    reals: tf.Tensor | None = keyword("[N, C, H, W] in [-1, 1]; D's losses need them", default=None)
    labels: tf.Tensor | None = keyword("[N, label_size], those of the reals", default=None)
    pl_mean: PathLengthMean | None = keyword(
        "running mean of path lengths, which all replicas share; None for one of its own, which "
        "moves whenever the penalty is evaluated",
        default=None,
    )
    moves_w_mean: bool = keyword("whether the fakes move G's mean of w", default=True)


@dataclass(frozen=True)
class LossResult:
    """What a loss gives back, of one replica.

    Attributes:
        loss: [N].
        regularizer: [N], or None for no regularization.
        real_sign: [], mean sign of D's scores of reals. This and the next tell overfitting, and
            only losses of D have them.
        mean_scores: [2], mean scores of reals and of fakes.
    """

    loss: tf.Tensor
    regularizer: tf.Tensor | None = None
    real_sign: tf.Tensor | None = None
    mean_scores: tf.Tensor | None = None


@dataclass(frozen=True)
class LossOptions:
    """Keyword arguments of every loss, by their official names."""

    dlatent_avg_beta: Number | None = keyword(
        "decay of G's mean of w; None leaves the mean alone", default=0.995, kw_only=True
    )
