"""Pickles of networks and arrays, read without executing anything and within bounds.

Python's unpickler calls whatever a file names. This one runs the same opcodes over a table of ours:
a name that is not in it is refused, arrays are built by code of ours from bytes that are there, and
work and memory are bounded by the size of the file.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from dnnlib.util import UserError, one_line

# The largest official snapshots take about 20,000 operations, the batch of CIFAR-100 250,000.
MAX_OPERATIONS = 1_000_000
_MAX_KEY = 1000  # Characters in a key of a dict.
_MAX_INT_BYTES = 32

_OPERATIONS = """
    PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
    LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE
    BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST LIST APPEND APPENDS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL
    INST REDUCE NEWOBJ BUILD PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET MEMOIZE
""".split()  # INST is there to name what it asks for.


def loads(
    content: bytes, classes: Mapping[tuple[str, str], type], set_state: Callable[[Any, Any], None]
) -> Any:
    """The object that a pickle holds.

    Args:
        content: the pickle.
        classes: {(module, name) in the pickle: class of ours}. Instances are made without
            arguments and get their state from `set_state`.
        set_state: called with an instance and what the pickle gives as its state.

    Raises:
        UserError: it names something else, or uses operations that no such file needs.
        Exception: it is broken; any kind.
    """
    return _Unpickler(content, classes, set_state).load()


class _Array(np.ndarray):
    """An array whose state is still to come, and after that. `np.asarray` gives a plain one.

    A second state would free the memory that views of it point to, those of a network for one.
    """

    is_filled = False


class _DType:
    """A number format, from what NumPy pickles of it."""

    def __init__(self, code: Any, *_flags: Any):
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[biuf]\d{1,2}", code):
            raise UserError(f"it has an array of {_text(code)}, where only numbers are allowed")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        # (version, byte order, then fields of structures, which there are none of)
        if not isinstance(state, tuple) or len(state) < 5 or any(state[2:5]):
            raise UserError("it has an array of structures, where only numbers are allowed")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Global:
    """Something that the pickle names: a class of ours, or a function of this module."""

    def __init__(self, name: str, new: type | None = None, call: Callable | None = None):
        self.name, self.new, self.call = name, new, call


class _Operations:
    """Table of opcodes that counts and refuses."""

    def __init__(self):
        self._left = MAX_OPERATIONS
        codes = {getattr(pickle, name)[0] for name in _OPERATIONS}
        self._methods = {c: m for c, m in _Unpickler.dispatch.items() if c in codes}

    def __getitem__(self, code: int) -> Callable:
        self.spend(1)
        if code not in self._methods:
            names = {c[0]: n for n, c in vars(pickle).items() if n.isupper() and _is_opcode(c)}
            if code not in names:
                raise pickle.UnpicklingError(f"byte {code} is no operation")
            raise UserError(f"it uses the operation {names[code]}, which no such file needs")
        return self._methods[code]

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise UserError(f"it takes more than {MAX_OPERATIONS} operations to read: a bomb")


def _is_opcode(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) == 1


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python, whose every step can be replaced, unlike that in C."""

    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)

    def __init__(self, content, classes, set_state):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._operations = self.dispatch = _Operations()
        # What may be made of the file's bytes: each of them becomes bytes, then part of an array.
        self._bytes_left = 2 * len(content) + 1024
        self._size = len(content)
        self._set_state = set_state
        self._classes = tuple(classes.values())
        self._globals = {
            **{key: _Global(".".join(key), new=value) for key, value in classes.items()},
            **_functions(self),
        }

    def find_class(self, module: str, name: str) -> _Global:
        try:
            return self._globals[module, name]
        except KeyError:
            raise UserError(
                f"it names {_text(f'{module}.{name}')}, which has no place in such a file; "
                "nothing was executed"
            ) from None

    def _claim(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise UserError("it makes more data than it holds: a bomb")

    # Operations that call, create or fill something

    def load_inst(self):
        self.find_class(
            self.readline()[:-1].decode("latin1"), self.readline()[:-1].decode("latin1")
        )
        raise UserError("it uses the operation INST, which no such file needs")

    dispatch[pickle.INST[0]] = load_inst

    def load_reduce(self):
        args, func = self.stack.pop(), self.stack.pop()
        if not isinstance(func, _Global) or not isinstance(args, tuple):
            raise UserError("it calls something that has no name")
        if func.call is None:
            if args or func.new is None:
                raise UserError(f"it calls {func.name} with arguments, which no such file needs")
            self.append(func.new.__new__(func.new))
            return
        self.append(func.call(*args))

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self):
        args, cls = self.stack.pop(), self.stack.pop()
        if not isinstance(cls, _Global) or cls.new is None or args != ():
            raise UserError("it makes an object in a way that no such file needs")
        self.append(cls.new.__new__(cls.new))

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_build(self):
        state, instance = self.stack.pop(), self.stack[-1]
        if isinstance(instance, _Array):
            self._fill_array(instance, state)
        elif isinstance(instance, _DType):
            instance.set_state(state)
        elif type(instance) in self._classes:
            self._set_state(instance, state)
        else:
            name = instance.name if isinstance(instance, _Global) else type(instance).__name__
            raise UserError(f"it changes {name}, which no such file needs")

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self):
        size = int.from_bytes(self.read(8), "little")
        if size > self._size:
            raise EOFError
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def load_int(self):
        line = self.readline()[:-1].rstrip(b"L")
        if len(line) > _MAX_INT_BYTES:
            raise UserError("it holds a number of too many digits")
        truth = {b"00": False, b"01": True}  # How protocol 0 writes them.
        self.append(truth[line] if line in truth else int(line, 0))

    dispatch[pickle.INT[0]] = load_int
    dispatch[pickle.LONG[0]] = load_int

    def load_long4(self):
        size = int.from_bytes(self.read(4), "little")
        if size > _MAX_INT_BYTES:
            raise UserError("it holds a number of too many digits")
        self.append(int.from_bytes(self.read(size), "little", signed=True))

    dispatch[pickle.LONG4[0]] = load_long4

    # Containers. Keys are text: a nest of tuples takes for ever to hash.

    def load_dict(self):
        items = self.pop_mark()
        self.append(_set_items({}, items))

    dispatch[pickle.DICT[0]] = load_dict

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        _set_items(self.stack[-1], [key, value])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self):
        items = self.pop_mark()
        _set_items(self.stack[-1], items)

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_appends(self):
        items = self.pop_mark()
        _as_list(self.stack[-1]).extend(items)

    dispatch[pickle.APPENDS[0]] = load_appends

    def load_append(self):
        item = self.stack.pop()
        _as_list(self.stack[-1]).append(item)

    dispatch[pickle.APPEND[0]] = load_append

    # What the functions that may be named do

    def container(self, kind: type, items: Any = ()) -> Any:
        if not isinstance(items, (list, tuple)):
            raise UserError(f"it makes a {kind.__name__} of a {type(items).__name__}")
        self._operations.spend(len(items))
        if kind is dict:
            if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in items):
                raise UserError("it makes a dict of items that are not pairs")
            return _set_items({}, [x for pair in items for x in pair])
        return kind(items)

    def encode(self, text: Any, encoding: Any = None) -> bytes:
        """`_codecs.encode` as old protocols use it for bytes, and nothing else."""
        if not isinstance(text, str) or encoding != "latin1":
            raise UserError("it encodes text in a way that no such file needs")
        self._claim(len(text))
        return text.encode("latin1")

    def new_array(self, cls: Any, shape: Any, _code: Any) -> _Array:
        """NumPy's `_reconstruct`: an empty array, to be filled by its state."""
        if not isinstance(cls, _Global) or cls.name != "numpy.ndarray" or shape != (0,):
            raise UserError("it makes an array in a way that no such file needs")
        return np.empty(0, np.uint8).view(_Array)

    def _fill_array(self, array: _Array, state: Any) -> None:
        if array.is_filled:
            raise UserError("it gives an array a second state, which no such file needs")
        _version, shape, dtype, fortran, data = state
        shape, dtype = self._check_array(shape, dtype, data)
        data = self._native(data, dtype)
        array.__setstate__((1, shape, dtype.newbyteorder("="), bool(fortran), data))
        array.is_filled = True

    def scalar(self, dtype: Any, data: Any) -> np.generic:
        """NumPy's `scalar`: one number."""
        _, number = self._check_array((), dtype, data)
        return np.frombuffer(self._native(data, number), number.newbyteorder("="))[0]

    def from_buffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        """NumPy's `_frombuffer`: an array of protocol 5."""
        shape, number = self._check_array(shape, dtype, data)
        array = np.frombuffer(self._native(data, number), number.newbyteorder("="))
        return array.reshape(shape, order="F" if order == "F" else "C")

    def _native(self, data: bytes | bytearray | str, dtype: np.dtype) -> bytes:
        """Numbers as this machine has them, so that no reader needs a copy of its own."""
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)  # Python 2: text
        return data if dtype.isnative else np.frombuffer(data, dtype).byteswap().tobytes()

    def _check_array(self, shape: Any, dtype: Any, data: Any) -> tuple[tuple[int, ...], np.dtype]:
        if not isinstance(dtype, _DType):
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


