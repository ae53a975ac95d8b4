"""In which memory layout convolutions run: decided here and nowhere else (DESIGN D6).

Images are NCHW at function boundaries. Inside a network, activations are in `internal_format()`:
NHWC on the CPU, whose convolutions know no other layout unless oneDNN is on, NCHW on GPUs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar

import tensorflow.compat.v1 as tf

from dnnlib.util import value_within

NCHW = "NCHW"
NHWC = "NHWC"
# Whether a block of `portable` is being executed.
_portable: ContextVar[bool] = ContextVar("portable", default=False)


def portable() -> AbstractContextManager[None]:
    """Graphs that are built within the block run anywhere: NHWC, float32, reference operations."""
    return value_within(_portable, True)


def is_portable() -> bool:
    """Whether the graph that is being built is one for other machines, see `portable`."""
    return _portable.get()


def internal_format() -> str:
    """Layout of activations inside networks, that of this machine unless the graph is portable."""
    return NCHW if _has_gpu() else NHWC


def has_float16() -> bool:
    """Whether convolutions in float16 are worth while here: on GPUs only (DESIGN D1)."""
    return _has_gpu()


def channel_axis(data_format: str) -> int:
    """Axis of the channels of a 4-D tensor."""
    return 1 if data_format == NCHW else 3


def spatial_axes(data_format: str) -> tuple[int, int]:
    """Axes of height and width of a 4-D tensor."""
    return (2, 3) if data_format == NCHW else (1, 2)


def convert(x: tf.Tensor, source: str, target: str) -> tf.Tensor:
    """A 4-D tensor in another layout."""
    if source == target:
        return x
    return tf.transpose(x, [0, 2, 3, 1] if target == NHWC else [0, 3, 1, 2])


def conv2d(
    x: tf.Tensor, w: tf.Tensor, stride: int = 1, padding: str = "SAME", data_format: str = NCHW
) -> tf.Tensor:
    """Convolution of a tensor in `data_format`, on CPUs without NCHW kernels too.

    Args:
        x: [N, C, H, W] or [N, H, W, C] float.
        w: [kh, kw, C, out].
        stride: in both directions.
        padding: `SAME` or `VALID`.
    """
    run_format = internal_format()
    y = tf.nn.conv2d(
        convert(x, data_format, run_format),
        w,
        strides=_strides(stride, run_format),
        padding=padding,
        data_format=run_format,
    )
    return convert(y, run_format, data_format)


def conv2d_transpose(
    x: tf.Tensor, w: tf.Tensor, stride: int, out_size: tuple[int, int], data_format: str = NCHW
) -> tf.Tensor:
    """Transposed convolution without padding.

    Args:
        x: [N, C, H, W] or [N, H, W, C] float.
        w: [kh, kw, out, C].
        stride: in both directions.
        out_size: height and width of the result.
    """
    run_format = internal_format()
    x = convert(x, data_format, run_format)
    out = [*out_size, w.shape[2]] if run_format == NHWC else [w.shape[2], *out_size]
    y = tf.nn.conv2d_transpose(
        x,
        w,
        output_shape=tf.stack([tf.shape(x)[0], *out]),
        strides=_strides(stride, run_format),
        padding="VALID",
        data_format=run_format,
    )
    y.set_shape([x.shape[0], *out])
    return convert(y, run_format, data_format)


def _strides(stride: int, data_format: str) -> list[int]:
    return [1, 1, stride, stride] if data_format == NCHW else [1, stride, stride, 1]


def _has_gpu() -> bool:
    return not is_portable() and bool(tf.config.list_physical_devices("GPU"))
