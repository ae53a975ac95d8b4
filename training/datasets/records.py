"""The official dataset format: a folder with one TFRecord file per resolution level.

    NAME/NAME-r02.tfrecords ... NAME-rNN.tfrecords   4x4 ... 2^NN x 2^NN, one tf.train.Example each:
                                                     shape int64[3] (CHW), data: raw uint8 bytes
    NAME/NAME-rxx.labels                             np.save of float32 [images, label_size]
    NAME/NAME.json                                   the manifest: how it was made; may be missing

TensorFlow is imported where it is needed, so that errors which do not need it appear at once.
"""

from __future__ import annotations

import functools
import json
import mmap
import os
import re
import struct

import numpy as np

from dnnlib import UserError
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import one_line

TOOL_VERSION = "1.0"
MIN_RESOLUTION = 4
MAX_RESOLUTION = 4096
HEADER_BYTES = 12  # uint64 length, uint32 masked CRC-32C of the length
FRAME_BYTES = HEADER_BYTES + 4  # ... payload, uint32 masked CRC-32C of the payload
_LEVEL_FILE = re.compile(r"(?s)(.*)-r(0[2-9]|[1-9]\d)\.tfrecords")


def image_levels(image: np.ndarray) -> list[np.ndarray]:
    """An image at every resolution from its own down to 4x4, finest first.

    Each level is the 2x2 box mean of the float32 level above; only the results are rounded.

    Args:
        image: uint8 or float32 [channels, size, size] in [0, 255], size a power of two from 4.

    Returns:
        uint8 arrays [channels, size, size], [channels, size/2, size/2], ... [channels, 4, 4].

    Raises:
        ValueError: The shape is another.
    """
    if image.ndim != 3 or image.shape[1] != image.shape[2] or not is_resolution(image.shape[1]):
        raise ValueError(f"shape {image.shape} is not [channels, size, size], size a power of two")
    level = image.astype(np.float32)
    levels = []
    while True:
        levels.append(np.rint(level).clip(0, 255).astype(np.uint8))
        if level.shape[1] == MIN_RESOLUTION:
            return levels
        rows = level[:, 0::2] + level[:, 1::2]
        level = (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25)


def is_resolution(size: int) -> bool:
    """Whether `size` is a resolution that a dataset can have: a power of two from 4 to 4096."""
    return MIN_RESOLUTION <= size <= MAX_RESOLUTION and size & (size - 1) == 0


class RecordWriter:
    """Writes the files of one dataset into a folder, which is best a staged one.

    Use as a context manager; the files are complete when the block has ended.

    Args:
        folder: Where the files go; must exist. `name` is the NAME in the names of the files.
        resolution: Height and width of the images, a power of two; num_channels: 3 or 1.

    Raises:
        UserError: A file cannot be written, for example since the disk is full.
    """

    def __init__(self, folder: str, name: str, resolution: int, num_channels: int = 3):
        if not is_resolution(resolution):
            raise ValueError(f"resolution {resolution} is not a power of two from 4 to 4096")
        self.folder = folder
        self.name = name
        self.count = 0
        levels = resolution.bit_length() - 2
        self._shapes = [(num_channels, resolution >> k, resolution >> k) for k in range(levels)]
        self._writers: list = []

    def __enter__(self) -> RecordWriter:
        self._tf = load_tensorflow()
        self._write_errors = (OSError, self._tf.errors.OpError)
        try:
            for _, size, _ in self._shapes:
                path = level_path(self.folder, self.name, size)
                self._writers.append(self._tf.io.TFRecordWriter(path))
        except self._write_errors as error:
            raise self._user_error(error) from error
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        for writer in self._writers:
            try:
                writer.close()
            except self._write_errors as close_error:
                if error_type is None:
                    raise self._user_error(close_error) from close_error

    def add(self, image: np.ndarray) -> None:
        """Writes one image, uint8 or float32 [channels, resolution, resolution] in [0, 255]."""
        self.add_levels(image_levels(image))

    def add_levels(self, levels: list[np.ndarray]) -> None:
        """Writes one image that is given at every level, as from `image_levels`."""
        if [(level.shape, level.dtype) for level in levels] != [(s, "uint8") for s in self._shapes]:
            raise ValueError(f"levels {[a.shape for a in levels]} are not uint8 {self._shapes}")
        try:
            for writer, level in zip(self._writers, levels, strict=True):
                writer.write(self._example(level))
        except self._write_errors as error:
            raise self._user_error(error) from error
        self.count += 1

    def add_labels(self, labels: np.ndarray | None) -> None:
        """Writes the labels of all images, float32 [images, label_size]; None writes no file."""
        if labels is None:
            return
        if labels.ndim != 2 or len(labels) != self.count:
            raise ValueError(f"labels {labels.shape} do not fit {self.count} images")
        try:
            with open(os.path.join(self.folder, f"{self.name}-rxx.labels"), "wb") as file:
                np.save(file, labels.astype(np.float32))
        except OSError as error:
            raise self._user_error(error) from error

    def _example(self, image: np.ndarray) -> bytes:
        train = self._tf.train
        shape = train.Feature(int64_list=train.Int64List(value=image.shape))
        data = train.Feature(bytes_list=train.BytesList(value=[image.tobytes()]))
        features = train.Features(feature={"shape": shape, "data": data})
        # Deterministic fixes the order of the two, which is arbitrary otherwise.
        return train.Example(features=features).SerializeToString(deterministic=True)

    def _user_error(self, error: Exception) -> UserError:
        reason = getattr(error, "strerror", None) or one_line(getattr(error, "message", error))
        return UserError(f"cannot write dataset {self.name} in {self.folder}: {reason}")


