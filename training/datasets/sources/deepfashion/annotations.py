"""What the DeepFashion benchmarks have in common: annotation files, pictures, what is left out.

The files circulate in many states. All of these are read: the count on the first line blank, wrong
or missing; the line of column names missing; blank lines; runs of spaces; trailing spaces; paths
with spaces, backslashes or letters in another case; a byte order mark; CRLF; text that is not
ASCII; pictures in `img`, `Img/img`, `img-001/img` and so on.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import IO, TypeVar

from dnnlib import UserError
from dnnlib.files import open_regular
from training.datasets.items import Box, Item, Lookup, Skipped
from training.datasets.photos.decode import Unreadable
from training.datasets.sources.folders import inside

PARTITIONS = ("train", "val", "test", "query", "gallery")
MAX_NAMED = 100  # pictures or rows left out for one reason that the manifest names one by one
_DEPTH = 3  # folders within folders, as they come from unpacking zips in folders of their name
PICTURE_FOLDER = re.compile(r"im(g|ages?)([-_ ](\d+|highres))*", re.IGNORECASE)
ANNOTATION_FOLDER = re.compile(
    r"(anno(?!s$)|eval|label|attr|shape|texture|fabric|pattern).*", re.IGNORECASE
)
_COLUMN_NAMES = re.compile(
    r"[a-z]+(_[a-z]+)*_(name|id)(_\d)?(\s.*)?|.*\bname\b.*\btype", re.IGNORECASE
)
_LONGEST_HEADER = 500
_LONGEST_LINE = 1 << 16  # characters; that of 1,000 attributes has 3,000

Row = TypeVar("Row")


class LeftOut:
    """What is left out, with reasons; MAX_NAMED entries for each reason, then a number.

    Attributes:
        entries: [{"file", "reason"}] as in `Source.skipped`.
    """

    def __init__(self) -> None:
        self.entries = Skipped()
        self._counts: Counter[str] = Counter()

    def add(self, file: str, reason: str) -> None:
        """Notes a picture, or a row as `file:line`; `reason` is one of few texts."""
        self._counts[reason] += 1
        if self._counts[reason] <= MAX_NAMED:
            self.entries.append({"file": file, "reason": reason})

    def finish(self) -> None:
        """Counts how many more there were."""
        for count in self._counts.values():
            if count > MAX_NAMED:
                self.entries.unnamed += count - MAX_NAMED


class AnnotationFiles:
    """The annotation files of the folder of a benchmark, wherever below it they lie.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: str):
        self.root = root
        self._paths: dict[str, list[str]] = {}
        for folder in [root, *subfolders(root, ANNOTATION_FOLDER)]:
            for entry in scan(folder, re.compile(r".*\.(txt|json)", re.IGNORECASE)):
                self._paths.setdefault(entry.name.lower(), []).append(entry.path)

    def find(self, name: str, fine: bool = False) -> str | None:
        """The path of a file, or None. `fine`: look into Anno_fine only, else only elsewhere."""
        for path in self._paths.get(name, []):
            if ("anno_fine" in os.path.relpath(path, self.root).lower()) == fine:
                return path
        return None

    def need(self, name: str, holds: str, fine: bool = False) -> str:
        """The path of a file.

        Raises:
            UserError: There is none.
        """
        path = self.find(name, fine)
        if path is None:
            where = "the folder Anno_fine" if fine else "the folders Anno and Eval"
            raise UserError(
                f"{name}, which holds {holds}, is not in {self.root}: it belongs in {where} there"
            )
        return path


class Pictures:
    """Finds the pictures that annotations call `img/…`; a `Source.read`.

    Args:
        root: The folder of the benchmark.
        kinds: Which folders to look into, in this order: False the plain ones, True img_highres.
    """

    def __init__(self, root: str, kinds: Sequence[bool]):
        folders = [root, *subfolders(root, PICTURE_FOLDER)]
        high = {folder: "highres" in os.path.relpath(folder, root).lower() for folder in folders}
        self._folders = [folder for kind in kinds for folder in folders if high[folder] == kind]
        self._listing = functools.lru_cache(maxsize=64)(_names_by_form)

    def __call__(self, item: Item) -> str:
        path = self.find(item.name)
        if path is None:
            raise Unreadable("the file is missing")
        return path

    def find(self, name: str) -> str | None:
        """The path of a picture, or None; case counts only where it decides.

        Raises:
            Unreadable: The name leads out of the folder.
        """
        rest = name.removeprefix("./")
        while (start := rest.partition("/"))[2] and PICTURE_FOLDER.fullmatch(start[0]):
            rest = start[2]
        paths = (inside(folder, rest) for folder in self._folders)
        found = next(filter(os.path.isfile, paths), None)
        if found is None:
            likely = (self._find_in_any_case(folder, rest) for folder in self._folders)
            found = next(filter(None, likely), None)
        return found

    def _find_in_any_case(self, folder: str, name: str) -> str | None:
        """The one file that a name means if case and forms of Unicode do not count."""
        path = folder
        for part in name.split("/"):
            names = self._listing(path).get(_form(part), ())
            if part not in names and len(names) != 1:
                return None
            path = os.path.join(path, part if part in names else names[0])
        return path if os.path.isfile(path) else None


