"""TFRecord files: records of any bytes, one after another, with lengths and checksums."""

from __future__ import annotations

import functools
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import google_crc32c
import numpy as np

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.system import read_at
from training.datasets.format.levels import MAX_SIDE

HEADER_BYTES = 12  # uint64 length, uint32 masked CRC-32C of the length
FRAME_BYTES = HEADER_BYTES + 4  # ... payload, uint32 masked CRC-32C of the payload
# Of the largest image, which has opacity, with what may stand around it.
MAX_RECORD_BYTES = 4 * MAX_SIDE**2 + (1 << 20)


def frame(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """A record as it stands in a TFRecord file: length with checksum, payload, checksum."""
    return _header(len(payload)), payload, struct.pack("<I", _masked_crc(payload))


def index_records(path: str, may_be_empty: bool = False) -> np.ndarray:
    """Finds the records in a TFRecord file; the checksums of the payloads are not verified.

    Args:
        path: The file.
        may_be_empty: Whether a file without records is one, as among many shards of a few images.

    Returns:
        int64 [records, 2]: offset and length in bytes of each payload.

    Raises:
        UserError: The file cannot be read, is empty, truncated, or no TFRecord file.
    """
    try:
        with open_regular(path) as file, mapped(file) as data:
            index = None
            if len(data) >= FRAME_BYTES and isinstance(data, mmap.mmap):
                index = _index_equal_lengths(data)
            return _index_any_lengths(path, data) if index is None else index
    except ValueError as error:  # mmap's word for a file without bytes
        if may_be_empty:
            return np.zeros([0, 2], np.int64)
        raise UserError(f"TFRecord file {path} is empty") from error
    except OSError as error:
        raise UserError(f"cannot read TFRecord file {path}: {error.strerror}") from error


class Unmapped:
    """The bytes of a file, by slices as of `mmap`, where the file system cannot map files."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        return read_at(self._file.fileno(), max(stop - start, 0), start)


@contextmanager
def mapped(file: BinaryIO) -> Iterator[mmap.mmap | Unmapped]:
    """The bytes of an open file.

    Raises:
        ValueError: there are none.
    """
    try:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:  # Some shares have no shared mappings: 9p, FUSE with direct_io.
        data = None
    if data is None:
        yield Unmapped(file)
        return
    with data:
        yield data


def read_payloads(path: str, may_be_empty: bool = False) -> Iterator[bytes]:
    """Yields the records of a file after checking their checksums.

    Raises:
        UserError: The file is damaged; names the record.
    """
    index = index_records(path, may_be_empty)
    with open(path, "rb") as file:
        for number, (offset, length) in enumerate(index.tolist()):
            file.seek(offset)
            payload, crc = file.read(length), file.read(4)
            if crc != struct.pack("<I", _masked_crc(payload)):
                raise UserError(f"{path} is damaged: record {number} has a wrong checksum")
            yield payload


def _index_equal_lengths(data: mmap.mmap) -> np.ndarray | None:
    """The index if all records are as long as the first, else None."""
    length, crc = struct.unpack("<QI", data[:HEADER_BYTES])
    fits = length <= MAX_RECORD_BYTES and len(data) % (length + FRAME_BYTES) == 0
    if not fits or crc != _length_crc(length):
        return None
    frames = np.frombuffer(data, np.uint8).reshape(-1, length + FRAME_BYTES)
    headers = frames[:, :HEADER_BYTES].copy()
    del frames  # it keeps the file open
    if (headers != headers[0]).any():
        return None
    offsets = np.arange(len(headers), dtype=np.int64) * (length + FRAME_BYTES) + HEADER_BYTES
    return np.stack([offsets, np.full_like(offsets, length)], axis=1)


def _index_any_lengths(path: str, data: mmap.mmap | Unmapped) -> np.ndarray:
    index, position, size = array("q"), 0, len(data)
    while position < size:
        where = f"record {len(index) // 2} at byte {position}"
        header = data[position : position + HEADER_BYTES]
        length, crc = struct.unpack("<QI", header) if len(header) == HEADER_BYTES else (size, None)
        if crc not in (None, _length_crc(length)):
            what = "damaged" if index else "not a TFRecord file"
            raise UserError(f"{path} is {what}: {where} has a wrong length checksum")
        if length > size - position - FRAME_BYTES:
            raise UserError(f"TFRecord file {path} is truncated: {where} is not whole")
        if length > MAX_RECORD_BYTES:
            raise UserError(f"{path}: {where} has {length} bytes, more than any image has")
        index.extend((position + HEADER_BYTES, length))
        position += length + FRAME_BYTES
    return np.array(index, dtype=np.int64).reshape(-1, 2)


def _header(length: int) -> bytes:
    return struct.pack("<QI", length, _length_crc(length))


@functools.lru_cache(maxsize=1024)
def _length_crc(length: int) -> int:
    return _masked_crc(struct.pack("<Q", length))


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
