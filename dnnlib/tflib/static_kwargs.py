"""Keyword arguments that come from outside: names, types and sizes, before any is used.

What a keyword argument may be is what the annotations of the functions say; how large it may be is
handed in by whoever knows the functions.
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Annotated, Any

import tensorflow.compat.v1 as tf

from dnnlib import schema
from dnnlib.schema import Range, Size
from dnnlib.util import UserError, one_line

_RANGE = Range(-(1 << 20), 1 << 20)
_SIZE = Size(64)  # Taps of a filter, sides of a grid; characters of the name of an activation.


def check(
    functions: Iterable[Callable],
    kwargs: Mapping[str, Any],
    owner: str,
    ranges: Mapping[str, Range] = types.MappingProxyType({}),
    excluded: Container[str] = (),
) -> None:
    """Checks keyword arguments that were read.

    Args:
        functions: build functions, each of which may be handed those of its siblings too.
        kwargs: {name: value}, of Python's own types.
        owner: the function that gets them, for messages.
        ranges: {name: bounds of its numbers}; for other names, a million either way.
        excluded: names that functions have and that nothing read may set.

    Raises:
        UserError: no function has one of that name, or it is of another type, or too large.
    """
    kinds = annotations(functions, excluded)
    reject_unknown(owner, kwargs, kinds)
    for name, value in kwargs.items():
        kind = Annotated[kinds[name], ranges.get(name, _RANGE), _SIZE]
        schema.parse(kind, value, f"{owner}: keyword argument {name!r}")


def reject_unknown(owner: str, given: Iterable[str], known: Container[str]) -> None:
    """Raises a UserError that lists the names of keyword arguments that are not known."""
    if unknown := sorted(name for name in given if name not in known):
        shown = ", ".join(repr(one_line(name, 60)) for name in unknown)
        raise UserError(f"{owner} has no keyword argument {shown}")


def annotations(functions: Iterable[Callable], excluded: Container[str] = ()) -> dict[str, Any]:
    """{name: annotation} of all parameters with a default; unions where functions differ."""
    kinds: dict[str, Any] = {}
    for function in functions:
        hints = typing.get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not parameter.empty and name not in excluded:
                # A signature that was set by a decorator has types where functions have text.
                written = isinstance(parameter.annotation, str)
                kind = _without_tensors(hints[name] if written else parameter.annotation)
                kinds[name] = kind | kinds.get(name, kind)
    return kinds


def tensor_keywords(function: Callable) -> frozenset[str]:
    """Keyword arguments that may be tensors, by their annotations."""
    return frozenset(
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is not p.empty and "Tensor" in str(p.annotation)
    )


def takes_any(function: Callable) -> bool:
    """Whether a function has a parameter `**kwargs`."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.kind == p.VAR_KEYWORD for p in parameters)


def _without_tensors(kind: Any) -> Any:
    """An annotation without tensors, which no file holds."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    plain = [member for member in typing.get_args(kind) if member is not tf.Tensor]
    return functools.reduce(operator.or_, plain)
