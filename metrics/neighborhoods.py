"""Neighborhoods of features, and which features lie within those of others.

Kynkäänniemi et al. 2019, arXiv:1904.06991, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError

# Rows and columns of the table of distances that are in memory at once.
_ROWS = 2048
_COLUMNS = 8192
# Squared norms up to which half precision (largest number 65504) holds all sums on the way.
_HALF_LIMIT = 1 << 13


def neighborhood_radii(features: np.ndarray, nhood_size: int) -> np.ndarray:
    """Squared distance of every row to its k-th nearest neighbor, float32 [n].

    Args:
        features: [n, D].
        nhood_size: k, below n.

    Raises:
        UserError: there are not more than k rows.
    """
    if len(features) <= nhood_size:
        raise UserError(
            f"{len(features)} images: the {nhood_size} nearest neighbors of each need "
            f"at least {nhood_size + 1}"
        )
    norms = squared_norms(features)
    radii = np.empty(len(features), np.float32)
    for begin in range(0, len(features), _ROWS):
        rows = slice(begin, begin + _ROWS)
        nearest = np.full([len(features[rows]), 0], np.inf, np.float32)
        for _, distances in squared_distances(features[rows], norms[rows], features, norms):
            both = np.concatenate([nearest, distances], axis=1)
            if both.shape[1] > nhood_size + 1:
                both = np.partition(both, nhood_size, axis=1)[:, : nhood_size + 1]
            nearest = both
        radii[rows] = nearest.max(axis=1)  # The nearest of these k + 1 is the row itself.
    return radii


def precision_recall(
    reals: np.ndarray, real_radii: np.ndarray, fakes: np.ndarray, fake_radii: np.ndarray
) -> tuple[float, float]:
    """Precision: share of fakes within the neighborhood of any real. Recall: the other way round.

    Args:
        reals, fakes: features [n, D], [m, D].
        real_radii, fake_radii: from `neighborhood_radii`.
    """
    real_norms, fake_norms = squared_norms(reals), squared_norms(fakes)
    covered_reals = np.zeros(len(reals), bool)
    covered_fakes = np.zeros(len(fakes), bool)
    for begin in range(0, len(reals), _ROWS):
        own = slice(begin, begin + _ROWS)
        for start, distances in squared_distances(reals[own], real_norms[own], fakes, fake_norms):
            other = slice(start, start + distances.shape[1])
            covered_fakes[other] |= (distances <= real_radii[own, np.newaxis]).any(axis=0)
            covered_reals[own] |= (distances <= fake_radii[other]).any(axis=1)
    return float(covered_fakes.mean()), float(covered_reals.mean())


def squared_norms(features: np.ndarray) -> np.ndarray:
    """|x|² of every row, float32 [n], in the half precision of the official code.

    The order of additions shows in half precision. That of TensorFlow on a CPU is the order of the
    published numbers, hence its operation. Norms that half precision cannot hold are exact.
    """
    norms = np.empty(len(features), np.float32)
    config = tf.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        x = tf.placeholder(tf.float16, [None, features.shape[1]])
        in_half = tf.reduce_sum(tf.square(x), axis=1)
        for begin in range(0, len(features), _ROWS):
            rows = np.asarray(features[begin : begin + _ROWS], np.float32)
            exact = np.einsum("nd,nd->n", rows, rows)
            if exact.max() <= _HALF_LIMIT:
                exact = session.run(in_half, {x: rows})
            norms[begin : begin + _ROWS] = exact
    return norms


def squared_distances(
    rows: np.ndarray, row_norms: np.ndarray, features: np.ndarray, norms: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """(first column, squared distances float32 [rows, columns]), block by block.

    Every step is rounded to half precision, as the official code computes: neighbors at nearly the
    same distance are then at the same one, and published numbers count them so.
    """
    in_half = max(row_norms.max(), norms.max()) <= _HALF_LIMIT

    def rounded(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float16).astype(np.float32) if in_half else x

    x = rounded(np.asarray(rows, np.float32))
    for start in range(0, len(features), _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        y = rounded(np.asarray(features[columns], np.float32))
        distances = rounded(x @ y.T)
        distances *= -2
        distances += row_norms[:, np.newaxis]
        distances = rounded(distances)
        distances += norms[columns]
        yield start, np.maximum(rounded(distances), 0)
