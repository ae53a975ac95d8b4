"""Files of PyTorch as data: their tensors, without PyTorch and without executing anything.

`torch.save` writes a pickle in which tensors are views of storages, and the numbers of the storages
beside it: as members of a zip archive, or, before PyTorch 1.6, behind the pickle. What a pickle may
name besides plain values is in a table here; sizes are checked against the bytes that are there.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import numpy as np

from dnnlib.files import open_regular
from dnnlib.restricted_pickle import Name, load_next
from dnnlib.util import UserError, one_line

_MAX_PICKLES = 16 << 20  # Bytes of all that is not numbers: 50 kB in the largest of torchvision.
_MAX_MEMBERS = 100_000
_MAX_DIMENSIONS = 16
# The first pickles of the format without an archive.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LENGTH = struct.Struct("<q")  # Before the numbers of each storage.
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": _BFLOAT16,
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Storage:
    """Numbers in a row: `count` of a format of `_STORAGES`."""

    key: str
    format: str
    count: int

    @property
    def dtype(self) -> np.dtype:
        """How they lie in the file."""
        return np.dtype("<u2" if self.format == _BFLOAT16 else self.format)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: where it begins, sizes, and steps, all in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Parameter:
    """What the first versions of PyTorch wrote around a tensor; the tensor comes early or late."""

    def __init__(self, tensor: Any = None, *_flags: Any):
        self.tensor = tensor

    def set_state(self, state: Any) -> None:
        """Takes the tensor that is in a state of five; a state of three has flags alone."""
        if isinstance(state, tuple) and len(state) == 5:
            self.tensor = state[0]


class TorchFile:
    """A file that `torch.save` wrote.

    Args:
        file: at its beginning, seekable, open as long as this is used.
        max_pickles: bytes that all that is not numbers may have.

    Attributes:
        root: what was saved, with a `Tensor` or `Parameter` for each tensor.

    Raises:
        UserError: it holds something else than tensors and plain values, or tensors that the bytes
            of the file do not give.
        Exception: it is broken; any kind.
    """

    def __init__(self, file: IO[bytes], max_pickles: int = _MAX_PICKLES):
        self._file, self._storages = file, dict[str, Storage]()
        self._max_pickles = max_pickles
        self._size = file.seek(0, os.SEEK_END)
        file.seek(0)
        begin = file.read(2)
        file.seek(0)
        self._read: Callable[[Storage], bytes]
        if begin == b"PK":
            self.root = self._open_archive()
        elif begin[:1] == b"\x80":
            self.root = self._open_row()
        else:
            raise UserError("it is no file that torch.save wrote")

    def arrays(self, tensors: Mapping[_Key, Tensor]) -> dict[_Key, np.ndarray]:
        """The numbers of tensors, by the same keys; bfloat16 becomes float32.

        Raises:
            UserError: they take more than twice the bytes of the file.
            Exception: the file is broken; any kind.
        """
        left = 2 * self._size
        by_storage: dict[Storage, list[_Key]] = {}
        for key, tensor in tensors.items():
            left -= math.prod(tensor.shape) * tensor.storage.dtype.itemsize
            by_storage.setdefault(tensor.storage, []).append(key)
        if left < 0:
            raise UserError("its tensors make more data than it holds: a bomb")
        found: dict[_Key, np.ndarray] = {}
        for storage, keys in by_storage.items():  # Each is read once.
            data = self._read(storage)
            found.update((key, _array(tensors[key], data)) for key in keys)
        return {key: found[key] for key in tensors}

    # The two formats

    def _open_archive(self) -> Any:
        archive = zipfile.ZipFile(self._file)
        members = {m.filename: m for m in archive.infolist()}
        if len(members) > _MAX_MEMBERS or len(members) != len(archive.infolist()):
            raise UserError("it has too many members, or some of the same name")
        if any(m.compress_type != zipfile.ZIP_STORED for m in members.values()):
            raise UserError("it is compressed, which files of PyTorch are not")
        if sum(m.file_size for m in members.values()) > self._size:
            raise UserError("it claims more data than it holds: a bomb")
        found = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise UserError("it is a zip file of something else than PyTorch")
        folder = found[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in members:
            raise UserError("it is a program (TorchScript), not tensors: save its state_dict()")
        order = f"{folder}byteorder"
        if order in members and members[order].file_size < 99 and archive.read(order) != b"little":
            raise UserError("it was written by a machine of another byte order")
        if members[found[0]].file_size > self._max_pickles:
            raise UserError(f"it has a pickle of more than {self._max_pickles} bytes")

        def read(storage: Storage) -> bytes:
            return archive.read(f"{folder}data/{storage.key}")

        self._read = read
        root = self._unpickle(io.BytesIO(archive.read(found[0])))
        for storage in self._storages.values():
            member = members.get(f"{folder}data/{storage.key}")
            if member is None or member.file_size != storage.size:
                raise UserError(_lacks(storage, 0 if member is None else member.file_size))
        return root

    def _open_row(self) -> Any:
        begin = io.BytesIO(self._file.read(self._max_pickles))
        if self._unpickle(begin) != _MAGIC or self._unpickle(begin) != _PROTOCOL:
            raise UserError("it is a pickle, but none that torch.save wrote")
        system = self._unpickle(begin)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise UserError("it was written by a machine of another byte order")
        root, keys = self._unpickle(begin), self._unpickle(begin)
        # Nothing that is no text is shown or compared: lists of the same lists take for ever.
        named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not named or {*keys} != self._storages.keys():
            raise UserError("its storages are not those that its tensors need")
        places, place = {}, begin.tell()
        for key in keys:
            storage = self._storages[key]
            places[key] = place + _LENGTH.size
            self._file.seek(place)
            count = _LENGTH.unpack(self._file.read(_LENGTH.size))[0]
            place += _LENGTH.size + storage.size
            if count != storage.count or place > self._size:
                raise UserError(_lacks(storage, self._size - places[key]))

        def read(storage: Storage) -> bytes:
            self._file.seek(places[storage.key])
            return self._file.read(storage.size)

        self._read = read
        return root

    # What the pickles name

    def _unpickle(self, pickled: io.BytesIO) -> Any:
        storages = {tuple(name.split(".")): None for name in _STORAGES}
        return load_next(pickled, {**TENSOR_FUNCTIONS, **storages}, self._storage)

    def _storage(self, given: Any) -> Storage:
        """A storage of what stands for it: kind, format, key, device, count, part of another."""
        if not isinstance(given, tuple) or len(given) not in (5, 6) or given[0] != "storage":
            raise UserError("it refers to something else than the storage of a tensor")
        _, named, key, _, count, *part = given
        if not isinstance(named, Name) or named.name not in _STORAGES or any(part):
            raise UserError("it has a storage of an unknown kind")
        if not isinstance(key, str) or not _are_sizes([count]):
            raise UserError("it has a storage without name or size")
        storage = Storage(key, _STORAGES[named.name], count)
        if self._storages.setdefault(key, storage) != storage:
            raise UserError(f"it describes its storage {one_line(key, 40)} in two ways")
        return storage


def read_state_dict(path: str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Tensors by name, as `torch.save(module.state_dict(), path)` writes them.

    Args:
        path: a file.
        names: of the tensors to read; others, which may be large, are left out. None: all.

    Raises:
        UserError: it cannot be read, is no such file, or is not what it claims to be.
    """
    try:
        with open_regular(path) as file:
            content = TorchFile(file)
            if not isinstance(content.root, dict):
                raise UserError("it holds no tensors with names (a state_dict)")
            tensors = {
                name: value.tensor if isinstance(value, Parameter) else value
                for name, value in content.root.items()
                if names is None or name in names
            }
            tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
            return content.arrays(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # Of a broken file, anything may come.
        raise UserError(f"cannot read {path}: {one_line(error) or 'it ends early'}") from error


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_flags: Any) -> Tensor:
    """A tensor whose numbers all lie in its storage, none of them twice."""
    given = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not isinstance(storage, Storage) or not given or len(shape) > _MAX_DIMENSIONS:
        raise UserError("it makes a tensor in a way that no such file needs")
    # Others are not even shown or sorted: lists of lists of the same lists take for ever.
    if not all(isinstance(number, int) for number in (offset, *shape, *strides)):
        raise UserError("it has a tensor with sizes that are no numbers")
    # From the smallest step on, each must reach beyond all that the ones before it span.
    steps = sorted((stride, n) for stride, n in zip(strides, shape, strict=True) if n != 1)
    fits = _are_sizes([offset, *shape, *strides])
    end = offset + 1 if fits else 0
    for stride, n in steps if fits and 0 not in shape else []:
        fits = fits and stride >= end - offset
        end += stride * (n - 1)
    if not fits or (0 not in shape and end > storage.count):
        raise UserError(
            f"it has a tensor of shape {one_line(list(shape), 80)}, offset {one_line(offset, 20)} "
            f"and strides {one_line(list(strides), 80)} in a storage of {storage.count} numbers"
        )
    return Tensor(storage, offset, shape, strides)


# What makes tensors of storages, by the names that a pickle has for it.
TENSOR_FUNCTIONS: Mapping[tuple[str, str], Callable | type] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): Parameter,
    ("torch.nn.parameter", "Parameter"): Parameter,
}


def _array(tensor: Tensor, data: bytes) -> np.ndarray:
    """The numbers of a tensor from those of its storage; its view was checked."""
    numbers = np.frombuffer(data, tensor.storage.dtype)
    if len(numbers) != tensor.storage.count:
        raise UserError(_lacks(tensor.storage, len(data)))
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, numbers.dtype)
    steps = [stride * numbers.itemsize for stride in tensor.strides]
    array = np.array(np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps))
    if tensor.storage.format == _BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _are_sizes(values: Collection[Any]) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 48 for value in values)


def _lacks(storage: Storage, size: int) -> str:
    shown = one_line(storage.key, 40)
    return f"its storage {shown} of {storage.count} numbers has {max(size, 0)} bytes"
