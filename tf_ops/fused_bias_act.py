"""Bias, activation, gain and clamp in one operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import native


@dataclass(frozen=True)
class Activation:
    """func(x, alpha), and the alpha and gain that go with it when none are given."""

    func: Callable[[tf.Tensor, float], tf.Tensor]
    def_alpha: float = 0.0
    def_gain: float = 1.0


# The gains keep the variance of a unit normal about 1 where the papers use the function so.
_SQRT2 = float(np.sqrt(2))
activation_funcs = {
    "linear": Activation(lambda x, alpha: x),
    "relu": Activation(lambda x, alpha: tf.nn.relu(x), def_gain=_SQRT2),
    "lrelu": Activation(lambda x, alpha: tf.nn.leaky_relu(x, alpha), 0.2, _SQRT2),
    "tanh": Activation(lambda x, alpha: tf.nn.tanh(x)),
    "sigmoid": Activation(lambda x, alpha: tf.nn.sigmoid(x)),
    "elu": Activation(lambda x, alpha: tf.nn.elu(x)),
    "selu": Activation(lambda x, alpha: tf.nn.selu(x)),
    "softplus": Activation(lambda x, alpha: tf.nn.softplus(x)),
    "swish": Activation(lambda x, alpha: tf.nn.sigmoid(x) * x, def_gain=_SQRT2),
}


def fused_bias_act(
    x: tf.Tensor,
    b: tf.Tensor | None = None,
    axis: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "auto",
) -> tf.Tensor:
    """clip(gain · act(x + b), -clamp, clamp)

    Args:
        x: float tensor of any shape.
        b: bias [x.shape[axis]], or None.
        axis: axis of `x` that the bias belongs to.
        act: `linear relu lrelu tanh sigmoid elu selu softplus swish`.
        alpha: slope of `lrelu` for negative values; None: 0.2.
        gain: factor; None: the activation's own (√2 for relu, lrelu and swish, else 1).
        clamp: limit of the absolute value, None or a negative number for none.
        impl: see `tf_ops.native`.

    Returns:
        Tensor like `x`, differentiable any number of times.

    Raises:
        UserError: unknown `act`, or a bias that does not fit.
    """
    if act not in activation_funcs:
        raise UserError(f"no activation {act!r}: use one of {', '.join(activation_funcs)}")
    spec = activation_funcs[act]
    alpha = spec.def_alpha if alpha is None else float(alpha)
    gain = spec.def_gain if gain is None else float(gain)
    clamp = None if clamp is None or clamp < 0 else float(clamp)
    x = tf.convert_to_tensor(x)
    axis = axis % x.shape.ndims
    if b is not None:
        b = tf.convert_to_tensor(b)
        if b.shape.ndims != 1 or not b.shape[:1].is_compatible_with(x.shape[axis : axis + 1]):
            raise UserError(f"bias of shape {b.shape} for axis {axis} of a tensor {x.shape}")
    twin = native.find("fused_bias_act", impl)
    return (twin or _reference)(x, b, axis, act, alpha, gain, clamp)


def _reference(x, b, axis, act, alpha, gain, clamp):
    if b is not None:
        x = x + tf.reshape(b, [-1 if i == axis else 1 for i in range(x.shape.ndims)])
    x = activation_funcs[act].func(x, alpha)
    if gain != 1:
        x = x * np.asarray(gain, x.dtype.as_numpy_dtype)
    if clamp is not None:
        x = tf.clip_by_value(x, -clamp, clamp)
    return x
