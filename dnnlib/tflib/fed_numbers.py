"""Which numbers among the options of `Network.run` are fed, so that new values need no new graph.

Options are split into numbers and all the rest: options with an equal rest share an expression, in
which placeholders take the place of the numbers. Fed are

- keyword arguments that a build function annotates with `tf.Tensor`, if they are numbers;
- other floats: in keyword arguments, in the items of a transform, and in what its function has
  captured in a closure, in defaults, or in the globals that it reads.

A function that is made anew for each call, like a lambda, is the same if its code and what it has
captured are. Whole numbers are not fed unless annotated: they may be sizes, axes, counts.
"""

from __future__ import annotations

import copy
import enum
import functools
import types
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil
from dnnlib.tflib.network_variables import NetworkVariables

# Longer collections are compared by identity: looking through them would take too long.
_MAX_ITEMS = 1000
_PLAIN = (type(None), bool, int, complex, str, bytes, range, type(...), enum.Enum)
_PLAIN += (np.generic, np.dtype, tf.DType)
_CONSTANT = (types.BuiltinFunctionType, np.ufunc, tf.Tensor, tf.Operation, NetworkVariables)

Split = tuple[Hashable, Any]  # What identifies a value but for its numbers; the value to use.


class Splitter:
    """Splits options.

    Args:
        declared: names of the keyword arguments that are fed if they are numbers.
        all_floats: whether other floats are fed too.
        take: called with each number that is fed, in the same order whenever the rest is equal;
            returns what takes its place.
    """

    def __init__(
        self, declared: frozenset[str], all_floats: bool, take: Callable[[np.ndarray], Any]
    ):
        self._declared = declared
        self._all_floats = all_floats
        self._take = take
        self._entered: tuple[types.FunctionType, ...] = ()  # Those that are being looked into.
        self._names: frozenset[str] = frozenset()  # All that their code names, attributes too.

    def keywords(self, kwargs: Mapping[str, Any]) -> Split:
        """Keyword arguments of a build function."""
        keys, values = {}, {}
        for name, value in sorted(kwargs.items()):
            array = _as_numbers(value) if name in self._declared else None
            if array is None:
                keys[name], values[name] = self._split(value)
            else:
                keys[name], values[name] = (array.dtype.str, array.shape), self._take(array)
        return tuple(keys.items()), values

    def transform(self, transform: Mapping[str, Any] | None) -> Split:
        """A transform of inputs or outputs: {"func": function, name: keyword argument}."""
        return self._split(transform and dict(sorted(transform.items())))

    def _split(self, value: Any) -> Split:
        """Any value: one that the caller gives, or that a function has captured."""
        if isinstance(value, (float, np.floating)):
            if self._all_floats:
                return float, self._take(np.asarray(value, np.float32))
            return (float, float(value)), value
        if isinstance(value, _PLAIN):
            return (type(value), value), value
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return (value.dtype.str, value.shape, value.tobytes()), value
        if isinstance(value, (dict, list, tuple)) and len(value) <= _MAX_ITEMS:
            return self._collection(value)
        try:
            return self._captured(value)
        except _Opaque:
            if self._entered:  # The function that has it may change without being another one.
                raise
            return _Identity(value), value

    def _captured(self, value: Any) -> Split:
        if isinstance(value, functools.partial):
            key, (func, args, kwargs) = self._collection((value.func, value.args, value.keywords))
            return (functools.partial, key), functools.partial(func, *args, **kwargs)
        if isinstance(value, (types.ModuleType, type)):
            # Attributes may be set anew. Without numbers to feed: modules cannot be copied.
            plain = copy.copy(self)
            plain._all_floats = False
            attributes = {n: getattr(value, n) for n in sorted(self._names) if hasattr(value, n)}
            return (_Identity(value), plain._collection(attributes)[0]), value
        if isinstance(value, types.FunctionType):
            # What functions of other modules read is their own affair.
            is_own = not self._entered or value.__globals__ is self._entered[-1].__globals__
            return self._function(value) if is_own else (_Identity(value), value)
        if isinstance(value, _CONSTANT) or tfutil.is_tf_expression(value):
            return _Identity(value), value
        raise _Opaque

    def _function(self, function: types.FunctionType) -> Split:
        if function in self._entered:  # It may call itself.
            raise _Opaque
        inner = copy.copy(self)
        inner._entered = (*self._entered, function)
        inner._names = self._names | _names(function.__code__)
        module = function.__globals__
        parts = {
            "cells": tuple(_content(cell) for cell in function.__closure__ or ()),
            "defaults": function.__defaults__,
            "kwdefaults": function.__kwdefaults__,
            "globals": {n: module[n] for n in sorted(_names(function.__code__)) if n in module},
        }
        key, new = inner._collection(parts)
        if new is parts:
            return (function.__code__, key), function
        cells = tuple(map(types.CellType, new["cells"])) or None
        scope = module if new["globals"] is parts["globals"] else {**module, **new["globals"]}
        changed = types.FunctionType(
            function.__code__, scope, function.__name__, new["defaults"], cells
        )
        changed.__kwdefaults__ = new["kwdefaults"]
        return (function.__code__, key), changed

    def _collection(self, value: Any) -> Split:
        """A list, tuple or dict; the very object where nothing in it was taken."""
        is_dict = isinstance(value, dict)
        old = list(value.values()) if is_dict else list(value)
        parts = [self._split(v) for v in old]
        new = [p[1] for p in parts]
        names = tuple((type(n), n) for n in value) if is_dict else ()
        key = (type(value), names, tuple(p[0] for p in parts))
        if all(n is o for n, o in zip(new, old, strict=True)):
            return key, value
        if is_dict:
            return key, dict(zip(value, new, strict=True))
        return key, type(value)(*new) if hasattr(value, "_fields") else type(value)(new)


class _Opaque(Exception):
    """A value that may change without being another one."""


class _Identity:
    """Equal for the same object only, which it keeps alive."""

    def __init__(self, value: Any):
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


def _as_numbers(value: Any) -> np.ndarray | None:
    """A number or an array of numbers as it is fed; None for other values."""
    if value is None or isinstance(value, str) or tfutil.is_tf_expression(value):
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return None
    # Single numbers are amounts, several whole ones are seeds.
    return array.astype(np.float32 if array.ndim == 0 or array.dtype.kind == "f" else np.int32)


@functools.cache
def _names(code: types.CodeType) -> frozenset[str]:
    """All names of globals and attributes in code, in the functions within it too."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return frozenset(code.co_names).union(*inner)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Not set yet.
        raise _Opaque from None
