"""The twins against the references, in value, gradient and gradient of gradient."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from c_interface import (
    PARALLEL_FOR,
    HostMemory,
    activations,
    assert_close,
    examples,
    modulations,
    numpy_type,
    resamplings,
    run_bias_act,
    run_gather,
    run_resample,
    run_upfirdn,
    upfirdn_oracle,
)
from hypothesis import given

from dnnlib import UserError, tflib
from tf_ops import build, native, upfirdn_2d
from tf_ops.fused_bias_act import activation_funcs, fused_bias_act


@pytest.fixture(scope="module", autouse=True)
def library():
    """The library by its C interface; the tests need a C++ compiler."""
    try:
        native.find("upfirdn_2d", "native", tf.float32)
    except UserError as error:
        pytest.skip(str(error))
    lib = ctypes.CDLL(build.library())
    lib.tf_ops_upfirdn_2d_cpu.restype = None
    lib.tf_ops_fused_bias_act_cpu.restype = None
    lib.tf_ops_resample_2d_cpu.restype = None
    lib.tf_ops_weighted_gather_cpu.restype = None
    return lib


def run(tensors):
    config = tf.ConfigProto()  # Optimizing a graph takes longer than running it once.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Session(config=config) as session:
        return session.run(tensors)


def both(function):
    """What function(impl) returns in one session: (native, reference)."""
    return run([function("native"), function("ref")])


def both_twice_differentiated(function, inputs):
    """`both` of function(impl) with as many numbers as the first input, and its derivatives.

    The order is: values, gradients by the inputs, and those of their product with random directions
    by the gradient of the values and the inputs.
    """
    random = np.random.default_rng(8)
    dy = tf.constant(random.normal(size=inputs[0].shape), tf.float32)
    directions = [tf.constant(random.normal(size=v.shape), tf.float32) for v in inputs]

    def derivatives(impl):
        y = function(impl)
        first = tf.gradients(y, inputs, grad_ys=dy)
        inner = tf.add_n([tf.reduce_sum(g * d) for g, d in zip(first, directions, strict=True)])
        second = tf.gradients(inner, [dy, *inputs])
        zeros = [tf.zeros_like(v) for v in [dy, *inputs]]
        return [y, *first, *(z if g is None else g for g, z in zip(second, zeros, strict=True))]

    return both(derivatives)


@examples(200)
@given(resamplings())
def test_upfirdn_equals_the_reference(case):
    random = np.random.default_rng(8)
    x, k, up, down, pad = case
    kwargs = {"upy": up[0], "upx": up[1], "downy": down[0], "downx": down[1]}
    kwargs |= dict(zip(("pady0", "pady1", "padx0", "padx1"), [*pad[0], *pad[1]], strict=True))
    with tf.Graph().as_default():
        tx, direction = tf.constant(x), tf.constant(random.normal(size=x.shape), tf.float32)
        weights = None

        def derivatives(impl):
            nonlocal weights
            y = upfirdn_2d.upfirdn_2d(tx, k, impl=impl, **kwargs)
            if weights is None:
                weights = tf.constant(random.normal(size=y.shape), tf.float32)
            first = tf.gradients(y, tx, grad_ys=weights)[0]
            return y, first, tf.gradients(first, weights, grad_ys=direction)[0]

        got, expected = both(derivatives)
        if len(x) == 0:  # TensorFlow's depthwise convolution gets the shape of nothing wrong.
            expected = [np.zeros(v.shape) for v in (weights, tx, weights)]
        for actual, reference in zip(got, expected, strict=True):
            assert_close(actual, reference)


@examples(200)
@given(activations())
def test_fused_bias_act_equals_the_reference(case):
    x, b, axis, act, options = case
    with tf.Graph().as_default():
        inputs = [tf.constant(x)] + ([] if b is None else [tf.constant(b)])

        def function(impl):
            return fused_bias_act(*inputs, axis=axis, act=act, impl=impl, **options)

        got, expected = both_twice_differentiated(function, inputs)
        for i, (actual, reference) in enumerate(zip(got, expected, strict=True)):
            scale = None
            if b is not None and i in (2, 5):
                # Derivatives by the bias are sums of those by x, here in float64: float32 loses
                # digits over many samples, and what is left of them may be small.
                terms = expected[i - 1].astype(np.float64)
                others = tuple(a for a in range(x.ndim) if a != axis)
                reference = terms.sum(axis=others)
                total = np.abs(terms).sum(axis=others).max(initial=0)
                scale = max(np.abs(reference).max(initial=0), total / 100)
            assert_close(actual, reference, scale=scale)


@examples(80)
@given(modulations())
def test_scale_and_noise_equal_the_reference(case):
    x, b, axis, act, options, scale, noise = case
    with tf.Graph().as_default():
        named = {"b": b, "scale": scale, "noise": noise}
        named = {name: tf.constant(value) for name, value in named.items() if value is not None}
        inputs = [tf.constant(x), *named.values()]

        def function(impl):
            return fused_bias_act(inputs[0], axis=axis, act=act, impl=impl, **named, **options)

        got, expected = both_twice_differentiated(function, inputs)
        for actual, reference in zip(got, expected, strict=True):
            # Sums over many numbers that cancel lose digits in both.
            terms = x.size / max(reference.size, 1)
            largest = np.abs(reference).max(initial=0)
            assert_close(actual, reference, scale=max(largest, terms**0.5 / 3))


def test_scale_and_noise_with_other_shapes_are_refused():
    x, b = tf.zeros([2, 3, 4, 5]), tf.zeros([5])
    for wrong in (
        {"scale": tf.zeros([2, 3])},
        {"scale": tf.zeros([1, 5])},
        {"noise": tf.zeros([2, 3, 5])},
        {"noise": tf.zeros([3, 3, 4])},
        {"axis": 0, "b": None, "scale": tf.zeros([2, 2])},
    ):
        with pytest.raises(UserError, match=r"(scale|noise) of shape"):
            fused_bias_act(x, **{"b": b, "axis": 3, **wrong})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precisions_are_rounded_once(library, dtype):
    """Closer to the exact numbers than the type's rounding, NaN and infinities included."""
    serial = PARALLEL_FOR(lambda pool, count, cost, task, argument: task(argument, 0, count))

    @examples(40)
    @given(resamplings((dtype,)))
    def resampling(case):
        x, k, up, down, pad = case
        y = run_upfirdn(
            lambda *args: library.tf_ops_upfirdn_2d_cpu(*args, serial, None),
            HostMemory(), x, k, up, down, pad,
        )  # fmt: skip
        expected = upfirdn_oracle(x, k, up, down, pad)
        assert_close(y, expected, dtype, scale=np.abs(expected).max(initial=0) / 2)

    resampling()
    every = np.arange(1 << 16, dtype=np.uint16).view(numpy_type(dtype))
    out, _ = run_bias_act(
        lambda *args: library.tf_ops_fused_bias_act_cpu(*args, serial, None),
        HostMemory(), every, 0, 0, "linear", alpha=0, gain=1, clamp=-1,
    )  # fmt: skip
    np.testing.assert_array_equal(out.astype(np.float32), every.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precisions_are_close_to_float32(session, dtype):
    random = np.random.default_rng(8)
    x = tf.constant(random.normal(size=(2, 6, 6, 18)), dtype)
    b = tf.constant(random.normal(size=18), dtype)

    def derivatives(x, b, impl):
        # In this order, so that no rounding decides on the sign that lrelu sees.
        y = fused_bias_act(x, b, axis=3, act="lrelu", impl=impl)
        y = upfirdn_2d.upsample_2d(y, [1, 3, 3, 1], data_format="NHWC", impl=impl)
        return [y, *tf.gradients(y, [x, b])]

    exact = derivatives(tf.cast(x, tf.float32), tf.cast(b, tf.float32), "ref")
    for got, expected in zip(*session.run([derivatives(x, b, "native"), exact]), strict=True):
        assert got.dtype == numpy_type(dtype)
        assert_close(got, expected, dtype)


@pytest.mark.parametrize("act", activation_funcs)
def test_third_derivatives_too(session, act):
    random = np.random.default_rng(8)
    x, b = tf.constant(random.normal(size=(5, 3)), tf.float32), tf.constant([0.1, -0.2, 0.3])

    def third(impl):
        y = fused_bias_act(x, b, act=act, impl=impl)
        for _ in range(3):
            gradients = tf.gradients(tf.reduce_sum(y * y), [x, b])
            y = gradients[0] + gradients[1]
        return y

    assert_close(*session.run([third("native"), third("ref")]), "float16")


@pytest.mark.parametrize("act", activation_funcs)
def test_at_zero(session, act):
    x = tf.constant([[0.0, -0.0]])

    def derivatives(impl):
        y = fused_bias_act(x, act=act, impl=impl)
        first = tf.gradients(y, x)[0]
        second = tf.gradients(first, x)[0]
        return [y, first, tf.zeros_like(x) if second is None else second]

    got, expected = session.run([derivatives("native"), derivatives("ref")])
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_nan_is_passed_on(session):
    x = tf.constant([[np.nan, 1.0, -1.0]])
    for act in activation_funcs:
        y = session.run(fused_bias_act(x, tf.zeros([3]), act=act, clamp=0.5, impl="native"))
        assert np.isnan(y[0, 0]) and np.isfinite(y[0, 1:]).all(), act


def test_results_do_not_depend_on_the_threads(library):
    """Ranges forwards and backwards, many and one: the same bits, sums included."""
    random = np.random.default_rng(8)
    x = random.normal(size=(3, 40, 50, 24)).astype(np.float32)
    options = {"alpha": 0.2, "gain": 1.4, "clamp": 2, "reference": x[::-1], "with_sum": True}
    results = []
    for pieces in (1, 2, 7, 1000):

        def in_pieces(pool, count, cost, task, argument, pieces=pieces):
            edges = sorted({count * i // pieces for i in range(pieces + 1)})
            for i in reversed(range(len(edges) - 1)):
                task(argument, edges[i], edges[i + 1])

        parallel = PARALLEL_FOR(in_pieces)
        results.append(
            run_upfirdn(
                lambda *args, p=parallel: library.tf_ops_upfirdn_2d_cpu(*args, p, None),
                HostMemory(), x, np.ones((4, 4)), (2, 2), (1, 1), ((2, 1), (2, 1)),
            ).tobytes()
        )  # fmt: skip
        for axis in (1, 3):
            out, total = run_bias_act(
                lambda *args, p=parallel: library.tf_ops_fused_bias_act_cpu(*args, p, None),
                HostMemory(), x, axis, 1, "lrelu", from_output=True, **options,
            )  # fmt: skip
            np.testing.assert_allclose(
                total, out.sum(axis=tuple({0, 1, 2, 3} - {axis})), rtol=1e-3, atol=1e-2
            )
            results[-1] += out.tobytes() + total.tobytes()
        indices = np.arange(3 * 60 * 2, dtype=np.int32).reshape(3, 60, 2) * 7 % 55
        transforms = np.random.default_rng(8).normal(size=(3, 2, 3)) * [1, 1, 20]
        for adjoint, rows in ((False, 60), (True, 44)):
            results[-1] += run_resample(
                lambda *args, p=parallel: library.tf_ops_resample_2d_cpu(*args, p, None),
                HostMemory(), x, transforms, (70, 30), adjoint,
            ).tobytes()  # fmt: skip
            shape = (3, 1, 40, 1200) if not adjoint else (3, 2, 60, 400)
            results[-1] += run_gather(
                lambda *args, p=parallel: library.tf_ops_weighted_gather_cpu(*args, p, None),
                HostMemory(), x.reshape(shape), indices, np.cos(indices).astype(np.float32),
                rows, adjoint,
            ).tobytes()  # fmt: skip
    assert len(set(results)) == 1


def test_a_run_is_repeated_bit_for_bit():
    random = np.random.default_rng(8)
    with tflib.graph_session(seed=3) as session:
        x = tf.constant(random.normal(size=(16, 32, 32, 33)), tf.float32)
        b = tf.constant(random.normal(size=33), tf.float32)
        y = fused_bias_act(x, b, axis=3, act="lrelu", impl="native")
        y = upfirdn_2d.downsample_2d(y, [1, 3, 3, 1], data_format="NHWC", impl="native")
        fetches = [y, *tf.gradients(tf.square(y), [x, b])]
        runs = [b"".join(a.tobytes() for a in session.run(fetches)) for _ in range(5)]
    assert len(set(runs)) == 1


def test_two_graphs_and_the_inputs_are_left_alone():
    """In-place work must not show: x is used again after the activation."""
    for _ in range(2):
        with tflib.graph_session() as session:
            x = tf.identity(tf.constant([[1.0, -1.0]]))
            y = fused_bias_act(x, act="lrelu", impl="native")
            assert session.run([x, y, x + y])[0].tolist() == [[1, -1]]


@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_shapes_may_be_unknown(session, act):
    x = tf.placeholder(tf.float32, [None, 4, 4, 3])
    y = fused_bias_act(x, tf.ones([3]), axis=3, act=act, impl="native")
    y = upfirdn_2d.upsample_2d(y, data_format="NHWC", impl="native")
    assert y.shape.as_list() == [None, 8, 8, 3]
    dx = tf.gradients(y, x)[0]
    for n in (0, 1, 3):
        got_y, got_dx = session.run([y, dx], {x: np.ones((n, 4, 4, 3))})
        assert got_y.shape == (n, 8, 8, 3) and got_dx.shape == (n, 4, 4, 3)


def test_which_one_serves(session, monkeypatch):
    def kinds(impl="auto", dtype=tf.float32):
        y = upfirdn_2d.upfirdn_2d(tf.zeros([1, 4, 4, 1], dtype), np.ones((2, 2)), impl=impl)
        pending, types = [y.op], set()
        while pending:
            op = pending.pop()
            types.add(op.type)
            pending.extend(v.op for v in op.inputs)
        return "TfOpsUpfirdn2D" in types

    monkeypatch.delenv("TF_OPS_IMPL", raising=False)
    assert kinds() and kinds("cuda") and kinds("native") and not kinds("ref")
    assert not kinds(dtype=tf.float64)
    monkeypatch.setenv("TF_OPS_IMPL", "ref")
    assert not kinds() and not kinds("cuda") and kinds("native")
    monkeypatch.setenv("TF_OPS_IMPL", "native")
    assert kinds() and not kinds("ref")
    with pytest.raises(UserError, match="no twin for float64"):
        kinds(dtype=tf.float64)
    monkeypatch.setenv("TF_OPS_IMPL", "fast")
    with pytest.raises(UserError, match="TF_OPS_IMPL=fast"):
        kinds()


def test_filters_beyond_the_limit_take_the_reference(session):
    random = np.random.default_rng(8)
    x = tf.constant(random.normal(size=(1, 30, 30, 1)), tf.float32)
    k = random.normal(size=(25, 25))
    got, expected = session.run(
        [upfirdn_2d.upfirdn_2d(x, k, impl=impl) for impl in ("native", "ref")]
    )
    assert_close(got, expected)


def test_the_module_says_which_types_it_knows():
    assert [t.name for t in native.DTYPES] == ["float32", "float16", "bfloat16"]
