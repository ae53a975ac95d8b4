"""The labels of a dataset while it is made."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator

import numpy as np

from dnnlib import UserError
from dnnlib.util import one_line, printable
from training.datasets.format.label_file import MAX_LABEL_SIZE, write_labels
from training.datasets.items import Item, ItemList, Source

_LARGEST_NUMBER = float(np.finfo(np.float32).max)  # of labels, which are stored as float32
_BYTES_AT_ONCE = 1 << 20
MAX_LABEL_BYTES = 1 << 33  # who trains on them has all in memory
_MANY_CLASSES = 100  # from which on it counts that most pictures have one of their own


def check_size(count: int, label_size: int, source: Source) -> None:
    """Raises a UserError if labels would take more room than what can be read again.

    Args:
        count: of the pictures.
        label_size: of the classes, or numbers of a row.
        source: what has them.
    """
    size = 4 * count * label_size
    if label_size > MAX_LABEL_SIZE or size > MAX_LABEL_BYTES:
        raise UserError(
            f"{count} pictures in {label_size} classes: their labels would take {size / 1e9:.1f} "
            f"GB; expected up to {MAX_LABEL_SIZE:,} classes and {MAX_LABEL_BYTES / 1e9:.1f} GB: "
            f"{_is_it_the_category(source)}"
        )


def _is_it_the_category(source: Source) -> str:
    for kind in ("label", "category"):
        if column := source.facts.get(f"{kind}_column"):
            name = printable(one_line(column, 100))
            return f"is the column {name} the category? name another with --{kind}-column"
    return f"are these the categories of {printable(str(source.facts.get('labels', 'labels')))}?"


class LabelRows:
    """Labels of the images that are written: numbers of classes, or rows."""

    def __init__(self, source: Source, items: ItemList):
        in_use = items.classes
        # Rows of ones and zeros have classes too, where pictures are in several.
        is_named = source.classes and (in_use or len(source.classes) == items.row_size)
        self.classes = list(source.classes) if is_named else in_use
        count, size = len(items), items.row_size or len(self.classes)
        check_size(count, size, source)
        if len(in_use) >= _MANY_CLASSES and len(in_use) > count * 0.8:
            print(
                f"note: {count} pictures have {len(in_use)} classes: {_is_it_the_category(source)}",
                file=sys.stderr,
            )
        self._names = [str(source.label_names.get(label, label)) for label in self.classes]
        self._dense = {label: i for i, label in enumerate(self.classes)}
        self._row_size = items.row_size
        self._values = array("f" if items.row_size else "l")
        self._count = 0

    def add(self, item: Item) -> None:
        self._count += 1
        if self._row_size:
            if not isinstance(item.label, tuple) or len(item.label) != self._row_size:
                raise UserError(f"{printable(item.name)} has no label of {self._row_size} numbers")
            if not all(-_LARGEST_NUMBER <= value <= _LARGEST_NUMBER for value in item.label):
                raise UserError(
                    f"{printable(item.name)} has a label that is not finite, {list(item.label)}: "
                    "leave it out, or fill the gap in its labels"
                )
            self._values.extend(item.label)
        elif self.classes:
            if item.label is None or isinstance(item.label, tuple):
                raise UserError(f"{printable(item.name)} has no label, unlike others")
            self._values.append(self._dense[item.label])

    def write(self, path: str) -> None:
        if self._row_size or self.classes:
            write_labels(path, self._rows(), self._count, self._row_size or len(self.classes))

    def _rows(self) -> Iterator[np.ndarray]:
        values = np.frombuffer(self._values, self._values.typecode)
        if self._row_size:
            yield values.reshape(self._count, self._row_size)
            return
        step = max(1, _BYTES_AT_ONCE // (4 * len(self.classes)))
        for begin in range(0, self._count, step):
            chunk = values[begin : begin + step]
            rows = np.zeros([len(chunk), len(self.classes)], np.float32)
            rows[np.arange(len(chunk)), chunk] = 1
            yield rows

    def describe(self) -> dict:
        """What the manifest says: names of the classes, and their original numbers or names."""
        return {"label_names": self._names, "label_ids": self.classes}
