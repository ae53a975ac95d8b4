"""Resampling against explicit loops and SciPy in float64, and against the official numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import tensorflow.compat.v1 as tf
from golden_checks import check_op_cases

from dnnlib import UserError
from tf_ops import layout, upfirdn_2d

RANDOM = np.random.default_rng(5)
ASYMMETRIC = RANDOM.normal(size=(3, 5)).astype(np.float32)


def case(height, width, k, **kwargs):
    """Image size, filter, keyword arguments of upfirdn_2d."""
    return height, width, k, kwargs


SQUARE = RANDOM.normal(size=(4, 4))
CASES = {
    "identity": case(4, 5, np.ones((1, 1))),
    "up": case(5, 4, SQUARE, upx=2, upy=2, padx0=2, padx1=1, pady0=2, pady1=1),
    "down": case(8, 7, SQUARE, downx=2, downy=2, padx0=1, padx1=2, pady0=1),
    "asymmetric filter": case(6, 7, ASYMMETRIC, padx0=2, padx1=2, pady0=1, pady1=1),
    "factors differ": case(6, 9, ASYMMETRIC, upx=2, upy=3, downx=3, downy=2, padx0=3, pady1=2),
    "crop": case(7, 8, ASYMMETRIC, padx0=-1, padx1=-2, pady0=-2, pady1=3),
    "crop beyond": case(2, 3, np.ones((1, 1)), padx0=-4, padx1=5, pady0=6, pady1=-3),
    "remainder dropped": case(7, 7, RANDOM.normal(size=(2, 2)), downx=3, downy=2),
}
PADDING = ("padx0", "padx1", "pady0", "pady1")


def upfirdn_oracle(x, k, upx=1, upy=1, downx=1, downy=1, padx0=0, padx1=0, pady0=0, pady1=0):
    """[N, H, W, C] float64, by the definition: zeros in between, pad or crop, convolve, skip."""
    n, height, width, channels = x.shape
    up = np.zeros((n, height * upy, width * upx, channels))
    up[:, ::upy, ::upx] = x
    up = np.pad(
        up, [(0, 0), (max(pady0, 0), max(pady1, 0)), (max(padx0, 0), max(padx1, 0)), (0, 0)]
    )
    up = up[:, max(-pady0, 0) : up.shape[1] - max(-pady1, 0)]
    up = up[:, :, max(-padx0, 0) : up.shape[2] - max(-padx1, 0)]
    y = [
        [scipy.signal.convolve2d(image[..., c], k, mode="valid") for c in range(channels)]
        for image in up
    ]
    return np.transpose(y, [0, 2, 3, 1])[:, ::downy, ::downx]


def jacobian(function, shape):
    """Matrix of a linear function of an array, column by column."""
    columns = []
    for i in range(int(np.prod(shape))):
        unit = np.zeros(shape)
        unit.flat[i] = 1
        columns.append(function(unit).ravel())
    return np.stack(columns, axis=1)


def assert_close(actual, expected, tolerance=2e-5):
    """max|actual - expected| within the tolerance of golden/README.md."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30)


def gradients_twice(y, x, dy, ddx):
    """(∂⟨y, dy⟩/∂x, ∂⟨that, ddx⟩/∂dy): for a linear function of x, Jᵀdy and J·ddx."""
    first = tf.gradients(y, x, grad_ys=dy)[0]
    return first, tf.gradients(first, dy, grad_ys=ddx)[0]


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_the_definition(session, name):
    height, width, k, kwargs = CASES[name]
    x = RANDOM.normal(size=(2, height, width, 2))
    expected = upfirdn_oracle(x, k, **kwargs)
    assert expected.size
    dy, ddx = RANDOM.normal(size=expected.shape), RANDOM.normal(size=x.shape)

    tx, tdy = tf.constant(x, tf.float32), tf.constant(dy, tf.float32)
    y = upfirdn_2d.upfirdn_2d(tx, k, **kwargs)
    assert y.shape.as_list() == list(expected.shape)
    first, second = gradients_twice(y, tx, tdy, tf.constant(ddx, tf.float32))
    got_y, got_first, got_second = session.run([y, first, second])

    matrix = jacobian(lambda image: upfirdn_oracle(image, k, **kwargs), x.shape)
    assert_close(got_y, expected)
    assert_close(got_first, (matrix.T @ dy.ravel()).reshape(x.shape))
    assert_close(got_second, (matrix @ ddx.ravel()).reshape(dy.shape))


