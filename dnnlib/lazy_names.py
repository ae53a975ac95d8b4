"""Names of a module that live in another one, which is imported when one of them is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose official names cost too much to import at once:

        __getattr__ = lazy_names(__name__, {"open_url": "dnnlib.official_util"})

    Args:
        module: its name.
        places: {name: the module that has it}; a submodule is named by itself.

    Returns:
        A function that finds these names, and raises AttributeError for others.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = importlib.import_module(places[name])
        return found if places[name] == f"{module}.{name}" else getattr(found, name)

    return get
