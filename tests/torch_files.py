"""Writes files of PyTorch without PyTorch, sound ones and others. PyTorch 2.13 reads the former."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


@dataclass(frozen=True)
class Named:
    """Something that a pickle names."""

    module: str
    name: str

    def __call__(self) -> None:
        """For `pickle`, which asks whether what it calls can be called."""


@dataclass(frozen=True)
class Call:
    """What the pickle makes by a call; with a state, by NEWOBJ."""

    function: Named
    args: tuple
    state: Any = None


@dataclass(frozen=True)
class Persistent:
    """What stands for something outside the pickle."""

    values: Any


def storage(key: str, count: Any, kind: str = "FloatStorage", *part: Any) -> Persistent:
    """A storage, by what stands for it."""
    return Persistent(("storage", Named("torch", kind), key, "cpu", count, *part))


def tensor(of: Any, offset: Any, shape: Any, strides: Any) -> Call:
    """A view of a storage."""
    args = (of, offset, shape, strides, False, OrderedDict())
    return Call(Named("torch._utils", "_rebuild_tensor_v2"), args)


class _Pickler(pickle._Pickler):
    is_row = False

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Persistent):
            return None
        # In rows, a storage may be a part of another, or else None.
        return (*obj.values, None) if self.is_row and len(obj.values) == 5 else obj.values

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Named):
            return obj.name
        if not isinstance(obj, Call):
            return NotImplemented
        if obj.state is None:
            return obj.function, obj.args
        return _newobj, (obj.function, *obj.args), obj.state

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    def save_reduce(self, func: Any, args: Any, state: Any = None, *rest: Any, **kw: Any) -> None:
        if func is not _newobj:
            super().save_reduce(func, args, state, *rest, **kw)
            return
        self.save(args[0])
        self.save(args[1:])
        self.write(pickle.NEWOBJ)
        self.save(state)
        self.write(pickle.BUILD)


def _newobj() -> None:
    pass


def pickled(value: Any, is_row: bool = False, protocol: int = 2) -> bytes:
    """A pickle, of protocol 2 as PyTorch writes it unless told otherwise."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol=protocol)
    pickler.is_row = is_row
    pickler.dump(value)
    return buffer.getvalue()


def archive(root: Any, storages: dict[str, bytes], more: dict | None = None, **options) -> bytes:
    """The format with an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as file:
        members = {"data.pkl": root if isinstance(root, bytes) else pickled(root)}
        members |= {"byteorder": b"little", "version": b"3\n"}
        members |= {f"data/{key}": data for key, data in storages.items()}
        for name, data in {**members, **(more or {})}.items():
            file.writestr(f"state/{name}", data)
    return buffer.getvalue()


def row(root: Any, storages: dict[str, bytes], begin: tuple = (MAGIC, PROTOCOL, SYSTEM)) -> bytes:
    """The format without an archive; storages are of numbers of four bytes."""
    parts = [pickled(value, is_row=True) for value in (*begin, root, sorted(storages))]
    for _, data in sorted(storages.items()):
        parts += [struct.pack("<q", len(data) // 4), data]
    return b"".join(parts)


def state_dict(arrays: dict[str, np.ndarray]) -> tuple[OrderedDict, dict[str, bytes]]:
    """(root, storages) of float32 arrays, for `archive` and `row`."""
    root, storages = OrderedDict(), {}
    for i, (name, array) in enumerate(arrays.items()):
        array = np.ascontiguousarray(array, np.float32)
        strides = tuple(s // 4 for s in array.strides)
        root[name] = tensor(storage(str(i), array.size), 0, array.shape, strides)
        storages[str(i)] = array.tobytes()
    return root, storages