def test_batch_may_be_unknown_and_arrays_are_taken(session):
    x = RANDOM.normal(size=(3, 4, 4, 2)).astype(np.float32)
    batch = tf.placeholder(tf.float32, [None, 4, 4, 2])
    k = np.ones((2, 2))
    y = upfirdn_2d.upfirdn_2d(batch, k, upx=2, upy=2, padx1=1, pady1=1)
    assert y.shape.as_list() == [None, 8, 8, 2]
    direct = session.run(upfirdn_2d.upfirdn_2d(x, k, upx=2, upy=2, padx1=1, pady1=1))
    np.testing.assert_array_equal(session.run(y, {batch: x}), direct)


@pytest.mark.parametrize(
    ("k", "kwargs", "message"),
    [
        (np.ones(4), {}, "filter of shape"),
        (np.ones((0, 2)), {}, "filter of shape"),
        (np.ones((2, 2)), {"upx": 0}, "factors"),
        (np.ones((2, 2)), {"downy": -1}, "factors"),
        (np.ones((5, 5)), {}, "no output"),
        (np.ones((2, 2)), {"impl": "opencl"}, "opencl"),
    ],
)
def test_bad_arguments_are_named(session, k, kwargs, message):
    with pytest.raises(UserError, match=message):
        upfirdn_2d.upfirdn_2d(tf.zeros([1, 4, 4, 1]), k, **kwargs)


def test_setup_filter():
    for gain in (1.0, 4.0):
        k = upfirdn_2d.setup_filter([1, 3, 3, 1], 2, gain)
        np.testing.assert_allclose(k, np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * gain, rtol=1e-6)
    np.testing.assert_allclose(upfirdn_2d.setup_filter(None, 3), np.full((3, 3), 1 / 9), rtol=1e-6)
    square = np.arange(1, 10).reshape(3, 3)
    np.testing.assert_allclose(upfirdn_2d.setup_filter(square, 2), square / 45, rtol=1e-6)
    for bad in ([1, -1], np.ones((2, 3)), np.ones((2, 2, 2))):
        with pytest.raises(UserError, match="resampling filter"):
            upfirdn_2d.setup_filter(bad, 2)


# What the four functions compute, from the definition: an image resized about its center.


def filter_oracle(x, k, gain=1.0):
    k = upfirdn_2d.setup_filter(k, 1, gain).astype(np.float64)
    return centerd(x, k, up=1, down=1)


def up_oracle(x, k, factor=2, gain=1.0):
    k = upfirdn_2d.setup_filter(k, factor, gain * factor**2).astype(np.float64)
    return centerd(x, k, up=factor, down=1)


def down_oracle(x, k, factor=2, gain=1.0):
    k = upfirdn_2d.setup_filter(k, factor, gain).astype(np.float64)
    return centerd(x, k, up=1, down=factor)


def centerd(x, k, up, down):
    """[N, C, H, W]: `taps - 1` zeros around, less what keeps the size at H·up / down."""
    taps = k.shape[0]
    rest = taps - max(up, down)  # Pixels beyond one for each position: half on either side.
    before, after = (rest + 1) // 2 + up - 1, rest // 2
    y = upfirdn_oracle(
        x.transpose(0, 2, 3, 1),
        k,
        **{"upx": up, "upy": up, "downx": down, "downy": down},
        **dict(zip(PADDING, (before, after) * 2, strict=True)),
    )
    assert y.shape[1] == x.shape[2] * up // down
    return y.transpose(0, 3, 1, 2)


