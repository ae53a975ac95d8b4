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

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from dnnlib import UserError, schema
from dnnlib.file_kinds import KINDS, recognize
from dnnlib.files import open_regular
from dnnlib.schema import Range
from dnnlib.system import open_for_reading, read_at
from dnnlib.util import one_line
from training.datasets.format.levels import BASE_LOG2, image_levels
from training.datasets.format.matrices import map_matrix
from training.datasets.format.passed_over import other_dataset, paths_below
from training.datasets.format.tfrecords import (
    RAW,
    Encoding,
    frame,
    index_records,
    parse_image,
    serialize_image,
)

MAX_LABEL_SIZE = 1_000_000
TOOL_VERSION = "1.1"
_WANTED_FILES = 8192  # open at once, where the system allows it
_KEPT_OPEN = 32  # of a level, where nobody tells how many files may be open
_LEVEL_FILE = re.compile(r"(?s)(.*?)-r(0[2-9]|[1-9]\d)(?:-(\d{5})-of-(\d{5}))?\.tfrecords")


_Count = Annotated[int, Range(0, 1 << 53)]


@dataclass(frozen=True)
class _LevelFile:
    file: str
    bytes: _Count = 0


@dataclass(frozen=True)
class _SkippedFile:
    file: str
    reason: str


# What is read of a manifest; the rest is for people.
_MANIFEST = {
    "source": str,
    "images": _Count,
    "channels": _Count,
    "height": _Count,
    "width": _Count,
    "resolution": _Count,
    "encoding": str,
    "finest_only": bool,
    "shards": _Count,
    "shard_images": list[_Count],
    "levels": list[_LevelFile],
    "label_names": list[str],
    "label_ids": list[int | str],
    "skipped": list[_SkippedFile],
    "more_skipped": _Count,
    "listing_skipped": _Count,
    "profiles": dict[str, _Count],
}


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
        reason = error.strerror
        with contextlib.suppress(OSError):
            kind = recognize(tfrecord_dir)
            if kind is not KINDS["folder"]:
                reason = (
                    f"it is {kind.name}; give the folder of a dataset, or make one with "
                    "dataset_tool.py create_from_images"
                )
        raise UserError(f"cannot open dataset folder {tfrecord_dir}: {reason}") from error
    # macOS puts ._NAME beside each file on disks of others.
    files = [name for name in files if not name.startswith(".")]
    found = [match for match in map(_LEVEL_FILE.fullmatch, files) if match]
    if not found:
        raise UserError(f"{tfrecord_dir} is no dataset: {_instead(tfrecord_dir)}")
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
    _check_kind(dataset)
    _check_complete(dataset, levels, allow_part)
    return dataset


def choose_level(dataset: DatasetFiles, resolution: int | None) -> int:
    """log2 of a resolution that a dataset has, of the finest for None; else raises a UserError."""
    if resolution is None:
        return dataset.finest
    log2 = int(resolution).bit_length() - 1
    if resolution != 2**log2 or not BASE_LOG2 <= log2 <= dataset.finest:
        raise UserError(
            f"dataset {dataset.folder} has no level of resolution {resolution}: "
            f"it has powers of two from 4 to {2**dataset.finest}"
        )
    return log2


def _instead(folder: str) -> str:
    """What a folder holds that has no files of a dataset, and what to do."""
    paths = list(paths_below(folder))
    for path in paths:
        if os.path.dirname(path) and _LEVEL_FILE.fullmatch(os.path.basename(path)):
            return f"give the folder of one, like {os.path.join(folder, os.path.dirname(path))}"
    other = other_dataset(paths)
    if other and not other.has_photos:
        return f"it holds {other.name}: {other.way_on}"
    return "it holds no NAME-rNN.tfrecords files; make one with dataset_tool.py create_from_images"


