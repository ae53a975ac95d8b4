"""Statistics of training, gathered inside the graph and read once a tick.

`autosummary(name, tensor)` adds accumulators for the count, sum and sum of squares of all that the
tensor holds each time it is evaluated. They live in the graph they belong to (a collection), not in
a module, so that two graphs never mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil

_COLLECTION = "autosummaries"


@dataclass(frozen=True)
class Moments:
    """What a statistic's values had in common since it was last read."""

    num: float
    mean: float
    std: float


def autosummary(name: str, value: tf.Tensor) -> tf.Tensor:
    """Returns `value`, which adds to the statistic `name` whenever it is evaluated.

    Numbers that are not finite are left out: one of them would hide all others of a tick.

    Args:
        name: e.g. `Loss/scores/fake`. The same name may be used for several replicas.
        value: numbers of any shape.
    """
    numbers = tf.cast(tf.stop_gradient(value), tf.float32)
    finite = tf.is_finite(numbers)
    numbers = tf.where(finite, numbers, tf.zeros_like(numbers))
    moments = tf.stack(
        [
            tf.cast(tf.math.count_nonzero(finite), tf.float64),
            tf.cast(tf.reduce_sum(numbers), tf.float64),
            tf.reduce_sum(tf.square(tf.cast(numbers, tf.float64))),
        ]
    )
    with tf.name_scope(None), tf.control_dependencies(None), tf.device("/cpu:0"):
        scope = tf.get_default_graph().unique_name("Autosummary/" + name.replace(" ", "_"))
        accumulator = tf.Variable(
            np.zeros(3), dtype=tf.float64, trainable=False, name=scope, collections=[]
        )
    tf.add_to_collection(tf.GraphKeys.LOCAL_VARIABLES, accumulator)
    tf.add_to_collection(_COLLECTION, (name, accumulator))
    with tf.device("/cpu:0"):
        update = accumulator.assign_add(moments, read_value=False)
    with tf.control_dependencies([update]):
        return tf.identity(value)


def init_autosummaries() -> None:
    """Sets all statistics of the default graph to zero. Adds no ops."""
    tfutil.run([var.initializer for _, var in tf.get_collection(_COLLECTION)])


def read_autosummaries() -> dict[str, Moments]:
    """Statistics gathered since the last call, which start anew. Adds no ops.

    Returns:
        Only those that were evaluated at least once, in the order in which they were declared.
    """
    entries = tf.get_collection(_COLLECTION)
    sums: dict[str, np.ndarray] = {}
    values = tfutil.run([var for _, var in entries])
    for (name, _), value in zip(entries, values, strict=True):
        sums[name] = sums.get(name, 0.0) + value
    init_autosummaries()
    results = {}
    for name, (num, total, squares) in sums.items():
        if num > 0:
            mean = total / num
            std = float(np.sqrt(max(squares / num - mean * mean, 0.0)))
            results[name] = Moments(float(num), float(mean), std)
    return results
