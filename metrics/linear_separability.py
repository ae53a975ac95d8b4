"""Linear separability (StyleGAN, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from scipy.special import xlogy

from dnnlib import UserError
from metrics.evaluation import Evaluation
from metrics.metric import MetricBase
from metrics.perceptual_path_length import box_means
from training.datasets.photos.arrays import on_white
from training.latents.directions.boundary import linear_svm


def prob_normalize(p: np.ndarray) -> np.ndarray:
    """A table of counts or weights [X, Y] as the joint probabilities of two variables."""
    p = np.asarray(p, np.float64)
    if p.ndim != 2:
        raise UserError(f"a table of probabilities has two axes, not the shape {p.shape}")
    return p / p.sum()


def entropy(p: np.ndarray) -> float:
    """Joint entropy H(X, Y) in bits, of a table [X, Y]."""
    p = prob_normalize(p)
    return float(-xlogy(p, p).sum() / np.log(2))


def mutual_information(p: np.ndarray) -> float:
    """I(X; Y) = H(X) + H(Y) - H(X, Y) in bits, of a table [X, Y]."""
    p = prob_normalize(p)
    x, y = (entropy(p.sum(axis=axis, keepdims=True)) for axis in (1, 0))
    return x + y - entropy(p)


def conditional_entropy(p: np.ndarray) -> float:
    """H(Y | X) = H(X, Y) - H(X) in bits, of a table [X, Y]; not below 0."""
    p = prob_normalize(p)
    return max(entropy(p) - entropy(p.sum(axis=1, keepdims=True)), 0.0)


def separability(latents: np.ndarray, probabilities: np.ndarray, num_keep: int) -> float:
    """2^Σ_i H(Y_i | X_i), with X_i a linear classifier's guess from latents at attribute Y_i.

    Args:
        latents: [n, D].
        probabilities: [n, attributes], of having the attribute.
        num_keep: samples that each attribute is learned from, those that are surest.

    Raises:
        UserError: an attribute that none or all of the kept samples have.
    """
    entropies = []
    for number, p in enumerate(probabilities.T):
        kept = np.argsort(-np.maximum(p, 1 - p), kind="stable")[:num_keep]
        target = p[kept] > 0.5
        if target.all() or not target.any():
            # Known without looking: no uncertainty is left.
            entropies.append(0.0)
            continue
        x = latents[kept].astype(np.float32)
        w = linear_svm(x, np.where(target, 1.0, -1.0))
        table = np.zeros([2, 2])
        np.add.at(table, ((x @ w[:-1] + w[-1] > 0).astype(int), target.astype(int)), 1)
        entropies.append(conditional_entropy(table))
        if not np.isfinite(entropies[-1]):
            raise UserError(f"attribute {number}: the classifier's outputs are not finite")
    return float(2 ** np.sum(entropies))


class LS(MetricBase):
    """Separability of attributes by hyperplanes in z and in w.

    Args:
        name: as reported.
        num_samples: images to generate.
        num_keep: see `separability`.
        num_attributes: classifiers that are needed.
        attrib_indices: official keyword in place of it: the numbers of the classifiers.
        forced: see `MetricBase`.
    """

    def __init__(
        self,
        name: str,
        num_samples: int,
        num_keep: int,
        num_attributes: int = 0,
        *,
        attrib_indices: Sequence[int] | None = None,
        **forced: Any,
    ):
        super().__init__(name, **forced)
        self.num_samples, self.num_keep = num_samples, num_keep
        self._numbers = list(range(num_attributes) if attrib_indices is None else attrib_indices)
        if not self._numbers:
            raise UserError(f"metric {name} needs num_attributes or attrib_indices")

    def use_features(self, sources) -> None:
        classifiers = sources.classifiers(max(self._numbers) + 1)
        self._classifiers = [classifiers[number] for number in self._numbers]

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        for classifier in self._classifiers:
            evaluation.uses(classifier, num_fakes=self.num_samples)
        key = (self.name, *(c.key for c in self._classifiers))
        replicas = evaluation.replicas(key, self._build(evaluation))
        parts = []
        for begin, count in evaluation.minibatches(self.num_samples):
            latents, labels = evaluation.latents(begin, count), evaluation.labels(begin, count)
            rows = {"latents": latents, "labels": labels}
            parts.append((latents, *replicas.run(rows, evaluation.noise_seed(begin))))
        z, w, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not np.isfinite(logits).all():
            raise UserError(f"{self.name}: the classifiers' outputs are not finite")
        # The classifiers give one logit; the official pair of classes is (logit, -logit).
        probabilities = 1 / (1 + np.exp(-2 * logits.astype(np.float64)))
        return {
            "_z": separability(z, probabilities, self.num_keep),
            "_w": separability(w, probabilities, self.num_keep),
        }

    def _build(self, evaluation: Evaluation):
        def build(replica: int):
            feeds, images, dlatents = evaluation.fake_images(replica, with_dlatents=True)
            images = box_means(on_white(images))
            logits = [c.build(images)["features"] for c in self._classifiers]
            return feeds, [dlatents[:, -1], tf.concat(logits, axis=1)]

        return build
