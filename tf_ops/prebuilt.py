"""Libraries that come with the package, for machines that cannot compile them.

`python -m tf_ops.build --prebuilt` makes them in a checkout, from which `pip wheel` takes them
along. They serve where a library cannot be built (see `tf_ops.build`): those that a machine builds
for itself know its processor better. Each belongs to its sources, to a version of TensorFlow and to
a kind of machine, which its name tells.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from dnnlib.files import atomic_write
from tf_ops import artifacts
from tf_ops.compilers import processor
from tf_ops.nvrtc import SOURCES

FOLDER = Path(__file__).resolve().parent / "prebuilt"
# The third level of the x86-64 psABI: processors since 2013, of which TensorFlow asks much.
MACHINE_FLAGS = {"x86_64": ("-march=x86-64-v3",)}
# As Linux names what this level has beyond the second.
_NEEDED = {"x86_64": {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}}


def path_of(files: Sequence[str], tensorflow: str | None) -> Path:
    """Where the library of these sources is, or would be.

    Args:
        files: names of the sources, in `SOURCES`.
        tensorflow: version that it is for; None where it uses nothing of it.
    """
    name = f"operations-{tensorflow}" if tensorflow else Path(files[0]).stem
    sources = artifacts.digest([SOURCES / file for file in files])[:16]
    return FOLDER / f"{name}-{platform.machine()}-{sources}.so"


def find(files: Sequence[str], tensorflow: str | None) -> str | None:
    """The path of such a library that runs here, or None."""
    path = path_of(files, tensorflow)
    flags = set(json.loads(processor())[-1].get("flags", "").split())
    runs = _NEEDED.get(platform.machine(), set()) <= flags
    return str(path) if runs and path.is_file() else None


def keep(library: str, files: Sequence[str], tensorflow: str | None) -> str:
    """Puts a library in its place, which it returns, in that of older ones of its name."""
    path = path_of(files, tensorflow)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(str(path)) as target, open(library, "rb") as source:
        shutil.copyfileobj(source, target)
    for other in path.parent.glob(f"{path.name.rpartition('-')[0]}-*.so"):
        if other != path:
            other.unlink()
    return str(path)
