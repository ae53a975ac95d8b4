"""A user's own feature network: a frozen graph or a SavedModel, read as data."""

from __future__ import annotations

import os
import re

import tensorflow.compat.v1 as tf
from google.protobuf import message_factory, symbol_database
from google.protobuf.message import DecodeError

from dnnlib import UserError
from dnnlib.util import one_line
from metrics.feature_networks import frozen_graph
from metrics.feature_networks.graph_process import ForeignGraph, Program
from metrics.feature_networks.network import FeatureNetwork, files_of, sha256_of

_MAX_SIDE = 4096  # Of images that a network asks for.

# What a SavedModel may need beyond computing, to read its own variables.
_VARIABLE_OPS = (
    "VarHandleOp",
    "ReadVariableOp",
    "VariableV2",
    "Variable",
    "Assign",
    "AssignVariableOp",
    "RestoreV2",
    "DisableCopyOnRead",
)


class OwnNetwork(FeatureNetwork):
    """A network that takes images and gives one vector for each.

    Its only placeholder gets red, green, blue of 0 to 255, [N, H, W, 3] or [N, 3, H, W] as it
    declares, float32 or uint8, resized (bilinear) where it declares a size. Its only output is
    taken, or that of the signature `serving_default` of a SavedModel. It runs in a process of its
    own.

    Args:
        path: a `.pb` file, or the folder of a SavedModel.
        name: for reports; None: the file's name.

    Raises:
        UserError: the file is something else, its input or output is not clear, or it holds an
            operation that a feature network may not use.
    """

    def __init__(self, path: str, name: str | None = None):
        is_folder = os.path.isdir(path)
        stem = os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
        name = re.sub(r"[^A-Za-z0-9_]+", "-", name or stem).strip("-") or "network"
        super().__init__(name, sha256_of(*(files_of(path) if is_folder else [path])))
        self._path, self._graph = path, ForeignGraph("own", path, self.sha256)

    @property
    def contract(self) -> str:
        """What goes in and what comes out, as read from the file."""
        graph = self._graph
        size = " × ".join(str(s) if s > 0 else "any" for s in self._size())
        order = "[N, 3, H, W]" if self._is_channels_first() else "[N, H, W, 3]"
        dtype = "whole numbers (uint8)" if graph.dtype == "uint8" else "float32"
        return (
            f"{self.name} takes {graph.input}, {order}, size {size}, red, green, blue of 0 to 255, "
            f"{dtype}; gives {graph.outputs['features']}"
        )

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, D]."""
        x = tf.transpose(images, [0, 2, 3, 1])
        size = [s if s > 0 else x.shape[1 + i].value for i, s in enumerate(self._size())]
        if size != x.shape[1:3].as_list():
            x = tf.image.resize_bilinear(x, size, half_pixel_centers=True)
        x = tf.transpose(x, [0, 3, 1, 2]) if self._is_channels_first() else x
        if self._graph.dtype == "uint8":
            x = tf.saturate_cast(tf.round(x), tf.uint8)
        return self._graph.build(x)

    def _is_channels_first(self) -> bool:
        shape = self._graph.shape
        return len(shape) == 4 and shape[1] == 3 and shape[3] != 3

    def _size(self) -> tuple[int, ...]:
        """(height, width) that it declares, -1 for any."""
        shape = self._graph.shape or (-1,) * 4
        return shape[2:4] if self._is_channels_first() else shape[1:3]


def read_program(path: str) -> Program:
    """The graph with its only input and output; see `graph_process`.

    Raises:
        UserError: they are not clear, or are not what `OwnNetwork` says.
    """
    graph, input_node, output = _freeze(path) if os.path.isdir(path) else _read_frozen(path)
    placeholder = next((n for n in graph.node if n.name == input_node), None)
    if placeholder is None:
        raise UserError(f"{path} is incomplete: node {input_node!r} is missing")
    dtype = placeholder.attr["dtype"].type
    declared = placeholder.attr["shape"].shape
    shape = [] if declared.unknown_rank else [max(d.size, -1) for d in declared.dim]
    _check_input(path, input_node, dtype, shape)
    graph = frozen_graph.cut_out(graph, input_node, [frozen_graph.node_of(output)], path)
    node = next(n for n in graph.node if n.name == input_node)
    node.attr["dtype"].type = dtype
    if shape and shape[0] == 1:
        frozen_graph.free_batch(graph)
    outputs = {"features": output}
    return Program(graph, input_node, outputs, tf.as_dtype(dtype).name, shape, path)


def _check_input(path: str, name: str, dtype: int, shape: list[int]) -> None:
    is_image = not shape or (len(shape) == 4 and 3 in shape[1::2])
    if not is_image or (shape and (shape[0] > 1 or 0 in shape or max(shape) > _MAX_SIDE)):
        raise UserError(
            f"{path}: input {name} has shape {one_line(shape, 80)}, expected [N, H, W, 3] or "
            f"[N, 3, H, W] with sides of at most {_MAX_SIDE}"
        )
    if dtype not in (tf.float32.as_datatype_enum, tf.uint8.as_datatype_enum):
        raise UserError(f"{path}: input {name} is {_dtype_name(dtype)}, expected float32 or uint8")


def _dtype_name(dtype: int) -> str:
    try:
        return tf.as_dtype(dtype).name
    except TypeError:
        return f"of the unknown type {dtype}"


def _read_frozen(path: str) -> tuple[tf.GraphDef, str, str]:
    """(graph, input node, output tensor) of a frozen graph."""
    graph = frozen_graph.parse_graph(frozen_graph.read_file(path), path)
    inputs = [n.name for n in graph.node if n.op == "Placeholder"]
    used = {frozen_graph.node_of(i) for node in graph.node for i in node.input}
    ends = [n.name for n in graph.node if n.name not in used and n.op not in ("NoOp", "Const")]
    for what, names in (("placeholder", inputs), ("output", ends)):
        if len(names) != 1:
            shown = one_line(", ".join(names[:10]), 200) or "none"
            raise UserError(f"{path}: expected one {what}, the graph has {len(names)}: {shown}")
    return graph, inputs[0], f"{ends[0]}:0"


def _freeze(folder: str) -> tuple[tf.GraphDef, str, str]:
    """The same of a SavedModel, with its variables turned into constants.

    Only the nodes that compute the output and those that restore the variables are ever run, and
    all of them have to be on the list of what is allowed.
    """
    meta = _read_meta_graph(folder)
    signature = meta.signature_def.get("serving_default")
    if signature is None or len(signature.inputs) != 1 or len(signature.outputs) != 1:
        raise UserError(f"{folder}: expected a signature serving_default with one input and output")
    input_node = frozen_graph.node_of(next(iter(signature.inputs.values())).name)
    output = next(iter(signature.outputs.values())).name
    saver = meta.saver_def
    targets = [frozen_graph.node_of(output)]
    restore = frozen_graph.node_of(saver.restore_op_name)
    targets += [restore] if restore else []
    names = {node.name for node in meta.graph_def.node}
    variables = [node.name for node in meta.graph_def.node if node.op == "VarHandleOp"]
    # By these names they are read when they are turned into constants.
    targets += {f"{name}/Read/ReadVariableOp" for name in variables} & names
    if missing := [t for t in (*targets, input_node) if t not in names]:
        raise UserError(f"{folder} is incomplete: node {missing[0]!r} is missing")
    graph = tf.graph_util.extract_sub_graph(meta.graph_def, targets)
    graph.library.CopyFrom(frozen_graph.reachable_functions(meta.graph_def, graph))
    frozen_graph.check(graph, folder, also=_VARIABLE_OPS)
    for node in graph.node:
        node.device = ""
    try:
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(graph, name="")
            if restore:
                files = os.path.join(folder, "variables", "variables")
                session.run(restore, {saver.filename_tensor_name: files})
            frozen = tf.graph_util.convert_variables_to_constants(session, graph, targets[:1])
    except Exception as error:  # Of a graph that contradicts itself, anything may come.
        raise UserError(f"cannot read SavedModel {folder}: {one_line(error)}") from error
    return frozen, input_node, output


def _read_meta_graph(folder: str) -> tf.MetaGraphDef:
    path = os.path.join(folder, "saved_model.pb")
    # TensorFlow registers the message but does not export the class.
    pool = symbol_database.Default().pool
    saved_model = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("tensorflow.SavedModel")
    )
    try:
        model = saved_model.FromString(frozen_graph.read_file(path))
    except DecodeError as error:
        raise UserError(f"cannot read SavedModel {path}: {one_line(error)}") from error
    for meta in model.meta_graphs:
        if "serve" in meta.meta_info_def.tags:
            return meta
    raise UserError(f"{path} has no graph for serving")
