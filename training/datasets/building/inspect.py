"""Looking into datasets: `display`, `extract`, `compare`, `info` of dataset_tool.py."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import numpy as np
from PIL import ImageShow

from dnnlib import UserError
from dnnlib.files import check_free, staged_directory
from dnnlib.output import tqdm
from dnnlib.threads import map_in_threads
from dnnlib.util import one_line
from training.datasets.building.contact_sheet import COLUMNS, ROWS, ContactSheet
from training.datasets.format.dataset_files import DatasetFiles
from training.datasets.format.examples import parse_image
from training.datasets.format.find_dataset import choose_level, find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.level_files import LevelReader
from training.datasets.format.levels import finest_log2, level_count
from training.datasets.format.manifest import count_skipped, read_manifest
from training.datasets.format.tfrecords import read_payloads
from training.datasets.photos.arrays import to_picture

MAX_LISTED = 10  # indexes of different images that compare prints


def display(tfrecord_dir: str, output: str | None = None) -> None:
    """Shows the first images in a window, or says where a contact sheet of them is.

    Args:
        tfrecord_dir: the dataset.
        output: file to write the contact sheet to; None: a window, or the dataset's own sheet.

    Raises:
        UserError: No dataset, or it is damaged, or no contact sheet can be written.
    """
    dataset = find_dataset(tfrecord_dir, allow_part=True)
    sheet = first_images(dataset)
    if output is not None:
        check_free(output)
        sheet.save(os.path.abspath(output))
        print(f"the first {len(sheet.pictures)} images are in {output}")
        return
    on_screen = os.name == "nt" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if on_screen and ImageShow.show(sheet.image(), title=tfrecord_dir):
        return
    path = dataset.path("-contact-sheet.png")
    if not os.path.exists(path):  # As in datasets of the official tools.
        if not os.access(tfrecord_dir, os.W_OK):
            path = os.path.join(tempfile.mkdtemp(), os.path.basename(path))
        sheet.save(path)
    print(f"no screen to show them on: the first {len(sheet.pictures)} images are in {path}")


def extract(tfrecord_dir: str, output_dir: str, resolution: int | None = None) -> None:
    """Writes every image as img00000000.png, img00000001.png, ... and the labels.

    Labels go to dataset.json, {"labels": [[file name, label], ...], "label_names": [...]}: the
    number of the class, or the row of numbers where labels are not one-hot. Classes without a name
    are called by their numbers.

    Args:
        tfrecord_dir: the dataset.
        output_dir: folder to make.
        resolution: of the level; None: the finest.

    Raises:
        UserError: No dataset, or it is damaged or has no such level, or `output_dir` exists or
            cannot be written.
    """
    dataset = find_dataset(tfrecord_dir)
    level = choose_level(dataset, resolution)
    if level not in dataset.levels:
        raise UserError(f"{tfrecord_dir} holds the finest level only: leave out --resolution")
    count = _count(dataset, level)
    labels = read_labels(dataset, count=count)
    with staged_directory(output_dir) as folder:
        save = functools.partial(_save_png, folder)
        with closing(map_in_threads(save, enumerate(read_images(dataset, level)))) as results:
            files = list(tqdm(results, total=count, unit="img", disable=None))
        if labels is not None:
            one_hot = is_one_hot(labels)
            values = labels.argmax(axis=1) if one_hot else labels
            content = {"labels": [list(pair) for pair in zip(files, values.tolist(), strict=True)]}
            names = (read_manifest(dataset) or {}).get("label_names") or []
            if one_hot and len(names) != labels.shape[1]:
                # They also say how many classes there are, where no image is in some.
                names = list(map(str, range(labels.shape[1])))
            if names:
                content["label_names"] = names
            with open(os.path.join(folder, "dataset.json"), "w", encoding="utf-8") as file:
                json.dump(content, file)
    print(f"{output_dir}: {count} images{'' if labels is None else ' and dataset.json (labels)'}")


def compare(tfrecord_dir_a: str, tfrecord_dir_b: str, ignore_labels: bool = False) -> bool:
    """Compares two datasets, image by image in their order on every level, and prints the counts.

    Returns:
        Whether they are identical.

    Raises:
        UserError: One of them is no dataset or is damaged.
    """
    a, b = find_dataset(tfrecord_dir_a), find_dataset(tfrecord_dir_b)
    shape_a, shape_b = (next(read_images(dataset)).shape for dataset in (a, b))
    same = shape_a[1:] == shape_b[1:]
    if not same:
        print(f"resolutions differ: {_size(shape_a)} and {_size(shape_b)}")
    shared = sorted(a.levels.keys() & b.levels.keys(), reverse=True)
    if list(a.levels) != list(b.levels) and a.finest == b.finest:
        print("one of the datasets holds the finest level only")
    for log2 in shared:
        size = _size((0, shape_a[1] >> a.finest - log2, shape_a[2] >> a.finest - log2))
        with (
            closing(LevelReader(a.levels[log2])) as reader_a,
            closing(LevelReader(b.levels[log2])) as reader_b,
        ):
            same &= _compare_level(size, reader_a, reader_b)
    if not ignore_labels:
        same &= _compare_labels(read_labels(a), read_labels(b))
    print("the datasets are identical" if same else "the datasets differ")
    return bool(same and shared)


def info(tfrecord_dir: str) -> None:
    """Prints what the dataset holds, and reads all of it to check it.

    Raises:
        UserError: No dataset, or it is damaged; says where.
    """
    dataset = find_dataset(tfrecord_dir, allow_part=True)
    counts = {log2: _count(dataset, log2) for log2 in dataset.levels}
    count = counts[dataset.finest]
    labels, manifest = read_labels(dataset, count=count), read_manifest(dataset) or {}
    shape = next(read_images(dataset)).shape
    size = sum(entry.stat().st_size for entry in os.scandir(tfrecord_dir) if entry.is_file())
    print(f"dataset:    {tfrecord_dir}")
    print(f"resolution: {_size(shape)}")
    print(f"channels:   {shape[0]}")
    print(f"images:     {count}")
    print(f"levels:     {len(counts)} ({_span(dataset)})")
    if dataset.shards[1] > 1:
        print(f"shards:     {len(dataset.shards[0])} of {dataset.shards[1]}")
    if manifest.get("encoding", "raw") != "raw":
        print(f"encoding:   {one_line(manifest['encoding'])}")
    print(f"bytes:      {size} ({size / 1e6:.1f} MB)")
    if manifest:
        source = one_line(manifest.get("source", "unknown"))
        text = f"source:     {source}, {count_skipped(manifest)} files skipped"
        if copies := manifest.get("duplicates"):
            text += f", {copies} duplicate{'s' * (copies != 1)} left out"
        print(text)
        if profiles := manifest.get("profiles"):
            converted = profiles.get("converted", 0)
            ignored = sum(profiles.values()) - converted
            print(f"profiles:   {converted} converted to sRGB, {ignored} ignored")
    _print_labels(labels, manifest)
    for log2, images in counts.items():
        if images != count:
            where = dataset.levels[log2][0]
            raise UserError(f"{where} has {images} images, the finest level has {count}")
    _check_manifest(dataset, manifest, count, shape)
    for log2, paths in dataset.levels.items():
        k = dataset.finest - log2
        for path in paths:
            _check_file(path, (shape[0], shape[1] >> k, shape[2] >> k), len(paths) > 1)
    print(f"check:      passed, all {count * len(counts)} records read")


def read_images(dataset: DatasetFiles, log2: int | None = None) -> Iterator[np.ndarray]:
    """Yields the images of a level, uint8 [channels, height, width].

    Args:
        dataset: As from `find_dataset`.
        log2: The level; None for the finest.

    Raises:
        UserError: A file is damaged; names the record.
    """
    paths = dataset.levels[dataset.finest if log2 is None else log2]
    for path in paths:
        for number, payload in enumerate(read_payloads(path, may_be_empty=len(paths) > 1)):
            try:
                yield parse_image(payload)
            except ValueError as error:
                raise UserError(f"{path} is damaged: record {number}: {error}") from error


def first_images(dataset: DatasetFiles) -> ContactSheet:
    """The first images of a dataset, side by side."""
    sheet = ContactSheet()
    for image in islice(read_images(dataset), COLUMNS * ROWS):
        sheet.add(image)
    return sheet


def is_one_hot(labels: np.ndarray) -> bool:
    """Whether every row of float32 [images, label_size] has a single 1 among zeros."""
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def _count(dataset: DatasetFiles, log2: int) -> int:
    with closing(LevelReader(dataset.levels[log2])) as reader:
        return len(reader)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}x{shape[1]}"


def _span(dataset: DatasetFiles) -> str:
    first, last = min(dataset.levels), dataset.finest
    return f"r{first:02} to r{last:02}" if first < last else f"r{last:02} only"


def _parse(reader: LevelReader, number: int, payload: bytes) -> np.ndarray:
    try:
        return parse_image(payload)
    except ValueError as error:
        raise UserError(f"{reader.where(number)} is damaged: {error}") from error


def _save_png(folder: str, numbered: tuple[int, np.ndarray]) -> str:
    number, image = numbered
    name = f"img{number:08}.png"
    try:
        to_picture(image).save(os.path.join(folder, name))
    except OSError as error:
        raise UserError(f"cannot write {name} in {folder}: {error.strerror}") from error
    return name


def _compare_level(size: str, reader_a: LevelReader, reader_b: LevelReader) -> bool:
    counts = len(reader_a), len(reader_b)
    different = []
    for i, (a, b) in enumerate(zip(reader_a, reader_b, strict=False)):
        # Equal images may be stored as different bytes: the order of features is free.
        if a != b and not np.array_equal(_parse(reader_a, i, a), _parse(reader_b, i, b)):
            different.append(i)
    line = f"{size}: {min(counts) - len(different)} images identical, {len(different)} different"
    if different:
        more = ", ..." if len(different) > MAX_LISTED else ""
        line += f" ({', '.join(map(str, different[:MAX_LISTED]))}{more})"
    if counts[0] != counts[1]:
        line += f"; {counts[0]} and {counts[1]} images"
    print(line)
    return not different and counts[0] == counts[1]


def _compare_labels(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        if a is not b:
            print(f"labels: only the {'second' if a is None else 'first'} dataset has labels")
        return a is b
    if a.shape != b.shape:
        print(f"labels: sizes differ, {a.shape} and {b.shape}")
        return False
    different = int((a != b).any(axis=1).sum())
    print(f"labels: {len(a) - different} identical, {different} different")
    return different == 0


def _print_labels(labels: np.ndarray | None, manifest: dict) -> None:
    if labels is None:
        print("labels:     none")
        return
    one_hot = is_one_hot(labels)
    names = manifest.get("label_names") or []
    is_multi = not one_hot and len(names) == labels.shape[1] and bool(np.isin(labels, (0, 1)).all())
    kind = "one-hot" if one_hot else "several classes a picture" if is_multi else "not one-hot"
    print(f"labels:     size {labels.shape[1]}, {kind}")
    for i, number in enumerate(labels.sum(axis=0) if one_hot or is_multi else []):
        name = f" {one_line(names[i])}" if i < len(names) else ""
        print(f"  {i:4}{name}: {int(number)} images")


def _check_manifest(
    dataset: DatasetFiles, manifest: dict, count: int, shape: tuple[int, ...]
) -> None:
    facts = {"images": count, "channels": shape[0], "height": shape[1], "width": shape[2]}
    if shape[1] == shape[2]:
        facts["resolution"] = shape[1]
    for key, actual in facts.items():
        promised = manifest.get(key, actual)
        if promised != actual:
            raise UserError(
                f"the manifest of {dataset.folder} says {key} {promised}, the files hold {actual}"
            )
    if level_count(*shape[1:]) is None or finest_log2(*shape[1:]) != dataset.finest:
        raise UserError(f"{dataset.levels[dataset.finest][0]} has images of {_size(shape)}")


def _check_file(path: str, shape: tuple[int, ...], may_be_empty: bool) -> None:
    """Reads all records of a file: their checksums, and that they are images of this shape."""
    payloads = read_payloads(path, may_be_empty)
    bar = tqdm(payloads, unit="img", disable=None, desc=os.path.basename(path))
    for number, payload in enumerate(bar):
        try:
            got = parse_image(payload).shape
        except ValueError as error:
            raise UserError(f"{path} is damaged: record {number}: {error}") from error
        if got != shape:
            raise UserError(f"{path}: record {number} has shape {got}, expected {shape}")
