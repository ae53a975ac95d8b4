"""Arrays of numbers in a pickle, built by code of ours from bytes that are there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from dnnlib.util import UserError, one_line


class Array(np.ndarray):
    """An array whose state is still to come, and after that. `np.asarray` gives a plain one.

    A second state would free the memory that views of it point to, those of a network for one.
    """

    is_filled = False


class DType:
    """A number format, from what NumPy pickles of it."""

    def __init__(self, code: Any, *_flags: Any):
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[biuf]\d{1,2}", code):
            raise UserError(f"it has an array of {_text(code)}, where only numbers are allowed")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        """Sets the byte order: (version, byte order, then fields of structures, of which none)."""
        if not isinstance(state, tuple) or len(state) < 5 or any(state[2:5]):
            raise UserError("it has an array of structures, where only numbers are allowed")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class ArrayReader:
    """NumPy's functions that a pickle may name.

    Args:
        claim: called with the bytes of every array, so that there are not more than in the file.
    """

    def __init__(self, claim: Callable[[int], None]):
        self._claim = claim

    def fill(self, array: Array, state: Any) -> None:
        """Gives an array of no elements its shape and content."""
        if array.is_filled:
            raise UserError("it gives an array a second state, which no such file needs")
        _version, shape, dtype, fortran, data = state
        shape, dtype = self._check(shape, dtype, data)
        data = _native(data, dtype)
        array.__setstate__((1, shape, dtype.newbyteorder("="), bool(fortran), data))
        array.is_filled = True

    def scalar(self, dtype: Any, data: Any) -> np.generic:
        """NumPy's `scalar`: one number."""
        _, number = self._check((), dtype, data)
        return np.frombuffer(_native(data, number), number.newbyteorder("="))[0]

    def from_buffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        """NumPy's `_frombuffer`: an array of protocol 5."""
        shape, number = self._check(shape, dtype, data)
        array = np.frombuffer(_native(data, number), number.newbyteorder("="))
        return array.reshape(shape, order="F" if order == "F" else "C")

    def _check(self, shape: Any, dtype: Any, data: Any) -> tuple[tuple[int, ...], np.dtype]:
        if not isinstance(dtype, DType):
            raise UserError(f"it has an array of {_text(dtype)}, where only numbers are allowed")
        sound = isinstance(shape, tuple) and len(shape) <= 32
        if not sound or not all(type(n) is int and n >= 0 for n in shape):
            raise UserError("it has an array with an invalid shape")
        if not isinstance(data, (bytes, bytearray, str)):
            raise UserError("it has an array that holds no numbers but objects")
        claimed = math.prod(shape) * dtype.dtype.itemsize
        if claimed != len(data):
            raise UserError(
                f"it has an array of shape {one_line(list(shape), 80)} {dtype.dtype}, which takes "
                f"{claimed} bytes, with {len(data)} bytes of data"
            )
        self._claim(claimed)
        return shape, dtype.dtype


def _native(data: bytes | bytearray | str, dtype: np.dtype) -> bytes:
    """Numbers as this machine has them, so that no reader needs a copy of its own."""
    data = data.encode("latin1") if isinstance(data, str) else bytes(data)  # Python 2: text
    return data if dtype.isnative else np.frombuffer(data, dtype).byteswap().tobytes()


def _text(value: Any) -> str:
    """A number format in a message, or what stands in its place."""
    return one_line(value[:200] if isinstance(value, str) else type(value).__name__.strip("_"))
