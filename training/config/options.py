"""What a training run is made of: the options, and where they come from."""

from __future__ import annotations

import copy
import dataclasses
import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from dnnlib import UserError, schema
from dnnlib.schema import Range
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import did_you_mean
from training.augmentation.presets import TARGETS, AugmentOptions, augment_preset
from training.config.comparison_methods import apply_method, set_capacity
from training.config.presets import ADA_NAMES, PRESETS, ada_overrides
from training.config.schedule import MIN_TICKS, ScheduleOptions

_SHORT_SNAPSHOT_TICKS = 10
_Natural = Annotated[int, Range(0, (1 << 31) - 1)]
_Positive = Annotated[int, Range(1, 1 << 20)]
_Amount = Annotated[float, Range(0, 1e9)]
_Scalar = bool | int | float | str | None


@dataclass
class _DatasetArgs:
    """Keyword arguments of `training.dataset.TFRecordDataset`."""

    tfrecord_dir: str
    resolution: int | None = None
    label_file: str | None = None
    max_label_size: _Natural | Literal["full"] = "full"
    max_images: int | None = None
    validation: _Natural = 0
    seed: _Natural = 0


@dataclass
class _OptimizerArgs:
    """Keyword arguments of `dnnlib.tflib.Optimizer`."""

    beta1: Annotated[float, Range(0, 1)]
    beta2: Annotated[float, Range(0, 1)]
    epsilon: Annotated[float, Range(0)] = 1e-8
    tf_optimizer: Literal["tf.train.AdamOptimizer"] = "tf.train.AdamOptimizer"


@dataclass
class TrainingOptions:
    """Everything that fixes a run, by official names. Written as `training_options.json`."""

    dataset_args: dict[str, Any] = field(default_factory=dict)  # For TFRecordDataset.
    G_args: dict[str, Any] = field(default_factory=dict)  # func_name and keyword arguments.
    D_args: dict[str, Any] = field(default_factory=dict)
    G_opt_args: dict[str, Any] = field(default_factory=dict)  # For Optimizer.
    D_opt_args: dict[str, Any] = field(default_factory=dict)
    G_loss_args: dict[str, _Scalar] = field(
        default_factory=dict
    )  # func_name and keyword arguments.
    D_loss_args: dict[str, _Scalar] = field(default_factory=dict)
    sched_args: ScheduleOptions = field(default_factory=ScheduleOptions)
    G_smoothing_kimg: _Amount = 10.0  # Half-life of the weight average Gs, thousands of images.
    # Deviation: no longer than this share of the run so far, as the ADA repository has it. Without,
    # Gs still shows the random initial weights after the first thousands of images.
    G_smoothing_rampup: _Amount | None = 0.05
    lazy_regularization: bool = True
    G_reg_interval: _Positive = 4  # Minibatches between regularisations of G.
    D_reg_interval: _Positive = 16
    reset_opt_for_new_lod: bool = True  # Forget Adam's moments when a new level fades in.
    resume_pkl: str | None = None  # Snapshot whose weights the run starts from.
    resume_partial: bool = False  # Even if hardly any of them fit.
    total_kimg: _Amount = 25000.0
    total_seconds: _Amount | None = None  # Ends the run after this time if it is not over before.
    mirror_augment: bool = False
    augment_args: AugmentOptions = field(default_factory=AugmentOptions)
    cmethod: str = "nocmethod"  # Method that ADA is compared with, see `comparison_methods`.
    precision: Literal["fp32", "mixed"] = (
        "fp32"  # Or "mixed", see `training.architecture.precision`.
    )
    image_snapshot_ticks: _Positive = 10
    network_snapshot_ticks: _Positive = 10
    keep_states: _Positive = 2  # States for --resume that stay, the newest.
    grid_size: str = "8k"
    num_gpus: _Positive = 1
    seed: _Natural = 1000

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary of all options."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingOptions:
        """The options that `to_json` gave, also after a way through a JSON file.

        Raises:
            UserError: an option that there is not, as from another version; a wrong type.
        """
        return schema.parse(cls, values)

    def check_arguments(self) -> None:
        """Raises a UserError if arguments for the dataset or the optimizers are not sound.

        Those of networks and losses are checked against the functions that `func_name` stands for,
        which needs TensorFlow: see `training.snapshots.build_functions.find_for_options`.
        """
        if "tfrecord_dir" not in self.dataset_args:
            raise UserError("it names no dataset")
        schema.parse(_DatasetArgs, self.dataset_args, "dataset_args")
        schema.parse(_OptimizerArgs, self.G_opt_args, "G_opt_args")
        schema.parse(_OptimizerArgs, self.D_opt_args, "D_opt_args")


