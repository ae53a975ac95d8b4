"""Builds the native operations, once for a machine, into the cache of downloads (DESIGN D5).

    python -m tf_ops.build            builds what this machine can use, unless it is built already
    python -m tf_ops.build --check    says what is there, what is missing, and what to do
    python -m tf_ops.build --prebuilt makes libraries that go into a wheel (`prebuilt.py`)

The library needs a C++ compiler only, and is the same with and without GPU; the CUDA kernels, see
`gpu_kernels.py`, need NVRTC only. Both lie in folders named after everything that they depend on
(`artifacts.py`), of which instructions of the processor and the kind of GPU are part.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dnnlib import cli
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import one_line
from tf_ops import artifacts, gpu_kernels, nvrtc, prebuilt
from tf_ops.compilers import BuildError, find_compiler, output, processor
from tf_ops.nvrtc import SOURCES

# Libraries of one file, with a C interface and nothing of TensorFlow.
PLAIN = ("resize_8bit.cc",)
_CXX_FLAGS = ("-std=c++17", "-fPIC", "-w")
# Floating-point exceptions and errno would keep loops from being vectorized; nothing reads them.
_KERNEL_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math")
_COMPILE_SECONDS = 600.0
_LEAST_FREE = 1 << 20  # Bytes, that a compiler needs for what it says.
# What it costs to go without, as tests/benchmarks/README.md has it.
COST = "which takes 13 % longer to train and 20 % longer to generate (measured on CPUs)"


@dataclass(frozen=True)
class LibraryRecipe(artifacts.Recipe):
    """Everything that a library depends on."""

    FILE: ClassVar[str] = "ops.so"

    files: tuple[str, ...]  # In `SOURCES`.
    sources: str  # SHA-256 of the files.
    compiler: tuple[str, ...]
    compiler_version: str
    tensorflow: str | None  # None: nothing of it is used.
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    kernel_flags: tuple[str, ...]
    processor: str


def library(timeout: float = _COMPILE_SECONDS) -> str:
    """The path of the library for this machine, built if need be, or else one that was prebuilt.

    Args:
        timeout: seconds that compiling may take.

    Raises:
        BuildError: there is none, and no compiler, it fails, or the cache cannot be written.
    """
    return _obtain(find_recipe, timeout, (_sources_of_operations(), _version_of_tensorflow()))


def plain_library(source: str, timeout: float = _COMPILE_SECONDS) -> str:
    """The path of the library of one of `PLAIN`, as `library`."""
    return _obtain(lambda: _plain_recipe(source), timeout, ((source,), None))


def _obtain(find: Callable[[], LibraryRecipe], timeout: float, made_of: tuple) -> str:
    try:
        recipe = find()
        return artifacts.obtain(recipe, lambda staging: _build(recipe, staging, timeout), timeout)
    except BuildError:
        if path := prebuilt.find(*made_of):
            return path
        raise


def _sources_of_operations() -> tuple[str, ...]:
    files = {p.name for p in SOURCES.iterdir() if p.suffix in (".h", ".cc")}
    return tuple(sorted(files - set(PLAIN)))


def _version_of_tensorflow() -> str:
    return load_tensorflow().version.VERSION


def find_recipe() -> LibraryRecipe:
    """What this machine builds with.

    Raises:
        BuildError: there is no compiler, or it does not run.
    """
    tf = load_tensorflow()
    return dataclasses.replace(
        _plain_recipe(*_sources_of_operations()),
        tensorflow=_version_of_tensorflow(),
        compile_flags=tuple(tf.sysconfig.get_compile_flags()),
        link_flags=(*tf.sysconfig.get_link_flags(), "-ldl"),
    )


def make_prebuilt(timeout: float = _COMPILE_SECONDS) -> list[str]:
    """Builds all libraries for any processor of this kind, and says where they are.

    Raises:
        BuildError: no compiler, it fails, or there is no place to write to.
    """
    flags = prebuilt.MACHINE_FLAGS.get(platform.machine(), ())
    made = []
    try:
        for recipe in (find_recipe(), *map(_plain_recipe, PLAIN)):
            kernel_flags = (*_CXX_FLAGS, *_KERNEL_FLAGS, *flags)
            recipe = dataclasses.replace(recipe, kernel_flags=kernel_flags)
            with tempfile.TemporaryDirectory(prefix="prebuilt.") as staging:
                _build(recipe, staging, timeout)
                built = os.path.join(staging, recipe.FILE)
                made.append(prebuilt.keep(built, recipe.files, recipe.tensorflow))
    except OSError as error:
        raise BuildError(f"cannot write {prebuilt.FOLDER}: {error.strerror or error}") from error
    return made


def _plain_recipe(*files: str) -> LibraryRecipe:
    """For the CPU, without TensorFlow."""
    compiler = find_compiler()
    native = ("-march=native",) if platform.machine() in ("x86_64", "AMD64") else ()
    return LibraryRecipe(
        files=files,
        sources=artifacts.digest([SOURCES / name for name in files]),
        compiler=compiler,
        compiler_version=output([*compiler, "--version"]).splitlines()[0],
        tensorflow=None,
        compile_flags=(),
        link_flags=(),
        kernel_flags=(*_CXX_FLAGS, *_KERNEL_FLAGS, *native),
        processor=processor(),
    )


def _build(recipe: LibraryRecipe, staging: str, timeout: float) -> None:
    """Compiles all sources at the same time, and links."""
    commands, objects = [], []
    for source in (SOURCES / name for name in recipe.files if name.endswith(".cc")):
        target = os.path.join(staging, source.stem + ".o")
        flags = recipe.kernel_flags
        if source.name.startswith("tensorflow_"):
            flags = [*_CXX_FLAGS, "-O1", *recipe.compile_flags]
        commands.append([*recipe.compiler, *flags, "-c", str(source), "-o", target])
        objects.append(target)
    _run_all(commands, staging, timeout)
    target = os.path.join(staging, recipe.FILE)
    link = [*recipe.compiler, "-shared", "-o", target, *objects, *recipe.link_flags]
    _run_all([link], staging, timeout)
    for path in objects:
        os.unlink(path)


def _run_all(commands: Sequence[Sequence[str]], staging: str, timeout: float) -> None:
    """Runs commands at the same time; their output is added to the file `log` in `staging`."""
    # Compilers that are killed leave temporary files, which go with the folder.
    environment = {**os.environ, "TMPDIR": staging, "LC_ALL": "C"}
    deadline = time.monotonic() + timeout
    running: list[subprocess.Popen] = []
    path = os.path.join(staging, "log")
    try:
        with open(path, "ab") as log:
            for command in commands:
                running.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        cwd=staging,
                    )
                )
        for process in running:
            code = process.wait(max(0.0, deadline - time.monotonic()))
            if code != 0:
                raise BuildError(f"{_name(process.args)} failed: {_first_error(path, code)}")
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{_name(error.cmd)} did not end within {timeout:g} s") from error
    except OSError as error:
        raise BuildError(f"{_name(commands[0])} does not run: {error.strerror}") from error
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


def _name(command: Sequence[str]) -> str:
    return os.path.basename(command[0])


def _first_error(log: str, code: int) -> str:
    lines = [line for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    unknown = f"exit code {code}"
    folder = os.path.dirname(log)
    if not lines and shutil.disk_usage(folder).free < _LEAST_FREE:
        unknown = f"no space is left in {folder}"
    return one_line((errors or lines[-1:] or [unknown])[0], 300)


def describe() -> str:
    """What is there, what is missing and what to do, one line each. Builds nothing."""
    tf = load_tensorflow()
    operations = prebuilt.find(_sources_of_operations(), _version_of_tensorflow())
    lines = [f"TensorFlow: {_version_of_tensorflow()}"]
    lines += [_describe("operations", find_recipe, operations, COST)]
    for name in PLAIN:
        find = functools.partial(_plain_recipe, name)
        ready = prebuilt.find((name,), None)
        lines.append(_describe(Path(name).stem, find, ready, "which converts photos more slowly"))
    return "\n".join(lines + _describe_gpu(tf))


def _describe(name: str, find: Callable[[], LibraryRecipe], ready: str | None, cost: str) -> str:
    try:
        recipe = find()
    except BuildError as error:
        if ready is not None:
            return f"{name}: prebuilt: {ready}; cannot be built for this processor: {error}"
        return f"{name}: cannot be built, the slower reference serves, {cost}: {error}"
    made_with = recipe.compiler_version
    if os.path.isfile(recipe.path):
        return f"{name}: built with {made_with}: {recipe.path}"
    return f"{name}: {_not_built(recipe, made_with)}"


def _not_built(recipe: artifacts.Recipe, made_with: str) -> str:
    if os.path.isfile(recipe.log):
        reason = _first_error(recipe.log, 1)
        return f"the last attempt, with {made_with}, failed: {reason} (all: {recipe.log})"
    return f"not built yet; to be built with {made_with} at the first use"


def _describe_gpu(tf) -> list[str]:
    """Lines about what a GPU needs; the last one sums up."""
    lines, missing = [], []
    try:
        find_recipe()
    except BuildError:  # The line about the operations says how to install one.
        if not prebuilt.find(_sources_of_operations(), _version_of_tensorflow()):
            missing.append("a C++ compiler")
    if not tf.test.is_built_with_cuda():
        missing.append("a TensorFlow for GPUs")
        lines.append('CUDA: this TensorFlow is for CPUs only: pip install -e ".[gpu]"')
    try:
        compiler = nvrtc.find()
        version = ".".join(map(str, compiler.version))
        known = max(nvrtc.OLDEST, compiler.capabilities[0]), compiler.capabilities[-1]
        first, last = (f"{n // 10}.{n % 10}" for n in known)
        lines.append(f"NVRTC: {version}, for GPUs from {first} to {last}, PTX for newer ones: "
                     f"{compiler.path}")  # fmt: skip
    except BuildError as error:
        compiler = None
        missing.append("NVRTC")
        lines.append(f"NVRTC: missing: {error}")
    try:
        found = gpu_kernels.capabilities()
        lines += [_describe_kernels(compiler, capability) for capability in found if compiler]
    except BuildError as error:
        found = []
        lines.append(f"GPU: {error}")
    if not found:
        lines.append(
            "GPU: TensorFlow sees none" + ("" if _has_driver() else "; there is no driver")
        )
    needed = "everything needed is there" if not missing else f"missing: {', '.join(missing)}"
    if not found and not missing:
        needed = "everything is installed; only the GPU is missing"
    return [*lines, f"for a GPU: {needed}"]


def _describe_kernels(compiler: nvrtc.Nvrtc, capability: int) -> str:
    name = f"kernels for {capability // 10}.{capability % 10}"
    try:
        recipe = gpu_kernels.recipe_of(compiler, capability)
    except BuildError as error:
        return f"{name}: cannot be compiled: {error}"
    if os.path.isfile(recipe.path):
        return f"{name}: compiled as {recipe.architecture}: {recipe.path}"
    return f"{name}: {_not_built(recipe, f'NVRTC as {recipe.architecture}')}"


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _capability(text: str) -> int:
    match = re.fullmatch(r"(\d{1,2})\.(\d)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no compute capability like 9.0")
    return 10 * int(match[1]) + int(match[2])


def main() -> None:
    parser = cli.ArgumentParser(prog="python -m tf_ops.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is there")
    parser.add_argument(
        "--capability",
        type=_capability,
        metavar="N.N",
        action="append",
        help="compute capability of a GPU to compile for, with none at hand; may be repeated",
    )
    parser.add_argument(
        "--prebuilt",
        action="store_true",
        help="build for any processor of this kind, for a wheel",
    )
    args = parser.parse_args()
    if args.prebuilt:
        for path in make_prebuilt():
            print(f"prebuilt: {path}")
        return
    if not args.check:
        library()
        for source in PLAIN:
            plain_library(source)
        for capability in args.capability or gpu_kernels.capabilities():
            print(f"kernels: {gpu_kernels.image(capability)}")
    print(describe())


if __name__ == "__main__":
    cli.run(main)
