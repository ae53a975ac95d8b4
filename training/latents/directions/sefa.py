"""SeFa: directions from the weights of a generator alone (Shen and Zhou 2020, arXiv:2007.06600)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def sefa(matrices: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Directions of w that change styles most: eigenvectors of A·Aᵀ (section 3.2).

    A are the style matrices side by side, each column scaled to unit length. The sign, which is
    free, makes the largest component positive.

    Args:
        matrices: [D, styles] each, of the layers that count.
        count: how many, at most D.

    Returns:
        float64 [count, D], each of unit length, that of the largest eigenvalue first.
    """
    a = np.concatenate([np.asarray(matrix, np.float64) for matrix in matrices], axis=1)
    a = a / np.maximum(np.linalg.norm(a, axis=0), 1e-12)
    # The left singular vectors of A are the eigenvectors of A·Aᵀ.
    vectors, _, _ = np.linalg.svd(a, full_matrices=False)
    return with_sign(vectors.T[:count])


def with_sign(vectors: np.ndarray) -> np.ndarray:
    """Rows [N, D] whose largest component is positive."""
    rows = np.arange(len(vectors))
    largest = vectors[rows, np.abs(vectors).argmax(axis=1)]
    return vectors * np.where(largest < 0, -1, 1)[:, np.newaxis]
