"""Lanczos resampling of 8-bit pictures: Pillow's weights and rounding, several times as fast.

A whole build at 256×256 takes 1.7 to 1.8 times as long with Pillow's own `resize`, see
tests/benchmarks/README.md.

The compiled twin (`tf_ops/kernels/resize_8bit.cc`) and Pillow, which serves where there is no
compiler, give the same bytes: so a dataset does not depend on the machine that makes it. Hence the
two passes of Pillow: which one comes first when it does both at once depends on its version.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import PIL
from PIL import Image

from dnnlib import UserError
from tf_ops import build
from training.datasets.photos.arrays import to_pixels

_SUPPORT = 3.0  # of Lanczos' filter, in pixels of the coarser grid
_PRECISION = 22  # bits after the point of a weight
_LENDS_PIXELS = 13  # version of Pillow: those before it, from 11.2 on, crash after many pictures
_MAX_KEPT = 8192  # pixels of a line whose weights are kept for the next picture
_MAX_PIXELS = 25_000_000  # the twin makes a copy, which larger pictures have no memory for


def resize(image: Image.Image, width: int, height: int, box: tuple[int, ...]) -> np.ndarray:
    """Resamples a part of a picture.

    Args:
        image: of mode RGB or L.
        width, height: of the result.
        box: x1, y1, x2, y2 in pixels; what lies around it has a part in its edges.

    Returns:
        uint8 [3 or 1, height, width].
    """
    native = _native() if image.width * image.height < _MAX_PIXELS else None
    if native is None:
        image = image.resize((width, image.height), _LANCZOS, (box[0], 0, box[2], image.height))
        image = image.resize((width, height), _LANCZOS, (0, box[1], width, box[3]))
        return to_pixels(image)
    x = _weights(image.width, box[0], box[2], width)
    y = _weights(image.height, box[1], box[3], height)
    channels = len(image.getbands())
    result = np.empty([channels, height, width], np.uint8)
    with _pixels_of(image) as (address, pixel_bytes):
        row_bytes = image.width * pixel_bytes
        first = address + y.begin * row_bytes + x.begin * pixel_bytes
        size = y.end - y.begin, x.end - x.begin, channels
        strides = row_bytes, pixel_bytes
        native(first, *size, *strides, *x.arguments, *y.arguments, result.ctypes.data)
    return result


@contextmanager
def _pixels_of(image: Image.Image) -> Iterator[tuple[int, int]]:
    """Address of a picture's pixels, row by row, and bytes of each.

    Pillow lends them through Arrow's C interface; where it does not, they are copied.
    """
    capsules = None
    if int(PIL.__version__.split(".")[0]) >= _LENDS_PIXELS:
        with suppress(ValueError):  # Rows that do not follow one another.
            capsules = image.__arrow_c_array__()
    if capsules is None:
        copy = np.frombuffer(image.tobytes(), np.uint8)
        yield copy.ctypes.data, len(image.getbands())
        return
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    array = ctypes.cast(get(capsules[1], b"arrow_array"), ctypes.POINTER(_ArrowArray)).contents
    # RGB is a list of four bytes for each pixel, the last without meaning.
    leaf = array.children[0].contents if array.n_children else array
    yield leaf.buffers[1], leaf.length // (image.width * image.height)


class _ArrowArray(ctypes.Structure):
    """https://arrow.apache.org/docs/format/CDataInterface.html"""


_ArrowArray._fields_ = (
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
)


_LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True, eq=False)
class _Weights:
    """The weights of a pass.

    Attributes:
        first, count: int32 [size], which pixels count, from `begin` on, and how many.
        values: int32 [size, taps].
        begin, end: the pixels that count for any of the results.
    """

    first: np.ndarray
    count: np.ndarray
    values: np.ndarray
    begin: int
    end: int

    @property
    def arguments(self) -> tuple[int, ...]:
        size, taps = self.values.shape
        return size, taps, *(a.ctypes.data for a in (self.first, self.count, self.values))


def _weights(pixels: int, begin: float, end: float, size: int) -> _Weights:
    """Weights to resample the pixels from `begin` to `end` of a line to `size` pixels."""
    # Those of long lines have megabytes, and take little time beside such pictures.
    make = _kept_weights if max(pixels, size) <= _MAX_KEPT else _make_weights
    return make(pixels, begin, end, size)


def _make_weights(pixels: int, begin: float, end: float, size: int) -> _Weights:
    scale = (end - begin) / size
    filter_scale = max(scale, 1.0)  # enlarging interpolates, reducing averages
    support = _SUPPORT * filter_scale
    centers = begin + (np.arange(size) + 0.5) * scale
    first = np.maximum((centers - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centers + support + 0.5).astype(np.int64), pixels) - first
    taps = np.arange(math.ceil(support) * 2 + 1)
    x = (taps + first[:, None] - centers[:, None] + 0.5) * (1 / filter_scale)
    inside = (x >= -_SUPPORT) & (x < _SUPPORT) & (taps < count[:, None])
    values = np.where(inside, _sinc(x) * _sinc(x / _SUPPORT), 0.0)
    # Added one by one: another order of the sum would give other last bits.
    values /= np.cumsum(values, axis=1)[:, -1:]
    rounded = np.trunc(values * (1 << _PRECISION) + np.where(values < 0, -0.5, 0.5))
    begin = int(first.min())
    return _Weights(
        (first - begin).astype(np.int32),
        count.astype(np.int32),
        np.ascontiguousarray(rounded, np.int32),
        begin,
        int((first + count).max()),
    )


# 60 MB at most: a result has 7 weights, or 6 for each pixel that it is made of, of 4 bytes each.
_kept_weights = functools.lru_cache(maxsize=256)(_make_weights)


def _sinc(x: np.ndarray) -> np.ndarray:
    angle = x * math.pi
    with np.errstate(invalid="ignore"):
        return np.where(x == 0, 1.0, np.sin(angle) / angle)


@functools.cache
def _native() -> Callable | None:
    """The compiled twin, or None."""
    try:
        function = ctypes.CDLL(build.plain_library("resize_8bit.cc")).resize_8bit
    except (UserError, OSError):
        return None  # the same bytes without it, more slowly: nothing to warn of
    pointer, number = ctypes.c_void_p, ctypes.c_int
    weights = [number, number, pointer, pointer, pointer]
    strides = [ctypes.c_int64, number]
    function.argtypes = [pointer, *[number] * 3, *strides, *weights, *weights, pointer]
    function.restype = None
    return function
