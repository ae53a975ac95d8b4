"""Labels of pictures in a file: NVIDIA's dataset.json, or a table with a column of files and one
of classes. Nothing is guessed: what names a picture twice in different ways is an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dnnlib import UserError
from dnnlib.util import one_line, printable
from training.datasets.building.label_rows import check_size
from training.datasets.items import Item, Label, Lookup, Source, sorted_classes
from training.datasets.photos.decode import picture_suffixes
from training.datasets.sources.classes import count_of, multi_hot, with_counts
from training.datasets.sources.names import AMBIGUOUS, PictureNames
from training.datasets.tables.cells import class_of, classes_in, holds_several
from training.datasets.tables.columns import (
    FILE_COLUMNS,
    LABEL_COLUMNS,
    LABEL_NUMBERS,
    label_column,
)
from training.datasets.tables.json_values import JsonReader
from training.datasets.tables.tables import Table, is_parquet, parquet_table, plain, text_table
from training.datasets.tables.text import TableText, open_text

LARGEST_NUMBER = 3.4e38  # labels are stored as float32
_NAMED = 3  # examples in a message


@dataclass(frozen=True)
class LabelOptions:
    """What the command line says of a file of labels.

    Attributes:
        file_column, label_column: names of columns, or numbers from 1 where they have no names.
        encoding: of the text; None: it is detected.
        mode: "multi" for pictures in several classes, "single" to take each text for one class
            whatever is in it, None if a picture has one class, which is checked.
        allow_missing: whether most of the pictures that are named may be missing.
    """

    file_column: str | None = None
    label_column: str | None = None
    encoding: str | None = None
    mode: str | None = None
    allow_missing: bool = False


def add_labels(source: Source, names: Lookup, path: str, title: str, options: LabelOptions) -> None:
    """Gives a source the items that a file has labels for.

    Args:
        source: Gets items and classes, and is told of rows and pictures that are left out.
        names: The pictures.
        path: The file.
        title: What messages call it.
        options: See there.

    Raises:
        UserError: The file is none of labels, its columns are not known, or labels contradict each
            other.
    """
    labels = _LabelFile(source, PictureNames(names, source.facts["source"]), title, options)
    text = None if is_parquet(path, title) else open_text(path, title, options.encoding)
    if text is not None and _is_dataset_json(text):
        pairs = labels.json_pairs(text)
        if pairs is None:
            source.facts["labels"] = "none"
            source.items = map(Item, names)
            print(f"{title} says that there are no labels")
            return
    else:
        known = (*FILE_COLUMNS, *LABEL_COLUMNS, *LABEL_NUMBERS)
        pairs = labels.table_pairs(parquet_table(path) if text is None else text_table(text, known))
    table = Lookup(labels.found(pairs), merge=_merged)
    labels.check(table, names)
    if options.mode == "multi":
        labels.set_classes(sorted_classes(c for _, found in table.items() for c in found or ()))
        check_size(len(table), len(source.classes), source)  # before a row for each is listed
    source.items = labels.items(names, table)


class _LabelFile:
    """A file of labels as it is read."""

    def __init__(self, source: Source, names: PictureNames, title: str, options: LabelOptions):
        self._source, self._names, self._title = source, names, title
        self._options = options
        self._label_names: list[str] = []
        self._several: list[str] = []  # examples of cells with several classes
        self._several_count = self._rows = self._missing = 0
        self._row_size: int | None = None
        self._an_unknown = ""

    def json_pairs(self, text: TableText) -> Iterator[tuple[str, str, object]] | None:
        """(where, name, label) of a dataset.json; None if it says that there are no labels."""
        begin, self._label_names = self._json_facts(text)
        if begin == "n":
            return None
        if begin not in ("[", "{"):
            raise self._no_labels()
        return self._json_labels(text)

    def _json_facts(self, text: TableText) -> tuple[str, list[str]]:
        """The first character of `labels`, and `label_names`; all of the file is parsed."""
        begin, names = "", None
        with text.open() as file:
            reader = JsonReader(file)
            try:
                for key in reader.members():
                    if key == "labels":
                        begin = reader.peek()
                        if begin in ("[", "{"):
                            for part in _pairs(reader):
                                del part
                            continue
                    value = reader.value()
                    names = value if key == "label_names" else names
                    if key == "labels" and value is not None:
                        begin = "?"
            except ValueError as error:
                raise UserError(
                    f"labels {self._title} are not readable: {one_line(error)}"
                ) from error
        if names is not None and not isinstance(names, list):
            raise self._wrong_names()
        return begin, [str(name) for name in names or []]

    def _json_labels(self, text: TableText) -> Iterator[tuple[str, str, object]]:
        with text.open() as file:
            reader = JsonReader(file)
            for key in reader.members():
                if key != "labels":
                    reader.value()
                    continue
                for number, pair in enumerate(_pairs(reader), 1):
                    name, label = self._checked(pair)
                    yield f"{self._title}:{number}", name, label

    def _checked(self, pair: object) -> tuple[str, object]:
        """A name and the class or row of numbers of a pair in a dataset.json."""
        name, label = pair if isinstance(pair, (list, tuple)) and len(pair) == 2 else (None, None)
        is_multi = self._options.mode == "multi"
        numbers = isinstance(label, list) and label and all(map(_is_number, label))
        if isinstance(label, float) and label.is_integer():
            label = int(label)  # as NVIDIA's tools take them
        is_class = (isinstance(label, int) and not isinstance(label, bool)) or (
            isinstance(label, str) and label.strip()
        )
        is_list = is_multi and isinstance(label, list) and classes_in(label)
        if is_multi:
            numbers = False
        size = len(label) if numbers else 0
        self._row_size = size if self._row_size is None else self._row_size
        is_texts = isinstance(label, list) and label and all(isinstance(v, str) for v in label)
        if isinstance(name, str) and is_texts and not is_multi:
            return name, label  # counted as several, which is said
        if (
            not isinstance(name, str)
            or not (is_class or numbers or is_list)
            or size != self._row_size
        ):
            raise UserError(
                f"labels {self._title}: {one_line(json.dumps(pair), 80)} is no pair of a file name "
                "and a class or a row of finite numbers, as long as the others"
            )
        if self._label_names and not numbers:
            known = range(len(self._label_names))
            found = label if isinstance(label, list) else [label]
            if not all(isinstance(value, int) and value in known for value in found):
                raise self._wrong_names()
        if self._label_names and numbers and size != len(self._label_names):
            raise self._wrong_names()
        return name, tuple(label) if numbers else label

    def table_pairs(self, table: Table) -> Iterator[tuple[str, str, object]]:
        """(where, name, cell) of a table with or without names of columns."""
        if {"images", "annotations"} <= set(table.columns):
            raise UserError(
                f"{self._title} holds annotations as COCO has them, of things in pictures, and no "
                "class for each picture: write a table with columns file and label"
            )
        table, file_column, column = self._columns(table)
        print(
            f"{self._title}: files are in the column {one_line(file_column, 100)}, labels in "
            f"{one_line(column, 100)}"
        )
        self._source.facts |= {"file_column": file_column, "label_column": column}
        for number, row in table.rows(self._left_out):
            cell = row.get(file_column)
            if isinstance(cell, dict):  # Hugging Face's {"bytes", "path"}
                cell = cell.get("path")
            name = str(cell).strip() if isinstance(cell, (str, int)) else ""
            if name:
                yield f"{self._title}:{number}", name, row.get(column)
            else:
                self._left_out(number, "no file name")

    def _left_out(self, number: int, reason: str) -> None:
        self._source.skipped.append({"file": f"{self._title}:{number}", "reason": reason})

    def _columns(self, table: Table) -> tuple[Table, str, str]:
        """The table, its column of files and its column of labels."""
        options = self._options
        if table.delimiter is not None and self._has_no_names(table):
            table = table.without_names()
        if options.file_column is not None:
            file_column = table.column("--file-column", options.file_column, ())
        else:
            file_column = self._file_column(table)
        is_named = table.columns[0] != "1" or options.label_column is not None
        if not is_named and len(table.columns) > 2:
            raise UserError(
                f"{self._title} has no names of columns in its first line: name the column of "
                f"labels by its number, 1 to {len(table.columns)}, with --label-column"
            )
        return (
            table,
            file_column,
            label_column(table, self._title, options.label_column, file_column),
        )

    def _has_no_names(self, table: Table) -> bool:
        """Whether a picture is where the names of columns would be."""
        usual = {*FILE_COLUMNS, *LABEL_COLUMNS, *LABEL_NUMBERS}
        cells = [column for column in table.columns if column]
        if any(plain(cell) in usual for cell in cells):
            return False
        return any(self._names.find(cell) for cell in cells)

    def _file_column(self, table: Table) -> str:
        """The known column that names the most pictures, or else the only one that names most."""
        sample = table.sample()
        known = table.known(FILE_COLUMNS)
        columns = known or table.columns
        hits = {c: sum(self._is_picture(row.get(c)) for row in sample) for c in columns}
        most = max(hits.values(), default=0)
        found = [column for column in columns if hits[column] == most]
        if len(found) > 1 and not known:  # `0` may stand for 0.jpg, but hardly beside 0.jpg
            suffixes = tuple(picture_suffixes())
            whole = [c for c in found if str((sample or [{}])[0].get(c)).lower().endswith(suffixes)]
            found = whole or found
        # Numbers of classes may be names of pictures too: a column that is not known must be clear.
        if known or (len(found) == 1 and most * 2 > len(sample)):
            return found[0]
        raise UserError(
            f"{self._title}: no column of files is known: name it with --file-column; "
            f"{table.listing}"
        )

    def _is_picture(self, cell: object) -> bool:
        cell = cell.get("path") if isinstance(cell, dict) else cell
        is_name = isinstance(cell, (str, int)) and not isinstance(cell, bool)
        return is_name and bool(self._names.find(str(cell)))

    def found(
        self, pairs: Iterable[tuple[str, str, object]]
    ) -> Iterator[tuple[str, list[Label] | None]]:
        """(picture, its labels) of pairs whose picture is there."""
        for where, name, cell in pairs:
            picture = self._names.find(name)
            self._rows += 1
            if picture:
                yield picture, self._labels(cell)
                continue
            self._missing += 1
            self._an_unknown = self._an_unknown or name
            several = picture == AMBIGUOUS and picture is not None
            reason = "could be several pictures" if several else "is not among the pictures"
            self._source.skipped.append(
                {"file": where, "reason": f"{one_line(name, 200)} {reason}"}
            )

    def _labels(self, cell: object) -> list[Label] | None:
        if isinstance(cell, tuple):
            return [cell]
        if self._options.mode == "multi":
            return classes_in(cell) or None
        if self._options.mode is None and holds_several(cell):
            self._several_count += 1
            if len(self._several) < _NAMED:
                self._several.append(one_line(cell, 60))
        if isinstance(cell, (list, dict)):
            found = classes_in(cell) if isinstance(cell, list) else []
            return found[:1] or None
        label = class_of(cell)
        if label is None:
            return [] if cell is not None and str(cell).strip() else None
        return [label]

    def check(self, table: Lookup, names: Lookup) -> None:
        """Raises a UserError unless there are labels, and one for a picture."""
        source = self._source
        if not self._rows:
            raise UserError(f"labels {self._title} hold no labels")
        if not len(table):
            raise UserError(
                f"no picture is in the labels: {self._title} names "
                f"'{printable(one_line(self._an_unknown, 200))}', {source.facts['source']} holds "
                f"'{printable(next(iter(names)))}'"
            )
        source.facts |= {"rows": self._rows, "missing": self._missing}
        if self._several_count:
            raise UserError(
                f"{self._title}: {count_of(self._several_count, 'cell')} with several labels, like "
                f"{', '.join(self._several)}: use --labels={self._title}:multi for pictures in "
                "several classes, or :single if each text is one class"
            )
        if self._options.mode != "multi":
            self._check_repeated(table)

    def _check_repeated(self, table: Lookup) -> None:
        count, examples, parts = 0, [], Counter()
        texts: set[str] = set()
        for name, labels in table.items():
            if labels and len(labels) > 1:
                count += 1
                if len(examples) < _NAMED:
                    examples.append(f"{name} ({one_line(', '.join(map(str, labels)), 90)})")
            texts.update(label for label in labels or () if isinstance(label, str))
        if count:
            raise UserError(
                f"{self._title} gives {count_of(count, 'picture')} several labels that "
                f"contradict each other: {one_line('; '.join(examples))}; leave one row for a "
                f"picture, or use --labels={self._title}:multi for pictures in several classes"
            )
        for text in texts:
            parts.update(set(text.split(", ")))
        several = [t for t in texts if ", " in t and all(parts[p] > 1 for p in t.split(", "))]
        if several and self._options.mode is None:
            example = printable(one_line(sorted(several)[0], 200))
            raise UserError(
                f"{self._title}: {count_of(len(several), 'text')} may be several labels, like "
                f"'{example}': use --labels={self._title}:multi for pictures in several classes, "
                "or :single if each text is one class"
            )

    def set_classes(self, classes: list[int | str]) -> None:
        """The classes of rows of ones and zeros."""
        if not classes:
            raise UserError(f"labels {self._title} hold no labels")
        self._source.classes = range(len(self._label_names)) if self._label_names else classes

    def items(self, names: Lookup, table: Lookup) -> Iterator[Item]:
        """Pictures with their labels; tells of those that have none."""
        source = self._source
        if self._label_names:
            # A list of names means classes 0, 1, ... even where no picture is in one of them.
            source.label_names = dict(enumerate(self._label_names))
            source.classes = range(len(self._label_names))
        items = self._labelled(names, table)
        return with_counts(items, source, self._title, self._options.mode == "multi")

    def _labelled(self, names: Lookup, table: Lookup) -> Iterator[Item]:
        for name in names:
            labels = table.get(name)
            if not labels:
                reason = "its label in {} is empty" if name in table else "it is not in {}"
                reason = "its label in {} is no finite number" if labels == [] else reason
                reason = f"{reason.format(self._title)}, so has no label"
                self._source.skipped.append({"file": name, "reason": reason})
            elif self._options.mode == "multi":
                yield Item(name, multi_hot(labels, self._source.classes))
            else:
                label = labels[0]
                yield Item(name, tuple(label) if isinstance(label, list) else label)

    def _wrong_names(self) -> UserError:
        return UserError(
            f"labels {self._title}: label_names must be a list with a name for each class"
        )

    def _no_labels(self) -> UserError:
        return UserError(
            f'labels {self._title}: expected {{"labels": [["file name", label], ...]}}'
        )


def _is_dataset_json(text: TableText) -> bool:
    """Whether a file is one JSON object with labels, and not a table of objects with names."""
    keys: set[str] = set()
    with text.open() as file:
        reader = JsonReader(file)
        if reader.peek() != "{":
            return False
        try:
            for key in reader.members():
                keys.add(plain(key))
                if key == "labels" and reader.peek() in ("[", "{"):
                    for part in _pairs(reader):
                        del part
                else:
                    reader.value()
        except ValueError:
            return not keys.intersection(FILE_COLUMNS)
    return "labels" in keys and not keys.intersection(FILE_COLUMNS)


def _pairs(reader: JsonReader) -> Iterator[object]:
    """The pairs of a list, or of an object {name: label}."""
    if reader.peek() == "{":
        for name in reader.members():
            yield [name, reader.value()]
    else:
        yield from reader.elements()


def _merged(old: list | None, new: list | None) -> list | None:
    """The different labels of a picture that several rows name."""
    known = old or []
    new = [list(label) if isinstance(label, tuple) else label for label in new or []]
    return [*known, *(label for label in new if label not in known)] or old


def _is_number(value: object) -> bool:
    """Whether a value of a row is a finite number; NaN is not."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -LARGEST_NUMBER <= value <= LARGEST_NUMBER