ASYMMETRIC_1D = [1.0, 2.0, 4.0, 0.5]
RESAMPLERS = {
    "filter": (upfirdn_2d.filter_2d, filter_oracle, {"k": ASYMMETRIC_1D}),
    "filter of 3 taps, gain": (upfirdn_2d.filter_2d, filter_oracle, {"k": [1, 2, 5], "gain": 3.0}),
    "up": (upfirdn_2d.upsample_2d, up_oracle, {"k": ASYMMETRIC_1D}),
    "up by 3, gain": (
        upfirdn_2d.upsample_2d,
        up_oracle,
        {"k": [1, 2, 3], "factor": 3, "gain": 0.5},
    ),
    "up, box": (upfirdn_2d.upsample_2d, up_oracle, {"k": None}),
    "down": (upfirdn_2d.downsample_2d, down_oracle, {"k": ASYMMETRIC_1D}),
    "down by 3": (upfirdn_2d.downsample_2d, down_oracle, {"k": [1, 2, 3, 4, 5], "factor": 3}),
    "down, box": (upfirdn_2d.downsample_2d, down_oracle, {"k": None, "gain": 2.0}),
}


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", RESAMPLERS)
def test_resampling_is_centred(session, case, data_format):
    function, oracle, kwargs = RESAMPLERS[case]
    x = RANDOM.normal(size=(2, 3, 6, 12))
    expected = oracle(x, **kwargs)
    tx = layout.convert(tf.constant(x, tf.float32), "NCHW", data_format)
    y = layout.convert(function(tx, data_format=data_format, **kwargs), data_format, "NCHW")
    dy, ddx = RANDOM.normal(size=expected.shape), RANDOM.normal(size=tx.shape.as_list())
    tdy = tf.constant(dy, tf.float32)
    first, second = gradients_twice(y, tx, tdy, tf.constant(ddx, tf.float32))
    got_y, got_first, got_second = session.run([y, first, second])
    assert_close(got_y, expected)
    if data_format == "NHWC":
        got_first, ddx = got_first.transpose(0, 3, 1, 2), ddx.transpose(0, 3, 1, 2)
    # For a linear map, ⟨Jᵀdy, e⟩ = ⟨dy, J·e⟩ for every e.
    for _ in range(3):
        e = RANDOM.normal(size=x.shape)
        image = oracle(e, **kwargs)
        scale = np.abs(dy * image).sum()
        assert abs((got_first * e).sum() - (dy * image).sum()) < 1e-5 * scale
    assert_close(got_second, oracle(ddx, **kwargs))


