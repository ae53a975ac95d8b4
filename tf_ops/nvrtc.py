"""NVRTC, NVIDIA's compiler of CUDA C++ as a library, which is opened when it is needed.

It comes with `tensorflow[and-cuda]` (the wheel nvidia-cuda-nvrtc-cu12) and with PyTorch for GPUs;
it needs neither a GPU nor a driver, nor anything else of CUDA. Nothing here needs TensorFlow.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator, Mapping
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from pathlib import Path

from tf_ops.compilers import BuildError

SOURCES = Path(__file__).with_name("kernels")
# `__grid_constant__` of the kernels' arguments needs 7.0.
OLDEST = 70
# The kernels have no host code, and headers of the C++ standard library are not there.
FLAGS = ("-std=c++17", "-default-device")
# Of these, the first that is there. A version number of CUDA, as it stands in the library's name.
_VERSIONS = ("12", "13")
_MISSING = (
    "no NVRTC (libnvrtc.so.12) found, which compiles the GPU kernels: pip install "
    "nvidia-cuda-nvrtc-cu12, or have the library in LD_LIBRARY_PATH"
)


@dataclass(frozen=True)
class Nvrtc:
    """The library of one version."""

    path: str
    version: tuple[int, int]
    capabilities: tuple[int, ...]  # Compute capabilities that it compiles for; 90 is 9.0.
    library: ctypes.CDLL

    def compile(
        self, source: str, headers: Mapping[str, bytes], architecture: str, *flags: str
    ) -> bytes:
        """A cubin for an architecture like `sm_90`, PTX for one like `compute_90`.

        Args:
            source: CUDA C++.
            headers: files that it may include, by their names there.
            architecture: that of the GPU, or virtual.
            flags: more options.

        Raises:
            BuildError: it does not compile; `log` is what the compiler said.
        """
        program = c_void_p()
        names = (c_char_p * len(headers))(*[name.encode() for name in headers])
        texts = (c_char_p * len(headers))(*headers.values())
        arguments = (byref(program), source.encode(), b"kernels.cu", len(headers), texts, names)
        self._call("nvrtcCreateProgram", *arguments)
        try:
            options = [f"--gpu-architecture={architecture}", *flags]
            words = (c_char_p * len(options))(*[option.encode() for option in options])
            if self.library.nvrtcCompileProgram(program, len(options), words):
                log = self._result(program, "ProgramLog").rstrip(b"\0")
                raise CompileError(log.decode(errors="replace"))
            is_binary = architecture.startswith("sm_")
            return self._result(program, "CUBIN" if is_binary else "PTX")
        finally:
            self.library.nvrtcDestroyProgram(byref(program))

    def _result(self, program: c_void_p, what: str) -> bytes:
        size = c_size_t()
        self._call(f"nvrtcGet{what}Size", program, byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw[: size.value]

    def _call(self, name: str, *arguments) -> None:
        if error := getattr(self.library, name)(*arguments):
            reason = self.library.nvrtcGetErrorString(error)
            raise BuildError(f"{self.path}: {name} fails: {reason.decode(errors='replace')}")


class CompileError(BuildError):
    """What the compiler says of source that it does not compile."""

    def __init__(self, log: str):
        errors = [line for line in log.splitlines() if "error" in line.lower()]
        super().__init__(f"NVRTC failed: {(errors or ['no reason given'])[0][:300]}")
        self.log = log


def find() -> Nvrtc:
    """NVRTC as pip's wheels bring it, or else as the system finds it.

    Raises:
        BuildError: there is none, or it cannot be used.
    """
    problems = []
    for path in _candidates():
        try:
            return _open(path)
        except (OSError, AttributeError) as error:
            if os.path.isabs(path):
                problems.append(f"{path} cannot be used: {error}")
    raise BuildError((problems or [_MISSING])[0])


def target(capability: int, known: tuple[int, ...]) -> str:
    """The architecture to compile for: the GPU's own, or else PTX, which its driver translates.

    Args:
        capability: of the GPU.
        known: what NVRTC compiles for.

    Raises:
        BuildError: the GPU is older than all of those.
    """
    if capability in known:
        return f"sm_{capability}"
    older = [n for n in known if n < capability]
    if not older:
        raise BuildError(
            f"the GPU's compute capability {capability // 10}.{capability % 10} is older than what "
            f"NVRTC compiles for, from {min(known) // 10}.{min(known) % 10} on: an older "
            "nvidia-cuda-nvrtc-cu12 is needed"
        )
    return f"compute_{max(older)}"


def program() -> tuple[str, dict[str, bytes]]:
    """One source that includes all kernels, and the files that it includes."""
    kernels = [file.name for file in files() if file.suffix == ".cu"]
    source = "".join(f'#include "{name}"\n' for name in kernels)
    return source, {file.name: file.read_bytes() for file in files()}


def files() -> list[Path]:
    """All kernels and headers."""
    return sorted(p for p in SOURCES.iterdir() if p.suffix in (".cu", ".h"))


def _candidates() -> Iterator[str]:
    spec = importlib.util.find_spec("nvidia")  # The folder that NVIDIA's wheels share.
    roots = list(spec.submodule_search_locations or ()) if spec else []
    for version in _VERSIONS:
        for root in roots:
            yield from map(str, sorted(Path(root).glob(f"*/lib/libnvrtc.so.{version}")))
    yield from (f"libnvrtc.so.{version}" for version in _VERSIONS)


def _open(path: str) -> Nvrtc:
    library = ctypes.CDLL(path)
    library.nvrtcGetErrorString.restype = c_char_p
    major, minor, count = c_int(), c_int(), c_int()
    library.nvrtcVersion(byref(major), byref(minor))
    library.nvrtcGetNumSupportedArchs(byref(count))
    known = (c_int * count.value)()
    library.nvrtcGetSupportedArchs(known)
    return Nvrtc(path, (major.value, minor.value), tuple(sorted(known)), library)
