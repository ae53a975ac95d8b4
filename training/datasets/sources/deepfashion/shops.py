"""In-shop and Consumer-to-shop Clothes Retrieval, and DeepFashion-MultiModal.

What they tell of a picture is in its path, `img/WOMEN/Dresses/id_00000080/01_1_front.jpg`, or in
its name, `WOMEN-Dresses-id_00000080-01_1_front.jpg`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.util import one_line
from training.datasets.items import Box, Item, Lookup
from training.datasets.sources.deepfashion.annotations import (
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
from training.datasets.sources.deepfashion.attributes import (
    ATTRIBUTE_NAMES,
    MULTIMODAL_ATTRIBUTES,
    MultiModalAttribute,
    item_attributes,
    multimodal_attribute,
)
from training.datasets.sources.deepfashion.selection import (
    TYPE_NAMES,
    Benchmark,
    Entry,
    Listing,
    Selection,
)
from training.datasets.sources.folders import inside

VIEW_NAMES = {1: "front", 2: "side", 3: "back", 4: "full", 6: "flat", 7: "additional"}
SOURCE_NAMES = {1: "shop", 2: "consumer"}
MULTIMODAL_FILES = {
    "shape": "shape_anno_all.txt",
    "fabric": "fabric_ann.txt",
    "pattern": "pattern_ann.txt",
}
_LARGEST_JSON = 1 << 28  # bytes; that of In-shop has 5 million
_PAIR = re.compile(r"(img/.*?\.\w+)\s+(img/.*)", re.IGNORECASE)
_VIEW_NUMBERS = {name: number for number, name in VIEW_NAMES.items()}
_VIEW = re.compile(r"_\d_([a-z]+)\.\w+$", re.IGNORECASE)
_MULTIMODAL_NAME = re.compile(
    r"(?P<gender>MEN|WOMEN)-(?P<category>.+)-(?P<item>id_\d+)-\d+_\d_[a-z]+\.\w+", re.IGNORECASE
)


def _values_of_path(name: str) -> dict[str, int | str | None]:
    """What `…/WOMEN/Dresses/id_00000080/01_1_front.jpg` tells."""
    *_, group, category, item, _ = [None, None, None, *name.split("/")]
    both = f"{group}/{category}" if group and category else None
    values = {"group": group, "category": category, "group/category": both, "item": item}
    return values | {"view": _view(name)}


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
    boxes_path = files.find("list_bbox_inshop.txt")
    path = files.find("list_eval_partition.txt")
    by_boxes = path is None and boxes_path is not None and not selection.needs("partition")
    colors = _inshop_colors(files, left_out) if selection.needs("color") else {}
    if by_boxes or selection.needs("type") or selection.needs("box"):
        boxes_path = files.need("list_bbox_inshop.txt", "types of clothes and boxes")
        columns = "image_name clothes_type pose_type x_1 y_1 x_2 y_2"
        rows = read_rows(boxes_path, columns, _typed_box_row, left_out)
        boxes = Lookup((name, (kind, box)) for name, kind, _, box in rows)
    if by_boxes:
        rows = ((name, _values_of_path(name)["item"], None) for name in boxes)
    else:
        path = files.need("list_eval_partition.txt", "the pictures, their items and partitions")
        rows = read_rows(path, "image_name item_id evaluation_status", parse, left_out)
    for name, item, partition in rows:
        kind, box = boxes.get(name, (None, None))
        values = _values_of_path(name)
        values |= {"gender": values["group"], "gender/category": values["group/category"]}
        values |= {"item": item, "partition": partition, "type": kind, "color": colors.get(item)}
        yield Entry(name, values, None if box is None else tuple(box))


def _inshop_colors(files: AnnotationFiles, left_out: LeftOut) -> dict[str, str | None]:
    """The color of each item; None for an item that is described in several colors."""
    path = files.need("list_description_inshop.json", "the colors of the items")
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST_JSON + 1)
        if len(content) > _LARGEST_JSON:
            raise UserError(f"{path} is larger than {_LARGEST_JSON} bytes: unpack it again")
        rows = json.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable as JSON: {one_line(error)}") from error
    if not isinstance(rows, list):
        raise UserError(f'{path} is not a list of {{"item": …, "color": …}}: unpack it again')
    colors: dict[str, str | None] = {}
    for number, row in enumerate(rows, 1):
        item, color = (row.get("item"), row.get("color")) if isinstance(row, dict) else (None, None)
        if not (isinstance(item, str) and isinstance(color, str) and item and color.strip()):
            reason = "not a description of an item with its color"
            left_out.add(f"{os.path.basename(path)}: entry {number}", reason)
            continue
        color = " ".join(color.split())
        if colors.setdefault(item, color) != color:
            left_out.add(item, "described in several colors, so its color is not known")
            colors[item] = None
    return colors


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
    attributes: Lookup | dict = {}
    if selection.labels == "attribute":
        attributes = item_attributes(files, selection.attribute, left_out)
    read = _pair_entries if by_pairs else _consumer2shop_entries
    entries = (
        Entry(
            entry.name,
            {
                **entry.values,
                "source": entry.values["view"],
                "attribute": attributes.get(entry.values["item"] or ""),
            },
            entry.box,
        )
        for entry in read(files, selection, left_out)
    )
    names = {
        "type": TYPE_NAMES,
        "view": SOURCE_NAMES,
        "source": SOURCE_NAMES,
        "attribute": ATTRIBUTE_NAMES,
    }
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
        pair, item, status = line.rsplit(None, 2)
        match = _PAIR.fullmatch(pair)  # paths may have spaces in them
        consumer, shop = match.groups() if match else pair.split()
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

    attributes, values = {}, {}
    if selection.labels == "attribute":
        attribute = multimodal_attribute(selection.attribute)
        attributes, values = _multimodal_values(files, attribute, left_out), attribute.values
    entries = _multimodal_entries(folder, attributes)
    return Listing(entries, read, find, {"view": VIEW_NAMES, "attribute": values})


def _multimodal_entries(folder: str, attributes: Lookup | dict) -> Iterator[Entry]:
    for name in sorted_names(folder):
        match = _MULTIMODAL_NAME.fullmatch(name)
        values = match.groupdict() | {"view": _view(name)} if match else {}
        values["group"] = values.get("gender")
        if match:
            values["gender/category"] = f"{values['gender']}/{values['category']}"
        yield Entry(name, values | {"attribute": attributes.get(name)})


def _multimodal_values(
    files: AnnotationFiles, attribute: MultiModalAttribute, left_out: LeftOut
) -> Lookup:
    """The values of one column of a file, by picture."""
    count = len(MULTIMODAL_ATTRIBUTES[attribute.kind])

    def parse(line: str) -> tuple[str, int]:
        picture, *values = line.rsplit(None, count)
        if len(values) != count:
            raise ValueError("not all columns")
        return picture, int(values[attribute.column])

    path = files.need(MULTIMODAL_FILES[attribute.kind], "the attributes")
    return Lookup(read_rows(path, f"name and {count} numbers", parse, left_out))


INSHOP = Benchmark(
    title="In-shop Clothes Retrieval",
    labels=("category", "gender/category", "type", "gender", "color", "view", "item", "none"),
    partitions=("train", "query", "gallery"),
    fits=_fits_inshop,
    read=_read_inshop,
)
CONSUMER2SHOP = Benchmark(
    title="Consumer-to-shop Clothes Retrieval",
    labels=(
        *("category", "group", "group/category", "type", "view", "source", "attribute:NAME"),
        *("item", "none"),
    ),
    fits=_fits_consumer2shop,
    read=_read_consumer2shop,
)
MULTIMODAL = Benchmark(
    title="DeepFashion-MultiModal",
    labels=("category", "gender/category", "gender", "view", "attribute:NAME", "item", "none"),
    partitions=(),
    boxes=False,
    fits=_fits_multimodal,
    read=_read_multimodal,
)
