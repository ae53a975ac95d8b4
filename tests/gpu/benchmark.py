"""Bytes per second of the CUDA kernels beside a copy within the GPU's memory.

    python tests/gpu/benchmark.py

Needs an NVIDIA GPU, nvcc and PyTorch. Bytes are those of inputs and outputs, each counted once.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tf_ops"))  # For c_interface.py.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import UserError, cli  # isort: skip
import numpy as np

SIZE = 1 << 24  # Elements of the larger tensor.
# op: (up, down, NHWC)
RESAMPLINGS = {
    "filter NCHW": (1, 1, False),
    "up NCHW": (2, 1, False),
    "down NCHW": (1, 2, False),
    "filter NHWC": (1, 1, True),
    "up NHWC": (2, 1, True),
    "down NHWC": (1, 2, True),
}


def seconds(torch, call, runs: int = 50) -> float:
    """Mean time of a call on the GPU."""
    for _ in range(3):
        call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(runs):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / runs


def resampling(kernels, up, down, channels_last, dtype):
    """(call, bytes) of a 4×4 filter on 256×256 images, or half or twice that."""
    from c_interface import DTYPES, Upfirdn2D

    channels = 64 if channels_last else 1
    small = 256 // max(up, down)
    sizes = [small * down, small * down, channels, small * up, small * up]
    batch = SIZE // (256 * 256 * channels)
    k = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32)
    address = k.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    pad = {(1, 1): 2, (2, 1): 2, (1, 2): 1}[up, down]
    op = Upfirdn2D(batch, *sizes, up, up, down, down, pad, pad, 4, 4, address)
    count = {
        "x": batch * sizes[0] * sizes[1] * channels,
        "y": batch * sizes[3] * sizes[4] * channels,
    }
    x, y = (kernels.memory.empty(n, dtype) for n in count.values())

    def call(kept=(k, x, y)):
        pointers = ctypes.c_void_p(x[1]), ctypes.c_void_p(y[1])
        error = kernels.upfirdn(ctypes.byref(op), DTYPES[dtype.name], *pointers)
        assert not error, f"CUDA error {error}"

    return call, sum(count.values()) * dtype.itemsize


def activation(kernels, order, inner, dtype):
    """(call, bytes) of lrelu with bias on 64 channels; order 1 by the output, with the sums."""
    from c_interface import DTYPES, BiasAct, BiasActTensors

    op = BiasAct(SIZE // 64 // inner, 64, inner, order, 2, 0.2, 1.4, 256.0, order)
    a, reference, out = (kernels.memory.empty(SIZE, dtype) for _ in range(3))
    bias = kernels.memory.empty(64, dtype)
    tensors = BiasActTensors(a[1], bias[1], reference[1], None, None, out[1], None)

    def call(kept=(a, reference, out, bias)):
        error = kernels.fused_bias_act(ctypes.byref(op), DTYPES[dtype.name], ctypes.byref(tensors))
        assert not error, f"CUDA error {error}"

    return call, (2 + order) * SIZE * dtype.itemsize


def main() -> None:
    cli.ArgumentParser(description=__doc__).parse_args()
    if importlib.util.find_spec("torch") is None:
        raise UserError("PyTorch is not installed: the benchmark needs it for memory on the GPU")
    import cuda_kernels
    import ml_dtypes
    import torch

    if not torch.cuda.is_available():
        raise UserError("PyTorch sees no GPU: the benchmark needs one")
    with tempfile.TemporaryDirectory() as folder:
        library = cuda_kernels.library_on_gpu(Path(folder))
        kernels = cuda_kernels.kernels(library, cuda_kernels.TorchMemory(torch))
    source = torch.zeros(4 * SIZE, dtype=torch.uint8, device="cuda")
    target = torch.zeros_like(source)
    copy = 2 * source.nbytes / seconds(torch, lambda: target.copy_(source))
    print(f"{torch.cuda.get_device_name()}: copies {copy / 1e9:.0f} GB/s, read and written")
    for dtype in map(np.dtype, (np.float32, np.float16, ml_dtypes.bfloat16)):
        cases = {n: resampling(kernels, *args, dtype) for n, args in RESAMPLINGS.items()}
        for order in (0, 1):
            name = "lrelu" if order == 0 else "its gradient"
            cases[f"{name} NCHW"] = activation(kernels, order, 4096, dtype)
            cases[f"{name} NHWC"] = activation(kernels, order, 1, dtype)
        for name, (call, count) in cases.items():
            speed = count / seconds(torch, call)
            print(f"{dtype.name:9} {name:18} {speed / 1e9:6.0f} GB/s {speed / copy:5.0%}")


if __name__ == "__main__":
    cli.run(main)
