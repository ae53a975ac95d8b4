"""What importers hand over: the pictures of a source and their labels, listed on disk.

An importer reads annotation files as streams and yields items; lists and look-up tables of any
length lie in temporary files, so that memory does not grow with the number of rows. Of 10 million,
lists and dicts would take 1 to 19 GiB each, see tests/benchmarks/README.md.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sqlite3
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.system import read_at

_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,15})?", re.ASCII)
MAX_NAMED = 5000  # entries of what an importer leaves out; more are counted
Label = int | str | tuple[float, ...]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of a source, before it is read.

    Attributes:
        name: where it is in the source, unique, with `/` between folders; messages show it.
        label: the class, by its original number or name; a row of numbers where labels are no
            classes; None where the source has no labels. All items of a source have one kind.
        box: x1, y1, x2, y2 in pixels of the stored picture, to be cut out of it.
    """

    name: str
    label: Label | None = None
    box: Box | None = None


def sorted_classes(classes: Iterable[int | str]) -> list[int | str]:
    """Each class once: numbers ascending, also texts like "-1" and "2.5"; then other texts."""
    return sorted(set(classes), key=_order)


def _order(label: int | str) -> tuple[bool, float | int, str]:
    is_number = isinstance(label, int) or _DECIMAL.fullmatch(label) is not None
    value = (label if isinstance(label, int) else float(label)) if is_number else 0
    return not is_number, value, str(label)


