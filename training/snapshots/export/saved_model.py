"""SavedModel, for TensorFlow, TensorFlow Serving and `keras.layers.TFSMLayer`."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from training.snapshots.export.graph import ExportGraph


def write(graph: ExportGraph, folder: str) -> None:
    """Writes `saved_model.pb` into an empty folder, with all signatures."""
    with tf.Graph().as_default() as clean, tf.Session() as session:
        tf.import_graph_def(graph.graph_def, name="")
        signatures = {}
        for name, signature in graph.signatures.items():
            inputs = {n: _info(clean, n) for n in signature.inputs}
            outputs = {n: _info(clean, tensor) for n, tensor in signature.outputs.items()}
            method = "tensorflow/serving/predict"
            signatures[name] = tf.saved_model.build_signature_def(inputs, outputs, method)
        builder = tf.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def _info(graph: tf.Graph, name: str) -> object:
    return tf.saved_model.build_tensor_info(graph.get_tensor_by_name(f"{name}:0"))
