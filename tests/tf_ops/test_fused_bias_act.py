"""Bias and activations against NumPy in float64, and against the official numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import check_op_cases

from dnnlib import UserError
from tf_ops.fused_bias_act import activation_funcs, fused_bias_act

RANDOM = np.random.default_rng(6)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
SQRT2 = np.sqrt(2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish_slope(x):
    s = sigmoid(x)
    return s + x * s * (1 - s)


def swish_curvature(x):
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def step(x, low, high):
    return np.where(x > 0, high, low)


# act: (default gain, function, first derivative, second derivative), with alpha for lrelu.
ORACLES = {
    "linear": (1, lambda x, a: x, lambda x, a: 1 + 0 * x, lambda x, a: 0 * x),
    "relu": (SQRT2, lambda x, a: step(x, 0, x), lambda x, a: step(x, 0, 1), lambda x, a: 0 * x),
    "lrelu": (
        SQRT2,
        lambda x, a: step(x, a * x, x),
        lambda x, a: step(x, a, 1),
        lambda x, a: 0 * x,
    ),
    "tanh": (
        1,
        lambda x, a: np.tanh(x),
        lambda x, a: 1 - np.tanh(x) ** 2,
        lambda x, a: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
    ),
    "sigmoid": (
        1,
        lambda x, a: sigmoid(x),
        lambda x, a: sigmoid(x) * sigmoid(-x),
        lambda x, a: sigmoid(x) * sigmoid(-x) * (1 - 2 * sigmoid(x)),
    ),
    "elu": (
        1,
        lambda x, a: step(x, np.exp(x) - 1, x),
        lambda x, a: step(x, np.exp(x), 1),
        lambda x, a: step(x, np.exp(x), 0),
    ),
    "selu": (
        1,
        lambda x, a: SELU_SCALE * step(x, SELU_ALPHA * (np.exp(x) - 1), x),
        lambda x, a: SELU_SCALE * step(x, SELU_ALPHA * np.exp(x), 1),
        lambda x, a: SELU_SCALE * step(x, SELU_ALPHA * np.exp(x), 0),
    ),
    "softplus": (
        1,
        lambda x, a: np.log1p(np.exp(x)),
        lambda x, a: sigmoid(x),
        lambda x, a: sigmoid(x) * sigmoid(-x),
    ),
    "swish": (
        SQRT2,
        lambda x, a: x * sigmoid(x),
        lambda x, a: swish_slope(x),
        lambda x, a: swish_curvature(x),
    ),
}


def assert_close(actual, expected, tolerance=2e-5):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max() + 1e-12


def test_every_activation_has_an_oracle():
    assert set(ORACLES) == set(activation_funcs)


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"alpha": 0.3, "gain": 1.7, "clamp": 1.1}, {"clamp": -1}],
    ids=["defaults", "alpha, gain and clamp", "clamp off"],
)
@pytest.mark.parametrize("act", ORACLES)
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4, 5), 1), ((2, 4, 5, 3), 3), ((7, 3), -1)])
def test_value_gradient_and_gradient_of_gradient(session, act, kwargs, shape, axis):
    gain, function, slope, curvature = ORACLES[act]
    alpha, gain = kwargs.get("alpha", 0.2), kwargs.get("gain", gain)
    clamp = kwargs.get("clamp", -1)
    x, b = RANDOM.normal(size=shape) * 2, RANDOM.normal(size=3)
    dy, ddx = RANDOM.normal(size=(2, *shape))
    ddb = RANDOM.normal(size=3)
    per_channel = [-1 if i == axis % len(shape) else 1 for i in range(len(shape))]
    others = tuple(i for i, n in enumerate(per_channel) if n == 1)
    t = x + b.reshape(per_channel)
    open_ = np.abs(gain * function(t, alpha)) < clamp if clamp >= 0 else np.ones(shape, bool)
    y = gain * function(t, alpha)
    y = np.clip(y, -clamp, clamp) if clamp >= 0 else y
    assert clamp < 0 or act in ("sigmoid", "tanh") or not open_.all()
    dx = dy * gain * slope(t, alpha) * open_
    # ⟨dx, ddx⟩ + ⟨db, ddb⟩, differentiated again with respect to x and to dy.
    direction = ddx + ddb.reshape(per_channel)
    second_x = dy * gain * curvature(t, alpha) * open_ * direction
    second_dy = gain * slope(t, alpha) * open_ * direction

    tx, tb, tdy = (tf.constant(a, tf.float32) for a in (x, b, dy))
    ty = fused_bias_act(tx, tb, axis=axis, act=act, **kwargs)
    tdx, tdb = tf.gradients(ty, [tx, tb], grad_ys=tdy)
    inner = tf.reduce_sum(tdx * tf.constant(ddx, tf.float32))
    inner += tf.reduce_sum(tdb * tf.constant(ddb, tf.float32))
    second = [
        tf.zeros_like(v) if g is None else g
        for v, g in zip((tx, tdy), tf.gradients(inner, [tx, tdy]), strict=True)
    ]
    got = session.run([ty, tdx, tdb, *second])
    expected = [y, dx, dx.sum(axis=others), second_x, second_dy]
    for actual, reference in zip(got, expected, strict=True):
        assert_close(actual, reference)


def test_without_bias_and_with_arrays(session):
    x = RANDOM.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        session.run(fused_bias_act(x, act="relu")), np.maximum(x, 0) * SQRT2, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("bias", "kwargs", "message"),
    [
        (None, {"act": "gelu"}, "no activation 'gelu'.*lrelu"),
        (np.zeros(5, np.float32), {}, "bias of shape"),
        (np.zeros((1, 3), np.float32), {}, "bias of shape"),
        (None, {"impl": "rocm"}, "impl='rocm'"),
    ],
)
def test_bad_arguments_are_named(session, bias, kwargs, message):
    with pytest.raises(UserError, match=message):
        fused_bias_act(tf.zeros([2, 3]), bias, **kwargs)


def test_equals_the_official_numbers(session, golden):
    def call(op, args, kwargs, _arrays):
        return fused_bias_act(*args, **kwargs) if op == "fused_bias_act" else None

    assert check_op_cases(golden("tf_ops.npz"), call) == 11
