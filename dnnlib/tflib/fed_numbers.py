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
        self._entered: list[types.FunctionType] = []  # Functions that are being looked into.

    def keywords(self, kwargs: Mapping[str, Any]) -> Split:
        """Keyword arguments of a build function."""
        keys, values = [], {}
        for name, value in sorted(kwargs.items()):
            array = _as_numbers(value) if name in self._declared else None
            if array is None:
                key, values[name] = self._given(value)
            else:
                key, values[name] = (array.dtype.str, array.shape), self._take(array)
            keys.append((name, key))
        return tuple(keys), values

    def transform(self, transform: Mapping[str, Any] | None) -> Split:
        """A transform of inputs or outputs: {"func": function, name: keyword argument}."""
        if transform is None:
            return None, None
        parts = {name: self._given(value) for name, value in sorted(transform.items())}
        return tuple((n, p[0]) for n, p in parts.items()), {n: p[1] for n, p in parts.items()}

    def _given(self, value: Any) -> Split:
        """A value that the caller gives."""
        if isinstance(value, Mapping):
            return self._collection(dict(value), self._given)
        if isinstance(value, (list, tuple)) and len(value) <= _MAX_ITEMS:
            return self._collection(value, self._given)
        try:
            return self._captured(value, frozenset(), None)
        except _Opaque:
            return _Identity(value), value

    def _captured(self, value: Any, names: frozenset[str], module: dict | None) -> Split:
        """A value that a function has captured.

        Args:
            value: any.
            names: all that the function's code names, attributes too.
            module: the globals of the function; None for the function itself.
        """
        if isinstance(value, (float, np.floating)):
            if self._all_floats:
                return float, self._take(np.asarray(value, np.float32))
            return (float, float(value)), value
        if isinstance(value, _PLAIN):
            return (type(value), value), value
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return (value.dtype.str, value.shape, value.tobytes()), value
        if isinstance(value, (dict, list, tuple)) and len(value) <= _MAX_ITEMS:
            return self._collection(value, lambda v: self._captured(v, names, module))
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            key, new = self._collection(parts, lambda v: self._captured(v, names, module))
            return (functools.partial, key), functools.partial(new[0], *new[1], **new[2])
        if isinstance(value, (types.ModuleType, type)):
            # Attributes may be set anew. Without numbers to feed: modules cannot be copied.
            plain = copy.copy(self)
            plain._all_floats = False
            attributes = [(n, getattr(value, n)) for n in sorted(names) if hasattr(value, n)]
            keys = [(n, plain._captured(v, names, module)[0]) for n, v in attributes]
            return (_Identity(value), tuple(keys)), value
        if isinstance(value, types.FunctionType):
            # What functions of other modules read is their own affair.
            if module is None or module is value.__globals__:
                return self._function(value, names)
            return _Identity(value), value
        if isinstance(value, _CONSTANT) or tfutil.is_tf_expression(value):
            return _Identity(value), value
        raise _Opaque

    def _function(self, function: types.FunctionType, names: frozenset[str]) -> Split:
        if function in self._entered:  # It may call itself.
            raise _Opaque
        code, module = function.__code__, function.__globals__
        inner = _names(code)
        parts = {
            "cells": tuple(_content(cell) for cell in function.__closure__ or ()),
            "defaults": function.__defaults__,
            "kwdefaults": function.__kwdefaults__,
            "globals": {n: module[n] for n in sorted(inner) if n in module},
        }
        self._entered.append(function)
        try:
            key, new = self._collection(parts, lambda v: self._captured(v, names | inner, module))
        finally:
            self._entered.pop()
        key = (code, key)
        if new is parts:
            return key, function
        cells = tuple(map(types.CellType, new["cells"])) or None
        scope = module if new["globals"] is parts["globals"] else {**module, **new["globals"]}
        changed = types.FunctionType(code, scope, function.__name__, new["defaults"], cells)
        changed.__kwdefaults__ = new["kwdefaults"]
        return key, changed

    def _collection(self, value: Any, split: Callable[[Any], Split]) -> Split:
        """A list, tuple or dict; the very object where nothing in it was taken."""
        is_dict = isinstance(value, dict)
        old = list(value.values()) if is_dict else list(value)
        parts = [split(v) for v in old]
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
