"""Frozen TensorFlow graphs as data: what of a GraphDef is taken, and how it is made to fit.

A GraphDef is a program. Only operations that compute are let in; those that read or write files,
call Python or keep state are not on the list, so that a file from anywhere can be used. What the
list cannot rule out, such as sizes that crash a kernel, is contained by `graph_process`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.util import one_line

_MAX_FILE = 2 << 30  # Of a protocol buffer.
_MAX_NODES = 200_000  # With every call of a function counted as the nodes in it.
_MAX_NUMBERS = 1 << 29  # In all constants, however they are written.

ALLOWED_OPS = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3
    BatchNormWithGlobalNormalization BatchToSpaceND BiasAdd BiasAddV1 BroadcastTo Cast Ceil
    CheckNumerics ClipByValue Concat ConcatV2 Const Conv2D Cos DepthToSpace DepthwiseConv2dNative
    Div DivNoNan Einsum Elu Equal Erf Erfc Exp ExpandDims Fill Floor FloorDiv FloorMod
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual
    Identity IdentityN L2Loss LRN LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd
    LogicalNot LogicalOr MatMul Max MaxPool MaxPoolV2 Maximum Mean Merge Min Minimum MirrorPad Mul
    Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 PartitionedCall Placeholder
    PlaceholderWithDefault Pow PreventGradient Prod Range Rank RealDiv Reciprocal Relu Relu6
    Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt
    Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Snapshot Softmax Softplus
    Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze
    StatefulPartitionedCall StopGradient StridedSlice Sub Sum Switch Tanh Tile TopKV2 Transpose
    Unpack Where Xdivy Xlogy ZerosLike
    """.split()
)


