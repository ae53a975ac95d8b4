"""Runs that cannot learn any more, and numbers that are not finite. Without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dnnlib import UserError

if TYPE_CHECKING:
    from dnnlib.tflib.autosummary import Moments

_SKIPPED = "/skipped_steps"
# A run is over when an optimizer skipped all of so many steps in a row, over so many whole ticks.
_MIN_STEPS, _MIN_TICKS = 8, 2
REMEDY = (
    "lower --lrate or --gamma, leave out --precision=mixed, or look for what is wrong in the data "
    "(dataset_tool.py info)"
)


class Diverged(UserError):
    """A run that learns nothing any more. Scripts end with exit code 1."""


class SkippedSteps:
    """Counts the steps that optimizers skipped because gradients were not finite.

    Attributes:
        is_stuck: whether some optimizer skipped all steps of the last tick in which it had any.
    """

    def __init__(self) -> None:
        self._streaks: dict[str, tuple[int, int]] = {}  # {optimizer: (ticks, steps)}

    @property
    def is_stuck(self) -> bool:
        return bool(self._streaks)

    def add_tick(self, moments: Mapping[str, Moments]) -> list[str]:
        """Takes in the statistics of a tick, and returns a line for each optimizer that skipped.

        Raises:
            Diverged: all steps of several ticks were skipped.
        """
        lines = []
        for name, m in moments.items():
            if not name.endswith(_SKIPPED):
                continue
            if m.mean:
                lines.append(f"{name}: {m.mean * m.num:.0f} of {m.num:.0f}: gradients not finite")
            if m.mean < 1:
                self._streaks.pop(name, None)
                continue
            ticks, steps = self._streaks.get(name, (0, 0))
            self._streaks[name] = ticks, steps = ticks + 1, steps + round(m.num)
            if ticks >= _MIN_TICKS and steps >= _MIN_STEPS:
                raise Diverged(
                    f"{name.removesuffix(_SKIPPED)} skipped all of its last {steps} steps, those "
                    f"of {ticks} ticks, because gradients are not finite: the run learns nothing "
                    f"any more; start a new one, from an earlier snapshot (--resume=FILE) or from "
                    f"the beginning: {REMEDY}"
                )
        return lines


def non_finite(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the arrays that hold NaN or infinity."""
    floats = {name: a for name, a in arrays.items() if np.issubdtype(a.dtype, np.inexact)}
    return [name for name, array in floats.items() if not np.isfinite(array).all()]
