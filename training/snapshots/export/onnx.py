"""ONNX: two models, as one has one set of inputs: `generator.onnx` and `synthesis.onnx`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from dnnlib import UserError
from dnnlib.util import one_line
from training.snapshots.export.graph import ExportGraph

_OPSET = 17  # onnxruntime 1.13 and later.
# Signatures that a model has the inputs of, and all outputs.
_MODELS = {"generator": ("serving_default", "mapping"), "synthesis": ("synthesis", "values")}


def write(graph: ExportGraph, folder: str, record: Mapping[str, Any]) -> None:
    """Writes both models into a folder, the record in their metadata.

    Raises:
        UserError: tf2onnx does not know an operation, or a model is larger than ONNX's 2 GB.
    """
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # `check` finds what does not run.
    for model, names in _MODELS.items():
        signatures = [graph.signatures[name] for name in names]
        outputs = {tensor: name for s in signatures for name, tensor in s.outputs.items()}
        renamed = {name: name for name in signatures[0].inputs} | outputs
        metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in record.items()}
        try:
            made, _ = tf2onnx.convert.from_graph_def(
                graph.graph_def,
                name=model,
                input_names=[f"{name}:0" for name in signatures[0].inputs],
                output_names=[f"{name}:0" for name in outputs],
                opset=_OPSET,
                tensors_to_rename={f"{old}:0": new for old, new in renamed.items()},
            )
            onnx.helper.set_model_props(made, metadata)
            onnx.save(made, os.path.join(folder, f"{model}.onnx"))
        except Exception as error:  # Of whatever class its parts have.
            raise UserError(f"ONNX: {one_line(error, 300)}") from error
