"""Ridge regression: the linear form in w that predicts an attribute best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HELD_OUT = 5  # Each fifth sample is held out.
# Strengths of the penalty that are tried, in mean squared lengths of the samples.
_STRENGTHS = np.logspace(-5, 1, 25)


@dataclass(frozen=True)
class RidgeFit:
    """What predicts an attribute.

    Attributes:
        slope: float64 [D]: the change of the attribute for a change of w, in the attribute's units.
        r2: of the held-out samples, 1 - Σ(y - prediction)² / Σ(y - mean)²; at most 1.
        sigma: standard deviation of the attribute.
    """

    slope: np.ndarray
    r2: float
    sigma: float


def fit_ridge(x: np.ndarray, y: np.ndarray, classes: np.ndarray | None = None) -> RidgeFit:
    """Minimizes Σ(y - slope·x)² + strength·|slope|² over slope (Hoerl and Kennard 1970).

    x and y are first centered, each class by itself, so that the slope says what changes the
    attribute within a class. The strength is the one with the least generalized cross-validation
    (Golub, Heath and Wahba 1979), Σ(y - prediction)² / (N - Σ λ/(λ + strength))², without the
    samples that are held out; the slope is then fitted to all.

    Args:
        x: [N, D].
        y: [N], finite.
        classes: whole numbers [N], or None.
    """
    classes = np.zeros(len(x), int) if classes is None else classes
    held_out = np.arange(len(x)) % HELD_OUT == HELD_OUT - 1
    from_mean = [centered(values, classes, ~held_out) for values in (x, y)]
    strength = _strength(*(values[~held_out] for values in from_mean))
    slope = _solve(*(values[~held_out] for values in from_mean), strength)
    left = from_mean[1][held_out]
    error = left - from_mean[0][held_out] @ slope
    r2 = 1 - np.sum(error**2) / max(np.sum(left**2), 1e-300)
    slope = _solve(*(centered(values, classes) for values in (x, y)), strength)
    return RidgeFit(slope, float(r2), float(np.std(y)))


def centered(
    values: np.ndarray, classes: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """Values [N, …] minus the mean over the known ones of the same class; None: over all."""
    known = np.ones(len(values), bool) if known is None else known
    result = np.asarray(values, np.float64).copy()
    for number in np.unique(classes):
        of_class = classes == number
        if (of_class & known).any():
            result[of_class] -= result[of_class & known].mean(axis=0)
    return result


def _scale(x: np.ndarray) -> float:
    return float(np.sum(x**2) / x.shape[1]) or 1.0


def _strength(x: np.ndarray, y: np.ndarray) -> float:
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    rest = max(float(y @ y - projected @ projected), 0.0)
    scores = []
    for strength in _STRENGTHS:
        shrink = s**2 / (s**2 + strength * _scale(x))
        error = rest + np.sum(np.square((1 - shrink) * projected))
        scores.append(error / (len(y) - shrink.sum()) ** 2)
    return float(_STRENGTHS[int(np.argmin(scores))])


def _solve(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    matrix = x.T @ x + strength * _scale(x) * np.eye(x.shape[1])
    return np.linalg.solve(matrix, x.T @ y)
