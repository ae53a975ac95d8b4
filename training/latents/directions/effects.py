"""What a direction does: attributes of pictures before and after a step, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Of the samples have to move the right way, and by that much on average, in standard deviations.
LEAST_RIGHT = 0.9
REACH = (0.5, 1.5)
MOST_BESIDE = 0.5  # Of the direction's own effect, on attributes that it should leave alone.
ROUNDS = 2  # Of calibration.
_SCALES = (0.25, 4.0)  # What a round of calibration may multiply a step by.


@dataclass(frozen=True)
class Effect:
    """Effect of a step, of samples that have the attributes before and after it.

    Attributes:
        moved: mean change by attribute, in standard deviations.
        right: part of the samples whose own attribute has risen; None without one of its own.
        pictures: how many samples were measured.
    """

    moved: dict[str, float]
    right: float | None
    pictures: int


@dataclass(frozen=True)
class Ground:
    """Samples that steps are tried on.

    Attributes:
        dlatents: float32 [N, num_layers, dlatent_size].
        values: attributes of their pictures, [N, A].
        names: of the attributes.
        sigmas: standard deviations of the attributes, [A].
        measure: takes dlatents [N, num_layers, dlatent_size], gives attributes [N, A].
    """

    dlatents: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    sigmas: np.ndarray
    measure: Callable[[np.ndarray], np.ndarray]

    def effect(self, step: np.ndarray, own: str | None = None, most: int | None = None) -> Effect:
        """The effect of a step [num_layers, dlatent_size] on the first `most` samples."""
        before = self.values[:most]
        after = self.measure(self.dlatents[:most] + step.astype(np.float32))
        moved = (after - before) / self.sigmas
        moved = moved[np.isfinite(moved).any(axis=1)]
        with np.errstate(invalid="ignore"):
            means = {
                name: float(column[np.isfinite(column)].mean())
                for name, column in zip(self.names, moved.T, strict=True)
                if np.isfinite(column).any()
            }
        right = None
        if own is not None and own in means:
            column = moved[:, self.names.index(own)]
            right = float(np.mean(column[np.isfinite(column)] > 0))
        return Effect(means, right, len(moved))


def calibrated(ground: Ground, step: np.ndarray, own: str, most: int) -> np.ndarray:
    """A step scaled so that its own attribute moves by a standard deviation on average.

    Two rounds of the secant rule on the first `most` samples; where the attribute does not move the
    right way, the step is left as it is.
    """
    for _ in range(ROUNDS):
        moved = ground.effect(step, own, most).moved.get(own, 0.0)
        if moved <= 0:
            return step
        step = step * float(np.clip(1 / moved, *_SCALES))
    return step


def shortfalls(effect: Effect, own: str, alone: Sequence[str]) -> list[str]:
    """What an effect lacks of a good one, in words; nothing for a good one.

    Args:
        effect: of a step of +1.
        own: the attribute that should move.
        alone: attributes that should not.
    """
    moved, found = effect.moved.get(own), []
    if moved is None:
        return ["its effect cannot be measured"]
    if effect.right < LEAST_RIGHT:
        found.append(
            f"{effect.right:.0%} of the pictures move the right way, not {LEAST_RIGHT:.0%}"
        )
    if not REACH[0] <= moved <= REACH[1]:
        found.append(f"it moves by {moved:+.2f} standard deviations, not {REACH[0]} to {REACH[1]}")
    for name in alone:
        beside = effect.moved.get(name, 0.0)
        if name != own and abs(beside) > MOST_BESIDE * abs(moved):
            found.append(f"{name} moves too, by {beside:+.2f}")
    return found