def _functions(reader: _Unpickler) -> dict[tuple[str, str], _Global]:
    """What a pickle may name besides classes, by all modules that it has been in."""
    table: dict[tuple[str, str], _Global] = {}

    def add(modules: Iterable[str], name: str, call: Callable | None) -> None:
        for module in modules:
            table[module, name] = _Global(f"{module}.{name}", call=call)

    multiarray = ("numpy.core.multiarray", "numpy._core.multiarray")
    add(multiarray, "_reconstruct", reader.new_array)
    add(multiarray, "scalar", reader.scalar)
    add(("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer", reader.from_buffer)
    add(("numpy",), "dtype", _DType)
    add(("numpy",), "ndarray", None)
    add(("_codecs",), "encode", reader.encode)
    builtins = ("builtins", "__builtin__")
    add(builtins, "bytes", lambda: b"")  # How old protocols write empty bytes.
    for kind in (list, tuple, dict):
        add(builtins, kind.__name__, lambda *args, kind=kind: reader.container(kind, *args))
    add(("collections",), "OrderedDict", lambda *args: reader.container(dict, *args))
    return table


def _set_items(target: Any, items: list) -> dict:
    if not isinstance(target, dict):
        raise UserError(f"it sets items of a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) or len(key) > _MAX_KEY:
            raise UserError("it has a dict with keys that are not names")
        dict.__setitem__(target, key, value)
    return target


def _as_list(value: Any) -> list:
    if type(value) is not list:
        raise UserError(f"it appends to a {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    """A file's value in a message: short, without characters that control a terminal."""
    if isinstance(value, _DType):
        return str(value.dtype)
    text = value[:200] if isinstance(value, str) else type(value).__name__
    return one_line(text)