def _names_by_form(folder: str) -> dict[str, list[str]]:
    """The names in a folder, by how they read if case does not count."""
    names: dict[str, list[str]] = {}
    with suppress(OSError):
        for name in os.listdir(folder):
            names.setdefault(_form(name), []).append(name)
    return names


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def read_lines(path: str, left_out: LeftOut | None = None) -> Iterator[tuple[int, str]]:
    """Line numbers and lines of an annotation file without the count and the column names.

    Args:
        path: The file.
        left_out: If given, a wrong count is worth a warning on stderr.

    Raises:
        UserError: The file cannot be read.
    """
    said, place, rows = None, 0, 0
    with _open(path) as file:
        for number, line in _numbered(file):
            place += bool(line)
            if place == 1 and len(line.split()) == 1:
                said = int(line) if line.isdecimal() and len(line) < 20 else None
            elif line and not (place <= 2 and _COLUMN_NAMES.fullmatch(line[:_LONGEST_HEADER])):
                rows += 1
                yield number, line
    if left_out is not None and rows and said not in (None, rows):
        print(f"warning: {path} has {rows} rows, its first line says {said}", file=sys.stderr)


def read_rows(
    path: str, columns: str, parse: Callable[[str], Row], left_out: LeftOut
) -> Iterator[Row]:
    """What `parse` makes of the rows of an annotation file, one at a time.

    Args:
        path: The file.
        columns: What a row consists of, for messages.
        parse: Called with each line; a ValueError or IndexError leaves the row out.
        left_out: Where such rows are noted.

    Raises:
        UserError: The file cannot be read, or no row of it is good.
    """
    good = False
    for number, line in read_lines(path, left_out):
        try:
            row = parse(line)
        except (ValueError, IndexError):
            left_out.add(f"{os.path.basename(path)}:{number}", f"not a row of {columns}")
            continue
        good = True
        yield row
    if not good:
        raise UserError(f"{path} has no row of {columns}: unpack the file again")


def read_aligned(paths: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line numbers and the lines of several files that belong together.

    Raises:
        UserError: A file cannot be read, or one is longer than another.
    """
    with ExitStack() as stack:
        files = [_numbered(stack.enter_context(_open(path))) for path in paths]
        for rows in itertools.zip_longest(*files, fillvalue=(0, None)):
            number, lines = max(row[0] for row in rows), [row[1] for row in rows]
            if not any(lines):
                continue  # blank lines at the end
            if None in lines:
                path = paths[lines.index(None)]
                raise UserError(
                    f"{path} ends before line {number}, unlike {paths[0]} or the others beside it, "
                    "whose lines belong together: unpack them again"
                )
            yield number, tuple(lines)


def parse_box(fields: Sequence[str]) -> Box:
    """Four texts like `072 079 232 273` as x1, y1, x2, y2 in pixels."""
    x1, y1, x2, y2 = map(float, fields)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError("not a box")
    return x1, y1, x2, y2


def parse_partition(text: str) -> str:
    """`train` and the like."""
    if text.lower() not in PARTITIONS:
        raise ValueError("not a partition")
    return text.lower()


def sorted_names(folder: str) -> Iterator[str]:
    """The names of the files in a folder, sorted without being held in memory.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return iter(Lookup((e.name, None) for e in entries if not e.name.startswith(".")))
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error


def scan(folder: str, pattern: re.Pattern) -> list[os.DirEntry]:
    """What is in a folder and has a fitting name, sorted; nothing if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            fitting = [entry for entry in entries if pattern.fullmatch(entry.name)]
    except OSError:
        return []
    return sorted(fitting, key=lambda entry: entry.name)


def subfolders(root: str, pattern: re.Pattern) -> Iterator[str]:
    """Folders below `root` whose name fits, and those in them that fit, and so on; each once."""
    seen: set[tuple[int, int]] = set()
    yield from _subfolders(root, pattern, _DEPTH, seen)


def is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder is none of those seen, which links may lead back to; it is one then."""
    try:
        status = os.stat(folder)
    except OSError:
        return False
    key = status.st_dev, status.st_ino
    if key in seen:
        return False
    seen.add(key)
    return True


def _subfolders(
    root: str, pattern: re.Pattern, depth: int, seen: set[tuple[int, int]]
) -> Iterator[str]:
    for entry in scan(root, pattern):
        if os.path.isdir(entry.path) and is_new(entry.path, seen):
            yield entry.path
            if depth > 1:
                yield from _subfolders(entry.path, pattern, depth - 1, seen)


def partition_columns(files: AnnotationFiles) -> int:
    """How many columns list_eval_partition.txt has, which differs between benchmarks; or 0."""
    path = files.find("list_eval_partition.txt")
    if path is not None:
        for _, line in itertools.islice(read_lines(path), 100):
            *fields, partition = line.split()
            if fields and partition.lower() in PARTITIONS:
                # A path may have spaces in it, and ends with a suffix, as no item does.
                paths = sum("." in field for field in fields)
                return paths + ("." not in fields[-1]) + 1 if paths else len(fields) + 1
    return 0


def _numbered(file: IO[str]) -> Iterator[tuple[int, str]]:
    """Numbers from 1, and lines as they are used: some copies have paths of Windows."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST_LINE)
        if not line:
            return
        yield number, line.strip().replace("\\", "/")


def _open(path: str) -> IO[str]:
    try:
        file = open_regular(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape")
