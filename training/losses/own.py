"""Losses of the user's own, called as the official code calls losses.

A loss takes these keywords, as far as it has parameters of such names:

    G, D, training_set, minibatch_size   as every official loss
    reals, labels                        as those of D
    opt                                  has `apply_loss_scaling` and `undo_loss_scaling`, which
                                         leave values as they are: nothing here is scaled
    seed, pl_mean                        as in `LossContext`: random numbers that are functions of
                                         `seed` make a resumed run equal an uninterrupted one

and its own keyword arguments, and returns (loss, regularizer), [N] or [N, 1] each; the latter may
be None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import tensorflow.compat.v1 as tf

from dnnlib import UserError, own_code
from dnnlib.tflib.autosummary import autosummary
from training.augmentation.adaptive import Discriminator
from training.losses.context import LossContext, LossResult

T = TypeVar("T")
_OFFERED = ("G", "D", "opt", "training_set", "minibatch_size", "seed", "pl_mean")
_OFFERED += ("reals", "labels")


def own_loss(
    function: Callable, network: str, kwargs: Mapping[str, Any]
) -> Callable[[LossContext], LossResult]:
    """A loss as the training graph calls it.

    Args:
        function: the user's.
        network: "G" or "D".
        kwargs: its own keyword arguments.

    Raises:
        UserError: it has no such keyword argument.
    """
    name = f"{function.__module__}.{function.__name__}"
    known = own_code.accepted(function, kwargs).keys() - set(_OFFERED)
    if unknown := sorted(kwargs.keys() - known):
        raise UserError(f"{name}() has no keyword argument {', '.join(unknown)}")

    def loss(context: LossContext) -> LossResult:
        D = _Watched(context.D, context.reals)
        offered = {key: getattr(context, key) for key in _OFFERED if key not in ("D", "opt")}
        offered |= {"D": D, "opt": _Unscaled()}
        if network == "G":
            del offered["reals"], offered["labels"]
        result = function(**own_code.accepted(function, offered), **kwargs)
        if not isinstance(result, tuple) or len(result) != 2:
            raise UserError(f"{name}() returns no pair (loss, regularizer); without one, None")
        values = [value if value is None else tf.reshape(value, [-1]) for value in result]
        told = D.told(name) if network == "D" else {}
        return LossResult(autosummary(f"Loss/{network}/loss", values[0]), values[1], **told)

    return loss


class _Unscaled:
    """What official losses scale values with, for float16."""

    def apply_loss_scaling(self, value: T) -> T:
        return value

    def undo_loss_scaling(self, value: T) -> T:
        return value


class _Watched:
    """A discriminator that remembers its scores of reals and of fakes: they tell overfitting."""

    def __init__(self, D: Discriminator, reals: tf.Tensor | None):
        self._D, self._reals = D, reals
        self._scores: dict[bool, tf.Tensor] = {}

    def get_output_for(self, images: tf.Tensor, labels: tf.Tensor, **kwargs: Any) -> Any:
        """Scores of images."""
        scores = self._D.get_output_for(images, labels, **kwargs)
        # The first ones: regularizers may look at other pictures afterwards.
        self._scores.setdefault(images is self._reals, scores[:, 0])
        return scores

    def __getattr__(self, name: str) -> Any:
        return getattr(self._D, name)

    def told(self, name: str) -> dict[str, tf.Tensor]:
        """`real_sign` and `mean_scores` of a `LossResult`."""
        if self._scores.keys() != {True, False}:
            raise UserError(f"{name}() is no loss of D: it has to score `reals` and fakes")
        real = autosummary("Loss/scores/real", self._scores[True])
        fake = autosummary("Loss/scores/fake", self._scores[False])
        sign = tf.reduce_mean(autosummary("Loss/signs/real", tf.sign(real)))
        means = tf.stack([tf.reduce_mean(scores) for scores in (real, fake)])
        with tf.control_dependencies([means]):  # Both are reported wherever the sign is used.
            return {"real_sign": tf.identity(sign), "mean_scores": means}
