"""HDF5 files of the progressive growing of GANs (`create_from_hdf5`, `convert_to_hdf5`,
`hdf5_from_images`).

A dataset is one file, and a second one where there are labels:

    NAME.h5          data4x4, data8x8, ...: uint8 [images, channels, height, width], one a level
    NAME-labels.npy  [images, label_size]
"""

from __future__ import annotations

import functools
import math
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.child_process import ChildProcess
from dnnlib.files import atomic_write, check_free
from dnnlib.output import tqdm
from dnnlib.util import one_line
from training.datasets.building.build import build
from training.datasets.building.inspect import read_images
from training.datasets.building.output import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.level_files import LevelReader
from training.datasets.format.levels import MAX_SIDE, image_levels, level_count
from training.datasets.format.matrices import map_matrix
from training.datasets.items import Item, ItemList, Source
from training.datasets.photos.decode import Fit, Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.images import images_source

CHUNK_BYTES = 1 << 17  # of images that are stored and read together
MAX_PICTURES = 5_000_000  # LSUN's largest category has three million
MAX_READ_BYTES = 1 << 26  # for one image, with others of its chunk; 4096x4096 in color has 50 MB
_MAX_RATIO = 1100  # of what is stored compressed; that of gzip is at most 1032
_MEMORY = 1 << 30  # of the process that reads: chunks may unpack to more than they should
_SECONDS = 60.0  # for one image: the file may lie on a busy share


def create_from_hdf5(output: Output, hdf5_filename: str) -> None:
    """Makes a dataset of the finest level of an HDF5 file, and of the labels beside it.

    Args:
        output: what to make.
        hdf5_filename: the file.

    Raises:
        UserError: the file is missing, damaged or has no such data, the labels do not fit, the
            package h5py is missing, or the dataset cannot be written.
    """
    output.check()
    with ChildProcess(_answer, _MEMORY) as process:
        build(hdf5(process, hdf5_filename), output)


def convert_to_hdf5(hdf5_filename: str, tfrecord_dir: str, compress: bool = False) -> None:
    """Writes a dataset with all levels and its labels to a new HDF5 file.

    Args:
        hdf5_filename: the file to make.
        tfrecord_dir: the dataset.
        compress: whether images are stored compressed.

    Raises:
        UserError: no dataset, or it is damaged, or the files exist or cannot be written, or the
            package h5py is missing.
    """
    h5py = _h5py()
    dataset = find_dataset(tfrecord_dir)
    with closing(LevelReader(dataset.levels[dataset.finest])) as reader:
        count = len(reader)
    labels = read_labels(dataset, count=count)
    labels_path = _labels_path(hdf5_filename)
    for path in (hdf5_filename, labels_path):
        check_free(path)
    try:
        with atomic_write(hdf5_filename, "w+b") as target:
            with h5py.File(target, "w") as file:
                images = tqdm(read_images(dataset), total=count, unit="img", disable=None)
                _write_levels(file, images, count, compress)
            if labels is not None:
                with atomic_write(labels_path) as labels_file:
                    np.save(labels_file, labels)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot write {os.path.abspath(hdf5_filename)}: {reason}") from error
    print(f"{hdf5_filename}: {count} images{'' if labels is None else f', labels: {labels_path}'}")


def hdf5_from_images(hdf5_filename: str, image_dir: str, compress: bool = False) -> None:
    """Writes the pictures of a folder, of one size, with all levels to a new HDF5 file.

    Args:
        hdf5_filename: the file to make.
        image_dir: folder or archive of pictures, which come in the order of their names.
        compress: whether images are stored compressed.

    Raises:
        UserError: no pictures, a picture is unreadable or of another size, or the file exists or
            cannot be written, or the package h5py is missing.
    """
    h5py = _h5py()
    check_free(hdf5_filename)
    source = images_source(image_dir, "none")
    items = ItemList(source.items)
    with PictureReader() as reader:
        images = _pictures(source, items, reader)
        try:
            with (
                atomic_write(hdf5_filename, "w+b") as target,
                h5py.File(target, "w") as file,
            ):
                bar = tqdm(images, total=len(items), unit="img", disable=None)
                _write_levels(file, bar, len(items), compress)
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise UserError(f"cannot write {os.path.abspath(hdf5_filename)}: {reason}") from error
    print(f"{hdf5_filename}: {len(items)} images")


def _pictures(source: Source, items: ItemList, reader: PictureReader) -> Iterator[np.ndarray]:
    """Pixels of the pictures, which all have the size of the first, uint8 [3, height, width]."""
    fit = None
    for number in range(len(items)):
        item = items[number]
        try:
            data = source.read(item)
            if fit is None:
                width, height = reader.size(data)
                if level_count(height, width) is None:
                    raise Unreadable(
                        f"it is {width}x{height}: expected a power of two, or a small grid "
                        "doubled several times"
                    )
                fit = Fit(height, width, exact=True)
            yield reader.fit(data, fit).pixels
        except Unreadable as error:
            raise UserError(f"{item.name}: {error}") from error


