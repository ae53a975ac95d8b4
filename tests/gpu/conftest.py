"""The CUDA kernels without a GPU: by a driver that runs them on the CPU.

fake     the driver, newly started: nothing loaded, nothing launched
cuda     the host's side that calls it; needs a C++ compiler
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tf_ops"))  # For c_interface.py.


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    import cuda_kernels

    return cuda_kernels.build(tmp_path_factory.mktemp("cuda_on_cpu"))


@pytest.fixture
def fake(libraries):
    from cuda_kernels import Fake

    driver = Fake(libraries[0])
    driver.reset(90)
    return driver


@pytest.fixture
def cuda(libraries, fake):
    import cuda_kernels
    from c_interface import HostMemory

    kernels = cuda_kernels.kernels(libraries[1], HostMemory())
    kernels.add(90, b"what the fake driver does not look into")
    return kernels
