"""Pictures of a folder or an archive (`create_from_images`), with labels from where people keep
them: folder names, a `dataset.json` as the PyTorch repositories have it, or a CSV table.
"""

from __future__ import annotations

import csv
import functools
import json
import os
from collections.abc import Iterator

from dnnlib import UserError
from dnnlib.util import one_line
from training.datasets.archives import open_archive
from training.datasets.build import Output, build
from training.datasets.folders import open_folder
from training.datasets.items import Item, Label, Lookup, Source

DATASET_JSON = "dataset.json"
_FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_name", "name", "path")
_LABEL_COLUMNS = ("label", "class", "category", "labels", "category_name")


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
    if not len(pictures.names):
        raise UserError(f"no image files in {image_dir}{' or its folders' * pictures.is_folder}")
    facts = {"source": os.path.abspath(image_dir)}
    source = Source((), pictures.read, facts, skipped=pictures.skipped)
    if labels == "auto":
        labels = DATASET_JSON if pictures.has(DATASET_JSON) else "none"
    if labels in ("none", "folders"):
        label_of = {"none": _no_label, "folders": _folder}[labels]
    else:
        table, names = _label_table(pictures, labels)
        label_of = functools.partial(_listed, table)
        # A list of names means classes 0, 1, ... even where no picture is in one of them.
        source.label_names = dict(enumerate(names))
        source.classes = range(len(names)) or None
    if labels != "none":
        facts["labels"] = labels
    source.items = _items(pictures.names, label_of, labels, source)
    return source


def _items(names, label_of, labels: str, source: Source) -> Iterator[Item]:
    for name in names:
        label = label_of(name)
        if label is None and labels != "none":
            where = "in a sub-folder" if labels == "folders" else f"in {labels}"
            source.skipped.append({"file": name, "reason": f"it is not {where}, so has no label"})
        else:
            yield Item(name, label)


def _no_label(name: str) -> None:
    return None


def _folder(name: str) -> str | None:
    folder, slash, _ = name.partition("/")
    return folder if slash else None


def _listed(table: Lookup, name: str) -> Label | None:
    label = table.get(name)
    return tuple(label) if isinstance(label, list) else label


def _label_table(pictures, file: str) -> tuple[Lookup, list[str]]:
    """{name of a picture: label} of a JSON or CSV file, and the names of classes in it."""
    names: list[str] = []
    content = pictures.content(file)
    where = file
    if content is None:
        try:
            with open(file, "rb") as opened:
                content = opened.read()
        except OSError as error:
            raise UserError(
                f"--labels={file}: {error.strerror}; use none, folders, or a JSON or CSV file"
            ) from error
    try:
        text = content.decode("utf-8-sig")
        if text.lstrip()[:1] in ("{", "["):
            content = json.loads(text)
            table = Lookup(_json_labels(content, where))
            names = _class_names(content, table, where)
        else:
            table = Lookup(_csv_labels(text, where))
    except (ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"labels {where} are not readable: {one_line(error)}") from error
    if not len(table):
        raise UserError(f"labels {where} hold no labels")
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
        numbers = isinstance(label, list) and all(isinstance(n, (int, float)) for n in label)
        sizes.add(len(label) if numbers else 0)
        is_class = isinstance(label, (int, str)) and not isinstance(label, bool)
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


def _csv_labels(text: str, where: str) -> Iterator[tuple[str, Label]]:
    """Of a table with or without names of columns: else the first two are file and label."""
    lines = text.splitlines()
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    file_column, label_column = 0, 1
    for number, row in enumerate(rows):
        titles = [cell.strip().lower() for cell in row]
        found = [
            [i for i, t in enumerate(titles) if t in c] for c in (_FILE_COLUMNS, _LABEL_COLUMNS)
        ]
        if number == 0 and all(found):
            file_column, label_column = found[0][0], found[1][0]
            continue
        if not any(titles):
            continue
        if len(row) <= max(file_column, label_column):
            raise UserError(f"labels {where}: row {number + 1} has {len(row)} columns")
        label = row[label_column].strip()
        # Numbers stay numbers: their order is 2, 10 and not "10", "2".
        yield row[file_column].strip(), int(label) if label.isdecimal() else label
