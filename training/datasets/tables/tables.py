"""Tables in files, read as streams: CSV with any delimiter and encoding, JSON, Parquet."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from dnnlib import UserError
from dnnlib.file_kinds import KINDS, recognize
from dnnlib.util import one_line
from training.datasets.tables.json_values import JsonReader
from training.datasets.tables.parquet import parquet_columns, parquet_rows
from training.datasets.tables.text import TableText, open_text

# One cell may hold a description in HTML. More than this is a quote that is not closed.
_LONGEST_CELL = 1 << 20
SAMPLE_ROWS = 1000  # that are looked at to tell which columns there are, and what they hold
_TITLE_LINES = 20  # at most that may stand before the names of columns
_PAGES = (
    "itemSummaries",
    "items",
    "products",
    "results",
)  # lists of things in one JSON object, of APIs

LeftOut = Callable[[int, str], None]  # called with a line's number and the reason


@dataclass(frozen=True)
class Table:
    """A table in a file.

    Attributes:
        path: of the file.
        columns: their names, as in the file; "1", "2", ... where it has no names.
        text: the file's text; None for Parquet.
        delimiter: between cells; None for JSON and Parquet.
        names_line: number of the line with the names of columns, or of the last one before rows.
        is_lines: of JSON, whether each line is an object.
        is_strict: whether rows with more cells than columns are left out; else these are taken for
            a part of the last column, whose commas are not in quotes.
    """

    path: str
    columns: tuple[str, ...]
    text: TableText | None = None
    delimiter: str | None = None
    names_line: int = 1
    is_lines: bool = False
    is_strict: bool = False

    def without_names(self) -> Table:
        """The delimited table as one whose line of names is a row; columns are "1", "2", ..."""
        columns = tuple(str(number) for number in range(1, len(self.columns) + 1))
        return replace(self, columns=columns, names_line=self.names_line - 1)

    def column(self, option: str, name: str | None, usual: tuple[str, ...]) -> str | None:
        """The column of a name, or the first of the usual ones; None if there is none.

        Case, blanks and punctuation do not count.

        Raises:
            UserError: There is no column `name`, which `option` asks for.
        """
        if name is None:
            return next(iter(self.known(usual)), None)
        if name in self.columns:
            return name
        for column in self.columns:
            if plain(column) == plain(name):
                return column
        raise UserError(f"{option}={name}: {self.path} has no such column: {self.listing}")

    def known(self, usual: tuple[str, ...]) -> list[str]:
        """The columns that have usual names, in the order of these."""
        found: dict[str, str] = {}
        for column in self.columns:
            found.setdefault(plain(column), column)
        return [found[key] for key in usual if key in found]

    @property
    def listing(self) -> str:
        """The columns, for messages."""
        names = ", ".join(column or "(no name)" for column in self.columns)
        return f"its columns are {one_line(names, 400)}"

    def sample(self) -> list[dict[str, Any]]:
        """The first rows."""
        return [row for _, row in islice(self.rows(_ignore), SAMPLE_ROWS)]

    def rows(self, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
        """Numbers of lines, from 1, and the cells that are there by column.

        Of a JSON list and of Parquet the number is that of the element.

        Args:
            left_out: Told of rows that cannot be read.
        """
        if self.text is None:
            yield from parquet_rows(self.path, self.path)
        elif self.delimiter is not None:
            yield from self._delimited_rows(self.text.lines(), left_out)
        else:
            read = _json_lines if self.is_lines else _json_list
            yield from read(self.text, left_out)

    def _delimited_rows(
        self, lines: Iterable[str], left_out: LeftOut
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        count = len(self.columns)
        for number, cells in _cells(lines, self.delimiter, left_out):
            if number <= self.names_line or not any(cell.strip() for cell in cells):
                continue
            while len(cells) > count and not cells[-1].strip():
                cells.pop()
            if len(cells) > count and self.is_strict:
                left_out(
                    number,
                    f"{len(cells)} cells for {count} columns: which is which cannot be told; put "
                    f"cells that hold {self.delimiter!r} in quotes",
                )
                continue
            if len(cells) > count:
                cells[count - 1 :] = [self.delimiter.join(cells[count - 1 :])]
            row: dict[str, Any] = {}
            for column, cell in zip(self.columns, cells, strict=False):
                row.setdefault(column, cell)  # Of columns with the same name, the first counts.
            yield number, row


def open_table(
    path: str, title: str | None = None, encoding: str | None = None, known: Iterable[str] = ()
) -> Table:
    """Finds out what kind of table a file is, and its columns.

    Args:
        path: The file.
        title: What messages call it; None: by its path.
        encoding: Of its text; None: it is detected.
        known: Usual names of columns, as by `plain`: a first line with one of them is no title.

    Raises:
        UserError: It is none, or cannot be read.
    """
    title = path if title is None else title
    if is_parquet(path, title):
        return parquet_table(path)
    return text_table(open_text(path, title, encoding), known)


def is_parquet(path: str, title: str) -> bool:
    """Whether a file is a Parquet table. Raises UserError if it cannot be read."""
    try:
        return recognize(path) is KINDS["parquet"]
    except OSError as error:
        raise UserError(f"cannot read the table {title}: {error.strerror or error}") from error


def parquet_table(path: str) -> Table:
    """The table in a Parquet file."""
    return Table(path, tuple(parquet_columns(path, path)))


def text_table(text: TableText, known: Iterable[str] = ()) -> Table:
    """The table in a text; see `open_table`."""
    with text.open() as file:
        begin = JsonReader(file).peek()
    return _json_table(text) if begin in ("{", "[") else _delimited_table(text, frozenset(known))


def plain(name: str) -> str:
    """A name of a column in small letters without blanks and punctuation, nor `g:` of Google's."""
    return re.sub(r"[\W_]+", "", name.removeprefix("g:")).lower()


