"""DeepFashion2: a JSON file for each picture, with the items of clothing in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dnnlib import UserError
from dnnlib.files import open_regular
from training.datasets.items import Item
from training.datasets.sources.deepfashion.annotations import (
    AnnotationFiles,
    LeftOut,
    parse_box,
    scan,
    sorted_names,
)
from training.datasets.sources.deepfashion.selection import Benchmark, Entry, Listing, Selection
from training.datasets.sources.folders import inside

CATEGORY_NAMES = dict(
    enumerate(
        (
            "short sleeve top",
            "long sleeve top",
            "short sleeve outwear",
            "long sleeve outwear",
            "vest",
            "sling",
            "shorts",
            "trousers",
            "skirt",
            "short sleeve dress",
            "long sleeve dress",
            "vest dress",
            "sling dress",
        ),
        start=1,
    )
)
VIEW_NAMES = {1: "no wear", 2: "frontal", 3: "side or back"}
SOURCES = ("shop", "user")
_FOLDERS = {
    part: re.compile(pattern, re.IGNORECASE)
    for part, pattern in {"train": "train", "val": "val(idation)?", "test": "test"}.items()
}
_PICTURES, _ANNOTATIONS = re.compile("image", re.IGNORECASE), re.compile("annos", re.IGNORECASE)
_LARGEST_JSON = 1 << 24  # bytes; those of a picture with ten items have 100,000
_ITEM = re.compile(r"item(\d+)")


@dataclass(frozen=True)
class _Part:
    """Folders of pictures and annotations, as paths from the root; no annotations: ""."""

    pictures: str
    annotations: str


def _parts(root: str) -> dict[str, _Part]:
    """The parts that a folder holds."""
    parts = {}
    for part, pattern in _FOLDERS.items():
        for entry in scan(root, pattern):
            # Unpacked in a folder of its name, train.zip becomes train/train.
            for folder in (entry.path, *(inner.path for inner in scan(entry.path, pattern))):
                pictures = next(
                    (e.path for e in scan(folder, _PICTURES) if os.path.isdir(e.path)), None
                )
                annotations = next(
                    (e.path for e in scan(folder, _ANNOTATIONS) if os.path.isdir(e.path)), None
                )
                if pictures:
                    annotated = os.path.relpath(annotations, root) if annotations else ""
                    parts.setdefault(part, _Part(os.path.relpath(pictures, root), annotated))
    return parts


def _fits(files: AnnotationFiles) -> bool:
    parts = _parts(files.root)
    return "test" in parts or any(folders.annotations for folders in parts.values())


def _read(files: AnnotationFiles, selection: Selection, left_out: LeftOut) -> Listing:
    annotated = selection.crop == "bbox" or any(
        map(selection.needs, ("category", "view", "source", "style", "item"))
    )
    if selection.partition == "test" and annotated:
        raise UserError(
            "--partition=test: the test pictures of DeepFashion2 have no annotations: "
            "give --labels=none, and neither --crop nor filters"
        )
    wanted = [part for part in _FOLDERS if selection.partition in ("all", part)]
    parts = {
        part: folders
        for part, folders in _parts(files.root).items()
        if selection.reads(part) and (folders.annotations or not annotated)
    }
    if not any(part in wanted for part in parts):
        where = " or ".join({"val": "validation"}.get(part, part) for part in wanted)
        kinds = "image and annos" if annotated else "image"
        raise UserError(
            f"{files.root} has no {where} with the folders {kinds}: unpack the zip files there "
            "first"
        )

    def find(name: str) -> str:
        return inside(files.root, name.partition(":")[0])

    def read(item: Item) -> str:
        return find(item.name)

    # What is wrong in a part that only its classes are taken from, nobody wants to know.
    notes = {part: left_out if part in wanted else LeftOut() for part in parts}
    entries = _entries(files.root, parts, notes, annotated, selection.crop == "bbox")
    return Listing(entries, read, find, {"category": CATEGORY_NAMES, "view": VIEW_NAMES})


def _entries(
    root: str, parts: dict[str, _Part], notes: dict[str, LeftOut], annotated: bool, crop: bool
) -> Iterator[Entry]:
    for part, folders in parts.items():
        for name in sorted_names(os.path.join(root, folders.pictures)):
            picture = f"{folders.pictures}/{name}"
            values = {"partition": part}
            if not annotated:
                yield Entry(picture, values)
                continue
            annos = f"{folders.annotations}/{os.path.splitext(name)[0]}.json"
            items = _items(os.path.join(root, annos), annos, notes[part])
            if crop:
                for number, entry in items:
                    yield Entry(f"{picture}:item{number}", values | entry.values, entry.box)
            elif items:
                _, largest = max(items, key=lambda item: _area(item[1]))
                yield Entry(picture, values | largest.values)


def _items(path: str, name: str, left_out: LeftOut) -> list[tuple[int, Entry]]:
    """Numbers and annotations of the items in a picture; what is unusable is noted."""
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST_JSON + 1)
        if len(content) > _LARGEST_JSON:
            raise ValueError("too large")
        annotation = json.loads(content.decode("utf-8-sig"))
        numbers = sorted(int(match[1]) for match in map(_ITEM.fullmatch, annotation) if match)
    except FileNotFoundError:
        left_out.add(name, "the annotation file is missing")
        return []
    except (OSError, ValueError, TypeError, RecursionError):
        left_out.add(name, "not an annotation file of DeepFashion2")
        return []
    if not numbers:
        left_out.add(name, "the annotation file has no items")
    items = []
    for number in numbers:
        try:
            items.append((number, _entry(annotation, annotation[f"item{number}"])))
        except (ValueError, TypeError, LookupError, OverflowError):
            left_out.add(f"{name}:item{number}", "not an item of DeepFashion2")
    return items


def _entry(annotation: dict[str, Any], item: dict[str, Any]) -> Entry:
    """An item's values and box; some error or other if it has none."""
    category, view = int(item["category_id"]), item.get("viewpoint")
    if category not in CATEGORY_NAMES:
        raise ValueError("not a category")
    source, style = annotation.get("source"), item.get("style")
    values = {
        "category": category,
        "source": source if source in SOURCES else None,
        "style": style if type(style) is int else None,
        "view": view if view in VIEW_NAMES else None,
        "item": int(annotation["pair_id"]),
    }
    return Entry("", values, parse_box(item["bounding_box"]))


def _area(entry: Entry) -> float:
    x1, y1, x2, y2 = entry.box
    return max(x2 - x1, 0) * max(y2 - y1, 0)


DEEPFASHION2 = Benchmark(
    title="DeepFashion2",
    labels=("category", "view", "source", "style", "item", "none"),
    fits=_fits,
    read=_read,
)
