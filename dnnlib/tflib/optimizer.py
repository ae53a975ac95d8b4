"""Optimizer: averages gradients over replicas and accumulation rounds, then applies Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil
from dnnlib.tflib.autosummary import autosummary
from dnnlib.tflib.workers import ALONE, Alone
from dnnlib.util import UserError


class SimpleAdam(tf.train.AdamOptimizer):
    """Adam by its official name here: that of TensorFlow, with other defaults and order."""

    def __init__(
        self,
        name: str = "Adam",
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: float = 1e-8,
    ):
        super().__init__(learning_rate, beta1, beta2, epsilon, name=name)

    def compute_gradients(
        self,
        loss: tf.Tensor,
        var_list: Iterable[tf.Variable] | None = None,
        gate_gradients: int = tf.train.Optimizer.GATE_NONE,
    ) -> list[tuple[tf.Tensor | None, tf.Variable]]:
        """[(gradient, variable)], each gradient on its own."""
        return super().compute_gradients(loss, var_list, gate_gradients)


# A table, because the name may come from the options of a run.
_OPTIMIZERS = {
    "tf.train.AdamOptimizer": tf.train.AdamOptimizer,
    "tf.train.GradientDescentOptimizer": tf.train.GradientDescentOptimizer,
    "tf.train.MomentumOptimizer": tf.train.MomentumOptimizer,
    "tf.train.RMSPropOptimizer": tf.train.RMSPropOptimizer,
    "tf.train.AdagradOptimizer": tf.train.AdagradOptimizer,
    "dnnlib.tflib.optimizer.SimpleAdam": SimpleAdam,
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
        tf_optimizer: one of the official names, e.g. `tf.train.AdamOptimizer`, or a class.
        learning_rate: number or scalar tensor.
        minibatch_multiplier: accumulation rounds a step, None for one; number or scalar tensor.
        share: an optimizer whose state (moments, step count) this one uses too.
        use_loss_scaling: multiply losses by 2^s, and gradients by 2^-s, so that gradients in
            float16 do not vanish.
        loss_scaling_init: s at the start.
        loss_scaling_inc: added to s in each step that is taken.
        loss_scaling_dec: subtracted from s in each step that is skipped.
        report_mem_usage: official keyword without effect: `run_training.py` reports memory.
        workers: that take steps together.
        kwargs: passed on, e.g. beta1, beta2, epsilon.
    """

    def __init__(
        self,
        name: str = "Train",
        tf_optimizer: str | Callable = "tf.train.AdamOptimizer",
        learning_rate: Any = 0.001,
        minibatch_multiplier: Any = None,
        share: Optimizer | None = None,
        use_loss_scaling: bool = False,
        loss_scaling_init: float = 64.0,
        loss_scaling_inc: float = 0.0005,
        loss_scaling_dec: float = 1.0,
        report_mem_usage: bool = False,
        *,
        workers: Alone = ALONE,
        **kwargs: Any,
    ):
        if not callable(tf_optimizer):
            if tf_optimizer not in _OPTIMIZERS:
                known = ", ".join(_OPTIMIZERS)
                raise UserError(f"no optimizer {tf_optimizer!r}: use one of {known}, or a class")
            tf_optimizer = _OPTIMIZERS[tf_optimizer]
        self.name = name
        self.learning_rate = tf.convert_to_tensor(learning_rate, tf.float32)
        self._rounds, self._workers = minibatch_multiplier, workers
        self._replicas: list[dict[tf.Variable, tf.Tensor]] = []
        self._losses: list[tf.Tensor] = []
        if share is None:
            self._optimizer = tf_optimizer(name=name, learning_rate=self.learning_rate, **kwargs)
        else:
            self._optimizer = share._optimizer
        self.use_loss_scaling = use_loss_scaling
        self._scaling_steps = (loss_scaling_inc, -loss_scaling_dec)
        self._scaling: tf.Variable | None = None
        if use_loss_scaling:
            with tf.name_scope(None), tf.control_dependencies(None):
                self._scaling = tf.Variable(
                    float(loss_scaling_init), trainable=False, name=f"{name}/loss_scaling"
                )
            tfutil.initialize_later([self._scaling])

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
            gradients = tf.gradients(self.apply_loss_scaling(tf.reduce_mean(loss)), variables)
            gradients = [g if g is None else self.undo_loss_scaling(g) for g in gradients]
        # Deviation: a variable that this loss does not depend on (ToRGB's bias when path lengths
        # are regularized, say) is left alone rather than fed zeros, which would decay its moments.
        pairs = zip(variables, gradients, strict=True)
        self._replicas.append({v: g for v, g in pairs if g is not None})

    def apply_updates(self, allow_no_op: bool = False) -> tf.Operation:
        """An op that takes one step, or with accumulation one round; the last one steps.

        Args:
            allow_no_op: without any gradients, an op that does nothing.

        Raises:
            ValueError: there are no gradients.
        """
        if not self._replicas:
            if allow_no_op:
                return tf.no_op()
            raise ValueError(f"optimizer {self.name}: call register_gradients first")
        variables = list(self._replicas[0])
        with tf.name_scope(f"{self.name}_apply"), tf.control_dependencies(None):
            gradients = [self._mean(v) for v in variables]
            build = self._step if self._rounds is None else self._accumulate
            # Gradients alone would leave the losses, and the statistics in them, unevaluated.
            op = tf.group(build(variables, gradients), *self._losses)
        tfutil.initialize_later(self._optimizer.variables())
        return op

    def get_loss_scaling_var(self, device: str) -> tf.Variable:
        """The variable s of the loss scale 2^s, which all devices share; float32 scalar."""
        if self._scaling is None:
            raise ValueError(f"optimizer {self.name} has no use_loss_scaling")
        return self._scaling

    def apply_loss_scaling(self, value: tf.Tensor) -> tf.Tensor:
        """`value` times the loss scale, if that is used."""
        return value if self._scaling is None else value * tfutil.exp2(self._scaling)

    def undo_loss_scaling(self, value: tf.Tensor) -> tf.Tensor:
        """`value` divided by the loss scale, if that is used."""
        return value if self._scaling is None else value * tfutil.exp2(-self._scaling)

    def reset_optimizer_state(self) -> None:
        """Sets moments and step count to what they were at the start."""
        tfutil.run([v.initializer for v in self._optimizer.variables()])

    def _mean(self, variable: tf.Variable) -> tf.Tensor:
        parts = [gradients[variable] for gradients in self._replicas]
        with tf.device(variable.device):
            return parts[0] if len(parts) == 1 else tf.add_n(parts) / len(parts)

    def _step(self, variables: list[tf.Variable], gradients: list[tf.Tensor]) -> tf.Operation:
        gradients = self._workers.mean(gradients)
        report = partial(autosummary, condition=self._workers.once())
        # One number per tensor tells: a sum is finite only if every term is. Of squares, because
        # Adam keeps those.
        finite = tf.reduce_all(tf.is_finite(tf.stack([tf.nn.l2_loss(g) for g in gradients])))
        skipped = report(f"{self.name}/skipped_steps", tf.cast(~finite, tf.float32))
        pairs = list(zip(gradients, variables, strict=True))

        def apply() -> tf.Tensor:
            with tf.control_dependencies([self._optimizer.apply_gradients(pairs)]):
                return tf.constant(True)

        applied = tf.cond(finite, apply, lambda: tf.constant(False))
        reports = [report(f"{self.name}/learning_rate", self.learning_rate)]
        if self._scaling is not None:
            change = self._scaling.assign_add(tf.where(finite, *self._scaling_steps))
            reports.append(report(f"{self.name}/loss_scaling", change))
        return tf.group(applied, skipped, *reports)

    def _accumulate(self, variables, gradients) -> tf.Operation:
        with tf.control_dependencies(None):
            sums = [
                tf.Variable(tf.zeros(v.shape), trainable=False, name="accumulated")
                for v in variables
            ]
            round_number = tf.Variable(0, trainable=False, dtype=tf.int32, name="round")
        tfutil.initialize_later([*sums, round_number])
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
