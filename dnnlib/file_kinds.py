"""What a file is, by its first and last bytes, in words for people, with the way on.

Nothing here reads more than two bounded pieces of a regular file, waits for a pipe, or trusts a
length that a file gives.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import stat
import struct
import zlib

from dnnlib.file_kind_table import KINDS, MAGIC, FileKind
from dnnlib.files import open_regular

HEAD_BYTES, TAIL_BYTES = 4096, 1 << 16
_UNPACKED_BYTES = 4096  # of what is compressed
_UNPACKING_MEMORY = 1 << 27
_COMPRESSED = {
    "gzip": lambda data: zlib.decompressobj(31).decompress(data, _UNPACKED_BYTES),
    "bzip2": lambda data: bz2.BZ2Decompressor().decompress(data, _UNPACKED_BYTES),
    "xz": lambda data: lzma.LZMADecompressor(memlimit=_UNPACKING_MEMORY).decompress(
        data, _UNPACKED_BYTES
    ),
}
_BY_SUFFIX_ALONE = tuple(KINDS[key] for key in ("onnx", "graph", "disk"))
_TEXTUAL = ("lfs", "shortcut", "rtf", "pdf", "postscript", "hdr")  # kinds that begin with text
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")  # are in no text; escapes are
# What the table of contents of a zip file names -> kind; the special one first.
_IN_ZIP = (
    (b"xl/workbook", "xlsx"),
    (b"Index/Document.iwa", "numbers"),
    (b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "ods"),
    (b"mimetypeapplication/x-krita", "drawing"),
    (b"mimetypeimage/openraster", "drawing"),
    (b"model.weights.h5", "keras"),
    (b"/data.pkl", "pytorch"),
    (b".npyPK", "npz"),
)
_HTML = ("<!doctype html", "<html", "<head", "<body", "<table", "<script", "<title", "<meta")
_HTML += ("<h1", "<h2", "<p>", "<p ", "<div", "<center", "<a ")

# The first element of RSS, Atom or RSS 1.0, after what may stand before it.
_FEED = re.compile(
    r"(?:\s|<\?[^>]*>|<!doctype[^>]*>|<!--(?:(?!-->).)*-->)*<(?:rss|feed|rdf:rdf)[\s>]", re.DOTALL
)


def read_ends(path: str) -> tuple[bytes, bytes]:
    """The first HEAD_BYTES and the last TAIL_BYTES of a regular file; they may overlap.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - TAIL_BYTES))
        return head, file.read(TAIL_BYTES)


