"""JSON read as a stream: a value at a time, of lists and objects of any length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

LONGEST_VALUE = 1 << 24  # characters of a value that is decoded at once
_CHUNK = 1 << 16
_BLANKS = re.compile(r"[\ufeff \t\r\n]*")
_DECODER = json.JSONDecoder(strict=False)


class JsonReader:
    """The values in a text. What is no JSON raises a ValueError.

    Args:
        file: The text.
    """

    def __init__(self, file: TextIO):
        self._file, self._text, self._at, self._ended = file, "", 0, False

    def peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read(_CHUNK)

    def value(self) -> Any:
        """The next value, decoded at once."""
        if not self.peek():
            raise ValueError("it ends early")
        size = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # else a number may continue
                    self._at = end
                    return value
            except RecursionError as error:
                raise ValueError("it is nested too deeply") from error
            except ValueError:
                if self._ended:
                    raise
            if len(self._text) - self._at > LONGEST_VALUE:
                raise ValueError(f"it is broken, or a value has over {LONGEST_VALUE} characters")
            self._read(size)
            size *= 2

    def elements(self) -> Iterator[Any]:
        """The elements of a list that comes next."""
        for _ in self._parts("[", "]"):
            yield self.value()

    def members(self) -> Iterator[str]:
        """The keys of an object that comes next; the caller takes a value before the next key."""
        for _ in self._parts("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise ValueError("expected a name in quotes")
            self._take(":")
            yield key

    def _parts(self, begin: str, end: str) -> Iterator[None]:
        self._take(begin)
        if self.peek() == end:
            self._take(end)
            return
        while True:
            yield
            if self.peek() == end:
                self._take(end)
                return
            self._take(",")

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise ValueError(f"expected {character!r}, got {self.peek()!r}")
        self._at += 1

    def _read(self, size: int) -> None:
        chunk = self._file.read(size)
        self._ended = not chunk
        self._text, self._at = self._text[self._at :] + chunk, 0
