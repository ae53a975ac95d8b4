"""GIF, APNG and WebP, frame by frame: Pillow encodes each, and none is kept in memory.

Pillow's own writers of animations take all frames at once. The containers are those of GIF89a, of
PNG (third edition, W3C 2023, sections 11.3.5 and 4.9) and of WebP (RFC 9649, section 2.7).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Protocol

from PIL import Image

from training.pictures import xmp

_WEBP_QUALITY = 90


class Writer(Protocol):
    """Writes an animation that repeats without end into a file at its beginning."""

    def add(self, frame: Image.Image) -> None:
        """Writes an RGB frame."""

    def finish(self) -> None:
        """Writes what the format wants after the last frame."""


class _Animation:
    """An animation in a file.

    Args:
        file: to write to, from its beginning on.
        size: (width, height).
        milliseconds: that each frame is shown.
        packet: of XMP, or None.
    """

    def __init__(
        self,
        file: IO[bytes],
        size: tuple[int, int],
        milliseconds: float,
        packet: bytes | None = None,
    ):
        self._file, self._size, self._packet = file, size, packet
        self._milliseconds = milliseconds
        self._begin()

    def _begin(self) -> None:
        """Writes what the format wants before the first frame."""


class Gif(_Animation):
    """GIF of 256 colors a frame, in which time has hundredths of a second."""

    def _begin(self) -> None:
        # No colors in common; then the extension that repeats, 0 for without end.
        self._file.write(b"GIF89a" + struct.pack("<HHBBB", *self._size, 0x70, 0, 0))
        self._file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", 0, 0))
        if self._packet is not None:
            self._file.write(xmp.gif_extension(self._packet))

    def add(self, frame: Image.Image) -> None:
        still = _encoded(frame.quantize(256), "GIF", interlace=0)
        size_of_palette = still[10] & 7
        place = 13 + (6 << size_of_palette)
        palette = still[13:place]
        while still[place] == 0x21:  # An extension, of blocks that say their length.
            place += 2
            while still[place]:
                place += 1 + still[place]
            place += 1
        # How long it is shown, and that it stays until the next; then it with colors of its own.
        hundredths = round(self._milliseconds / 10)
        control = b"\x21\xf9\x04" + struct.pack("<BHBB", 1 << 2, hundredths, 0, 0)
        descriptor = still[place : place + 9] + bytes([0x80 | size_of_palette])
        self._file.write(control + descriptor + palette + still[place + 10 : -1])

    def finish(self) -> None:
        self._file.write(b";")


class Apng(_Animation):
    """Animated PNG. The file must be one that can be sought in."""

    def _begin(self) -> None:
        self._count = self._sequence = self._count_at = 0

    def add(self, frame: Image.Image) -> None:
        chunks = list(_png_chunks(_encoded(frame, "PNG")))
        if not self._count:
            self._file.write(b"\x89PNG\r\n\x1a\n" + _png_chunk(*chunks[0]))
            self._count_at = self._file.tell()
            self._write_count()
            if self._packet is not None:
                self._file.write(_png_chunk(b"iTXt", xmp.png_text(self._packet)))
        # Place and size, time shown as a fraction of a second, and that it replaces what was there.
        control = struct.pack(">4I2H2B", *self._size, 0, 0, round(self._milliseconds), 1000, 0, 0)
        self._file.write(_png_chunk(b"fcTL", self._number() + control))
        for kind, data in chunks:
            if kind == b"IDAT":
                is_first = self._count == 0
                data = data if is_first else self._number() + data
                self._file.write(_png_chunk(b"IDAT" if is_first else b"fdAT", data))
        self._count += 1

    def finish(self) -> None:
        self._file.write(_png_chunk(b"IEND", b""))
        self._file.seek(self._count_at)
        self._write_count()
        self._file.seek(0, io.SEEK_END)

    def _number(self) -> bytes:
        self._sequence += 1
        return struct.pack(">I", self._sequence - 1)

    def _write_count(self) -> None:
        """How many frames there are; it stands before them."""
        self._file.write(_png_chunk(b"acTL", struct.pack(">2I", self._count, 0)))


class WebP(_Animation):
    """Animated WebP; the file as of `Apng`."""

    def _begin(self) -> None:
        self._shape = b"".join(_three_bytes(side - 1) for side in self._size)
        kind = 0x02 if self._packet is None else 0x06  # An animation; one with XMP.
        self._file.write(b"RIFF\0\0\0\0WEBP")
        self._file.write(_riff_chunk(b"VP8X", bytes([kind, 0, 0, 0]) + self._shape))
        # Background; repeat endlessly.
        self._file.write(_riff_chunk(b"ANIM", struct.pack("<IH", 0, 0)))

    def add(self, frame: Image.Image) -> None:
        still = _encoded(frame, "WEBP", quality=_WEBP_QUALITY)
        replaces = b"\x02"
        head = bytes(6) + self._shape + _three_bytes(round(self._milliseconds)) + replaces
        # After RIFF, the size and WEBP, a still picture without extras is one chunk.
        self._file.write(_riff_chunk(b"ANMF", head + still[12:]))

    def finish(self) -> None:
        if self._packet is not None:
            self._file.write(_riff_chunk(b"XMP ", self._packet))
        size = self._file.tell() - 8
        self._file.seek(4)
        self._file.write(struct.pack("<I", size))
        self._file.seek(0, io.SEEK_END)


def _encoded(frame: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of the chunks of a PNG."""
    place = 8
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        yield kind, content[place + 8 : place + 8 + size]
        place += 12 + size


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _riff_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _three_bytes(number: int) -> bytes:
    return number.to_bytes(3, "little")
