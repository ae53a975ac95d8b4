"""Tables in files: CSV with any delimiter and encoding, or JSON lines. Read as streams."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from dnnlib import UserError
from dnnlib.util import one_line

# One cell may hold a description in HTML. More than this is a quote that is not closed.
_LONGEST_CELL = 1 << 20
_ROWS_FOR_COLUMNS = 1000  # objects of JSON lines whose keys are taken for the columns

LeftOut = Callable[[int, str], None]  # called with a line's number and the reason


@dataclass(frozen=True)
class Table:
    """A table in a file.

    Attributes:
        path: of the file.
        columns: their names, as in the file.
        encoding: of the text.
        delimiter: between cells; None for JSON lines.
        has_names: whether the first line names the columns.
    """

    path: str
    columns: tuple[str, ...]
    encoding: str
    delimiter: str | None
    has_names: bool = True

    def without_names(self) -> Table:
        """The delimited table as one whose first line is a row; columns are "0", "1", ..."""
        columns = tuple(str(number) for number in range(len(self.columns)))
        return replace(self, columns=columns, has_names=False)

    def column(self, option: str, name: str | None, usual: tuple[str, ...]) -> str | None:
        """The column of a name, or the first of the usual ones; None if there is none.

        Case, blanks and punctuation do not count.

        Raises:
            UserError: There is no column `name`, which `option` asks for.
        """
        if name in self.columns:
            return name
        known: dict[str, str] = {}
        for column in self.columns:
            known.setdefault(_plain(column), column)
        if name is None:
            return next((known[key] for key in usual if key in known), None)
        if _plain(name) not in known:
            raise UserError(f"{option}={name}: {self.path} has no such column: {self.listing}")
        return known[_plain(name)]

    @property
    def listing(self) -> str:
        """The columns, for messages."""
        names = ", ".join(column or "(no name)" for column in self.columns)
        return f"its columns are {one_line(names, 400)}"

    def rows(self, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
        """Numbers of lines, from 1, and the cells that are there by column.

        Args:
            left_out: Told of rows that cannot be read.
        """
        with _open(self.path, self.encoding) as lines:
            if self.delimiter is None:
                yield from _json_rows(lines, left_out)
            else:
                yield from self._delimited_rows(lines, left_out)

    def _delimited_rows(self, lines, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
        count = len(self.columns)
        for number, cells in _cells(lines, self.delimiter, left_out):
            while len(cells) > count and not cells[-1].strip():
                cells.pop()
            # Surplus cells are images of the last column, separated as the columns are.
            if len(cells) > count:
                cells[count - 1 :] = [self.delimiter.join(cells[count - 1 :])]
            is_names = number == 1 and self.has_names
            if not is_names and any(cell.strip() for cell in cells):
                row: dict[str, Any] = {}
                for column, cell in zip(self.columns, cells, strict=False):
                    row.setdefault(column, cell)  # Of columns with the same name, the first counts.
                yield number, row


def open_table(path: str, title: str | None = None) -> Table:
    """Finds out what kind of table a file is, and its columns.

    Args:
        path: The file.
        title: What messages call it; None: by its path.

    Raises:
        UserError: It is none, or cannot be read.
    """
    title = path if title is None else title
    begin, encoding = first_character(path, title)
    try:
        if begin in ("{", "["):
            columns, delimiter = _json_columns(path, title, encoding, begin), None
        else:
            columns, delimiter = _delimited_columns(path, title, encoding)
    except OSError as error:
        raise UserError(f"cannot read the table {title}: {error.strerror or error}") from error
    return Table(path, tuple(columns), encoding, delimiter)


def first_character(path: str, title: str) -> tuple[str, str]:
    """The first character of a file that is no blank, or "", and the encoding of its text.

    Raises:
        UserError: It cannot be read, or is a spreadsheet.
    """
    try:
        encoding = _encoding(path, title)
        with _open(path, encoding) as lines:
            return next((line for line in lines if line.strip()), "").lstrip()[:1], encoding
    except OSError as error:
        raise UserError(f"cannot read the table {title}: {error.strerror or error}") from error


def class_of(cell: object) -> int | str | None:
    """The class that a cell names, or None; numbers stay numbers, since their order is 2, 10."""
    text = "" if cell is None else " ".join(str(cell).split())
    return int(text) if text.isdecimal() and len(text) < 19 else text or None


def _encoding(path: str, title: str) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(path, "rb") as file:
        head = file.read(4)
        if head.startswith(b"PK"):
            raise UserError(
                f"{title} is a spreadsheet or a zip file: export it as CSV, or unpack it"
            )
        if head.startswith(codecs.BOM_UTF8):
            return "utf-8-sig"
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        file.seek(0)
        try:
            while chunk := file.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"  # As spreadsheet programs save CSV files on Windows.
    return "utf-8"


def _open(path: str, encoding: str):
    # csv sees to the ends of lines itself, since cells may have some.
    return open(path, encoding=encoding, errors="replace", newline="")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


class _Lines:
    """Passes lines on to csv; `ended` after the last one."""

    def __init__(self, lines):
        self._lines = lines
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            yield line.replace("\0", "")
        self.ended = True


def _cells(lines, delimiter: str, left_out: LeftOut) -> Iterator[tuple[int, list[str]]]:
    """Records of a delimited file, with the number of the line on which each begins."""
    # The limit is one of the process, and far too small for cells with many URLs or descriptions.
    csv.field_size_limit(_LONGEST_CELL)
    lines = _Lines(lines)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            left_out(number, f"not readable: {error}; a quote may not be closed")
            continue
        if cells is None:
            return
        if lines.ended:  # A record is complete at the end of its line, unless in quotes.
            count = reader.line_num + 1 - number
            left_out(number, f"a quote opens and is not closed: {count} lines are lost")
        else:
            yield number, cells


def _delimited_columns(path: str, title: str, encoding: str) -> tuple[list[str], str]:
    with _open(path, encoding) as lines:
        header = re.sub(r'"[^"]*"', "", next(lines, ""))
    usual = "\t" if path.lower().endswith((".tsv", ".tab")) else ","
    delimiter = max((usual, ",", "\t", ";", "|"), key=header.count)
    with _open(path, encoding) as lines:
        cells = next(_cells(lines, delimiter, lambda *_: None), (1, []))[1]
    columns = [cell.strip() for cell in cells]
    if not any(columns):
        raise UserError(f"the table {title} is empty: expected names of columns in the first line")
    return columns, delimiter


def _json_columns(path: str, title: str, encoding: str, begin: str) -> list[str]:
    if begin == "[":
        raise UserError(
            f"{title} is one JSON array: expected JSON lines, an object on each line, as made by "
            "jq -c '.[]'"
        )
    columns: dict[str, None] = {}
    with _open(path, encoding) as lines:
        for _, row in islice(_json_rows(lines, lambda *_: None), _ROWS_FOR_COLUMNS):
            columns.update(dict.fromkeys(row))
    if not columns:
        raise UserError(f'{title}: expected JSON lines, an object like {{"image": …}} on each line')
    return list(columns)


def _json_rows(lines, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip("\ufeff \t\r\n"):
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            left_out(number, f"not JSON: {one_line(error, 100)}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            left_out(number, "not a JSON object")
