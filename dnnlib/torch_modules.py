"""Networks of PyTorch that bring their code, as data: class names, attributes and tensors.

NVIDIA's repositories pickle a module as a call of `torch_utils.persistence`, with its attributes
and the source of its class. Here the source is text that nobody looks at. Each storage of a tensor
is bytes within the pickle: a small file of `torch.save`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dnnlib.restricted_pickle import load_next
from dnnlib.torch_files import TENSOR_FUNCTIONS, Parameter, Storage, Tensor, TorchFile
from dnnlib.util import UserError, one_line

_NAME = b"torch_utils.persistence"
_BEGIN = 1 << 20  # Bytes of a file in which the name of its first module stands.
# Two networks and a copy of the larger one have about 700 tensors, each described by 250 bytes.
_MAX_STORAGES = 4096
_MAX_HEADER = 1 << 10
_MAX_MODULES = 4096
_MAX_DEPTH = 8


def is_module_file(content: bytes) -> bool:
    """Whether a file is a pickle of modules that bring their code."""
    return content[:1] == b"\x80" and _NAME in content[:_BEGIN]


class Module:
    """A module as it was pickled.

    Attributes:
        class_name: of its class.
        state: its attributes by name.

    Raises:
        UserError: it was pickled in another way.
    """

    def __init__(self, meta: Any):
        meta = meta if isinstance(meta, dict) else {}
        name, state = meta.get("class_name"), meta.get("state")
        if meta.get("type") != "class" or not isinstance(name, str) or not isinstance(state, dict):
            raise UserError("it has a module without class or state")
        self.class_name, self.state = name, state

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Tensors that no optimizer changes, by name."""
        return self._tensors("_buffers")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, those of submodules excluded."""
        return {**self._tensors("_parameters"), **self.buffers}

    def walk(self) -> dict[str, Module]:
        """{path: module}: itself at "", its submodules at "a", "b", theirs at "a.c", …

        Raises:
            UserError: they contain each other, or are too many.
        """
        found, queue = {"": self}, [("", self)]
        while queue:
            path, module = queue.pop()
            for name, child in module._dict("_modules").items():
                if child is None:
                    continue
                if not isinstance(child, Module):
                    raise UserError(f"its module {one_line(name, 40)} is a {type(child).__name__}")
                place = f"{path}.{name}" if path else name
                found[place] = child
                queue.append((place, child))
                if place.count(".") >= _MAX_DEPTH or len(found) > _MAX_MODULES:
                    raise UserError("it has modules within modules without end: a bomb")
        return found

    def _tensors(self, key: str) -> dict[str, Tensor]:
        found = {}
        for name, value in self._dict(key).items():
            value = value.tensor if isinstance(value, Parameter) else value
            if value is not None and not isinstance(value, Tensor):
                raise UserError(f"its tensor {one_line(name, 40)} is a {type(value).__name__}")
            if value is not None:
                found[name] = value
        return found

    def _dict(self, key: str) -> Mapping[str, Any]:
        value = self.state.get(key) or {}
        if not isinstance(value, Mapping):
            raise UserError(f"it has a module whose {key} are a {type(value).__name__}")
        return value


@dataclass(frozen=True, eq=False)
class _Stored(Storage):
    """A storage and the file that it is in."""

    file: TorchFile = field(repr=False)


class _Dict(dict):
    """What stands in the place of NVIDIA's `EasyDict`."""

    def set_state(self, state: Any) -> None:
        """Takes no attributes: they are items."""
        if state:
            raise UserError("it gives a state to EasyDict, which has none")


class ModuleFile:
    """A pickle of modules that bring their code.

    Args:
        content: of the file.

    Attributes:
        root: what was pickled, with a `Module` for each module.

    Raises:
        UserError: it holds something else than modules, tensors and plain values.
        Exception: it is broken; any kind.
    """

    def __init__(self, content: bytes):
        self._storages_left, self._bytes_left = _MAX_STORAGES, 2 * len(content)
        functions = {
            **TENSOR_FUNCTIONS,
            (_NAME.decode(), "_reconstruct_persistent_obj"): lambda meta: Module(meta),
            ("torch.storage", "_load_from_bytes"): self._storage,
            ("dnnlib.util", "EasyDict"): _Dict,
        }
        self.root = load_next(io.BytesIO(content), functions)

    def array(self, tensor: Tensor) -> np.ndarray:
        """The numbers of a tensor, float32.

        Raises:
            UserError: all that were asked for take more than twice the bytes of the file.
            Exception: the file is broken; any kind.
        """
        itemsize = max(4, tensor.storage.dtype.itemsize)
        self._bytes_left -= math.prod(tensor.shape) * itemsize
        if self._bytes_left < 0:
            raise UserError("its tensors make more data than it holds: a bomb")
        if not isinstance(tensor.storage, _Stored):
            raise UserError("it has a tensor without numbers")
        array = tensor.storage.file.arrays({"": tensor})[""]
        return array.astype(np.float32, copy=False)

    def _storage(self, data: Any) -> _Stored:
        """A storage of the file that `torch.save` made of it alone."""
        self._storages_left -= 1
        if self._storages_left < 0:
            raise UserError(f"it has more than {_MAX_STORAGES} storages of tensors")
        if not isinstance(data, bytes) or data[:1] != b"\x80":
            raise UserError("it has a storage that is none")
        file = TorchFile(io.BytesIO(data), _MAX_HEADER)
        if not isinstance(file.root, Storage):
            raise UserError("it has a storage that is none")
        return _Stored(file.root.key, file.root.format, file.root.count, file)
