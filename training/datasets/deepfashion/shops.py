"""In-shop and Consumer-to-shop Clothes Retrieval, and DeepFashion-MultiModal.

What they tell of a picture is in its path, `img/WOMEN/Dresses/id_00000080/01_1_front.jpg`, or in
its name, `WOMEN-Dresses-id_00000080-01_1_front.jpg`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import suppress

from dnnlib import UserError
from training.datasets.deepfashion.annotations import (
    PICTURE_FOLDER,
    AnnotationFiles,
    LeftOut,
    Pictures,
    parse_box,
    parse_partition,
    partition_columns,
    read_rows,
    sorted_names,
    subfolders,
)
from training.datasets.deepfashion.selection import (
    TYPE_NAMES,
    Benchmark,
    Entry,
    Listing,
    Selection,
)
from training.datasets.folders import inside
from training.datasets.items import Box, Item, Lookup

VIEW_NAMES = {1: "front", 2: "side", 3: "back", 4: "full", 6: "flat", 7: "additional"}
SOURCE_NAMES = {1: "shop", 2: "consumer"}
# Numbers of columns of the files of DeepFashion-MultiModal.
MULTIMODAL_FILES = {
    "shape": ("shape_anno_all.txt", 12),
    "fabric": ("fabric_ann.txt", 3),
    "pattern": ("pattern_ann.txt", 3),
}
_VIEW_NUMBERS = {name: number for number, name in VIEW_NAMES.items()}
_VIEW = re.compile(r"_\d_([a-z]+)\.\w+$", re.IGNORECASE)
_MULTIMODAL_NAME = re.compile(
    r"(?P<gender>MEN|WOMEN)-(?P<category>.+)-(?P<item>id_\d+)-\d+_\d_[a-z]+\.\w+", re.IGNORECASE
)


def _values_of_path(name: str) -> dict[str, int | str | None]:
    """What `…/WOMEN/Dresses/id_00000080/01_1_front.jpg` tells."""
    *_, group, category, item, _ = [None, None, None, *name.split("/")]
    return {"group": group, "category": category, "item": item, "view": _view(name)}


def _view(name: str) -> int | None:
    match = _VIEW.search(name)
    return _VIEW_NUMBERS.get(match[1].lower()) if match else None


def _fits_inshop(files: AnnotationFiles) -> bool:
    names = ("list_bbox_inshop.txt", "list_item_inshop.txt", "list_description_inshop.json")
    return any(map(files.find, names)) or partition_columns(files) == 3


def _read_inshop(files: AnnotationFiles, selection: Selection, left_out: LeftOut) -> Listing:
    pictures = Pictures(files.root, selection.picture_kinds)
    entries = _inshop_entries(files, selection, left_out)
    return Listing(entries, pictures, pictures.find, {"type": TYPE_NAMES, "view": VIEW_NAMES})


def _inshop_entries(
    files: AnnotationFiles, selection: Selection, left_out: LeftOut
) -> Iterator[Entry]:
    def parse(line: str) -> tuple[str, str, str]:
        name, item, status = line.rsplit(None, 2)
        return name, item, parse_partition(status)

    boxes = {}
    if selection.needs("type") or selection.needs("box"):
        path = files.need("list_bbox_inshop.txt", "types of clothes and boxes")
        columns = "image_name clothes_type pose_type x_1 y_1 x_2 y_2"
        rows = read_rows(path, columns, _typed_box_row, left_out)
        boxes = Lookup((name, (kind, box)) for name, kind, _, box in rows)
    path = files.need("list_eval_partition.txt", "the pictures, their items and partitions")
    columns = "image_name item_id evaluation_status"
    for name, item, partition in read_rows(path, columns, parse, left_out):
        kind, box = boxes.get(name, (None, None))
        values = _values_of_path(name)
        values |= {"gender": values["group"], "item": item, "partition": partition, "type": kind}
        yield Entry(name, values, None if box is None else tuple(box))


def _typed_box_row(line: str) -> tuple[str, int, int, Box]:
    """Name, clothes_type, pose_type or source_type, box."""
    name, kind, other, *box = line.rsplit(None, 6)
    if int(kind) not in TYPE_NAMES:
        raise ValueError("not a type of clothes")
    return name, int(kind), int(other), parse_box(box)


def _fits_consumer2shop(files: AnnotationFiles) -> bool:
    names = ("list_bbox_consumer2shop.txt", "list_item_consumer2shop.txt")
    return any(map(files.find, names)) or partition_columns(files) == 4


def _read_consumer2shop(files: AnnotationFiles, selection: Selection, left_out: LeftOut) -> Listing:
    pictures = Pictures(files.root, selection.picture_kinds)
    by_pairs = not files.find("list_bbox_consumer2shop.txt") and not (
        selection.needs("type") or selection.needs("box")
    )
    entries = (_pair_entries if by_pairs else _consumer2shop_entries)(files, selection, left_out)
    names = {"type": TYPE_NAMES, "view": SOURCE_NAMES}
    return Listing(entries, pictures, pictures.find, names, repeats=by_pairs)


def _consumer2shop_entries(
    files: AnnotationFiles, selection: Selection, left_out: LeftOut
) -> Iterator[Entry]:
    partitions = {}
    if selection.needs("partition"):
        rows = _pair_entries(files, selection, left_out)
        partitions = Lookup((entry.name, entry.values["partition"]) for entry in rows)
    path = files.need("list_bbox_consumer2shop.txt", "the pictures, their types and boxes")
    columns = "image_name clothes_type source_type x_1 y_1 x_2 y_2"
    for name, kind, source, box in read_rows(path, columns, _typed_box_row, left_out):
        # A picture in no pair is in no partition, which is no fault.
        values = _values_of_path(name) | {"type": kind, "partition": partitions.get(name, "none")}
        yield Entry(name, values | {"view": source if source in SOURCE_NAMES else None}, box)


def _pair_entries(
    files: AnnotationFiles, selection: Selection, left_out: LeftOut
) -> Iterator[Entry]:
    """Both pictures of each pair; a picture of a shop is in the pairs of several consumers."""

    def parse(line: str) -> tuple[str, str, str, str]:
        consumer, shop, item, status = line.rsplit(None, 3)
        return consumer, shop, item, parse_partition(status)

    path = files.need("list_eval_partition.txt", "the pairs of pictures and their partitions")
    columns = "image_pair_name_1 image_pair_name_2 item_id evaluation_status"
    for consumer, shop, item, partition in read_rows(path, columns, parse, left_out):
        for name, source in ((consumer, 2), (shop, 1)):
            values = {"item": item, "partition": partition, "view": source}
            yield Entry(name, _values_of_path(name) | values)


def _fits_multimodal(files: AnnotationFiles) -> bool:
    return bool(files.find("shape_anno_all.txt") or _multimodal_folder(files.root))


def _multimodal_folder(root: str) -> str | None:
    """The folder with pictures whose names are of DeepFashion-MultiModal."""
    for folder in [root, *subfolders(root, PICTURE_FOLDER)]:
        with suppress(OSError), os.scandir(folder) as entries:
            if any(_MULTIMODAL_NAME.fullmatch(e.name) for e in itertools.islice(entries, 100)):
                return folder
    return None


def _read_multimodal(files: AnnotationFiles, selection: Selection, left_out: LeftOut) -> Listing:
    folder = _multimodal_folder(files.root)
    if folder is None:
        raise UserError(
            f"{files.root} has no folder images with pictures like "
            "MEN-Denim-id_00000080-01_7_additional.jpg: unpack images.zip there"
        )

    def find(name: str) -> str:
        return inside(folder, name)

    def read(item: Item) -> str:
        return find(item.name)

    attributes = {}
    if selection.labels == "attribute":
        attributes = _multimodal_attributes(files, selection.attribute, left_out)
    entries = _multimodal_entries(folder, attributes)
    return Listing(entries, read, find, {"view": VIEW_NAMES})


def _multimodal_entries(folder: str, attributes: Lookup | dict) -> Iterator[Entry]:
    for name in sorted_names(folder):
        match = _MULTIMODAL_NAME.fullmatch(name)
        values = match.groupdict() | {"view": _view(name)} if match else {}
        values["group"] = values.get("gender")
        yield Entry(name, values | {"attribute": attributes.get(name)})


def _multimodal_attributes(files: AnnotationFiles, attribute: str, left_out: LeftOut) -> Lookup:
    """The values of one column of a file, by picture."""
    kind, _, column = attribute.lower().partition(":")
    name, count = MULTIMODAL_FILES.get(kind, ("", 0))
    if column not in map(str, range(count)):
        has = ", ".join(f"{kind}:0 to {kind}:{n - 1}" for kind, (_, n) in MULTIMODAL_FILES.items())
        raise UserError(f"--labels: there is no attribute {attribute!r}: expected {has}")

    def parse(line: str) -> tuple[str, int]:
        picture, *values = line.rsplit(None, count)
        if len(values) != count:
            raise ValueError("not all columns")
        return picture, int(values[int(column)])

    path = files.need(name, "the attributes")
    return Lookup(read_rows(path, f"name and {count} numbers", parse, left_out))


INSHOP = Benchmark(
    title="In-shop Clothes Retrieval",
    labels=("category", "type", "gender", "view", "item", "none"),
    partitions=("train", "query", "gallery"),
    boxes=True,
    fits=_fits_inshop,
    read=_read_inshop,
)
CONSUMER2SHOP = Benchmark(
    title="Consumer-to-shop Clothes Retrieval",
    labels=("category", "type", "view", "item", "none"),
    partitions=("train", "val", "test"),
    boxes=True,
    fits=_fits_consumer2shop,
    read=_read_consumer2shop,
)
MULTIMODAL = Benchmark(
    title="DeepFashion-MultiModal",
    labels=("category", "gender", "view", "attribute:NAME", "item", "none"),
    partitions=(),
    boxes=False,
    fits=_fits_multimodal,
    read=_read_multimodal,
)
