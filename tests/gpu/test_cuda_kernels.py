"""The CUDA kernels, run on the CPU, against the definition and the references."""

from __future__ import annotations

import c_interface
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given

from tf_ops import native, upfirdn_2d
from tf_ops.fused_bias_act import fused_bias_act

RANDOM = np.random.default_rng(9)


def test_upfirdn(cuda):
    special = set()

    @c_interface.examples(150)
    @given(c_interface.resamplings(tuple(c_interface.DTYPES)))
    def check(case):
        x, k, up, down, pad = case
        y = c_interface.run_upfirdn(cuda.upfirdn, cuda.memory, x, k, up, down, pad)
        c_interface.assert_close(y, c_interface.upfirdn_oracle(x, k, up, down, pad), x.dtype.name)
        special.add((k.shape == (4, 4), up, down))

    check()
    for up, down in [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))]:
        assert (True, up, down) in special


@pytest.mark.parametrize("shape", [(3, 70, 300, 1), (2, 5, 3, 300), (70_000, 1, 2, 1)])
def test_upfirdn_beyond_one_block(cuda, shape):
    x = RANDOM.normal(size=shape).astype(np.float32)
    k = RANDOM.normal(size=(4, 4))
    pad = ((2, 1), (1, 3))
    for up, down in [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2)), ((1, 2), (1, 1))]:
        y = c_interface.run_upfirdn(cuda.upfirdn, cuda.memory, x, k, up, down, pad)
        c_interface.assert_close(y, c_interface.upfirdn_oracle(x, k, up, down, pad))


def test_fused_bias_act(cuda):
    """Values, slopes by the input and by the output, and curvatures."""

    @c_interface.examples(50)
    @given(c_interface.activations(tuple(c_interface.DTYPES)))
    def check(case):
        x, b, axis, act, options = case
        dtype = x.dtype.name
        dy, direction = RANDOM.normal(size=(2, *x.shape)).astype(x.dtype)
        config = tf.ConfigProto()  # Optimizing a graph takes longer than running it once.
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.Graph().as_default(), tf.Session(config=config) as session:
            tx, tdy, tdirection = (tf.constant(v.astype(np.float32)) for v in (x, dy, direction))
            tb = None if b is None else tf.constant(b.astype(np.float32))
            y = fused_bias_act(tx, tb, axis=axis, act=act, impl="ref", **options)
            first = tf.gradients(y, tx, grad_ys=tdy)[0]
            second = tf.gradients(first, tx, grad_ys=tdirection)[0]
            second = tf.zeros_like(tx) if second is None else second
            exact = session.run([y, first, second])

        def run(a, order, **tensors):
            arguments = (cuda.fused_bias_act, cuda.memory, a, axis, order, act)
            return c_interface.run_bias_act(*arguments, **options, **tensors)[0]

        y = run(x, 0, a_bias=b)
        c_interface.assert_close(y, exact[0], dtype)
        c_interface.assert_close(run(dy, 1, reference=x, reference_bias=b), exact[1], dtype)
        second = run(direction, 2, reference=x, reference_bias=b, dy=dy)
        c_interface.assert_close(second, exact[2], dtype)
        if act in ("linear", "relu", "lrelu") and options["gain"] > 0 and dtype == "float32":
            c_interface.assert_close(run(dy, 1, reference=y, from_output=True), exact[1])

    check()


def test_scale_and_noise(cuda):
    @c_interface.examples(50)
    @given(c_interface.modulations(tuple(c_interface.DTYPES)))
    def check(case):
        x, b, axis, _, options, scale, noise = case
        arguments = (cuda.fused_bias_act, cuda.memory, x, axis, 0, "linear")
        y, _ = c_interface.run_bias_act(*arguments, a_bias=b, scale=scale, noise=noise, **options)
        t = x.astype(np.float64)
        if scale is not None:
            factor = [len(x) if i == 0 else -1 if i == axis else 1 for i in range(x.ndim)]
            t = t * scale.astype(np.float64).reshape(factor)
        if noise is not None:
            t = t + np.expand_dims(noise.astype(np.float64), axis)
        if b is not None:
            t = t + b.astype(np.float64).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        limit = options["clamp"] if options["clamp"] > 0 else np.inf
        c_interface.assert_close(y, np.clip(options["gain"] * t, -limit, limit), x.dtype.name)

    check()


