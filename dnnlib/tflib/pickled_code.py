"""Running the source that is embedded in a snapshot, for users who ask for it. Off by default.

The official code does this with every snapshot. Here it is the one place that executes text
(`tests/test_architecture.py` holds the project to that), reached only through an explicit
`allow_pickled_code=True`, for networks of trusted files that our tables do not have.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.util import UserError, one_line


def run_pickled_code(source: str, function: str, network: str, file: str) -> Callable:
    """Runs embedded source and returns the build function that it defines.

    `import tensorflow` in it gives `tensorflow.compat.v1`, which is what it was written for;
    `dnnlib` and `dnnlib.tflib` are ours.

    Args:
        source: text of the module.
        function: name of the build function.
        network: name of the network, for messages.
        file: where the text comes from, for messages.

    Raises:
        UserError: the text does not run here, or does not define the function.
    """
    print(
        f"WARNING: running Python code embedded in {file} for network {network} ({function}), "
        "because pickled code was allowed. It can do anything that you can.",
        file=sys.stderr,
        flush=True,
    )
    where = f"source embedded in {file} for network {network}"
    module = types.ModuleType(f"_pickled_code_of_{function}")
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
    try:
        exec(source, module.__dict__)
        build_func = functools.reduce(getattr, function.split("."), module)
    except Exception as error:
        raise _does_not_run(where, error) from error
    if not callable(build_func):
        raise UserError(f"{where}: {function} is not a function")

    @functools.wraps(build_func)
    def build(*args: Any, **kwargs: Any) -> Any:
        try:
            return build_func(*args, **kwargs)
        except (AttributeError, ImportError, NameError, TypeError, ValueError) as error:
            raise _does_not_run(where, error) from error

    return build


def _does_not_run(where: str, error: Exception) -> UserError:
    return UserError(f"{where} does not run here: {type(error).__name__}: {one_line(error)}")


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """`__import__` that gives TensorFlow 1 by the name of TensorFlow."""
    if level == 0 and name.split(".")[0] == "tensorflow":
        if name == "tensorflow":
            return tf
        inner = importlib.import_module(name)
        return inner if fromlist else tf
    return builtins.__import__(name, globals, locals, fromlist, level)
