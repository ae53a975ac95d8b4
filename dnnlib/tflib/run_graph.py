"""The graph behind `Network.run`: placeholders, shared among devices, through the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil

if TYPE_CHECKING:
    from dnnlib.tflib.network import Network


def build(
    network: Network,
    input_transform: Mapping[str, Any] | None,
    output_transform: Mapping[str, Any] | None,
    num_gpus: int,
    dynamic_kwargs: Mapping[str, Any],
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """(placeholders, outputs); the arguments are those of `Network.run`."""
    devices = tfutil.replica_devices(num_gpus)
    with tf.name_scope(None), tfutil.absolute_name_scope(network.scope + "/_Run"):
        inputs = [tf.placeholder(tf.float32, [None, *s[1:]]) for s in network.input_shapes]
        # Nearly equal parts, so that any minibatch can be shared by any number of devices.
        rows = tf.shape(inputs[0])[0]
        bounds = [rows * i // len(devices) for i in range(len(devices) + 1)]
        parts = []
        for i, device in enumerate(devices):
            with tf.device(device), tf.name_scope(f"Replica{i}"):
                part = [t[bounds[i] : bounds[i + 1]] for t in inputs]
                part = _transform(part, input_transform)
                part = network.get_output_for(*part, return_as_list=True, **dynamic_kwargs)
                parts.append(_transform(part, output_transform))
        outputs = [tf.concat(column, axis=0) for column in zip(*parts, strict=True)]
    return inputs, outputs


def cache_key(options: Any) -> Any:
    """A hashable form of options: equal for equal ones."""
    if isinstance(options, Mapping):
        return tuple(sorted((k, cache_key(v)) for k, v in options.items()))
    if isinstance(options, (list, tuple)):
        return tuple(cache_key(v) for v in options)
    return (options.shape, options.tobytes()) if isinstance(options, np.ndarray) else options


def _transform(tensors: list[tf.Tensor], transform: Mapping[str, Any] | None) -> list[tf.Tensor]:
    if transform is None:
        return tensors
    options = dict(transform)
    result = options.pop("func")(*tensors, **options)
    return list(result) if isinstance(result, (tuple, list)) else [result]
