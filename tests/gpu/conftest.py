"""The CUDA kernels, on a GPU and on the CPU.

on_cpu   the `.cu` files built by a C++ compiler: needs CUDA's headers
on_gpu   built by nvcc, called with memory of PyTorch: needs an NVIDIA GPU, nvcc and PyTorch
cuda     both in turn
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tf_ops"))  # For c_interface.py.


@pytest.fixture(scope="session")
def on_cpu(tmp_path_factory):
    import cuda_kernels
    from c_interface import HostMemory

    folder = tmp_path_factory.mktemp("cuda_on_cpu")
    return cuda_kernels.kernels(cuda_kernels.library_on_cpu(folder), HostMemory())


@pytest.fixture(scope="session")
def on_gpu(tmp_path_factory):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs PyTorch, whose GPU memory the kernels are called with")
    import cuda_kernels
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    folder = tmp_path_factory.mktemp("cuda")
    memory = cuda_kernels.TorchMemory(torch)
    return cuda_kernels.kernels(cuda_kernels.library_on_gpu(folder), memory)


@pytest.fixture(params=["on_cpu", "on_gpu"])
def cuda(request):
    return request.getfixturevalue(request.param)
