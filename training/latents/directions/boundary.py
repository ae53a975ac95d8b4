"""InterFaceGAN: the boundary between high and low scores (Shen et al. 2019, arXiv:1907.10786)."""

from __future__ import annotations

import numpy as np
import scipy.optimize

EXTREME = 0.02  # Part of the samples at each end, as in the authors' experiments.
_TRAINED_ON = 0.7
_LEAST = 10


def find_boundary(x: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit normal of the hyperplane between the samples of extreme scores (section 3.1).

    A linear support vector machine learns from 70 % of the samples of the highest and of the
    lowest 2 % of the scores (at least 10 each).

    Args:
        x: [N, D].
        scores: [N], finite.

    Returns:
        (float64 [D] of unit length, towards high scores; part of the other 30 % on their side).
    """
    count = min(max(round(len(x) * EXTREME), _LEAST), len(x) // 2)
    order = np.argsort(scores, kind="stable")
    low, high = order[:count], order[::-1][:count]
    trained = max(1, round(count * _TRAINED_ON))
    center, scale = x.mean(axis=0), float(x.std()) or 1.0

    def rows(part: slice) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.concatenate([high[part], low[part]])
        sides = np.repeat([1.0, -1.0], len(chosen) // 2)
        return (x[chosen] - center) / scale, sides

    # At random, so that both parts are as extreme.
    mixed = np.random.RandomState(0).permutation(count)
    low, high = low[mixed], high[mixed]
    weights = linear_svm(*rows(slice(0, trained)))
    held_out, sides = rows(slice(trained, None))
    right = (held_out @ weights[:-1] + weights[-1]) * sides > 0
    accuracy = float(right.mean()) if len(right) else float("nan")
    return weights[:-1] / max(float(np.linalg.norm(weights[:-1])), 1e-12), accuracy


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