def _check_kind(dataset: DatasetFiles) -> None:
    """Raises a UserError for a file that has the name of a level and is something else."""
    if read_manifest(dataset) is not None:
        return
    path = dataset.levels[dataset.finest][0]
    try:
        kind = recognize(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if kind.group in ("archive", "special", "text") or kind is KINDS["lfs"]:
        raise UserError(f"{path} is no level of a dataset but {kind.said}")


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
                _check_first_record(dataset.levels[dataset.finest][0])
                path = level_path(dataset.folder, dataset.name, log2, Shard(shard, count))
                raise UserError(f"dataset {dataset.folder} is incomplete: {path} is missing")
    _check_files(dataset)
    if dataset.is_part and not allow_part:
        raise UserError(
            f"{dataset.folder} holds {len(present)} of {count} shards of a dataset: "
            "join all parts with dataset_tool.py merge"
        )


def _check_first_record(path: str) -> None:
    """Raises a UserError if a file holds records of another kind, like those of other programs."""
    index = index_records(path, may_be_empty=True)
    try:
        for offset, length in index[:1].tolist():
            with open_regular(path) as file:
                file.seek(offset)
                parse_image(file.read(length))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no level of a dataset: record 0: {error}") from error


def _check_files(dataset: DatasetFiles) -> None:
    """Raises a UserError unless all files are there that the manifest lists, of their size."""
    manifest = read_manifest(dataset) or {}
    for entry in manifest.get("levels", ()):
        file = entry["file"]
        if not _LEVEL_FILE.fullmatch(file) or os.path.basename(file) != file:
            what = one_line(file, 100)
            raise UserError(f"manifest {dataset.path('.json')}: {what} is no file of a level")
        path = os.path.join(dataset.folder, file)
        size = os.path.getsize(path) if os.path.isfile(path) else None
        if size is None:
            raise UserError(f"dataset {dataset.folder} is incomplete: {path} is missing")
        if size != entry.get("bytes", size):
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
        for path in paths[: _files_to_keep_open()]:
            self._descriptors.append(_open(path))

    def __len__(self) -> int:
        return len(self._index)

    def payload(self, number: int) -> bytes:
        """The bytes of a record."""
        file = int(np.searchsorted(self._starts, number, side="right")) - 1
        offset, length = self._index[number].tolist()
        if file < len(self._descriptors):
            return read_at(self._descriptors[file], length, offset)
        descriptor = _open(self.paths[file])
        try:
            return read_at(descriptor, length, offset)
        finally:
            os.close(descriptor)

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


def _open(path: str) -> int:
    try:
        return open_for_reading(path)
    except OSError as error:
        raise UserError(f"cannot read TFRecord file {path}: {error.strerror}") from error


def _files_to_keep_open() -> int:
    """How many files of one level may stay open; further ones are opened whenever they are read.

    A process may usually have 1,024 files open unless it asks for more, and has a dozen levels.
    """
    try:
        import resource
    except ImportError:  # Windows
        return _KEPT_OPEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _WANTED_FILES // 16 if soft == resource.RLIM_INFINITY else max(1, soft // 16)


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


def read_labels(
    dataset: DatasetFiles, path: str | None = None, count: int | None = None
) -> np.ndarray | None:
    """The labels, float32 [images, label_size], or None where the dataset has none.

    Args:
        dataset: As from `find_dataset`.
        path: Label file to read instead of the dataset's own; a relative path is also looked for
            in the dataset's folder. None for the dataset's own.
        count: How many images there are; None where others check that.

    Raises:
        UserError: The label file is damaged, or the given one is missing, it has another number of
            rows, or a label is not finite.
    """
    if path is None:
        path = dataset.path("-rxx.labels")
        if not os.path.lexists(path):
            return None
    elif not os.path.exists(path):
        path = os.path.join(dataset.folder, path)
    labels = map_matrix(path)
    if count is not None and len(labels) != count:
        raise UserError(
            f"label count: {path} has {len(labels)} labels, but {dataset.folder} {count} images: "
            "build the dataset anew"
        )
    if labels.shape[1] > MAX_LABEL_SIZE:
        raise UserError(
            f"labels {path} have {labels.shape[1]} columns: expected at most {MAX_LABEL_SIZE}"
        )
    with np.errstate(over="ignore"):  # what is too large is named below
        labels = np.array(labels, dtype=np.float32)
    check_finite(labels, f"labels {path}")
    return labels


def check_finite(labels: np.ndarray, what: str) -> None:
    """Raises a UserError that names the first of the rows with a number that is not finite."""
    bad = np.flatnonzero(~np.isfinite(labels).all(axis=1))
    if len(bad):
        column = int(np.flatnonzero(~np.isfinite(labels[bad[0]]))[0])
        raise UserError(
            f"{what}: row {bad[0]}, column {column} is {labels[bad[0], column]}, which is no "
            f"finite number; so {'is' if len(bad) == 1 else 'are'} {len(bad)} of {len(labels)} "
            "rows: build the dataset anew from labels without gaps"
        )


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


def read_manifest(dataset: DatasetFiles) -> dict[str, Any] | None:
    """What `write_manifest` wrote, or None for a dataset without manifest, like an official one.

    Raises:
        UserError: The manifest is damaged.
    """
    path = dataset.path(".json")
    if not os.path.lexists(path):
        return None
    try:
        manifest = schema.read_json(path, dict[str, Any])
        for key, kind in _MANIFEST.items():
            if key in manifest:
                schema.parse(kind, manifest[key], key)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot read manifest {path}: {reason}") from error
    except UserError as error:
        raise UserError(f"cannot read manifest {path}: {error}") from error
    return manifest


def count_skipped(manifest: dict[str, Any]) -> int:
    """How many files were left out, those included that the manifest does not name."""
    return len(manifest.get("skipped") or ()) + manifest.get("more_skipped", 0)
