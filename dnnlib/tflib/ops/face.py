"""Turns an operation of `tf_ops` into the official function of that name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import UserError

_IMPL = "cuda"


def official_face(operation: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """The operation with the parameters up to `impl`, the last official one.

    `impl` is `cuda` for what is fastest here, also without GPU, or `ref` for plain TensorFlow;
    another one is a UserError.
    """
    signature = inspect.signature(operation)
    names = list(signature.parameters)
    official = [signature.parameters[name] for name in names[: names.index("impl") + 1]]
    official[-1] = official[-1].replace(default=_IMPL)
    signature = signature.replace(parameters=official)

    @functools.wraps(operation)
    def face(*args: Any, **kwargs: Any) -> tf.Tensor:
        bound = signature.bind(*args, **kwargs)
        impl = bound.arguments.setdefault("impl", _IMPL)
        if impl not in (_IMPL, "ref"):
            raise UserError(f"impl={impl!r}: use {_IMPL!r}, for what is fastest here, or 'ref'")
        return operation(**bound.arguments)

    face.__signature__ = signature
    return face
