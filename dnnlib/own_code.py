"""Code of the user's own, beside the tables of this project.

Snapshots, options of runs and other data name functions, and a name is looked up in tables of ours:
nothing that was read leads to other code. A function of the user's own gets into these tables in
two ways, both by the user's own hand and for this process alone: a command line names it
(`--G-func=my_code.G_mine`), or Python code registers it:

    @own_code.networks.register
    def G_mine(latents_in, labels_in, **kwargs): ...
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dnnlib.util import UserError, one_line

F = TypeVar("F", bound=Callable)
# Where no code of the user's lies: their own stands in another folder, or beside these packages.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOT_OWN = ("<", *(os.path.join(_ROOT, n, "") for n in ("dnnlib", "metrics", "tf_ops", "training")))
_NOT_OWN += tuple(os.path.join(sysconfig.get_path(n), "") for n in ("purelib", "platlib", "stdlib"))


class OwnFunctions:
    """Functions and classes of one kind that the user has registered.

    Args:
        kind: what they are, for messages.
        prefixes: what their names begin with, which says what they are for; any if there are none.
    """

    def __init__(self, kind: str, prefixes: tuple[str, ...] = ()):
        self._kind, self._prefixes = kind, prefixes
        self._functions: dict[str, Callable] = {}

    def register(self, function: F) -> F:
        """Lets data that this process reads name a function; returns it, as a decorator does.

        Raises:
            UserError: it is not at the top of a module, or its name does not say what it is for.
        """
        name = getattr(function, "__qualname__", "")
        if not callable(function) or not name.isidentifier():
            raise UserError(
                f"{function!r} cannot be registered: expected a function at the top of a module"
            )
        if not name.startswith(self._prefixes or ""):
            raise UserError(
                f"{name} cannot be registered: names of a {self._kind} begin with "
                f"{' or '.join(self._prefixes)}"
            )
        self._functions[f"{function.__module__}.{name}"] = function
        return function

    def load(self, option: str, name: str) -> str:
        """Imports and registers what a command line names.

        Args:
            option: that names it, for messages.
            name: `module.function`; the module is in the current folder or on Python's path.

        Returns:
            The name that data know it by: that of the module that has its code.

        Raises:
            UserError: there is no such function.
        """
        module, _, function = name.rpartition(".")
        if not module:
            raise UserError(
                f"{option}={name}: expected MODULE.FUNCTION, a {self._kind} in a module of yours"
            )
        if os.getcwd() not in sys.path:  # Last: nothing there takes the place of a package.
            sys.path.append(os.getcwd())
        try:
            imported = importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"{option}={name}: cannot import {module}: {error}") from error
        except Exception as error:  # Whatever its code may raise.
            said = describe_error(error)
            raise UserError(f"{option}={name}: cannot import {module}: {said}") from error
        if not hasattr(imported, function):
            raise UserError(f"{option}={name}: module {module} has no attribute {function}")
        try:
            found = self.register(getattr(imported, function))
        except UserError as error:
            raise UserError(f"{option}={name}: {error}") from error
        return f"{found.__module__}.{found.__name__}"

    def find(self, name: Any) -> Callable | None:
        """What is registered under a dotted name, which may be data; else None."""
        return self._functions.get(name) if isinstance(name, str) else None

    def by_module(self) -> dict[str, dict[str, Callable]]:
        """{module: {name: function}} of all that are registered."""
        tables: dict[str, dict[str, Callable]] = {}
        for name, function in self._functions.items():
            module, _, last = name.rpartition(".")
            tables.setdefault(module, {})[last] = function
        return tables


# What this process may use besides the tables: the one state that modules share, and only users
# add to it.
networks = OwnFunctions("network", ("G_", "D_"))
losses = OwnFunctions("loss", ("G_", "D_"))
metrics = OwnFunctions("metric")


def accepted(function: Callable, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Those keyword arguments that a function takes by name, or all if it has `**kwargs`."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        return dict(kwargs)
    names = {p.name for p in parameters}
    return {key: value for key, value in kwargs.items() if key in names}


def add_network_options(add: Callable, text: str = "which the snapshot may name") -> None:
    """Adds --G-func and --D-func.

    Args:
        add: method `add_argument` of a parser or a group.
        text: what such a function is for.
    """
    for role in ("G", "D"):
        add(
            f"--{role}-func",
            metavar="MODULE.FUNCTION",
            help=f"build function {role}_… of your own, {text}; see docs/own-code.md",
        )


def load_networks(args: argparse.Namespace) -> None:
    """Registers the build functions that --G-func and --D-func name."""
    for role in ("G", "D"):
        if name := getattr(args, f"{role}_func"):
            networks.load(f"--{role}-func", name)


def describe_error(error: Exception) -> str:
    """One line of what was raised; of what no user was told of, also what and where.

    That is where code of the user's own was the last, or else where it was raised.
    """
    if isinstance(error, UserError):
        return one_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_OWN)]
    places = [f"({frame.filename}:{frame.lineno})" for frame in (own or frames)[-1:]]
    try:
        text = one_line(error, 200)
    except Exception:  # Of a class of the user's own, whose text is code too.
        text = "it has no text"
    return f"{type(error).__name__}: {text} {one_line(''.join(places))}"
