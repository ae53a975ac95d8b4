"""The manifest of a dataset, NAME.json: how it was made."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Annotated, Any

from dnnlib import UserError, schema
from dnnlib.schema import Range
from dnnlib.util import one_line
from training.datasets.format.dataset_files import DatasetFiles

TOOL_VERSION = "1.1"
_Count = Annotated[int, Range(0, 1 << 53)]


@dataclass(frozen=True)
class _LevelFile:
    file: str
    bytes: _Count = 0


@dataclass(frozen=True)
class _SkippedFile:
    file: str
    reason: str


# What is read of a manifest; the rest is for people.
_MANIFEST = {
    "source": str,
    "images": _Count,
    "channels": _Count,
    "height": _Count,
    "width": _Count,
    "resolution": _Count,
    "encoding": str,
    "finest_only": bool,
    "shards": _Count,
    "shard_images": list[_Count],
    "levels": list[_LevelFile],
    "label_names": list[str],
    "label_ids": list[int | str],
    "skipped": list[_SkippedFile],
    "more_skipped": _Count,
    "listing_skipped": _Count,
    "dedupe": str,
    "duplicates": _Count,
    "profiles": dict[str, _Count],
}


def write_manifest(folder: str, name: str, manifest: dict) -> None:
    """Writes NAME.json: the tool's version, `manifest`, the level files; UserError if it cannot."""
    levels = [
        {"file": file, "bytes": os.path.getsize(os.path.join(folder, file))}
        for file in sorted(os.listdir(folder))
        if file.endswith(".tfrecords")
    ]
    content = {"dataset_tool": TOOL_VERSION, **manifest, "levels": levels}
    try:
        with open(os.path.join(folder, f"{name}.json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {name}.json in {folder}: {error.strerror}") from error


def read_manifest(dataset: DatasetFiles) -> dict[str, Any] | None:
    """What `write_manifest` wrote, or None for a dataset without manifest, like an official one.

    Raises:
        UserError: The manifest is damaged.
    """
    path = dataset.path(".json")
    if not os.path.lexists(path):
        return None
    try:
        manifest = schema.read_json(path, dict[str, Any])
        for key, kind in _MANIFEST.items():
            if key in manifest:
                schema.parse(kind, manifest[key], key)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot read manifest {path}: {reason}") from error
    except UserError as error:
        raise UserError(f"cannot read manifest {path}: {error}") from error
    return manifest


def count_skipped(manifest: dict[str, Any]) -> int:
    """How many files were skipped, those included that the manifest does not name; no copies."""
    # Older manifests, which do not say `dedupe`, count copies but do not name them.
    copies = manifest.get("duplicates", 0) if "dedupe" in manifest else 0
    return len(manifest.get("skipped") or ()) + manifest.get("more_skipped", 0) - copies
