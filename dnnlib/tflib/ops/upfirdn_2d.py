"""Resampling by its official names, over `tf_ops.upfirdn_2d`.

In all functions, `impl` is `cuda` for what is fastest here, also without GPU, or `ref` for plain
TensorFlow. Everything can be differentiated any number of times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import native
from tf_ops import upfirdn_2d as ops


def upfirdn_2d(
    x: tf.Tensor,
    k: np.ndarray,
    upx: int = 1,
    upy: int = 1,
    downx: int = 1,
    downy: int = 1,
    padx0: int = 0,
    padx1: int = 0,
    pady0: int = 0,
    pady1: int = 0,
    impl: str = "cuda",
) -> tf.Tensor:
    """Inserts zeros, pads, convolves with a FIR filter and keeps every n-th pixel, in this order.

    Args:
        x: [majorDim, inH, inW, minorDim] float.
        k: filter [kh, kw]; its taps are flipped, as in a true convolution.
        upx, upy: each pixel becomes upx×upy, the others zero.
        downx, downy: keep every downx-th column and downy-th row.
        padx0, padx1, pady0, pady1: pixels of zeros left, right, above, below the upsampled image;
            negative numbers crop.
        impl: see above.

    Returns:
        [majorDim, outH, outW, minorDim] with outW = (inW·upx + padx0 + padx1 - kw) // downx + 1.

    Raises:
        UserError: a factor below 1, a filter that is not 2-D, nothing left of the image, or an
            unknown `impl`.
    """
    impl = native.official(impl)
    return ops.upfirdn_2d(x, k, upx, upy, downx, downy, padx0, padx1, pady0, pady1, impl)


def filter_2d(
    x: tf.Tensor,
    k: Sequence | np.ndarray,
    gain: float = 1,
    padding: int = 0,
    data_format: str = "NCHW",
    impl: str = "cuda",
) -> tf.Tensor:
    """Filters images without changing their size.

    Args:
        x: images [N, C, H, W] or [N, H, W, C] float.
        k: filter [n], or [n, n]; 1-D means its outer product. Its taps are divided by their sum.
        gain: factor of the values.
        padding: pixels more on each side of the result, of zeros around `x`; negative for fewer.
        data_format: `NCHW` or `NHWC`.
        impl: see above.

    Returns:
        Images like `x`, 2·padding pixels higher and wider.
    """
    return ops.filter_2d(x, k, gain, padding, data_format, native.official(impl))


def upsample_2d(
    x: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = "NCHW",
    impl: str = "cuda",
) -> tf.Tensor:
    """Upsamples images.

    Args:
        x: images [N, C, H, W] or [N, H, W, C] float.
        k: filter, see `filter_2d`; None repeats pixels.
        factor: a whole number.
        gain, padding, data_format, impl: see `filter_2d`.

    Returns:
        [N, C, H·factor + 2·padding, W·factor + 2·padding], or NHWC.
    """
    return ops.upsample_2d(x, k, factor, gain, padding, data_format, native.official(impl))


def downsample_2d(
    x: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = "NCHW",
    impl: str = "cuda",
) -> tf.Tensor:
    """Downsamples images.

    Args:
        x: images [N, C, H, W] or [N, H, W, C] float.
        k: filter, see `filter_2d`; None averages boxes of factor×factor pixels.
        factor: a whole number.
        gain, padding, data_format, impl: see `filter_2d`.

    Returns:
        [N, C, H / factor + 2·padding, W / factor + 2·padding], or NHWC.
    """
    return ops.downsample_2d(x, k, factor, gain, padding, data_format, native.official(impl))


def upsample_conv_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = "NCHW",
    impl: str = "cuda",
) -> tf.Tensor:
    """`upsample_2d` and then a convolution, in one.

    Args:
        x: images [N, C, H, W] or [N, H, W, C] float.
        w: [n, n, C, out], n odd.
        k, factor, gain, padding, data_format, impl: see `upsample_2d`.

    Returns:
        [N, out, H·factor + 2·padding, W·factor + 2·padding], or NHWC.
    """
    impl = native.official(impl)
    return ops.upsample_conv_2d(x, w, k, factor, gain, padding, data_format, impl)


def conv_downsample_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = "NCHW",
    impl: str = "cuda",
) -> tf.Tensor:
    """A convolution and then `downsample_2d`, in one.

    Args:
        x: images [N, C, H, W] or [N, H, W, C] float.
        w: [n, n, C, out], n odd.
        k, factor, gain, padding, data_format, impl: see `downsample_2d`.

    Returns:
        [N, out, H / factor + 2·padding, W / factor + 2·padding], or NHWC.
    """
    impl = native.official(impl)
    return ops.conv_downsample_2d(x, w, k, factor, gain, padding, data_format, impl)
