"""Names of attributes and of their values, and where an attribute stands in the files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dnnlib import UserError
from training.datasets.items import Lookup
from training.datasets.sources.deepfashion.annotations import (
    AnnotationFiles,
    LeftOut,
    Row,
    read_rows,
)

ATTRIBUTE_NAMES = {-1: "no", 0: "unknown", 1: "yes"}
FINE_ATTRIBUTE_NAMES = {0: "no", 1: "yes"}

_YES_NO = ("no", "yes", "NA")
_FABRICS = ("denim", "cotton", "leather", "furry", "knitted", "chiffon", "other", "NA")
_PATTERNS = (
    *("floral", "graphic", "striped", "pure color", "lattice", "other", "color block", "NA"),
)
_GARMENTS = ("upper", "lower", "outer")
# Of DeepFashion-MultiModal, as its README has them: (name, names of the values 0, 1, …) by column.
MULTIMODAL_ATTRIBUTES = {
    "shape": (
        (
            "sleeve length",
            ("sleeveless", "short-sleeve", "medium-sleeve", "long-sleeve", "not long-sleeve", "NA"),
        ),
        (
            "lower clothing length",
            ("three-point", "medium short", "three-quarter", "long", "NA"),
        ),
        ("socks", ("no", "socks", "leggings", "NA")),
        ("hat", _YES_NO),
        ("glasses", ("no", "eyeglasses", "sunglasses", "in hand or on clothes", "NA")),
        ("neckwear", _YES_NO),
        ("wrist wearing", _YES_NO),
        ("ring", _YES_NO),
        ("waist accessories", ("no", "belt", "clothing", "hidden", "NA")),
        (
            "neckline",
            ("V-shape", "square", "round", "standing", "lapel", "suspenders", "NA"),
        ),
        ("cardigan", ("yes", "no", "NA")),
        ("covers navel", _YES_NO),
    ),
    "fabric": tuple((f"{garment} fabric", _FABRICS) for garment in _GARMENTS),
    "pattern": tuple((f"{garment} pattern", _PATTERNS) for garment in _GARMENTS),
}


@dataclass(frozen=True)
class MultiModalAttribute:
    """A column of a file: `kind` is the key of the file, `values` has the names by number."""

    kind: str
    column: int
    values: Mapping[int, str]


def multimodal_attribute(wanted: str) -> MultiModalAttribute:
    """The column called by its name (`upper fabric`) or number (`fabric:0`), in any case.

    Raises:
        UserError: There is none; the message lists all names.
    """
    called = " ".join(wanted.lower().replace("_", " ").split())
    called = re.sub(r"(?<= )colou?r$", "pattern", called)  # as its authors call it too
    for kind, columns in MULTIMODAL_ATTRIBUTES.items():
        for column, (name, values) in enumerate(columns):
            if called in (name, f"{kind}:{column}"):
                return MultiModalAttribute(kind, column, dict(enumerate(values)))
    names = [name for columns in MULTIMODAL_ATTRIBUTES.values() for name, _ in columns]
    numbers = [f"{k}:0 to {k}:{len(columns) - 1}" for k, columns in MULTIMODAL_ATTRIBUTES.items()]
    raise UserError(
        f"--labels: there is no attribute {wanted!r}: expected one of {', '.join(names)}; or by "
        f"number {', '.join(numbers)}"
    )


def numbered_rows(path: str, columns: str, parse: Callable[[str], Row]) -> list[Row]:
    """All rows of a short table in which the place of a row is its number.

    Raises:
        UserError: A row is damaged: without it, the others would get wrong numbers.
    """
    damaged = LeftOut()
    rows = list(read_rows(path, columns, parse, damaged))
    if damaged.entries:
        line = damaged.entries[0]["file"].rpartition(":")[2]
        raise UserError(f"line {line} of {path} is not a row of {columns}: unpack the file again")
    return rows


def name_and_number(line: str) -> tuple[str, int]:
    """The row `name  number`."""
    name, number = line.rsplit(None, 1)  # names of attributes have spaces in them
    return name, int(number)


def find_attribute(files: AnnotationFiles, fine: bool, wanted: str) -> tuple[int, int]:
    """The column of an attribute of the category benchmark, from 0, and the number of attributes.

    Raises:
        UserError: There is none of this name, or several.
    """
    path = files.need("list_attr_cloth.txt", "the names of the attributes", fine)
    rows = numbered_rows(path, "attribute_name attribute_type", name_and_number)
    return _column_called(wanted, [(name,) for name, _ in rows], path), len(rows)


def item_attributes(files: AnnotationFiles, wanted: str, left_out: LeftOut) -> Lookup:
    """The values of one attribute by item, of the Consumer-to-shop benchmark.

    Raises:
        UserError: There is no attribute of this name, or several, or a file is missing.
    """
    path = files.need("list_attr_cloth.txt", "the names of the attributes")
    names = numbered_rows(path, "Chinese name, English name, type", _names_in_two_languages)
    column = _column_called(wanted, names, path)

    def parse(line: str) -> tuple[str, int]:
        item, *values = line.split()
        if len(values) != len(names) or int(values[column]) not in ATTRIBUTE_NAMES:
            raise ValueError(item)
        return item, int(values[column])

    path = files.need("list_attr_items.txt", "the attributes of the items")
    columns = f"item_id and {len(names)} values of -1, 0, 1"
    return Lookup(read_rows(path, columns, parse, left_out))


def _names_in_two_languages(line: str) -> tuple[str, str]:
    fields = [field.strip() for field in re.split(r"[,\t]|\s{2,}", line) if field.strip()]
    if len(fields) != 3:
        rest, number = line.rsplit(None, 1)
        fields = [*rest.split(None, 1), number]
    chinese, english, number = fields
    int(number)
    return english, chinese


def _column_called(wanted: str, rows: Sequence[tuple[str, ...]], path: str) -> int:
    """The place of the one row with a name, in any case if there is none in the given one."""
    wanted = " ".join(wanted.split())
    matches = [i for i, names in enumerate(rows) if wanted in names] or [
        i for i, names in enumerate(rows) if wanted.casefold() in map(str.casefold, names)
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"--labels: {len(matches)} attributes in {path} are called {wanted!r}")
    close = difflib.get_close_matches(wanted, [name for names in rows for name in names], 5)
    hint = f"did you mean {', '.join(close)}?" if close else f"its {len(rows)} names are there"
    raise UserError(f"--labels: there is no attribute {wanted!r} in {path}: {hint}")
