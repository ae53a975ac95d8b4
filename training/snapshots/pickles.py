"""Snapshots: pickles of networks that hold data only (DESIGN D3)."""

from __future__ import annotations

import copyreg
import hashlib
import os
import pickle
import sys
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from dnnlib import EasyDict, UserError, restricted_pickle, urls
from dnnlib.files import atomic_write, open_regular
from dnnlib.tflib import Network
from dnnlib.util import one_line
from training.snapshots import npz_weights, pretrained, pytorch
from training.snapshots.build_functions import BUILD_MODULES, is_generator
from training.snapshots.not_a_snapshot import describe_other
from training.snapshots.roles import ALONE, Networks, by_role, find_networks

_MAX_NETWORKS = 256  # Components included.
_MAX_BYTES = 1 << 32  # Ten times the largest official file.
_PLAIN = (bool, int, float, str, bytes, bytearray, np.generic)
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
    try:
        with atomic_write(path) as file:
            _Pickler(file, version).dump(networks)
    except OSError as error:
        raise UserError(f"cannot write snapshot {path}: {error.strerror or error}") from error


def load(path: str, allow_pickled_code: bool = False) -> Networks:
    """Reads a snapshot without executing anything that it holds.

    Networks build their graph at first use: if you use only `Gs`, only `Gs` is built.

    Args:
        path: file, https URL, or name in `pretrained`; a `.pkl` of format versions 2 to 5 or of
            PyTorch (see `pytorch`), or an `.npz` of `npz_weights`.
        allow_pickled_code: run the Python source that is embedded in the file, where it describes
            a network that we do not have. For files that you trust as you trust a program.

    Returns:
        (G, D, Gs), None in the place of one that the file does not have; or one network where the
        file holds one.

    Raises:
        UserError: not readable, not a snapshot, or it names a class that is not on the list.
    """
    return loads(read(path), urls.show_source(path), allow_pickled_code)


def read(path: str) -> bytes:
    """The content of a snapshot, which is downloaded first if `path` is a URL or a name.

    Raises:
        UserError: there is no such file, it is a pipe or a device, it is absurdly large, or it
            cannot be downloaded.
    """
    shown = urls.show_source(path)
    try:
        local = pretrained.local_path(path)
        with open_regular(local) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_BYTES:
                raise UserError(
                    f"snapshot {shown} has {size:,} bytes, expected at most {_MAX_BYTES:,}"
                )
            return file.read()
    except OSError as error:
        hint = "" if os.path.sep in path else pretrained.suggestion(path)
        raise UserError(f"cannot read snapshot {shown}: {error.strerror}{hint}") from error


def sha256(path: str) -> str:
    """The SHA-256 of a snapshot, in hexadecimal, as `description.describe` shows it.

    Raises:
        UserError: as `read`.
    """
    return hashlib.sha256(read(path)).hexdigest()


def load_value(path: str, allow_pickled_code: bool = False) -> Any:
    """What a pickle of data holds: networks as `load` reads them, or arrays and plain values.

    Args:
        path: as of `load`.
        allow_pickled_code: as of `load`.

    Raises:
        UserError: as `load`; or the file holds other objects.
    """
    shown = urls.show_source(path)
    value = _read(read(path), shown, allow_pickled_code)
    networks = find_networks(value)
    if networks is not None:
        return networks
    try:
        return _plain(value)
    except UserError as error:
        raise UserError(f"{shown} {error}") from error
    except RecursionError as error:
        raise UserError(f"{shown} holds containers within containers without end") from error


def loads(content: bytes, path: str, allow_pickled_code: bool = False) -> Networks:
    """Like `load`, for the content of a file; `path` is what messages call it."""
    result = _read(content, path, allow_pickled_code)
    networks = find_networks(result)
    if networks is None:
        raise UserError(f"{path} is a pickle but not a snapshot: it holds {_describe(result)}")
    return networks


def _read(content: bytes, path: str, allow_pickled_code: bool) -> Any:
    is_pytorch = pytorch.is_snapshot(content)
    if not is_pytorch and (other := describe_other(content)):
        raise UserError(f"{path} {other}")
    states = _States(len(content), path if allow_pickled_code else None)
    kind = "PyTorch snapshot" if is_pytorch else "snapshot"
    try:
        if content.startswith(b"PK"):
            return npz_weights.loads(content)
        if is_pytorch:
            return pytorch.loads(content, states.network)
        return restricted_pickle.loads(content, _CLASSES, states.set_state)
    except UserError as error:
        raise UserError(f"{kind} {path}: {error}") from error
    except MemoryError as error:
        raise UserError(f"snapshot {path} claims more data than memory holds") from error
    except Exception as error:  # A broken pickle can fail in any way while it is read.
        raise UserError(
            f"{path} is not a {kind}, or a broken one: {one_line(error) or 'it ends early'}"
        ) from error


def load_generator(path: str, allow_pickled_code: bool = False) -> Network:
    """The generator to make images with: `Gs` of (G, D, Gs), or the one network of the file.

    Raises:
        UserError: as `load` and `choose_generator`.
    """
    return choose_generator(load(path, allow_pickled_code), path)


