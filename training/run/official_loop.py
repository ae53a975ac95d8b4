"""What scripts for the official code expect of `training.training_loop`, besides the schedule."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from dnnlib import UserError
from training.dataset import TFRecordDataset
from training.pictures import grids

F = TypeVar("F", bound=Callable)


def setup_snapshot_image_grid(
    training_set: TFRecordDataset,
) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """Real images and labels for grids of the size that the ADA repository has.

    Returns:
        ((gw, gh), reals uint8 [gw·gh, C, H, W], labels float32 [gw·gh, label_size]).
    """
    return grids.setup_snapshot_image_grid(training_set, size="8k")


def refusing_official_keywords(loop: F) -> F:
    """Decorator of a training loop: official keywords raise a UserError that says what to use."""
    known = inspect.signature(loop).parameters

    @functools.wraps(loop)
    def call(*args: Any, **kwargs: Any) -> Any:
        if unknown := [name for name in kwargs if name not in known]:
            raise UserError(
                f"training_loop() takes no {', '.join(unknown)} here: start runs with "
                "run_training.py, or with training.training_loop.train(options, result_dir, desc) "
                "and options from training.config.presets.preset"
            )
        return loop(*args, **kwargs)

    return call
