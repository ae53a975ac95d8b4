"""Category and Attribute Prediction, and Fashion Landmark Detection."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterator

from dnnlib import UserError
from training.datasets.deepfashion.annotations import (
    AnnotationFiles,
    LeftOut,
    Pictures,
    parse_box,
    parse_partition,
    partition_columns,
    read_aligned,
    read_rows,
)
from training.datasets.deepfashion.selection import (
    TYPE_NAMES,
    Benchmark,
    Entry,
    Listing,
    Selection,
)
from training.datasets.items import Box, Lookup

ATTRIBUTE_NAMES = {-1: "no", 0: "unknown", 1: "yes"}
FINE_ATTRIBUTE_NAMES = {0: "no", 1: "yes"}
_FINE_PARTS = ("train", "val", "test")
_LANDMARKS = (4, 6, 8)  # of lower-body, upper-body and full-body clothes


def _joined(
    files: AnnotationFiles, selection: Selection, left_out: LeftOut
) -> Callable[[str], tuple[str | None, Box | None]]:
    """A function that tells partition and box of a picture, where they are needed."""
    partitions = boxes = {}
    if selection.needs("partition"):
        columns = "image_name evaluation_status"
        path = files.need("list_eval_partition.txt", "the partitions")
        partitions = Lookup(read_rows(path, columns, _partition_row, left_out))
    if selection.needs("box"):
        columns = "image_name x_1 y_1 x_2 y_2"
        path = files.need("list_bbox.txt", "the boxes")
        boxes = Lookup(read_rows(path, columns, _box_row, left_out))

    def tell(name: str) -> tuple[str | None, Box | None]:
        box = boxes.get(name)
        return partitions.get(name), None if box is None else tuple(box)

    return tell


def _name_and_number(line: str) -> tuple[str, int]:
    name, number = line.rsplit(None, 1)  # names of attributes have spaces in them
    return name, int(number)


def _box_row(line: str) -> tuple[str, Box]:
    name, *box = line.rsplit(None, 4)
    return name, parse_box(box)


def _partition_row(line: str) -> tuple[str, str]:
    name, status = line.rsplit(None, 1)
    return name, parse_partition(status)


def _fits_category(files: AnnotationFiles) -> bool:
    names = ("list_category_img.txt", "list_category_cloth.txt", "list_attr_img.txt")
    return any(map(files.find, names)) or _has_fine(files)


def _has_fine(files: AnnotationFiles) -> bool:
    return any(files.find(f"{part}.txt", fine=True) for part in _FINE_PARTS)


def _read_category(files: AnnotationFiles, selection: Selection, left_out: LeftOut) -> Listing:
    coarse = "list_attr_img.txt" if selection.labels == "attribute" else "list_category_img.txt"
    fine = selection.anno == "fine" or (
        selection.anno == "auto" and not files.find(coarse) and _has_fine(files)
    )
    table = {}
    if selection.needs("category") or selection.needs("type"):
        table = _category_table(files, fine)
    column, attributes = 0, 0
    if selection.labels == "attribute":
        column, attributes = _find_attribute(files, fine, selection.attribute)
    listing = functools.partial(_fine_entries if fine else _coarse_entries, files, selection)
    pictures = Pictures(files.root, selection.picture_kinds)
    return Listing(
        entries=listing(left_out, table, column, attributes),
        read=pictures,
        exists=pictures.find,
        names={
            "category": {number: name for number, (name, _) in table.items()},
            "type": TYPE_NAMES,
            "attribute": FINE_ATTRIBUTE_NAMES if fine else ATTRIBUTE_NAMES,
        },
    )


def _category_table(files: AnnotationFiles, fine: bool) -> dict[int, tuple[str, int]]:
    """{1-based number: (name, type)} of the 50 categories; the same in both sets of annotations."""
    name = "list_category_cloth.txt"
    path = files.find(name, fine) or files.find(name, not fine)
    path = path or files.need(name, "the names of the categories", fine)
    return dict(enumerate(_numbered_rows(path, "category_name category_type"), 1))


def _numbered_rows(path: str, columns: str) -> list[tuple[str, int]]:
    """All rows of a short table in which the place of a row is its number.

    Raises:
        UserError: A row is damaged: without it, the others would get wrong numbers.
    """
    damaged = LeftOut()
    rows = list(read_rows(path, columns, _name_and_number, damaged))
    if damaged.entries:
        line = damaged.entries[0]["file"].rpartition(":")[2]
        raise UserError(f"line {line} of {path} is not a row of {columns}: unpack the file again")
    return rows


def _find_attribute(files: AnnotationFiles, fine: bool, wanted: str) -> tuple[int, int]:
    """The column of an attribute, from 0, and the number of attributes."""
    path = files.need("list_attr_cloth.txt", "the names of the attributes", fine)
    names = [name for name, _ in _numbered_rows(path, "attribute_name attribute_type")]
    matches = [i for i, name in enumerate(names) if name == wanted] or [
        i for i, name in enumerate(names) if name.casefold() == wanted.casefold()
    ]
    if len(matches) == 1:
        return matches[0], len(names)
    if matches:
        raise UserError(f"--labels: {len(matches)} attributes in {path} are called {wanted!r}")
    close = difflib.get_close_matches(wanted, names, 5)
    hint = f"did you mean {', '.join(close)}?" if close else f"its {len(names)} names are there"
    raise UserError(f"--labels: there is no attribute {wanted!r} in {path}: {hint}")


def _coarse_entries(
    files: AnnotationFiles,
    selection: Selection,
    left_out: LeftOut,
    table: dict[int, tuple[str, int]],
    column: int,
    attributes: int,
) -> Iterator[Entry]:
    def parse(line: str) -> tuple[str, int]:
        name, number = _name_and_number(line)
        if table and number not in table:
            raise ValueError(number)
        return name, number

    def parse_attribute(line: str) -> tuple[str, int]:
        name, *values = line.split()
        if len(values) != attributes or int(values[column]) not in ATTRIBUTE_NAMES:
            raise ValueError(name)
        return name, int(values[column])

    tell = _joined(files, selection, left_out)
    by_attribute = selection.labels == "attribute"
    categories = {}
    if selection.needs("category") or not by_attribute:
        path = files.need("list_category_img.txt", "the categories of the pictures")
        rows = read_rows(path, "image_name category_label", parse, left_out)
        categories = Lookup(rows) if by_attribute else {}
    if by_attribute:
        path = files.need("list_attr_img.txt", "the attributes of the pictures")
        columns = f"image_name and {attributes} values of -1, 0, 1"
        rows = read_rows(path, columns, parse_attribute, left_out)
    for name, number in rows:
        category = categories.get(name) if by_attribute else number
        values = {"category": category, "type": table.get(category, (None, None))[1]}
        if by_attribute:
            values["attribute"] = number
        values["partition"], box = tell(name)
        yield Entry(name, values, box)


def _fine_entries(
    files: AnnotationFiles,
    selection: Selection,
    left_out: LeftOut,
    table: dict[int, tuple[str, int]],
    column: int,
    attributes: int,
) -> Iterator[Entry]:
    """Anno_fine has a file for each kind of annotation and part, without names in the lines."""
    needed = {
        "cate": selection.needs("category") or selection.needs("type"),
        "attr": selection.needs("attribute"),
        "bbox": selection.needs("box"),
    }
    kinds = [kind for kind, is_needed in needed.items() if is_needed]

    def parse(texts: dict[str, str]) -> tuple[dict[str, int], Box | None]:
        values = {}
        if needed["cate"]:
            values["category"] = int(texts["cate"])
            values["type"] = table[values["category"]][1]
        if needed["attr"]:
            fields = texts["attr"].split()
            values["attribute"] = int(fields[column])
            if len(fields) != attributes or values["attribute"] not in FINE_ATTRIBUTE_NAMES:
                raise ValueError(texts["attr"])
        return values, parse_box(texts["bbox"].split()) if needed["bbox"] else None

    wanted = [part for part in _FINE_PARTS if selection.partition in ("all", part)]
    parts = [part for part in _FINE_PARTS if selection.reads(part)]
    present = [part for part in parts if files.find(f"{part}.txt", fine=True)]
    if not any(part in wanted for part in present):
        files.need(f"{wanted[0]}.txt", "the names of the pictures", fine=True)
    for part in present:
        paths = [files.need(f"{part}.txt", "the names of the pictures", fine=True)]
        for kind in kinds:
            paths.append(files.need(f"{part}_{kind}.txt", "their annotations", fine=True))
        for number, (name, *texts) in read_aligned(paths):
            try:
                values, box = parse(dict(zip(kinds, texts, strict=True)))
            except (ValueError, LookupError):
                if part in wanted:
                    reason = "its annotations in the other files are wrong"
                    left_out.add(f"{part}.txt:{number}", reason)
                continue
            yield Entry(name, {**values, "partition": part}, box)


def _fits_landmark(files: AnnotationFiles) -> bool:
    others = ("list_category_img.txt", "list_category_cloth.txt", "list_attr_img.txt")
    if any(map(files.find, others)) or partition_columns(files) > 2:
        return False
    return any(map(files.find, ("list_landmarks.txt", "list_joints.txt")))


def _read_landmark(files: AnnotationFiles, selection: Selection, left_out: LeftOut) -> Listing:
    pictures = Pictures(files.root, selection.picture_kinds)
    entries = _landmark_entries(files, selection, left_out)
    return Listing(entries, pictures, pictures.find, {"type": TYPE_NAMES})


def _landmark_entries(
    files: AnnotationFiles, selection: Selection, left_out: LeftOut
) -> Iterator[Entry]:
    def parse(line: str) -> tuple[str, int]:
        name, kind, *rest = line.split()
        # Three numbers for each landmark; some copies have the variation type before them.
        if len(rest) // 3 not in _LANDMARKS or len(rest) % 3 > 1 or int(kind) not in TYPE_NAMES:
            raise ValueError(line)
        return name, int(kind)

    tell = _joined(files, selection, left_out)
    path = files.need("list_landmarks.txt", "the pictures and the types of clothes")
    columns = "image_name clothes_type variation_type and 4, 6 or 8 landmarks"
    for name, kind in read_rows(path, columns, parse, left_out):
        partition, box = tell(name)
        yield Entry(name, {"type": kind, "partition": partition}, box)


CATEGORY = Benchmark(
    title="Category and Attribute Prediction",
    labels=("category", "type", "attribute:NAME", "none"),
    partitions=("train", "val", "test"),
    boxes=True,
    fits=_fits_category,
    read=_read_category,
)
LANDMARK = Benchmark(
    title="Fashion Landmark Detection",
    labels=("type", "none"),
    partitions=("train", "val", "test"),
    boxes=True,
    fits=_fits_landmark,
    read=_read_landmark,
)
