"""What directions are found from, and what is known of them until they are in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.latents.attributes.names import of_other_groups
from training.latents.directions.effects import Effect, Ground, shortfalls
from training.latents.directions.files import DirectionInfo
from training.latents.directions.ridge import RidgeFit, fit_ridge

# Held-out R² below which an attribute counts as not predictable.
LEAST_R2 = 0.1
LEAST_SAMPLES = 50


@dataclass(frozen=True)
class Sampled:
    """Samples that directions are found from.

    Attributes:
        w: [N, D], of all layers.
        classes: [N], 0 for networks without.
        names: of the attributes.
        values: [N, A], NaN where a sample has none.
    """

    w: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray

    def of(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(w, values, classes) of the samples that have the attribute."""
        values = self.values[:, self.names.index(name)]
        known = np.isfinite(values)
        return self.w[known], values[known], self.classes[known]


@dataclass
class Found:
    """Directions by name, and attributes that have none, with the reason."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    infos: dict[str, DirectionInfo] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """What to find directions with.

    Attributes:
        sampled: what they are found from.
        ground: other samples, on which candidates are tried and steps scaled.
        check: samples again others, on which the result is measured.
        ranges: layers of each range.
        keep: attributes to leave alone; None: those of `of_other_groups`.
        across: attributes that differ between classes, like the probability of one: of these,
            classes are not centered.
    """

    sampled: Sampled
    ground: Ground
    check: Ground
    ranges: Sequence[Sequence[int]]
    keep: Sequence[str] | None = None
    across: frozenset[str] = frozenset()

    def kept(self, name: str) -> list[str]:
        """Attributes that a direction for an attribute should leave alone."""
        keep = of_other_groups(name) if self.keep is None else self.keep
        return [other for other in keep if other != name]

    def all_of(self, names: Sequence[str]) -> list[str]:
        """Attributes and those that their directions should leave alone, as far as samples have
        them.
        """
        every = dict.fromkeys([*names, *(kept for name in names for kept in self.kept(name))])
        return [name for name in every if name in self.sampled.names]

    @property
    def layers(self) -> list[int]:
        """All layers of the ranges."""
        return sorted({layer for layers in self.ranges for layer in layers})

    def step(self, vector: np.ndarray, layers: Sequence[int]) -> np.ndarray:
        """A vector [D] in some layers, [num_layers, D]."""
        step = np.zeros(self.ground.dlatents.shape[1:])
        step[list(layers)] = vector
        return step

    def fits(self, names: Sequence[str]) -> tuple[dict[str, RidgeFit], dict[str, str]]:
        """Regressions of attributes that can be predicted, and why others cannot."""
        fits, refused = {}, {}
        for name in names:
            w, values, classes = self.sampled.of(name)
            if len(values) < LEAST_SAMPLES:
                refused[name] = f"only {len(values)} samples have it, {LEAST_SAMPLES} are needed"
            elif np.std(values) < 1e-9 * max(1.0, float(np.abs(values).max())):
                refused[name] = "it is the same in all samples"
            else:
                fit = fit_ridge(w, values, None if name in self.across else classes)
                if fit.r2 < LEAST_R2:
                    refused[name] = (
                        f"it cannot be predicted from w: held-out R² {fit.r2:.2f}, at least "
                        f"{LEAST_R2:g} is needed; more samples may help"
                    )
                else:
                    fits[name] = fit
        return fits, refused

    def checked(self, name: str, step: np.ndarray) -> tuple[Effect, list[str]]:
        """The effect of a direction for an attribute, and what it lacks."""
        effect = self.check.effect(step, name)
        return effect, shortfalls(effect, name, self.kept(name))
