"""Attributes that are learned: what the features of a snapshot's own discriminator tell of labels.

The scores of a discriminator itself are no probabilities of classes: they say how real a picture
looks if it is of a class, not whether it is of it, and were never trained with pictures of other
classes. So a classifier learns from its features, and says how often it is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.special
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from tf_ops import layout
from training.latents.attributes.measured import Measure
from training.latents.distances import OfImages, block_activations

HELD_OUT = 5  # Each fifth sample is held out.
# Of the errors that the most frequent label would make, which a classifier may make.
_MOST_ERRORS = 0.7
_PENALTY = 1.0


class PooledFeatures(OfImages):
    """A discriminator's activations after every block, means over the pixels, side by side."""

    def _build(self, D: Network, images: tf.Tensor) -> tf.Tensor:
        axes = list(layout.spatial_axes(layout.internal_format()))
        activations = block_activations(D, images)
        return tf.concat([tf.reduce_mean(x, axis=axes) for x in activations], axis=1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features float64 [N, F] of images, uint8 [N, C, H, W]."""
        return super().__call__(images).astype(np.float64)


@dataclass(frozen=True)
class Classifier:
    """Probabilities of labels: softmax of an affine function of the features.

    Attributes:
        weights: float64 [F + 1, K], of standardized features; the intercepts last.
        mean, deviation: of the features, [F].
        accuracy: on samples that were held out.
        baseline: that of always naming the most frequent label.
    """

    weights: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    accuracy: float
    baseline: float

    @property
    def is_useful(self) -> bool:
        """Whether it makes at most 70 % of the errors that naming one label makes."""
        return 1 - self.accuracy <= _MOST_ERRORS * (1 - self.baseline)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities [N, K] of features [N, F]."""
        x = (features - self.mean) / self.deviation
        return scipy.special.softmax(x @ self.weights[:-1] + self.weights[-1], axis=1)


def fit_classifier(features: np.ndarray, labels: np.ndarray, count: int) -> Classifier:
    """Multinomial logistic regression; each fifth sample is held out, to tell how good it is.

    Minimizes -Σ log p(label) + ½|weights|² without intercepts, of standardized features, by
    L-BFGS; it has one minimum.

    Args:
        features: [N, F].
        labels: whole numbers [N], 0 to count - 1.
        count: number of labels.

    Raises:
        UserError: too few samples to hold some of them out.
    """
    if len(labels) < HELD_OUT:
        raise UserError(
            f"{len(labels)} samples are too few to learn labels from: at least {HELD_OUT}, and "
            "better hundreds"
        )
    # In the order of labels, so that some of each are held out.
    held_out = np.zeros(len(labels), bool)
    held_out[np.argsort(labels, kind="stable")[HELD_OUT - 1 :: HELD_OUT]] = True
    mean = features[~held_out].mean(axis=0)
    deviation = np.maximum(features[~held_out].std(axis=0), 1e-9)
    x = (features[~held_out] - mean) / deviation
    weights = _logistic(x, labels[~held_out], count)
    frequent = np.bincount(labels[~held_out], minlength=count).argmax()
    classifier = Classifier(
        weights, mean, deviation, 0.0, float(np.mean(labels[held_out] == frequent))
    )
    guesses = classifier(features[held_out]).argmax(axis=1)
    accuracy = float(np.mean(guesses == labels[held_out]))
    return Classifier(weights, mean, deviation, accuracy, classifier.baseline)


def classifier_measure(
    pooled: PooledFeatures, classifier: Classifier, names: tuple[str, ...]
) -> Measure:
    """Probabilities of labels as attributes of these names."""
    return Measure(names, lambda images: classifier(pooled(images)))


def _logistic(x: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    x = np.concatenate([x, np.ones([len(x), 1])], axis=1)
    target = np.eye(count)[labels]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(x.shape[1], count)
        logits = x @ weights
        penalized = weights.copy()
        penalized[-1] = 0
        log_p = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
        loss = -np.sum(log_p * target) + _PENALTY / 2 * np.sum(penalized**2)
        return loss, (x.T @ (np.exp(log_p) - target) + _PENALTY * penalized).ravel()

    start = np.zeros(x.shape[1] * count)
    found = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}
    )
    return found.x.reshape(x.shape[1], count)
