"""The methods that `--cmethod` names, as changes of a run's options. Without TensorFlow.

Weights and other numbers are those of the ADA paper (arXiv:2006.06676, appendix on comparison
methods). Those that do not stand here are defaults of the losses and of `training.networks.D_main`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dnnlib import UserError
from dnnlib.util import did_you_mean
from training.augmentation.presets import TARGETS, augment_preset
from training.config.schedule import splits_into_groups

if TYPE_CHECKING:
    from training.config.options import TrainingOptions

_ADA_NETWORKS = "training.networks."
# Losses by the names of the table `training.loss.LOSSES`.
_CONSISTENCY = "training.comparison.consistency."
_ROTATIONS = "training.comparison.rotations."
_LOSS = "training.loss."


@dataclass(frozen=True)
class Method:
    """What a method changes.

    Attributes:
        summary: for the help of the command line.
        G_loss, D_loss: losses in place of those of the configuration; None keeps them.
        D_args: keyword arguments of the discriminator, which only that of ADA has.
        has_strength: p, fixed or adaptive, is the strength of the method; no image is augmented.
        target: of r_t, unless it is given.
        full_precision: float16 is switched off: gradients vary too much for it.
        passes: images that G and D see in a step, times those without the method.
    """

    summary: str
    G_loss: str | None = None
    D_loss: str | None = None
    D_args: Mapping[str, Any] = field(default_factory=dict)
    has_strength: bool = False
    target: float | None = None
    full_precision: bool = False
    passes: tuple[float, float] = (1, 1)


METHODS: dict[str, Method] = {
    "nocmethod": Method("none"),
    "bcr": Method(
        "balanced consistency regularization", D_loss=_CONSISTENCY + "D_bcr", passes=(1, 2)
    ),
    "zcr": Method(
        "latent consistency regularization",
        G_loss=_CONSISTENCY + "G_zcr",
        D_loss=_CONSISTENCY + "D_zcr",
        full_precision=True,
        passes=(2, 1.5),
    ),
    "pagan": Method("PA-GAN", D_args={"use_pagan": True}, has_strength=True, target=0.95),
    "wgangp": Method(
        "WGAN-GP", G_loss=_LOSS + "G_wgan", D_loss=_LOSS + "D_wgan_gp", full_precision=True
    ),
    "auxrot": Method(
        "auxiliary rotations",
        G_loss=_ROTATIONS + "G_auxrot",
        D_loss=_ROTATIONS + "D_auxrot",
        D_args={"score_max": 5},
        passes=(1, 3),  # D sees N reals, N fakes and 4·N turned images.
    ),
    "spectralnorm": Method("spectral normalization", D_args={"use_spectral_norm": True}),
    "shallowmap": Method("a mapping network of 2 layers"),
    "adropout": Method("adaptive dropout", D_args={"adaptive_dropout": 1.0}, has_strength=True),
}
# What a configuration has that does not say: layers of `G_mapping`, maps of the discriminators.
_MAPPING_LAYERS = 8
_FMAPS = {"fmap_base": 16 << 10, "fmap_max": 512}
_SHALLOW = 2
_WGAN_LRATE = 0.001


def apply_method(options: TrainingOptions, name: str, args: Any) -> None:
    """Makes a run one of a comparison method.

    Args:
        options: of the run, as the configuration and the rest of the command line make them.
        name: a key of `METHODS`.
        args: the command line, to tell what was given.

    Raises:
        UserError: there is no such method, or it does not go with something of the run.
    """
    method = find_method(name)
    options.cmethod = name
    _check(options, name, args)
    options.D_args |= method.D_args
    if method.has_strength and options.augment_args.mode == "noaug":
        # Like the official code: the method adapts, no image is augmented.
        options.augment_args.mode, options.augment_args.target = "ada", TARGETS["ada"]
    if method.target is not None and args.target is None and options.augment_args.mode == "ada":
        options.augment_args.target = method.target
    if method.full_precision:
        for network in (options.G_args, options.D_args):
            if network["func_name"].startswith(_ADA_NETWORKS):
                network |= {"num_fp16_res": 0, "conv_clamp": None}  # The clamp is for float16.
    if name == "wgangp":
        _use_wgan(options, args)
    else:
        _use_losses(options, method)
    if name == "shallowmap":
        options.G_args["mapping_layers"] = _SHALLOW


def find_method(name: str) -> Method:
    """The method of a name; raises a UserError if there is none."""
    if name not in METHODS:
        hint = did_you_mean(name, METHODS)
        raise UserError(f"--cmethod={name}: {hint}use one of {', '.join(METHODS)}")
    return METHODS[name]


def set_capacity(options: TrainingOptions, factor: float) -> None:
    """Multiplies the numbers of feature maps of the discriminator (ADA, figure 8b)."""
    for key, default in _FMAPS.items():
        options.D_args[key] = max(int(options.D_args.get(key, default) * factor), 1)


def _use_losses(options: TrainingOptions, method: Method) -> None:
    """Losses that extend those of the configurations, with their arguments."""
    if method.G_loss is not None:
        has_path_lengths = options.G_loss_args["func_name"].endswith("pathreg")
        options.G_loss_args = {"func_name": method.G_loss}
        if not has_path_lengths:
            options.G_loss_args["pl_weight"] = 0
    if method.D_loss is not None:
        options.D_loss_args |= {"func_name": method.D_loss}


def _use_wgan(options: TrainingOptions, args: Any) -> None:
    """The gradient penalty belongs to every minibatch, and is the only regularization."""
    method = METHODS["wgangp"]
    options.G_loss_args = {"func_name": method.G_loss}
    options.D_loss_args = {"func_name": method.D_loss}
    options.lazy_regularization = False
    if args.lrate is None:
        schedule = options.sched_args
        schedule.G_lrate_base = schedule.D_lrate_base = _WGAN_LRATE
        schedule.G_lrate_dict = schedule.D_lrate_dict = {}


def _check(options: TrainingOptions, name: str, args: Any) -> None:
    """Raises a UserError if a method does not go with the rest of a run."""
    method, augment = METHODS[name], options.augment_args
    if method.D_args and not options.D_args["func_name"].startswith(_ADA_NETWORKS):
        raise UserError(
            f"--cmethod={name} needs the discriminator of StyleGAN2-ADA, which {args.config} does "
            "not have: use --config=auto or another configuration of StyleGAN2-ADA"
        )
    if method.has_strength and args.augpipe is not None:
        raise UserError(f"--cmethod={name} takes the place of augmentation: leave out --augpipe")
    if method.full_precision and args.precision == "mixed":
        raise UserError(f"--cmethod={name} needs --precision=fp32")
    if name == "wgangp" and augment.mode == "ada":
        raise UserError(
            "--cmethod=wgangp: signs of its scores do not tell overfitting, as --aug=ada needs: "
            "use --aug=noaug or --aug=fixed"
        )
    if name == "wgangp" and args.gamma is not None:
        raise UserError("--cmethod=wgangp has no R1 regularization: leave out --gamma")
    if name == "auxrot":
        _check_rotations(options)
    if name == "shallowmap" and args.mapping_layers is not None:
        raise UserError(f"--cmethod=shallowmap means {_SHALLOW} layers: leave out --mapping-layers")
    if name == "shallowmap" and options.G_args.get("mapping_layers", _MAPPING_LAYERS) <= _SHALLOW:
        raise UserError(
            f"--cmethod=shallowmap: {args.config} has a mapping network of {_SHALLOW} layers anyway"
        )


def _check_rotations(options: TrainingOptions) -> None:
    """Raises a UserError if rotations cannot be told, or not compared."""
    augment = options.augment_args
    # Deviation: the official code trains, on answers that are wrong as often as augmentation turns.
    spec = augment_preset(augment.preset)
    if augment.mode != "noaug" and (spec.rotate90 > 0 or spec.rotate > 0):
        raise UserError(
            f"--cmethod=auxrot: --aug={augment.mode} with --augpipe={augment.preset} turns images, "
            "so that their orientation cannot be told: use --aug=noaug or --augpipe=color"
        )
    count = 4 * options.sched_args.minibatch_gpu_base
    group = options.D_args["mbstd_group_size"]
    if not splits_into_groups(count, group):
        raise UserError(
            f"--cmethod=auxrot shows {count} images at once, 4 times --batch-gpu, which is not a "
            f"multiple of {group}, the group of samples that the discriminator compares"
        )
