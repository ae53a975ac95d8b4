"""The configurations of the two official repositories, as overrides of `TrainingOptions`.

`preset` makes options of them.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from dnnlib import UserError
from dnnlib.util import did_you_mean
from training.config.options import TrainingOptions
from training.config.schedule import ScheduleOptions, images_at_once

_STYLEGAN2 = "training.networks_stylegan2."
_STYLEGAN = "training.networks_stylegan."
_ADA = "training.networks."
_ARCHITECTURES = ("orig", "skip", "resnet")


def _preset(
    G: str,
    D: str,
    growing: bool,
    lazy: bool = True,
    path_length: bool = True,
    gamma: float = 10.0,
    G_args: dict[str, Any] | None = None,
    D_args: dict[str, Any] | None = None,
) -> dict[str, Any]:
    adam = {"beta1": 0.0, "beta2": 0.99, "epsilon": 1e-8}
    loss = "G_logistic_ns_pathreg" if path_length else "G_logistic_ns"
    return {
        "G_args": {"func_name": G, **(G_args or {})},
        "D_args": {"func_name": D, **(D_args or {})},
        "G_opt_args": adam,
        "D_opt_args": dict(adam),
        "G_loss_args": {"func_name": f"training.loss.{loss}"},
        "D_loss_args": {"func_name": "training.loss.D_logistic_r1", "gamma": gamma},
        "lazy_regularization": lazy,
        "sched_args": _GROWING if growing else ScheduleOptions(),
    }


# Progressive growing from 8×8, as configurations A to D train (StyleGAN, appendix C).
_LRATES = {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}
_GROWING = ScheduleOptions(
    lod_initial_resolution=8,
    G_lrate_base=0.001,
    G_lrate_dict=_LRATES,
    D_lrate_base=0.001,
    D_lrate_dict=_LRATES,
    minibatch_size_dict={8: 256, 16: 128, 32: 64, 64: 32},
    minibatch_gpu_base=4,
    minibatch_gpu_dict={8: 32, 16: 16, 32: 8, 64: 4},
)
_SMALL = {"fmap_base": 8 << 10}
_REVISED = {"synthesis_func": "G_synthesis_stylegan_revised", **_SMALL}
_B_TO_D = {
    "G": _STYLEGAN2 + "G_main",
    "D": _STYLEGAN2 + "D_stylegan",
    "growing": True,
    "G_args": _REVISED,
    "D_args": _SMALL,
}


def _config_e(G_arch: str = "skip", D_arch: str = "resnet") -> dict[str, Any]:
    return _preset(
        _STYLEGAN2 + "G_main",
        _STYLEGAN2 + "D_stylegan2",
        growing=False,
        gamma=100.0,
        G_args={**_SMALL, "architecture": G_arch},
        D_args={**_SMALL, "architecture": D_arch},
    )


# The configurations of StyleGAN2's tables 1 and 2 by their official names: overrides of
# TrainingOptions. Each adds one thing to the one before it.
PRESETS: dict[str, dict[str, Any]] = {
    # StyleGAN, the baseline.
    "config-a": _preset(
        _STYLEGAN + "G_style",
        _STYLEGAN + "D_basic",
        growing=True,
        lazy=False,
        path_length=False,
        G_args=_SMALL,
        D_args=_SMALL,
    ),
    # Weight demodulation in the place of instance normalization.
    "config-b": _preset(**_B_TO_D, lazy=False, path_length=False),
    # Lazy regularization.
    "config-c": _preset(**_B_TO_D, path_length=False),
    # Path length regularization.
    "config-d": _preset(**_B_TO_D),
    # No growing, new architectures.
    "config-e": _config_e(),
    **{f"config-e-G{g}-D{d}": _config_e(g, d) for g in _ARCHITECTURES for d in _ARCHITECTURES},
    # Large networks.
    "config-f": _preset(_STYLEGAN2 + "G_main", _STYLEGAN2 + "D_stylegan2", growing=False),
}


class _AdaRow(NamedTuple):
    """What the configurations of the ADA repository differ in."""

    ref_gpus: int  # GPUs that the row was made for.
    kimg: float
    minibatch: int
    mbstd: int  # Group of the minibatch standard deviation.
    fmaps: float  # Feature maps, of 16384 / resolution.
    lrate: float
    gamma: float
    ema_kimg: float
    ema_ramp: float | None
    mapping_layers: int


# The configurations of the ADA repository by their official names, but `auto`, which is computed.
_ADA_ROWS: dict[str, _AdaRow] = {
    "stylegan2": _AdaRow(8, 25000, 32, 4, 1, 0.002, 10, 10, None, 8),
    "paper256": _AdaRow(8, 25000, 64, 8, 0.5, 0.0025, 1, 20, None, 8),
    "paper512": _AdaRow(8, 25000, 64, 8, 1, 0.0025, 0.5, 20, None, 8),
    "paper1024": _AdaRow(8, 25000, 32, 4, 1, 0.002, 2, 10, None, 8),
    "cifar": _AdaRow(2, 100000, 64, 32, 0.5, 0.0025, 0.01, 500, 0.05, 2),
    "cifarbaseline": _AdaRow(2, 100000, 64, 32, 0.5, 0.0025, 0.01, 500, 0.05, 8),
}
ADA_NAMES = ("auto", *_ADA_ROWS)


def _auto(resolution: int, num_gpus: int) -> _AdaRow:
    """The row of `auto`: what usually works at a resolution."""
    minibatch = max(min(num_gpus * min(4096 // resolution, 32), 64), num_gpus)
    return _AdaRow(
        ref_gpus=num_gpus,
        kimg=25000,
        minibatch=minibatch,
        mbstd=min(minibatch // num_gpus, 4),
        fmaps=1 if resolution >= 512 else 0.5,
        lrate=0.002 if resolution >= 1024 else 0.0025,
        gamma=0.0002 * resolution**2 / minibatch,
        ema_kimg=minibatch * 10 / 32,
        ema_ramp=0.05,
        mapping_layers=2,
    )


def ada_overrides(
    name: str, resolution: int | None, num_gpus: int, minibatch: int | None
) -> dict[str, Any]:
    """Overrides of TrainingOptions for one of `ADA_NAMES`; arguments as of `options.preset`."""
    if name != "auto":
        row = _ADA_ROWS[name]
    elif resolution is None:
        raise UserError("--config=auto depends on the resolution: name it, or another --config")
    else:
        row = _auto(resolution, num_gpus)
    minibatch = row.minibatch if minibatch is None else minibatch
    if minibatch % num_gpus:
        raise UserError(
            f"--config={name}: {num_gpus} GPUs cannot share a minibatch of {minibatch} evenly: "
            f"use another --num-gpus, or a --batch that is a multiple of {num_gpus}"
        )
    network = {
        "fmap_base": int(row.fmaps * 16384),
        "fmap_max": 512,
        "num_fp16_res": 4,
        "conv_clamp": 256,
    }
    G_args = {**network, "mapping_layers": row.mapping_layers}
    D_args = {**network, "mbstd_group_size": row.mbstd}
    if name == "cifar":
        G_args["style_mixing_prob"] = None
        D_args["architecture"] = "orig"
    return {
        **_preset(
            _ADA + "G_main",
            _ADA + "D_main",
            growing=False,
            path_length=name != "cifar",
            gamma=row.gamma,
            G_args=G_args,
            D_args=D_args,
        ),
        "sched_args": ScheduleOptions(
            minibatch_size_base=minibatch,
            minibatch_gpu_base=_images_at_once(row, minibatch // num_gpus),
            G_lrate_base=row.lrate,
            D_lrate_base=row.lrate,
            tick_kimg_base=4,
            tick_kimg_dict={},
        ),
        "image_snapshot_ticks": 50,
        "network_snapshot_ticks": 50,
        "G_smoothing_kimg": row.ema_kimg,
        "G_smoothing_rampup": row.ema_ramp,
        "total_kimg": row.kimg,
    }


def _images_at_once(row: _AdaRow, share: int) -> int:
    """Of a replica's share of a minibatch: as many as on the row's GPUs, or fewer where that fits.

    With fewer GPUs than those, the rest is accumulated in further rounds.
    """
    count = images_at_once(share, row.minibatch // row.ref_gpus, row.mbstd)
    if count == 1 < min(share, row.mbstd):
        raise UserError(
            f"{share} images for each GPU cannot be divided into groups that the discriminator "
            f"compares: use a --batch that is a multiple of {row.mbstd} for each"
        )
    return count


def preset(
    name: str, resolution: int | None = None, num_gpus: int = 1, minibatch: int | None = None
) -> TrainingOptions:
    """Options of a configuration.

    Args:
        name: a key of `PRESETS`, or one of `ADA_NAMES`.
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
