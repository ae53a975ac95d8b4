"""Builds the native operations, once for a machine, into the cache of downloads (DESIGN D5).

    python -m tf_ops.build            builds what this machine can use, unless it is built already
    python -m tf_ops.build --check    says what is built, with what, and why not

A library lies in a folder named after everything that it depends on: sources, compilers,
TensorFlow, flags and the processor, whose instructions it uses. Other versions lie beside it.

A library is code. So it is built and loaded only where nobody but this user and root can write: in
the cache, or else in the cache of this user's home.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dnnlib import UserError, cli
from dnnlib.downloads import cache_folder
from dnnlib.files import atomic_write, staged_directory
from dnnlib.ownership import exposure, make_folders
from dnnlib.system import Busy, locked_file, user_cache
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import one_line
from tf_ops.compilers import (
    CUDA_FLAGS,
    BuildError,
    cuda_architectures,
    cuda_command,
    find_compiler,
    find_nvcc,
    output,
    processor,
)

SOURCES = Path(__file__).with_name("kernels")
LIBRARY = "ops.so"
# Libraries of one file, with a C interface and nothing of TensorFlow.
PLAIN = ("resize_8bit.cc",)
_CXX_FLAGS = ("-std=c++17", "-fPIC", "-w")
# Floating-point exceptions and errno would keep loops from being vectorized; nothing reads them.
_KERNEL_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math")
_COMPILE_SECONDS = 600.0


@dataclass(frozen=True)
class Recipe:
    """Everything that a library depends on."""

    files: tuple[str, ...]  # In `SOURCES`.
    sources: str  # SHA-256 of the files.
    compiler: tuple[str, ...]
    compiler_version: str
    nvcc: str | None  # None: for the CPU only.
    nvcc_version: str | None
    architectures: tuple[int, ...]
    tensorflow: str | None  # None: nothing of it is used.
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    kernel_flags: tuple[str, ...]
    cuda_flags: tuple[str, ...]
    processor: str

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:24]

    @property
    def folder(self) -> str:
        """Of those in the list, the first whose library nobody else can have made."""
        candidates = [os.path.join(folder, self.key) for folder in folders()]
        safe = [f for f in candidates if exposure(os.path.join(f, LIBRARY)) is None]
        return (safe or candidates)[0]

    @property
    def library(self) -> str:
        return os.path.join(self.folder, LIBRARY)

    @property
    def log(self) -> str:
        """What the compilers said when they failed."""
        return self.folder + ".log"


def folders() -> list[str]:
    """Where libraries are kept: in the cache, or in that of the home if others can write there."""
    caches = [cache_folder(), user_cache()]
    return [os.path.join(cache, "tf_ops") for cache in dict.fromkeys(caches)]


def library(with_cuda: bool, timeout: float = _COMPILE_SECONDS) -> str:
    """The path of the library for this machine, built if need be.

    Processes that want the same library wait for the one that builds it, whose lock dies with it.

    Args:
        with_cuda: with the kernels for GPUs.
        timeout: seconds that compiling may take.

    Raises:
        BuildError: no compiler, it fails, or the cache cannot be written.
    """
    return _library(find_recipe(with_cuda), timeout)


def plain_library(source: str, timeout: float = _COMPILE_SECONDS) -> str:
    """The path of the library of one of `PLAIN`, built if need be, as `library`."""
    return _library(_plain_recipe(source), timeout)


def _library(recipe: Recipe, timeout: float) -> str:
    path = recipe.library
    folder = os.path.dirname(recipe.folder)
    _check(path)
    if folder != folders()[0]:
        _say_once(f"{_problem_of_cache(recipe)}: native operations are kept in {folder}")
    if os.path.isfile(path):
        return path
    try:
        make_folders(folder)
        _check(path)
        lock = recipe.folder + ".lock"
        with locked_file(lock, 2 * timeout):
            if not os.path.isfile(path):
                _build(recipe, timeout)
    except BuildError:
        raise
    except Busy:
        raise BuildError(f"another process holds {lock} for more than {2 * timeout:g} s") from None
    except (UserError, OSError) as error:
        if not os.path.isfile(path):  # Where files have no locks, another was faster.
            reason = error.strerror if isinstance(error, OSError) else None
            what = f"cannot write in {folder}: {reason}" if reason else str(error)
            raise BuildError(what) from error
    _check(path)
    return path


def _check(path: str) -> None:
    """Raises a BuildError if others could have put a library there: to load it is to run it."""
    if problem := exposure(path):
        raise BuildError(
            f"{path} is not loaded: {problem}; name a folder in DNNLIB_CACHE_DIR that only you can "
            "write"
        )


def _problem_of_cache(recipe: Recipe) -> str:
    return exposure(os.path.join(folders()[0], recipe.key, LIBRARY)) or folders()[0]


@functools.cache
def _say_once(line: str) -> None:
    print(f"Warning: {line}", file=sys.stderr)


def find_recipe(with_cuda: bool) -> Recipe:
    """What this machine builds with.

    Raises:
        BuildError: there is no compiler, or it does not run.
    """
    tf = load_tensorflow()
    nvcc = find_nvcc() if with_cuda else None
    files = [p.name for p in SOURCES.iterdir() if p.suffix in (".h", ".cc", ".cu")]
    return dataclasses.replace(
        _plain_recipe(*sorted(set(files) - set(PLAIN))),
        nvcc=nvcc,
        nvcc_version=output([nvcc, "--version"]) if nvcc else None,
        architectures=cuda_architectures(nvcc) if nvcc else (),
        tensorflow=tf.version.VERSION,
        compile_flags=tuple(tf.sysconfig.get_compile_flags()),
        link_flags=tuple(tf.sysconfig.get_link_flags()),
        cuda_flags=CUDA_FLAGS if nvcc else (),
    )


def _plain_recipe(*files: str) -> Recipe:
    """For the CPU, without TensorFlow."""
    compiler = find_compiler()
    native = ("-march=native",) if platform.machine() in ("x86_64", "AMD64") else ()
    return Recipe(
        files=files,
        sources=_digest([SOURCES / name for name in files]),
        compiler=compiler,
        compiler_version=output([*compiler, "--version"]).splitlines()[0],
        nvcc=None,
        nvcc_version=None,
        architectures=(),
        tensorflow=None,
        compile_flags=(),
        link_flags=(),
        kernel_flags=(*_CXX_FLAGS, *_KERNEL_FLAGS, *native),
        cuda_flags=(),
        processor=processor(),
    )


def _build(recipe: Recipe, timeout: float) -> None:
    """Compiles and links in a folder beside the target that takes its place when all is well."""
    start = time.monotonic()
    with staged_directory(recipe.folder, mode=0o755) as staging:
        try:
            objects = _compile(recipe, staging, timeout)
            linker = [recipe.nvcc] if recipe.nvcc else [*recipe.compiler]
            target = os.path.join(staging, LIBRARY)
            link = [*linker, "-shared", "-o", target, *objects, *recipe.link_flags]
            _run_all([link], staging, timeout)
        except BuildError:
            with contextlib.suppress(OSError), atomic_write(recipe.log, "w") as log:
                log.write(Path(staging, "log").read_text(errors="replace"))
            raise
        for path in objects:
            os.unlink(path)
        os.chmod(target, 0o755)  # Whatever the umask is.
        with atomic_write(os.path.join(staging, "build.json"), "w") as file:
            seconds = round(time.monotonic() - start, 1)
            json.dump({**asdict(recipe), "seconds": seconds}, file, indent=1)
    with contextlib.suppress(OSError):
        os.unlink(recipe.log)


def _compile(recipe: Recipe, staging: str, timeout: float) -> list[str]:
    """All sources at the same time. TensorFlow's headers and the CUDA compiler never meet."""
    commands, objects = [], []
    for source in (SOURCES / name for name in recipe.files):
        target = os.path.join(staging, source.stem + ".o")
        output = ["-c", str(source), "-o", target]
        if source.name.startswith("tensorflow_"):
            flags = [*_CXX_FLAGS, "-O1", *recipe.compile_flags]
            cuda = ["-DTF_OPS_CUDA"] if recipe.nvcc else []
            commands.append([*recipe.compiler, *flags, *cuda, *output])
        elif source.suffix == ".cc":
            commands.append([*recipe.compiler, *recipe.kernel_flags, *output])
        elif source.suffix == ".cu" and recipe.nvcc:
            commands.append(cuda_command(recipe.nvcc, recipe.architectures, source, target))
        else:
            continue
        objects.append(target)
    _run_all(commands, staging, timeout)
    return objects


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
    return one_line((errors or lines[-1:] or [f"exit code {code}"])[0], 300)


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\n{file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def describe(with_cuda: bool) -> str:
    """What is built, with what, or why not. Builds nothing."""
    lines = [_describe("CPU and CUDA" if with_cuda else "CPU", lambda: find_recipe(with_cuda))]
    lines += [_describe(Path(name).stem, lambda name=name: _plain_recipe(name)) for name in PLAIN]
    return "\n".join(lines)


def _describe(name: str, find: Callable[[], Recipe]) -> str:
    try:
        recipe = find()
    except BuildError as error:
        return f"{name}: cannot be built: {error}"
    made_with = recipe.compiler_version
    if recipe.tensorflow:
        made_with += f", TensorFlow {recipe.tensorflow}"
    if recipe.nvcc:
        made_with += f", {recipe.nvcc} for {', '.join(map(str, recipe.architectures))} and PTX"
    if os.path.isfile(recipe.library):
        return f"{name}: built with {made_with}: {recipe.library}"
    if os.path.isfile(recipe.log):
        reason = _first_error(recipe.log, 1)
        return f"{name}: the last attempt, with {made_with}, failed: {reason} (all: {recipe.log})"
    return f"{name}: not built yet; to be built with {made_with} at the first use"


def main() -> None:
    parser = cli.ArgumentParser(prog="python -m tf_ops.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is built")
    parser.add_argument("--cuda", action="store_true", help="for GPUs too, with none at hand")
    args = parser.parse_args()
    tf = load_tensorflow()
    with_cuda = args.cuda or bool(tf.config.list_physical_devices("GPU"))
    if not args.check:
        library(with_cuda)
        for source in PLAIN:
            plain_library(source)
    print(describe(with_cuda))


if __name__ == "__main__":
    cli.run(main)
