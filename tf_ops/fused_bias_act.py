"""Bias, activation, gain and clamp in one operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import native
from tf_ops.gradients import custom_gradient


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
_PIECEWISE_LINEAR = ("linear", "relu", "lrelu")


def fused_bias_act(
    x: tf.Tensor,
    b: tf.Tensor | None = None,
    axis: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "auto",
    scale: tf.Tensor | None = None,
    noise: tf.Tensor | None = None,
) -> tf.Tensor:
    """clip(gain · act(scale · x + noise + b), -clamp, clamp)

    Args:
        x: float tensor of any shape.
        b: bias [x.shape[axis]], or None.
        axis: axis of `x` that the bias belongs to.
        act: `linear relu lrelu tanh sigmoid elu selu softplus swish`.
        alpha: slope of `lrelu` for negative values; None: 0.2.
        gain: factor; None: the activation's own (√2 for relu, lrelu and swish, else 1).
        clamp: limit of the absolute value, None or a negative number for none.
        impl: see `tf_ops.native`.
        scale: [N, x.shape[axis]], for every sample of `x` [N, …]; None for 1.
        noise: like `x` without `axis`, or one for all samples [1, …]; None for 0.

    Returns:
        Tensor like `x`, differentiable any number of times.

    Raises:
        UserError: unknown `act`; bias, scale or noise that do not fit.
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
    _check_modulation(x, axis, scale, noise)
    library = native.find("fused_bias_act", impl, x.dtype)
    if library is None:
        x = _modulate(x, axis, scale, noise)
        return _reference(x, b, axis, act, alpha, gain, clamp)
    native_op = _Native(library, b is not None, axis, act, alpha, gain, clamp)
    b = tf.zeros([0], x.dtype) if b is None else b
    if scale is None and noise is None:
        return native_op.value(x, b)
    if native_op.output_tells_slope():
        return native_op.modulated_value(x, b, scale, noise)
    return native_op.value(_modulate(x, axis, scale, noise), b)


def _check_modulation(x, axis, scale, noise):
    for name, tensor, shape in (
        ("scale", scale, [x.shape[0], x.shape[axis]]),
        ("noise", noise, [d for i, d in enumerate(x.shape.dims) if i != axis]),
    ):
        fits = tensor is None or (axis > 0 and tensor.shape.is_compatible_with(shape))
        # One image of noise serves all samples.
        if not (fits or (name == "noise" and tensor.shape.is_compatible_with([1, *shape[1:]]))):
            raise UserError(f"{name} of shape {tensor.shape} for axis {axis} of a tensor {x.shape}")


def _modulate(x, axis, scale, noise):
    if scale is not None:
        x = x * _per_channel(scale, axis, x.shape.ndims)
    return x if noise is None else x + tf.expand_dims(noise, axis)


def _per_channel(scale, axis, rank):
    """[N, C] as a factor of a tensor with channels at `axis`."""
    count, channels = tf.shape(scale)[0], scale.shape[1].value
    return tf.reshape(
        scale, [count if i == 0 else channels if i == axis else 1 for i in range(rank)]
    )


def _add_bias(x, b, axis):
    return x + tf.reshape(b, [-1 if i == axis else 1 for i in range(x.shape.ndims)])


def _reference(x, b, axis, act, alpha, gain, clamp):
    if b is not None:
        x = _add_bias(x, b, axis)
    x = activation_funcs[act].func(x, alpha)
    if gain != 1:
        x = x * np.asarray(gain, x.dtype.as_numpy_dtype)
    if clamp is not None:
        x = tf.clip_by_value(x, -clamp, clamp)
    return x


