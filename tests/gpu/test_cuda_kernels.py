"""The CUDA kernels against the definition and the references, on the CPU and on a GPU."""

from __future__ import annotations

import cuda_kernels
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from c_interface import (
    DTYPES,
    activations,
    assert_close,
    examples,
    numpy_type,
    resamplings,
    run_bias_act,
    run_upfirdn,
    upfirdn_oracle,
)
from hypothesis import given

from tf_ops import compilers, native, upfirdn_2d
from tf_ops.fused_bias_act import fused_bias_act

RANDOM = np.random.default_rng(9)


def test_nvcc_compiles_them(tmp_path):
    """For the oldest architecture, which knows least, and as PTX."""
    nvcc = cuda_kernels.nvcc()
    oldest = compilers.cuda_architectures(nvcc)[:1]
    assert len(cuda_kernels.SOURCES) == 2
    for source in cuda_kernels.SOURCES:
        target = tmp_path / "kernel.o"
        cuda_kernels.run(compilers.cuda_command(nvcc, oldest, source, str(target)))
        assert target.stat().st_size > 10_000
        target.unlink()


def test_upfirdn(cuda):
    special = set()

    @examples(150)
    @given(resamplings(tuple(DTYPES)))
    def check(case):
        x, k, up, down, pad = case
        y = run_upfirdn(cuda.upfirdn, cuda.memory, x, k, up, down, pad)
        assert_close(y, upfirdn_oracle(x, k, up, down, pad), x.dtype.name)
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
        y = run_upfirdn(cuda.upfirdn, cuda.memory, x, k, up, down, pad)
        assert_close(y, upfirdn_oracle(x, k, up, down, pad))


def test_fused_bias_act(cuda):
    """Values, slopes by the input and by the output, and curvatures."""

    @examples(50)
    @given(activations(tuple(DTYPES)))
    def check(case):
        x, b, axis, act, options = case
        dtype = x.dtype.name
        dy, direction = RANDOM.normal(size=(2, *x.shape)).astype(x.dtype)
        config = tf.ConfigProto()  # Optimising a graph takes longer than running it once.
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
            return run_bias_act(*arguments, **options, **tensors)[0]

        y = run(x, 0, a_bias=b)
        assert_close(y, exact[0], dtype)
        assert_close(run(dy, 1, reference=x, reference_bias=b), exact[1], dtype)
        second = run(direction, 2, reference=x, reference_bias=b, dy=dy)
        assert_close(second, exact[2], dtype)
        if act in ("linear", "relu", "lrelu") and options["gain"] > 0 and dtype == "float32":
            assert_close(run(dy, 1, reference=y, from_output=True), exact[1])

    check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((7, 3), 1), ((9000, 3), 1), ((3, 5, 4, 4), 1), ((2, 3, 130, 70), 1), ((0, 3), 1)],
)
def test_channel_sums(cuda, shape, axis, dtype):
    x = RANDOM.normal(size=shape).astype(numpy_type(dtype))
    exact = x.astype(np.float64).sum(axis=tuple(i for i in range(len(shape)) if i != axis))
    sums = cuda.channel_sum(x, axis)
    assert_close(sums, exact, dtype)
    assert cuda.channel_sum(x, axis).tobytes() == sums.tobytes()


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
            assert_close(actual, expected, scale=10 * np.abs(expected).max())
