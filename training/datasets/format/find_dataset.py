"""Finds the files of a dataset, and checks that all are there."""

from __future__ import annotations

import contextlib
import os

from dnnlib import UserError
from dnnlib.file_kinds import KINDS, recognize
from dnnlib.files import open_regular
from dnnlib.util import one_line
from training.datasets.format.dataset_files import LEVEL_FILE, DatasetFiles, Shard, level_path
from training.datasets.format.examples import parse_image
from training.datasets.format.levels import BASE_LOG2
from training.datasets.format.manifest import read_manifest
from training.datasets.format.passed_over import other_dataset, paths_below
from training.datasets.format.tfrecords import index_records


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
    found = [match for match in map(LEVEL_FILE.fullmatch, files) if match]
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
        if os.path.dirname(path) and LEVEL_FILE.fullmatch(os.path.basename(path)):
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
        if not LEVEL_FILE.fullmatch(file) or os.path.basename(file) != file:
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
