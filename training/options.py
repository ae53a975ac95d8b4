"""What a training run is made of: the options and the presets."""

from __future__ import annotations

import copy
import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any

from dnnlib import UserError


@dataclass
class TrainingOptions:
    """Everything that fixes a run, by official names. Written as `training_options.json`."""

    dataset_args: dict[str, Any] = field(default_factory=dict)  # For TFRecordDataset.
    G_args: dict[str, Any] = field(default_factory=dict)  # func_name and keyword arguments.
    D_args: dict[str, Any] = field(default_factory=dict)
    G_opt_args: dict[str, Any] = field(default_factory=dict)  # For Optimizer.
    D_opt_args: dict[str, Any] = field(default_factory=dict)
    G_loss_args: dict[str, Any] = field(default_factory=dict)  # func_name and keyword arguments.
    D_loss_args: dict[str, Any] = field(default_factory=dict)
    G_lrate: float = 0.002
    D_lrate: float = 0.002
    minibatch_size: int = 32  # Images a step, over all replicas and accumulation rounds.
    minibatch_gpu: int | None = None  # Images at once on one device; None: chosen by resolution.
    G_smoothing_kimg: float = 10.0  # Half-life of the weight average Gs, thousands of images.
    lazy_regularization: bool = True
    G_reg_interval: int = 4  # Minibatches between regularisations of G.
    D_reg_interval: int = 16
    total_kimg: float = 25000.0
    total_seconds: float | None = None  # Ends the run after this time if it is not over before.
    kimg_per_tick: float | None = None  # None: 4, or less in short runs.
    mirror_augment: bool = False
    image_snapshot_ticks: int = 50
    network_snapshot_ticks: int = 50
    grid_size: str = "8k"
    num_gpus: int = 1
    seed: int = 1000

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary of all options."""
        return dataclasses.asdict(self)


def _stylegan2(fmap_base: int) -> dict[str, Any]:
    """StyleGAN2, table 1: configurations E and F differ in the number of feature maps."""
    adam = {"beta1": 0.0, "beta2": 0.99, "epsilon": 1e-8}
    networks = "training.networks_stylegan2."
    return {
        "G_args": {"func_name": networks + "G_main", "fmap_base": fmap_base},
        "D_args": {"func_name": networks + "D_stylegan2", "fmap_base": fmap_base},
        "G_opt_args": dict(adam),
        "D_opt_args": dict(adam),
        "G_loss_args": {"func_name": "training.loss.G_logistic_ns_pathreg"},
        "D_loss_args": {"func_name": "training.loss.D_logistic_r1", "gamma": 10.0},
    }


# The configurations by their official names: overrides of TrainingOptions.
PRESETS: dict[str, dict[str, Any]] = {
    "config-e": _stylegan2(8 << 10),
    "config-f": _stylegan2(16 << 10),
}


def preset(name: str) -> TrainingOptions:
    """Options of a configuration.

    Raises:
        UserError: unknown name.
    """
    if name not in PRESETS:
        raise UserError(f"--config={name}: use one of {', '.join(PRESETS)}")
    return TrainingOptions(**copy.deepcopy(PRESETS[name]))


DEMO_RESOLUTION = 32


def demo_options(args: Any) -> TrainingOptions:
    """Options of `run_training.py --demo`: a network that learns the drawings in minutes.

    Measured choices, for two CPU cores: no path length regularisation and no style mixing (as the
    ADA paper has it for CIFAR-10, appendix C), small maps, a short weight average.
    """
    options = preset("config-e")
    options.dataset_args = {"tfrecord_dir": os.path.join(args.data_dir or "datasets", "demo")}
    set_network_size(options, fmap_base=512, fmap_max=64, latent_size=64, mapping_layers=2)
    options.G_args["style_mixing_prob"] = None
    options.G_loss_args = {"func_name": "training.loss.G_logistic_ns"}
    options.D_loss_args["gamma"] = 0.3
    options.G_lrate = options.D_lrate = 0.0025
    options.G_smoothing_kimg = 1.0
    options.total_kimg = 40
    options.total_seconds = 240
    options.kimg_per_tick = 1
    options.image_snapshot_ticks = options.network_snapshot_ticks = 4
    if args.seed is not None:
        options.seed = args.seed
    return options


def options_from_args(args: Any) -> TrainingOptions:
    """Options of a run from the command line of run_training.py.

    Raises:
        UserError: an option is missing or names something that is not there.
    """
    options = preset(args.config)
    if not args.dataset:
        raise UserError("--dataset is missing: name a folder of TFRecords, or try --demo")
    if args.metrics != "none":
        raise UserError(f"--metrics={args.metrics}: this version has no metrics, use none")
    path = os.path.join(args.data_dir or "", args.dataset)
    if not os.path.isdir(path):
        where = "" if args.data_dir else " (--data-dir names the folder that it is in)"
        raise UserError(f"--dataset: there is no folder {path}{where}")
    options.dataset_args = {"tfrecord_dir": path, "resolution": args.resolution}
    options.dataset_args["max_label_size"] = "full" if args.cond else 0
    options.mirror_augment = args.mirror_augment
    options.num_gpus = args.num_gpus
    if args.gamma is not None:
        options.D_loss_args["gamma"] = args.gamma
    if args.snap is not None:
        options.image_snapshot_ticks = options.network_snapshot_ticks = args.snap
    if args.lrate is not None:
        options.G_lrate = options.D_lrate = args.lrate
    for name, value in {
        "total_kimg": args.total_kimg,
        "seed": args.seed,
        "minibatch_size": args.batch,
        "minibatch_gpu": args.batch_gpu,
        "G_smoothing_kimg": args.ema_kimg,
    }.items():
        if value is not None:
            setattr(options, name, value)
    set_network_size(options, args.fmap_base, args.fmap_max, args.latent_size, args.mapping_layers)
    return options


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
