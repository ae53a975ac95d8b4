"""Statistics of training, gathered inside the graph and read once a tick.

`autosummary(name, tensor)` adds accumulators for the count, sum and sum of squares of all that the
tensor holds each time it is evaluated. They live in the graph they belong to (a collection), not in
a module, so that two graphs never mix. Numbers that are no tensors are added at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil
from dnnlib.tflib.workers import ALONE, Alone

_COLLECTION = "autosummaries"
# [(name, placeholder of moments, op that adds them)] for numbers that are no tensors.
_FED = "fed_autosummaries"
# [(how many summaries of the user's own are merged, merged)], the last one counts.
_MERGED = "merged_summaries"


@dataclass(frozen=True)
class Moments:
    """What a statistic's values had in common since it was last read."""

    num: float
    mean: float
    std: float


def autosummary(name: str, value: Any, passthru: Any = None, condition: Any = True) -> Any:
    """Returns `value`, which adds to the statistic `name` whenever it is evaluated.

    Numbers that are not finite are left out: one of them would hide all others of a tick.

    Args:
        name: e.g. `Loss/scores/fake`. The same name may be used for several replicas.
        value: a tensor of any shape. Numbers that are no tensor count once, now.
        passthru: what is returned instead, and whose evaluation counts.
        condition: whether the value counts; a bool or a scalar tensor.
    """
    result = value if passthru is None else passthru
    if not tfutil.is_tf_expression(condition):
        if not condition:
            return result
        condition = None
    if not tfutil.is_tf_expression(value):
        if condition is not None or tfutil.is_tf_expression(passthru):
            value = tf.convert_to_tensor(value, tf.float32)
        else:
            _add_now(name, np.asarray(value, np.float64))
            return result
    moments = _moments(value)
    if condition is not None:
        moments = tf.where(condition, moments, tf.zeros_like(moments))
    with tf.control_dependencies([_add(name, moments)]):
        return tf.identity(value if passthru is None else passthru)


def _moments(value: tf.Tensor) -> tf.Tensor:
    """Count, sum and sum of squares of the finite numbers, float64 [3]."""
    numbers = tf.cast(tf.stop_gradient(value), tf.float32)
    finite = tf.is_finite(numbers)
    numbers = tf.where(finite, numbers, tf.zeros_like(numbers))
    return tf.stack(
        [
            tf.cast(tf.math.count_nonzero(finite), tf.float64),
            tf.cast(tf.reduce_sum(numbers), tf.float64),
            tf.reduce_sum(tf.square(tf.cast(numbers, tf.float64))),
        ]
    )


def _add(name: str, moments: tf.Tensor) -> tf.Operation:
    """An op that adds moments to a new accumulator of the statistic `name`."""
    with tf.name_scope(None), tf.control_dependencies(None), tf.device("/cpu:0"):
        scope = tf.get_default_graph().unique_name("Autosummary/" + name.replace(" ", "_"))
        accumulator = tf.Variable(
            np.zeros(3), dtype=tf.float64, trainable=False, name=scope, collections=[]
        )
    tf.add_to_collection(tf.GraphKeys.LOCAL_VARIABLES, accumulator)
    tf.add_to_collection(_COLLECTION, (name, accumulator))
    tfutil.initialize_later([accumulator])
    with tf.device("/cpu:0"):
        return accumulator.assign_add(moments, read_value=False)


def _add_now(name: str, numbers: np.ndarray) -> None:
    """Adds numbers to a statistic; ops are added to the graph at the first time only."""
    known = {fed: rest for fed, *rest in tf.get_collection(_FED)}
    if name not in known:
        with tf.name_scope(None), tf.control_dependencies(None):
            moments = tf.placeholder(tf.float64, [3], name="Autosummary/fed")
            known[name] = [moments, _add(name, moments)]
        tf.add_to_collection(_FED, (name, *known[name]))
    moments, add = known[name]
    finite = numbers[np.isfinite(numbers)]
    tfutil.run(add, {moments: [finite.size, finite.sum(), np.square(finite).sum()]})


def init_autosummaries() -> None:
    """Sets all statistics of the default graph to zero. Adds no ops."""
    tfutil.run([var.initializer for _, var in tf.get_collection(_COLLECTION)])


def read_autosummaries(workers: Alone = ALONE) -> dict[str, Moments]:
    """Statistics gathered since the last call, which start anew. Adds no ops.

    Args:
        workers: whose statistics are read, on all of them at the same time.

    Returns:
        Only those that were evaluated at least once, in the order in which they were declared.
    """
    entries = tf.get_collection(_COLLECTION)
    sums: dict[str, np.ndarray] = {}
    for (name, _), value in zip(entries, _total(workers), strict=True):
        sums[name] = sums.get(name, 0.0) + value
    init_autosummaries()
    results = {}
    for name, (num, total, squares) in sums.items():
        if num > 0:
            mean = total / num
            std = float(np.sqrt(max(squares / num - mean * mean, 0.0)))
            results[name] = Moments(float(num), float(mean), std)
    return results


def move_to_chief(workers: Alone) -> None:
    """Gives the chief the statistics of all workers, which read none of them any more."""
    variables = [var for _, var in tf.get_collection(_COLLECTION)]
    totals = _total(workers)
    if workers.is_chief:
        tfutil.set_vars(dict(zip(variables, totals, strict=True)))


def _total(workers: Alone) -> np.ndarray:
    """What the workers' accumulators hold, [N, 3]."""
    values = tfutil.run([var for _, var in tf.get_collection(_COLLECTION)])
    return workers.total(np.reshape(values, [-1, 3]))


def finalize_autosummaries() -> None:
    """Sets those statistics that were never evaluated to zero.

    The official function, after which no statistic could be declared; here they can.
    """
    tfutil.init_uninitialized_vars([var for _, var in tf.get_collection(_COLLECTION)])


def save_summaries(file_writer: tf.summary.FileWriter, global_step: int | None = None) -> None:
    """Writes the means of all statistics, which start anew, and the user's own `tf.summary` ops.

    Args:
        file_writer: what TensorBoard reads.
        global_step: place on its horizontal axis.
    """
    merged = _merged_summaries()
    if merged is not None:
        file_writer.add_summary(tfutil.run(merged), global_step)
    summary = tf.Summary()
    for name, moments in read_autosummaries().items():
        summary.value.add(tag=name, simple_value=moments.mean)
    file_writer.add_summary(summary, global_step)


def _merged_summaries() -> tf.Tensor | None:
    """All summary ops of the default graph as one; made anew only if there are more of them."""
    count = len(tf.get_collection(tf.GraphKeys.SUMMARIES))
    known = tf.get_collection_ref(_MERGED)
    if not known or known[-1][0] != count:
        known.append((count, tf.summary.merge_all()))
    return known[-1][1]
