"""What changes in the course of a run: level of detail, minibatch, learning rates, ticks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from dnnlib import UserError
from dnnlib.schema import Range

# Deviation: short runs have shorter ticks, so that there is something to see while one waits.
MIN_TICKS = 25
DEFAULT_GROUP = 4  # Of the discriminator's minibatch standard deviation.
_Count = Annotated[int, Range(1, 1 << 20)]
_Amount = Annotated[float, Range(0, 1e9)]
_Kimg = Annotated[float, Range(0.001, 1e9)]


@dataclass
class ScheduleOptions:
    """Options of `training_schedule`, by official names; the dicts are by current resolution."""

    # None: full resolution from the start.
    lod_initial_resolution: Annotated[int, Range(4, 1 << 16)] | None = None
    lod_training_kimg: _Amount = 600.0  # Training at a resolution before the next fades in.
    lod_transition_kimg: _Amount = 600.0  # Fading in.
    minibatch_size_base: _Count = 32  # Images a step, over all replicas and accumulation rounds.
    minibatch_size_dict: dict[int, _Count] = field(default_factory=dict)
    minibatch_gpu_base: _Count | None = None  # Images at once on one device; None: by resolution.
    minibatch_gpu_dict: dict[int, _Count] = field(default_factory=dict)
    G_lrate_base: _Amount = 0.002
    G_lrate_dict: dict[int, _Amount] = field(default_factory=dict)
    D_lrate_base: _Amount = 0.002
    D_lrate_dict: dict[int, _Amount] = field(default_factory=dict)
    tick_kimg_base: _Kimg = 4.0
    tick_kimg_dict: dict[int, _Kimg] = field(
        default_factory=lambda: {8: 28, 16: 24, 32: 20, 64: 16, 128: 12, 256: 8, 512: 6, 1024: 4}
    )

    @property
    def is_constant(self) -> bool:
        """Whether resolution and minibatch stay the same."""
        return self.lod_initial_resolution is None


@dataclass(frozen=True)
class Schedule:
    """Values at one moment of a run.

    Attributes:
        lod: level of detail: 0 at full resolution, 1 at half of it, in between while fading.
        resolution: of the finest level that takes part.
        minibatch_size: images a step.
        minibatch_gpu: images at once on one device.
        G_lrate, D_lrate: learning rates.
        tick_kimg: thousands of images a tick.
    """

    lod: float
    resolution: int
    minibatch_size: int
    minibatch_gpu: int
    G_lrate: float
    D_lrate: float
    tick_kimg: float


def training_schedule(
    cur_nimg: int, resolution_log2: int, num_gpus: int, options: ScheduleOptions
) -> Schedule:
    """Progressive growing (Karras et al. 2018, section 2 and appendix A).

    Args:
        cur_nimg: images seen.
        resolution_log2: of the dataset.
        num_gpus: replicas, which share a minibatch.
        options: of the run.
    """
    lod = 0.0
    if options.lod_initial_resolution is not None:
        phase_kimg = options.lod_training_kimg + options.lod_transition_kimg
        kimg = cur_nimg / 1000
        # Without phases, images stay as they are in the beginning.
        phase, into = divmod(kimg, phase_kimg) if phase_kimg > 0 else (0, kimg)
        lod = resolution_log2 - np.floor(np.log2(options.lod_initial_resolution)) - phase
        if options.lod_transition_kimg > 0:
            lod -= max(into - options.lod_training_kimg, 0.0) / options.lod_transition_kimg
        lod = float(max(lod, 0.0))
    resolution = 2 ** (resolution_log2 - int(np.floor(lod)))
    minibatch_size = options.minibatch_size_dict.get(resolution, options.minibatch_size_base)
    return Schedule(
        lod=lod,
        resolution=resolution,
        minibatch_size=minibatch_size,
        minibatch_gpu=_minibatch_gpu(minibatch_size, resolution, num_gpus, options),
        G_lrate=options.G_lrate_dict.get(resolution, options.G_lrate_base),
        D_lrate=options.D_lrate_dict.get(resolution, options.D_lrate_base),
        tick_kimg=options.tick_kimg_dict.get(resolution, options.tick_kimg_base),
    )


def splits_into_groups(count: int, group_size: int) -> bool:
    """Whether the minibatch standard deviation can compare `count` samples at once.

    It splits them into groups of `group_size`, or makes one group of all if they are fewer; with
    a group size of 0 or 1 there is none.
    """
    return group_size <= 1 or count % min(count, group_size) == 0


def images_at_once(share: int, limit: int, group_size: int) -> int:
    """The most images, up to a limit, that divide a replica's share and split into groups."""
    numbers = range(1, min(share, limit) + 1)
    return max(n for n in numbers if share % n == 0 and splits_into_groups(n, group_size))