@dataclass(frozen=True)
class Subject:
    """A snapshot that makes pictures, and what judges them.

    Attributes:
        network: its name, for people.
        sha256: of the file.
        Gs: the generator.
        D: the discriminator, or None.
    """

    network: str
    sha256: str
    Gs: Network
    D: Network | None


def load_subject(path: str, allow_pickled_code: bool = False) -> Subject:
    """Reads a snapshot for its generator.

    Raises:
        UserError: as `load_generator`.
    """
    content, shown = read(path), urls.show_source(path)
    networks = loads(content, shown, allow_pickled_code)
    Gs = choose_generator(networks, path)
    return Subject(shown, hashlib.sha256(content).hexdigest(), Gs, by_role(networks).get("D"))


def choose_generator(networks: Networks, path: str) -> Network:
    """The generator to make images with, among the networks of the file `path`.

    Raises:
        UserError: there is none, or it lacks a component.
    """
    found, shown = by_role(networks), urls.show_source(path)
    network = found.get(ALONE) or found.get("Gs") or found.get("G")
    if network is None:
        raise UserError(
            f"{shown} holds a discriminator alone: there is no generator, G or Gs, in it"
        )
    if "G" in found and "Gs" not in found:
        print(
            f"NOTE: {shown} has no Gs, the average of weights that makes the better pictures: "
            "G is used in its place",
            file=sys.stderr,
        )
    name = network.build_func_name
    if not is_generator(name):
        raise UserError(f"{shown} holds {name}, which is not a generator")
    # Our own generators make what they lack, as those of format versions 2 and 3 do.
    if network.build_module not in BUILD_MODULES:
        saved = network.origin.components if network.origin else {}
        if missing := [key for key in ("mapping", "synthesis") if key not in saved]:
            raise UserError(
                f"{shown} holds {name} without the component{'s' * (len(missing) > 1)} "
                f"{' and '.join(missing)}, which a generator is used through"
            )
    return network


class _States:
    """Gives networks of one file their states, and limits what all of them take."""

    def __init__(self, size: int, code_of: str | None):
        self._code_of = code_of
        self._networks_left = _MAX_NETWORKS
        # Scalars are larger as arrays than in the file, and G and Gs may share what is the same.
        self._bytes_left = 4 * size + (1 << 20)

    def network(self, state: Any) -> Network:
        instance = Network.__new__(Network)
        self.set_state(instance, state)
        return instance

    def set_state(self, instance: Any, state: Any) -> None:
        if not isinstance(instance, Network):
            raise UserError(f"it gives a state to {type(instance).__name__}, which has none")
        self._networks_left -= 1
        if self._networks_left < 0:
            raise UserError(f"it has more than {_MAX_NETWORKS} networks")
        instance.set_state(state, pickled_code_of=self._code_of)
        self._bytes_left -= instance.num_pending_bytes
        if self._bytes_left < 0:
            raise UserError("its networks have more data than it holds: a bomb")


class _Pickler(pickle._Pickler):
    """Writes what old code reads: protocol 3 and NumPy's array constructor by its old module.

    The official code runs on Python 3.6 and NumPy 1, which has no `numpy._core`; NumPy 2 knows
    both names.
    """

    def __init__(self, file: IO[bytes], version: int | None):
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


def _plain(value: Any) -> Any:
    """Plain values, arrays and whole networks, as they are without the marks of the reader.

    What a file holds once and names in several places is copied once, and is one object again.
    """
    # By identity, as long as `value` holds them all: containers, their copies, what one sees in
    # them. Lists of the same lists would take for ever to copy one by one, or to print.
    copies: dict[int, Any] = {}
    sizes: dict[int, int] = {}

    def plain(value: Any) -> Any:
        if id(value) in copies:
            return copies[id(value)]
        if isinstance(value, (list, tuple)):
            parts, copy = value, type(value)(plain(v) for v in value)
        elif isinstance(value, dict):
            parts, copy = value.values(), type(value)({k: plain(v) for k, v in value.items()})
        elif isinstance(value, np.ndarray):
            parts, copy = (), np.asarray(value)
        else:
            is_network = isinstance(value, Network) and bool(vars(value))
            if is_network or value is None or isinstance(value, _PLAIN):
                return value
            kind = type(value).__name__.strip("_")
            raise UserError(f"holds a {kind}, which is no number, text or array")
        size = 1 + sum(sizes.get(id(part), 1) for part in parts)
        if size > restricted_pickle.MAX_OPERATIONS:
            raise UserError(f"holds containers within containers of {size:,} values: a bomb")
        copies[id(value)], sizes[id(value)] = copy, size
        return copy

    return plain(value)


def _describe(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, dict):
        shown = ", ".join(one_line(key, 40) for key in list(value)[:5]) or "nothing"
        return f"a dict of {shown}, none of them a network"
    return f"a {'ndarray' if isinstance(value, np.ndarray) else type(value).__name__}"
