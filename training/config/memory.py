"""How much memory a training step takes, and how many images at once a CPU's memory holds."""

from __future__ import annotations

from dnnlib.system import memory_gb
from training.architecture.sizes import resolution_log2
from training.architecture.specs import ImagesSpec
from training.config.comparison_methods import find_method
from training.config.options import TrainingOptions
from training.config.schedule import (
    DEFAULT_GROUP,
    Schedule,
    images_at_once,
    training_schedule,
)

# By measurement, tests/benchmarks/README.md: bytes for each feature map of one image, at every
# pixel and level, of both networks; for each weight; and of a process that does nothing yet.
_BYTES_A_FEATURE, _BYTES_A_WEIGHT, _BYTES_OF_A_PROCESS = 25, 24, 1 << 30
# Of the memory of the machine, so much may be one step's.
_SHARE = 0.5
_IN_THE_END = 10**12  # Images seen, when every network has grown.


def step_gb(options: TrainingOptions, resolution: int, images: int) -> float:
    """GiB that a training step takes at the peak, roughly.

    Of square images: those with a longer base grid take more, by as much as they have more pixels.

    Args:
        options: of the run.
        resolution: of its images.
        images: at once, on all devices.
    """
    features = weights = 0.0
    passes = find_method(options.cmethod).passes
    for kwargs, times in zip((options.G_args, options.D_args), passes, strict=True):
        names = ("fmap_base", "fmap_decay", "fmap_min", "fmap_max")
        given = {name: kwargs[name] for name in names if name in kwargs}
        spec = ImagesSpec(resolution=resolution, **given)
        maps = {level: spec.fmaps(level - 1) for level in range(2, spec.log2 + 1)}
        features += times * sum(4**level * count for level, count in maps.items())
        below = {level: maps.get(level - 1, maps[level]) for level in maps}
        weights += sum(9 * maps[n] * (maps[n] + below[n]) for n in maps)
    size = features * images * _BYTES_A_FEATURE + weights * _BYTES_A_WEIGHT + _BYTES_OF_A_PROCESS
    return size / 2**30


def fit_to_memory(options: TrainingOptions, resolution: int) -> str | None:
    """Lowers the images at once at full resolution, so that a step takes half of the memory.

    More rounds make up for that. It is half of all memory, not of what is free at the moment: what
    a seed gives does not depend on what else runs. It does depend on the machine, since the
    discriminator compares images that are there at once; a run keeps the number it began with.

    Args:
        options: of the run, which are changed. Never below two images at once where there were
            more: the discriminator compares them.
        resolution: of its images.

    Returns:
        What was changed, for people; None: nothing.
    """
    total, _ = memory_gb()
    before = images = at_once(options, resolution)
    if not _is_known(options) or total is None or _fits(options, resolution, images, total):
        return None
    if _has_gpu():
        return None
    # Deviation: the official code, which trains on GPUs, needs a --batch-gpu that fits.
    group = options.D_args.get("mbstd_group_size", DEFAULT_GROUP) or 1
    share = images * _rounds(options, resolution)
    while not _fits(options, resolution, images, total):
        fewer = images_at_once(share, images - 1, group) if images > 2 else 1
        if fewer == 1:
            break
        images = fewer
    if images == before:
        return None
    schedule = options.sched_args
    schedule.minibatch_gpu_dict = {**schedule.minibatch_gpu_dict, resolution: images}
    return (
        f"NOTE: {images} images at once, not {before}, since a step may take half of the "
        f"{total:.0f} GiB of this machine; --batch-gpu={images} does the same on every machine"
    )


def describe_memory(options: TrainingOptions, resolution: int, replicas: int) -> str | None:
    """What a step takes beside what there is, for people; None for GPUs, or if nobody knows.

    Args:
        options: of the run.
        resolution: of its images.
        replicas: on this machine.
    """
    total, free = memory_gb()
    if not _is_known(options) or total is None or free is None or _has_gpu():
        return None
    images = at_once(options, resolution)
    size = step_gb(options, resolution, images * replicas)
    devices = "" if replicas == 1 else f" on each of {replicas} devices"
    text = (
        f"Memory: about {size:.1f} GiB for {images} images at once{devices}, of {total:.1f} GiB, "
        f"{free:.1f} of which are free"
    )
    if size <= free:
        return text
    less = "a smaller --batch-gpu, " if images > 1 else ""
    return (
        f"Warning: {text}: the system may end the run; {less}--fmap-base, --fmap-max or "
        "--resolution takes less"
    )


def _is_known(options: TrainingOptions) -> bool:
    """Whether both networks are ours: what others take, nobody knows."""
    names = (kwargs["func_name"] for kwargs in (options.G_args, options.D_args))
    return all(name.startswith("training.") for name in names)


def _fits(options: TrainingOptions, resolution: int, images: int, total: float) -> bool:
    return step_gb(options, resolution, images * options.num_gpus) <= _SHARE * total


def at_once(options: TrainingOptions, resolution: int) -> int:
    """Images at once on a device at full resolution."""
    return _at_the_end(options, resolution).minibatch_gpu


def _rounds(options: TrainingOptions, resolution: int) -> int:
    schedule = _at_the_end(options, resolution)
    return schedule.minibatch_size // (schedule.minibatch_gpu * options.num_gpus)


def _at_the_end(options: TrainingOptions, resolution: int) -> Schedule:
    """The schedule at full resolution."""
    log2 = resolution_log2(resolution)
    return training_schedule(_IN_THE_END, log2, options.num_gpus, options.sched_args)


def _has_gpu() -> bool:
    # Command lines are checked without TensorFlow.
    from dnnlib.tflib import tfutil

    return bool(tfutil.gpu_devices())