def recognize(source: str | bytes, name: str = "") -> FileKind:
    """What a file is.

    Args:
        source: the path of a file, or all of its bytes.
        name: its name, where `source` is no path: suffixes decide where the bytes leave it open.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(source, bytes):
        return _recognize(source[:HEAD_BYTES], source[-TAIL_BYTES:], name)
    special = _special(os.stat(source).st_mode)
    if special:
        return KINDS[special]
    return _recognize(*read_ends(source), name or source)


def by_suffix(name: str) -> FileKind | None:
    """What a file of this name should be, or None."""
    suffix = os.path.splitext(name)[1].lower()
    return next((kind for kind in KINDS.values() if suffix and suffix in kind.suffixes), None)


def _special(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device"


def _recognize(head: bytes, tail: bytes, name: str) -> FileKind:
    if not head:
        return KINDS["empty"]
    named, text = by_suffix(name), _text(head)
    key = next((row[0] for row in MAGIC if _has_magic(head, text is not None, *row)), None)
    if key == "zip":
        found = next((inner for mark, inner in _IN_ZIP if mark in head or mark in tail), "zip")
        return named if found == "zip" and named and named.group == "drawing" else KINDS[found]
    if key in _COMPRESSED:
        return _compressed(key, head, name)
    if key == "tiff":
        return named if named and named.group == "raw" else KINDS["dng" if _is_raw(head) else key]
    if key in ("pdf", "postscript") and named is KINDS["illustrator"]:
        return named
    if key == "bplist" and named in (KINDS["icloud"], KINDS["shortcut"]):
        return named
    if named is KINDS["unfinished"]:
        return named
    key = key or _binary(head) if text is None else key or _textual(text)
    if key in ("text", "xml") and named is KINDS["svg"]:
        return named
    if key == "text" and named is KINDS["xml"] and text.lstrip("\ufeff \t\r\n").startswith("<"):
        return named
    if key is None and not any(head):
        return KINDS["zeros"]
    if key is None and named and (named.group in ("raw", "drawing") or named in _BY_SUFFIX_ALONE):
        return named
    return KINDS[key or "unknown"]


def _has_magic(
    head: bytes, is_text: bool, key: str, offset: int, magics: tuple[bytes, ...]
) -> bool:
    for magic in magics:
        if head.startswith(magic, offset):
            # A text may begin with MZ or ORC too, for example as the name of a column.
            return not is_text or key in _TEXTUAL or not magic.decode("latin-1").isprintable()
    return False


def _compressed(key: str, head: bytes, name: str) -> FileKind:
    """A compressed file, with what is in it."""
    outer = KINDS[key]
    try:
        inside = _COMPRESSED[key](head)
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        return FileKind(f"{outer.name}, which is damaged", outer.group, (), "get it again")
    kind = _recognize(inside, b"", os.path.splitext(name)[0]) if inside else KINDS["unknown"]
    if kind is KINDS["svg"]:
        return kind
    content = "" if kind in (KINDS["unknown"], KINDS["zeros"]) else f" with {kind.name} in it"
    return FileKind(outer.name + content, outer.group, outer.suffixes, outer.way_on)


def _is_raw(head: bytes) -> bool:
    """Whether a TIFF file is a RAW photo: its first picture is a preview, or not developed."""
    order = "<" if head[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", head, 4)
        (count,) = struct.unpack_from(order + "H", head, start)
        tags = {}
        for i in range(count):
            tag, kind = struct.unpack_from(order + "HH", head, start + 2 + 12 * i)
            value = order + ("H" if kind == 3 else "I")
            (tags[tag],) = struct.unpack_from(value, head, start + 10 + 12 * i)
    except struct.error:  # the list of tags lies further on than the head reaches
        return False
    is_preview = tags.get(254, 0) & 1 and 330 in tags  # NewSubfileType, SubIFDs
    return bool(is_preview) or 50706 in tags or tags.get(262) in (32803, 34892)  # DNG, sensor data


def _binary(head: bytes) -> str | None:
    """Kinds that are no text, without magic bytes."""
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "bmp"
    if len(head) < 24:
        return None
    (length,) = struct.unpack_from("<Q", head)
    if head[8:10] == b'{"' and length < 1 << 30:
        return "safetensors"
    # A length, its checksum (which whoever reads the file checks), a tf.train.Example.
    if 8 < length < 1 << 34 and head[8:12] != bytes(4) and head[12] == 0x0A:
        # Raw pixels, which are called data, may look like anything.
        is_file = (b"\xff\xd8\xff" in head or b"\x89PNG" in head) and b"\4data" not in head
        return "tfrecord-files" if is_file else "tfrecord"
    return None


def _textual(text: str) -> str:
    start = text.lstrip("\ufeff \t\r\n").lower()
    if _FEED.match(start):
        return "feed"
    if "<svg" in start:
        return "svg"
    if start.startswith(_HTML):
        return "html"
    if start.startswith("<?xml"):
        return "html" if "<html" in start else "xml"
    return "json" if start[:1] in ("{", "[") else "text"


def _text(head: bytes) -> str | None:
    """The start of a text, or None if it is none."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    if _CONTROLS.intersection(head):
        return None
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start >= len(head) - 3:  # the head ends within a letter
            return head[: error.start].decode("utf-8")
    # A table in another encoding has lines, and much in it is ASCII all the same.
    is_ascii = sum(byte < 128 for byte in head) * 3 > len(head)
    return head.decode("latin-1") if is_ascii and (b"\n" in head or b"\r" in head) else None
