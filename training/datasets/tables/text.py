"""The text of a table: unpacked, decoded, and cut into lines of a bounded length."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TextIO

from dnnlib import UserError
from dnnlib.file_kinds import KINDS, recognize
from dnnlib.util import one_line
from training.datasets.tables.encodings import encoding_of

LONGEST_LINE = 1 << 24  # characters; more is no table
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
# What is unpacked: a table gets 100 times smaller at best, a bomb 1000 times.
UNPACKED_BYTES, UNPACKED_RATIO = 1 << 26, 100
_SAMPLE_BYTES = 1 << 13
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class TableText:
    """A file of text.

    Attributes:
        path: of the file.
        title: what messages call it.
        encoding: of its text, unpacked.
    """

    path: str
    title: str
    encoding: str

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        """The text; ends of lines are kept, since cells may have some.

        Raises:
            UserError: It cannot be read or unpacked; also for what is read inside the block.
        """
        with _readable(self.title), open_bytes(self.path, self.title) as file:
            yield io.TextIOWrapper(file, self.encoding, errors="replace", newline="")

    def lines(self) -> Iterator[str]:
        """All lines. Raises UserError if one has no end."""
        with self.open() as file:
            while line := file.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE and not line.endswith(("\r", "\n")):
                    raise UserError(
                        f"{self.title}: a line has more than {LONGEST_LINE} characters: expected "
                        "a table with lines"
                    )
                yield line


def open_text(path: str, title: str, encoding: str | None = None) -> TableText:
    """Finds out how the text of a file is encoded, and says so where it is not UTF-8.

    Args:
        path: The file.
        title: What messages call it.
        encoding: As the user says; None: see above.

    Raises:
        UserError: It cannot be read, is no text, or its encoding cannot be told.
    """
    with _readable(title):
        _check_kind(path, title, encoding is not None)
        if encoding is not None:
            text, is_whole = TableText(path, title, known_encoding(encoding)), False
        else:
            with open_bytes(path, title) as file:
                found, is_whole = _encoding(file, title)
            text = TableText(path, title, found)
            if not found.startswith("utf"):
                print(f"{title}: read as {found}; --table-encoding names another", file=sys.stderr)
    if not is_whole:
        _report_damage(text)
    return text


def known_encoding(name: str) -> str:
    """Python's name of an encoding of text. Raises UserError for others."""
    try:
        codec = codecs.lookup(name)
        "a".encode(codec.name).decode(codec.name) + ""
        return "utf-8-sig" if codec.name == "utf-8" else codec.name
    except (LookupError, ValueError, TypeError) as error:
        raise UserError(
            f"--table-encoding={name} is not known: expected one like utf-8, utf-16, cp1252, "
            "mac_roman, shift_jis, gb18030, big5"
        ) from error


@contextmanager
def open_bytes(path: str, title: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if it is packed with gzip, bzip2 or xz."""
    with open(path, "rb") as file:
        head = file.read(6)
        file.seek(0)
        opener = next((o for magic, o in _PACKED.items() if head.startswith(magic)), None)
        if opener is None:
            yield file
            return
        limit = UNPACKED_BYTES + UNPACKED_RATIO * os.fstat(file.fileno()).st_size
        with opener(file, "rb") as unpacked:
            yield io.BufferedReader(_Bounded(unpacked, limit, title))


class _Bounded(io.RawIOBase):
    """Bytes of a packed file, up to a limit."""

    def __init__(self, file: IO[bytes], limit: int, title: str):
        self._file, self._left, self._title = file, limit, title

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise UserError(f"{self._title} is far larger when unpacked than any table: a bomb?")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _readable(title: str) -> Iterator[None]:
    """What goes wrong in a file becomes a UserError."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UserError(f"{title} is broken: {one_line(error)}; copy it again") from error
    except OSError as error:
        raise UserError(
            f"cannot read the table {title}: {error.strerror or one_line(error)}"
        ) from error


def _check_kind(path: str, title: str, is_text: bool) -> None:
    """Refuses what is no text, by name; what the user says is text, only if it is no file."""
    kind = recognize(path)
    if is_text and kind.group != "special":
        return
    if kind is KINDS["empty"]:
        raise UserError(f"the table {title} is empty: expected names of columns in the first line")
    markup = (KINDS["html"], KINDS["xml"], KINDS["feed"])
    is_text = kind.group in ("text", "other") and kind not in markup
    if not (is_text or _is_packed_text(kind.name)):
        raise UserError(f"the table {title} is {kind.said}; expected CSV, TSV or JSON")


def _is_packed_text(name: str) -> bool:
    is_packed = name.startswith(("a gzip", "a bzip2", "an xz")) and "damaged" not in name
    inside = name.partition(" with ")[2]
    return is_packed and (not inside or "text" in inside or "JSON" in inside)


def _encoding(file: IO[bytes], title: str) -> tuple[str, bool]:
    """The encoding, and whether no character is damaged for certain."""
    head = file.read(4096)
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding, False
    if b"\0" in head and (wide := _wide_encoding(head)):
        return wide, False
    decoder, is_utf8, is_whole = codecs.getincrementaldecoder("utf-8")(), True, True
    sample, chunk = b"", head
    while chunk and (is_utf8 or len(sample) < _SAMPLE_BYTES):
        try:
            is_whole = "\ufffd" not in decoder.decode(chunk) and is_whole
        except UnicodeDecodeError:
            is_utf8 = False
            decoder.reset()
        if len(sample) < _SAMPLE_BYTES and not chunk.isascii():
            sample += _lines_beyond_ascii(chunk)
        chunk = file.read(1 << 20)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        is_utf8 = False
    if is_utf8:
        return "utf-8", is_whole
    return encoding_of(sample[:_SAMPLE_BYTES], title), False


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark: most of a table is ASCII all the same."""
    for encoding, size in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        text = head[: len(head) // size * size].decode(encoding, "replace")
        common = sum(c.isascii() and (c.isprintable() or c in "\t\r\n") for c in text)
        if text and "\0" not in text and text.count("\ufffd") <= 1 and common * 5 >= len(text):
            return encoding
    return None


def _lines_beyond_ascii(chunk: bytes) -> bytes:
    lines = chunk.splitlines(keepends=True)
    return b"".join(line[:4096] for line in lines if not line.isascii())


def _report_damage(text: TableText) -> None:
    """Says where characters are missing, in the file or for its encoding."""
    count, first = 0, 0
    for number, line in enumerate(text.lines(), 1):
        if "\ufffd" in line:
            first = first or number
            count += line.count("\ufffd")
    if count:
        print(
            f"{text.title}: {count} characters are damaged or not {text.encoding}, first in line "
            f"{first}: --table-encoding names another encoding",
            file=sys.stderr,
        )
