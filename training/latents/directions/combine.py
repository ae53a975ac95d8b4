"""Steps put together of candidates, so that one attribute moves and others stay."""

from __future__ import annotations

import numpy as np

# Weight of the variance of the effects on other attributes.
_BESIDE = 0.3
# Of the mean variance of the candidates' effects, added to each: few samples say little of them.
_SHRINKAGE = 0.3
_DAMPING = 0.8  # Of corrections: effects are known with an error.


class Combination:
    """Factors of candidate steps that move the first attribute by 1 and others by 0, uniformly.

    With the mean effects E [C, A] of C candidates on A attributes, and the covariance S [C, C] of
    their effects over the samples, those on the first attribute and 0.3 of those on the others,
    the factors x minimize xᵀ·S·x, the variance of the joint effect, subject to Eᵀ·x = (1, 0, …):

        x = K · (1, 0, …),  K = S⁻¹·E · (Eᵀ·S⁻¹·E)⁻¹

    as of a portfolio of least variance (Markowitz 1952). Effects are taken to add up; `corrected`
    makes up for what they do not.

    Args:
        effects: float [N, C, A]: of each candidate on each attribute of each sample; NaN where a
            picture has no such attribute.

    Attributes:
        factors: float64 [C], x.
    """

    def __init__(self, effects: np.ndarray):
        known = np.isfinite(effects)
        mean = np.where(known, effects, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        off = np.where(known, effects - mean, 0)
        weights = np.array([1.0] + [_BESIDE] * (effects.shape[2] - 1))
        covariance = np.einsum("nca,nda,a->cd", off, off, weights) / len(effects)
        covariance += np.eye(len(mean)) * (_SHRINKAGE * np.trace(covariance) / len(mean) + 1e-12)
        weighted = np.linalg.solve(covariance, mean)
        self._gain = weighted @ np.linalg.pinv(mean.T @ weighted, rcond=1e-6, hermitian=True)
        self.factors = self._gain[:, 0].copy()

    def corrected(self, x: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Factors nearer to the target, given what x was measured to move, [A]: x + 0.8·K·(target
        - moved), a damped Newton step.
        """
        return x + _DAMPING * self._gain @ (np.eye(len(moved))[0] - moved)
