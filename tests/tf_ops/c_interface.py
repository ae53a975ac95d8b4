"""The kernels' C interface by ctypes, and how their inputs are drawn.

The structures are those of the headers in tf_ops/kernels.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_void_p

import numpy as np
import tensorflow.compat.v1 as tf
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tf_ops.fused_bias_act import activation_funcs

DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
# Largest error relative to the largest value. Sums are made in float32 and rounded once.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
# Examples take as long as TensorFlow does; the same ones are drawn in every run.
SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}

RANGE_TASK = ctypes.CFUNCTYPE(None, c_void_p, c_int64, c_int64)
PARALLEL_FOR = ctypes.CFUNCTYPE(None, c_void_p, c_int64, c_int64, RANGE_TASK, c_void_p)


class Upfirdn2D(Structure):
    _fields_ = (
        [(name, c_int64) for name in ("batch", "in_h", "in_w", "channels", "out_h", "out_w")]
        + [(name, c_int64) for name in ("up_y", "up_x", "down_y", "down_x", "pad_y", "pad_x")]
        + [("kh", c_int64), ("kw", c_int64), ("k", POINTER(c_float))]
    )


class BiasAct(Structure):
    _fields_ = (
        ("outer", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("samples", c_int64),
        ("noise_samples", c_int64),
        ("order", c_int),
        ("act", c_int),
        ("alpha", c_float),
        ("gain", c_float),
        ("clamp", c_float),
        ("from_output", c_int),
    )


class BiasActTensors(Structure):
    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            *("a", "a_bias", "reference", "reference_bias", "dy", "scale", "noise"),
            *("out", "sum"),
        )
    )


class Resample2D(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("batch", "in_h", "in_w", "channels", "out_h", "out_w")),
        ("transforms", c_void_p),
    )


class WeightedGather(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("batch", "outer", "inner", "in_size", "out_size", "taps")),
        ("indices", c_void_p),
        ("weights", c_void_p),
    )


class HostMemory:
    """NumPy arrays where kernels on the CPU find them."""

    stream = None

    def upload(self, array: np.ndarray | None):
        """(what keeps the memory, address)."""
        if array is None:
            return None, None
        array = np.ascontiguousarray(array)
        return array, array.ctypes.data

    def empty(self, shape, dtype):
        return self.upload(np.empty(shape, dtype))

    def download(self, array: np.ndarray) -> np.ndarray:
        return array


def run_upfirdn(call, memory, x, k, up, down, pad):
    """y of `call(op, dtype, x, y)` for x [N, H, W, C]; pad is ((y0, y1), (x0, x1))."""
    out_size = [
        (n * u + sum(p) - taps) // d + 1
        for n, u, d, p, taps in zip(x.shape[1:3], up, down, pad, k.shape, strict=True)
    ]
    k = np.ascontiguousarray(k, np.float32)
    address = k.ctypes.data_as(POINTER(c_float))
    op = Upfirdn2D(*x.shape, *out_size, *up, *down, pad[0][0], pad[1][0], *k.shape, address)
    kept, x_address = memory.upload(x)
    y, y_address = memory.empty((x.shape[0], *out_size, x.shape[3]), x.dtype)
    error = call(byref(op), DTYPES[x.dtype.name], c_void_p(x_address), c_void_p(y_address))
    assert not error, f"CUDA error {error}"
    del kept
    return memory.download(y)


def run_bias_act(call, memory, x, axis, order, act, with_sum=False, from_output=False, **options):
    """(out, sum) of `call(op, dtype, tensors)`; `options` are alpha, gain, clamp and tensors."""
    names = list(activation_funcs)
    shape = x.shape
    op = BiasAct(
        int(np.prod(shape[:axis])),
        shape[axis],
        int(np.prod(shape[axis + 1 :])),
        shape[0],
        1 if options.get("noise") is None else len(options["noise"]),
        order,
        names.index(act),
        options["alpha"],
        options["gain"],
        options["clamp"],
        from_output,
    )
    names = ("a_bias", "reference", "reference_bias", "dy", "scale", "noise")
    inputs = [x, *map(options.get, names)]
    kept, addresses = zip(*(memory.upload(a) for a in inputs), strict=True)
    out, out_address = memory.empty(shape, x.dtype)
    total, sum_address = memory.empty(shape[axis], x.dtype)
    tensors = BiasActTensors(*addresses, out_address, sum_address if with_sum else None)
    error = call(byref(op), DTYPES[x.dtype.name], byref(tensors))
    assert not error, f"CUDA error {error}"
    del kept
    return memory.download(out), memory.download(total)


def run_resample(call, memory, x, transforms, size, adjoint=False):
    """`call(op, adjoint, in, out)` for x [N, H, W, C] float32; `size` is that of the result."""
    kept, address = memory.upload(np.asarray(transforms, np.float64))
    sizes = [*x.shape[1:3], x.shape[3], *size]
    if adjoint:
        sizes = [*size, x.shape[3], *x.shape[1:3]]
    op = Resample2D(x.shape[0], *sizes, address)
    out = _run_linear(call, memory, op, adjoint, x, (x.shape[0], *size, x.shape[3]))
    del kept
    return out


def run_gather(call, memory, x, indices, weights, size, adjoint=False):
    """`call(op, adjoint, in, out)` for x [N, outer, S, inner] float32; `size` takes S's place."""
    kept, addresses = zip(*map(memory.upload, (indices, weights)), strict=True)
    n, outer, old, inner = x.shape
    sizes = [size, old] if adjoint else [old, size]
    op = WeightedGather(n, outer, inner, *sizes, indices.shape[2], *addresses)
    out = _run_linear(call, memory, op, adjoint, x, (n, outer, size, inner))
    del kept
    return out


