"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991)."""

from __future__ import annotations

from typing import Any

from metrics.evaluation import Evaluation
from metrics.manifolds import (
    DistanceBlock,
    ManifoldEstimator,
    batch_pairwise_distances,
    knn_precision_recall_features,
)
from metrics.metric import RealsAgainstFakes
from metrics.neighborhoods import neighborhood_radii, precision_recall
from metrics.reals import check_width

__all__ = [
    "PR",
    "DistanceBlock",
    "ManifoldEstimator",
    "batch_pairwise_distances",
    "knn_precision_recall_features",
    "neighborhood_radii",
    "precision_recall",
]


class PR(RealsAgainstFakes):
    """Precision and recall of VGG16 features.

    Args:
        name: as reported.
        nhood_size: k.
        row_batch_size, col_batch_size: official keywords without effect: how much is in memory at
            once does not depend on them.
        images: see `RealsAgainstFakes`.
    """

    role = "vgg16"
    official, general = "pr", "pr"

    def __init__(
        self,
        name: str,
        nhood_size: int,
        row_batch_size: int | None = None,
        col_batch_size: int | None = None,
        **images: Any,
    ):
        super().__init__(name, **images)
        self.nhood_size = nhood_size

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        real_images, k = self._reals(evaluation), self.nhood_size
        reals = real_images.cached_features()
        stored = real_images.cached(
            f"radii{k}", lambda: {"radii": neighborhood_radii(reals, k)}, {"radii": (len(reals),)}
        )
        fakes = evaluation.all_fake_features(self._network, self.num_fakes)
        check_width(reals.shape[1:], fakes.shape[1])
        fake_radii = neighborhood_radii(fakes, k)
        precision, recall = precision_recall(reals, stored["radii"], fakes, fake_radii)
        return {"_precision": precision, "_recall": recall}
