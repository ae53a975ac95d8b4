"""The official dataset format: a folder with one TFRecord file per resolution level.

    NAME/NAME-r02.tfrecords ... NAME-rNN.tfrecords   4x4 ... 2^NN x 2^NN, see `tfrecords`
    NAME/NAME-rxx.labels                             np.save of float32 [images, label_size]
    NAME/NAME.json                                   the manifest: how it was made; may be missing

Beyond the official format, as the manifest says: a level may be split into shards
(`NAME-r08-00000-of-00032.tfrecords`, in order), levels but the finest may be missing
(`"finest_only": true`), records may be encoded (`"encoding": "jpeg"`), and images need not be
square (`levels`).
"""

from __future__ import annotations

import io
import json
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError
from dnnlib.system import open_for_reading, read_at
from dnnlib.util import one_line
from training.datasets.levels import BASE_LOG2, image_levels
from training.datasets.tfrecords import RAW, Encoding, frame, index_records, mapped, serialize_image

TOOL_VERSION = "1.1"
_LEVEL_FILE = re.compile(r"(?s)(.*?)-r(0[2-9]|[1-9]\d)(?:-(\d{5})-of-(\d{5}))?\.tfrecords")


@dataclass(frozen=True)
class Shard:
    """Which part of a level a file holds: number `index` of `count`."""

    index: int = 0
    count: int = 1


WHOLE = Shard()


def level_path(folder: str, name: str, log2: int, shard: Shard = WHOLE) -> str:
    """Path of a level's file, or of one shard of it."""
    part = f"-{shard.index:05}-of-{shard.count:05}" if shard.count > 1 else ""
    return os.path.join(folder, f"{name}-r{log2:02}{part}.tfrecords")


class RecordWriter:
    """Writes the images of one dataset, or of one shard, into a folder, best a staged one.

    Use as a context manager; the files are complete when the block has ended.

    Args:
        folder: Where the files go; must exist. `name` is the NAME in the names of the files.
        levels: log2 of the levels that are written, as from `levels.finest_log2`, finest first.
        encoding: How the records hold pixels.
        shard: What part of the dataset this is.

    Attributes:
        count: images written.

    Raises:
        UserError: A file cannot be written, for example since the disk is full.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        levels: list[int],
        encoding: Encoding = RAW,
        shard: Shard = WHOLE,
    ):
        self.folder = folder
        self.name = name
        self.count = 0
        self.levels = levels
        self.encoding = encoding
        self._shard = shard
        self._files: list = []

    def __enter__(self) -> RecordWriter:
        try:
            for log2 in self.levels:
                path = level_path(self.folder, self.name, log2, self._shard)
                self._files.append(open(path, "wb", buffering=1 << 18))
        except OSError as error:
            raise self._user_error(error) from error
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        for file in self._files:
            try:
                file.close()
            except OSError as close_error:
                if error_type is None:
                    raise self._user_error(close_error) from close_error

    def add(self, image: np.ndarray) -> None:
        """Writes one image, uint8 [channels, height, width]."""
        self.write(serialize_levels(image_levels(image, len(self.levels)), self.encoding))

    def write(self, frames: list[tuple[bytes, ...]]) -> None:
        """Writes one image that is given as the records of all levels, finest first."""
        try:
            for file, parts in zip(self._files, frames, strict=True):
                file.writelines(parts)
        except OSError as error:
            raise self._user_error(error) from error
        self.count += 1

    def _user_error(self, error: OSError) -> UserError:
        reason = error.strerror or one_line(error)
        return UserError(f"cannot write dataset {self.name} in {self.folder}: {reason}")


def serialize_levels(levels: list[np.ndarray], encoding: Encoding) -> list[tuple[bytes, ...]]:
    """The records of one image, as `RecordWriter.write` takes them; needs no lock."""
    return [frame(serialize_image(level, encoding)) for level in levels]


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a dataset.

    Attributes:
        folder, name: NAME in the names of the files; differs from the folder's when that was
            renamed.
        levels: log2 of the level -> its files in the order of the images; ascending.
        shards: numbers of the shards that are there, and how many there should be.
    """

    folder: str
    name: str
    levels: dict[int, list[str]]
    shards: tuple[list[int], int]

    @property
    def finest(self) -> int:
        """log2 of the finest level."""
        return max(self.levels)

    @property
    def is_part(self) -> bool:
        """Whether shards are missing, as where several machines write one dataset."""
        return len(self.shards[0]) < self.shards[1]

    def path(self, suffix: str) -> str:
        """Path of `NAME<suffix>`."""
        return os.path.join(self.folder, self.name + suffix)