def _run_linear(call, memory, op, adjoint, x, out_shape):
    kept, x_address = memory.upload(x)
    out, out_address = memory.upload(np.full(out_shape, np.nan, np.float32))
    error = call(byref(op), c_int(adjoint), c_void_p(x_address), c_void_p(out_address))
    assert not error, f"CUDA error {error}"
    del kept
    return memory.download(out)


def numpy_type(dtype: str):
    return tf.as_dtype(dtype).as_numpy_dtype


def assert_close(actual, expected, dtype="float32", scale=None):
    """Within the tolerance of a type, relative to the largest value or to `scale`."""
    actual = np.asarray(actual).astype(np.float64)
    expected = np.asarray(expected).astype(np.float64)
    assert actual.shape == expected.shape
    if actual.size:
        scale = np.abs(expected).max() if scale is None else scale
        assert np.abs(actual - expected).max() <= TOLERANCES[dtype] * scale + 1e-30


def upfirdn_oracle(x, k, up, down, pad):
    """By the definition, in float64."""
    x = np.asarray(x).astype(np.float64)
    n, height, width, channels = x.shape
    y = np.zeros((n, height * up[0], width * up[1], channels))
    y[:, :: up[0], :: up[1]] = x
    y = np.pad(y, [(0, 0), *((max(a, 0), max(b, 0)) for a, b in pad), (0, 0)])
    (top, bottom), (left, right) = [[max(-a, 0) for a in side] for side in pad]
    y = y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]
    windows = np.lib.stride_tricks.sliding_window_view(y, k.shape, axis=(1, 2))
    y = np.einsum("nhwcij,ij->nhwc", windows, np.asarray(k, np.float64)[::-1, ::-1])
    return y[:, :: down[0], :: down[1]]


@st.composite
def resamplings(draw, dtypes=("float32",)):
    """Arguments of upfirdn: those of StyleGAN2 and any others, odd sizes, empty batches."""
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 16, 17, 32, 70]))
    batch = draw(st.sampled_from([0, 1, 1, 2, 3, 40]))
    size = [draw(st.integers(1, 12 if channels < 32 else 7)) for _ in range(2)]
    if draw(st.booleans()):
        up, down = draw(st.sampled_from([((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))]))
        k = np.outer([1, 3, 3, 1], seed.permutation([1.0, 3.0, 3.0, 1.0]))
        pad = [[draw(st.integers(-1, 4)) for _ in range(2)] for _ in range(2)]
    else:
        up = tuple(draw(st.integers(1, 4)) for _ in range(2))
        down = tuple(draw(st.integers(1, 4)) for _ in range(2))
        shape = [draw(st.integers(1, 7)) for _ in range(2)]
        k = seed.normal(size=shape)
        if draw(st.booleans()):
            k = np.outer(k[:, 0], k[0])
        if draw(st.booleans()):
            k[seed.random(shape) < 0.3] = 0
        pad = [[draw(st.integers(-3, 8)) for _ in range(2)] for _ in range(2)]
    for side, n, u, taps in zip(pad, size, up, k.shape, strict=True):
        side[1] = max(side[1], taps - n * u - side[0])  # Something must be left.
    x = seed.normal(size=(batch, *size, channels)).astype(numpy_type(draw(st.sampled_from(dtypes))))
    return x, k.astype(np.float32), up, down, tuple(map(tuple, pad))