class Skipped(list):
    """[{"file", "reason"}] of what is left out; the first are named, the others counted.

    Attributes:
        unnamed: how many are only counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unnamed = 0

    def append(self, entry: dict[str, str]) -> None:
        if len(self) < MAX_NAMED:
            super().append(entry)
        else:
            self.unnamed += 1


@dataclass
class Source:
    """What an importer hands to `build.build`.

    Attributes:
        items: read once, in the order that an unshuffled dataset has.
        read: gives for an item the path of a picture file, or the bytes of one, or uint8
            [channels, height, width] or [height, width] pixels. Called by several threads at once.
            Raises `Unreadable` for what cannot be used.
        facts: what the manifest says of the source: {"source": path, …}.
        label_names: names of classes by original number; a class without an entry is called by its
            number, or by itself if it is text.
        channels: 3; 1 for gray pictures that stay so; 4 for colors over white and opacity.
        skipped: [{"file", "reason"}] of what the importer itself had to leave out; may grow while
            `items` is read.
        classes: original labels that the dataset has a column for, in this order; None for those
            in use, ascending.
    """

    items: Iterable[Item]
    read: Callable[[Item], str | bytes | np.ndarray]
    facts: dict[str, Any]
    label_names: Mapping[int | str, str] = field(default_factory=dict)
    channels: int = 3
    skipped: list[dict[str, str]] = field(default_factory=Skipped)
    classes: Sequence[int | str] | None = None


class ItemList:
    """A sequence of items in a temporary file; 16 bytes of memory for each.

    Attributes:
        classes: original labels in use, ascending; empty where labels are rows or absent.
        row_size: length of the rows where labels are rows of numbers, else 0.
        digest: SHA-256 of all of it.

    Raises:
        UserError: the folder of temporary files is full.
    """

    def __init__(self, items: Iterable[Item]):
        try:
            self._file = tempfile.TemporaryFile()
        except OSError as error:
            raise _temporary_full(error) from error
        self._ends = array("q", [0])
        self.row_size = 0
        self._fill(items)

    def _fill(self, items: Iterable[Item]) -> None:
        digest = hashlib.sha256()
        classes: set[int | str] = set()
        end = 0
        for item in items:
            line = json.dumps([item.name, item.label, item.box]).encode("ascii")
            self._write(line)
            digest.update(line)
            end += len(line)
            self._ends.append(end)
            if isinstance(item.label, tuple):
                self.row_size = len(item.label)
            elif item.label is not None:
                classes.add(item.label)
        self._write(b"")
        self.classes = sorted_classes(classes)
        self.digest = digest.hexdigest()

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line) if line else self._file.flush()
        except OSError as error:  # Full, or beyond a quota or a limit.
            raise _temporary_full(error) from error

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Item:
        begin, end = self._ends[index], self._ends[index + 1]
        name, label, box = json.loads(read_at(self._file.fileno(), end - begin, begin))
        label = tuple(label) if isinstance(label, list) else label
        return Item(name, label, None if box is None else tuple(box))


class Lookup:
    """A read-only table of text to values (what JSON can say) in a temporary file.

    Threads may share it.

    Args:
        rows: (key, value) pairs.
        merge: makes one value of an old and a new one for a key; None: the first counts.

    Iterating gives the keys in ascending order of their bytes.
    """

    def __init__(
        self, rows: Iterable[tuple[str, Any]], merge: Callable[[Any, Any], Any] | None = None
    ):
        # The empty name is SQLite's for a database that is private and gone when it is closed.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._lock = threading.Lock()
        self._database.execute("CREATE TABLE t (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
        try:
            if merge is None:
                self._database.executemany(
                    "INSERT OR IGNORE INTO t VALUES (?, ?)",
                    ((_key(key), json.dumps(value)) for key, value in rows),
                )
            else:
                for key, value in rows:
                    self._merge(key, value, merge)
            self._database.commit()
        except sqlite3.OperationalError as error:
            raise _temporary_full() from error

    def __len__(self) -> int:
        return self._database.execute("SELECT COUNT(*) FROM t").fetchone()[0]

    def __iter__(self) -> Iterator[str]:
        return (os.fsdecode(row[0]) for row in self._database.execute("SELECT key FROM t"))

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        row = self._find(key)
        return default if row is None else json.loads(row[0])

    def add(self, key: str, value: Any) -> None:
        """Adds a row, unless there is one for the key."""
        query = "INSERT OR IGNORE INTO t VALUES (?, ?)"
        try:
            with self._lock:
                self._database.execute(query, (_key(key), json.dumps(value)))
        except sqlite3.OperationalError as error:
            raise _temporary_full() from error

    def items(self) -> Iterator[tuple[str, Any]]:
        """Keys and values, in the order of the keys."""
        rows = self._database.execute("SELECT key, value FROM t")
        return ((os.fsdecode(key), json.loads(value)) for key, value in rows)

    def _merge(self, key: str, value: Any, merge: Callable[[Any, Any], Any]) -> None:
        query = "INSERT OR IGNORE INTO t VALUES (?, ?)"
        if self._database.execute(query, (_key(key), json.dumps(value))).rowcount == 0:
            old = self.get(key)
            if (merged := merge(old, value)) != old:
                query = "UPDATE t SET value = ? WHERE key = ?"
                self._database.execute(query, (json.dumps(merged), _key(key)))

    def _find(self, key: str) -> tuple[str] | None:
        query = "SELECT value FROM t WHERE key = ?"
        with self._lock:
            return self._database.execute(query, (_key(key),)).fetchone()


def _key(text: str) -> bytes:
    """The bytes of a key; of lone surrogates too, which JSON may hold."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _temporary_full(error: OSError | None = None) -> UserError:
    if error is not None and error.errno == errno.ENOENT:  # It names all folders that it tried.
        return UserError(f"cannot make temporary files: {error.strerror}: name a folder in TMPDIR")
    is_full = error is None or error.errno == errno.ENOSPC
    why = "which is full" if is_full else error.strerror
    folder = tempfile.gettempdir()
    return UserError(f"cannot write in {folder}, {why}: name another folder in TMPDIR")


class Rows:
    """Rows of bytes, all of one length, in a temporary file; none is kept in memory.

    Args:
        length: bytes of a row.

    Raises:
        UserError: the folder of temporary files is full.
    """

    def __init__(self, length: int):
        try:
            self._file = tempfile.TemporaryFile()
        except OSError as error:
            raise _temporary_full(error) from error
        self._length = length

    def append(self, row: bytes) -> None:
        """Adds a row at the end."""
        try:
            self._file.write(row)
            self._file.flush()
        except OSError as error:
            raise _temporary_full(error) from error

    def __getitem__(self, number: int) -> bytes:
        return read_at(self._file.fileno(), self._length, number * self._length)


class Seen:
    """A set of digests in a temporary file."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE t (digest BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, digest: bytes) -> bool:
        """Adds a digest; False if it was there already."""
        query = "INSERT OR IGNORE INTO t VALUES (?)"
        try:
            return self._database.execute(query, (digest,)).rowcount == 1
        except sqlite3.OperationalError as error:
            raise _temporary_full() from error