def _ignore(number: int, reason: str) -> None:
    """For rows that are looked at and read again later."""


class _Lines:
    """Passes lines on to csv; `ended` after the last one."""

    def __init__(self, lines: Iterable[str]):
        self._lines = lines
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            yield line.replace("\0", "")
        self.ended = True


def _cells(
    lines: Iterable[str], delimiter: str, left_out: LeftOut
) -> Iterator[tuple[int, list[str]]]:
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


def _delimited_table(text: TableText, known: frozenset[str]) -> Table:
    before, separator, header = 0, None, ""
    for line in islice(text.lines(), 1000):
        name = re.fullmatch(r'\ufeff?\s*"?sep=(.)"?\s*', line, re.IGNORECASE)
        if name:  # as Excel writes it
            separator = name[1]
        elif line.strip("\ufeff \t\r\n,;") and not _is_info(line):
            header = line
            break
        before += 1
    # Names of columns may hold all of the delimiters in quotes or brackets.
    header = re.sub(r'"[^"]*"|\([^()]*\)', "", header)
    usual = "\t" if text.path.lower().endswith((".tsv", ".tab", ".tsv.gz")) else ","
    delimiter = separator or max((usual, ",", "\t", ";", "|"), key=header.count)
    if separator is None and delimiter not in header and _is_list_with_blanks(text):
        delimiter = " "
    records = _cells(text.lines(), delimiter, _ignore)
    number, columns = _names(islice(records, before + _TITLE_LINES), before, known)
    if not any(columns):
        raise UserError(
            f"the table {text.title} is empty: expected names of columns in the first line"
        )
    return Table(text.path, columns, text, delimiter, number)


def _is_list_with_blanks(text: TableText) -> bool:
    """Whether it is a list as of ImageNet, `a.jpg 3`: the same number of words in all lines."""
    lines = (line.split() for line in islice(text.lines(), _TITLE_LINES))
    counts = {len(words) for words in lines if words}
    is_list = text.path.lower().endswith((".txt", ".lst", ".list"))
    return is_list and len(counts) == 1 and 1 not in counts


