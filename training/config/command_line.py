"""From the command line of run_training.py to the options of a run."""

from __future__ import annotations

import os
import sys
from typing import Any

from dnnlib import UserError, own_code
from training.augmentation.presets import TARGETS, AugmentOptions, augment_preset
from training.config.comparison_methods import apply_method, set_capacity
from training.config.memory import fit_to_memory
from training.config.options import TrainingOptions, set_network_size
from training.config.presets import ADA_NAMES, preset
from training.config.schedule import MIN_TICKS, ScheduleOptions
from training.datasets.format.find_dataset import choose_level, find_dataset

_SHORT_SNAPSHOT_TICKS = 10
DEMO_RESOLUTION = 32


def demo_options(args: Any) -> TrainingOptions:
    """Options of `run_training.py --demo`: a network that learns the drawings in minutes.

    Measured choices, for two CPU cores: no path length regularization and no style mixing (as the
    ADA paper has it for CIFAR-10, appendix C), small maps, a short weight average.
    """
    options = preset("config-e")
    options.dataset_args = {"tfrecord_dir": os.path.join(args.data_dir or "datasets", "demo")}
    set_network_size(options, fmap_base=256, fmap_max=64, latent_size=64, mapping_layers=2)
    options.G_args["style_mixing_prob"] = None
    options.G_loss_args = {"func_name": "training.loss.G_logistic_ns"}
    options.D_loss_args["gamma"] = 0.5
    options.sched_args.G_lrate_base = options.sched_args.D_lrate_base = 0.004
    options.G_smoothing_kimg = 2.0
    options.total_kimg = 80
    options.total_seconds = 240
    options.sched_args.tick_kimg_base, options.sched_args.tick_kimg_dict = 2, {}
    options.image_snapshot_ticks = options.network_snapshot_ticks = 4
    if args.seed is not None:
        options.seed = args.seed
    return options


def options_from_args(args: Any, planned: int | None = None) -> TrainingOptions:
    """Options of a run from the command line of run_training.py.

    Args:
        args: the command line.
        planned: resolution of a dataset that is still to be made; None: --dataset is there.

    Raises:
        UserError: an option is missing or names something that is not there.
    """
    if not args.dataset:
        raise UserError(
            "--dataset is missing: name a folder of TFRecords, here or as --data=PATH, or try "
            "--demo; --help shows all options, docs/official-names.md those of train.py"
        )
    path = args.dataset
    if planned is None:
        path = dataset_folder("--dataset", args.dataset, args.data_dir)
    dataset_args = {"tfrecord_dir": path, "resolution": args.resolution}
    # Deviation: labels are ignored by default in the official code.
    dataset_args["max_label_size"] = "full" if args.cond else 0
    # auto depends on the data.
    resolution = None
    if args.config == "auto":
        resolution = _resolution(path, args) if planned is None else planned
    options = preset(args.config, resolution, args.num_gpus, args.batch)
    options.dataset_args = dataset_args
    _set_own_networks(options, args)
    options.mirror_augment = args.mirror_augment
    options.precision = args.precision
    _set_augmentation(options.augment_args, args)
    if args.freezed is not None:
        if not options.D_args["func_name"].startswith("training.networks."):
            names = ", ".join(ADA_NAMES)
            raise UserError(f"--freezed: {args.config} has no layers to freeze; use {names}")
        options.D_args["freeze_layers"] = args.freezed
    if args.precision == "mixed" and not options.sched_args.is_constant:
        raise UserError(f"--precision=mixed: {args.config} grows, and is computed in fp32 only")
    if args.gamma is not None:
        options.D_loss_args["gamma"] = args.gamma
    _set_schedule(options.sched_args, args)
    for name, value in {"seed": args.seed, "G_smoothing_kimg": args.ema_kimg}.items():
        if value is not None:
            setattr(options, name, value)
    if args.validation is not None:
        # The seed chooses the images that are held out, and metrics are to leave out the same.
        options.dataset_args |= {"validation": args.validation, "seed": options.seed}
    set_session_options(options, args)
    if args.snap is None and options.total_kimg < MIN_TICKS * options.sched_args.tick_kimg_base:
        # Deviation: ticks are shorter than official ones, and 50 may be more than the run has.
        options.image_snapshot_ticks = min(options.image_snapshot_ticks, _SHORT_SNAPSHOT_TICKS)
        options.network_snapshot_ticks = min(options.network_snapshot_ticks, _SHORT_SNAPSHOT_TICKS)
    if args.resume is not None:
        _set_transfer(options, args)
    set_network_size(options, args.fmap_base, args.fmap_max, args.latent_size, args.mapping_layers)
    apply_method(options, args.cmethod, args)
    _set_own_losses(options, args)
    if args.dcap is not None:
        set_capacity(options, args.dcap)
    return options


