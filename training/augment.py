"""Adaptive discriminator augmentation (ADA, arXiv:2006.06676), by the official names."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.keywords import spread
from training.augmentation.draws import gate_augment_params
from training.augmentation.driven_adaptive import AdaptiveAugment
from training.augmentation.matrices import (
    construct_batch_of_matrices,
    rotate_2d,
    rotate_2d_inv,
    rotate_3d,
    scale_2d,
    scale_2d_inv,
    scale_3d,
    translate_2d,
    translate_2d_inv,
    translate_3d,
)
from training.augmentation.pipeline import augment
from training.augmentation.spec import AugmentSpec

__all__ = [
    "AdaptiveAugment",
    "augment_pipeline",
    "construct_batch_of_matrices",
    "gate_augment_params",
    "rotate_2d",
    "rotate_2d_inv",
    "rotate_3d",
    "scale_2d",
    "scale_2d_inv",
    "scale_3d",
    "translate_2d",
    "translate_2d_inv",
    "translate_3d",
]


@spread(AugmentSpec)
def augment_pipeline(
    images: tf.Tensor,
    labels: tf.Tensor,
    strength: float | tf.Tensor = 1,
    debug_percentile: float | tf.Tensor | None = None,
    *,
    seed: tf.Tensor | None = None,
    **spec: Any,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Transforms images at random: 18 transformations in six groups (ADA, appendix B).

    Every transformation has a multiplier, 0 by default: it is applied with probability strength
    times multiplier, to each sample on its own. Those with 0 cost nothing. Each has its own random
    numbers, so that switching one off leaves the others alone.

    Args:
        images: [N, C, H, W] float32, usually in [-1, 1]; H and W known, of any size. The result can
            leave that range. With C = 4 they are colors over white, and opacity, see
            `training.augmentation.color`. Other floating-point types are computed in float32.
        labels: passed on.
        strength: p of ADA, a number or a tensor of shape [] or [N].
        debug_percentile: in (0, 1), for looking at the pipeline: every transformation is applied,
            with this percentile of its parameters' distributions, whatever strength and multiplier
            are above 0. A number, or a tensor of shape [] or [N].
        seed: [2] int32 that fixes all random numbers; None draws fresh ones at every run.
        {fields}

    Returns:
        Images like `images`, twice differentiable in them, and `labels`.

    Raises:
        UserError: images that are not of rank 4, of unknown size or not floating-point, colors of
            other than 1, 3 or 4 channels, other than four `imgfilter_bands`.
    """
    return augment(images, strength, AugmentSpec(**spec), seed, debug_percentile), labels