def check_schedule(
    resolution_log2: int, num_gpus: int, group_size: int, options: ScheduleOptions
) -> None:
    """Raises a UserError if a minibatch does not divide, at any resolution of the run.

    Args:
        resolution_log2, num_gpus, options: as in `training_schedule`.
        group_size: of the discriminator's minibatch standard deviation.
    """
    kimg = 0.0
    while True:
        now = training_schedule(int(np.ceil(kimg * 1000)), resolution_log2, num_gpus, options)
        size, gpu = now.minibatch_size, now.minibatch_gpu
        if size % (gpu * num_gpus):
            raise UserError(
                f"--batch={size} is not a multiple of --batch-gpu={gpu} times {num_gpus} replicas"
            )
        if not splits_into_groups(gpu, group_size):
            raise UserError(
                f"--batch-gpu={gpu} is not a multiple of {group_size}, the group of samples that "
                "the discriminator compares: use a multiple, or less than that"
            )
        phase_kimg = options.lod_training_kimg + options.lod_transition_kimg
        if now.lod == 0 or phase_kimg <= 0:
            return
        kimg += phase_kimg


def schedule_notes(
    resolution_log2: int, num_gpus: int, group_size: int | None, options: ScheduleOptions
) -> list[str]:
    """What the user should know of the division of minibatches, at full resolution.

    Args:
        resolution_log2, num_gpus, options: as in `training_schedule`.
        group_size: of the discriminator's minibatch standard deviation; None if it has none.
    """
    resolution = 2**resolution_log2
    size = options.minibatch_size_dict.get(resolution, options.minibatch_size_base)
    given = options.minibatch_gpu_dict.get(resolution, options.minibatch_gpu_base)
    gpu = _minibatch_gpu(size, resolution, num_gpus, options)
    if not group_size or gpu > 1:
        return []
    rounds = -(-size // num_gpus)
    what = "1 sample at once" if rounds == 1 else f"{rounds} rounds of 1 sample"
    note = (
        f"--batch={size} goes through the discriminator as {what}, which it can compare with no "
        "other: the minibatch standard deviation is void, and variety suffers"
    )
    if given is not None and rounds > 1:
        return [f"{note}; use a --batch-gpu that is a multiple of {DEFAULT_GROUP}"]
    # Nearest to the size, the larger of two.
    unit = DEFAULT_GROUP * num_gpus
    nearest = max(round(size / unit + 1e-6) * unit, unit)
    return [f"{note}; the nearest size that divides into groups is --batch={nearest}"]


def tick_kimg(sched: Schedule, total_kimg: float) -> float:
    """Length of a tick, in thousands of images, of a run of `total_kimg`."""
    return min(sched.tick_kimg, total_kimg / MIN_TICKS)


def is_new_lod(before: Schedule, now: Schedule) -> bool:
    """Whether a level has begun to take part, or no longer does."""
    return np.floor(before.lod) != np.floor(now.lod) or np.ceil(before.lod) != np.ceil(now.lod)


def _minibatch_gpu(size: int, resolution: int, num_gpus: int, options: ScheduleOptions) -> int:
    given = options.minibatch_gpu_dict.get(resolution, options.minibatch_gpu_base)
    if given is not None:
        return given
    # Deviation: the official number is 4 at every resolution; here it is 4 at 1024×1024, and more
    # where images are smaller, which takes fewer rounds.
    share = max(size // num_gpus, 1)
    limit = max(4096 // resolution, 4)
    return images_at_once(share, limit, DEFAULT_GROUP)
