"""Projects a few images and returns all that was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.tflib import Network
from training.latents.distances import Distance
from training.latents.options import ProjectionOptions
from training.latents.projection import Projection


@dataclass(frozen=True)
class Projected:
    """What a projection found.

    Attributes:
        dlatents: float32 [N, num_layers, dlatent_size].
        noises: float32 [N, 1, H, W] for every noise input.
        images: of these, float32 [N, C, H, W], about -1 to 1.
        distance: of images and targets, [N].
        dlatents_by_step: after every step, [num_steps, N, num_layers, dlatent_size]; else None.
    """

    dlatents: np.ndarray
    noises: list[np.ndarray]
    images: np.ndarray
    distance: np.ndarray
    dlatents_by_step: np.ndarray | None = None


def project(
    Gs: Network,
    targets: np.ndarray,
    *,
    distance: Distance,
    labels: Sequence[np.ndarray | None] | None = None,
    noise_init: Sequence[np.ndarray] | None = None,
    keep_steps: bool = False,
    **options: Any,
) -> Projected:
    """Projects images into W or W+ as one minibatch.

    Args:
        Gs: a generator.
        targets: [N, C, H, W], uint8, or floats of -1 to 1.
        distance: see `distances`.
        labels, noise_init: see `Projection.start`.
        keep_steps: return w after every step too.
        options: fields of `ProjectionOptions`, like `num_steps` and `space`.

    Raises:
        UserError: targets, labels or noise maps that do not fit the network, or a distance that is
            not finite.
    """
    projection = Projection(Gs, distance, len(targets), ProjectionOptions(**options))
    projection.start(targets, labels, noise_init)
    steps = []
    while projection.cur_step < projection.options.num_steps:
        projection.step()
        if keep_steps:
            steps.append(projection.dlatents)
    images, distances = projection.evaluate()
    return Projected(
        projection.dlatents,
        projection.noises,
        images,
        distances,
        np.stack(steps) if keep_steps else None,
    )
