"""Reading the graphs of others as programs: with which node they begin, with which they end."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
from google.protobuf import message_factory, symbol_database
from google.protobuf.message import DecodeError

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.util import one_line
from metrics.feature_networks import frozen_graph

# Outputs of Inception: node, and numbers an image.
INCEPTION_OUTPUTS = {"features": ("pool_3", 2048), "softmax": ("softmax", 1008)}
_INCEPTION_INPUT = "ExpandDims"  # [1, H, W, 3], 0 to 255, before the resizing.
_MEMBER = "classify_image_graph_def.pb"
_MAX_MEMBER = 1 << 30
_MAX_MEMBERS = 1000
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


@dataclass(frozen=True)
class Program:
    """A graph that is ready to be used.

    Attributes:
        graph: from `frozen_graph.cut_out`.
        input: node of the images.
        outputs: {name: tensor} of what it computes.
        dtype: of the images, float32 or uint8.
        shape: of the images as it is declared, -1 for what is not; [] for all.
        where: its file, for messages.
    """

    graph: tf.GraphDef
    input: str
    outputs: Mapping[str, str]
    dtype: str
    shape: list[int]
    where: str


def read_own(path: str) -> Program:
    """A user's own graph with its only input and output.

    Raises:
        UserError: they are not clear, or are not what `own_graph.OwnNetwork` says.
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


def read_inception(path: str) -> Program:
    """The graph of Inception from the batch of images to the outputs."""
    graph = frozen_graph.parse_graph(_read_inception_file(path), path)
    nodes = [node for node, _ in INCEPTION_OUTPUTS.values()]
    graph = frozen_graph.cut_out(graph, _INCEPTION_INPUT, nodes, path)
    frozen_graph.free_batch(graph)
    outputs = {output: f"{node}:0" for output, (node, _) in INCEPTION_OUTPUTS.items()}
    return Program(graph, _INCEPTION_INPUT, outputs, "float32", [-1, -1, -1, 3], path)


def _read_inception_file(path: str) -> bytes:
    """The graph's bytes, from the archive or from the file itself."""
    try:
        with open_regular(path) as file:
            is_archive = tarfile.is_tarfile(file)
            file.seek(0)
            if not is_archive:
                return frozen_graph.read_file(path)
            with tarfile.open(fileobj=file) as archive:
                for _, member in zip(range(_MAX_MEMBERS), archive, strict=False):
                    if member.isfile() and member.name.rpartition("/")[2] == _MEMBER:
                        if not 0 <= member.size <= _MAX_MEMBER:
                            raise UserError(f"{path}: {_MEMBER} has {member.size} bytes")
                        return archive.extractfile(member).read()
    except UserError:
        raise
    except Exception as error:  # A damaged archive fails in many ways.
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    raise UserError(f"{path} holds no {_MEMBER}")


# Which of these reads a file is said by a name.
READERS = {"own": read_own, "inception": read_inception}