def level_path(folder: str, name: str, resolution: int) -> str:
    """Path of a level's file."""
    return os.path.join(folder, f"{name}-r{resolution.bit_length() - 1:02}.tfrecords")


def find_levels(tfrecord_dir: str) -> dict[int, str]:
    """Finds the TFRecord files of a dataset.

    Returns:
        log2 of the resolution -> path, ascending from 2.

    Raises:
        UserError: No dataset in the folder, more than one, or a level's file is missing.
    """
    try:
        files = sorted(os.listdir(tfrecord_dir))
    except OSError as error:
        raise UserError(f"cannot open dataset folder {tfrecord_dir}: {error.strerror}") from error
    found = [match for match in map(_LEVEL_FILE.fullmatch, files) if match]
    if not found:
        raise UserError(
            f"{tfrecord_dir} is no dataset: it holds no NAME-rNN.tfrecords files; "
            "make one with dataset_tool.py create_from_images"
        )
    names = sorted({match[1] for match in found})
    if len(names) > 1:
        raise UserError(f"{tfrecord_dir} holds more than one dataset: {', '.join(names)}")
    levels = {int(match[2]): os.path.join(tfrecord_dir, match[0]) for match in found}
    for log2 in range(2, max(levels)):
        if log2 not in levels:
            missing = level_path(tfrecord_dir, names[0], 1 << log2)
            raise UserError(f"dataset {tfrecord_dir} is incomplete: {missing} is missing")
    return dict(sorted(levels.items()))


def dataset_name(tfrecord_dir: str) -> str:
    """NAME of the dataset's files; differs from the folder's name when that was renamed."""
    return os.path.basename(find_levels(tfrecord_dir)[2]).removesuffix("-r02.tfrecords")


def read_labels(tfrecord_dir: str, path: str | None = None) -> np.ndarray | None:
    """The labels, float32 [images, label_size], or None where the dataset has none.

    Args:
        tfrecord_dir: The dataset.
        path: Label file to read instead of the dataset's own; a relative path is also looked for
            in the dataset's folder. None for the dataset's own.

    Raises:
        UserError: No dataset, or the label file is damaged, or the given one is missing.
    """
    if path is None:
        path = os.path.join(tfrecord_dir, f"{dataset_name(tfrecord_dir)}-rxx.labels")
        if not os.path.lexists(path):
            return None
    elif not os.path.exists(path):
        path = os.path.join(tfrecord_dir, path)
    try:
        # Mapped, so that a damaged header cannot ask for more memory than the file has.
        labels = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise UserError(f"cannot read labels {path}: {one_line(error)}") from error
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "fiub":
        raise UserError(f"labels {path} are not a matrix of numbers, one row per image")
    return np.asarray(labels, dtype=np.float32).copy()


