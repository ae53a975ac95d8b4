"""What each kernel is launched with: as the `_cuda.cc` files do it, for machines without compiler.

The structures are those of tf_ops/kernels/device_arguments.h. A test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import Structure, c_float, c_int, c_int64, c_void_p
from typing import NamedTuple

MAX_TAPS = 576
FAN = 64  # What one thread of a pass of `channel_sum` adds up.
ACTIVATIONS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")


class Launch(NamedTuple):
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: Structure


def _fields(names: str, kind) -> list:
    return [(name, kind) for name in names.split()]


class Upfirdn2DArguments(Structure):
    _fields_ = (
        *_fields("x y", c_void_p),
        *_fields("batch", c_int64),
        *_fields("in_h in_w channels out_h out_w", c_int),
        *_fields("up_y up_x down_y down_x pad_y pad_x kh kw", c_int),
        *_fields("shift_y shift_x tiles_y tiles_x", c_int),
        ("k", c_float * MAX_TAPS),
    )


class FusedBiasActArguments(Structure):
    _fields_ = (
        *_fields("a a_bias reference reference_bias dy scale noise out", c_void_p),
        *_fields("vectors channels inner pixels noise_samples", c_int64),
        *_fields("alpha gain clamp", c_float),
        *_fields("act order from_output", c_int),
    )


class ChannelSumArguments(Structure):
    _fields_ = (
        *_fields("x sums", c_void_p),
        *_fields("outer channels inner parts step_outer step_inner", c_int64),
    )


class Resample2DArguments(Structure):
    _fields_ = (
        *_fields("batch in_h in_w channels out_h out_w", c_int64),
        *_fields("transforms source target", c_void_p),
    )


class WeightedGatherArguments(Structure):
    _fields_ = (
        *_fields("batch outer inner in_size out_size taps", c_int64),
        *_fields("indices weights source target", c_void_p),
    )


def over(kernel: str, arguments: Structure, x: int, y: int = 1, z: int = 1) -> Launch:
    """A launch that covers x × y × z threads, 256 in a block; kernels stride over the rest."""
    block_x = _power_of_two(x, 256)
    block_y = _power_of_two(y, 256 // block_x)
    block = block_x, block_y, _power_of_two(z, min(64, 256 // block_x // block_y))
    limits = 0x7FFFFFFF, 0xFFFF, 0xFFFF
    grid = [
        min(-(-size // b), limit) for size, b, limit in zip((x, y, z), block, limits, strict=True)
    ]
    return Launch(kernel, tuple(grid), block, arguments)


def _power_of_two(size: int, limit: int) -> int:
    return min(1 << (max(size, 1) - 1).bit_length(), limit)


def upfirdn_2d(
    x: int, y: int, sizes: Sequence[int], k: Sequence[Sequence[float]], up, down, pad, dtype: str
) -> list[Launch]:
    """`sizes` are batch, in_h, in_w, channels, out_h, out_w; the rest is (y, x), or before both."""
    kh, kw = len(k), len(k[0])
    flipped = [float(v) for row in reversed(k) for v in reversed(row)]
    a = Upfirdn2DArguments(x, y, *sizes, *up, *down, *pad, kh, kw)
    a.k[: kh * kw] = flipped
    way, tile = "any", (1, 1)
    if (kh, kw) == (4, 4) and up[0] == up[1] and down[0] == down[1]:
        ways = {(1, 1): ("same", (4, 1)), (1, 2): ("down", (2, 1)), (2, 1): ("up", (2, 2))}
        way, tile = ways.get((up[0], down[0]), (way, tile))
    if way == "up":
        a.shift_y, a.shift_x = -pad[0] % 2, -pad[1] % 2
    a.tiles_y = -(-(a.out_h + a.shift_y) // tile[0])
    a.tiles_x = -(-(a.out_w + a.shift_x) // tile[1])
    return [over(f"upfirdn_2d_{way}_{dtype}", a, a.tiles_x * a.channels, a.tiles_y, a.batch)]


def fused_bias_act(
    pointers: dict[str, int], sizes: Sequence[int], samples: int, dtype: str, *, act: str,
    alpha: float, gain: float, clamp: float | None, order: int = 0, from_output: bool = False,
    noise_samples: int = 1,
) -> list[Launch]:  # fmt: skip
    """`sizes` are outer, channels, inner; `pointers` are those of the arguments that there are."""
    outer, channels, inner = sizes
    tensors = [pointers.get(name) or 0 for name in ("a", "reference", "dy", "out")]
    count = outer * channels * inner
    size = 4 if count % 4 == 0 and all(p % 16 == 0 for p in tensors) else 1
    a = FusedBiasActArguments(
        **pointers, vectors=count // size, channels=channels, inner=inner,
        pixels=outer * inner // samples, noise_samples=noise_samples, alpha=alpha, gain=gain,
        clamp=math.nan if clamp is None else clamp, act=ACTIVATIONS.index(act), order=order,
        from_output=from_output,
    )  # fmt: skip
    return [over(f"fused_bias_act_{size}_{dtype}", a, a.vectors)]


def channel_sum(x: int, sums: int, workspace: int, sizes: Sequence[int], dtype: str):
    """Passes over x [outer, channels, inner]; see `channel_sum_workspace`."""
    outer, channels, inner = sizes
    parts = -(-outer * inner // FAN)
    if parts <= 1:
        return [_sum(x, dtype, sums, dtype, outer, channels, inner, 1)]
    launches = [_sum(x, dtype, workspace, "float32", outer, channels, inner, parts)]
    source, target = workspace, workspace + 4 * channels * parts
    while parts > FAN:
        fewer = -(-parts // FAN)
        launches.append(_sum(source, "float32", target, "float32", 1, channels, parts, fewer))
        source, target, parts = target, source, fewer
    return [*launches, _sum(source, "float32", sums, dtype, 1, channels, parts, 1)]


def channel_sum_workspace(sizes: Sequence[int]) -> int:
    """Floats of working memory."""
    outer, channels, inner = sizes
    parts = -(-outer * inner // FAN)
    return channels * (parts + -(-parts // FAN)) if parts > 1 else 0


def _sum(x, x_type, sums, sums_type, outer, channels, inner, parts) -> Launch:
    if inner == 0:
        outer, inner = 0, 1
    steps = divmod(parts, inner)
    a = ChannelSumArguments(x, sums, outer, channels, inner, parts, *steps)
    return over(f"channel_sum_{x_type}_{sums_type}", a, channels * parts)


def resample_2d(source: int, target: int, transforms: int, sizes, adjoint: bool) -> list[Launch]:
    """`sizes` are batch, in_h, in_w, channels, out_h, out_w: the adjoint's are the same."""
    a = Resample2DArguments(*sizes, transforms, source, target)
    if adjoint:
        return [over("resample_2d_spread", a, a.in_w * a.channels, a.in_h, a.batch)]
    return [over("resample_2d_sample", a, a.out_w * a.channels, a.out_h, a.batch)]


def weighted_gather(
    source: int, target: int, indices: int, weights: int, sizes, adjoint: bool
) -> list[Launch]:
    """`sizes` are batch, outer, inner, in_size, out_size, taps, as above."""
    a = WeightedGatherArguments(*sizes, indices, weights, source, target)
    if adjoint:
        return [over("weighted_gather_spread", a, a.inner, a.outer, a.batch)]
    return [over("weighted_gather_collect", a, a.inner, a.out_size, a.batch * a.outer)]
