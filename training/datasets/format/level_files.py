"""Writes and reads the images of the levels, each of which is a TFRecord file or several."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from dnnlib import UserError
from dnnlib.system import open_for_reading, read_at
from dnnlib.util import one_line
from training.datasets.format.dataset_files import WHOLE, Shard, level_path
from training.datasets.format.examples import RAW, Encoding, serialize_image
from training.datasets.format.levels import image_levels
from training.datasets.format.tfrecords import frame, index_records

_WANTED_FILES = 8192  # open at once, where the system allows it
_KEPT_OPEN = 32  # of a level, where nobody tells how many files may be open


class RecordWriter:
    """Writes the images of one dataset, or of one shard, into a folder, best a staged one.

    Use as a context manager; the files are complete when the block has ended.

    Args:
        folder: Where the files go; must exist. `name` is the NAME in the names of the files.
        levels: log2 of the levels that are written, as from `levels.finest_log2`, finest first.
        encoding: How the records hold pixels.
        shard: What part of the dataset this is.

    Attributes:
        count: images written.

    Raises:
        UserError: A file cannot be written, for example since the disk is full.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        levels: list[int],
        encoding: Encoding = RAW,
        shard: Shard = WHOLE,
    ):
        self.folder = folder
        self.name = name
        self.count = 0
        self.levels = levels
        self.encoding = encoding
        self._shard = shard
        self._files: list = []

    def __enter__(self) -> RecordWriter:
        try:
            for log2 in self.levels:
                path = level_path(self.folder, self.name, log2, self._shard)
                self._files.append(open(path, "wb", buffering=1 << 18))
        except OSError as error:
            raise self._user_error(error) from error
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        for file in self._files:
            try:
                file.close()
            except OSError as close_error:
                if error_type is None:
                    raise self._user_error(close_error) from close_error

    def add(self, image: np.ndarray) -> None:
        """Writes one image, uint8 [channels, height, width]."""
        self.write(serialize_levels(image_levels(image, len(self.levels)), self.encoding))

    def write(self, frames: list[tuple[bytes, ...]]) -> None:
        """Writes one image that is given as the records of all levels, finest first."""
        try:
            for file, parts in zip(self._files, frames, strict=True):
                file.writelines(parts)
        except OSError as error:
            raise self._user_error(error) from error
        self.count += 1

    def _user_error(self, error: OSError) -> UserError:
        reason = error.strerror or one_line(error)
        return UserError(f"cannot write dataset {self.name} in {self.folder}: {reason}")


def serialize_levels(levels: list[np.ndarray], encoding: Encoding) -> list[tuple[bytes, ...]]:
    """The records of one image, as `RecordWriter.write` takes them; needs no lock."""
    return [frame(serialize_image(level, encoding)) for level in levels]


class LevelReader:
    """Random access to the images of one level, whatever number of files it is in.

    Threads may share it.

    Args:
        paths: Files of the level, in order.

    Raises:
        UserError: A file is missing, damaged or no TFRecord file.
    """

    def __init__(self, paths: list[str]):
        self.paths = paths
        self._descriptors: list[int] = []
        indexes = [index_records(path, may_be_empty=len(paths) > 1) for path in paths]
        self.shard_counts = [len(index) for index in indexes]
        self._starts = np.cumsum([0, *self.shard_counts])
        self._index = np.concatenate(indexes)
        for path in paths[: _files_to_keep_open()]:
            self._descriptors.append(_open(path))

    def __len__(self) -> int:
        return len(self._index)

    def payload(self, number: int) -> bytes:
        """The bytes of a record."""
        file = int(np.searchsorted(self._starts, number, side="right")) - 1
        offset, length = self._index[number].tolist()
        if file < len(self._descriptors):
            return read_at(self._descriptors[file], length, offset)
        descriptor = _open(self.paths[file])
        try:
            return read_at(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def where(self, number: int) -> str:
        """Names a record in messages."""
        file = int(np.searchsorted(self._starts, number, side="right")) - 1
        return f"record {number - int(self._starts[file])} of {self.paths[file]}"

    def __iter__(self) -> Iterator[bytes]:
        return (self.payload(i) for i in range(len(self)))

    def close(self) -> None:
        """Closes the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _open(path: str) -> int:
    try:
        return open_for_reading(path)
    except OSError as error:
        raise UserError(f"cannot read TFRecord file {path}: {error.strerror}") from error


def _files_to_keep_open() -> int:
    """How many files of one level may stay open; further ones are opened whenever they are read.

    A process may usually have 1,024 files open unless it asks for more, and has a dozen levels.
    """
    try:
        import resource
    except ImportError:  # Windows
        return _KEPT_OPEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _WANTED_FILES // 16 if soft == resource.RLIM_INFINITY else max(1, soft // 16)