@pytest.mark.parametrize("dtype", c_interface.DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((7, 3), 1), ((9000, 3), 1), ((3, 5, 4, 4), 1), ((2, 3, 130, 70), 1), ((0, 3), 1)],
)
def test_channel_sums(cuda, shape, axis, dtype):
    x = RANDOM.normal(size=shape).astype(c_interface.numpy_type(dtype))
    exact = x.astype(np.float64).sum(axis=tuple(i for i in range(len(shape)) if i != axis))
    sums = cuda.channel_sum(x, axis)
    c_interface.assert_close(sums, exact, dtype)
    assert cuda.channel_sum(x, axis).tobytes() == sums.tobytes()


def assert_equals_matrices(run, matrices, x, out_size):
    """`run(x, size, adjoint)` against products with matrices [N, out, in], both ways."""
    dy = RANDOM.normal(size=(len(x), *out_size, x.shape[-1])).astype(np.float32)
    for v, adjoint, target in ((x, False, dy), (dy, True, x)):
        pixels = v.reshape(len(v), matrices.shape[1 if adjoint else 2], v.shape[-1])
        exact = (matrices.swapaxes(1, 2) if adjoint else matrices) @ pixels.astype(np.float64)
        got = run(v, target.shape[1:-1], adjoint)
        scale = max(1, np.abs(exact).max(initial=0))
        c_interface.assert_close(got, exact.reshape(target.shape), scale=scale)
        assert got.tobytes() == run(v, target.shape[1:-1], adjoint).tobytes()


@c_interface.examples(60)
@given(case=c_interface.samplings())
def test_resample_2d(cuda, case):
    x, transforms, out_size = case

    def run(v, size, adjoint):
        return c_interface.run_resample(cuda.resample, cuda.memory, v, transforms, size, adjoint)

    matrices = c_interface.sampling_matrices(transforms, x.shape[1:3], out_size)
    assert_equals_matrices(run, matrices, x, out_size)


@c_interface.examples(60)
@given(case=c_interface.gathers())
def test_weighted_gather(cuda, case):
    x, indices, weights = case
    y = c_interface.run_gather(
        cuda.weighted_gather, cuda.memory, x, indices, weights, indices.shape[1]
    )
    c_interface.assert_close(y, c_interface.gather_oracle(x, indices, weights))
    dy = RANDOM.normal(size=y.shape).astype(np.float32)
    dx = c_interface.run_gather(
        cuda.weighted_gather, cuda.memory, dy, indices, weights, x.shape[2], True
    )
    inner = np.sum(y.astype(np.float64) * dy), np.sum(x.astype(np.float64) * dx)
    assert abs(inner[0] - inner[1]) <= 1e-5 * max(1, np.sum(np.abs(y * dy)))


def test_tensorflow_runs_them():
    """The twins on a GPU against the references, in value, gradient and gradient of gradient."""
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("needs a TensorFlow that sees a GPU")
    assert native.find("upfirdn_2d", "native", tf.float32) is not None
    with tf.Graph().as_default(), tf.Session() as session, tf.device("/gpu:0"):
        x = tf.constant(RANDOM.normal(size=(4, 8, 33, 31)), tf.float32)
        b = tf.constant(RANDOM.normal(size=8), tf.float32)
        results = []
        for impl in ("native", "ref"):
            y = upfirdn_2d.upsample_2d(x, [1, 3, 3, 1], impl=impl)
            y = fused_bias_act(y, b, act="swish", clamp=1, impl=impl)
            first = tf.gradients(tf.reduce_sum(tf.square(y)), [x, b])
            inner = tf.reduce_sum(tf.square(first[0])) + tf.reduce_sum(tf.square(first[1]))
            results.append([y, *first, *tf.gradients(inner, [x, b])])
        for actual, expected in zip(*session.run(results), strict=True):
            c_interface.assert_close(actual, expected, scale=10 * np.abs(expected).max())
