"""Keyword arguments of networks that come from a file: names, types and sizes, before any is used.

What a keyword argument may be is what the annotations of the build functions say. How large it may
be stands here: far more than any real network has, far less than what fills a machine.
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import tensorflow.compat.v1 as tf

from dnnlib import schema
from dnnlib.schema import Range, Size
from dnnlib.util import UserError, one_line

# Parameters of build functions that are never part of a network's description.
NOT_STATIC = frozenset(("components", "is_template_graph", "random_seed"))

_WIDTH = Range(0, 1 << 16)
_COUNT = Range(0, 1 << 10)
_RANGES: Mapping[str, Range] = {
    "resolution": Range(4, 1 << 12),
    "num_channels": Range(1, 1 << 10),
    "label_size": Range(0, 1 << 20),
    "latent_size": Range(1, 1 << 16),
    "dlatent_size": Range(1, 1 << 16),
    "dlatent_broadcast": _COUNT,
    "mapping_layers": Range(0, 128),
    "mapping_fmaps": _WIDTH,
    "label_fmaps": _WIDTH,
    "fmap_base": Range(1, 1 << 20),
    "fmap_decay": Range(-8, 8),
    "fmap_min": _WIDTH,
    "fmap_max": Range(1, 1 << 16),
    "fmap_const": Range(1, 1 << 16),
    "mbstd_num_features": _COUNT,
    "pagan_num": _COUNT,
    "score_size": _COUNT,
    "score_max": _COUNT,
}
_RANGE = Range(-(1 << 20), 1 << 20)
# Taps of a filter, sides of a grid; characters of the name of an activation.
_SIZE = Size(64)


def check(functions: Iterable[Callable], kwargs: Mapping[str, Any], where: str) -> None:
    """Checks keyword arguments that were read.

    Args:
        functions: build functions, each of which may be handed those of its siblings too.
        kwargs: {name: value}, of Python's own types.
        where: begins the message of an error: whose they are.

    Raises:
        UserError: no function has one of that name, or it is of another type, or too large.
    """
    kinds = _kinds(functions)
    for name, value in kwargs.items():
        if name not in kinds:
            raise UserError(f"{where}no network has a keyword argument {one_line(name, 60)!r}")
        kind = Annotated[kinds[name], _RANGES.get(name, _RANGE), _SIZE]
        schema.parse(kind, value, f"{where}keyword argument {name!r}")


def _kinds(functions: Iterable[Callable]) -> dict[str, Any]:
    """{name: annotation} of all parameters with a default; unions where functions differ."""
    kinds: dict[str, Any] = {}
    for function in functions:
        hints = typing.get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not parameter.empty and name not in NOT_STATIC:
                kind = _without_tensors(hints[name])
                kinds[name] = kind | kinds.get(name, kind)
    return kinds


def _without_tensors(kind: Any) -> Any:
    """An annotation without tensors, which no file holds."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    plain = [member for member in typing.get_args(kind) if member is not tf.Tensor]
    return functools.reduce(operator.or_, plain)
