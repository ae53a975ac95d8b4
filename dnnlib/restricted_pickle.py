"""Pickles of networks and arrays, read without executing anything and within bounds.

Python's unpickler calls whatever a file names. This one runs the same opcodes over a table of ours:
a name that is not in it is refused, arrays are built by code of ours from bytes that are there, and
work and memory are bounded by the size of the file.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from dnnlib.pickled_arrays import Array, ArrayReader, DType
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
    EMPTY_SET ADDITEMS INST REDUCE NEWOBJ BUILD PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
    MEMOIZE
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
    return _Unpickler(io.BytesIO(content), len(content), classes, set_state).load()


def load_next(
    file: io.BytesIO,
    functions: Mapping[tuple[str, str], Callable | type | None],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The object of a pickle that other things may follow; the file is left behind its end.

    Args:
        file: at the beginning of the pickle.
        functions: {(module, name) in the pickle: function or class of ours, called with what the
            pickle gives; None for what is named but not called, of which a `Name` remains}.
            Instances of the classes get a state by their `set_state`. Attributes of dicts, which
            an OrderedDict may have, are left out.
        persistent: called with what stands for an object outside the pickle; None: there is none.

    Raises:
        UserError, Exception: as `loads`.
    """
    place = file.tell()
    size = file.seek(0, io.SEEK_END) - place
    file.seek(place)
    return _Unpickler(file, size, {}, _set_own_state, functions, persistent).load()


def _set_own_state(instance: Any, state: Any) -> None:
    instance.set_state(state)


class Name:
    """Something that the pickle names: a class of ours, a function of ours, or a mere name."""

    def __init__(self, name: str, new: type | None = None, call: Callable | None = None):
        self.name, self.new, self.call = name, new, call


class _Operations:
    """Table of opcodes that counts and refuses."""

    def __init__(self, also: Iterable[str]):
        self._left = MAX_OPERATIONS
        codes = {getattr(pickle, name)[0] for name in (*_OPERATIONS, *also)}
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

    def __init__(self, file, size, classes, set_state, functions=None, persistent=None):
        super().__init__(file, encoding="latin1")
        self._operations = self.dispatch = _Operations(["BINPERSID"] if persistent else [])
        # What may be made of the file's bytes: each of them becomes bytes, then part of an array.
        self._bytes_left = 2 * size + 1024
        self._size = size
        self._set_state, self._persistent = set_state, persistent
        self._called = [call for call in (functions or {}).values() if isinstance(call, type)]
        self._classes = (*classes.values(), *self._called)
        self._arrays = ArrayReader(self._claim)
        named = {key: Name(".".join(key), new=value) for key, value in classes.items()}
        for key, call in (functions or {}).items():
            named[key] = Name(".".join(key), call=call)
        self._globals = {**_functions(self, self._arrays), **named}

    def persistent_load(self, pid: Any) -> Any:
        return self._persistent(pid)

    def find_class(self, module: str, name: str) -> Name:
        try:
            return self._globals[module, name]
        except KeyError:
            shown = one_line(f"{module}.{name}"[:200])
            raise UserError(
                f"it names {shown}, which has no place in such a file; nothing was executed"
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
        if not isinstance(func, Name) or not isinstance(args, tuple):
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
        if isinstance(cls, Name) and cls.call in self._called and isinstance(args, tuple):
            self.append(cls.call(*args))
            return
        if not isinstance(cls, Name) or cls.new is None or args != ():
            raise UserError("it makes an object in a way that no such file needs")
        self.append(cls.new.__new__(cls.new))

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_build(self):
        state, instance = self.stack.pop(), self.stack[-1]
        if isinstance(instance, Array):
            self._arrays.fill(instance, state)
        elif isinstance(instance, DType):
            instance.set_state(state)
        elif self._persistent and type(instance) is dict and type(state) is dict:
            pass
        elif type(instance) in self._classes:
            self._set_state(instance, state)
        else:
            name = instance.name if isinstance(instance, Name) else type(instance).__name__
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

    def load_additems(self):
        items, target = self.pop_mark(), self.stack[-1]
        if type(target) is not set:
            raise UserError(f"it adds to a {type(target).__name__}")
        target.update(_names(items))

    dispatch[pickle.ADDITEMS[0]] = load_additems

    # What the functions that may be named do

    def container(self, kind: type, items: Any = ()) -> Any:
        if not isinstance(items, (list, tuple)):
            raise UserError(f"it makes a {kind.__name__} of a {type(items).__name__}")
        self._operations.spend(len(items))
        if kind is dict:
            if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in items):
                raise UserError("it makes a dict of items that are not pairs")
            return _set_items({}, [x for pair in items for x in pair])
        return kind(_names(items) if kind is set else items)

    def encode(self, text: Any, encoding: Any = None) -> bytes:
        """`_codecs.encode` as old protocols use it for bytes, and nothing else."""
        if not isinstance(text, str) or encoding != "latin1":
            raise UserError("it encodes text in a way that no such file needs")
        self._claim(len(text))
        return text.encode("latin1")

    def new_array(self, cls: Any, shape: Any, _code: Any) -> Array:
        """NumPy's `_reconstruct`: an empty array, to be filled by its state."""
        if not isinstance(cls, Name) or cls.name != "numpy.ndarray" or shape != (0,):
            raise UserError("it makes an array in a way that no such file needs")
        return np.empty(0, np.uint8).view(Array)


def _functions(reader: _Unpickler, arrays: ArrayReader) -> dict[tuple[str, str], Name]:
    """What a pickle may name besides classes, by all modules that it has been in."""
    table: dict[tuple[str, str], Name] = {}

    def add(modules: Iterable[str], name: str, call: Callable | None) -> None:
        for module in modules:
            table[module, name] = Name(f"{module}.{name}", call=call)

    multiarray = ("numpy.core.multiarray", "numpy._core.multiarray")
    add(multiarray, "_reconstruct", reader.new_array)
    add(multiarray, "scalar", arrays.scalar)
    add(("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer", arrays.from_buffer)
    add(("numpy",), "dtype", DType)
    add(("numpy",), "ndarray", None)
    add(("_codecs",), "encode", reader.encode)
    builtins = ("builtins", "__builtin__")
    add(builtins, "bytes", lambda: b"")  # How old protocols write empty bytes.
    for kind in (list, tuple, dict, set):
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


def _names(items: Iterable[Any]) -> Iterable[Any]:
    """Members of a set, which have to be text for the same reason as keys."""
    if not all(isinstance(item, str) and len(item) <= _MAX_KEY for item in items):
        raise UserError("it has a set of things that are not names")
    return items


def _as_list(value: Any) -> list:
    if type(value) is not list:
        raise UserError(f"it appends to a {type(value).__name__}")
    return value
