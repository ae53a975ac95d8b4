"""The pictures in a zip or tar file. Nothing is unpacked: entries are read where they lie."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import struct
import sys
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from dnnlib import UserError
from dnnlib.file_kinds import KINDS, by_suffix, recognize
from dnnlib.system import read_at
from dnnlib.util import one_line
from training.datasets.format.passed_over import OWN_SHEET, is_missed, own_sheets
from training.datasets.items import Item, Lookup, Seen, Skipped
from training.datasets.photos.decode import Unreadable, picture_suffixes
from training.datasets.sources.folders import is_picture
from training.datasets.sources.names import is_hidden, plain_name
from training.datasets.tables.encodings import encoding_of_names

MAX_ENTRY_BYTES = 1 << 29  # what an entry may hold: a bomb promises more
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
# What a tar file may unpack to: photos hardly get smaller, but drawings do.
MAX_RATIO, ALWAYS_ALLOWED_BYTES = 100, 1 << 30
_MAX_HEADER_BYTES = 1 << 20  # of a tar file: names and attributes of an entry
_SMALL_ENTRY_BYTES = 1 << 26
_MAX_LINKS = 40  # from link to link, as Linux has it
_ZIP_UTF8, _UNICODE_PATH = 0x800, 0x7075  # the mark of names in UTF-8; a field with such a name
_SAMPLE_NAMES = 200  # that tell how all names are encoded


class Archive:
    """The pictures of an archive. Threads may share it.

    Hidden files are left out. A folder that holds everything, as is usual, has no part in names.

    Args:
        path: The archive, for messages.
        entries: (name, [size in bytes, where it is], or why it cannot be read).
        load: reads an entry by where it is.

    Attributes:
        names: names of the pictures, ascending.
        skipped: [{"file", "reason"}] of what is in the way of another entry, or refers to none.
    """

    is_folder = False

    def __init__(
        self, path: str, entries: Iterable[tuple[str, list | str]], load: Callable[[Any], bytes]
    ):
        self.path, self._load = path, load
        self.skipped = Skipped()
        self._one_big_entry = threading.Lock()
        self._entries = _without_outer_folder(Lookup(self._usable(entries)))
        self._suffixes = picture_suffixes()
        self._sheets = own_sheets(self._entries)
        self.names = Lookup((name, None) for name in self._entries if self._is_picture(name))

    def read(self, item: Item) -> bytes:
        """The bytes of a picture. Raises `Unreadable`."""
        size, place = self._entries.get(item.name)
        if size > MAX_ENTRY_BYTES:
            raise Unreadable(f"{size} bytes when unpacked, more than {MAX_ENTRY_BYTES}")
        try:
            if size <= _SMALL_ENTRY_BYTES:
                return self._load(place)
            with self._one_big_entry:
                return self._load(place)
        except MemoryError as error:
            raise Unreadable("broken in the archive: it takes more memory than there is") from error
        except Exception as error:  # on damaged archives the readers raise whatever happens to them
            reason = one_line(error) or "it ends early"
            raise Unreadable(f"broken in the archive: {reason}") from error

    def has(self, name: str) -> bool:
        """Whether there is a file besides the pictures."""
        return name in self._entries

    def paths(self) -> Iterator[str]:
        """Names of all files."""
        return iter(self._entries)

    @contextmanager
    def file(self, name: str) -> Iterator[str]:
        """The path of a copy of a file besides the pictures, for the time of the block."""
        try:
            content = self.read(Item(name))
        except Unreadable as error:
            raise UserError(f"{name} in {self.path} is not readable: {error}") from error
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(content)
            copy.flush()
            yield copy.name

    def _usable(self, entries: Iterable[tuple[str, list | str]]) -> Iterator[tuple[str, list]]:
        seen = Seen()
        for name, place in entries:
            if is_hidden(name):
                continue
            if not seen.add(os.fsencode(name)):
                place = "a second entry of the same name"
            if isinstance(place, str):
                self.skipped.append({"file": name, "reason": place})
            else:
                yield name, place

    def _is_picture(self, name: str) -> bool:
        if name in self._sheets:
            self.skipped.append({"file": name, "reason": OWN_SHEET})
            return False
        if os.path.splitext(name)[1]:
            if os.path.splitext(name)[1].lower() in self._suffixes:
                return True
            kind = by_suffix(name)
            if kind and is_missed(kind):
                self.skipped.append({"file": name, "reason": kind.said})
            return False
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
        kind = recognize(path)
        if kind.group == "special":  # to open a pipe would wait for ever
            raise UserError(f"{path} is {kind.said}; expected a zip or tar file")
        if zipfile.is_zipfile(path):
            return _open_zip(path)
        if _is_tar(path):
            return _open_tar(path)
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror or one_line(error)}") from error
    except UserError:
        raise
    except Exception as error:  # on damaged archives the readers raise whatever happens to them
        reason = one_line(error) or type(error).__name__
        raise UserError(f"archive {path} is broken: {reason}") from error
    if kind is KINDS["zip"]:  # the table of contents is at the end
        raise UserError(f"zip file {path} is broken, as if its end were missing: copy it again")
    raise UserError(f"{path} is neither a folder nor a zip or tar file, but {kind.said}")


def _open_zip(path: str) -> Archive:
    archive = zipfile.ZipFile(path)
    listed = archive.infolist()
    stored = sum(entry.compress_size for entry in listed)
    if stored > os.path.getsize(path):
        raise UserError(f"archive {path} is broken: its entries overlap, as only a bomb's do")
    encoding = _zip_encoding(path, listed)
    # The place is the number, since several entries may have the same name.
    entries = (
        (_entry_name(_zip_name(entry, encoding)), [entry.file_size, number])
        for number, entry in enumerate(listed)
        if not entry.filename.endswith(("/", "\\"))  # Windows writes "folder\" into zip files
    )
    return Archive(path, entries, lambda number: _zip_content(archive.fp, listed[number]))


def _zip_content(file: IO[bytes], entry: zipfile.ZipInfo) -> bytes:
    """What an entry holds, no byte more than it promises: zipfile would unpack all there is."""
    size, packed_size, method = entry.file_size, entry.compress_size, entry.compress_type
    if entry.flag_bits & 1:
        raise ValueError("it needs a password")
    if packed_size > 2 * size + 1024:
        raise ValueError("it takes more room than what it should hold")
    header = read_at(file.fileno(), 30, entry.header_offset)
    if len(header) < 30 or not header.startswith(b"PK\3\4"):
        raise ValueError("its header is missing")
    offset = entry.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))
    packed = read_at(file.fileno(), packed_size, offset)
    if method == zipfile.ZIP_STORED:
        content = packed
    elif method == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    elif method == zipfile.ZIP_BZIP2:
        content = bz2.BZ2Decompressor().decompress(packed, size + 1)
    elif method == zipfile.ZIP_LZMA:
        content = _zip_lzma(packed, size)
    else:
        raise ValueError(f"it is compressed by the method {method}: deflate is read, and others")
    if len(content) > size:
        raise ValueError(f"it unpacks to more than the {size} bytes that it should hold")
    if len(content) < size:
        raise EOFError("it ends early")
    if zlib.crc32(content) != entry.CRC:
        raise ValueError("its checksum is another")
    return content


def _zip_lzma(packed: bytes, size: int) -> bytes:
    """The first size + 1 bytes of an entry in LZMA: version, length of what follows, settings."""
    _, length, settings, window = struct.unpack_from("<HHBI", packed)
    filters = {
        "id": lzma.FILTER_LZMA1,
        "lc": settings % 9,
        "lp": settings // 9 % 5,
        "pb": settings // 45,
        # It is memory, and no entry looks back farther than to its start.
        "dict_size": min(window, max(size, 4096)),
    }
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filters])
    return unpacker.decompress(packed[4 + length :], size + 1)


def _entry_name(name: str) -> str:
    """The plain name of an entry within the archive: `tar -P` writes `../photos/a.png`."""
    parts: list[str] = []
    for part in plain_name(name).split("/"):
        if part == "..":
            del parts[-1:]
        else:
            parts.append(part)
    return "/".join(parts)


def _zip_encoding(path: str, listed: list[zipfile.ZipInfo]) -> str:
    """The encoding of names without the mark of UTF-8; it is said if it is not that of zip."""
    names = (_unmarked(entry) for entry in listed)
    names = (name for name in names if name and not (name.isascii() or _is_utf8(name)))
    sample = b"\n".join(itertools.islice(names, _SAMPLE_NAMES))
    encoding = (encoding_of_names(sample) if sample else None) or "cp437"
    if encoding != "cp437":
        print(f"{path}: names in it are read as {encoding}", file=sys.stderr)
    return encoding


def _zip_name(entry: zipfile.ZipInfo, encoding: str) -> str:
    """The name of an entry; macOS writes UTF-8 without the mark that says so."""
    name = _unmarked(entry)
    if name is None or name.isascii():
        return entry.filename
    if (unicode := _unicode_path(entry, name)) is not None:
        return unicode
    return name.decode("utf-8" if _is_utf8(name) else encoding, "replace")


def _unmarked(entry: zipfile.ZipInfo) -> bytes | None:
    """The bytes of a name that is not marked as UTF-8."""
    if entry.flag_bits & _ZIP_UTF8:
        return None
    # Python 3.13 puts the name of a field of its own in the place of `filename`.
    return entry.orig_filename.partition("\0")[0].encode("cp437", "replace")


def _unicode_path(entry: zipfile.ZipInfo, name: bytes) -> str | None:
    """The name in UTF-8 that some programs write in a field of its own, if it is of this name."""
    extra = entry.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1:
            is_of_it = struct.unpack_from("<I", field, 1)[0] == zlib.crc32(name)
            return field[5:].decode("utf-8") if is_of_it and _is_utf8(field[5:]) else None
    return None


def _is_utf8(text: bytes) -> bool:
    return text.decode("utf-8", "ignore").encode() == text


def _open_tar(path: str) -> Archive:
    data = _decompressed(path)

    def members() -> Iterator[tarfile.TarInfo]:
        data.seek(0)
        headers = _Headers(data)
        with tarfile.open(fileobj=headers, mode="r:") as archive:
            last = -1
            for member in archive:
                archive.members.clear()  # they would fill the memory
                # A negative size would lead back, and so round for ever.
                if member.size < 0 or archive.offset <= last:
                    raise tarfile.ReadError(f"an entry of {member.size} bytes")
                last = archive.offset
                yield member
                headers.start()

    has_links = False

    def files() -> Iterator[tuple[str, list | str]]:
        nonlocal has_links
        for member in members():
            name = _entry_name(member.name)
            if member.islnk() or member.issym():
                has_links = True
            elif member.isreg() and member.issparse():
                yield name, "with gaps, as tar --sparse stores it: make the archive without that"
            elif member.isreg():
                yield name, [member.size, [member.offset_data, member.size]]
            elif not member.isdir():
                yield name, "no regular file"

    def links() -> Iterator[tuple[str, list | str]]:
        if not has_links:
            return
        # tar stores a file once, and its other names as links to the first.
        table = Lookup((_entry_name(member.name), _kind(member)) for member in members())
        for member in members():
            if not (member.islnk() or member.issym()):
                continue
            name = _entry_name(member.name)
            found = _link_end(table, name)
            if found is None:
                what = f"a {'hard ' * member.islnk()}link to {one_line(member.linkname)}"
                yield name, f"{what}, which is not found in the archive"
            elif found:  # and no folder, whose files are there anyway
                yield name, found

    def load(place: list[int]) -> bytes:
        offset, size = place
        content = read_at(data.fileno(), size, offset)
        if len(content) < size:
            raise EOFError("it ends early")
        return content

    return Archive(path, itertools.chain(files(), links()), load)


def _kind(member: tarfile.TarInfo) -> list | str | None:
    """Size and place of a file in a tar file; the name that a link leads to; [] for a folder."""
    if member.islnk():
        return _entry_name(member.linkname)
    if member.issym():
        return _within(member.name, member.linkname)
    if member.isdir():
        return []
    is_read = member.isreg() and not member.issparse()
    return [member.size, [member.offset_data, member.size]] if is_read else None


def _within(name: str, to: str) -> str:
    """The name that a symbolic link leads to; "/", as no entry is called, if out of the archive."""
    if to.startswith("/"):
        return _entry_name(to) if name.startswith("/") else "/"
    parts = _entry_name(name).split("/")[:-1]
    for part in plain_name(to).split("/"):
        if part != "..":
            parts.append(part)
        elif not parts:
            return "/"
        else:
            parts.pop()
    return "/".join(parts)


def _link_end(table: Lookup, name: str) -> list | None:
    """Where a link ends, as by `_kind`; None if nowhere in the archive."""
    found = table.get(name)
    for _ in range(_MAX_LINKS):
        if not isinstance(found, str):
            return found
        found = table.get(found)
    return None


def _opener(path: str) -> Callable[[str, str], IO[bytes]]:
    """What opens a file for reading, unpacked if it is compressed."""
    with open(path, "rb") as file:
        head = file.read(6)
    return next((opener for magic, opener in _COMPRESSIONS.items() if head.startswith(magic)), open)


def _is_tar(path: str) -> bool:
    with _opener(path)(path, "rb") as file:
        block = file.read(tarfile.BLOCKSIZE)
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _decompressed(path: str) -> IO[bytes]:
    """The tar file itself; of a compressed one, what it holds in a temporary file."""
    opener = _opener(path)
    if opener is open:
        return open(path, "rb")
    most = max(os.path.getsize(path) * MAX_RATIO, ALWAYS_ALLOWED_BYTES)
    copy = tempfile.TemporaryFile()
    with opener(path, "rb") as file:
        while block := file.read(1 << 20):
            if copy.tell() + len(block) > most:
                raise UserError(
                    f"archive {path} unpacks to more than {most >> 20} MB, as only a bomb does: "
                    "if it is none, unpack it and give the folder"
                )
            copy.write(block)
    copy.flush()
    copy.seek(0)
    return copy


class _Headers:
    """A tar file as tarfile sees it, which reads only headers: those of one entry are small."""

    def __init__(self, file: IO[bytes]):
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self.start()

    def start(self) -> None:
        """The headers of another entry come."""
        self._left = _MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise tarfile.ReadError("an entry has more headers than any name or attributes need")
        self._left -= size
        return self._read(size)


def _without_outer_folder(entries: Lookup) -> Lookup:
    """Names from the folder on that holds everything, but for that of the only class."""
    outer: list[str] | None = None
    for name in entries:
        folders = name.split("/")[:-1]
        outer = folders if outer is None else outer
        same = itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(outer, folders, strict=False)
        )
        outer = [folder for folder, _ in same]
    outer = outer or []
    if len(outer) > 1 and not any(name.count("/") > len(outer) for name in entries):
        outer = outer[:-1]
    start = sum(len(folder) + 1 for folder in outer)
    return Lookup((name[start:], entries.get(name)) for name in entries) if start else entries