def _names(
    records: Iterable[tuple[int, list[str]]], before: int, known: frozenset[str]
) -> tuple[int, tuple[str, ...]]:
    """The record with the names of columns: the first, or after titles the first of several cells.

    A report begins with its title, in one cell. A table of one column looks the same, but no
    record in it has several, or the cell is a known name.
    """
    records = list(records)
    if (line := _template_names(records, known)) is not None:
        return line
    first: tuple[int, tuple[str, ...]] | None = None
    for number, cells in records:
        columns = tuple(cell.strip().lstrip("\ufeff").strip() for cell in cells)
        if number <= before or not any(columns):
            continue
        is_title = sum(map(bool, columns)) == 1 and not known.intersection(map(plain, columns))
        if not is_title:
            # A row of a table whose only name is not known has as many cells, but for commas.
            return (number, columns) if first is None or len(columns) > 1 else first
        first = first or (number, columns)
    return first or (1, ())


def _template_names(
    records: list[tuple[int, list[str]]], known: frozenset[str]
) -> tuple[int, tuple[str, ...]] | None:
    """The names of columns in Amazon's templates: after a line of settings, for people, and again.

    Those for programs are the last.
    """
    if not (records and records[0][1] and re.match(r"TemplateType=|settings=", records[0][1][0])):
        return None
    found = None
    for number, cells in records[1:]:
        columns = tuple(cell.strip() for cell in cells)
        if len(known.intersection(map(plain, columns))) < 2:
            break
        found = number, columns
    return found


def _is_info(line: str) -> bool:
    """Whether it is a line of eBay's templates that stands before the names of columns."""
    return line.lstrip('\ufeff" ').startswith(("#INFO", "Info,Version=", "Info>>>"))


def _json_table(text: TableText) -> Table:
    is_lines = _is_json_lines(text)
    table = Table(text.path, (), text, is_lines=is_lines)
    columns: dict[str, None] = {}
    for row in table.sample():
        columns.update(dict.fromkeys(row))
    if not columns:
        raise UserError(
            f'{text.title}: expected JSON lines, an object like {{"image": …}} on each line, or a '
            "list of objects"
        )
    return replace(table, columns=tuple(columns))


def _is_json_lines(text: TableText) -> bool:
    """Whether the first line is an object, or is broken where the file is no JSON in any way."""
    with text.open() as file:
        first = next((line for line in text.lines() if line.strip("\ufeff \t\r\n")), "")
        try:
            return isinstance(json.loads(first.strip("\ufeff \t\r\n")), dict)
        except (ValueError, RecursionError):
            pass
        reader = JsonReader(file)
        if reader.peek() == "[":
            return False
        try:
            reader.value()
        except ValueError:
            return True
        return False


def _json_lines(text: TableText, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.lines(), 1):
        line = line.strip("\ufeff \t\r\n")
        if line:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                left_out(number, f"not JSON: {one_line(error, 100)}")
                continue
            yield from _objects(number, value, left_out)


def _json_list(text: TableText, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a list, or objects one after the other, each on several lines."""
    number = 0
    with text.open() as file:
        reader = JsonReader(file)
        try:
            while begin := reader.peek():
                for value in reader.elements() if begin == "[" else (reader.value() for _ in "1"):
                    number += 1
                    yield from _objects(number, value, left_out)
        except ValueError as error:
            left_out(number + 1, f"not JSON, and the rest is lost: {one_line(error, 100)}")


def _objects(number: int, value: object, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
    """The object itself, or the things in a page that an API has given."""
    if not isinstance(value, dict):
        left_out(number, "not a JSON object")
        return
    page = next((value[key] for key in _PAGES if isinstance(value.get(key), list)), None)
    if page is None or "itemId" in value or not all(isinstance(row, dict) for row in page):
        yield number, value
    else:
        yield from ((number, row) for row in page)
