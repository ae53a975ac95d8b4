"""The data card of a run: what it was trained on, as the dataset's manifest tells."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.util import one_line
from training.datasets.building.inspect import is_one_hot
from training.datasets.format.dataset_files import DatasetFiles
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.manifest import count_skipped, read_manifest
from training.run.page.run_files import RunFiles

_MOST_CLASSES, _MOST_REASONS = 100, 5
_MOST_BYTES = 64 << 20  # Of labels that are counted.
# What a manifest says and the card shows as it is, with the words for it.
_FACTS = {
    "source": "Source",
    "licence": "Licence",
    "license": "Licence",
    "images": "Images",
    "labels": "Labels from",
    "transform": "Fitted by",
    "encoding": "Records",
}


@dataclass(frozen=True)
class DataCard:
    """What is shown of a dataset: facts by name, and images of each class where they are known."""

    facts: list[tuple[str, str]]
    classes: list[tuple[str, str]]


def make_card(run: RunFiles) -> DataCard:
    """The data card; of a dataset that is not there any more it says what the run knows."""
    path = str(run.option("dataset_args", "tfrecord_dir") or "")
    facts, classes = [("Dataset", one_line(path))] if path else [], []
    files, manifest = None, {}
    if path:
        try:
            files = find_dataset(path)
            manifest = read_manifest(files) or {}
            if not manifest:
                facts.append(("Manifest", "none: the dataset does not say where it is from"))
        except (UserError, ValueError) as error:  # Like a zero in the path.
            facts.append(("Manifest", f"cannot be read now: {one_line(error)}"))
    facts += [(_FACTS[key], one_line(manifest[key])) for key in _FACTS if key in manifest]
    if manifest and not {"licence", "license"} & manifest.keys():
        facts.append(("Licence", "the manifest does not say: ask whose photos they are"))
    facts += list(_run_facts(run))
    facts += list(_left_out(manifest))
    if files is not None:
        classes = _classes(files, manifest)
        facts += list(_manifest_hash(files))
    return DataCard(facts, classes)


def _run_facts(run: RunFiles) -> Iterator[tuple[str, str]]:
    shape = [run.number("G_args", name) for name in ("resolution", "num_channels")]
    if None not in shape:
        yield "Seen at", f"{shape[0]:g}×{shape[0]:g}, {shape[1]:g} channels"
    if isinstance(count := run.counters.get("num_images"), int):
        yield "Trained on", f"{count:,} images"
    held_out = run.number("dataset_args", "validation")
    seed = one_line(run.option("dataset_args", "seed"))
    yield "Held out", f"{held_out:,.0f} images, chosen by seed {seed}" if held_out else "none"
    if content := run.counters.get("content"):
        yield "Hash of pictures and labels", one_line(content, 64)


def _left_out(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not manifest:
        return
    reasons = Counter(one_line(entry["reason"], 100) for entry in manifest.get("skipped", ()))
    text = f"{count_skipped(manifest):,} files"
    if reasons:
        listed = [f"{count:,} × {reason}" for reason, count in reasons.most_common(_MOST_REASONS)]
        text += f": {'; '.join(listed)}{'; …' * (len(reasons) > _MOST_REASONS)}"
    yield "Skipped", text
    if "dedupe" in manifest:
        text = f"{manifest.get('duplicates', 0):,} ({one_line(manifest['dedupe'])} copies)"
        yield "Copies left out", text
    else:
        yield "Copies left out", "not looked for (--dedupe)"


def _manifest_hash(files: DatasetFiles) -> Iterator[tuple[str, str]]:
    with suppress(OSError), open_regular(files.path(".json")) as file:
        yield "SHA-256 of the manifest", hashlib.sha256(file.read()).hexdigest()


def _classes(files: DatasetFiles, manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, number of images), held-out ones too."""
    names = [one_line(name, 100) for name in manifest.get("label_names", ())]
    counts = [""] * len(names)
    with suppress(UserError, OSError):
        if os.path.getsize(files.path("-rxx.labels")) <= _MOST_BYTES:
            labels = read_labels(files)
            if labels is not None and is_one_hot(labels):
                counts = [f"{number:,.0f}" for number in labels.sum(axis=0)]
                names += [f"class {i}" for i in range(len(names), len(counts))]
    rows = list(zip(names, counts, strict=False))
    more = len(rows) - _MOST_CLASSES
    return rows[:_MOST_CLASSES] + ([(f"and {more} more", "")] if more > 0 else [])
