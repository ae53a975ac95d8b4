"""The state of a network in a snapshot: what is accepted, and what is written.

Layout: `version, name, static_kwargs, components, build_module_src, build_func_name, variables`,
and in format version 5 also `input_shapes, output_shapes, input_names, output_names`. Versions 2
and 3 may lack `components`. Everything but the components is plain data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil
from dnnlib.util import EasyDict, UserError, one_line

VERSIONS = (2, 3, 4, 5)
SHAPE_FIELDS = ("input_shapes", "output_shapes", "input_names", "output_names")
_REQUIRED = ("version", "name", "static_kwargs", "build_func_name", "variables")

# Bounds against files made to exhaust memory or time; real networks are far from them.
_MAX_NETWORKS = 64  # Components within components.
_MAX_VALUES = 10_000  # Numbers and texts in all keyword arguments of a network.
_MAX_DEPTH = 8
_MAX_METADATA = 1 << 18  # The same in metadata: names of many classes.
_MAX_SOURCE = 1 << 20  # Characters.
_MAX_INT = 1 << 20

# What `import_handler` registers. A registry by nature: the user's own code fills it before any
# network is read, and nothing that is read names what is in it.
_IMPORT_HANDLERS: list[Callable[[dict], dict]] = []

_TF_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]{0,199}")
_FUNCTION_NAME = re.compile(r"[\w.]{1,200}")


class Component(Protocol):
    """A network within a network."""

    origin: SavedState | None

    @property
    def build_func_name(self) -> str: ...


@dataclass
class SavedState:
    """A network as a snapshot describes it."""

    version: int
    name: str
    static_kwargs: EasyDict
    components: dict[str, Component]
    build_func_name: str
    build_module_src: str
    variables: dict[str, np.ndarray] = field(repr=False)
    shapes: dict[str, Any] = field(default_factory=dict)  # Those of SHAPE_FIELDS that are known.
    metadata: dict[str, Any] = field(default_factory=dict)  # What official readers ignore.
    num_networks: int = 1  # This one and all components.


def import_handler(handler_func: Callable[[dict], dict]) -> Callable[[dict], dict]:
    """Registers a function that changes states of networks before they are read; a decorator.

    Args:
        handler_func: takes the state of a network in the official layout, plain values and arrays,
            and returns it, changed or not. It is called for format versions 2 to 5, those that are
            known here, and for no others. The source that a state holds is not run, whatever a
            handler makes of it, unless pickled code was allowed.

    Returns:
        The function.
    """
    _IMPORT_HANDLERS.append(handler_func)
    return handler_func


def handle(state: Any) -> Any:
    """A state as the registered handlers leave it."""
    if isinstance(state, Mapping) and state.get("version") in VERSIONS:
        for handler in _IMPORT_HANDLERS:
            state = handler(dict(state))
    return state


def parse_state(state: Any, network_class: type) -> SavedState:
    """Checks the state of one network, of which nothing is taken on trust.

    Args:
        state: what a pickle gives to `Network.__setstate__`.
        network_class: class that components must have.

    Raises:
        UserError: something is missing, or is not what it should be.
    """
    state = state if isinstance(state, Mapping) else {}
    missing = [f for f in _REQUIRED if f not in state]
    if missing:
        raise UserError(f"network in snapshot lacks {', '.join(missing)}")
    version, name = state["version"], state["name"]
    if type(version) is not int or version not in VERSIONS:
        text = one_line(repr(version), 40) if isinstance(version, (int, str)) else "unreadable"
        raise UserError(f"network in snapshot has format version {text}, known are 2 to 5")
    if not isinstance(name, str) or not _TF_NAME.fullmatch(name):
        raise UserError(f"network in snapshot has an invalid name: {_show(name)}")
    function, source = state["build_func_name"], state.get("build_module_src", "")
    if not isinstance(function, str) or not _FUNCTION_NAME.fullmatch(function):
        raise UserError(f"network {name} in snapshot names the build function {_show(function)}")
    components = _components(name, state.get("components") or {}, network_class)
    return SavedState(
        version=version,
        name=name,
        static_kwargs=_static_kwargs(name, state["static_kwargs"]),
        components=components,
        build_func_name=function,
        build_module_src=source if isinstance(source, str) and len(source) < _MAX_SOURCE else "",
        variables=_variables(name, state["variables"]),
        shapes=_shapes(name, state),
        metadata=_metadata(name, state.get("metadata") or {}),
        num_networks=1 + sum(c.origin.num_networks if c.origin else 1 for c in components.values()),
    )


def _components(name: str, components: Any, network_class: type) -> dict[str, Component]:
    if not isinstance(components, Mapping):
        raise UserError(f"network {name} in snapshot has components that are not networks")
    total = 1
    for key, component in components.items():
        if not isinstance(key, str) or not isinstance(component, network_class):
            raise UserError(f"network {name} in snapshot: component {_show(key)} is not a network")
        if not vars(component):  # Its state comes later, so it would hold itself.
            raise UserError(f"network {name} in snapshot: component {_show(key)} has no state")
        total += component.origin.num_networks if component.origin else 1
    if total > _MAX_NETWORKS:
        raise UserError(f"network {name} in snapshot has more than {_MAX_NETWORKS} components")
    return dict(components)


def _static_kwargs(name: str, kwargs: Any) -> EasyDict:
    if not isinstance(kwargs, Mapping):
        raise UserError(f"network {name} in snapshot has keyword arguments that are not a dict")
    try:
        kwargs = EasyDict(plain_values(kwargs))
    except ValueError as error:
        raise UserError(f"network {name} in snapshot: keyword argument {error}") from error
    for key, value in kwargs.items():
        if isinstance(value, int) and abs(value) > _MAX_INT:
            shown = one_line(hex(value) if abs(value) > 1 << 99 else value, 40)
            raise UserError(
                f"network {name} in snapshot: keyword argument {key!r} is {shown}, "
                f"more than {_MAX_INT}"
            )
    return kwargs


def _variables(name: str, variables: Any) -> dict[str, np.ndarray]:
    if isinstance(variables, Sized) and len(variables) > _MAX_VALUES:
        raise UserError(f"network {name} in snapshot has {len(variables)} variables")
    pairs = variables.items() if isinstance(variables, Mapping) else variables
    values: dict[str, np.ndarray] = {}
    if not isinstance(pairs, Iterable):
        raise UserError(f"network {name} in snapshot has variables that are not a list")
    for pair in pairs:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str)):
            raise UserError(f"network {name} in snapshot has a variable without name and value")
        key, value = pair
        if not isinstance(value, (np.ndarray, np.generic, int, float)):
            raise UserError(
                f"network {name} in snapshot: variable {_show(key)} is a {type(value).__name__}, "
                "not an array"
            )
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise UserError(
                f"network {name} in snapshot: variable {_show(key)} holds {array.dtype}, "
                "not numbers"
            )
        if key in values:
            raise UserError(f"network {name} in snapshot has variable {_show(key)} twice")
        values[key] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return values


def _shapes(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return plain_values({f: state[f] for f in SHAPE_FIELDS if state.get(f) is not None})
    except ValueError as error:
        raise UserError(f"network {name} in snapshot: {error}") from error


def _metadata(name: str, metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise UserError(f"network {name} in snapshot has metadata that are not a dict")
    try:
        return plain_values(metadata, _MAX_METADATA)
    except ValueError as error:
        raise UserError(f"network {name}: metadata {error}") from error


def plain_values(kwargs: Mapping[str, Any], max_values: int = _MAX_VALUES) -> dict[str, Any]:
    """A copy of keyword arguments that consists of Python's own types, lists in place of tuples.

    Args:
        kwargs: {name: value}.
        max_values: numbers and texts in all of them.

    Raises:
        ValueError: something else, or too much of it. The message names the keyword argument.
    """
    count = 0

    def plain(value: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if count > max_values or depth > _MAX_DEPTH:
            raise ValueError("holds too much")
        if isinstance(value, np.ndarray):
            if value.size > max_values:
                raise ValueError("holds too much")
            value = value.tolist()
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Mapping):
            if not all(isinstance(k, str) for k in value):
                raise ValueError("holds a dict with keys that are not text")
            return {k: plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v, depth + 1) for v in value]
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise ValueError(f"holds a {type(value).__name__}, which is not a plain value")

    result = {}
    for key, value in kwargs.items():
        try:
            if not isinstance(key, str):
                raise ValueError("has a name that is not text")
            result[key] = plain(value, 1)
        except ValueError as error:
            raise ValueError(f"{_show(key)} {error}") from None
    return result


def saved_kwargs(network: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as snapshots hold them: plain values.

    Raises:
        UserError: a value that is not plain.
    """
    try:
        return plain_values(kwargs)
    except ValueError as error:
        raise UserError(f"network {network} cannot be saved: keyword argument {error}") from error


