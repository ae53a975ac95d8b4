"""What a run of a graph computes: the work and the time of each operation in it.

Of what TensorFlow executes, after its optimizers have rewritten the graph, with the shapes that
were there. Work is counted for convolutions and matrix products, their gradients among them, as
additions and multiplications; filters, biases and sums are none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import tflib

# oneDNN and the optimizers put these before the name of an operation that they replace.
_PREFIXES = re.compile(r"^(_MklNative|_Mkl|_Fused)+")


@dataclass(frozen=True)
class OpWork:
    """An operation that was executed.

    Attributes:
        kind: name of the operation, e.g. Conv2D.
        flops: additions and multiplications, of convolutions and matrix products.
        seconds: that it took, on one thread or several.
    """

    kind: str
    flops: int
    seconds: float


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
        OpWork(nodes[name].op, _flops(nodes[name], shapes), stat.op_end_rel_micros / 1e6)
        for name, stat in stats.items()
        if name in nodes
    ]


def by_kind(ops: Iterable[OpWork]) -> list[OpWork]:
    """Sums of the operations of each kind, the slowest first."""
    sums: dict[str, OpWork] = {}
    for op in ops:
        old = sums.get(op.kind, OpWork(op.kind, 0, 0.0))
        sums[op.kind] = OpWork(op.kind, old.flops + op.flops, old.seconds + op.seconds)
    return sorted(sums.values(), key=lambda op: -op.seconds)


def _flops(node: tf.NodeDef, shapes: Mapping[str, list[int]]) -> int:
    kind = _PREFIXES.sub("", node.op)
    inputs = [
        shapes.get(name if ":" in name else f"{name}:0", [])
        for name in node.input
        if not name.startswith("^")
    ]
    output = shapes.get(f"{node.name}:0", [])
    if kind == "Conv2D":
        kernel, values = inputs[1], output
    elif kind == "Conv2DBackpropInput":
        kernel, values = inputs[1], inputs[2]
    elif kind == "Conv2DBackpropFilter":
        kernel, values = output, inputs[2]
    elif kind in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = node.attr["transpose_a"].b or node.attr["adj_x"].b
        return 2 * math.prod(output) * inputs[0][-2 if transposed else -1]
    else:
        return 0
    # [height, width, maps that a map of the other side sees, maps of the other side]
    return 2 * math.prod(values) * math.prod(kernel[:3])
