"""StyleSpace: which style channels belong to an attribute (Wu et al. 2020, arXiv:2011.12799)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.latents.directions.boundary import EXTREME
from training.latents.directions.style_layers import StyleLayer

_LEAST = 10


@dataclass(frozen=True)
class StyleChannel:
    """A style channel that belongs to an attribute.

    Attributes:
        name: of the layer that gets the style.
        layer: number of the w that it comes from.
        channel: its number.
        theta: how clearly samples that have the attribute differ in it.
        sign: 1 if it is higher in these, -1 if it is lower.
    """

    name: str
    layer: int
    channel: int
    theta: float
    sign: int


def rank_channels(
    layers: Sequence[StyleLayer], w: np.ndarray, scores: np.ndarray, count: int
) -> list[StyleChannel]:
    """The style channels that tell best the samples with the highest 2 % of the scores.

    With δ = (s - μ) / σ for the style s of such a sample, and mean and deviation of all samples,
    channels are ranked by θ = |mean of δ| / deviation of δ (section 4.2).

    Args:
        layers: of the styles; w that they do not read are not used.
        w: [N, D], the same for all layers.
        scores: [N], finite.
        count: how many channels.
    """
    exemplars = np.argsort(-scores, kind="stable")[: max(round(len(w) * EXTREME), _LEAST)]
    found = []
    for layer in layers:
        # Neither bias nor scale of the affine layer have a part in δ.
        styles = w @ layer.matrix.astype(np.float64)
        deviation = styles.std(axis=0)
        delta = (styles[exemplars] - styles.mean(axis=0)) / np.maximum(deviation, 1e-12)
        mean, spread = delta.mean(axis=0), np.maximum(delta.std(axis=0), 1e-12)
        theta = np.where(deviation > 0, np.abs(mean) / spread, 0)
        for channel in np.argsort(-theta, kind="stable")[:count].tolist():
            sign = 1 if mean[channel] > 0 else -1
            found.append(
                StyleChannel(layer.name, layer.layer, channel, float(theta[channel]), sign)
            )
    return sorted(found, key=lambda channel: -channel.theta)[:count]
