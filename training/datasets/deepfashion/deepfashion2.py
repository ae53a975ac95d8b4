"""DeepFashion2: a JSON file for each picture, with the items of clothing in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from dnnlib import UserError
from training.datasets.deepfashion.annotations import (
    AnnotationFiles,
    LeftOut,
    parse_box,
    sorted_names,
)
from training.datasets.deepfashion.selection import Benchmark, Entry, Listing, Selection
from training.datasets.folders import inside
from training.datasets.items import Item

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
_FOLDERS = {"train": "train", "val": "validation", "test": "test"}
_ITEM = re.compile(r"item(\d+)")


def _has(root: str, part: str, *names: str) -> bool:
    return all(os.path.isdir(os.path.join(root, _FOLDERS[part], name)) for name in names)


def _fits(files: AnnotationFiles) -> bool:
    annotated = any(_has(files.root, part, "image", "annos") for part in ("train", "val"))
    return annotated or _has(files.root, "test", "image")


def _read(files: AnnotationFiles, selection: Selection, left_out: LeftOut) -> Listing:
    annotated = selection.crop == "bbox" or any(map(selection.needs, ("category", "view", "item")))
    if selection.partition == "test" and annotated:
        raise UserError(
            "--partition=test: the test pictures of DeepFashion2 have no annotations: "
            "give --labels=none, and neither --crop nor filters"
        )
    wanted = [part for part in _FOLDERS if selection.partition in ("all", part)]
    kinds = ("image", "annos") if annotated else ("image",)
    parts = [part for part in _FOLDERS if _has(files.root, part, *kinds) and selection.reads(part)]
    if not any(part in wanted for part in parts):
        where = " or ".join(_FOLDERS[part] for part in wanted)
        raise UserError(
            f"{files.root} has no {where} with the folders {' and '.join(kinds)}: "
            "unpack the zip files there first"
        )

    def find(name: str) -> str:
        return inside(files.root, name.partition(":")[0])

    def read(item: Item) -> str:
        return find(item.name)

    # What is wrong in a part that only its classes are taken from, nobody wants to know.
    notes = {part: left_out if part in wanted else LeftOut() for part in parts}
    entries = _entries(files.root, notes, annotated, selection.crop == "bbox")
    return Listing(entries, read, find, {"category": CATEGORY_NAMES, "view": VIEW_NAMES})


def _entries(root: str, parts: dict[str, LeftOut], annotated: bool, crop: bool) -> Iterator[Entry]:
    for part, left_out in parts.items():
        for name in sorted_names(os.path.join(root, _FOLDERS[part], "image")):
            picture = f"{_FOLDERS[part]}/image/{name}"
            values = {"partition": part}
            if not annotated:
                yield Entry(picture, values)
                continue
            annos = f"{_FOLDERS[part]}/annos/{os.path.splitext(name)[0]}.json"
            items = _items(os.path.join(root, annos), annos, left_out)
            if crop:
                for number, entry in items:
                    yield Entry(f"{picture}:item{number}", values | entry.values, entry.box)
            elif items:
                _, largest = max(items, key=lambda item: _area(item[1]))
                yield Entry(picture, values | largest.values)


def _items(path: str, name: str, left_out: LeftOut) -> list[tuple[int, Entry]]:
    """Numbers and annotations of the items in a picture; what is unusable is noted."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            annotation = json.load(file)
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
    values = {
        "category": category,
        "view": view if view in VIEW_NAMES else None,
        "item": int(annotation["pair_id"]),
    }
    return Entry("", values, parse_box(item["bounding_box"]))


def _area(entry: Entry) -> float:
    x1, y1, x2, y2 = entry.box
    return max(x2 - x1, 0) * max(y2 - y1, 0)


DEEPFASHION2 = Benchmark(
    title="DeepFashion2",
    labels=("category", "view", "item", "none"),
    partitions=("train", "val", "test"),
    boxes=True,
    fits=_fits,
    read=_read,
)
