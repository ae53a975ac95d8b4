"""The compilers of this machine, and what the cache of libraries must know of it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from dnnlib import UserError
from dnnlib.util import one_line


class BuildError(UserError):
    """Why there are no native operations, in one line."""


def find_compiler() -> tuple[str, ...]:
    """The C++ compiler: $CXX, which may have options, or the first of the usual names.

    Raises:
        BuildError: there is none.
    """
    named = os.environ.get("CXX")
    for candidate in [named] if named else ["g++", "c++", "clang++"]:
        try:
            words = shlex.split(candidate)
        except ValueError as error:
            raise BuildError(f"CXX={named}: {error}") from error
        path = shutil.which(words[0]) if words else None
        if path:  # It works in another folder.
            return (os.path.abspath(path), *words[1:])
    tried = f"CXX={named}" if named else "g++, c++, clang++"
    raise BuildError(f"no C++ compiler found ({tried}): {how_to_install()}, or name one in CXX")


def how_to_install() -> str:
    """The command for the package manager at hand, or all three."""
    commands = {
        "conda": "conda install -c conda-forge gxx",
        "apt-get": "apt-get install g++",
        "dnf": "dnf install gcc-c++",
    }
    # Conda is chosen by who works in an environment of it, and needs no administrator.
    here = [
        n for n in commands if shutil.which(n) and (n != "conda" or "CONDA_PREFIX" in os.environ)
    ]
    return " or ".join(commands[name] for name in here[:1] or commands)


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
