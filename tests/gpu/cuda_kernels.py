"""Builds the CUDA kernels and calls them by their C interface, on the CPU and on a GPU."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from c_interface import DTYPES

from tf_ops import build, compilers

HERE = Path(__file__).resolve().parent
SOURCES = sorted(build.SOURCES.glob("*.cu"))


def nvcc() -> str:
    """Path of the CUDA compiler, else the test is skipped."""
    try:
        return compilers.find_nvcc()
    except compilers.BuildError as error:
        pytest.skip(str(error))


def run(command) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def kernels(library: str, memory) -> SimpleNamespace:
    """upfirdn(op, dtype, x, y), fused_bias_act(op, dtype, tensors), channel_sum(x, axis),
    resample and weighted_gather(op, adjoint, in, out).
    """
    lib = ctypes.CDLL(library)
    lib.tf_ops_channel_sum_workspace.restype = ctypes.c_int64
    stream = ctypes.c_void_p(memory.stream)

    def channel_sum(x, axis):
        shape = (int(np.prod(x.shape[:axis])), x.shape[axis], int(np.prod(x.shape[axis + 1 :])))
        sizes = [ctypes.c_int64(n) for n in shape]
        kept, x_address = memory.upload(x)
        workspace, workspace_address = memory.empty(
            lib.tf_ops_channel_sum_workspace(*sizes), np.float32
        )
        total, address = memory.empty(shape[1], x.dtype)
        pointers = [ctypes.c_void_p(a) for a in (x_address, workspace_address, address)]
        error = lib.tf_ops_channel_sum_cuda(*sizes, DTYPES[x.dtype.name], *pointers, stream)
        assert not error, f"CUDA error {error}"
        del kept, workspace
        return memory.download(total)

    return SimpleNamespace(
        memory=memory,
        upfirdn=lambda *args: lib.tf_ops_upfirdn_2d_cuda(*args, stream),
        fused_bias_act=lambda *args: lib.tf_ops_fused_bias_act_cuda(*args, stream),
        channel_sum=channel_sum,
        resample=lambda *args: lib.tf_ops_resample_2d_cuda(*args, stream),
        weighted_gather=lambda *args: lib.tf_ops_weighted_gather_cuda(*args, stream),
    )


class TorchMemory:
    """Tensors of bytes on the GPU, which remember the shape and type they stand for."""

    def __init__(self, torch):
        self.torch = torch
        self.stream = torch.cuda.current_stream().cuda_stream

    def upload(self, array):
        if array is None:
            return None, None
        array = np.ascontiguousarray(array)
        tensor = self.torch.from_numpy(array.reshape(-1).view(np.uint8).copy()).cuda()
        return (tensor, array.shape, array.dtype), tensor.data_ptr()

    def empty(self, shape, dtype):
        return self.upload(np.zeros(shape, dtype))

    def download(self, kept):
        tensor, shape, dtype = kept
        return tensor.cpu().numpy().view(dtype).reshape(shape)


def library_on_cpu(folder: Path) -> str:
    """The kernels built by a C++ compiler, see cuda_on_cpu.h; needs CUDA's headers."""
    dry_run = run([nvcc(), "--dryrun", "-c", SOURCES[0]])
    includes = re.search(r'INCLUDES="([^"]*)"', dry_run).group(1).split()
    target = f"{folder}/kernels_on_cpu.so"
    objects = []
    for source in SOURCES:
        objects.append(f"{folder}/{source.stem}.o")
        flags = ["-std=c++17", "-O1", "-w", "-fPIC", "-include", HERE / "cuda_on_cpu.h"]
        compiler = compilers.find_compiler()
        run([*compiler, "-x", "c++", *flags, *includes, "-c", source, "-o", objects[-1]])
    run([*compilers.find_compiler(), "-shared", "-o", target, *objects])
    return target


def library_on_gpu(folder: Path) -> str:
    """The kernels built by nvcc."""
    objects = []
    for source in SOURCES:
        objects.append(str(folder / f"{source.stem}.o"))
        architectures = compilers.cuda_architectures(nvcc())
        run(compilers.cuda_command(nvcc(), architectures, source, objects[-1]))
    target = str(folder / "kernels.so")
    run([nvcc(), "-shared", "-o", target, *objects])
    return target
