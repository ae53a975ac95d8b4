"""GANSpace: principal components of w (Härkönen et al. 2020, arXiv:2004.02546)."""

from __future__ import annotations

import numpy as np

from training.latents.directions.sefa import with_sign


def principal_components(w: np.ndarray, count: int) -> np.ndarray:
    """Principal components of w times the standard deviation along them (section 3.1).

    Args:
        w: [N, D].
        count: how many, at most the smaller of N and D.

    Returns:
        float64 [count, D]: a step of one standard deviation each, the largest first.
    """
    centered = np.asarray(w, np.float64) - np.mean(w, axis=0, dtype=np.float64)
    _, deviations, components = np.linalg.svd(centered, full_matrices=False)
    sigma = deviations[:count, np.newaxis] / np.sqrt(len(w))
    return with_sign(components[:count]) * sigma
