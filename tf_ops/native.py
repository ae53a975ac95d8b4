"""Where compiled twins of the reference operations plug in (DESIGN D5).

An operation asks `find` for the library of twins each time it is added to a graph. The first time
in a process, the library is loaded, and on a new machine built (see `tf_ops.build`). Where that
fails the reference serves, and one line on stderr says why.

TF_OPS_IMPL=ref or TF_OPS_IMPL=native in the environment decides where a caller leaves the choice.
"""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import build, compilers, gpu_kernels, layout, prebuilt

IMPLEMENTATIONS = ("auto", "ref", "native", "cuda")
DTYPES = (tf.float32, tf.float16, tf.bfloat16)


def find(op_name: str, impl: str, dtype: tf.DType) -> ModuleType | None:
    """The library with the twin of `op_name`, or None where the reference is to be used.

    Args:
        op_name: of the operation, for messages.
        impl: `ref` always takes the reference; `auto` and `cuda` (the official default) take the
            twin where there is one, but for portable graphs; `native` takes the twin or fails.
        dtype: of the tensor; twins know those in `DTYPES`.

    Raises:
        UserError: unknown `impl`; `native` is asked for and cannot be had.
    """
    if impl not in IMPLEMENTATIONS:
        raise UserError(f"impl={impl!r} of {op_name}: use one of {', '.join(IMPLEMENTATIONS)}")
    if impl in ("auto", "cuda"):
        impl = "ref" if layout.is_portable() else os.environ.get("TF_OPS_IMPL") or "auto"
        if impl not in ("auto", "ref", "native"):
            raise UserError(f"TF_OPS_IMPL={impl}: use auto, ref or native")
    if impl == "ref":
        return None
    if dtype not in DTYPES:
        if impl == "native":
            raise UserError(f"impl='native' of {op_name}: no twin for {dtype.name}")
        return None
    library, problem = _load()
    if problem is None:
        return library
    if impl == "native":
        raise UserError(f"no native operations: {problem}")
    _warn_once(problem)
    return None


@functools.cache
def _load() -> tuple[ModuleType | None, str | None]:
    """The library, or why there is none."""
    try:
        path = build.library()
        images = {n: gpu_kernels.image(n) for n in gpu_kernels.capabilities()}
    except UserError as error:
        return None, str(error)
    try:
        library = tf.load_op_library(path)
        # Afterwards: TensorFlow finds no operations in a library that was loaded before.
        gpu_kernels.hand_over(path, images)
        return library, None
    except (tf.errors.OpError, OSError) as error:
        folder = os.path.dirname(path)
        cure = f"remove {folder} to have it built again"
        if folder == str(prebuilt.FOLDER):
            cure = f"it may have been made on a newer system; {compilers.how_to_install()}"
        return None, f"{path} cannot be loaded ({error}); {cure}"


@functools.cache
def _warn_once(problem: str) -> None:
    line = " ".join(problem.split())
    what = f"no native operations, the slower reference serves, {build.COST}"
    print(f"Warning: {what}: {line}", file=sys.stderr)
