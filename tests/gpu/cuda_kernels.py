"""The host's side of the CUDA kernels, with a driver that runs them on the CPU."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from c_interface import DTYPES

from tf_ops import compilers, nvrtc

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-I", nvrtc.SOURCES)


def build(folder: Path) -> tuple[str, str]:
    """Paths of the fake driver, see fake_cuda.cc, and of the host's side that opens it."""
    try:
        compiler = compilers.find_compiler()
    except compilers.BuildError as error:
        pytest.skip(str(error))
    fake, host = f"{folder}/fake_cuda.so", f"{folder}/host.so"
    sources = [*sorted(nvrtc.SOURCES.glob("*_cuda.cc")), nvrtc.SOURCES / "device.cc"]
    commands = (
        [*compiler, *FLAGS, HERE / "fake_cuda.cc", "-o", fake],
        [*compiler, *FLAGS, f'-DCUDA_DRIVER="{fake}"', *sources, "-o", host, "-ldl"],
    )
    for process in [subprocess.Popen(list(map(str, c))) for c in commands]:
        assert process.wait() == 0
    return fake, host


class Fake:
    """The fake driver, and what it has noted."""

    def __init__(self, path: str):
        self.path = path
        self.library = ctypes.CDLL(path)
        for name in ("fake_kernel", "fake_kernels"):
            getattr(self.library, name).restype = ctypes.c_char_p
        for name in ("fake_arguments", "fake_module", "fake_stream"):
            getattr(self.library, name).restype = ctypes.c_void_p
        self.library.fake_size.restype = ctypes.c_int64
        self.library.fake_shape.restype = ctypes.POINTER(ctypes.c_uint)

    def reset(self, capability: int) -> None:
        self.library.fake_reset(capability)

    def switch_context(self, context: int) -> None:
        self.library.fake_context(ctypes.c_void_p(context))

    def fail(self, error: int) -> None:
        self.library.fake_fail(error)

    @property
    def kernels(self) -> list[str]:
        return self.library.fake_kernels().decode().split()

    @property
    def modules(self) -> list[bytes]:
        """The first four bytes of each image that was loaded."""
        count = self.library.fake_modules()
        return [ctypes.string_at(self.library.fake_module(i), 4) for i in range(count)]

    def launches(self) -> list[tuple]:
        """(kernel, grid, block, bytes of the arguments, stream)."""
        noted = []
        for i in range(self.library.fake_launches()):
            shape = self.library.fake_shape(i)[:6]
            data = ctypes.string_at(self.library.fake_arguments(i), self.library.fake_size(i))
            name = self.library.fake_kernel(i).decode()
            stream = self.library.fake_stream(i)
            noted.append((name, tuple(shape[:3]), tuple(shape[3:]), data, stream))
        return noted


def kernels(library: str, memory) -> SimpleNamespace:
    """upfirdn(op, dtype, x, y), fused_bias_act(op, dtype, tensors), channel_sum(x, axis),
    resample and weighted_gather(op, adjoint, in, out), and add(capability, image).
    """
    lib = ctypes.CDLL(library)
    lib.tf_ops_channel_sum_workspace.restype = ctypes.c_int64
    lib.tf_ops_device_error.restype = ctypes.c_char_p
    stream = ctypes.c_void_p(memory.stream)

    def add(capability: int, image: bytes) -> None:
        lib.tf_ops_add_kernels(capability, image, ctypes.c_int64(len(image)))

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
        add=add,
        error_name=lambda error: lib.tf_ops_device_error(error).decode(),
        upfirdn=lambda *args: lib.tf_ops_upfirdn_2d_cuda(*args, stream),
        fused_bias_act=lambda *args: lib.tf_ops_fused_bias_act_cuda(*args, stream),
        channel_sum=channel_sum,
        resample=lambda *args: lib.tf_ops_resample_2d_cuda(*args, stream),
        weighted_gather=lambda *args: lib.tf_ops_weighted_gather_cuda(*args, stream),
    )