def fit_to_machine(options: TrainingOptions, args: Any) -> None:
    """What a new run takes of this machine, unless the command line says."""
    if args.batch_gpu is None and not args.demo:
        note = fit_to_memory(options, _resolution(options.dataset_args["tfrecord_dir"], args))
        if note:
            print(note, file=sys.stderr)


def _resolution(path: str, args: Any) -> int:
    """Of the images to train on; the names of the files tell."""
    return 2 ** choose_level(find_dataset(path), args.resolution)


def _set_own_networks(options: TrainingOptions, args: Any) -> None:
    """--G-func, --D-func: registered functions, which get what they take of the configuration's
    keyword arguments.
    """
    for role, name in (("G", args.G_func), ("D", args.D_func)):
        if name is not None:
            kwargs = getattr(options, f"{role}_args") | {"func_name": name}
            setattr(options, f"{role}_args", _taken(own_code.networks.find(name), kwargs))


def _set_own_losses(options: TrainingOptions, args: Any) -> None:
    """--G-loss, --D-loss: the same for losses; what is given has to be taken."""
    for role, name in (("G", args.G_loss), ("D", args.D_loss)):
        if name is None:
            continue
        if args.cmethod != "nocmethod":
            raise UserError(f"--{role}-loss: --cmethod={args.cmethod} has losses of its own")
        kwargs = getattr(options, f"{role}_loss_args") | {"func_name": name}
        setattr(options, f"{role}_loss_args", _taken(own_code.losses.find(name), kwargs))
        if role == "D" and args.gamma is not None and "gamma" not in options.D_loss_args:
            raise UserError(f"--gamma: {name}() has no keyword argument gamma")


def _taken(function: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    return own_code.accepted(function, kwargs) | {"func_name": kwargs["func_name"]}


def _set_transfer(options: TrainingOptions, args: Any) -> None:
    """Starting from a snapshot: as the ADA repository does, its p moves faster, and the weight
    average has its full half-life from the start, since what it averages is trained already.
    """
    options.resume_pkl, options.resume_partial = args.resume, args.resume_partial
    options.augment_args.kimg = 100.0
    options.G_smoothing_rampup = None


def _set_augmentation(options: AugmentOptions, args: Any) -> None:
    """--aug, --augpipe, --p, --target. The ADA configurations augment unless told otherwise."""
    options.mode = args.aug or ("ada" if args.config in ADA_NAMES else "noaug")
    options.target = TARGETS.get(options.mode, options.target)
    for option, modes in (("p", ["fixed"]), ("target", TARGETS)):
        value = getattr(args, option)
        if value is not None and options.mode not in modes:
            names = " and ".join(f"--aug={mode}" for mode in modes)
            raise UserError(f"--{option} is for {names}, not for --aug={options.mode}")
        if value is not None:
            setattr(options, option, value)
    if options.mode == "adarv" and args.validation is None:
        raise UserError("--aug=adarv needs held-out images: add --validation=N to hold out N")
    if options.mode == "fixed" and args.p is None:
        raise UserError("--aug=fixed needs --p: the probability of augmentation, 0 to 1")
    if args.augpipe is not None:
        if options.mode == "noaug":
            raise UserError("--augpipe needs --aug=ada, --aug=adarv or --aug=fixed")
        augment_preset(args.augpipe)
        options.preset = args.augpipe


def dataset_folder(option: str, name: str, data_dir: str | None) -> str:
    """Path of the dataset that an option names: a folder in `data_dir`, or a path.

    Raises:
        UserError: there is no such folder.
    """
    path = os.path.join(data_dir or "", name)
    if not os.path.isdir(path):
        where = "" if data_dir else " (--data-dir names the folder that it is in)"
        raise UserError(f"{option}: there is no folder {path}{where}")
    return path


def set_session_options(options: TrainingOptions, args: Any) -> None:
    """What the command line says of how long to train and what to keep: free in a resumed run."""
    if args.total_kimg is not None:
        options.total_kimg = args.total_kimg
    if args.hours is not None:
        options.total_seconds = args.hours * 3600
    if args.snap is not None:
        options.image_snapshot_ticks = options.network_snapshot_ticks = args.snap
    if args.keep is not None:
        options.keep_states = args.keep


def _set_schedule(schedule: ScheduleOptions, args: Any) -> None:
    """What the command line says of the schedule holds at every resolution."""
    if args.lrate is not None:
        schedule.G_lrate_base = schedule.D_lrate_base = args.lrate
        schedule.G_lrate_dict = schedule.D_lrate_dict = {}
    if args.batch_gpu is not None:
        schedule.minibatch_gpu_base, schedule.minibatch_gpu_dict = args.batch_gpu, {}
    if args.lod_kimg is not None and schedule.is_constant:
        raise UserError(f"--lod-kimg is for config-a to config-d: {args.config} does not grow")
    if args.lod_kimg is not None:
        schedule.lod_training_kimg = schedule.lod_transition_kimg = args.lod_kimg
