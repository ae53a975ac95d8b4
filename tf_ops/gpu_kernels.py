"""The CUDA kernels: compiled at first use for the GPU at hand, and kept (DESIGN D13).

The library of native operations launches them by the driver, see kernels/device.cc.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dnnlib.tensorflow_loader import load_tensorflow
from tf_ops import artifacts, nvrtc
from tf_ops.compilers import BuildError

_COMPILE_SECONDS = 600.0


@dataclass(frozen=True)
class KernelRecipe(artifacts.Recipe):
    """Everything that the kernels for one kind of GPU depend on."""

    FILE: ClassVar[str] = "kernels.cubin"  # Or PTX.

    sources: str  # SHA-256 of the files.
    nvrtc_version: tuple[int, int]
    nvrtc_bytes: int | None  # Its size tells releases of one version apart; None: not known.
    flags: tuple[str, ...]
    architecture: str


def capabilities() -> list[int]:
    """Compute capabilities of the GPUs that TensorFlow sees, each once; 90 is 9.0.

    Raises:
        BuildError: TensorFlow does not say, as for GPUs of others than NVIDIA.
    """
    experimental = load_tensorflow().config.experimental
    found = set()
    for device in experimental.list_physical_devices("GPU"):
        major, minor = experimental.get_device_details(device).get("compute_capability") or (0, 0)
        if major == 0:
            raise BuildError(f"{device.name} is no NVIDIA GPU: there are kernels for those only")
        found.add(10 * major + minor)
    return sorted(found)


def image(capability: int, timeout: float = _COMPILE_SECONDS) -> str:
    """The path of the kernels for a compute capability, compiled if need be.

    Args:
        capability: 90 is 9.0.
        timeout: seconds that another process may take to compile them.

    Raises:
        BuildError: there is no NVRTC, it fails, or the cache cannot be written.
    """
    compiler = nvrtc.find()
    recipe = recipe_of(compiler, capability)

    def build(staging: str) -> None:
        try:
            result = compiler.compile(*nvrtc.program(), recipe.architecture, *recipe.flags)
        except nvrtc.CompileError as error:
            Path(staging, "log").write_text(error.log)
            raise
        Path(staging, recipe.FILE).write_bytes(result)

    return artifacts.obtain(recipe, build, timeout)


def recipe_of(compiler: nvrtc.Nvrtc, capability: int) -> KernelRecipe:
    """What an NVRTC makes for a compute capability.

    Raises:
        BuildError: it knows none that is old enough.
    """
    if capability < nvrtc.OLDEST:
        old = f"{capability // 10}.{capability % 10}"
        raise BuildError(
            f"the GPU's compute capability is {old}: the kernels need 7.0 or newer; if there are "
            "other GPUs, hide this one with CUDA_VISIBLE_DEVICES"
        )
    return KernelRecipe(
        artifacts.digest(nvrtc.files()),
        compiler.version,
        os.path.getsize(compiler.path) if os.path.isfile(compiler.path) else None,
        nvrtc.FLAGS,
        nvrtc.target(capability, compiler.capabilities),
    )


def hand_over(library: str, images: Mapping[int, str]) -> None:
    """Gives the library of native operations the kernels for every kind of GPU.

    Args:
        library: its path; TensorFlow has loaded it.
        images: {compute capability: path of the kernels}.
    """
    loaded = ctypes.CDLL(library)  # The one that TensorFlow uses: it is loaded once.
    loaded.tf_ops_add_kernels.restype = None
    for capability, path in images.items():
        data = Path(path).read_bytes()
        loaded.tf_ops_add_kernels(ctypes.c_int(capability), data, ctypes.c_int64(len(data)))
