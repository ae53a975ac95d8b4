"""Compiles the CUDA kernels for the GPU of this machine, compares and measures them.

    python tests/gpu/check.py --json=gpu-check.json

Needs an NVIDIA GPU with its driver, NVRTC (the wheel nvidia-cuda-nvrtc-cu12, which PyTorch for GPUs
brings) and PyTorch, that for CPUs will do: values, gradients and gradients of gradients are
compared with PyTorch's, in float64 on the CPU. Neither TensorFlow nor a compiler is needed. Takes a
few minutes at most. Exit code 1 if something differs, 2 if something is missing.

Bytes per second are those of inputs and outputs, each counted once, beside a copy within the memory
of the GPU.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import UserError  # isort: skip
import driver
import launches

from tf_ops import nvrtc

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# (up, down, channels of NHWC; 1 is NCHW)
RESAMPLINGS = {
    "filter": (1, 1, 1), "up": (2, 1, 1), "down": (1, 2, 1),
    "filter NHWC": (1, 1, 64), "up NHWC": (2, 1, 64), "down NHWC": (1, 2, 64),
}  # fmt: skip


def resampling(buffers, count: int, dtype: str, up: int, down: int, channels: int):
    """(launches, bytes) of a 4×4 filter on 256×256 images, or half or twice that."""
    small = 256 // max(up, down)
    side, out = small * down, small * up
    batch = max(1, count // (256 * 256 * channels))
    pad = {(1, 1): 2, (2, 1): 2, (1, 2): 1}[up, down]
    taps = [[a * b / 64 for a in (1, 3, 3, 1)] for b in (1, 3, 3, 1)]
    sizes = (batch, side, side, channels, out, out)
    factors = (up, up), (down, down), (pad, pad)
    started = launches.upfirdn_2d(buffers[0], buffers[1], sizes, taps, *factors, dtype)
    return started, batch * channels * (side * side + out * out) * ITEM_BYTES[dtype]


def activation(buffers, count: int, dtype: str, inner: int, order: int):
    """lrelu with bias on 64 channels; order 1 by the output."""
    pointers = {"a": buffers[0], "out": buffers[1], "a_bias": buffers[3]}
    if order == 1:
        pointers["reference"] = buffers[2]
    sizes = count // 64 // inner, 64, inner
    started = launches.fused_bias_act(
        pointers, sizes, 1, dtype, act="lrelu", alpha=0.2, gain=1.4, clamp=256, order=order,
        from_output=order == 1,
    )  # fmt: skip
    return started, (2 + order) * count * ITEM_BYTES[dtype]


def channel_sum(buffers, count: int, dtype: str, inner: int):
    sizes = count // 64 // inner, 64, inner
    started = launches.channel_sum(buffers[0], buffers[1], buffers[2], sizes, dtype)
    return started, count * ITEM_BYTES[dtype]


def sampling(gpu, buffers, count: int, adjoint: bool):
    """Images of 256×256 in RGB, turned by 0.3."""
    batch = max(1, count // (256 * 256 * 3))
    c, s = math.cos(0.3), math.sin(0.3)
    turn = [c, -s, 128 * (1 - c + s), s, c, 128 * (1 - c - s)] * batch
    numbers = (ctypes.c_double * len(turn))(*turn)
    gpu.write(buffers[2], ctypes.addressof(numbers), 8 * len(turn))
    sizes = batch, 256, 256, 3, 256, 256
    started = launches.resample_2d(buffers[0], buffers[1], buffers[2], sizes, adjoint)
    return started, 2 * batch * 256 * 256 * 3 * 4


def gathering(gpu, buffers, count: int, adjoint: bool):
    """Rows of images of 256×256 in RGB, six for each."""
    batch = max(1, count // (256 * 256 * 3))
    indices = [min(max(r + k - 3, 0), 255) for r in range(256) for k in range(6)] * batch
    for kind, numbers, buffer in (
        (ctypes.c_int32, indices, buffers[2]),
        (ctypes.c_float, [1 / 6] * len(indices), buffers[3]),
    ):
        array = (kind * len(numbers))(*numbers)
        gpu.write(buffer, ctypes.addressof(array), 4 * len(numbers))
    sizes = batch, 1, 256 * 3, 256, 256, 6
    started = launches.weighted_gather(*buffers, sizes, adjoint)
    return started, 2 * batch * 256 * 256 * 3 * 4


def cases(gpu, buffers, count: int):
    """Yields (name, launches, bytes). Everything is made of zeros but what says where to read."""
    for dtype in ITEM_BYTES:
        for name, arguments in RESAMPLINGS.items():
            yield f"upfirdn_2d {name} {dtype}", *resampling(buffers, count, dtype, *arguments)
        for inner, layout in ((min(4096, count // 64), ""), (1, " NHWC")):
            for order, name in enumerate(("", " gradient")):
                work = activation(buffers, count, dtype, inner, order)
                yield f"fused_bias_act{name}{layout} {dtype}", *work
            yield f"channel_sum{layout} {dtype}", *channel_sum(buffers, count, dtype, inner)
    for adjoint, name in ((False, ""), (True, " gradient")):
        yield f"resample_2d{name}", *sampling(gpu, buffers, count, adjoint)
        yield f"weighted_gather{name}", *gathering(gpu, buffers, count, adjoint)


def measure(gpu, count: int, runs: int) -> tuple[float, dict[str, float]]:
    """(bytes per second of a copy, {case: bytes per second}) on tensors of `count` numbers."""
    size = 4 * max(count, 2 * 256 * 256 * 64)
    buffers = [gpu.allocate(size) for _ in range(4)]
    zeros = bytes(size)
    for buffer in buffers:
        gpu.write(buffer, ctypes.cast(zeros, ctypes.c_void_p).value, size)

    def start(work):
        for launch in work:
            gpu.launch(*launch)

    try:
        time_of_copy = gpu.seconds(lambda: gpu.copy(buffers[1], buffers[0], 4 * count), runs)
        speeds = {}
        for name, work, moved in cases(gpu, buffers, count):
            speeds[name] = moved / gpu.seconds(lambda work=work: start(work), runs)
        return 2 * 4 * count / time_of_copy, speeds
    finally:
        for buffer in buffers:
            gpu.free(buffer)


def check(args) -> dict:
    """The whole report. Raises a DriverError or a UserError."""
    try:
        import comparisons
    except ImportError as error:
        raise UserError(
            f"PyTorch is needed to compare with: pip install torch ({error})"
        ) from error
    begin = time.monotonic()
    compiler = nvrtc.find()
    gpu = driver.Gpu(args.driver)
    architecture = nvrtc.target(gpu.capability, compiler.capabilities)
    image = compiler.compile(*nvrtc.program(), architecture, *nvrtc.FLAGS)
    report = {
        "gpu": gpu.name,
        "capability": f"{gpu.capability // 10}.{gpu.capability % 10}",
        "driver": gpu.driver_version,
        "nvrtc": ".".join(map(str, compiler.version)),
        "architecture": architecture,
        "image_bytes": len(image),
        "compile_seconds": round(time.monotonic() - begin, 2),
    }
    print(", ".join(f"{key} {value}" for key, value in report.items()), flush=True)
    gpu.load(image)
    errors = {}
    for name, error, limit in comparisons.compare_all(gpu):
        right = error <= limit  # NaN is not.
        shown = error if math.isfinite(error) else str(error)  # JSON has no NaN.
        errors[name] = {"error": shown, "limit": limit, "right": right}
        if not right:
            print(f"DIFFERS {name}: {error:.2e}, limit {limit:.1e}", flush=True)
    right = all(entry["right"] for entry in errors.values())
    print(f"{len(errors)} comparisons, {'all right' if right else 'some differ'}", flush=True)
    report |= {"right": right, "comparisons": errors}
    try:
        copy, speeds = measure(gpu, args.elements, args.runs)
    except driver.DriverError as error:  # What was compared is told all the same.
        print(f"Error: nothing measured: {error}", file=sys.stderr)
        report["measuring"] = str(error)
    else:
        print(f"copies {copy / 1e9:.0f} GB/s, read and written")
        for name, speed in speeds.items():
            print(f"{name:40} {speed / 1e9:8.1f} GB/s {speed / copy:5.0%}")
        report |= {"copy_bytes_per_second": copy, "bytes_per_second": speeds}
    return report | {"seconds": round(time.monotonic() - begin, 1)}


def at_least(least: int):
    """A type of arguments: whole numbers from `least` on."""

    def parse(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    parse.__name__ = "number"  # In argparse's messages.
    return parse


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="where the report is written")
    parser.add_argument(
        "--elements", type=at_least(1 << 14), default=1 << 24, help="numbers in a tensor to time"
    )
    parser.add_argument("--runs", type=at_least(1), default=20, help="how often each is timed")
    parser.add_argument("--driver", default=driver.DRIVER, help="the driver's library")
    args = parser.parse_args()
    try:
        if args.json:
            with open(args.json, "a"):
                pass  # It can be written: better now than after the work.
        report = check(args)
        if args.json:
            text = json.dumps(report, indent=1, allow_nan=False)
            Path(args.json).write_text(text + "\n", encoding="utf-8")
    except (UserError, driver.DriverError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 1 if not report["right"] else 2 if "measuring" in report else 0


if __name__ == "__main__":
    sys.exit(main())
