"""Gradients of our own, in graphs that are freed when nobody needs them any more."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import tensorflow.compat.v1 as tf

_NAME = "TfOpsCustomGradient"
# Attribute of a graph: name of an operation -> its gradient. A graph that refers to itself is
# collected as a whole, where a table of this module would keep it.
_TABLE = "_tf_ops_gradients"


def custom_gradient(function: Callable[..., tuple[Any, Callable]]) -> Callable[..., Any]:
    """As `tf.custom_gradient`, for functions of tensors in graphs.

    TensorFlow registers each gradient under a new name for good, and with it all tensors that it
    refers to: no graph with such an operation is ever freed. Here all have one name.

    Args:
        function: returns a tensor or a tuple of tensors, and a function of the gradients of these
            that returns those of the arguments, one or a sequence, None for none.
    """

    @wraps(function)
    def call(*args: tf.Tensor) -> Any:
        results, gradient = function(*args)
        outputs = [results] if isinstance(results, tf.Tensor) else list(results)
        graph = outputs[0].graph

        def of_all(*d_outputs: tf.Tensor) -> list[tf.Tensor | None]:
            d_args = gradient(*d_outputs[: len(outputs)])
            d_args = [d_args] if isinstance(d_args, tf.Tensor) else list(d_args)
            return [None] * len(outputs) + d_args

        with graph.gradient_override_map({"IdentityN": _NAME}):
            identities = tf.identity_n([*outputs, *args])
        if not hasattr(graph, _TABLE):
            setattr(graph, _TABLE, {})
        getattr(graph, _TABLE)[identities[0].op.name] = of_all
        return identities[0] if isinstance(results, tf.Tensor) else identities[: len(outputs)]

    return call


@tf.RegisterGradient(_NAME)
def _gradient(op: tf.Operation, *d_outputs: tf.Tensor) -> list[tf.Tensor | None]:
    return getattr(op.graph, _TABLE)[op.name](*d_outputs)