def saved_metadata(network: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The field `metadata` of a state. Official readers ignore fields that they do not know, and
    refuse keyword arguments. Networks that have none do not have the field.

    Raises:
        UserError: a value that is not plain.
    """
    return {"metadata": _metadata(network, metadata)} if metadata else {}


def module_source(module: str) -> str:
    """The text that snapshots embed: the official code runs it and looks the function up in it."""
    return f"from {module} import *\n"


def check_values(
    network: str, values: Mapping[str, np.ndarray], variables: Mapping[str, tf.Variable]
) -> None:
    """Strict loading.

    Raises:
        UserError: names every missing, unexpected or mis-shaped variable.
    """
    problems = [f"{n} is missing" for n in variables if n not in values]
    problems += [f"{one_line(n, 120)} is unexpected" for n in values if n not in variables]
    for name, var in variables.items():
        shape = tfutil.shape_to_list(var.shape)
        if name in values and list(values[name].shape) != shape:
            problems.append(f"{name} has shape {list(values[name].shape)}, expected {shape}")
    if problems:
        raise UserError(f"variables of network {network} do not fit: {'; '.join(problems)}")
    if bad := [name for name, value in values.items() if not np.isfinite(value).all()]:
        more = f" and {len(bad) - 1} more" if bad[1:] else ""
        raise UserError(
            f"network {network} has values that are not finite (NaN, infinity), in {bad[0]}{more}: "
            "its training went wrong; use an earlier snapshot"
        )


def _show(value: Any) -> str:
    """A value from a file for an error message: short, in one line, quoted."""
    return f"'{one_line(value, 120)}'" if isinstance(value, str) else f"a {type(value).__name__}"
