"""The kernels on a GPU beside PyTorch's own differentiation, in float64 on the CPU.

Each function yields (what, got, expected) for a value, its gradient by the inputs, and the
gradients of the product of that with a random direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import launches
import torch
import torch.nn.functional as F

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Largest error relative to the largest value. Sums are made in float32 and rounded once.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}


class Memory:
    """Tensors on the GPU, which are freed together."""

    def __init__(self, gpu):
        self.gpu = gpu
        self._addresses: list[int] = []

    def empty(self, count: int, dtype: torch.dtype) -> int:
        self._addresses.append(self.gpu.allocate(count * dtype.itemsize))
        return self._addresses[-1]

    def put(self, tensor: torch.Tensor) -> int:
        tensor = tensor.detach().contiguous()
        address = self.empty(tensor.numel(), tensor.dtype)
        self.gpu.write(address, tensor.data_ptr(), tensor.nbytes)
        return address

    def get(self, address: int, shape, dtype: torch.dtype) -> torch.Tensor:
        tensor = torch.empty(shape, dtype=dtype)
        self.gpu.read(tensor.data_ptr(), address, tensor.nbytes)
        return tensor

    def run(self, started: list[launches.Launch]) -> None:
        for launch in started:
            self.gpu.launch(*launch)

    def free(self) -> None:
        while self._addresses:
            self.gpu.free(self._addresses.pop())


@contextmanager
def memory_of(gpu) -> Iterator[Memory]:
    memory = Memory(gpu)
    try:
        yield memory
    finally:
        memory.free()


def random(shape, dtype: str = "float32") -> torch.Tensor:
    """Normal numbers that the type has, as float64 to be differentiated by."""
    return torch.randn(shape).to(DTYPES[dtype]).double().requires_grad_()


def derivatives(y: torch.Tensor, inputs, directions, dy: torch.Tensor):
    """(gradients by the inputs, gradients of ⟨those, directions⟩ by dy and the inputs)."""
    first = torch.autograd.grad(y, inputs, dy, create_graph=True)
    inner = sum((g * d).sum() for g, d in zip(first, directions, strict=True))
    second = torch.autograd.grad(inner, [dy, *inputs], allow_unused=True)
    return first, [torch.zeros_like(t) if g is None else g
                   for g, t in zip(second, [dy, *inputs], strict=True)]  # fmt: skip


# (shape NHWC, taps, up, down, pad ((above, below), (left, right)))
RESAMPLINGS = {
    "filter": ((2, 19, 70, 3), (4, 4), (1, 1), (1, 1), ((2, 1), (1, 2))),
    "up": ((2, 17, 40, 5), (4, 4), (2, 2), (1, 1), ((2, 1), (3, 0))),
    "down": ((2, 18, 66, 5), (4, 4), (1, 1), (2, 2), ((1, 1), (2, 1))),
    "crop": ((3, 20, 21, 1), (4, 4), (1, 1), (1, 1), ((-1, 3), (0, -2))),
    "any": ((2, 13, 12, 300), (5, 3), (3, 2), (2, 1), ((4, 2), (-1, 5))),
    "12 taps": ((1, 24, 24, 4), (12, 12), (2, 2), (1, 1), ((6, 5), (6, 5))),
    "many images": ((70_000, 2, 1, 1), (4, 4), (1, 1), (1, 1), ((2, 1), (2, 1))),
}


def upfirdn_2d(gpu, dtype: str, case: str):
    shape, taps, up, down, pad = RESAMPLINGS[case]
    k = torch.randn(taps).double()
    x, v = random(shape, dtype), random(shape, dtype)
    y = _upfirdn_oracle(x, k, up, down, pad)
    dy = random(y.shape, dtype)
    (dx,), (ddy, _) = derivatives(y, [x], [v], dy)
    sizes = list(zip(shape[1:3], y.shape[1:3], up, down, pad, taps, strict=True))
    back = [(t - p[0] - 1, n * u - m * d + p[0] - u + 1) for n, m, u, d, p, t in sizes]
    forward = k, up, down, pad
    for what, tensor, expected, how in (
        ("value", x, y, forward),
        ("gradient", dy, dx, (k.flip(0, 1), down, up, back)),
        ("second gradient", v, ddy, forward),
    ):
        yield what, _run_upfirdn(gpu, tensor, expected.shape, *how, dtype), expected


def _upfirdn_oracle(x, k, up, down, pad):
    n, height, width, channels = x.shape
    planes = x.permute(0, 3, 1, 2).reshape(n * channels, 1, height, 1, width, 1)
    planes = F.pad(planes, (0, up[1] - 1, 0, 0, 0, up[0] - 1))
    planes = planes.reshape(n * channels, 1, height * up[0], width * up[1])
    planes = F.pad(planes, (*pad[1], *pad[0]))
    y = F.conv2d(planes, k.flip(0, 1)[None, None], stride=down)
    return y.reshape(n, channels, *y.shape[2:]).permute(0, 2, 3, 1)


def _run_upfirdn(gpu, x, shape, k, up, down, pad, dtype):
    with memory_of(gpu) as memory:
        source = memory.put(x.to(DTYPES[dtype]))
        target = memory.empty(shape.numel(), DTYPES[dtype])
        sizes = [*x.shape, *shape[1:3]]
        before = pad[0][0], pad[1][0]
        memory.run(launches.upfirdn_2d(source, target, sizes, k.tolist(), up, down, before, dtype))
        return memory.get(target, shape, DTYPES[dtype])


ALPHA, GAIN = 0.2, 1.3
_ACTIVATIONS = {
    "linear": lambda t: t,
    "relu": F.relu,
    "lrelu": lambda t: F.leaky_relu(t, ALPHA),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "swish": F.silu,
}


def fused_bias_act(gpu, dtype: str, act: str):
    """With bias and clamp; widths that are a multiple of four and not."""
    for shape, clamp in (((5, 24, 33), 0.9), ((2, 7, 64), None)):
        x, v = random(shape, dtype), random(shape, dtype)
        b, dy = random(shape[1], dtype), random(shape, dtype)
        # Slopes at 0 are a matter of choice, and PyTorch's is not always TensorFlow's.
        x = torch.where(x + b[:, None] == 0, 1.0, x).detach().requires_grad_()
        t = x + b[:, None]
        y = GAIN * _ACTIVATIONS[act](t)
        y = y if clamp is None else y.clamp(-clamp, clamp)
        zero = torch.zeros_like(b)
        (dx, db), (ddy, ddx, _) = derivatives(y, [x, b], [v, zero], dy)

        def run(order, a, dtype=dtype, act=act, clamp=clamp, **tensors):
            return _run_bias_act(gpu, dtype, a, order, act=act, clamp=clamp, **tensors)

        reference = {"reference": x, "reference_bias": b}
        yield "value", run(0, x, a_bias=b)[0], y
        got, sums = run(1, dy, **reference)
        yield "gradient", got, dx
        # Rounded terms are added up.
        yield "gradient by the bias", sums, got.double().sum((0, 2))
        yield "gradient by the bias, beside PyTorch", got.double().sum((0, 2)), db
        yield "second gradient by dy", run(1, v, **reference)[0], ddy
        yield "second gradient by x", run(2, v, dy=dy, **reference)[0], ddx
        if act in ("linear", "relu", "lrelu") and dtype == "float32":
            yield "gradient by the output", run(1, dy, reference=y, from_output=True)[0], dx


def modulation(gpu, dtype: str, case: str):
    """Scale of every sample and noise, with one image of it or one for each sample."""
    x, b, scale = random((3, 6, 40), dtype), random(6, dtype), random((3, 6), dtype)
    noise = random((1 if case == "one noise" else 3, 40), dtype)
    t = x * scale[:, :, None] + noise[:, None] + b[:, None]
    y = GAIN * F.leaky_relu(t, ALPHA)
    tensors = {"a_bias": b, "scale": scale, "noise": noise}
    yield "value", _run_bias_act(gpu, dtype, x, 0, act="lrelu", clamp=None, **tensors)[0], y


def _run_bias_act(gpu, dtype, a, order, *, act, clamp, from_output=False, **tensors):
    """(result, its sums over everything but the channels) for a [N, C, pixels]."""
    kind = DTYPES[dtype]
    sizes = tuple(a.shape)
    with memory_of(gpu) as memory:
        pointers = {n: memory.put(t.to(kind)) for n, t in {"a": a, **tensors}.items()}
        pointers["out"] = memory.empty(a.numel(), kind)
        noise = tensors.get("noise")
        memory.run(
            launches.fused_bias_act(
                pointers, sizes, len(a), dtype, act=act, alpha=ALPHA, gain=GAIN, clamp=clamp,
                order=order, from_output=from_output,
                noise_samples=1 if noise is None else len(noise),
            )
        )  # fmt: skip
        sums = memory.empty(sizes[1], kind)
        workspace = memory.empty(launches.channel_sum_workspace(sizes), torch.float32)
        memory.run(launches.channel_sum(pointers["out"], sums, workspace, sizes, dtype))
        out = memory.get(pointers["out"], sizes, kind)
        return out, memory.get(sums, sizes[1], kind)


# (shape of x, shape of y)
SAMPLINGS = {"larger": ((3, 20, 31, 3), (41, 37)), "smaller": ((2, 45, 30, 1), (9, 16))}


def resample_2d(gpu, dtype: str, case: str):
    """Turned, scaled and moved at random, beside `grid_sample`."""
    shape, size = SAMPLINGS[case]
    n, height, width, _ = shape
    turns = torch.randn(n, 2, 2).double()
    middle = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2]).double()
    offset = torch.tensor([(width - 1) / 2, (height - 1) / 2]).double() - turns @ middle
    transforms = torch.cat([turns, offset[..., None]], dim=2)
    rows, columns = torch.meshgrid(*(torch.arange(m).double() for m in size), indexing="ij")
    points = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    positions = torch.einsum("nij,vuj->nvui", transforms, points)
    grid = 2 * positions / torch.tensor([width - 1, height - 1]) - 1
    x, v = random(shape), random(shape)
    y = F.grid_sample(x.permute(0, 3, 1, 2), grid, align_corners=True).permute(0, 2, 3, 1)
    dy = random(y.shape)
    (dx,), (ddy, _) = derivatives(y, [x], [v], dy)

    def run(tensor, result, adjoint):
        with memory_of(gpu) as memory:
            source, target = memory.put(tensor.float()), memory.empty(result.numel(), torch.float32)
            sizes = *shape, *size
            pointers = source, target, memory.put(transforms)
            memory.run(launches.resample_2d(*pointers, sizes, adjoint))
            return memory.get(target, result.shape, torch.float32)

    yield "value", run(x, y, False), y
    yield "gradient", run(dy, dx, True), dx
    yield "second gradient", run(v, ddy, False), ddy


# (batch, outer, inner, in_size, out_size, taps)
GATHERS = {"rows": (2, 1, 93, 20, 31, 4), "columns": (3, 14, 3, 9, 11, 2)}


def weighted_gather(gpu, dtype: str, case: str):
    """Some indices are outside."""
    n, outer, inner, in_size, out_size, taps = sizes = GATHERS[case]
    indices = torch.randint(-2, in_size + 2, (n, out_size, taps), dtype=torch.int32)
    weights = torch.randn(n, out_size, taps)
    inside = (indices >= 0) & (indices < in_size)
    x, v = random((n, outer, in_size, inner)), random((n, outer, in_size, inner))
    chosen = indices.clamp(0, in_size - 1).long().reshape(n, 1, -1, 1)
    slices = x.gather(2, chosen.expand(-1, outer, -1, inner))
    slices = slices.reshape(n, outer, out_size, taps, inner)
    y = (slices * (weights * inside).double()[:, None, :, :, None]).sum(3)
    dy = random(y.shape)
    (dx,), (ddy, _) = derivatives(y, [x], [v], dy)

    def run(tensor, result, adjoint):
        with memory_of(gpu) as memory:
            source, target = memory.put(tensor.float()), memory.empty(result.numel(), torch.float32)
            pointers = source, target, memory.put(indices), memory.put(weights)
            memory.run(launches.weighted_gather(*pointers, sizes, adjoint))
            return memory.get(target, result.shape, torch.float32)

    yield "value", run(x, y, False), y
    yield "gradient", run(dy, dx, True), dx
    yield "second gradient", run(v, ddy, False), ddy


# Function: its cases, and whether it knows all types.
ALL = {
    upfirdn_2d: (RESAMPLINGS, True),
    fused_bias_act: (_ACTIVATIONS, True),
    modulation: (("one noise", "noise of each"), True),
    resample_2d: (SAMPLINGS, False),
    weighted_gather: (GATHERS, False),
}


def compare_all(gpu):
    """Yields (name, error relative to the largest value, limit)."""
    torch.manual_seed(8)
    for function, (cases, has_types) in ALL.items():
        for dtype in DTYPES if has_types else ("float32",):
            for case in cases:
                for what, got, expected in function(gpu, dtype, case):
                    got, expected = got.double(), expected.detach().double()
                    if got.shape != expected.shape:
                        raise ValueError(f"{function.__name__}: {got.shape}, not {expected.shape}")
                    largest = expected.abs().max().item()
                    error = (got - expected).abs().max().item() / max(largest, 1e-30)
                    yield f"{function.__name__} {case} {dtype}: {what}", error, TOLERANCES[dtype]
