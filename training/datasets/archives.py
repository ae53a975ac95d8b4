"""The pictures in a zip or tar file. Nothing is unpacked: entries are read where they lie."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from dnnlib import UserError
from dnnlib.util import one_line
from training.datasets.folders import is_picture
from training.datasets.items import Item, Lookup
from training.datasets.pictures import Unreadable, picture_suffixes

MAX_ENTRY_BYTES = 1 << 29  # what an entry may hold: a bomb promises more
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_BROKEN = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class Archive:
    """The pictures of an archive. Threads may share it.

    Hidden files are left out. A folder that holds everything, as is usual, has no part in names.

    Args:
        path: The archive, for messages.
        entries: (name, [size in bytes, where it is]).
        load: reads an entry by where it is.

    Attributes:
        names: names of the pictures, ascending.
        skipped: [{"file", "reason"}], empty: what is unreadable shows when it is read.
    """

    is_folder = False

    def __init__(
        self, path: str, entries: Iterable[tuple[str, list]], load: Callable[[Any], bytes]
    ):
        self.path, self._load = path, load
        self._entries = _without_outer_folder(
            Lookup((name, place) for name, place in entries if not _is_hidden(name))
        )
        self._suffixes = picture_suffixes()
        self.skipped: list[dict[str, str]] = []
        self.names = Lookup((name, None) for name in self._entries if self._is_picture(name))

    def read(self, item: Item) -> bytes:
        """The bytes of a picture. Raises `Unreadable`."""
        size, place = self._entries.get(item.name)
        if size > MAX_ENTRY_BYTES:
            raise Unreadable(f"{size} bytes when unpacked, more than {MAX_ENTRY_BYTES}")
        try:
            return self._load(place)
        except _BROKEN as error:  # zipfile's word for a password is RuntimeError
            raise Unreadable(f"broken in the archive: {one_line(error)}") from error

    def has(self, name: str) -> bool:
        """Whether there is a file besides the pictures."""
        return name in self._entries

    def content(self, name: str) -> bytes | None:
        """The content of a file besides the pictures, or None if it is not there."""
        if not self.has(name):
            return None
        try:
            return self.read(Item(name))
        except Unreadable as error:
            raise UserError(f"{name} in {self.path} is not readable: {error}") from error

    def _is_picture(self, name: str) -> bool:
        if os.path.splitext(name)[1]:
            return os.path.splitext(name)[1].lower() in self._suffixes
        try:
            return is_picture(self.read(Item(name)))
        except Unreadable:
            return False


def open_archive(path: str) -> Archive:
    """Lists a zip or tar file, compressed or not.

    Raises:
        UserError: There is no such file, or it is another kind of file, or broken.
    """
    try:
        with open(path, "rb") as file:
            file.read(1)
        if zipfile.is_zipfile(path):
            return _open_zip(path)
        if tarfile.is_tarfile(path):
            return _open_tar(path)
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror or one_line(error)}") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"archive {path} is broken: {one_line(error)}") from error
    raise UserError(f"{path} is neither a folder nor a zip or tar file")


def _open_zip(path: str) -> Archive:
    archive = zipfile.ZipFile(path)
    entries = (
        (_plain(entry.filename), [entry.file_size, entry.filename])
        for entry in archive.infolist()
        if not entry.is_dir()
    )
    return Archive(path, entries, archive.read)


def _open_tar(path: str) -> Archive:
    data = _decompressed(path)

    def members() -> Iterator[tuple[str, list]]:
        with tarfile.open(fileobj=data, mode="r:") as archive:
            for member in archive:
                archive.members.clear()  # they would fill the memory
                if member.isreg() and not member.sparse:
                    yield _plain(member.name), [member.size, [member.offset_data, member.size]]

    def load(place: list[int]) -> bytes:
        offset, size = place
        content = os.pread(data.fileno(), size, offset)
        if len(content) < size:
            raise EOFError("it ends early")
        return content

    return Archive(path, members(), load)


def _decompressed(path: str) -> IO[bytes]:
    """The tar file itself; of a compressed one, what it holds in a temporary file."""
    with open(path, "rb") as file:
        head = file.read(6)
    for magic, opener in _COMPRESSIONS.items():
        if head.startswith(magic):
            copy = tempfile.TemporaryFile()
            with opener(path, "rb") as file:
                shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            copy.seek(0)
            return copy
    return open(path, "rb")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _without_outer_folder(entries: Lookup) -> Lookup:
    folders = {name.partition("/")[0] if "/" in name else None for name in entries}
    if len(folders) != 1 or None in folders:
        return entries
    start = len(folders.pop()) + 1
    return Lookup((name[start:], entries.get(name)) for name in entries)


def _plain(name: str) -> str:
    """A name without `./` in front, as some programs write it."""
    return name.removeprefix("./")
