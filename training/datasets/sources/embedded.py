"""Pictures that are in a table itself, as in Parquet files of Hugging Face."""

from __future__ import annotations

import tempfile
import threading

from training.datasets.items import Lookup


class EmbeddedPictures:
    """Bytes of pictures in a temporary file, by name. Threads may read at once."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()
        self._places = Lookup(())
        self._end = 0
        self._lock = threading.Lock()

    def add(self, name: str, content: bytes) -> str:
        """Keeps a picture, once. Returns its name."""
        if name not in self._places:
            with self._lock:
                self._file.seek(self._end)
                self._file.write(content)
            self._places.add(name, [self._end, len(content)])
            self._end += len(content)
        return name

    def has(self, name: str) -> bool:
        """Whether a picture of this name was added."""
        return self._end > 0 and name in self._places

    def read(self, name: str) -> bytes:
        """The bytes of a picture."""
        begin, size = self._places.get(name)
        with self._lock:
            self._file.seek(begin)
            return self._file.read(size)
