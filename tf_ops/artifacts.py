"""Where compiled files are kept: in the cache of downloads, each built once for a machine.

A file lies in a folder named after everything that it depends on. Other versions lie beside it.

It is code. So it is built and loaded only where nobody but this user and root can write: in the
cache, or else in the cache of this user's home.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from dnnlib import UserError
from dnnlib.downloads import cache_folder
from dnnlib.files import atomic_write, staged_directory
from dnnlib.ownership import exposure, make_folders
from dnnlib.system import Busy, locked_file, user_cache
from tf_ops.compilers import BuildError


@dataclass(frozen=True)
class Recipe:
    """Everything that a compiled file depends on: the fields of the classes derived from this."""

    FILE: ClassVar[str]

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:24]

    @property
    def folder(self) -> str:
        """Of those in the list, the first whose file nobody else can have made."""
        candidates = [os.path.join(folder, self.key) for folder in folders()]
        safe = [f for f in candidates if exposure(os.path.join(f, self.FILE)) is None]
        return (safe or candidates)[0]

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.FILE)

    @property
    def log(self) -> str:
        """What the compilers said when they failed."""
        return self.folder + ".log"


def folders() -> list[str]:
    """Where files are kept: in the cache, or in that of the home if others can write there."""
    caches = [cache_folder(), user_cache()]
    return [os.path.join(cache, "tf_ops") for cache in dict.fromkeys(caches)]


def obtain(recipe: Recipe, build: Callable[[str], None], timeout: float) -> str:
    """The path of a compiled file, built if need be.

    Processes that want the same file wait for the one that builds it, whose lock dies with it.

    Args:
        recipe: what it depends on.
        build: makes `recipe.FILE` in the folder that it is given, and writes what the compilers say
            to a file `log` there.
        timeout: seconds that it may take.

    Raises:
        BuildError: from `build`, or the cache cannot be written.
    """
    path = recipe.path
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
                _build(recipe, build)
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
    """Raises a BuildError if others could have put a file there: to load it is to run it."""
    if problem := exposure(path):
        raise BuildError(
            f"{path} is not loaded: {problem}; name a folder in DNNLIB_CACHE_DIR that only you can "
            "write"
        )


def _problem_of_cache(recipe: Recipe) -> str:
    return exposure(os.path.join(folders()[0], recipe.key, recipe.FILE)) or folders()[0]


@functools.cache
def _say_once(line: str) -> None:
    print(f"Warning: {line}", file=sys.stderr)


def _build(recipe: Recipe, build: Callable[[str], None]) -> None:
    """Builds in a folder beside the target that takes its place when all is well."""
    start = time.monotonic()
    with staged_directory(recipe.folder, mode=0o755) as staging:
        try:
            build(staging)
        except BuildError:
            with contextlib.suppress(OSError), atomic_write(recipe.log, "w") as log:
                log.write(Path(staging, "log").read_text(errors="replace"))
            raise
        os.chmod(os.path.join(staging, recipe.FILE), 0o755)  # Whatever the umask is.
        with atomic_write(os.path.join(staging, "build.json"), "w") as file:
            seconds = round(time.monotonic() - start, 1)
            json.dump({**asdict(recipe), "seconds": seconds}, file, indent=1)
    with contextlib.suppress(OSError):
        os.unlink(recipe.log)


def digest(files: Sequence[Path]) -> str:
    """SHA-256 of names, sizes and contents."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\n{file.stat().st_size}\n".encode())
        total.update(file.read_bytes())
    return total.hexdigest()
