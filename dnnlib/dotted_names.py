"""Functions and classes by their dotted names, for the code of the person who writes the name.

What is read from a file never comes here: it is looked up in tables. A test holds all other modules
to that.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from types import ModuleType
from typing import Any

from dnnlib.util import UserError

# How official names begin for short.
_SHORT = {"np": "numpy", "tf": "tensorflow.compat.v1"}


def get_module_from_obj_name(obj_name: str) -> tuple[ModuleType, str]:
    """The module that a dotted name begins with, and the rest of the name.

    Args:
        obj_name: like `module.Class.method`; `np.` and `tf.` stand for NumPy and TensorFlow 1.

    Raises:
        UserError: there is no such module, or it has no such attribute.
    """
    first, *rest = obj_name.split(".")
    parts = [*_SHORT.get(first, first).split("."), *rest]
    # The longest name that is one of a module; `a..b` is none.
    for count in range(len(parts) if all(parts) else 0, 0, -1):
        module_name, attribute = ".".join(parts[:count]), ".".join(parts[count:])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # A module that exists and lacks something that it imports is another error.
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            continue
        get_obj_from_module(module, attribute)
        return module, attribute
    raise UserError(f"there is no module for {obj_name!r}: is its folder on sys.path?")


def get_obj_from_module(module: ModuleType, obj_name: str) -> Any:
    """What a name like `Class.method` stands for in a module; an empty one: the module.

    Raises:
        UserError: the module does not have it.
    """
    found: Any = module
    for part in filter(None, obj_name.split(".")):
        if not hasattr(found, part):
            raise UserError(f"module {module.__name__} has no {obj_name}")
        found = getattr(found, part)
    return found


def get_obj_by_name(name: str) -> Any:
    """What a dotted name stands for, see `get_module_from_obj_name`."""
    return get_obj_from_module(*get_module_from_obj_name(name))


def call_func_by_name(*args: Any, func_name: str | None = None, **kwargs: Any) -> Any:
    """Calls the function of a dotted name.

    Raises:
        UserError: there is none, or it cannot be called.
    """
    if not isinstance(func_name, str):
        raise UserError(f"func_name is {func_name!r}, expected a name like module.function")
    function = get_obj_by_name(func_name)
    if not callable(function):
        raise UserError(f"{func_name} is a {type(function).__name__}, expected a function")
    return function(*args, **kwargs)


def construct_class_by_name(*args: Any, class_name: str | None = None, **kwargs: Any) -> Any:
    """An instance of the class of a dotted name; errors as of `call_func_by_name`."""
    return call_func_by_name(*args, func_name=class_name, **kwargs)


def get_module_dir_by_obj_name(obj_name: str) -> str:
    """The folder of the file of the module that a dotted name begins with."""
    module, _ = get_module_from_obj_name(obj_name)
    if not getattr(module, "__file__", None):
        raise UserError(f"module {module.__name__} has no file")
    return os.path.dirname(os.path.abspath(module.__file__))


def is_top_level_function(obj: Any) -> bool:
    """Whether it is a function that its module has by its own name."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    name = getattr(obj, "__name__", None)
    return callable(obj) and name is not None and getattr(module, name, None) is obj


def get_top_level_function_name(obj: Any) -> str:
    """The dotted name of a function, also of one in the script that runs.

    Raises:
        UserError: it is not at the top level of a module.
    """
    if not is_top_level_function(obj):
        raise UserError(f"{obj!r} is not a function at the top level of a module")
    module = sys.modules[obj.__module__]
    if module.__name__ == "__main__" and getattr(module, "__file__", None):
        script = re.sub(r"\.py[co]?$", "", os.path.basename(module.__file__))
        return f"{script}.{obj.__name__}"
    return f"{obj.__module__}.{obj.__name__}"
