"""Linear separability (StyleGAN, section 4.2)."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import tensorflow.compat.v1 as tf
from scipy.special import xlogy

from dnnlib import UserError
from metrics.evaluation import Evaluation
from metrics.metric_base import MetricBase

_SIDE = 256


def linear_svm(x: np.ndarray, y: np.ndarray, C: float = 1.0) -> np.ndarray:
    """Weights of a linear support vector machine with squared hinge loss.

    Minimizes ½|w|² + C Σ max(0, 1 - y w·x)², which has one minimum; the intercept is the weight of
    an added column of ones, as in LIBLINEAR.

    Args:
        x: [n, D].
        y: [n], -1 or 1.
        C: weight of the loss.

    Returns:
        float64 [D + 1], the intercept last.
    """
    x = np.concatenate([x, np.ones([len(x), 1], x.dtype)], axis=1)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = np.maximum(1 - y * (x @ w.astype(x.dtype)), 0)
        loss = w @ w / 2 + C * np.sum(np.square(margin), dtype=np.float64)
        return loss, w - 2 * C * (x.T @ (y * margin).astype(x.dtype))

    start = np.zeros(x.shape[1])
    options = {"maxiter": 1000, "ftol": 1e-10, "gtol": 1e-6 * max(len(x), 1)}
    return scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x


def conditional_entropy(targets: np.ndarray, predictions: np.ndarray) -> float:
    """H(target | prediction) in nats, of two arrays of booleans."""
    joint = np.zeros([2, 2])
    np.add.at(joint, (targets.astype(int), predictions.astype(int)), 1 / len(targets))
    return float(xlogy(joint.sum(axis=0), joint.sum(axis=0)).sum() - xlogy(joint, joint).sum())


def separability(latents: np.ndarray, probabilities: np.ndarray, num_keep: int) -> float:
    """exp Σ_i H(Y_i | X_i), with X_i a linear classifier's guess from latents at attribute Y_i.

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
        entropies.append(conditional_entropy(target, x @ w[:-1] + w[-1] > 0))
        if not np.isfinite(entropies[-1]):
            raise UserError(f"attribute {number}: the classifier's outputs are not finite")
    return float(np.exp(np.sum(entropies)))


class LS(MetricBase):
    """Separability of attributes by hyperplanes in z and in w.

    Args:
        name: as reported.
        num_samples: images to generate.
        num_keep: see `separability`.
        num_attributes: classifiers that are needed.
    """

    def __init__(self, name: str, num_samples: int, num_keep: int, num_attributes: int):
        super().__init__(name)
        self.num_samples, self.num_keep, self.num_attributes = num_samples, num_keep, num_attributes

    def use_features(self, sources) -> None:
        self._classifiers = sources.classifiers(self.num_attributes)

    def _evaluate(self, evaluation: Evaluation) -> dict[str, float]:
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
        Gs = evaluation.Gs

        def build(replica: int):
            feeds, images, dlatents = evaluation.fake_images(replica, with_dlatents=True)
            if (factor := Gs.output_shape[2] // _SIDE) > 1:
                channels, height, width = Gs.output_shape[1:]
                boxes = [-1, channels, height // factor, factor, width // factor, factor]
                images = tf.reduce_mean(tf.reshape(images, boxes), axis=[3, 5])
            logits = [c.build(images)["features"] for c in self._classifiers]
            return feeds, [dlatents[:, -1], tf.concat(logits, axis=1)]

        return build
