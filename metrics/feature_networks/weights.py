"""Arrays of weights from files, read where a damaged file can do no harm."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable

import numpy as np

from dnnlib import UserError
from dnnlib.child_process import ChildProcess
from dnnlib.files import open_regular
from dnnlib.torch_files import read_state_dict
from dnnlib.util import one_line

# VGG16 has 138 million weights.
_MAX_BYTES = 1 << 30
_MAX_ARRAYS = 1000
_SECONDS = 120.0


def read_npz(path: str) -> dict[str, np.ndarray]:
    """Arrays of numbers of an `.npz`, which may be compressed.

    Raises:
        UserError: it is broken, holds something else, or more than weights have.
    """
    return _read(_npz_arrays, path)


def read_h5(path: str, layers: Iterable[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{layer: (kernel, bias)} of a file by Keras.

    Raises:
        UserError: it is broken, or h5py is missing.
    """
    try:
        import h5py  # noqa: F401 (said here, where it is clear for whom)
    except ImportError as error:
        raise UserError(
            f'{path} is an HDF5 file: pip install h5py, or pip install -e ".[hdf5]"'
        ) from error
    pairs = _read(_h5_arrays, path, list(layers))
    return {layer: tuple(pair) for layer, pair in pairs.items()}


def is_torch(path: str) -> bool:
    """Whether a file is one of PyTorch, by its name."""
    return path.endswith((".pth", ".pt"))


def read_torch(path: str, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Tensors of a file by PyTorch, those of the names that it has.

    Raises:
        UserError: it is broken, or holds something else.
    """
    return _read(read_state_dict, path, list(names))


def _read(function, path: str, *arguments):
    """In a child: the libraries that unpack and parse were not written for hostile files."""
    with ChildProcess(function, memory=3 * _MAX_BYTES) as child:
        return child.call(os.path.abspath(path), *arguments, seconds=_SECONDS, what=path)


def _npz_arrays(path: str) -> dict[str, np.ndarray]:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members) > _MAX_BYTES or len(members) > _MAX_ARRAYS:
                raise UserError(f"{path} holds more than weights of VGG16 are")
            arrays = {}
            for member in members:
                data = io.BytesIO(archive.read(member))
                array = np.lib.format.read_array(data, allow_pickle=False)
                if array.dtype.kind not in "biuf":
                    raise UserError(f"{path}: {one_line(member.filename, 80)} is not of numbers")
                arrays[member.filename.removesuffix(".npy")] = array
            return arrays
    except UserError:
        raise
    except Exception as error:  # A broken ZIP archive can fail in many ways.
        raise UserError(f"cannot read {path}: {one_line(error)}") from error


def _h5_arrays(path: str, layers: list[str]) -> dict[str, list[np.ndarray]]:
    import h5py

    result, total = {}, 0
    try:
        open_regular(path).close()
        with h5py.File(path, "r") as file:
            groups = file["model_weights"] if "model_weights" in file else file
            for layer in layers:
                if layer not in groups:
                    continue
                found: list[h5py.Dataset] = []
                groups[layer].visititems(
                    lambda _, item, found=found: (
                        found.append(item) if isinstance(item, h5py.Dataset) else None
                    )
                )
                total += sum(item.size * item.dtype.itemsize for item in found)
                if total > _MAX_BYTES or any(item.dtype.kind not in "iuf" for item in found):
                    raise UserError(f"{path} holds something else than weights of VGG16")
                if len(found) == 2:  # The bias has one dimension, the kernel more.
                    result[layer] = sorted((item[()] for item in found), key=np.ndim, reverse=True)
    except UserError:
        raise
    except Exception as error:  # Of a broken file, anything may come.
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    return result
