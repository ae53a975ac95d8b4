"""Snapshots: pickles of networks that hold data only (DESIGN D3)."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import stat
from typing import Any

import numpy as np

from dnnlib import EasyDict, UserError, restricted_pickle, urls
from dnnlib.files import atomic_write
from dnnlib.tflib import Network
from dnnlib.tflib.build_functions import BUILD_MODULES
from dnnlib.util import one_line
from training import pretrained, weights_file

Networks = tuple[Network, Network, Network] | Network

_CLASSES = {("dnnlib.tflib.network", "Network"): Network, ("dnnlib.util", "EasyDict"): EasyDict}


def save(networks: tuple[Network, ...] | Network, path: str, version: int | None = None) -> None:
    """Writes networks, usually (G, D, Gs), in the official layout. Atomic.

    Args:
        networks: what to write.
        path: file to write.
        version: format version 4 (StyleGAN2) or 5 (ADA); None: the one that belongs to each
            network. 5 needs a session where the shapes of a network are not known yet.

    Raises:
        UserError: the file cannot be written.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, version).dump(networks)
    try:
        with atomic_write(path) as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        raise UserError(f"cannot write snapshot {path}: {error.strerror or error}") from error


def load(path: str, allow_pickled_code: bool = False) -> Networks:
    """Reads a snapshot without executing anything that it holds.

    Networks build their graph at first use: whoever needs only `Gs` builds only `Gs`.

    Args:
        path: file, https URL, or name in `training.pretrained`; a `.pkl` of format versions 2 to
            5, or an `.npz` of `training.weights_file`.
        allow_pickled_code: run the Python source that is embedded in the file, where it describes
            a network that we do not have. For files that you trust as you trust a program.

    Returns:
        (G, D, Gs), or one network where the file holds one.

    Raises:
        UserError: not readable, not a snapshot, or it names a class that is not on the list.
    """
    return loads(read(path), urls.show_source(path), allow_pickled_code)


def read(path: str) -> bytes:
    """The content of a snapshot, which is downloaded first if `path` is an URL or a name.

    Raises:
        UserError: there is no such file, it is a pipe or a device, or it cannot be downloaded.
    """
    try:
        local = pretrained.local_path(path)
        if not stat.S_ISREG(os.stat(local).st_mode):  # Which could go on for ever.
            raise UserError(f"cannot read snapshot {path}: it is not a regular file")
        with open(local, "rb") as file:
            return file.read()
    except OSError as error:
        hint = "" if os.path.sep in path else pretrained.suggestion(path)
        raise UserError(f"cannot read snapshot {path}: {error.strerror}{hint}") from error


def loads(content: bytes, path: str, allow_pickled_code: bool = False) -> Networks:
    """As `load`, of the content of the file `path`."""
    if content[:512].lstrip()[:1] == b"<":
        raise UserError(f"{path} is an HTML page, not a snapshot: download the file itself")
    code_of = path if allow_pickled_code else None
    try:
        if content.startswith(b"PK"):
            result = weights_file.loads(content)
        else:
            result = restricted_pickle.loads(
                content, _CLASSES, lambda network, state: _set_state(network, state, code_of)
            )
    except UserError as error:
        raise UserError(f"snapshot {path}: {error}") from error
    except MemoryError as error:
        raise UserError(f"snapshot {path} claims more data than memory holds") from error
    except Exception as error:  # A broken pickle can fail in any way while it is read.
        raise UserError(
            f"{path} is not a snapshot, or a broken one: {one_line(error) or 'it ends early'}"
        ) from error
    networks = result if isinstance(result, tuple) else (result,)
    whole = len(networks) == 3 or not isinstance(result, tuple)
    if not whole or not all(isinstance(n, Network) and vars(n) for n in networks):
        raise UserError(f"{path} is a pickle but not a snapshot: it holds {_describe(result)}")
    return result


def load_generator(path: str, allow_pickled_code: bool = False) -> Network:
    """The generator to make images with: `Gs` of (G, D, Gs), or the one network of the file.

    Raises:
        UserError: as `load`, or the network is not a generator, or lacks a component of one.
    """
    result = load(path, allow_pickled_code)
    network = result[2] if isinstance(result, tuple) else result
    name = network.build_func_name
    if not name.startswith("G_") or name.startswith(("G_mapping", "G_synthesis")):
        raise UserError(f"{path} holds {name}, which is not a generator")
    # Our own generators make what they lack, as those of format versions 2 and 3 do.
    if network.build_module not in BUILD_MODULES:
        saved = network.origin.components if network.origin else {}
        if missing := [key for key in ("mapping", "synthesis") if key not in saved]:
            raise UserError(
                f"{path} holds {name} without the component{'s' * (len(missing) > 1)} "
                f"{' and '.join(missing)}, which a generator is used through"
            )
    return network


def _set_state(instance: Any, state: Any, code_of: str | None) -> None:
    if not isinstance(instance, Network):
        raise UserError(f"it gives a state to {type(instance).__name__}, which has none")
    instance.set_state(state, pickled_code_of=code_of)


class _Pickler(pickle._Pickler):
    """Writes what old code reads: protocol 3 and NumPy's array constructor by its old module.

    The official code runs on Python 3.6 and NumPy 1, which has no `numpy._core`; NumPy 2 knows
    both names.
    """

    def __init__(self, file: io.BytesIO, version: int | None):
        super().__init__(file, protocol=3)
        self._version = version

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Network):
            return copyreg.__newobj__, (Network,), obj.get_state(self._version)
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is _RECONSTRUCT:
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    # `pickle._Pickler` dispatches on types, and knows Python's functions but not built-in ones.
    dispatch = {**pickle._Pickler.dispatch, type(len): save_global}  # noqa: RUF012


# NumPy's array constructor, by whatever name this NumPy has for it.
_RECONSTRUCT = np.zeros(0).__reduce__()[0]


def _describe(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {'ndarray' if isinstance(value, np.ndarray) else type(value).__name__}"
