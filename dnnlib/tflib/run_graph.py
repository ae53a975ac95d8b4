"""What is behind `Network.run`: its inputs in minibatches, and the graph that they go through."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.output import tqdm
from dnnlib.tflib import tfutil
from dnnlib.tflib.fed_numbers import Splitter

# Expressions of one network, at which the user is told that each takes memory: graphs never shrink.
_MANY = 100


class RunnableNetwork(Protocol):
    """What an expression needs of a network."""

    name: str
    scope: str
    input_names: list[str]
    input_shapes: list[list[int | None]]
    tensor_keywords: frozenset[str]

    def get_output_for(self, *in_expr: tf.Tensor, **dynamic_kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Options:
    """What decides about an expression; the arguments of `Network.run` of these names."""

    input_transform: Mapping[str, Any] | None
    output_transform: Mapping[str, Any] | None
    num_gpus: int
    dynamic_kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Expression:
    """Tensors to feed and to fetch.

    Attributes:
        inputs: placeholders of the network's inputs.
        numbers: placeholders of numbers among the options.
        outputs: of the network, after the transform.
    """

    inputs: list[tf.Tensor]
    numbers: list[tf.Tensor]
    outputs: list[tf.Tensor]


def complete_inputs(
    network: RunnableNetwork, arrays: Sequence[np.ndarray | None]
) -> list[np.ndarray]:
    """The inputs of a network, all of as many rows, with zeros in the place of None.

    Raises:
        ValueError: another number of inputs, or of rows.
    """
    if len(arrays) != len(network.input_names):
        raise ValueError(f"{network.name} takes {network.input_names}, got {len(arrays)} inputs")
    count = next(len(array) for array in arrays if array is not None)
    complete = []
    for name, array, shape in zip(network.input_names, arrays, network.input_shapes, strict=True):
        if array is not None:
            complete.append(np.asarray(array))
            continue
        complete.append(np.zeros([count, *shape[1:]], np.float32))
        if shape[1:] != [0]:
            size = ", ".join(map(str, ["N", *shape[1:]]))
            warnings.warn(
                f"{network.name}.run: {name} is None, so all zeros are used: give [{size}]",
                stacklevel=3,
            )
    if any(len(array) != count for array in complete):
        raise ValueError(f"{network.name}: inputs of {[len(a) for a in complete]} rows")
    return complete


def minibatches(
    name: str, arrays: Sequence[np.ndarray], size: int | None, print_progress: bool
) -> Iterator[list[np.ndarray]]:
    """The same rows of all arrays, `size` at once, all of them if None; one minibatch at least.

    Args:
        name: what the progress bar is of.
        arrays: all of as many rows.
        size: rows of a minibatch.
        print_progress: show a progress bar where stderr is a screen.
    """
    count = len(arrays[0])
    step = max(size or count, 1)
    disable = None if print_progress else True  # None: only where stderr is no screen.
    with tqdm(total=count, desc=name, unit="sample", disable=disable) as progress:
        for begin in range(0, max(count, 1), step):
            rows = [array[begin : begin + step] for array in arrays]
            yield rows
            progress.update(len(rows[0]))


def find(
    network: RunnableNetwork, cache: dict[Any, Expression | None], options: Options
) -> tuple[Expression, list[np.ndarray]]:
    """The expression for options, which is built if there is none yet, and the numbers to feed.

    Args:
        network: what is run, in its own graph as the default one.
        cache: expressions that were built, by what identifies them; None where not all floats can
            be fed, as functions need some of them as Python's numbers.
        options: see `Network.run`.
    """
    declared = network.tensor_keywords
    numbers: list[np.ndarray] = []
    key, _ = _split(options, declared, True, _collect(numbers))
    if expression := cache.get(key):
        return expression, numbers
    plain_numbers: list[np.ndarray] = []
    plain_key, _ = _split(options, declared, False, _collect(plain_numbers))
    with tfutil.BUILDING:
        if key not in cache and key != plain_key:
            try:
                cache[key] = _build(network, options, declared, True)
            except Exception:  # Of any kind, raised by functions that had not expected a tensor.
                cache[key] = None
        if expression := cache.get(key):  # Maybe built by another thread in the meantime.
            return expression, numbers
        if plain_key not in cache:
            cache[plain_key] = _build(network, options, declared, False)
            if len(cache) == _MANY:
                warnings.warn(
                    f"network {network.name} has built {_MANY} expressions for different options "
                    "of run(), which stay in memory: give numbers as floats, and functions that "
                    "capture nothing but numbers",
                    stacklevel=3,
                )
        return cache[plain_key], plain_numbers


def _build(
    network: RunnableNetwork, options: Options, declared: frozenset[str], all_floats: bool
) -> Expression:
    devices = tfutil.replica_devices(options.num_gpus)
    numbers: list[tf.Tensor] = []
    with (
        tf.name_scope(None),
        tf.control_dependencies(None),
        tf.device(None),
        tfutil.absolute_name_scope(network.scope + "/_Run"),
    ):
        # Names of inputs and outputs are the official ones: scripts fetch `…/_Run/concat:0`.
        inputs = [
            tf.placeholder(tf.float32, [None, *shape[1:]], name)
            for name, shape in zip(network.input_names, network.input_shapes, strict=True)
        ]

        def take(number: np.ndarray) -> tf.Tensor:
            numbers.append(tf.placeholder(number.dtype, number.shape))
            return numbers[-1]

        _, plan = _split(options, declared, all_floats, take)
        # Nearly equal parts, so that any minibatch can be shared by any number of devices.
        rows = tf.shape(inputs[0])[0]
        bounds = [rows * i // len(devices) for i in range(len(devices) + 1)]
        parts = []
        for i, device in enumerate(devices):
            with tf.device(device), tf.name_scope(f"Replica{i}"):
                part = [t[bounds[i] : bounds[i + 1]] for t in inputs]
                part = _transform(part, plan.input_transform)
                kwargs = plan.dynamic_kwargs
                part = network.get_output_for(*part, return_as_list=True, **kwargs)
                parts.append(_transform(part, plan.output_transform))
        outputs = [
            tf.concat(column, axis=0, name="concat")
            if len(column) > 1
            else tf.identity(column[0], name="concat")
            for column in zip(*parts, strict=True)
        ]
    return Expression(inputs, numbers, outputs)


def _split(
    options: Options,
    declared: frozenset[str],
    all_floats: bool,
    take: Callable[[np.ndarray], Any],
) -> tuple[Any, Options]:
    """(what identifies an expression, options with what `take` gave for numbers)."""
    splitter = Splitter(declared, all_floats, take)
    before, input_transform = splitter.transform(options.input_transform)
    after, output_transform = splitter.transform(options.output_transform)
    kwargs, dynamic_kwargs = splitter.keywords(options.dynamic_kwargs)
    plan = Options(input_transform, output_transform, options.num_gpus, dynamic_kwargs)
    return (before, after, options.num_gpus, kwargs), plan


def _collect(numbers: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def take(number: np.ndarray) -> np.ndarray:
        numbers.append(number)
        return number

    return take


def _transform(tensors: list[tf.Tensor], transform: Mapping[str, Any] | None) -> list[tf.Tensor]:
    if transform is None:
        return tensors
    options = dict(transform)
    result = options.pop("func")(*tensors, **options)
    return list(result) if isinstance(result, (tuple, list)) else [result]