def write_manifest(folder: str, name: str, manifest: dict) -> None:
    """Writes NAME.json: the tool's version, `manifest`, the level files; UserError if it cannot."""
    levels = [
        {"file": os.path.basename(path), "resolution": 1 << log2, "bytes": os.path.getsize(path)}
        for log2, path in find_levels(folder).items()
    ]
    content = {"dataset_tool": TOOL_VERSION, **manifest, "levels": levels}
    try:
        with open(os.path.join(folder, f"{name}.json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {name}.json in {folder}: {error.strerror}") from error


def read_manifest(tfrecord_dir: str) -> dict | None:
    """What `write_manifest` wrote, or None for a dataset without manifest, like an official one.

    Raises:
        UserError: No dataset, or the manifest is damaged.
    """
    path = os.path.join(tfrecord_dir, f"{dataset_name(tfrecord_dir)}.json")
    if not os.path.lexists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read manifest {path}: {one_line(error)}") from error
    if not isinstance(manifest, dict):
        raise UserError(f"manifest {path} is not a JSON object")
    return manifest


def index_records(path: str) -> np.ndarray:
    """Finds the records in a TFRecord file; the checksums of the payloads are not verified.

    Returns:
        int64 [records, 2]: offset and length in bytes of each payload.

    Raises:
        UserError: The file cannot be read, is empty, truncated, or no TFRecord file.
    """
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # mmap's word for a file without bytes
        raise UserError(f"TFRecord file {path} is empty") from error
    except OSError as error:
        raise UserError(f"cannot read TFRecord file {path}: {error.strerror}") from error
    with data:
        index = _index_equal_lengths(data) if len(data) >= FRAME_BYTES else None
        return _index_any_lengths(path, data) if index is None else index


def _index_equal_lengths(data: mmap.mmap) -> np.ndarray | None:
    """The index if all records are as long as the first, else None."""
    length, crc = struct.unpack("<QI", data[:HEADER_BYTES])
    if len(data) % (length + FRAME_BYTES) or crc != _length_crc(length):
        return None
    frames = np.frombuffer(data, np.uint8).reshape(-1, length + FRAME_BYTES)
    headers = frames[:, :HEADER_BYTES].copy()
    del frames  # it keeps the file open
    if (headers != headers[0]).any():
        return None
    offsets = np.arange(len(headers), dtype=np.int64) * (length + FRAME_BYTES) + HEADER_BYTES
    return np.stack([offsets, np.full_like(offsets, length)], axis=1)


def _index_any_lengths(path: str, data: mmap.mmap) -> np.ndarray:
    index, position, size = [], 0, len(data)
    while position < size:
        where = f"record {len(index)} at byte {position}"
        header = data[position : position + HEADER_BYTES]
        length, crc = struct.unpack("<QI", header) if len(header) == HEADER_BYTES else (size, None)
        if crc not in (None, _length_crc(length)):
            what = "damaged" if index else "not a TFRecord file"
            raise UserError(f"{path} is {what}: {where} has a wrong length checksum")
        if length > size - position - FRAME_BYTES:
            raise UserError(f"TFRecord file {path} is truncated: {where} is not whole")
        index.append((position + HEADER_BYTES, length))
        position += length + FRAME_BYTES
    return np.array(index, dtype=np.int64)


@functools.lru_cache(maxsize=1024)
def _length_crc(length: int) -> int:
    """Masked CRC-32C of a record's length, as in its header."""
    crc = 0xFFFFFFFF
    for byte in struct.pack("<Q", length):
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def parse_image(payload: bytes) -> np.ndarray:
    """Decodes one record.

    Returns:
        uint8 [channels, height, width], a read-only view of the payload's bytes.

    Raises:
        ValueError: The payload is not a tf.train.Example with a fitting shape and data.
    """
    tf = load_tensorflow()
    try:
        feature = tf.train.Example.FromString(payload).features.feature
    except Exception as error:  # protobuf's DecodeError has moved between modules
        raise ValueError("not a tf.train.Example") from error
    if "shape" not in feature or "data" not in feature:
        raise ValueError(f"expected features shape and data, got {sorted(feature) or 'none'}")
    shape = tuple(feature["shape"].int64_list.value)
    data = feature["data"].bytes_list.value
    if len(shape) != 3 or min(shape) < 1 or len(data) != 1:
        raise ValueError(f"shape {list(shape)} with {len(data)} data is not one CHW image")
    if len(data[0]) != shape[0] * shape[1] * shape[2]:
        raise ValueError(f"shape {list(shape)} does not fit {len(data[0])} bytes of data")
    return np.frombuffer(data[0], np.uint8).reshape(shape)
