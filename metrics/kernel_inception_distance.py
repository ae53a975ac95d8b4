"""Kernel inception distance (Bińkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

import numpy as np

from dnnlib import UserError
from metrics.evaluation import Evaluation
from metrics.metric import RealsAgainstFakes
from metrics.reals import check_width

NUM_SUBSETS = 100
MAX_SUBSET_SIZE = 1000


def kernel_distance(
    reals: np.ndarray,
    fakes: np.ndarray,
    rng: np.random.Generator,
    num_subsets: int = NUM_SUBSETS,
    max_subset_size: int = MAX_SUBSET_SIZE,
) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y / D + 1)³.

    Mean over random subsets of m images of each kind; only one subset at a time is in memory, so
    that the arrays may be mapped files. Kernels and their sums are float32, like those of
    the official code.

    Args:
        reals, fakes: features [n, D].
        rng: chooses the subsets.
        num_subsets: how many.
        max_subset_size: m at most; all images if there are fewer.

    Raises:
        UserError: fewer than two images of a kind.
    """
    m = min(len(reals), len(fakes), max_subset_size)
    if m < 2:
        raise UserError(
            f"{len(reals)} real and {len(fakes)} generated images: a kernel distance needs "
            "at least 2 of each"
        )
    total = 0.0
    for _ in range(num_subsets):
        y = _subset(fakes, m, rng)
        x = _subset(reals, m, rng)
        within = _kernel(x, x) + _kernel(y, y)
        total += ((within.sum() - np.trace(within)) / (m - 1) - _kernel(x, y).sum() * 2 / m) / m
    return float(total / num_subsets)


def compute_kid(
    feat_real: np.ndarray,
    feat_fake: np.ndarray,
    num_subsets: int = NUM_SUBSETS,
    max_subset_size: int = MAX_SUBSET_SIZE,
) -> float:
    """`kernel_distance` of features [n, D], with subsets by NumPy's global generator."""
    rng = np.random.default_rng(np.random.randint(1 << 31))
    return kernel_distance(feat_real, feat_fake, rng, num_subsets, max_subset_size)


def _subset(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    index = rng.choice(len(features), count, replace=False)
    return features[np.sort(index)].astype(np.float32)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


class KID(RealsAgainstFakes):
    """Kernel distance of Inception features; unbiased, so that it also serves few images."""

    official, general = "kid", "kernel"

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        reals = self._reals(evaluation).cached_features()
        fakes = evaluation.all_fake_features(self._network, self.num_fakes)
        check_width(reals.shape[1:], fakes.shape[1])
        return {"": kernel_distance(reals, fakes, evaluation.generator("subsets", 0))}
