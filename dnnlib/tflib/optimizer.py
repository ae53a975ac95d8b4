"""Optimizer: averages gradients over replicas and accumulation rounds, then applies Adam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil
from dnnlib.tflib.autosummary import autosummary
from dnnlib.util import UserError

_OPTIMIZERS = {
    "tf.train.AdamOptimizer": tf.train.AdamOptimizer,
    "tf.train.GradientDescentOptimizer": tf.train.GradientDescentOptimizer,
}


def lazy_regularization_args(
    learning_rate: Any, interval: int | None, beta1: float, beta2: float, **kwargs: Any
) -> dict[str, Any]:
    """Adam's settings when a regularizer runs only every `interval` minibatches.

    With c = interval / (interval + 1), the learning rate becomes c·lr and each beta beta^c, so that
    main and regularization steps together move the weights as one step would (StyleGAN2, appendix
    B, "Lazy regularization").
    """
    ratio = 1.0 if interval is None else interval / (interval + 1)
    return {
        "learning_rate": learning_rate * ratio,
        "beta1": beta1**ratio,
        "beta2": beta2**ratio,
        **kwargs,
    }


class Optimizer:
    """A TensorFlow optimizer over several replicas.

    Call `register_gradients` once a replica, then `apply_updates` once. A step whose gradients are
    not all finite is skipped and counted in the statistic `<name>/skipped_steps`.

    Args:
        name: scope of the ops and variables.
        tf_optimizer: one of the official names, e.g. `tf.train.AdamOptimizer`.
        learning_rate: number or scalar tensor.
        minibatch_multiplier: accumulation rounds a step, None for one; number or scalar tensor.
        share: an optimizer whose state (moments, step count) this one uses too.
        kwargs: passed on, e.g. beta1, beta2, epsilon.
    """

    def __init__(
        self,
        name: str = "Train",
        tf_optimizer: str = "tf.train.AdamOptimizer",
        learning_rate: Any = 0.001,
        minibatch_multiplier: Any = None,
        share: Optimizer | None = None,
        **kwargs: Any,
    ):
        if tf_optimizer not in _OPTIMIZERS:
            raise UserError(f"no optimizer {tf_optimizer!r}: use one of {', '.join(_OPTIMIZERS)}")
        self.name = name
        self.learning_rate = tf.convert_to_tensor(learning_rate, tf.float32)
        self._rounds = minibatch_multiplier
        self._replicas: list[dict[tf.Variable, tf.Tensor]] = []
        self._losses: list[tf.Tensor] = []
        if share is None:
            self._optimizer = _OPTIMIZERS[tf_optimizer](
                name=name, learning_rate=self.learning_rate, **kwargs
            )
        else:
            self._optimizer = share._optimizer

    @property
    def has_gradients(self) -> bool:
        """Whether `register_gradients` was called."""
        return bool(self._replicas)

    def register_gradients(self, loss: tf.Tensor, trainable_vars: Iterable[tf.Variable]) -> None:
        """Takes a replica's loss (its mean is minimized) and the variables to train.

        Accepts the dict `Network.trainables` too. Gradients are computed on the current device.
        """
        if isinstance(trainable_vars, dict):
            trainable_vars = trainable_vars.values()
        variables = list(trainable_vars)
        self._losses.append(loss)
        with tf.name_scope(f"{self.name}_grad"):
            gradients = tf.gradients(tf.reduce_mean(loss), variables)
        # Deviation: a variable that this loss does not depend on (ToRGB's bias when path lengths
        # are regularized, say) is left alone rather than fed zeros, which would decay its moments.
        pairs = zip(variables, gradients, strict=True)
        self._replicas.append({v: g for v, g in pairs if g is not None})

    def apply_updates(self) -> tf.Operation:
        """An op that takes one step, or with accumulation one round; the last one steps."""
        variables = list(self._replicas[0])
        with tf.name_scope(f"{self.name}_apply"), tf.control_dependencies(None):
            gradients = [self._mean(v) for v in variables]
            build = self._step if self._rounds is None else self._accumulate
            # Gradients alone would leave the losses, and the statistics in them, unevaluated.
            return tf.group(build(variables, gradients), *self._losses)

    def reset_optimizer_state(self) -> None:
        """Sets moments and step count to what they were at the start."""
        tfutil.run([v.initializer for v in self._optimizer.variables()])

    def _mean(self, variable: tf.Variable) -> tf.Tensor:
        parts = [gradients[variable] for gradients in self._replicas]
        with tf.device(variable.device):
            return parts[0] if len(parts) == 1 else tf.add_n(parts) / len(parts)

    def _step(self, variables: list[tf.Variable], gradients: list[tf.Tensor]) -> tf.Operation:
        # One number per tensor tells: a sum is finite only if every term is. Of squares, because
        # Adam keeps those.
        finite = tf.reduce_all(tf.is_finite(tf.stack([tf.nn.l2_loss(g) for g in gradients])))
        skipped = autosummary(f"{self.name}/skipped_steps", tf.cast(~finite, tf.float32))
        pairs = list(zip(gradients, variables, strict=True))

        def apply() -> tf.Tensor:
            with tf.control_dependencies([self._optimizer.apply_gradients(pairs)]):
                return tf.constant(True)

        applied = tf.cond(finite, apply, lambda: tf.constant(False))
        rate = autosummary(f"{self.name}/learning_rate", self.learning_rate)
        return tf.group(applied, skipped, rate)

    def _accumulate(self, variables, gradients) -> tf.Operation:
        with tf.control_dependencies(None):
            sums = [
                tf.Variable(tf.zeros(v.shape), trainable=False, name="accumulated")
                for v in variables
            ]
            round_number = tf.Variable(0, trainable=False, dtype=tf.int32, name="round")
        updates = [s.assign_add(g, read_value=False) for s, g in zip(sums, gradients, strict=True)]
        with tf.control_dependencies(updates):
            done = tf.equal(round_number.assign_add(1), self._rounds)

        def step() -> tf.Tensor:
            scale = 1.0 / tf.cast(self._rounds, tf.float32)
            step_op = self._step(variables, [s.read_value() * scale for s in sums])
            with tf.control_dependencies([step_op]):
                resets = [s.assign(tf.zeros_like(s), read_value=False) for s in sums]
                resets.append(round_number.assign(0, read_value=False))
            with tf.control_dependencies(resets):
                return tf.constant(True)

        return tf.group(tf.cond(done, step, lambda: tf.constant(False)))
