"""The graph of a generator that runs anywhere: constants and plain operations of TensorFlow.

Its tensors, all with any number N of rows:

    z         [N, latent_size] float32, standard normal
    labels    [N, label_size] float32: one-hot, or shares that sum to 1; conditional networks only
    psi       [N] float32, how far truncation leaves each w from the mean of all: 0 to 1
    w         [N, num_layers, dlatent_size] float32

    images    [N, H, W, C] uint8, of z
    dlatents  [N, num_layers, dlatent_size] float32, w of z
    png       [N] the files of `images`, without opacity only
    w_images  [N, H, W, C] uint8, of w
    w_values  [N, H, W, C] float32, about [-1, 1], of which `w_images` are made
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from tf_ops import layout
from training.snapshots.class_names import class_labels, count_classes

# Colors of pictures with opacity are those on white, which is not how files have them.
_PNG_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Signature:
    """Something that a model can be asked for.

    Attributes:
        inputs: names of tensors, see above.
        outputs: {name for the user: name of the tensor}.
    """

    inputs: tuple[str, ...]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class ExportGraph:
    """A generator as constants and operations.

    Attributes:
        graph_def: without variables, functions and operations of our own.
        signatures: by name, of all that can be asked for.
    """

    graph_def: tf.GraphDef
    signatures: Mapping[str, Signature]


def build(Gs: Network) -> ExportGraph:
    """The graph of a generator, with the noise of the snapshot, in float32.

    Args:
        Gs: a generator.

    Raises:
        UserError: it has no truncation or noise inputs to choose, as networks of users may.
    """
    z_inputs = ("z", "labels", "psi") if count_classes(Gs) else ("z", "psi")
    outputs = ["images", "dlatents", "w_images", "w_values"]
    signatures = {
        "serving_default": Signature(z_inputs, {"images": "images"}),
        "mapping": Signature(z_inputs, {"w": "dlatents"}),
        "synthesis": Signature(("w",), {"images": "w_images"}),
        "values": Signature(("w",), {"values": "w_values"}),
    }
    if Gs.output_shape[1] in _PNG_CHANNELS:
        # TensorFlow Serving sends outputs of such a name as base64.
        signatures["png"] = Signature(z_inputs, {"png_bytes": "png"})
        outputs.append("png")
    cut = _truncated_layers(Gs)
    scope = Gs.scope + "/_Export"
    with Gs.as_default() as session, layout.portable(), tflib.tfutil.BUILDING:
        with tf.name_scope(None), tflib.absolute_name_scope(scope):
            names = _add(Gs, cut, outputs)
        frozen = _freeze(session, [names[name] for name in outputs])
    _rename(frozen, {node: name for name, node in names.items()})
    return ExportGraph(frozen, signatures)


def _add(Gs: Network, cut: np.ndarray, outputs: list[str]) -> dict[str, str]:
    """Adds all tensors to the graph of the network: {name: name of its node}."""
    synthesis = Gs.components.synthesis
    z = tf.placeholder(tf.float32, [None, Gs.input_shape[1]], "z")
    labels = tf.placeholder(tf.float32, [None, count_classes(Gs)], "labels")
    psi = tf.placeholder(tf.float32, [None], "psi")
    w = tf.placeholder(tf.float32, [None, *synthesis.input_shape[1:]], "w")

    mapped = Gs.components.mapping.get_output_for(z, labels)
    mean = tf.constant(Gs.get_var("dlatent_avg"))
    # The layers that the generator truncates: psi, all others: 1. [N, num_layers, 1]
    share = psi[:, tf.newaxis, tf.newaxis] * cut + (1 - cut)
    dlatents = mean + (mapped - mean) * share
    made = {"dlatents": dlatents}
    replaced, options = _level_of_detail(Gs)
    for prefix, styles in (("", dlatents), ("w_", w)):
        images = synthesis.get_output_with(replaced, styles, randomize_noise=False, **options)
        values = tf.transpose(images, [0, 2, 3, 1])
        made[prefix + "values"] = values
        # As `tflib.convert_images_to_uint8`, whose saturating cast TF Lite does not know.
        levels = tf.clip_by_value(values * 127.5 + 128, 0, 255)
        made[prefix + "images"] = tf.cast(levels, tf.uint8)
    if "png" in outputs:
        made["png"] = tf.io.encode_png(made["images"])
    inputs = {"z": z, "labels": labels, "psi": psi, "w": w}
    found = {name: tensor.op.name for name, tensor in inputs.items()}
    return found | {name: tf.identity(made[name], name).op.name for name in outputs}


def _level_of_detail(Gs: Network) -> tuple[dict[str, tf.Tensor], dict[str, str]]:
    """What stands for variables of a synthesis network that grows, and its keyword arguments."""
    if not {"lod"} <= Gs.own_vars.keys() & Gs.components.synthesis.own_vars.keys():
        return {}, {}
    lod = Gs.get_var("lod")
    # Neither has conditionals, which not all formats know.
    return {"lod": tf.constant(lod)}, {"structure": "linear" if lod > 0 else "fixed"}


def _truncated_layers(Gs: Network) -> np.ndarray:
    """Which layers the generator truncates, as it does it: 1 or 0, float32 [1, num_layers, 1]."""
    if "dlatent_avg" not in Gs.own_vars:
        raise UserError(f"network {Gs.name} has no dlatent_avg, the mean that psi draws w to")
    z = np.random.RandomState(0).randn(1, Gs.input_shape[1])
    labels = class_labels(Gs, [0])
    _, w = Gs.run(z, labels, truncation_psi=0.0, randomize_noise=False, return_dlatents=True)
    cut = np.all(w == Gs.get_var("dlatent_avg"), axis=2, keepdims=True)
    return cut.astype(np.float32)


def _freeze(session: tf.Session, outputs: list[str]) -> tf.GraphDef:
    """What the graph of a session computes these nodes of; all that no input changes is constant.

    Variables are, and what is computed of them: formats are spared hundreds of operations.
    """
    definition = session.graph.as_graph_def()
    nodes = {node.name: node for node in definition.node}
    needed = _needed(nodes, outputs)
    order = [name for name in nodes if name in needed]
    varying = set()
    for name in order:  # Inputs stand before what uses them.
        node = nodes[name]
        if node.op == "Placeholder" or any(_node_of(text) in varying for text in node.input):
            varying.add(name)
    kept = [nodes[name] for name in order if name in varying]
    texts = (text for node in kept for text in node.input if not text.startswith("^"))
    fixed = [text for text in dict.fromkeys(texts) if _node_of(text) not in varying]
    values = session.run([text if ":" in text else f"{text}:0" for text in fixed])
    frozen = tf.GraphDef(versions=definition.versions)
    constants = _add_constants(frozen, dict(zip(fixed, values, strict=True)))
    for node in kept:
        node = frozen.node.add(name=node.name, op=node.op, attr=node.attr, input=node.input)
        for attribute in ("_class", "_gradient_op_type"):  # Of this process alone.
            node.attr.pop(attribute, None)
        inputs = [constants.get(text, text) for text in node.input if _stays(text, varying)]
        node.input[:] = inputs
    return frozen


def _stays(text: str, varying: set[str]) -> bool:
    return not text.startswith("^") or _node_of(text) in varying


def _needed(nodes: Mapping[str, tf.NodeDef], outputs: list[str]) -> set[str]:
    """The nodes that others are computed of, and these."""
    needed, left = set(), list(outputs)
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += [_node_of(text) for text in nodes[name].input]
    return needed


def _add_constants(graph: tf.GraphDef, values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Adds arrays, each once: {what they were called: name of the node}."""
    names, known = {}, {}
    for text, value in values.items():
        value = np.asarray(value)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in known:
            known[key] = f"constant{len(known)}"
            node = graph.node.add(name=known[key], op="Const")
            node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        names[text] = known[key]
    return names


def _rename(graph: tf.GraphDef, names: Mapping[str, str]) -> None:
    """Gives nodes other names, {old: new}."""
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        for i, text in enumerate(node.input):
            old = _node_of(text)
            node.input[i] = text.replace(old, names.get(old, old), 1)


def _node_of(text: str) -> str:
    """The node that an input of another is of: `^name`, `name:1` or `name`."""
    return text.removeprefix("^").partition(":")[0]