@dataclass(frozen=True)
class _Native:
    """The twin in kernels/fused_bias_act_cpu.cc and fused_bias_act_cuda.cu, with its derivatives.

    For t = x + b and y(t) = clip(gain·act(t)), the first gradient is dx = dy·y'(t), and db is the
    sum of dx. It is linear in dy and symmetric: its derivative with respect to dy is itself.
    """

    library: ModuleType
    has_bias: bool  # Otherwise b and db are of shape [0] throughout.
    axis: int
    act: str
    alpha: float
    gain: float
    clamp: float | None

    def value(self, x, b):
        """y for x and b, differentiable any number of times."""

        @custom_gradient
        def function(x, b):
            y, _ = self._op(0, x, b, with_sum=False)

            def gradient(dy):
                if self.output_tells_slope():
                    return self._gradient_by_output(dy, tf.zeros_like(b), y)
                return self._gradient_by_input(dy, x, b)

            return y, gradient

        return function(x, b)

    def modulated_value(self, x, b, scale, noise):
        """y for x and b, and for scale and noise where they are not None."""
        given = [t for t in (scale, noise) if t is not None]

        @custom_gradient
        def function(x, b, *given):
            factor = None if scale is None else given[0]
            added = None if noise is None else given[-1]
            y, _ = self._op(0, x, b, scale=factor, noise=added, with_sum=False)

            def gradient(dy):
                dt, db = self._gradient_by_output(dy, tf.zeros_like(b), y)
                gradients = [dt, db]
                if factor is not None:
                    gradients[0] = dt * _per_channel(factor, self.axis, x.shape.ndims)
                    pixels = [i for i in range(1, x.shape.ndims) if i != self.axis]
                    gradients.append(tf.reduce_sum(dt * x, axis=pixels))
                if added is not None:
                    d_noise = tf.reduce_sum(dt, axis=self.axis)
                    if added.shape[0].value == 1:
                        d_noise = tf.reduce_sum(d_noise, axis=0, keepdims=True)
                    gradients.append(d_noise)
                return gradients

            return y, gradient

        return function(x, b, *given)

    def output_tells_slope(self):
        """Whether the first gradient follows from y alone."""
        return self.act in _PIECEWISE_LINEAR and self.gain > 0 and self.alpha >= 0

    def _gradient_by_output(self, dy, dy_bias, y):
        """(dx, db) for the gradient dy + dy_bias. Does not need x, whose memory is free then."""

        @custom_gradient
        def function(dy, dy_bias):
            outputs = self._op(1, dy, dy_bias, reference=y, from_output=True)
            return outputs, lambda ddx, ddb: self._gradient_by_output(ddx, ddb, y)

        return function(dy, dy_bias)

    def _gradient_by_input(self, dy, x, b):
        """(dx, db)."""

        @custom_gradient
        def function(dy, x, b):
            outputs = self._op(1, dy, reference=x, reference_bias=b)

            def gradient(ddx, ddb):
                direction = _add_bias(ddx, ddb, self.axis) if self.has_bias else ddx
                along_dy, _ = self._gradient_by_input(direction, x, b)
                if self.act in _PIECEWISE_LINEAR:
                    return along_dy, None, None
                return along_dy, *self._second_gradient(direction, dy, x, b)

            return outputs, gradient

        return function(dy, x, b)

    def _second_gradient(self, direction, dy, x, b):
        """Derivatives of ⟨dx, direction⟩ with respect to x and b: direction·dy·y''(t)."""

        @custom_gradient
        def function(direction, dy, x, b):
            outputs = self._op(2, direction, reference=x, reference_bias=b, dy=dy)

            def gradient(d_out, d_sum):  # Third order: rare enough for the reference.
                total = _add_bias(d_out, d_sum, self.axis) if self.has_bias else d_out
                # Partial derivatives: none of the copies depends on another.
                copies = [tf.identity(t) for t in (direction, dy, x, b)]
                bias = copies[3] if self.has_bias else None
                y = _reference(
                    copies[2], bias, self.axis, self.act, self.alpha, self.gain, self.clamp
                )
                first = tf.gradients(y, copies[2], grad_ys=copies[1])
                second = tf.gradients(first, copies[2], grad_ys=copies[0])
                return tf.gradients(second, copies, grad_ys=total)

            return outputs, gradient

        return function(direction, dy, x, b)

    def _op(self, order, a, a_bias=None, reference=None, reference_bias=None, dy=None, scale=None,
            noise=None, from_output=False, with_sum=True):  # fmt: skip
        none = tf.zeros([0], a.dtype)
        tensors = (a_bias, reference, reference_bias, dy, scale, noise)
        inputs = [none if t is None else t for t in tensors]
        outputs = self.library.tf_ops_fused_bias_act(
            a,
            *inputs,
            axis=self.axis,
            order=str(order),
            act=self.act,
            alpha=self.alpha,
            gain=self.gain,
            clamp=-1.0 if self.clamp is None else self.clamp,
            from_output=from_output,
            with_sum=with_sum and self.has_bias,
        )
        return outputs.out, outputs.sum
