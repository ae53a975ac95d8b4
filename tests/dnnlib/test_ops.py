"""Operations by their official names."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import assert_close, check_op_cases
from official_signatures import check_signatures, public_functions

import tf_ops.upfirdn_2d
from dnnlib import UserError, tflib
from dnnlib.left_out import LeftOut
from dnnlib.tflib.ops import fused_bias_act, upfirdn_2d

RANDOM = np.random.default_rng(19)
RESAMPLING = "gain=1, padding=0, data_format='NCHW', impl='cuda')"
# Interface facts of both official repositories; StyleGAN2 has no `padding` and no `clamp`.
SIGNATURES = {
    fused_bias_act: """
        fused_bias_act(x, b=None, axis=1, act='linear', alpha=None, gain=None, clamp=None,
            impl='cuda')""",
    upfirdn_2d: f"""
        upfirdn_2d(x, k, upx=1, upy=1, downx=1, downy=1, padx0=0, padx1=0, pady0=0, pady1=0,
            impl='cuda')
        filter_2d(x, k, {RESAMPLING}
        upsample_2d(x, k=None, factor=2, {RESAMPLING}
        downsample_2d(x, k=None, factor=2, {RESAMPLING}
        upsample_conv_2d(x, w, k=None, factor=2, {RESAMPLING}
        conv_downsample_2d(x, w, k=None, factor=2, {RESAMPLING}""",
}


@pytest.mark.parametrize("module", SIGNATURES, ids=lambda module: module.__name__)
def test_official_signatures(module):
    assert check_signatures(module, SIGNATURES[module]) == set(public_functions(module))


@pytest.mark.parametrize("impl", ["cuda", "ref"])
def test_official_numbers(session, golden, impl):
    def call(op, args, kwargs, arrays):
        if op == "fused_bias_act":
            return fused_bias_act.fused_bias_act(*args, **kwargs, impl=impl)
        kwargs = {k: v for k, v in kwargs.items() if k != "layout"}
        if op == "upfirdn_2d":  # The file has images NCHW; the call was on NHWC.
            x = tf.transpose(args[0], [0, 2, 3, 1])
            return upfirdn_2d.upfirdn_2d(x, arrays["k"], **kwargs, impl=impl)
        return getattr(upfirdn_2d, op)(*args, **kwargs, impl=impl)

    assert check_op_cases(golden("tf_ops.npz"), call) == 26


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize(
    "name", ["filter_2d", "upsample_2d", "downsample_2d", "upsample_conv_2d", "conv_downsample_2d"]
)
def test_padding_counts_pixels_of_the_result(session, name, factor):
    """More of them see what the filter spreads, or crop it; the others stay the same."""
    images = RANDOM.normal(size=(2, 3, 12, 12))
    options = {"k": [1, 2, 4, 1], "gain": 3} | ({} if name == "filter_2d" else {"factor": factor})
    x = tf.constant(images, tf.float32)
    weight = [tf.constant(RANDOM.normal(size=(3, 3, 3, 2)), tf.float32)] if "conv" in name else []
    function = getattr(upfirdn_2d, name)
    plain, more, less = tflib.run(
        [function(x, *weight, padding=padding, **options) for padding in (0, 2, -1)]
    )
    direct = getattr(tf_ops.upfirdn_2d, name)(x, *weight, **options)
    np.testing.assert_array_equal(plain, tflib.run(direct))
    assert_close(less, plain[:, :, 1:-1, 1:-1])
    assert_close(more[:, :, 2:-2, 2:-2], plain)
    # As if zeros were a part of the image.
    wide = np.pad(images, [(0, 0), (0, 0), *[(4 * factor, 4 * factor)] * 2])
    wide = tflib.run(function(tf.constant(wide, tf.float32), *weight, **options))
    edge = (wide.shape[2] - more.shape[2]) // 2
    assert edge > 0
    assert_close(more, wide[:, :, edge:-edge, edge:-edge])


def test_bias_of_another_axis(session):
    x, b = RANDOM.normal(size=(2, 3, 4)), np.arange(4.0)
    y = fused_bias_act.fused_bias_act(tf.constant(x), tf.constant(b), axis=2, act="relu", gain=2)
    assert_close(tflib.run(y), np.maximum(x + b, 0) * 2)


@pytest.mark.parametrize("impl", ["auto", "native", "opencl"])
def test_implementations_are_the_official_two(session, impl):
    x, w = tf.zeros([1, 2, 4, 4]), tf.zeros([3, 3, 2, 2])
    k = np.ones([2, 2])
    for function, args in (
        (fused_bias_act.fused_bias_act, [x]),
        (upfirdn_2d.upfirdn_2d, [x, k]),
        (upfirdn_2d.filter_2d, [x, k]),
        (upfirdn_2d.upsample_2d, [x]),
        (upfirdn_2d.downsample_2d, [x]),
        (upfirdn_2d.upsample_conv_2d, [x, w]),
        (upfirdn_2d.conv_downsample_2d, [x, w]),
    ):
        with pytest.raises(UserError, match=f"impl='{impl}': use 'cuda'.*'ref'"):
            function(*args, impl=impl)


def test_plugins_are_left_out():
    with pytest.raises(LeftOut, match=r"custom_ops\.get_plugin.*tf\.load_op_library"):
        from dnnlib.tflib.custom_ops import get_plugin  # noqa: F401
