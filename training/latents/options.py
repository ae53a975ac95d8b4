"""Options of projections, truncation and walks: known without TensorFlow."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError

SPACES = ("w", "w+")
# What is minimized; the first one is LPIPS, or else the next that is at hand.
DISTANCES = ("auto", "lpips", "discriminator", "pixels")
NOISE_MODES = ("optimize", "const", "random", "none")
CENTERS = ("global", "class", "cluster")
# Ways through W; the first two go through keyframes.
WALKS = ("spline", "slerp", "class", "truncation", "direction", "noise")
_MOST_KEYFRAMES = 10_000  # Of all pictures together: each is a z.
_RANGES = {"truncation": (0.0, 1.0), "direction": (-2.0, 2.0)}


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


# Deviation: the official code takes any number, also those beyond which networks overflow.
MOST_PSI = 100.0


@dataclass(frozen=True)
class TruncationOptions:
    """Where truncation draws w to.

    Attributes:
        kind: "global": the mean of all w, as in the papers; "class": that of the picture's class;
            "cluster": the nearest center of clusters.
        clusters: how many.

    Raises:
        UserError: a value that there is not.
    """

    kind: str = "global"
    clusters: int = 64

    def __post_init__(self) -> None:
        if self.kind not in CENTERS:
            raise UserError(f"truncation {self.kind!r}: use {', '.join(CENTERS)}")
        if not 1 <= self.clusters <= 1000:
            raise UserError(f"clusters {self.clusters}: expected 1 to 1000")


@dataclass(frozen=True)
class WalkOptions:
    """A closed way of pictures, by the official names of stylegan3's gen_video.

    Attributes:
        kind: "spline": a cubic spline in W through keyframes; "slerp": arcs of circles in Z between
            them; "class": each picture through classes; "truncation": psi there and back;
            "direction": steps along a direction there and back; "noise": other noise inputs.
        seeds: of the keyframes of all pictures, those of the first picture first.
        w_frames: frames from a keyframe to the next, or of a whole way without keyframes.
        num_keyframes: of each picture; None: as many as the seeds give.
        grid: (columns, rows) of pictures; None: one picture, or without keyframes, a row of one for
            each seed.
        shuffle_seed: the seeds are put in an order that follows from it; None: they stay.
        psi: 0 for the center of truncation to 1 for full variety.
        range: the lowest and highest psi, or steps along the direction; None: by the kind.

    Raises:
        UserError: values that there are not, or that do not fit each other.
    """

    kind: str = "spline"
    seeds: Sequence[int] = (0,)
    w_frames: int = 120
    num_keyframes: int | None = None
    grid: tuple[int, int] | None = None
    shuffle_seed: int | None = None
    psi: float = 1.0
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in WALKS:
            raise UserError(f"--walk={self.kind}: use {', '.join(WALKS)}")
        if min(self.w_frames, len(self.seeds)) < 1:
            raise UserError("a walk needs at least one seed and one frame")
        if self.num_keyframes is not None and not self.has_keyframes:
            raise UserError(f"--num-keyframes: --walk={self.kind} has none: use --w-frames")
        if self.range is not None and self.kind not in _RANGES:
            raise UserError(f"--range: it is for --walk={' and '.join(_RANGES)}, not {self.kind}")
        columns, rows = self.size
        cells = columns * rows
        if self.num_keyframes is None and len(self.seeds) % cells:
            raise UserError(
                f"--seeds: {len(self.seeds)} do not divide among {columns}x{rows} pictures"
                f"{': give --num-keyframes, or other seeds' if self.has_keyframes else ''}"
            )
        if (self.num_keyframes or 1) * cells > _MOST_KEYFRAMES:
            raise UserError(
                f"--num-keyframes={self.num_keyframes or 1} of {columns}x{rows} pictures: at most "
                f"{_MOST_KEYFRAMES} in all"
            )
        if not self.has_keyframes and len(self.seeds) != cells:
            raise UserError(
                f"--grid={columns}x{rows}: --walk={self.kind} has one seed a picture, "
                f"got {len(self.seeds)}"
            )

    @property
    def has_keyframes(self) -> bool:
        """Whether the way goes through pictures of several seeds."""
        return self.kind in ("spline", "slerp")

    @property
    def size(self) -> tuple[int, int]:
        """(columns, rows) of pictures."""
        return self.grid or ((1, 1) if self.has_keyframes else (len(self.seeds), 1))

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and highest psi, or steps along the direction."""
        return self.range or _RANGES[self.kind]

    @property
    def keyframe_seeds(self) -> np.ndarray:
        """Seeds [keyframes, pictures]: where there are fewer, they come again."""
        cells = self.size[0] * self.size[1]
        keyframes = self.num_keyframes or len(self.seeds) // cells
        seeds = np.resize(np.array(self.seeds), cells * keyframes)
        if self.shuffle_seed is not None:
            np.random.RandomState(self.shuffle_seed).shuffle(seeds)
        return seeds.reshape(cells, keyframes).T


def _part(t: float, length: float) -> float:
    """How much of a part of that length is over at its time t, 0 to 1."""
    return min(1.0, t / length) if length > 0 else 1.0


def _cosine(t: float) -> float:
    """Half a period of a cosine, from 0 to 1."""
    return 0.5 - 0.5 * math.cos(t * math.pi)


def split_direction(text: str) -> tuple[str, str]:
    """(file, name of an array) of FILE.npz:NAME; the name is `direction` where there is none."""
    file, colon, name = text.rpartition(":")
    return (file, name) if colon and not os.path.exists(text) else (text, "direction")
