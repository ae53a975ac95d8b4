"""Upsampling, FIR filtering and downsampling of 2-D images, alone or merged with convolutions.

The filter is applied as a true convolution (its taps are flipped), so that an asymmetric filter
means the same in `upsample_2d` and in `upsample_conv_2d`. StyleGAN2, appendix B, "Resampling".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import layout, native
from tf_ops.gradients import custom_gradient

# Of the CUDA kernel, whose arguments hold the filter (kMaxCudaTaps in kernels/upfirdn_2d.h).
_MAX_TAPS = 576


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
    impl: str = "auto",
) -> tf.Tensor:
    """Inserts zeros, pads, convolves with a FIR filter and keeps every n-th pixel, in this order.

    Args:
        x: [majorDim, inH, inW, minorDim] float.
        k: filter [kh, kw].
        upx, upy: each pixel becomes upx×upy, the others zero.
        downx, downy: keep every downx-th column and downy-th row.
        padx0, padx1, pady0, pady1: pixels of zeros left, right, above, below the upsampled image;
            negative numbers crop.
        impl: see `tf_ops.native`.

    Returns:
        [majorDim, outH, outW, minorDim] with outW = (inW·upx + padx0 + padx1 - kw) // downx + 1,
        differentiable any number of times.

    Raises:
        UserError: a factor below 1, a filter that is not 2-D, or nothing left of the image.
    """
    x = tf.convert_to_tensor(x)
    k = np.asarray(k, dtype=np.float32)
    if k.ndim != 2 or k.size == 0:
        raise UserError(f"upfirdn_2d: filter of shape {k.shape}, expected [kh, kw]")
    if min(upx, upy, downx, downy) < 1:
        raise UserError(f"upfirdn_2d: factors {upx, upy, downx, downy}, expected at least 1")
    return _upfirdn(x, k, (upy, upx), (downy, downx), ((pady0, pady1), (padx0, padx1)), impl)


def _upfirdn(x, k, up, down, pad, impl):
    """upfirdn with a gradient that is upfirdn again, so that every derivative stays one op."""
    in_size = x.shape[1:3].as_list()
    if None in in_size:
        raise UserError(f"upfirdn_2d: height and width must be known, got shape {x.shape}")
    out_size = [
        (n * u + p[0] + p[1] - taps) // d + 1
        for n, u, d, p, taps in zip(in_size, up, down, pad, k.shape, strict=True)
    ]
    if min(out_size) < 1:
        raise UserError(f"upfirdn_2d: image {in_size}, filter {k.shape}, padding {pad}: no output")
    # The adjoint swaps the factors and flips the filter; its padding restores the input's size.
    grad_pad = tuple(
        (taps - p[0] - 1, n * u - m * d + p[0] - u + 1)
        for n, m, u, d, p, taps in zip(in_size, out_size, up, down, pad, k.shape, strict=True)
    )
    library = native.find("upfirdn_2d", impl, x.dtype)

    @custom_gradient
    def op(x):
        if library is None or k.size > _MAX_TAPS:
            y = _reference(x, k, up, down, pad)
        else:
            y = _native(library, x, k, up, down, pad)
        return y, lambda dy: _upfirdn(dy, k[::-1, ::-1], down, up, grad_pad, impl)

    y = op(x)
    y.set_shape([x.shape[0], *out_size, x.shape[3]])
    return y


def _native(library, x, k, up, down, pad):
    """The twin in kernels/upfirdn_2d_cpu.cc and upfirdn_2d_cuda.cu."""
    return library.tf_ops_upfirdn2d(
        x, up=up, down=down, pad=[*pad[0], *pad[1]], k_shape=k.shape, k=k.ravel().tolist()
    )


def _reference(x, k, up, down, pad):
    """Pure TensorFlow: zeros and padding, then a depthwise convolution."""
    height, width, minor = x.shape[1], x.shape[2], x.shape[3]
    if up != (1, 1):
        # Zeros after each pixel, then after each row: four axes, as TF Lite pads no more.
        x = tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, int(minor) * (up[1] - 1)]])
        x = tf.reshape(x, [-1, height, width * up[1], minor])
        x = tf.pad(x, [[0, 0], [0, 0], [0, int(width) * up[1] * (up[0] - 1)], [0, 0]])
        x = tf.reshape(x, [-1, height * up[0], width * up[1], minor])
    x = tf.pad(x, [[0, 0], *([max(p, 0) for p in side] for side in pad), [0, 0]])
    crop = [[max(-p, 0) for p in side] for side in pad]
    x = x[:, crop[0][0] : x.shape[1] - crop[0][1], crop[1][0] : x.shape[2] - crop[1][1], :]
    w = np.tile(k[::-1, ::-1, np.newaxis, np.newaxis], [1, 1, int(minor), 1])
    w = tf.constant(w, dtype=x.dtype)
    if down[0] == down[1]:
        return tf.nn.depthwise_conv2d(x, w, [1, down[0], down[1], 1], "VALID")
    # TensorFlow's depthwise kernels know one stride for both directions only.
    x = tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "VALID")
    return x[:, :: down[0], :: down[1], :]


def setup_filter(
    k: Sequence | np.ndarray | None, factor: int, gain: float = 1.0, normalize: bool = True
) -> np.ndarray:
    """FIR filter [kh, kw] float32 whose sum is `gain`.

    Args:
        k: [n], [n, n] or None for a box of `factor` pixels; 1-D means its outer product.
        factor: up- or downsampling factor.
        gain: sum of the taps.
        normalize: divide by the sum of `k`; else `gain` is a factor of the taps.

    Raises:
        UserError: not 1-D or square 2-D, or the taps to normalize sum to zero.
    """
    k = np.asarray([1] * factor if k is None else k, dtype=np.float32)
    if k.ndim == 1:
        k = np.outer(k, k)
    total = np.sum(k) if normalize else 1
    if k.ndim != 2 or k.shape[0] != k.shape[1] or not total:
        raise UserError(f"resampling filter of shape {k.shape}: expected [n] or [n, n], sum not 0")
    return (k / total * gain).astype(np.float32)


def filter_2d(
    x: tf.Tensor,
    k: Sequence | np.ndarray,
    gain: float = 1,
    padding: int = 0,
    data_format: str = layout.NCHW,
    impl: str = "auto",
    normalize: bool = True,
) -> tf.Tensor:
    """Filters images [N, C, H, W] or [N, H, W, C] without changing their size.

    Args:
        x: images.
        k, normalize: filter, see `setup_filter`.
        gain: factor of the values.
        padding: pixels more on each side of the result, of zeros around `x`; negative for fewer.
    """
    k = setup_filter(k, 1, gain, normalize)
    total = k.shape[0] - 1
    pad0, pad1 = (total + 1) // 2 + padding, total // 2 + padding
    return _simple(x, k, 1, 1, pad0, pad1, data_format, impl)


def upsample_2d(
    x: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = layout.NCHW,
    impl: str = "auto",
) -> tf.Tensor:
    """Upsamples images [N, C, H, W] or [N, H, W, C] by `factor`, keeping constants constant.

    Args:
        x: images.
        k: filter, see `setup_filter`; None repeats pixels.
        factor: a whole number.
        gain: factor of the values.
        padding: pixels more on each side of the result, see `filter_2d`.
    """
    k = setup_filter(k, factor, gain * factor**2)
    total = k.shape[0] - factor
    pad0, pad1 = (total + 1) // 2 + factor - 1 + padding, total // 2 + padding
    return _simple(x, k, factor, 1, pad0, pad1, data_format, impl)


def downsample_2d(
    x: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = layout.NCHW,
    impl: str = "auto",
) -> tf.Tensor:
    """Downsamples images [N, C, H, W] or [N, H, W, C] by `factor`; None averages boxes.

    The other arguments are those of `upsample_2d`; `padding` too counts pixels of the result.
    """
    k = setup_filter(k, factor, gain)
    total, more = k.shape[0] - factor, padding * factor
    pad0, pad1 = (total + 1) // 2 + more, total // 2 + more
    return _simple(x, k, 1, factor, pad0, pad1, data_format, impl)


def upsample_conv_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = layout.NCHW,
    impl: str = "auto",
) -> tf.Tensor:
    """`upsample_2d` and then a convolution, done as a transposed convolution and a filter.

    Args:
        x: [N, C, H, W] or [N, H, W, C]; N may be unknown.
        w: [n, n, C, out], n odd.
        k, factor, gain, padding: as in `upsample_2d`.

    Returns:
        [N, out, H·factor + 2·padding, W·factor + 2·padding], or NHWC.
    """
    size = _kernel_size(w)
    if size == 1:  # Of each pixel alone, before there are more of them.
        x = layout.conv2d(x, w, data_format=data_format)
        return upsample_2d(x, k, factor, gain, padding, data_format, impl)
    k = setup_filter(k, factor, gain * factor**2)
    height, width = (x.shape[a].value for a in layout.spatial_axes(data_format))
    out_size = ((height - 1) * factor + size, (width - 1) * factor + size)
    # A transposed convolution correlates with the flipped kernel and wants [n, n, out, C].
    # tf.reverse copies whole rows of channels, where a slice with steps of -1 copies numbers.
    w = tf.transpose(tf.reverse(w, [0, 1]), [0, 1, 3, 2])
    x = layout.conv2d_transpose(x, w, factor, out_size, data_format)
    # As far left as `upsample_2d` pads, less what the transposed convolution has added already.
    pad0 = (k.shape[0] - factor + 1) // 2 + factor - 1 - (size - 1) // 2
    pad1 = k.shape[0] - 1 + factor - size - pad0
    return _simple(x, k, 1, 1, pad0 + padding, pad1 + padding, data_format, impl)


def conv_downsample_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Sequence | np.ndarray | None = None,
    factor: int = 2,
    gain: float = 1,
    padding: int = 0,
    data_format: str = layout.NCHW,
    impl: str = "auto",
) -> tf.Tensor:
    """A convolution and then `downsample_2d`, done as a filter and a strided convolution.

    Args:
        x: [N, C, H, W] or [N, H, W, C].
        w: [n, n, C, out], n odd.
        k, factor, gain, padding: as in `downsample_2d`.

    Returns:
        [N, out, H / factor + 2·padding, W / factor + 2·padding], or NHWC.
    """
    size = _kernel_size(w)
    if size == 1:  # Of each pixel that is kept alone.
        x = downsample_2d(x, k, factor, gain, padding, data_format, impl)
        return layout.conv2d(x, w, data_format=data_format)
    k = setup_filter(k, factor, gain)
    total, more = k.shape[0] - factor + size - 1, padding * factor
    pad0, pad1 = (total + 1) // 2 + more, total // 2 + more
    x = _simple(x, k, 1, 1, pad0, pad1, data_format, impl)
    return layout.conv2d(x, w, factor, "VALID", data_format)


def _simple(x, k, up, down, pad0, pad1, data_format, impl):
    """upfirdn_2d with the same factor and padding both ways, in either layout."""
    x = tf.convert_to_tensor(x)
    pad = ((pad0, pad1), (pad0, pad1))
    if data_format == layout.NHWC:
        return _upfirdn(x, k, (up, up), (down, down), pad, impl)
    channels, height, width = x.shape[1:].as_list()
    y = tf.reshape(x, [-1, height, width, 1])
    y = _upfirdn(y, k, (up, up), (down, down), pad, impl)
    y = tf.reshape(y, [-1, channels, y.shape[1], y.shape[2]])
    y.set_shape([x.shape[0], *y.shape[1:]])
    return y


def _kernel_size(w: tf.Tensor) -> int:
    height, width = w.shape[0].value, w.shape[1].value
    if height != width or height % 2 == 0:
        raise UserError(f"convolution kernel of {height}×{width}: expected odd and square")
    return height