def preset(
    name: str, resolution: int | None = None, num_gpus: int = 1, minibatch: int | None = None
) -> TrainingOptions:
    """Options of a configuration.

    Args:
        name: a key of `training.config.presets.PRESETS`, or one of `ADA_NAMES`.
        resolution: of the images; `auto` depends on it, the others do not.
        num_gpus: replicas that share a minibatch.
        minibatch: images a step; None: as many as the configuration says.

    Raises:
        UserError: unknown name, or a minibatch that cannot be shared.
    """
    if name in ADA_NAMES:
        overrides = ada_overrides(name, resolution, num_gpus, minibatch)
        return TrainingOptions(num_gpus=num_gpus, **overrides)
    if name not in PRESETS:
        known = (*PRESETS, *ADA_NAMES)
        hint = did_you_mean(name, known)
        raise UserError(f"--config={name}: {hint}use one of {', '.join(known)}")
    options = TrainingOptions(num_gpus=num_gpus, **copy.deepcopy(PRESETS[name]))
    if minibatch is not None:
        schedule = options.sched_args
        schedule.minibatch_size_base, schedule.minibatch_size_dict = minibatch, {}
        schedule.minibatch_gpu_base, schedule.minibatch_gpu_dict = None, {}
    return options


DEMO_RESOLUTION = 32


def demo_options(args: Any) -> TrainingOptions:
    """Options of `run_training.py --demo`: a network that learns the drawings in minutes.

    Measured choices, for two CPU cores: no path length regularisation and no style mixing (as the
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


def options_from_args(args: Any) -> TrainingOptions:
    """Options of a run from the command line of run_training.py.

    Raises:
        UserError: an option is missing or names something that is not there.
    """
    if not args.dataset:
        raise UserError("--dataset is missing: name a folder of TFRecords, or try --demo")
    path = dataset_folder("--dataset", args.dataset, args.data_dir)
    dataset_args = {"tfrecord_dir": path, "resolution": args.resolution}
    # Deviation: labels are ignored by default in the official code.
    dataset_args["max_label_size"] = "full" if args.cond else 0
    resolution = _find_resolution(dataset_args) if args.config == "auto" else None
    options = preset(args.config, resolution, args.num_gpus, args.batch)
    options.dataset_args = dataset_args
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
        # Deviation: ticks are shorter than officially, and 50 may be more than the run has.
        options.image_snapshot_ticks = min(options.image_snapshot_ticks, _SHORT_SNAPSHOT_TICKS)
        options.network_snapshot_ticks = min(options.network_snapshot_ticks, _SHORT_SNAPSHOT_TICKS)
    if args.resume is not None:
        _set_transfer(options, args)
    set_network_size(options, args.fmap_base, args.fmap_max, args.latent_size, args.mapping_layers)
    apply_method(options, args.cmethod, args)
    if args.dcap is not None:
        set_capacity(options, args.dcap)
    return options


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
    if args.snap is not None:
        options.image_snapshot_ticks = options.network_snapshot_ticks = args.snap
    if args.keep is not None:
        options.keep_states = args.keep


def _find_resolution(dataset_args: dict[str, Any]) -> int:
    """Resolution of the images that a run sees."""
    load_tensorflow()  # Takes seconds, which only the one configuration costs that asks for this.
    from training.dataset import TFRecordDataset

    dataset = TFRecordDataset(**dataset_args)
    dataset.close()
    return dataset.resolution


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


def set_network_size(
    options: TrainingOptions,
    fmap_base: int | None = None,
    fmap_max: int | None = None,
    latent_size: int | None = None,
    mapping_layers: int | None = None,
) -> None:
    """Changes the size of both networks; None keeps what the configuration says."""
    for name, value in {"fmap_base": fmap_base, "fmap_max": fmap_max}.items():
        if value is not None:
            options.G_args[name] = options.D_args[name] = value
    if latent_size is not None:
        for name in ("latent_size", "dlatent_size", "mapping_fmaps"):
            options.G_args[name] = latent_size
    if mapping_layers is not None:
        options.G_args["mapping_layers"] = mapping_layers
