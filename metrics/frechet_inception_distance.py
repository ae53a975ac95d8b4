"""Fréchet inception distance (Heusel et al. 2017, arXiv:1706.08500)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from dnnlib import UserError
from metrics.evaluation import Evaluation
from metrics.metric import RealsAgainstFakes
from metrics.reals import ALL_THE_SAME, check_width

# Rows that are gathered before they are added to the moments: one large matrix product costs a
# fraction of many small ones.
_BLOCK = 1024


@dataclass
class Moments:
    """Mean and scatter matrix of features.

    Attributes:
        count: rows.
        mean: float64 [D].
        scatter: float64 [D, D], the sum of (x - mean)(x - mean)ᵀ.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    def covariance(self, ddof: int) -> np.ndarray:
        """scatter / (count - ddof), [D, D]."""
        return self.scatter / (self.count - ddof)


def streaming_moments(batches: Iterable[np.ndarray]) -> Moments:
    """Moments of features that come in batches, in memory that does not grow with their number.

    Each block is centerd on its own mean and merged by Chan, Golub and LeVeque (1979), so that
    nothing cancels, whatever the mean.

    Args:
        batches: [n, D] each.

    Raises:
        UserError: there are none.
    """
    total: Moments | None = None
    waiting: list[np.ndarray] = []

    def merge() -> Moments:
        x = np.concatenate(waiting).astype(np.float64)
        waiting.clear()
        mean = x.mean(axis=0)
        x -= mean
        scatter = x.T @ x
        if total is None:
            return Moments(len(x), mean, scatter)
        count, delta = total.count + len(x), mean - total.mean
        total.scatter += scatter
        total.scatter += np.outer(delta, delta * (total.count * len(x) / count))
        return Moments(count, total.mean + delta * (len(x) / count), total.scatter)

    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= _BLOCK:
            total = merge()
    if sum(map(len, waiting)):
        total = merge()
    if total is None:
        raise UserError("no images to compute features of")
    return total


def frechet_distance(
    mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray
) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), the distance of two Gaussians.

    With C1 = L Lᵀ, the eigenvalues of C1 C2 that are not zero are those of Lᵀ C2 L, a symmetric
    positive semidefinite matrix; the trace of the root is the sum of their roots. No general matrix
    root is taken, which is slow and fails where there are fewer images than features.

    Args:
        mean1, mean2: [D].
        cov1, cov2: [D, D], symmetric.
    """
    factor, order = _factor(cov1)
    product = factor.T @ cov2[np.ix_(order, order)] @ factor
    values = scipy.linalg.eigvalsh(product) if len(product) else 0  # 0 if all images are alike.
    trace = np.sqrt(np.maximum(values, 0)).sum()
    difference = np.sum(np.square(mean1 - mean2))
    return float(difference + np.trace(cov1) + np.trace(cov2) - 2 * trace)


def _factor(cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L [D, rank] and an order of the features, with cov[order][:, order] = L Lᵀ."""
    tolerance = np.finfo(np.float64).eps * cov.diagonal().max()
    packed, order, rank, _ = scipy.linalg.lapack.dpstrf(cov, tol=tolerance, lower=1)
    return np.tril(packed)[:, :rank], order - 1


def fid_of_moments(reals: Moments, fakes: Moments) -> float:
    """FID by the official convention: reals' covariance over n, fakes' over n - 1.

    Raises:
        UserError: too few images for a covariance.
    """
    for what, moments in (("real", reals), ("generated", fakes)):
        if moments.count < 2:
            raise UserError(f"{moments.count} {what} image: a covariance needs at least 2")
        if not np.isfinite(moments.scatter).all():
            raise UserError(f"the features of {what} images are not finite numbers")
    if not reals.scatter.any():
        raise UserError(ALL_THE_SAME)
    return frechet_distance(reals.mean, reals.covariance(0), fakes.mean, fakes.covariance(1))


class FID(RealsAgainstFakes):
    """Fréchet distance of Inception features, of reals and fakes."""

    official, general = "fid", "frechet"

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        real_images = self._reals(evaluation)

        def compute() -> dict[str, np.ndarray]:
            return vars(streaming_moments(real_images.features()))

        shapes = {"count": (), "mean": (None,), "scatter": (None, None)}
        stored = real_images.cached("moments", compute, shapes)
        reals = Moments(len(real_images.index), stored["mean"], stored["scatter"])
        fakes = streaming_moments(evaluation.fake_features(self._network, self.num_fakes))
        check_width((*reals.mean.shape, *reals.scatter.shape), len(fakes.mean))
        if (dimension := len(reals.mean)) > min(reals.count, fakes.count):
            evaluation.note(
                f"{reals.count} reals and {fakes.count} fakes are fewer than the {dimension} "
                "features: the value is biased upwards, compare it at equal numbers only"
            )
        return {"": fid_of_moments(reals, fakes)}
