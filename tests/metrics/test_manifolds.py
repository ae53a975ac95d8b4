"""The official functions of precision, recall, kernels and path lengths, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from metrics import neighborhoods, precision_recall
from metrics.kernel_inception_distance import compute_kid
from metrics.perceptual_path_length import normalize
from metrics.precision_recall import (
    DistanceBlock,
    ManifoldEstimator,
    batch_pairwise_distances,
    knn_precision_recall_features,
)

RNG = np.random.default_rng(4)
REALS = RNG.normal(size=[40, 5]).astype(np.float32)
FAKES = (RNG.normal(size=[30, 5]) * 1.5 + 0.5).astype(np.float32)


def squared(u, v):
    return np.square(u[:, np.newaxis].astype(np.float64) - v).sum(axis=2)


def test_distances(session):
    found = tflib.run(batch_pairwise_distances(tf.constant(REALS), tf.constant(FAKES)))
    np.testing.assert_allclose(found, squared(REALS, FAKES), rtol=1e-4, atol=1e-4)
    rounded = DistanceBlock(5, num_gpus=1).pairwise_distances(REALS, FAKES)
    np.testing.assert_allclose(rounded, squared(REALS, FAKES), rtol=0.02, atol=0.05)
    assert tflib.run(batch_pairwise_distances(*[tf.constant(REALS)] * 2)).min() >= 0


def test_manifolds_hold_what_lies_near_enough():
    class Exact:
        def pairwise_distances(self, u, v):
            return squared(u, v)

    sizes = [1, 3]
    distances = squared(REALS, REALS)
    radii = np.sort(distances, axis=1)[:, sizes]
    manifold = ManifoldEstimator(Exact(), REALS, 7, 9, nhood_sizes=sizes)
    np.testing.assert_allclose(manifold.D, radii)
    to_reals = squared(FAKES, REALS)
    inside = (to_reals[:, :, np.newaxis] <= radii).any(axis=1)
    found, realism, nearest = manifold.evaluate(FAKES, return_realism=True, return_neighbors=True)
    np.testing.assert_array_equal(found, inside)
    assert found.dtype == np.int32 and 0 < inside.sum() < inside.size
    ratios = radii[:, 0] / to_reals
    np.testing.assert_allclose(realism, ratios.max(axis=1), rtol=1e-3)
    np.testing.assert_array_equal(nearest, to_reals.argmin(axis=1))
    np.testing.assert_array_equal(manifold.evaluate(FAKES, return_neighbors=True)[1], nearest)
    few = ManifoldEstimator(Exact(), REALS, nhood_sizes=[3], clamp_to_percentile=50)
    limit = np.percentile(radii[:, 1], 50)
    np.testing.assert_allclose(few.D[:, 0], np.where(radii[:, 1] > limit, 0, radii[:, 1]))
    with pytest.raises(UserError, match="nearest neighbors of each need at least 41"):
        ManifoldEstimator(Exact(), REALS, nhood_sizes=[40])


def test_precision_and_recall_are_those_of_the_metric():
    found = knn_precision_recall_features(REALS, FAKES, None, [3], 11, 13, num_gpus=1)
    radii = [neighborhoods.neighborhood_radii(x, 3) for x in (REALS, FAKES)]
    expected = precision_recall.precision_recall(REALS, radii[0], FAKES, radii[1])
    assert (found.precision[0], found.recall[0]) == pytest.approx(expected)
    assert (found.knn_precision[0], found.knn_recall[0]) == pytest.approx(expected)


def test_kernel_distance_of_features():
    np.random.seed(1)
    first, second = (compute_kid(REALS, FAKES, 5, max_subset_size=20) for _ in range(2))
    np.random.seed(1)
    assert compute_kid(REALS, FAKES, 5, max_subset_size=20) == first != second
    whole = compute_kid(REALS, FAKES[:, ::1], num_subsets=1, max_subset_size=1000)
    # All 30 fakes, and 30 of the 40 reals, so that only the order of magnitude is known.
    kxx, kyy, kxy = (
        (a @ b.T / 5 + 1) ** 3 for a, b in ((REALS, REALS), (FAKES, FAKES), (REALS, FAKES))
    )
    off = [k[~np.eye(len(k), dtype=bool)].mean() for k in (kxx, kyy)]
    assert whole == pytest.approx(sum(off) - 2 * kxy.mean(), rel=0.5)


def test_directions(session):
    v = RNG.normal(size=[3, 4]).astype(np.float32)
    expected = v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(tflib.run(normalize(tf.constant(v))), expected, rtol=1e-5)
