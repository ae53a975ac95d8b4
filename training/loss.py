"""Losses by their official names, and the table of names that training options may hold.

Called from user code, a loss of StyleGAN2 takes keywords and returns (loss, reg), and one of ADA
(G_loss, D_loss, G_reg, D_reg): tensors of one number a sample, or None for no regularization.
Inside the project a loss takes a context and options, and returns a record: see
`training.losses.context`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import UserError, keywords, own_code, schema
from training.losses import consistency, logistic, own, path_length, rotations, wasserstein
from training.losses.context import LossContext, LossResult
from training.losses.logistic import r1_penalty
from training.losses.official_ada import (
    cmethods,
    eval_D,
    eval_G,
    report_loss,
    report_stat,
    stylegan2,
    wgangp,
)
from training.losses.path_length import path_lengths
from training.losses.path_length_mean import PathLengthMean
from training.random_streams import fresh_seed

__all__ = [
    "LOSSES",
    "D_logistic",
    "D_logistic_r1",
    "D_logistic_r2",
    "D_wgan",
    "D_wgan_gp",
    "G_logistic",
    "G_logistic_ns",
    "G_logistic_ns_pathreg",
    "G_wgan",
    "PathLengthMean",
    "cmethods",
    "eval_D",
    "eval_G",
    "find_loss",
    "path_lengths",
    "r1_penalty",
    "report_loss",
    "report_stat",
    "stylegan2",
    "wgangp",
]

_OPT = keywords.Argument(
    inspect.Parameter("opt", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any),
    "official keyword without effect: an Optimizer scales losses by itself",
)
_ARGS_AND_RETURNS = """

Args:
    {fields}

Returns:
    (loss, regularizer), [N] each; None for no regularization."""
Loss = Callable[[LossContext, Any], LossResult]
# What `func_name` in G_loss_args and D_loss_args may be. Runs store these names, so that they stay
# the same wherever the functions are.
LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "training.loss.G_logistic": logistic.G_logistic,
        "training.loss.G_logistic_ns": logistic.G_logistic_ns,
        "training.loss.G_logistic_ns_pathreg": path_length.G_logistic_ns_pathreg,
        "training.loss.G_wgan": wasserstein.G_wgan,
        "training.loss.D_logistic": logistic.D_logistic,
        "training.loss.D_logistic_r1": logistic.D_logistic_r1,
        "training.loss.D_logistic_r2": logistic.D_logistic_r2,
        "training.loss.D_wgan": wasserstein.D_wgan,
        "training.loss.D_wgan_gp": wasserstein.D_wgan_gp,
        "training.comparison.consistency.D_bcr": consistency.D_bcr,
        "training.comparison.consistency.G_zcr": consistency.G_zcr,
        "training.comparison.consistency.D_zcr": consistency.D_zcr,
        "training.comparison.rotations.G_auxrot": rotations.G_auxrot,
        "training.comparison.rotations.D_auxrot": rotations.D_auxrot,
    }
)


def find_loss(network: str, args: Mapping[str, Any]) -> Callable[[LossContext], LossResult]:
    """The loss that training options name, with its options.

    Args:
        network: "G" or "D".
        args: `func_name` and keyword arguments, as in G_loss_args or D_loss_args of a run.

    Raises:
        UserError: there is no such loss of this network, it has no such keyword argument, or a
            value does not fit.
    """
    known = {name: f for name, f in LOSSES.items() if f.__name__.startswith(f"{network}_")}
    name = args.get("func_name")
    given = {key: value for key, value in args.items() if key != "func_name"}
    users = own_code.losses.find(name)
    if users is not None and users.__name__.startswith(f"{network}_"):
        return own.own_loss(users, network, given)
    if name not in known:
        raise UserError(
            f"no loss of {network} {name!r}: use one of {', '.join(known)}; one of your own has to "
            f"be named with --{network}-loss each time"
        )
    loss = known[name]
    options = _options_class(loss)
    if unknown := sorted(given.keys() - {field.name for field in dataclasses.fields(options)}):
        raise UserError(f"{loss.__name__}() has no keyword argument {', '.join(unknown)}")
    return functools.partial(loss, options=schema.parse(options, given, f"{network}_loss_args"))


def _options_class(loss: Loss) -> type:
    return typing.get_type_hints(loss)["options"]


def _official(
    loss: Loss, order: str | None = None
) -> Callable[..., tuple[tf.Tensor, tf.Tensor | None]]:
    """A loss as user code calls it: with the fields of context and options as keywords.

    Args:
        loss: of ours.
        order: names of the options; None: as they are declared.
    """
    options = _options_class(loss)
    names = ["training_set", "minibatch_size"]
    if loss.__name__.startswith("D_"):
        names += ["reals", "labels"]
    has_lengths = issubclass(options, path_length.PathLengthOptions)
    extra = ["seed", "pl_mean"] if has_lengths else ["seed"]
    required = {"default": inspect.Parameter.empty}
    optional = {"default": None, "kind": inspect.Parameter.KEYWORD_ONLY}
    shown = [
        *keywords.arguments(LossContext, ["G", "D"], **required),
        _OPT,
        *keywords.arguments(LossContext, names, **required),
        *keywords.arguments(options, order and order.split()),
        *keywords.arguments(LossContext, extra, **optional),
    ]

    def call(given: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor | None]:
        del given["opt"]
        context = {n: given.pop(n) for n in ("G", "D", *names, *extra) if n in given}
        if context.get("seed") is None:
            context["seed"] = fresh_seed()
        result = loss(LossContext(**context), options(**given))
        return result.loss, result.regularizer

    about = inspect.getdoc(loss)  # None with `python -OO`.
    return keywords.face(__name__, loss.__name__, about and about + _ARGS_AND_RETURNS, shown, call)


G_logistic = _official(logistic.G_logistic)
G_logistic_ns = _official(logistic.G_logistic_ns)
G_logistic_ns_pathreg = _official(path_length.G_logistic_ns_pathreg)
G_wgan = _official(wasserstein.G_wgan)
D_logistic = _official(logistic.D_logistic)
D_logistic_r1 = _official(logistic.D_logistic_r1)
D_logistic_r2 = _official(logistic.D_logistic_r2)
D_wgan = _official(wasserstein.D_wgan)
D_wgan_gp = _official(
    wasserstein.D_wgan_gp, "wgan_lambda wgan_epsilon wgan_target dlatent_avg_beta"
)
