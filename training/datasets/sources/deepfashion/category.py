"""Category and Attribute Prediction, and Fashion Landmark Detection."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from dnnlib import UserError
from training.datasets.items import Box, Lookup
from training.datasets.sources.deepfashion.annotations import (
    AnnotationFiles,
    LeftOut,
    Pictures,
    Row,
    parse_box,
    parse_partition,
    partition_columns,
    read_aligned,
    read_rows,
)
from training.datasets.sources.deepfashion.attributes import (
    ATTRIBUTE_NAMES,
    FINE_ATTRIBUTE_NAMES,
    find_attribute,
    name_and_number,
    numbered_rows,
)
from training.datasets.sources.deepfashion.selection import (
    TYPE_NAMES,
    Benchmark,
    Entry,
    Listing,
    Selection,
)

_FINE_PARTS = ("train", "val", "test")
_LANDMARKS = (4, 6, 8)  # of lower-body, upper-body and full-body clothes


class _Codes(NamedTuple):
    """What numbers in the annotation files stand for.

    Attributes:
        table: {1-based number of a category: (name, type)}; empty where no categories are needed.
        column: Which of the `attributes` columns has the attribute that is the label.
        attributes: How many there are.
    """

    table: dict[int, tuple[str, int]]
    column: int
    attributes: int


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
        column, attributes = find_attribute(files, fine, selection.attribute)
    listing = functools.partial(_fine_entries if fine else _coarse_entries, files, selection)
    pictures = Pictures(files.root, selection.picture_kinds)
    return Listing(
        entries=listing(left_out, _Codes(table, column, attributes)),
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
    return dict(enumerate(numbered_rows(path, "category_name category_type", name_and_number), 1))


def _coarse_entries(
    files: AnnotationFiles, selection: Selection, left_out: LeftOut, codes: _Codes
) -> Iterator[Entry]:
    def parse(line: str) -> tuple[str, int]:
        name, number = name_and_number(line)
        if codes.table and number not in codes.table:
            raise ValueError(number)
        return name, number

    def parse_attribute(line: str) -> tuple[str, int]:
        name, *values = line.rsplit(None, codes.attributes)  # a name may have spaces in it
        if len(values) != codes.attributes or int(values[codes.column]) not in ATTRIBUTE_NAMES:
            raise ValueError(name)
        return name, int(values[codes.column])

    tell = _joined(files, selection, left_out)
    by_attribute = selection.labels == "attribute"
    needs_category = selection.needs("category") or selection.needs("type")
    categories = {}
    if needs_category or (not by_attribute and files.find("list_category_img.txt")):
        path = files.need("list_category_img.txt", "the categories of the pictures")
        rows = read_rows(path, "image_name category_label", parse, left_out)
        categories = Lookup(rows) if by_attribute else {}
    elif not by_attribute:
        rows = ((name, None) for name in _names(files, left_out))
    if by_attribute:
        path = files.need("list_attr_img.txt", "the attributes of the pictures")
        columns = f"image_name and {codes.attributes} values of -1, 0, 1"
        rows = read_rows(path, columns, parse_attribute, left_out)
    for name, number in rows:
        category = categories.get(name) if by_attribute else number
        values = {"category": category, "type": codes.table.get(category, (None, None))[1]}
        if by_attribute:
            values["attribute"] = number
        values["partition"], box = tell(name)
        yield Entry(name, values, box)


def _names(files: AnnotationFiles, left_out: LeftOut) -> Iterator[str]:
    """The pictures, where no label is wanted, from whichever file lists them."""
    listings = {
        "list_eval_partition.txt": ("image_name evaluation_status", _partition_row),
        "list_bbox.txt": ("image_name x_1 y_1 x_2 y_2", _box_row),
    }
    present = [name for name in listings if files.find(name)]
    name = present[0] if present else "list_category_img.txt"
    path = files.need(name, "the categories of the pictures")
    for row in read_rows(path, *listings[name], left_out):
        yield row[0]


def _fine_entries(
    files: AnnotationFiles, selection: Selection, left_out: LeftOut, codes: _Codes
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
            values["type"] = codes.table[values["category"]][1]
        if needed["attr"]:
            fields = texts["attr"].split()
            values["attribute"] = int(fields[codes.column])
            if len(fields) != codes.attributes or values["attribute"] not in FINE_ATTRIBUTE_NAMES:
                raise ValueError(texts["attr"])
        return values, parse_box(texts["bbox"].split()) if needed["bbox"] else None

    wanted = [part for part in _FINE_PARTS if selection.partition in ("all", part)]
    parts = [part for part in _FINE_PARTS if selection.reads(part)]
    present = [part for part in parts if files.find(f"{part}.txt", fine=True)]
    if not any(part in wanted for part in present):
        files.need(f"{wanted[0]}.txt", "the names of the pictures", fine=True)
    for part in present:
        paths = [files.need(f"{part}.txt", "the names of the pictures", fine=True)]
        others = {kind: files.find(f"{part}_{kind}.txt", fine=True) for kind in kinds}
        if part not in wanted and None in others.values():
            missing = next(kind for kind, path in others.items() if path is None)
            print(
                f"warning: {part}_{missing}.txt is missing, so classes that only pictures of "
                f"{part} have are left out",
                file=sys.stderr,
            )
            continue
        for kind in kinds:
            paths.append(files.need(f"{part}_{kind}.txt", "their annotations", fine=True))
        rows = read_aligned(paths)
        for number, (name, *texts) in rows if part in wanted else _until_broken(rows):
            try:
                values, box = parse(dict(zip(kinds, texts, strict=True)))
            except (ValueError, LookupError):
                if part in wanted:
                    reason = "its annotations in the other files are wrong"
                    left_out.add(f"{part}.txt:{number}", reason)
                continue
            yield Entry(name, {**values, "partition": part}, box)


def _until_broken(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of files of which another part of the benchmark is wanted."""
    with suppress(UserError):
        yield from rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
        fields = line.split()
        count = sum(1 for _ in itertools.takewhile(_is_number, reversed(fields)))
        name, kind, *rest = line.rsplit(None, count)  # a name may have spaces in it
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
    fits=_fits_category,
    read=_read_category,
)
LANDMARK = Benchmark(
    title="Fashion Landmark Detection",
    labels=("type", "none"),
    fits=_fits_landmark,
    read=_read_landmark,
)
