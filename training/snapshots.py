"""Snapshots: pickles of networks that hold data only (DESIGN D3)."""

from __future__ import annotations

import io
import pickle
from typing import Any, ClassVar

import numpy as np

from dnnlib import EasyDict, UserError
from dnnlib.files import atomic_write
from dnnlib.tflib import Network
from dnnlib.util import one_line

try:
    from numpy._core.multiarray import _reconstruct, scalar
except ImportError:  # NumPy 1
    from numpy.core.multiarray import _reconstruct, scalar


def save(networks: tuple[Network, ...] | Network, path: str) -> None:
    """Writes networks, usually (G, D, Gs), in the official layout. Atomic.

    Raises:
        UserError: the file cannot be written.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=3).dump(networks)
    try:
        with atomic_write(path) as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        raise UserError(f"cannot write snapshot {path}: {error.strerror or error}") from error


def load(path: str) -> tuple[Network, Network, Network] | Network:
    """Reads a snapshot without executing anything that it holds.

    Networks build their graph at first use: whoever needs only `Gs` builds only `Gs`.

    Returns:
        (G, D, Gs), or one network where the file holds one.

    Raises:
        UserError: not readable, not a snapshot, or it names a class that is not on the list.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"cannot read snapshot {path}: {error.strerror}") from error
    if content[:512].lstrip()[:1] == b"<":
        raise UserError(f"{path} is an HTML page, not a snapshot: download the file itself")
    try:
        result = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except UserError as error:
        raise UserError(f"snapshot {path}: {error}") from error
    except MemoryError as error:
        raise UserError(f"snapshot {path} claims more data than memory holds") from error
    except Exception as error:  # A broken pickle can fail in any way while it is read.
        raise UserError(
            f"{path} is not a snapshot, or a broken one: {one_line(error) or 'it ends early'}"
        ) from error
    networks = result if isinstance(result, tuple) else (result,)
    if len(networks) not in (1, 3) or not all(isinstance(n, Network) for n in networks):
        raise UserError(f"{path} is a pickle but not a snapshot: it holds {_describe(result)}")
    return result


def load_generator(path: str) -> Network:
    """The generator to make images with: `Gs` of (G, D, Gs), or the one network of the file.

    Raises:
        UserError: as `load`, or the network is not a generator.
    """
    result = load(path)
    network = result[2] if isinstance(result, tuple) else result
    if not network.build_func_name.startswith("G_"):
        raise UserError(f"{path} holds {network.build_func_name}, which is not a generator")
    return network


def _latin1(text: str, encoding: str) -> bytes:
    """`_codecs.encode` as old pickles use it for bytes, and nothing else."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


# All that a snapshot may name. Keys: module and name as written in the pickle.
_NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("dnnlib.tflib.network", "Network"): Network,
    ("dnnlib.util", "EasyDict"): EasyDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _latin1,
    **{(core, "_reconstruct"): _reconstruct for core in _NUMPY_CORES},
    **{(core, "scalar"): scalar for core in _NUMPY_CORES},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the classes of snapshots and no others."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UserError(
                f"it names {module}.{name}, which has no place in a snapshot; nothing was executed"
            ) from None


class _Pickler(pickle._Pickler):
    """Names NumPy's array constructor by its old module, so that NumPy 1 reads our snapshots too.

    The official code runs on NumPy 1, which has no `numpy._core`; NumPy 2 knows both names.
    """

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is _reconstruct:
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    # `pickle._Pickler` dispatches on types; functions and built-in functions are globals.
    dispatch: ClassVar = {
        **pickle._Pickler.dispatch,
        type(_reconstruct): save_global,
        type(_latin1): save_global,
    }


def _describe(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