@st.composite
def activations(draw, dtypes=("float32",)):
    """(x, bias or None, axis, act, options)."""
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    act = draw(st.sampled_from(list(activation_funcs)))
    channels = draw(st.sampled_from([1, 2, 3, 16, 33, 64, 700]))
    outer = draw(st.sampled_from([[0], [1], [2], [5], [300], [2, 3, 5], [3, 41, 40]]))
    inner = [] if len(outer) > 1 else draw(st.sampled_from([[], [1], [3, 3], [7, 5], [41, 31]]))
    if channels > 33 or outer == [300]:
        outer, inner = outer[:2], inner[:1]
    shape = [*outer, channels, *inner]
    dtype = numpy_type(draw(st.sampled_from(dtypes)))
    options = {
        "alpha": draw(st.sampled_from([0.0, 0.2, 0.2, 1.5])),
        "gain": draw(st.sampled_from([1.0, 2**0.5, 0.3])),
        "clamp": draw(st.sampled_from([-1.0, 0.4, 1.7])),
    }
    if draw(st.integers(0, 7)) == 0:  # The slope does not follow from the output.
        options["gain"] *= -1
    x = (seed.normal(size=shape) * draw(st.sampled_from([0.1, 1, 3]))).astype(dtype)
    bias = seed.normal(size=channels).astype(dtype) if draw(st.booleans()) else None
    return x, bias, len(outer), act, options


@st.composite
def modulations(draw, dtypes=("float32",)):
    """As `activations`, of a batch [N, …], and scale and noise, of which one may be None."""
    case = draw(activations(dtypes).filter(lambda case: case[0].shape[0] > 0))
    x, axis = case[0], case[2]
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = seed.normal(size=(x.shape[0], x.shape[axis])).astype(x.dtype)
    noise = seed.normal(size=(*x.shape[:axis], *x.shape[axis + 1 :])).astype(x.dtype)
    noise = noise[: draw(st.sampled_from([1, len(x)]))]
    which = draw(st.integers(0, 3))
    return *case, (None if which == 1 else scale), (None if which == 2 else noise)


@st.composite
def samplings(draw):
    """(x [N, H, W, C], transforms [N, 2, 3], height and width of the result) of resample_2d."""
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from([1, 2, 3, 3, 5]))
    batch = draw(st.sampled_from([0, 1, 2, 5]))
    in_size, out_size = ([draw(st.integers(1, 90 if a else 9)) for a in (0, 1)] for _ in range(2))
    transforms = np.zeros((batch, 2, 3))
    for m in transforms:
        kind = draw(st.sampled_from(["turned", "whole", "singular", "outside"]))
        # Around the middle, so that something is seen.
        m[:, :2] = seed.normal(size=(2, 2)) * 10 ** seed.uniform(-2, 1)
        if kind == "whole":
            m[:, :2] = seed.permutation(np.diag(seed.choice([-2.0, -1.0, 0.5, 1.0], 2)))
        elif kind == "singular":
            m[:, :2] = np.outer(*seed.integers(-2, 3, size=(2, 2)) * seed.choice([1, 0.3]))
        middle = m[:, :2] @ [(out_size[1] - 1) / 2, (out_size[0] - 1) / 2]
        m[:, 2] = [(in_size[1] - 1) / 2, (in_size[0] - 1) / 2] - middle
        if kind == "outside":
            m[:, 2] += seed.normal(size=2) * 10 ** seed.uniform(0, 12)
    x = seed.normal(size=(batch, *in_size, channels)).astype(np.float32)
    return x, transforms, tuple(out_size)


def sampling_matrices(transforms, in_size, out_size):
    """[N, outH·outW, inH·inW] by the definition, in float64: falling to 0 at a distance of 1."""
    v, u = np.indices(out_size)
    points = np.stack([u, v, np.ones(out_size)]).reshape(3, -1)
    positions = np.reshape(transforms, (-1, 2, 3)) @ points
    columns, rows = (
        np.maximum(0, 1 - np.abs(positions[:, axis, :, np.newaxis] - np.arange(size)))
        for axis, size in enumerate(in_size[::-1])
    )
    matrices = rows[..., np.newaxis] * columns[:, :, np.newaxis]
    return matrices.reshape(len(matrices), points.shape[1], in_size[0] * in_size[1])


@st.composite
def gathers(draw):
    """(x [N, outer, S, inner], indices, weights) of weighted_gather, some indices outside."""
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, outer = draw(st.sampled_from([0, 1, 3])), draw(st.sampled_from([1, 2, 7]))
    inner = draw(st.sampled_from([1, 2, 3, 63, 64, 300, 700]))
    size, rows, taps = (draw(st.integers(1, 12)) for _ in range(3))
    indices = seed.integers(-2, size + 2, size=(batch, rows, taps)).astype(np.int32)
    weights = seed.normal(size=indices.shape).astype(np.float32)
    return seed.normal(size=(batch, outer, size, inner)).astype(np.float32), indices, weights


def gather_oracle(x, indices, weights):
    """By the definition, in float64."""
    places = indices[..., np.newaxis] == np.arange(x.shape[2])
    matrices = np.sum(places * weights[..., np.newaxis].astype(np.float64), axis=2)
    return np.einsum("nrs,nosi->nori", matrices, x.astype(np.float64))


def examples(count: int):
    """Settings for so many examples."""
    return settings(max_examples=count, **SETTINGS)
