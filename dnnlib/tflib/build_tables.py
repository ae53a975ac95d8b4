"""Which code builds a network: by name from user code, or from tables for a snapshot.

`BuildTables` is what `Network` asks the package that has the build functions.

A pickle names nothing but `dnnlib.tflib.network.Network`, and `pickle.load(file)` in a user's own
code imports nothing else. So the tables are found here, by a name that is written here: nothing
that is read from a file has a say in it. Everything that is about GANs is on the other side.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from dnnlib.tflib.network_state import SavedState
from dnnlib.util import EasyDict, UserError

# The module that has the functions of `BuildTables`. Imported when a network is made and not
# before: this package stands to the left of `training`, which imports it.
_PROVIDER = "training.snapshots.build_functions"


class BuildTables(Protocol):
    """Functions of a module that knows which build functions there are."""

    @staticmethod
    def official_module(function: Callable) -> str | None:
        """The official module that has a function of the tables; None for another function."""

    @staticmethod
    def format_version(module: str) -> int:
        """The format version of snapshots that the official code of a module writes."""

    @staticmethod
    def official_kwargs(module: str, function: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a build function as official readers understand them."""

    @staticmethod
    def meaningful_kwargs(state: SavedState) -> EasyDict:
        """Keyword arguments of a snapshot without those that say nothing."""

    @staticmethod
    def find_for_snapshot(state: SavedState) -> tuple[Callable, str]:
        """Build function and module of a network that was read, from the tables only.

        Raises:
            UserError: no table has it, or a keyword argument is not known or not sound.
        """

    @staticmethod
    def find_component(module: str, state: SavedState) -> tuple[Callable, str]:
        """Build function and module of a component whose whole belongs to `module`.

        Raises:
            UserError: as `find_for_snapshot`.
        """


def build_tables() -> BuildTables:
    """The tables of this project."""
    return cast(BuildTables, importlib.import_module(_PROVIDER))


def find_by_name(func_name: str | Callable) -> tuple[Callable, str]:
    """Build function and its module. A dotted name is imported: it comes from code, not data.

    Raises:
        UserError: there is no such function.
    """
    if callable(func_name):
        func, module = func_name, func_name.__module__
    else:
        module, _, function = func_name.rpartition(".")
        try:
            func = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"no build function {func_name!r}: {error}") from error
    return func, build_tables().official_module(func) or module
