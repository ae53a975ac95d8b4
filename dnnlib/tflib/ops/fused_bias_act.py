"""Bias and activation by their official name, over `tf_ops.fused_bias_act`."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from tf_ops import fused_bias_act as ops
from tf_ops import native


def fused_bias_act(
    x: tf.Tensor,
    b: tf.Tensor | None = None,
    axis: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "cuda",
) -> tf.Tensor:
    """clip(gain · act(x + b), -clamp, clamp), differentiable any number of times.

    Args:
        x: float tensor of any shape.
        b: bias [x.shape[axis]], or None.
        axis: axis of `x` that the bias belongs to.
        act: `linear relu lrelu tanh sigmoid elu selu softplus swish`.
        alpha: slope of `lrelu` for negative values; None: 0.2.
        gain: factor; None: the activation's own (√2 for relu, lrelu and swish, else 1).
        clamp: limit of the absolute value, or None.
        impl: `cuda` for what is fastest here, also without GPU, or `ref` for plain TensorFlow.

    Returns:
        Tensor like `x`.

    Raises:
        UserError: unknown `act` or `impl`; a bias that does not fit.
    """
    return ops.fused_bias_act(x, b, axis, act, alpha, gain, clamp, native.official(impl))
