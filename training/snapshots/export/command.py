"""From a snapshot to a folder with a model for other programs: written, checked, then published."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from typing import Any

from dnnlib import UserError, files
from training.snapshots import pickles
from training.snapshots.class_names import count_classes, label_names
from training.snapshots.export import check, graph, onnx, saved_model

# Formats, each with the modules that write or check it beside TensorFlow, and their extra.
FORMATS = {
    "savedmodel": ((), ""),
    "keras": ((), ""),
    "onnx": (("onnx", "tf2onnx", "onnxruntime"), "onnx"),
    "tflite": (("ai_edge_litert",), "tflite"),
}
RECORD = "export.json"


def export(path: str, kind: str, out: str, psi: float, allow_pickled_code: bool = False) -> str:
    """Writes a generator as a model for other programs; returns what to print.

    Args:
        path: see `snapshots.load`.
        kind: one of FORMATS.
        out: folder to write: the model, and its record `export.json`.
        psi: truncation that the record advises.
        allow_pickled_code: see `snapshots.load`.

    Raises:
        UserError: the snapshot cannot be read, a package is missing, the format cannot express the
            network, what was written makes other pictures, or the folder cannot be written.
    """
    check_packages(kind)
    files.check_free(out)
    subject = pickles.load_subject(path, allow_pickled_code)
    Gs, record = subject.Gs, record_of(subject, kind, psi)
    with files.staged_directory(out) as staging:
        try:
            write_graph(graph.build(Gs), kind, staging, record)
            found = check.compare(Gs, kind, staging)
        except UserError as error:
            raise UserError(
                f"{subject.network} as --format={kind}: {error}; nothing is written"
            ) from error
        record |= {"largest_difference": found.difference, "checked_with": found.programs}
        with open(os.path.join(staging, RECORD), "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1, ensure_ascii=False)
    return (
        f"Wrote {out}: run by {found.programs} without this project, values in [-1, 1] are at "
        f"most {found.difference:.1e} from our own"
    )


def check_packages(kind: str) -> None:
    """Raises a UserError that names the pip command where a package of a format is missing."""
    modules, extra = FORMATS[kind]
    if missing := [name for name in modules if not importlib.util.find_spec(name)]:
        names = " and ".join(missing).replace("_", "-")
        raise UserError(f'--format={kind} needs {names}: pip install -e ".[{extra}]"')


def record_of(subject: pickles.Subject, kind: str, psi: float) -> dict[str, Any]:
    """What the record of a model says of it."""
    Gs = subject.Gs
    channels, height, width = Gs.output_shape[1:]
    return {
        "format": kind,
        "network": subject.network,
        "network_sha256": subject.sha256,
        "latent_size": Gs.input_shape[1],
        "num_layers": Gs.components.synthesis.input_shape[1],
        "dlatent_size": Gs.components.synthesis.input_shape[2],
        "label_size": count_classes(Gs),
        "label_names": label_names(Gs),
        "height": height,
        "width": width,
        "channels": channels,
        "psi": psi,
    }


def write_graph(made: graph.ExportGraph, kind: str, folder: str, record: dict[str, Any]) -> None:
    """Writes a model into an empty folder.

    Raises:
        UserError: the format cannot express it.
    """
    if kind == "savedmodel":
        saved_model.write(made, folder)
        return
    if kind == "onnx":
        onnx.write(made, folder, record)
        return
    with tempfile.TemporaryDirectory() as scratch:
        saved_model.write(made, scratch)
        out = os.path.join(folder, "model.tflite") if kind == "tflite" else folder
        check.run_bare(f"write-{kind}", scratch, out)
