"""Arrays of numbers in .npy files of others, which stay on disk and cannot ask for more memory."""

from __future__ import annotations

import math
import os

import numpy as np

from dnnlib import UserError
from dnnlib.file_kinds import recognize
from dnnlib.files import open_regular
from dnnlib.util import one_line


def map_matrix(path: str) -> np.ndarray:
    """A matrix of numbers in a .npy file, which stays on disk.

    Raises:
        UserError: It is something else, or damaged.
    """
    try:
        with open_regular(path) as file:
            if file.read(6) != b"\x93NUMPY":
                raise UserError(f"cannot read labels {path}: not a NumPy array")
        labels = load_array(path)
    except UserError as error:
        what = recognize(path).said
        raise UserError(f"{error} but {what}; expected what np.save writes") from error
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot read labels {path}: {reason}") from error
    except Exception as error:  # NumPy evaluates the header, in which anything may stand
        reason = one_line(error) or type(error).__name__
        raise UserError(f"cannot read labels {path}: {reason}") from error
    if labels.ndim != 2 or labels.dtype.kind not in "fiub":
        raise UserError(f"labels {path} are not a matrix of numbers, one row per image")
    return labels


def load_array(path: str) -> np.ndarray:
    """The array in an .npy file, mapped where the file system can do that.

    A damaged header cannot ask for more memory than the file has.

    Raises:
        OSError, ValueError, EOFError, OverflowError: the file cannot be read.
    """
    with open_regular(path) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("its format is newer than what np.save writes for numbers")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        begin, order = file.tell(), "F" if is_fortran else "C"
        size = os.fstat(file.fileno()).st_size - begin
        if dtype.hasobject or not size or math.prod(shape) * dtype.itemsize != size:
            raise ValueError(f"it has {size} bytes of data, which are no array {shape} of {dtype}")
        try:
            return np.memmap(file, dtype, "r", begin, shape, order)
        except OSError:  # Some shares have no mappings.
            file.seek(begin)  # `memmap` has looked for the end.
            return np.frombuffer(file.read(size), dtype).reshape(shape, order=order)
