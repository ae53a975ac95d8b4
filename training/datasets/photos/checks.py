"""What JPEG and PNG files ask of whoever decodes them, from their headers alone.

Both formats are decoded in a time that grows with the number of pixels, if nothing in the file is
out of the common, like tens of thousands of scans over the same pixels, or of empty parts.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO

JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
MAX_PLAIN_BYTES = 32 << 20
MAX_CHUNKS = 200_000  # of a PNG file; a usual chunk of pixels has 8 KB or more
_MAX_PLAIN_PARTS = 5_000
_MAX_SCANNED_PIXELS = 500_000_000  # of a JPEG, in all scans together: a few seconds
_MAX_PLAIN_PROFILE = 1 << 14  # bytes; profiles without tables have 3,000
_MAX_TEXT = 1 << 20  # bytes of one text of a PNG file, unpacked: Pillow's limit
_MAX_TEXTS = 16 << 20  # ... of all
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def is_plain(data: bytes) -> bool:
    """Whether a whole file is a JPEG or PNG that is decoded without surprises, in a short time."""
    if len(data) > MAX_PLAIN_BYTES:
        return False
    try:
        if data.startswith(JPEG_MAGIC):
            return is_plain_jpeg(data)
        return data.startswith(PNG_MAGIC) and _is_plain_png(data)
    except (IndexError, struct.error):  # it ends early
        return False


def is_plain_jpeg(data: bytes) -> bool:
    """Whether a JPEG has few segments, no large profile, and few scans for its size."""
    position, pixels, components, profile = 2, 0, 0, 0
    is_progressive = False
    for _ in range(_MAX_PLAIN_PARTS):
        if data[position] != 0xFF:
            return False
        marker = data[position + 1]
        if marker == 0xFF:  # filling
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == 0xDA:
            # If one scan holds everything, no other one is looked at.
            has_more = is_progressive or data[position + 4] != components
            # Within the data of a scan, FF is followed by 00 or a restart marker.
            scans = data.count(b"\xff\xda", position) if has_more else 1
            return scans * pixels <= _MAX_SCANNED_PIXELS and profile <= _MAX_PLAIN_PROFILE
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, components = struct.unpack_from(">HHB", data, position + 5)
            pixels = height * width
            is_progressive = marker not in (0xC0, 0xC1)
        elif data.startswith(b"ICC_PROFILE", position + 4):
            profile += length
        position += 2 + length
    return False


def _is_plain_png(data: bytes) -> bool:
    for number, (kind, _, length) in enumerate(_chunks(io.BytesIO(data))):
        too_large = kind == b"iCCP" and length > _MAX_PLAIN_PROFILE
        if too_large or number > _MAX_PLAIN_PARTS:
            return False
    return True


def without_long_text(file: IO[bytes], max_profile: int) -> tuple[IO[bytes], bytes | None]:
    """A PNG file without the texts that Pillow refuses, which are metadata of megabytes.

    Args:
        file: of a PNG.
        max_profile: bytes of a color profile that are unpacked at most.

    Returns:
        `file`, or a copy without those texts, at its start; the color profile if it has more than
        Pillow unpacks.

    Raises:
        ValueError: It has more than MAX_CHUNKS parts.
    """
    left_out: set[int] = set()
    kept = unpacked = 0  # bytes of texts
    profile = None
    for kind, start, length in _chunks(file):
        if kind in _TEXTS:
            # Where there are many, compressed ones are left out unseen.
            is_unseen = kind != b"tEXt" and unpacked > _MAX_TEXTS
            size = _MAX_TEXT + 1 if is_unseen else _text_size(file, kind, start, length)
            unpacked += size
            if size > _MAX_TEXT or kept + size > _MAX_TEXTS:
                left_out.add(start)
            else:
                kept += size
        elif kind == b"iCCP":
            body = _body(file, start, length)
            content = _unpack(body[body.find(b"\0") + 2 :], max_profile + 1)
            if len(content) > _MAX_TEXT:
                left_out.add(start)
                profile = content
    if left_out:
        copy = io.BytesIO()
        file.seek(0)
        copy.write(file.read(8))
        for _, start, length in list(_chunks(file)):
            if start not in left_out:
                file.seek(start)
                copy.write(file.read(length + 12))
        file = copy
    file.seek(0)
    return file, profile


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where it starts, length of what is in it) of the parts of a PNG."""
    position = len(PNG_MAGIC)
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, position, length
        position += 12 + length
    raise ValueError(f"it has more than {MAX_CHUNKS:,} parts")


def _text_size(file: IO[bytes], kind: bytes, start: int, length: int) -> int:
    """Bytes of a text when it is unpacked, or a number over _MAX_TEXT if it has more than that."""
    if kind == b"tEXt" or length > _MAX_TEXT:
        return length
    body = _body(file, start, length)
    end = body.find(b"\0") + 1
    if kind == b"iTXt":
        if not body[end : end + 1] == b"\1":
            return length
        # Flag, method, then language and translated name, each with a zero behind it.
        end = body.find(b"\0", body.find(b"\0", end + 2) + 1)
    return len(_unpack(body[end + 1 :], _MAX_TEXT + 1))


def _body(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start + 8)
    return file.read(length)


def _unpack(data: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error:  # Pillow's to judge
        return b""
