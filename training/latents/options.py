"""Options of projections: known without TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dnnlib import UserError

SPACES = ("w", "w+")
# What is minimized; the first one is LPIPS, or else the next that is at hand.
DISTANCES = ("auto", "lpips", "discriminator", "pixels")
NOISE_MODES = ("optimize", "const", "random", "none")


@dataclass(frozen=True)
class ProjectionOptions:
    """How to project, by the official names. Lengths are fractions of all steps.

    Attributes:
        num_steps: steps of Adam.
        dlatent_avg_samples: latents whose w give the mean to begin at, and the deviation.
        initial_learning_rate: highest learning rate.
        initial_noise_factor: deviation of the noise on w at the beginning, in deviations of w.
        lr_rampdown_length: part at the end in which the learning rate falls to 0, as a cosine.
        lr_rampup_length: part at the beginning in which it rises from 0, as a line.
        noise_ramp_length: part in which the noise on w falls to 0, as a parabola.
        regularize_noise_weight: of the regularization of noise maps, in W.
        space: "w": one w for all layers; "w+": one for each.
        wplus_noise_weight: of that regularization in W+. With the one of W, the maps never follow
            the slope of a distance, and the noise of a picture stays out of reach.
        wplus_penalty: in W+, weight of the mean over layers of |w - mean|² in squared deviations.
        noise_mode: "optimize": noise maps follow the slope too; "const": those of the network;
            "random": other ones in every step; "none": without noise.
        seed: the random numbers are a function of it and of the step.

    Raises:
        UserError: a value that there is not.
    """

    num_steps: int = 1000
    dlatent_avg_samples: int = 10000
    initial_learning_rate: float = 0.1
    initial_noise_factor: float = 0.05
    lr_rampdown_length: float = 0.25
    lr_rampup_length: float = 0.05
    noise_ramp_length: float = 0.75
    regularize_noise_weight: float = 1e5
    space: str = "w"
    wplus_noise_weight: float = 100
    wplus_penalty: float = 0.05
    noise_mode: str = "optimize"
    seed: int = 303

    def __post_init__(self) -> None:
        for name, choices in (("space", SPACES), ("noise_mode", NOISE_MODES)):
            if getattr(self, name) not in choices:
                raise UserError(f"{name} {getattr(self, name)!r}: use {', '.join(choices)}")
        for name in ("num_steps", "dlatent_avg_samples"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}: expected at least 1")

    @property
    def noise_weight(self) -> float:
        """Weight of the regularization of noise maps."""
        return self.wplus_noise_weight if self.space == "w+" else self.regularize_noise_weight

    def learning_rate(self, step: int) -> float:
        """That of a step, counted from 0."""
        t = step / self.num_steps
        down = _part(1 - t, self.lr_rampdown_length)
        return self.initial_learning_rate * _part(t, self.lr_rampup_length) * _cosine(down)

    def noise_strength(self, step: int) -> float:
        """Deviation of the noise on w in a step, counted from 0, in deviations of w."""
        left = 1 - _part(step / self.num_steps, self.noise_ramp_length)
        return self.initial_noise_factor * left**2


def _part(t: float, length: float) -> float:
    """How much of a part of that length is over at its time t, 0 to 1."""
    return min(1.0, t / length) if length > 0 else 1.0


def _cosine(t: float) -> float:
    """Half a period of a cosine, from 0 to 1."""
    return 0.5 - 0.5 * math.cos(t * math.pi)
