"""Arrays of an uncompressed `.npz`, read within the bounds of the file and without pickles.

`numpy.load` unpacks whatever an archive claims to hold, and leaves its headers to be wrong in many
ways.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.util import one_line

_MAX_ARRAYS = 100_000
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_option(option: str, path: str) -> dict[str, np.ndarray]:
    """The arrays of a file that an option names, see `read_arrays`.

    Raises:
        UserError: it cannot be read; the option is named.
    """
    try:
        with open_regular(path) as file:
            return dict(read_arrays(file))
    except (OSError, ValueError, UserError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {option}={path}: {reason}") from error


def read_arrays(file: IO[bytes]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every member of an archive, checksums checked; numbers and text only.

    Args:
        file: at its beginning, and seekable.

    Raises:
        ValueError: it is no archive, or a broken one.
        UserError: an array is not what it claims to be, or the archive is none of ours.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            for name in (members := _members(archive, size)):
                yield name, _read_array(name, archive.read(members[name]))
    except UserError:
        raise
    except Exception as error:  # A damaged archive can fail in any way while it is read.
        raise ValueError(one_line(error) or "it ends early") from error


def read_array(file: IO[bytes], name: str) -> np.ndarray:
    """One array of an archive, without reading the others.

    Raises:
        ValueError, UserError: as `read_arrays`, or there is no such array.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_array(name, archive.read(_members(archive, size)[name]))
    except UserError:
        raise
    except Exception as error:
        raise ValueError(one_line(error) or "it ends early") from error


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED for m in members):
        raise UserError("it is compressed, which files of weights and states are not")
    if sum(m.file_size for m in members) > size or len(members) > _MAX_ARRAYS:
        raise UserError("it claims more data than it holds: a bomb")
    named = {m.filename.removesuffix(".npy"): m for m in members}
    if len(named) != len(members):
        raise UserError("it has arrays of the same name")
    return named


def _read_array(name: str, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    shape, fortran, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
    data = data[file.tell() :]
    if dtype.kind not in "biufU" or math.prod(shape) * dtype.itemsize != len(data):
        raise UserError(
            f"its array {one_line(name, 60)} of shape {one_line(list(shape), 80)} "
            f"{one_line(dtype, 40)} has {len(data)} bytes of data"
        )
    order = "F" if fortran else "C"
    # `np.ndarray` takes texts of no characters too, which `frombuffer` does not.
    return np.ndarray(shape, dtype, data, order=order)
