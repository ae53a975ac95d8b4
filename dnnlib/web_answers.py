"""What comes from a server: its parts, what can be wrong with it, and how long it may take."""

from __future__ import annotations

import io
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import requests

from dnnlib.retries import Passing

SILENCE = 30.0  # Seconds without any data.
_CHUNK = 1 << 16
_MAX_LINE = 1 << 16
_MAX_LINES = 1000  # In a row; http.client takes 100 in one head.


class Refused(Exception):
    """An URL that gives nothing, however often it is tried; the message says why."""


@dataclass(frozen=True)
class Body:
    """What is in an answer.

    Attributes:
        length: in bytes, or None if it is not known.
        has_end: whether a part of it can be told from the whole.
        chunks: the bytes.
    """

    length: int | None
    has_end: bool
    chunks: Iterator[bytes]


def is_page(response: requests.Response, begin: bytes) -> bool:
    """Whether an answer that begins so is a web page."""
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    text = begin[:512].lstrip().lower()
    is_typed = kind in ("text/html", "application/xhtml+xml")
    return is_typed or text.startswith((b"<!doctype", b"<html"))


def unpack(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """gzip, no more than a little at once, whatever it unpacks to."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            while chunk and not unpacker.eof:
                if part := unpacker.decompress(chunk, _CHUNK):
                    yield part
                chunk = unpacker.unconsumed_tail
    except zlib.error as error:
        raise Passing("the server's compression is damaged") from error
    if not unpacker.eof:
        raise Passing("the connection broke off")


@dataclass(frozen=True)
class Patience:
    """How long an answer may take: see `PublicWeb`; `stop` ends it at once."""

    seconds: float
    slowest: tuple[int, float] | None
    stop: threading.Event


class TimedReader(io.RawIOBase):
    """Reads from a socket for a limited time in all.

    A timeout of the socket alone starts again with every byte, so a server could hold us forever.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, patience: Patience):
        self._raw, self._sock, self._patience = raw, sock, patience
        self._end = time.monotonic() + patience.seconds
        self._waited, self._received = 0.0, 0  # Since the speed was last looked at.

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        begin = time.monotonic()
        left = self._end - begin
        too_long = f"it takes longer than the {self._patience.seconds:g} s that are allowed"
        if self._patience.stop.is_set():
            raise Refused("interrupted")
        if left <= 0:
            raise Refused(too_long)
        self._sock.settimeout(min(left, SILENCE))
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError:
            if left > SILENCE:
                raise
            raise Refused(too_long) from None
        self._check_speed(time.monotonic() - begin, count or 0)
        return count

    def _check_speed(self, seconds: float, count: int) -> None:
        self._waited += seconds
        self._received += count
        if self._patience.slowest is None or count == 0:
            return
        size, window = self._patience.slowest
        if self._waited >= window:
            if self._received < size:
                raise Refused(f"only {self._received} bytes came in {self._waited:.0f} s")
            self._waited, self._received = 0.0, 0

    def close(self) -> None:
        self._raw.close()
        super().close()


class LimitedLines(io.BufferedReader):
    """Reads heads, sizes of chunks and trailers, which are lines, only as far as they make sense.

    Interim answers and trailers without end, or a line without end, would take all time or memory.
    """

    _lines = 0

    def readline(self, size: int | None = -1) -> bytes:
        self._lines += 1
        is_free = size is None or size < 0
        line = super().readline(_MAX_LINE if is_free else size)
        if (is_free and len(line) == _MAX_LINE) or self._lines > _MAX_LINES:
            raise Refused("the server's answer has a head, or the size of a part, without end")
        return line

    def read(self, size: int | None = -1) -> bytes:
        self._lines = 0
        return super().read(size)

    def read1(self, size: int = -1) -> bytes:
        self._lines = 0
        return super().read1(size)

    def readinto(self, buffer) -> int:
        self._lines = 0
        return super().readinto(buffer)
