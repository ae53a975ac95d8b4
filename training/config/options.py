"""What a training run is made of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from dnnlib import EasyDict, UserError, schema, urls
from dnnlib.schema import Range
from training.augmentation.presets import AugmentOptions
from training.config.schedule import ScheduleOptions

# Keyword arguments of both networks that no command line has: a run takes them from its dataset.
NETWORK_SHAPE = ("num_channels", "resolution", "label_size", "base_size")
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
    G_reg_interval: _Positive = 4  # Minibatches between regularizations of G.
    D_reg_interval: _Positive = 16
    reset_opt_for_new_lod: bool = True  # Forget Adam's moments when a new level fades in.
    resume_pkl: str | None = None  # Snapshot whose weights the run starts from.
    resume_partial: bool = False  # Even if hardly any of them fit.
    total_kimg: _Amount = 25000.0
    makes_catalog: bool = False  # Of the best snapshot, at the end.
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
    grid_size: Literal["1080p", "4k", "8k"] = "8k"
    num_gpus: _Positive = 1
    seed: _Natural = 1000

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary of all options; of a URL without user, password and query."""
        values = dataclasses.asdict(self)
        if self.resume_pkl is not None:  # A run that is resumed does not need it any more.
            values["resume_pkl"] = urls.show_source(self.resume_pkl)
        return values

    def with_attributes(self) -> TrainingOptions:
        """The same options for scripts, which write `G_args.func_name`."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        dicts = {name: EasyDict(v) for name, v in values.items() if isinstance(v, dict)}
        return dataclasses.replace(self, **dicts)

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
        schedule = self.sched_args
        if not schedule.is_constant and not (
            schedule.lod_training_kimg + schedule.lod_transition_kimg
        ):
            raise UserError("sched_args: a network that grows needs kimg at each resolution")
        schema.parse(_DatasetArgs, self.dataset_args, "dataset_args")
        schema.parse(_OptimizerArgs, self.G_opt_args, "G_opt_args")
        schema.parse(_OptimizerArgs, self.D_opt_args, "D_opt_args")


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