def test_boxes_repeat_and_average(session):
    x = RANDOM.normal(size=(1, 2, 4, 6)).astype(np.float32)
    up, down = session.run([upfirdn_2d.upsample_2d(x), upfirdn_2d.downsample_2d(x)])
    np.testing.assert_allclose(up, x.repeat(2, axis=2).repeat(2, axis=3), rtol=1e-6)
    np.testing.assert_allclose(down, x.reshape(1, 2, 2, 2, 3, 2).mean(axis=(3, 5)), rtol=1e-5)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("size", "k"), [(3, ASYMMETRIC_1D), (1, [1, 3, 3, 1]), (3, None)])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_merged_with_a_convolution(session, direction, size, k, data_format):
    """The merged form equals one after the other, also in its second derivatives."""
    x, w = RANDOM.normal(size=(2, 3, 6, 8)), RANDOM.normal(size=(size, size, 3, 4))

    def two_steps(x, w):
        return merged_oracle(x, w, k, direction)

    function = upfirdn_2d.upsample_conv_2d if direction == "up" else upfirdn_2d.conv_downsample_2d
    tx, tw = tf.constant(x, tf.float32), tf.constant(w, tf.float32)
    y = function(layout.convert(tx, "NCHW", data_format), tw, k, data_format=data_format)
    y = layout.convert(y, data_format, "NCHW")
    expected = two_steps(x, w)
    assert_close(session.run(y), expected)

    # y is bilinear in (x, w): gradients and their gradients are again inner products of two_steps.
    dy, ex, ew = (RANDOM.normal(size=a.shape) for a in (expected, x, w))
    tdy, tex, tew = (tf.constant(a, tf.float32) for a in (dy, ex, ew))
    dx, dw = tf.gradients(y, [tx, tw], grad_ys=tdy)
    slopes = tf.reduce_sum(dx * tex), tf.reduce_sum(dw * tew)
    second = tf.gradients(slopes[0], [tw, tdy]), tf.gradients(slopes[1], [tx, tdy])
    got_slopes, ((dw_of_dx, ddy_x), (dx_of_dw, ddy_w)) = session.run([slopes, second])
    along_x, along_w, along_both = two_steps(ex, w), two_steps(x, ew), two_steps(ex, ew)
    for got, direction_image in zip(got_slopes, (along_x, along_w), strict=True):
        scale = np.abs(dy * direction_image).sum()
        assert abs(got - (dy * direction_image).sum()) < 1e-5 * scale
    assert_close(ddy_x, along_x)
    assert_close(ddy_w, along_w)
    scale = np.abs(dy * along_both).sum()
    assert abs((dw_of_dx * ew).sum() - (dy * along_both).sum()) < 1e-5 * scale
    assert abs((dx_of_dw * ex).sum() - (dy * along_both).sum()) < 1e-5 * scale


def merged_oracle(x, w, k, direction):
    """Resampling filter, then correlation with w [n, n, C, out].

    What the filter spreads beyond the image counts: only the result is cut to size.
    """
    up, down = (2, 1) if direction == "up" else (1, 2)
    k = upfirdn_2d.setup_filter(k, 2, up**2).astype(np.float64)
    rest, radius = k.shape[0] - 2, w.shape[0] // 2
    before, after = (rest + 1) // 2 + up - 1 + radius, rest // 2 + radius
    padding = dict(zip(PADDING, (before, after) * 2, strict=True))
    filtered = upfirdn_oracle(x.transpose(0, 2, 3, 1), k, upx=up, upy=up, **padding)
    windows = np.lib.stride_tricks.sliding_window_view(filtered, w.shape[:2], axis=(1, 2))
    return np.einsum("nhwcij,ijco->nohw", windows[:, ::down, ::down], w)


def test_even_kernels_are_refused(session):
    with pytest.raises(UserError, match="2×2"):
        upfirdn_2d.upsample_conv_2d(tf.zeros([1, 1, 4, 4]), tf.zeros([2, 2, 1, 1]))


def test_merged_kernels_take_an_unknown_batch(session):
    x = tf.placeholder(tf.float32, [None, 2, 4, 4])
    w = tf.ones([3, 3, 2, 5])
    up, down = upfirdn_2d.upsample_conv_2d(x, w), upfirdn_2d.conv_downsample_2d(x, w)
    assert up.shape.as_list() == [None, 5, 8, 8]
    assert down.shape.as_list() == [None, 5, 2, 2]


def test_equals_the_official_numbers(session, golden):
    def call(op, args, kwargs, arrays):
        if op == "fused_bias_act":
            return None
        kwargs = {k: v for k, v in kwargs.items() if k != "layout"}
        if op == "upfirdn_2d":  # The file has images NCHW; the call was on NHWC.
            return upfirdn_2d.upfirdn_2d(tf.transpose(args[0], [0, 2, 3, 1]), arrays["k"], **kwargs)
        return getattr(upfirdn_2d, op)(*args, **kwargs)

    assert check_op_cases(golden("tf_ops.npz"), call) == 15
