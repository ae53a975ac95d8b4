"""What a run of a graph computes: the work and the time of each operation in it.

Of what TensorFlow executes, after its optimizers have rewritten the graph, with the shapes that
were there. Work is counted for convolutions and matrix products, their gradients among them, as
additions and multiplications; filters, biases and sums are none.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import tflib

# oneDNN and the optimizers put these before the name of an operation that they replace.
_PREFIXES = re.compile(r"^(_MklNative|_Mkl|_Fused)+")


@dataclass(frozen=True)
class Convolution:
    """Which convolution, or gradient of one, an operation is.

    Attributes:
        kind: Conv2D, Conv2DBackpropInput or Conv2DBackpropFilter.
        values, kernel, results: shapes of the images that go in, of the kernel and of what comes
            out of a Conv2D; of gradients those of the convolution that they are of.
        strides, padding, data_format, dtype: as TensorFlow has them.
    """

    kind: str
    values: tuple[int, ...]
    kernel: tuple[int, ...]
    results: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str
    data_format: str
    dtype: tf.DType

    def build(self) -> tf.Operation:
        """The same of numbers of its own, in the default graph."""
        values, kernel, results = (
            tf.Variable(tf.cast(tf.random_normal(shape), self.dtype))
            for shape in (self.values, self.kernel, self.results)
        )
        options = (self.strides, self.padding, True, self.data_format)
        if self.kind == "Conv2D":
            return tf.nn.conv2d(values, kernel, *options).op
        if self.kind == "Conv2DBackpropInput":
            return tf.nn.conv2d_backprop_input(self.values, kernel, results, *options).op
        return tf.nn.conv2d_backprop_filter(values, self.kernel, results, *options).op


@dataclass(frozen=True)
class OpWork:
    """An operation that was executed.

    Attributes:
        kind: name of the operation, e.g. Conv2D.
        flops: additions and multiplications, of convolutions and matrix products.
        seconds: that it took, on one thread or several.
        convolution: which one it is, if it is one.
    """

    kind: str
    flops: int
    seconds: float
    convolution: Convolution | None = None


def executed(fetches: Any, feed_dict: Mapping[tf.Tensor, Any] | None = None) -> list[OpWork]:
    """Runs `fetches` in the default session; what was executed for them.

    Being watched takes time of its own: use other runs to tell how long one takes.
    """
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE, output_partition_graphs=True)
    metadata = tf.RunMetadata()
    tflib.run(fetches, feed_dict, options=options, run_metadata=metadata)
    nodes = {node.name: node for graph in metadata.partition_graphs for node in graph.node}
    stats = {s.node_name: s for d in metadata.step_stats.dev_stats for s in d.node_stats}
    shapes = {
        f"{name}:{output.slot}": [d.size for d in output.tensor_description.shape.dim]
        for name, stat in stats.items()
        for output in stat.output
    }
    return [
        _work(nodes[name], shapes, stat.op_end_rel_micros / 1e6)
        for name, stat in stats.items()
        if name in nodes
    ]


def seconds_alone(ops: Iterable[OpWork], repeats: int = 5) -> float:
    """What the convolutions among `ops` take with nothing beside them, one after another.

    Each runs again for itself, at its best of `repeats` times.
    """
    counts = Counter(op.convolution for op in ops if op.convolution)
    total = 0.0
    for convolution, count in counts.items():
        with tflib.graph_session():
            op = convolution.build()
            tflib.init_uninitialized_vars()
            tflib.run(op)
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                tflib.run(op)
                times.append(time.perf_counter() - start)
        total += count * min(times)
    return total


def by_kind(ops: Iterable[OpWork]) -> list[OpWork]:
    """Sums of the operations of each kind, the slowest first."""
    sums: dict[str, OpWork] = {}
    for op in ops:
        old = sums.get(op.kind, OpWork(op.kind, 0, 0.0))
        sums[op.kind] = OpWork(op.kind, old.flops + op.flops, old.seconds + op.seconds)
    return sorted(sums.values(), key=lambda op: -op.seconds)


def _work(node: tf.NodeDef, shapes: Mapping[str, list[int]], seconds: float) -> OpWork:
    kind = _PREFIXES.sub("", node.op)
    inputs = [
        shapes.get(name if ":" in name else f"{name}:0", [])
        for name in node.input
        if not name.startswith("^")
    ]
    output = shapes.get(f"{node.name}:0", [])
    if kind in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = node.attr["transpose_a"].b or node.attr["adj_x"].b
        flops = 2 * math.prod(output) * inputs[0][-2 if transposed else -1]
        return OpWork(node.op, flops, seconds)
    if kind == "Conv2D":
        sizes = (inputs[0], inputs[1], output)
    elif kind == "Conv2DBackpropInput":
        sizes = (output, inputs[1], inputs[2])
    elif kind == "Conv2DBackpropFilter":
        sizes = (inputs[0], output, inputs[2])
    else:
        return OpWork(node.op, 0, seconds)
    values, kernel, results = (tuple(size) for size in sizes)
    attributes = node.attr
    convolution = Convolution(
        kind,
        values,
        kernel,
        results,
        tuple(attributes["strides"].list.i),
        attributes["padding"].s.decode(),
        attributes["data_format"].s.decode(),
        tf.as_dtype(attributes["T"].type),
    )
    # [height, width, maps that a map of the results sees, maps of the results]
    flops = 2 * math.prod(results) * math.prod(kernel[:3])
    return OpWork(node.op, flops, seconds, convolution)