def hdf5(process: ChildProcess, path: str) -> Source:
    """The source of `create_from_hdf5`; `process` is one of `_answer`, which reads the file."""
    with closing(_open(path)) as file:
        data = _finest_level(file, path)
        name, (count, channels) = data.name, data.shape[:2]
    labels = _labels(_labels_path(path), count)

    def items() -> Iterator[Item]:
        for index in range(count):
            row = None if labels is None else tuple(labels[index].astype(np.float32).tolist())
            yield Item(f"{name}/{index}", row)

    def read(item: Item) -> np.ndarray:
        try:
            index = int(item.name.rpartition("/")[2])
            return process.call(path, index, seconds=_SECONDS, what="reading it")
        except UserError as error:
            raise Unreadable(f"the HDF5 file is damaged: {error}") from error

    return Source(items(), read, {"source": os.path.abspath(path)}, channels=channels)


def _answer(path: str, index: int) -> np.ndarray:
    """Runs in the process: an image."""
    try:
        return _images(path)[index]
    except (OSError, RuntimeError) as error:
        raise UserError(one_line(error)) from error


@functools.lru_cache(1)
def _images(path: str) -> Any:
    """The images of the file that the process reads."""
    return _finest_level(_open(path), path)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError("for HDF5 files a package is needed: pip install h5py") from error
    return h5py


def _open(path: str) -> Any:
    h5py = _h5py()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) or not h5py.is_hdf5(path):
            raise UserError(f"{path} is not an HDF5 file")
        return h5py.File(path, "r")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else one_line(error)
        raise UserError(f"cannot read HDF5 file {path}: {reason}") from error


def _finest_level(file: Any, path: str) -> Any:
    """The widest of the datasets `data…`, uint8 [images, channels, height, width]."""
    try:
        arrays = [_array(file, name, path) for name in file if name.startswith("data")]
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(f"HDF5 file {path} is damaged: {one_line(error)}") from error
    levels = [a for a in arrays if len(getattr(a, "shape", None) or ()) == 4]
    if not levels:
        raise UserError(
            f"{path} has no images: expected data4x4, data8x8, … of uint8 [images, channels, "
            "height, width]"
        )
    data = max(levels, key=lambda level: level.shape[3])
    if data.dtype != np.uint8 or data.shape[1] not in (1, 3, 4):
        raise UserError(
            f"{data.name} of {path} is {data.dtype} {list(data.shape)}, expected uint8 "
            "[images, 1, 3 or 4, height, width]"
        )
    _check_claims(data, path)
    return data


def _array(file: Any, name: str, path: str) -> Any:
    """What the file itself has by a name: links and pieces may be of any other file."""
    h5py = _h5py()
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise UserError(f"{name} of {path} is a link: copy the images that it is of into the file")
    array = file[name]
    # Before anything else, as already the size of a virtual one is looked up in other files.
    if isinstance(array, h5py.Dataset) and (array.is_virtual or array.external):
        raise UserError(
            f"{name} of {path} is stored in other files: copy the images into the file itself"
        )
    return array


def _check_claims(data: Any, path: str) -> None:
    """Raises a UserError for sizes that no such file has, before time or memory is spent on them.

    Args:
        data: uint8 [images, channels, height, width].
        path: the file.
    """
    what = f"{data.name} of {path}"
    count, *shape = data.shape
    if count > MAX_PICTURES or not all(1 <= side <= MAX_SIDE for side in shape):
        raise UserError(
            f"{what} is {list(data.shape)}: expected up to {MAX_PICTURES:,} images with sides of 1 "
            f"to {MAX_SIDE}"
        )
    chunk = data.chunks or (1, *shape)
    together = chunk[0] * math.prod(
        -(-side // step) * step for side, step in zip(shape, chunk[1:], strict=True)
    )
    if together > MAX_READ_BYTES:
        raise UserError(
            f"{what} is stored in chunks of {list(chunk)}: one image takes {together >> 20} MB to "
            f"read, expected up to {MAX_READ_BYTES >> 20}: write it again with smaller chunks"
        )
    stored, size = data.id.get_storage_size(), os.path.getsize(path)
    ratio = _MAX_RATIO if data.id.get_create_plist().get_nfilters() else 1
    if stored > size or stored * ratio < count * math.prod(shape):
        raise UserError(
            f"{what} is {list(data.shape)}, but {stored} bytes of images are stored in a file of "
            f"{size}: it is damaged, or was not written to its end"
        )


def _labels_path(hdf5_filename: str) -> str:
    return f"{os.path.splitext(hdf5_filename)[0]}-labels.npy"


def _labels(path: str, count: int) -> np.ndarray | None:
    """The rows of a label file, which stay on disk."""
    if not os.path.lexists(path):
        return None
    labels = map_matrix(path)
    if len(labels) != count or not labels.shape[1]:
        raise UserError(
            f"labels {path} do not fit: expected a matrix of numbers with {count} rows, one for "
            "each image"
        )
    return labels


def _write_levels(
    file: Any, images: Iterator[np.ndarray], count: int, compress: bool = False
) -> None:
    targets: list[Any] = []
    for number, image in enumerate(images):
        levels = image_levels(image)
        for level in [] if targets else levels:
            chunk = max(1, min(count, CHUNK_BYTES // level.size))
            targets.append(
                file.create_dataset(
                    f"data{level.shape[2]}x{level.shape[1]}",
                    (count, *level.shape),
                    np.uint8,
                    chunks=(chunk, *level.shape),
                    compression="gzip" if compress else None,
                )
            )
        for target, level in zip(targets, levels, strict=True):
            target[number] = level
