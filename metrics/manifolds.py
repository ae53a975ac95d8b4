"""Precision and recall by the official functions, for features of one's own.

A manifold is the union of balls about reference features, each as large as the distance to the k-th
nearest other one (Kynkäänniemi et al. 2019, arXiv:1904.06991, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError
from metrics.neighborhoods import squared_distances, squared_norms

# Added to squared distances that are divided by.
_EPSILON = 1e-5


def batch_pairwise_distances(U: tf.Tensor, V: tf.Tensor) -> tf.Tensor:
    """Squared distances |u - v|² = |u|² - 2·u·v + |v|² in the graph, [n, m].

    Args:
        U, V: [n, D], [m, D].
    """
    u, v = (tf.reduce_sum(tf.square(x), axis=1) for x in (U, V))
    return tf.maximum(u[:, tf.newaxis] - 2 * tf.matmul(U, V, transpose_b=True) + v, 0)


class DistanceBlock:
    """Squared distances of arrays.

    Args:
        num_features: D.
        num_gpus: official argument without effect.
    """

    def __init__(self, num_features: int, num_gpus: int = 1):
        self.num_features, self.num_gpus = num_features, num_gpus

    def pairwise_distances(self, U: np.ndarray, V: np.ndarray) -> np.ndarray:
        """Squared distances float32 [n, m] of [n, D] and [m, D], rounded as `PR` has them."""
        blocks = squared_distances(U, squared_norms(U), V, squared_norms(V))
        return np.concatenate([distances for _, distances in blocks], axis=1)


class ManifoldEstimator:
    """The manifold of reference features.

    Args:
        distance_block: has `pairwise_distances`.
        features: [n, D].
        row_batch_size, col_batch_size: distances that are computed at once.
        nhood_sizes: k, or several.
        clamp_to_percentile: balls larger than this percentile of all are left out; None: none are.

    Attributes:
        D: squared radii float32 [n, number of k].

    Raises:
        UserError: there are not more features than k.
    """

    def __init__(
        self,
        distance_block: DistanceBlock,
        features: np.ndarray,
        row_batch_size: int = 25_000,
        col_batch_size: int = 50_000,
        nhood_sizes: Sequence[int] = (3,),
        clamp_to_percentile: float | None = None,
    ):
        self.nhood_sizes = list(nhood_sizes)
        if len(features) <= max(self.nhood_sizes):
            raise UserError(
                f"{len(features)} features: the {max(self.nhood_sizes)} nearest neighbors of each "
                f"need at least {max(self.nhood_sizes) + 1}"
            )
        self._distance_block, self._features = distance_block, features
        self._row_batch_size, self._col_batch_size = row_batch_size, col_batch_size
        # The nearest one is the feature itself.
        nearest = [np.partition(d, self.nhood_sizes, axis=1) for _, d in self._distances(features)]
        self.D = np.concatenate(nearest)[:, self.nhood_sizes]
        if clamp_to_percentile is not None:
            limits = np.percentile(self.D, clamp_to_percentile, axis=0)
            self.D[self.D > limits] = 0

    def evaluate(
        self,
        eval_features: np.ndarray,
        return_realism: bool = False,
        return_neighbors: bool = False,
    ) -> Any:
        """Which features lie in the manifold.

        Args:
            eval_features: [m, D].
            return_realism: how deep they lie in it too.
            return_neighbors: the nearest reference feature of each too.

        Returns:
            int32 [m, number of k], 1 for those within; then, of what was asked for, float32 [m],
            the square of the realism score for the first k (equation 3), as in the official code,
            and int32 [m], numbers of reference features.
        """
        inside, realism, neighbors = [], [], []
        for _, distances in self._distances(eval_features):
            inside.append([(distances <= radii).any(axis=1) for radii in self.D.T])
            realism.append((self.D[:, 0] / (distances + _EPSILON)).max(axis=1))
            neighbors.append(distances.argmin(axis=1))
        found = [np.concatenate(inside, axis=1).T.astype(np.int32)]
        if return_realism:
            found.append(np.concatenate(realism))
        if return_neighbors:
            found.append(np.concatenate(neighbors).astype(np.int32))
        return tuple(found) if len(found) > 1 else found[0]

    def _distances(self, features: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, distances to all reference features), so many rows at a time."""
        for row in range(0, len(features), self._row_batch_size):
            rows = features[row : row + self._row_batch_size]
            columns = range(0, len(self._features), self._col_batch_size)
            blocks = [
                self._distance_block.pairwise_distances(
                    rows, self._features[column : column + self._col_batch_size]
                )
                for column in columns
            ]
            yield row, np.concatenate(blocks, axis=1)


def knn_precision_recall_features(
    ref_features: np.ndarray,
    eval_features: np.ndarray,
    feature_net: Any = None,
    nhood_sizes: Sequence[int] = (3,),
    row_batch_size: int = 10_000,
    col_batch_size: int = 50_000,
    num_gpus: int = 1,
) -> EasyDict:
    """Precision and recall of features.

    Args:
        ref_features: of reals, [n, D].
        eval_features: of fakes, [m, D].
        feature_net: official argument without effect.
        nhood_sizes, row_batch_size, col_batch_size: see `ManifoldEstimator`.
        num_gpus: see `DistanceBlock`.

    Returns:
        `precision` and `recall`, also as `knn_precision` and `knn_recall`: arrays, a value for
        each k.
    """
    block = DistanceBlock(ref_features.shape[1], num_gpus)
    options = {"nhood_sizes": nhood_sizes, "row_batch_size": row_batch_size}
    options["col_batch_size"] = col_batch_size
    reals = ManifoldEstimator(block, ref_features, **options)
    fakes = ManifoldEstimator(block, eval_features, **options)
    precision = reals.evaluate(eval_features).mean(axis=0)
    recall = fakes.evaluate(ref_features).mean(axis=0)
    return EasyDict(precision=precision, recall=recall, knn_precision=precision, knn_recall=recall)