def read_file(path: str) -> bytes:
    """The bytes of a file that is no larger than a graph can be.

    Raises:
        UserError: it cannot be read, is larger, or is no regular file.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _MAX_FILE:
                raise UserError(f"{path} is larger than the {_MAX_FILE} bytes of a graph")
            return file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def parse_graph(content: bytes, where: str) -> tf.GraphDef:
    """A GraphDef from the bytes of a `.pb` file.

    Raises:
        UserError: they are something else.
    """
    try:
        graph = tf.GraphDef.FromString(content)
    except DecodeError as error:
        raise UserError(f"{where} is not a frozen TensorFlow graph: {one_line(error)}") from error
    if not graph.node:
        raise UserError(f"{where} is not a frozen TensorFlow graph: it has no nodes")
    return graph


def cut_out(
    graph: tf.GraphDef, input_node: str, output_nodes: Sequence[str], where: str
) -> tf.GraphDef:
    """The part of a graph between an input and outputs, ready to import.

    Everything before the input (as the JPEG decoder of a classifier) is left out. The input becomes
    a placeholder, and what TensorFlow has given up since the file was written is put in today's
    terms.

    Args:
        graph: as it was read.
        input_node, output_nodes: names of nodes.
        where: the file, for messages.

    Raises:
        UserError: a node is missing, or is of a type that is not allowed.
    """
    nodes = {node.name: node for node in graph.node}
    for name in (input_node, *output_nodes):
        if name not in nodes:
            raise UserError(f"{where} has no node {name!r}")
    needed, waiting = {input_node}, list(output_nodes)
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        if name not in nodes:
            raise UserError(f"{where} is incomplete: node {name!r} is missing")
        needed.add(name)
        waiting += [node_of(i) for i in nodes[name].input]
    kept = [nodes[name] for name in nodes if name in needed]
    part = tf.GraphDef()
    placeholder = part.node.add(name=input_node, op="Placeholder")
    placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
    placeholder.attr["shape"].shape.unknown_rank = True
    for node in kept:
        if node.name != input_node:
            part.node.add().CopyFrom(node)
    part.library.CopyFrom(reachable_functions(graph, part))
    check(part, where)
    _modernize(part)
    part.versions.producer = tf.version.GRAPH_DEF_VERSION
    return part


def check(graph: tf.GraphDef, where: str, also: Iterable[str] = ()) -> None:
    """Refuses what a graph of a feature network does not have, in functions too.

    Args:
        graph: with its library of functions.
        where: the file, for messages.
        also: operations besides `ALLOWED_OPS`.

    Raises:
        UserError: an operation that is not allowed, a cycle of nodes, a function that calls itself,
            more nodes or larger constants than any network has.
    """
    library = {f.signature.name: f.node_def for f in graph.library.function}
    allowed = ALLOWED_OPS | set(library) | set(also)
    for node in [n for nodes in (graph.node, *library.values()) for n in nodes]:
        if node.op not in allowed:
            raise UserError(
                f"{where} holds the operation {one_line(node.op, 60)} (node "
                f"{one_line(node.name, 80)}), which is not one that a feature network may use"
            )
    _check_cycles(graph.node, "nodes", where)
    for nodes in library.values():
        _check_cycles(nodes, "nodes", where)
    _check_calls(graph.node, library, where)
    _check_constants([n for nodes in (graph.node, *library.values()) for n in nodes], where)


def _check_cycles(nodes, what: str, where: str) -> None:
    inputs = {node.name: {node_of(i) for i in node.input} for node in nodes}
    try:
        TopologicalSorter(inputs).prepare()
    except CycleError as error:
        raise UserError(f"{where} has a cycle of {what}: {one_line(error.args[1], 200)}") from error


def _check_calls(nodes, library: dict, where: str) -> None:
    """A call counts as the nodes of its function: a few calls of calls would be billions."""
    called = {name: _called(body, library) for name, body in library.items()}
    try:
        order = list(TopologicalSorter(called).static_order())
    except CycleError as error:
        names = one_line(error.args[1], 200)
        raise UserError(f"{where} has functions that call themselves: {names}") from error
    sizes: dict[str, int] = {}
    for name in order:  # Those that are called come first.
        sizes[name] = len(library[name]) + sum(sizes[n] for n in called[name])
    total = len(nodes) + sum(sizes[name] for name in _called(nodes, library))
    if total > _MAX_NODES:
        raise UserError(f"{where} has {total} nodes, more than the {_MAX_NODES} of any network")


def _called(nodes, library: dict) -> list[str]:
    """Functions of the library that nodes name, as often as they do."""
    names: list[str] = []
    for node in nodes:
        names.append(node.op)
        for value in node.attr.values():
            names += [value.func.name, *(f.name for f in value.list.func)]
    return [name for name in names if name in library]


def _check_constants(nodes, where: str) -> None:
    """One number can be written for a tensor of any size."""
    total = 0
    for node in nodes:
        for value in node.attr.values():
            for tensor in (value.tensor, *value.list.tensor):
                sizes = [d.size for d in tensor.tensor_shape.dim]
                total += math.prod(max(size, 1) for size in sizes)
                if min(sizes, default=0) < 0 or total > _MAX_NUMBERS:
                    raise UserError(
                        f"{where}: node {one_line(node.name, 80)} has a constant of shape "
                        f"{one_line(sizes, 80)}, which no network has"
                    )


def free_batch(graph: tf.GraphDef) -> None:
    """Makes a graph that was saved for one image take any number: [1, …] becomes [-1, …].

    Changes the constant shapes of `Reshape` operations.
    """
    nodes = {node.name: node for node in graph.node}
    for node in [n for n in graph.node if n.op == "Reshape"]:
        constant = nodes.get(node_of(node.input[1]))
        while constant is not None and constant.op == "Identity":
            constant = nodes.get(node_of(constant.input[0]))
        if constant is None or constant.op != "Const":
            continue
        shape = tf.make_ndarray(constant.attr["value"].tensor)
        if shape.ndim == 1 and len(shape) > 1 and shape[0] == 1 and (shape[1:] >= 0).all():
            # A constant of its own: others may use this one.
            own = graph.node.add(name=f"{node.name}/any_batch_shape", op="Const")
            own.attr["dtype"].CopyFrom(constant.attr["dtype"])
            new_shape = np.concatenate([[-1], shape[1:]]).astype(shape.dtype)
            own.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(new_shape))
            node.input[1] = own.name


def import_graph(
    graph: tf.GraphDef, input_node: str, value: tf.Tensor, outputs: Sequence[str], where: str
) -> list[tf.Tensor]:
    """Adds a graph to the current one, on the current device.

    Args:
        graph: from `cut_out`.
        input_node: node in whose place `value` stands.
        outputs: names of tensors.

    Raises:
        UserError: TensorFlow cannot make sense of the graph.
    """
    try:
        return tf.import_graph_def(
            graph, {f"{input_node}:0": value}, return_elements=outputs, name="feature_network"
        )
    except Exception as error:  # Of a graph that contradicts itself, anything may come.
        raise UserError(f"{where} does not work with this TensorFlow: {one_line(error)}") from error


def node_of(tensor: str) -> str:
    """Name of the node that an input (`name`, `name:1`, `^name`) comes from."""
    return tensor.removeprefix("^").split(":")[0]


def reachable_functions(graph: tf.GraphDef, part: tf.GraphDef):
    """The function library of `graph`, without what no node of `part` calls."""
    library = {f.signature.name: f for f in graph.library.function}
    reached: dict[str, None] = {}
    waiting = list(part.node)
    while waiting:
        node = waiting.pop()
        names = [node.op, *(v.func.name for v in node.attr.values() if v.HasField("func"))]
        names += [f.name for v in node.attr.values() for f in v.list.func]
        for name in names:
            if name in library and name not in reached:
                reached[name] = None
                waiting += library[name].node_def
    result = type(graph.library)()
    for name in reached:
        result.function.add().CopyFrom(library[name])
    return result


def _modernize(graph: tf.GraphDef) -> None:
    """Drops what ties nodes to their old graph, and replaces what TensorFlow no longer takes."""
    for node in list(graph.node):
        for attribute in ("_output_shapes", "_class"):
            node.attr.pop(attribute, None)
        node.device = ""
        if node.op == "BatchNormWithGlobalNormalization":
            _replace_batch_norm(graph, node)


def _replace_batch_norm(graph: tf.GraphDef, node) -> None:
    """(x - mean) · gamma / sqrt(variance + epsilon) + beta, by the operation of today."""
    x, mean, variance, beta, gamma = node.input
    name, dtype = node.name, node.attr["T"].type
    epsilon = node.attr["variance_epsilon"].f
    if not node.attr["scale_after_normalization"].b:
        ones = graph.node.add(name=f"{name}/no_scale", op="OnesLike", input=[gamma])
        ones.attr["T"].type = dtype
        gamma = ones.name
    node.Clear()
    node.name, node.op = name, "FusedBatchNormV3"
    node.input.extend([x, gamma, beta, mean, variance])
    node.attr["T"].type = node.attr["U"].type = dtype
    node.attr["epsilon"].f = epsilon
    node.attr["is_training"].b = False
