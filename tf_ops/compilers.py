"""The compilers of this machine, and what the cache of libraries must know of it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dnnlib import UserError
from dnnlib.util import one_line

# Compute capabilities; of those, what the CUDA compiler at hand knows, and PTX of the last for GPUs
# to come.
CUDA_ARCHITECTURES = (70, 75, 80, 86, 89, 90)
CUDA_FLAGS = ("-std=c++17", "-O3", "-Xcompiler=-fPIC", "-w", "--threads=0")


class BuildError(UserError):
    """Why there are no native operations, in one line."""


def find_compiler() -> tuple[str, ...]:
    """The C++ compiler: $CXX, which may have options, or the first of the usual names.

    Raises:
        BuildError: there is none.
    """
    named = os.environ.get("CXX")
    for candidate in [named] if named else ["g++", "c++", "clang++"]:
        words = shlex.split(candidate)
        path = shutil.which(words[0]) if words else None
        if path:
            return (path, *words[1:])
    tried = f"CXX={named}" if named else "g++, c++, clang++"
    raise BuildError(f"no C++ compiler found ({tried}): install one, or name it in CXX")


def find_nvcc() -> str:
    """Path of the CUDA compiler, found by PATH or in $CUDA_HOME.

    Raises:
        BuildError: there is none.
    """
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    path = shutil.which("nvcc") or shutil.which(os.path.join(home, "bin", "nvcc"))
    if not path:
        raise BuildError("no CUDA compiler (nvcc) found: install CUDA, or name it in CUDA_HOME")
    return path


def cuda_architectures(nvcc: str) -> tuple[int, ...]:
    """Those of `CUDA_ARCHITECTURES` that a CUDA compiler knows.

    Raises:
        BuildError: it knows none of them.
    """
    known = {int(n) for n in re.findall(r"compute_(\d+)", output([nvcc, "--list-gpu-arch"]))}
    usable = tuple(n for n in CUDA_ARCHITECTURES if n in known)
    if not usable:
        raise BuildError(f"{nvcc} compiles for none of the architectures {CUDA_ARCHITECTURES}")
    return usable


def cuda_command(nvcc: str, architectures: Sequence[int], source: Path, target: str) -> list[str]:
    """Compiles a `.cu` file to an object, for every architecture and for GPUs to come."""
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in architectures]
    last = f"compute_{architectures[-1]}"
    codes.append(f"-gencode=arch={last},code={last}")
    return [nvcc, *CUDA_FLAGS, *codes, "-c", str(source), "-o", target]


def output(command: Sequence[str]) -> str:
    """What a short command prints.

    Raises:
        BuildError: it does not run, fails or prints nothing.
    """
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{' '.join(command)} does not run: {one_line(error, 200)}") from error
    if not result.stdout.strip():
        raise BuildError(f"{' '.join(command)} prints nothing")
    return result.stdout.strip()


@functools.cache
def processor() -> str:
    """The kind of processor and what it can do, as far as the system says."""
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    found: dict[str, str] = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                found.setdefault(name.strip(), value.strip())
    return json.dumps([platform.machine(), platform.processor(), found])