def find_dataset(tfrecord_dir: str, allow_part: bool = False) -> DatasetFiles:
    """Finds the TFRecord files of a dataset.

    Args:
        tfrecord_dir: The dataset's folder.
        allow_part: accept a dataset of which some shards are elsewhere.

    Raises:
        UserError: No dataset in the folder, more than one, or a file is missing.
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
    levels: dict[int, dict[int, str]] = {}
    counts = {int(match[4] or 1) for match in found}
    if len(counts) > 1:
        raise UserError(f"{tfrecord_dir} mixes shards of different datasets: {sorted(counts)}")
    for match in found:
        path = os.path.join(tfrecord_dir, match[0])
        levels.setdefault(int(match[2]), {})[int(match[3] or 0)] = path
    shards = sorted(levels[max(levels)])
    dataset = DatasetFiles(
        tfrecord_dir,
        names[0],
        {log2: [paths[s] for s in sorted(paths)] for log2, paths in sorted(levels.items())},
        (shards, counts.pop()),
    )
    _check_complete(dataset, levels, allow_part)
    return dataset


def _check_complete(
    dataset: DatasetFiles, levels: dict[int, dict[int, str]], allow_part: bool
) -> None:
    present, count = dataset.shards
    needed = range(BASE_LOG2, dataset.finest)
    if len(levels) == 1 and (read_manifest(dataset) or {}).get("finest_only") is True:
        needed = range(0)
    for log2 in (*needed, dataset.finest):
        for shard in present:
            if shard not in levels.get(log2, {}):
                path = level_path(dataset.folder, dataset.name, log2, Shard(shard, count))
                raise UserError(f"dataset {dataset.folder} is incomplete: {path} is missing")
    _check_files(dataset)
    if dataset.is_part and not allow_part:
        raise UserError(
            f"{dataset.folder} holds {len(present)} of {count} shards of a dataset: "
            "join all parts with dataset_tool.py merge"
        )


def _check_files(dataset: DatasetFiles) -> None:
    """Raises a UserError unless all files are there that the manifest lists, of their size."""
    manifest = read_manifest(dataset) or {}
    for entry in manifest.get("levels") or ():
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            continue
        path = os.path.join(dataset.folder, entry["file"])
        size = os.path.getsize(path) if os.path.isfile(path) else None
        if size is None:
            raise UserError(f"dataset {dataset.folder} is incomplete: {path} is missing")
        if "bytes" in entry and size != entry["bytes"]:
            what = "truncated" if size < entry["bytes"] else "damaged"
            raise UserError(
                f"{path} is {what}: it has {size} bytes, expected {entry['bytes']}: copy it again"
            )
    path = dataset.path("-rxx.labels")
    if manifest.get("label_names") and not os.path.exists(path):
        raise UserError(f"dataset {dataset.folder} is incomplete: {path} is missing")


class LevelReader:
    """Random access to the images of one level, whatever number of files it is in.

    Threads may share it.

    Args:
        paths: Files of the level, in order.

    Raises:
        UserError: A file is missing, damaged or no TFRecord file.
    """

    def __init__(self, paths: list[str]):
        self.paths = paths
        self._descriptors: list[int] = []
        indexes = [index_records(path, may_be_empty=len(paths) > 1) for path in paths]
        self.shard_counts = [len(index) for index in indexes]
        self._starts = np.cumsum([0, *self.shard_counts])
        self._index = np.concatenate(indexes)
        try:
            for path in paths:
                self._descriptors.append(open_for_reading(path))
        except OSError as error:
            raise UserError(f"cannot read TFRecord file {path}: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._index)

    def payload(self, number: int) -> bytes:
        """The bytes of a record."""
        file = int(np.searchsorted(self._starts, number, side="right")) - 1
        offset, length = self._index[number].tolist()
        return read_at(self._descriptors[file], length, offset)

    def where(self, number: int) -> str:
        """Names a record in messages."""
        file = int(np.searchsorted(self._starts, number, side="right")) - 1
        return f"record {number - int(self._starts[file])} of {self.paths[file]}"

    def __iter__(self) -> Iterator[bytes]:
        return (self.payload(i) for i in range(len(self)))

    def close(self) -> None:
        """Closes the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def write_labels(path: str, rows: Iterator[np.ndarray], count: int, label_size: int) -> None:
    """Writes a label file, chunk by chunk.

    Args:
        path: The file.
        rows: float32 [n, label_size], together [count, label_size].

    Raises:
        UserError: The file cannot be written.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, label_size)}
    try:
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in rows:
                file.write(np.ascontiguousarray(chunk, "<f4").data)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def read_labels(dataset: DatasetFiles, path: str | None = None) -> np.ndarray | None:
    """The labels, float32 [images, label_size], or None where the dataset has none.

    Args:
        dataset: As from `find_dataset`.
        path: Label file to read instead of the dataset's own; a relative path is also looked for
            in the dataset's folder. None for the dataset's own.

    Raises:
        UserError: The label file is damaged, or the given one is missing.
    """
    if path is None:
        path = dataset.path("-rxx.labels")
        if not os.path.lexists(path):
            return None
    elif not os.path.exists(path):
        path = os.path.join(dataset.folder, path)
    try:
        labels = load_array(path)
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise UserError(f"cannot read labels {path}: {one_line(error)}") from error
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "fiub":
        raise UserError(f"labels {path} are not a matrix of numbers, one row per image")
    return np.asarray(labels, dtype=np.float32).copy()


def load_array(path: str) -> np.ndarray:
    """The array in an .npy file, mapped where the file system can do that.

    A damaged header cannot ask for more memory than the file has.

    Raises:
        OSError, ValueError, EOFError, OverflowError: the file cannot be read.
    """
    with open(path, "rb") as file, mapped(file) as content:
        if isinstance(content, mmap.mmap):
            return np.load(path, allow_pickle=False, mmap_mode="r")
        return np.load(io.BytesIO(content[:]), allow_pickle=False)


def write_manifest(folder: str, name: str, manifest: dict) -> None:
    """Writes NAME.json: the tool's version, `manifest`, the level files; UserError if it cannot."""
    levels = [
        {"file": file, "bytes": os.path.getsize(os.path.join(folder, file))}
        for file in sorted(os.listdir(folder))
        if file.endswith(".tfrecords")
    ]
    content = {"dataset_tool": TOOL_VERSION, **manifest, "levels": levels}
    try:
        with open(os.path.join(folder, f"{name}.json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {name}.json in {folder}: {error.strerror}") from error


def read_manifest(dataset: DatasetFiles) -> dict | None:
    """What `write_manifest` wrote, or None for a dataset without manifest, like an official one.

    Raises:
        UserError: The manifest is damaged.
    """
    path = dataset.path(".json")
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
