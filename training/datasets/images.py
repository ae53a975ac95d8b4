"""Pictures of a folder or an archive (`create_from_images`), with labels from where people keep
them: folder names, a `dataset.json` as the PyTorch repositories have it, or a CSV table.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext

from dnnlib import UserError
from dnnlib.util import one_line, printable
from training.datasets.archives import open_archive
from training.datasets.build import Output, build
from training.datasets.folders import open_folder
from training.datasets.items import Item, Label, Lookup, Source
from training.datasets.passed_over import OtherDataset, other_dataset
from training.datasets.tables import class_of, first_character, open_table

DATASET_JSON = "dataset.json"
# Usual names of columns in small letters without punctuation, the best first.
_FILE_COLUMNS = ("file", "filename", "image", "imagename", "name", "path")
_LABEL_COLUMNS = ("label", "class", "category", "labels", "categoryname")
_LARGEST_NUMBER = 3.4e38  # labels are stored as float32


def create_from_images(output: Output, image_dir: str, labels: str = "auto") -> None:
    """Converts all pictures of a folder and the folders in it, or of a zip or tar file.

    Args:
        output: The dataset to make.
        image_dir: Folder or archive of pictures, of any size, mode and format that Pillow reads.
        labels: "none"; "folders" for the names of the folders directly in `image_dir`; a JSON or
            CSV file, looked for in `image_dir` too; "auto" for its dataset.json where there is one.

    Raises:
        UserError: No pictures, none readable, labels do not fit, or the dataset cannot be written.
    """
    output.check()
    build(images_source(image_dir, labels), output)


def images_source(image_dir: str, labels: str = "auto") -> Source:
    """The pictures of a folder or an archive in the order of their names; see above."""
    pictures = open_folder(image_dir) if os.path.isdir(image_dir) else open_archive(image_dir)
    other = other_dataset(pictures.paths())
    if not len(pictures.names):
        where = f"{image_dir}{' or its folders' * pictures.is_folder}"
        raise UserError(f"no image files in {where}{_instead(other, pictures.skipped)}")
    if other and labels == "auto" and not pictures.has(DATASET_JSON):
        print(f"note: {image_dir} is like {other.said}", file=sys.stderr)
    facts = {"source": os.path.abspath(image_dir)}
    source = Source((), pictures.read, facts, skipped=pictures.skipped)
    if labels == "auto":
        labels = DATASET_JSON if pictures.has(DATASET_JSON) else "none"
    if labels == "none":
        source.items = map(Item, pictures.names)
        return source
    facts["labels"] = labels
    if labels == "folders":
        source.items = _items_by_folder(pictures.names, source)
        return source
    where = pictures.file(labels) if pictures.has(labels) else nullcontext(labels)
    with where as path:
        table, names = _label_table(path, labels, source)
    # A list of names means classes 0, 1, ... even where no picture is in one of them.
    source.label_names = dict(enumerate(names))
    source.classes = range(len(names)) or None
    source.items = _items_by_table(pictures.names, table, labels, source)
    return source


def _instead(other: OtherDataset | None, skipped: list[dict[str, str]]) -> str:
    """What there is in the place of pictures."""
    if other:
        return f", but {other.name}: {other.way_on}"
    if not skipped:
        return ""
    return f", but {printable(skipped[0]['file'])}, which is {skipped[0]['reason']}" + (
        f"; {len(skipped) - 1} other files are no pictures either" if skipped[1:] else ""
    )


def _items_by_folder(names: Lookup, source: Source) -> Iterator[Item]:
    for name in names:
        folder, slash, _ = name.partition("/")
        if slash:
            yield Item(name, folder)
        else:
            reason = "it is not in a sub-folder, so has no label"
            source.skipped.append({"file": name, "reason": reason})


def _items_by_table(names: Lookup, table: Lookup, labels: str, source: Source) -> Iterator[Item]:
    found = False
    for name in names:
        label = table.get(name)
        listed = label is not None or name in table
        found = found or listed
        if label is None:
            reason = f"its label in {labels} is empty" if listed else f"it is not in {labels}"
            source.skipped.append({"file": name, "reason": f"{reason}, so has no label"})
        else:
            yield Item(name, tuple(label) if isinstance(label, list) else label)
    if not found:
        raise UserError(
            f"no picture is in the labels: {labels} names '{printable(next(iter(table)))}', "
            f"{source.facts['source']} holds '{printable(next(iter(names)))}'"
        )


def _label_table(path: str, labels: str, source: Source) -> tuple[Lookup, list[str]]:
    """{name of a picture: label} of a JSON or CSV file, and the names of classes in it.

    Args:
        path: the file.
        labels: what the user calls it, for messages.
        source: told of rows that cannot be read.
    """
    names: list[str] = []
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UserError(
            f"--labels={labels}: {error.strerror}; use none, folders, or a JSON or CSV file"
        ) from error
    if first_character(path, labels)[0] in ("{", "["):
        try:
            with open(path, "rb") as file:
                content = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise UserError(f"labels {labels} are not readable: {one_line(error)}") from error
        table = Lookup(_json_labels(content, labels))
        names = _class_names(content, table, labels)
    else:
        table = Lookup(_csv_labels(path, labels, source))
    if not len(table):
        raise UserError(f"labels {labels} hold no labels")
    return table, names


def _json_labels(content: object, where: str) -> Iterator[tuple[str, Label]]:
    """Of {"labels": [[name, label], …]}, or {"labels": {name: label}}."""
    pairs = content.get("labels") if isinstance(content, dict) else None
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    if not isinstance(pairs, list):
        raise UserError(f'labels {where}: expected {{"labels": [["file name", label], ...]}}')
    sizes = set()
    for pair in pairs:
        name, label = pair if isinstance(pair, (list, tuple)) and len(pair) == 2 else (None, None)
        numbers = isinstance(label, list) and label and all(map(_is_number, label))
        sizes.add(len(label) if numbers else 0)
        is_class = (isinstance(label, int) and not isinstance(label, bool)) or (
            isinstance(label, str) and label.strip()
        )
        if not isinstance(name, str) or not (is_class or numbers) or len(sizes) > 1:
            raise UserError(
                f"labels {where}: {one_line(json.dumps(pair), 80)} is no pair of a file name and a "
                "class or a row of numbers, as long as the others"
            )
        yield name.replace("\\", "/"), label


def _class_names(content: dict, table: Lookup, where: str) -> list[str]:
    """The names of classes 0, 1, … that `extract` writes, or none."""
    names = content.get("label_names") or []
    labels = [table.get(name) for name in table] if names else []
    if not isinstance(names, list) or not all(
        isinstance(label, int) and 0 <= label < len(names) for label in labels
    ):
        raise UserError(f"labels {where}: label_names must be a list with a name for each class")
    return [str(name) for name in names]


def _is_number(value: object) -> bool:
    """Whether a value of a row is a finite number; NaN is not."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER


def _csv_labels(path: str, labels: str, source: Source) -> Iterator[tuple[str, Label | None]]:
    """Of a table with or without names of columns: else the first two are file and label."""

    def left_out(number: int, reason: str) -> None:
        source.skipped.append({"file": f"{labels}:{number}", "reason": reason})

    table = open_table(path, labels)
    file_column = table.column("", None, _FILE_COLUMNS)
    label_column = table.column("", None, _LABEL_COLUMNS)
    if file_column is None or label_column is None:
        table = table.without_names()
        file_column, label_column = "0", "1"
    for number, row in table.rows(left_out):
        name = row.get(file_column, "").strip().replace("\\", "/")
        if name:
            yield name, class_of(row.get(label_column))
        else:
            left_out(number, "no file name")
