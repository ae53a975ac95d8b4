"""Inception score (Salimans et al. 2016, arXiv:1606.03498)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import xlogy

from dnnlib import UserError
from metrics.evaluation import Evaluation
from metrics.metric import MetricBase


def inception_score(
    batches: Iterable[np.ndarray], count: int, num_splits: int
) -> tuple[float, float]:
    """exp of the mean of KL(p(y|x) ‖ p(y)), over splits of consecutive images.

    Sums are kept, not probabilities: mean KL = mean Σ p log p - Σ q log q with q the mean of p.

    Args:
        batches: class probabilities [n, classes] each, `count` rows together.
        count: images.
        num_splits: p(y) is that of a split.

    Returns:
        Mean and standard deviation (over n) of the splits' scores.

    Raises:
        UserError: fewer images than splits.
    """
    if count < num_splits:
        raise UserError(f"{count} images: an inception score of {num_splits} splits needs as many")
    bounds = [i * count // num_splits for i in range(num_splits + 1)]
    sums: list[np.ndarray | float] = [0.0] * num_splits
    neg_entropies = np.zeros(num_splits)
    position = 0
    for batch in batches:
        p = batch.astype(np.float64)
        split_of = np.searchsorted(bounds, np.arange(position, position + len(p)), "right") - 1
        position += len(p)
        for split in np.unique(split_of):
            rows = p[split_of == split]
            sums[split] = sums[split] + rows.sum(axis=0)
            neg_entropies[split] += xlogy(rows, rows).sum()
    scores = []
    for total, neg_entropy, size in zip(sums, neg_entropies, np.diff(bounds), strict=True):
        q = total / size
        scores.append(np.exp(neg_entropy / size - xlogy(q, q).sum()))
    return float(np.mean(scores)), float(np.std(scores))


class IS(MetricBase):
    """Inception score of fakes; reals have no part in it.

    Args:
        name: as reported.
        num_images: images to generate.
        num_splits: parts that are scored on their own.
        forced: see `MetricBase`.
    """

    def __init__(
        self,
        name: str,
        num_images: int,
        num_splits: int,
        **forced: Any,
    ):
        super().__init__(name, **forced)
        self.num_images, self.num_splits = num_images, num_splits

    def use_features(self, sources) -> None:
        self._network = sources.get_softmax()

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        batches = evaluation.fake_features(self._network, self.num_images, "softmax")
        mean, deviation = inception_score(batches, self.num_images, self.num_splits)
        return {"_mean": mean, "_std": deviation}
