"""Looking into datasets: `display`, `extract`, `compare`, `info` of dataset_tool.py."""

from __future__ import annotations

import functools
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import numpy as np
from PIL import Image, ImageShow
from tqdm import tqdm

from dnnlib import UserError
from dnnlib.files import atomic_write, staged_directory
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import one_line
from training.datasets.images import map_in_order
from training.datasets.records import (
    dataset_name,
    find_levels,
    index_records,
    parse_image,
    read_labels,
    read_manifest,
)

SHEET_COLUMNS, SHEET_ROWS = 12, 8
SHEET_LOG2 = 7  # a contact sheet shows images of at most 128x128
SHEET_SCALE_BELOW = 64  # smaller ones are enlarged to this size
MAX_LISTED = 10  # indexes of different images that compare prints


def display(tfrecord_dir: str) -> None:
    """Shows the first images as a contact sheet, in a window or else as a PNG file.

    Raises:
        UserError: No dataset, or it is damaged, or the file cannot be written.
    """
    levels = find_levels(tfrecord_dir)
    path = levels[min(SHEET_LOG2, max(levels))]
    images = [to_picture(a) for a in islice(read_images(path), SHEET_COLUMNS * SHEET_ROWS)]
    sheet = contact_sheet(images)
    on_screen = os.name == "nt" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if on_screen and ImageShow.show(sheet, title=tfrecord_dir):
        return
    name = f"{dataset_name(tfrecord_dir)}-contact-sheet.png"
    try:
        with atomic_write(name) as file:
            sheet.save(file, "png")
    except OSError as error:
        raise UserError(f"cannot write {os.path.abspath(name)}: {error.strerror}") from error
    print(f"no screen to show them on: the first {len(images)} images are in {name}")


def extract(tfrecord_dir: str, output_dir: str) -> None:
    """Writes every image as img00000000.png, img00000001.png, ... and the labels.

    Labels go to dataset.json, {"labels": [[file name, label], ...]}: the number of the class, or
    the row of numbers where labels are not one-hot.

    Raises:
        UserError: No dataset, or it is damaged, or `output_dir` exists or cannot be written.
    """
    path = _finest(tfrecord_dir)
    count = len(index_records(path))
    labels = read_labels(tfrecord_dir)
    if labels is not None and len(labels) != count:
        raise UserError(f"{tfrecord_dir} has {count} images and {len(labels)} labels")
    with staged_directory(output_dir) as folder:
        save = functools.partial(_save_png, folder)
        with closing(map_in_order(save, enumerate(read_images(path)))) as results:
            files = list(tqdm(results, total=count, unit="img", disable=None))
        if labels is not None:
            values = labels.argmax(axis=1) if is_one_hot(labels) else labels
            pairs = [list(pair) for pair in zip(files, values.tolist(), strict=True)]
            with open(os.path.join(folder, "dataset.json"), "w", encoding="utf-8") as file:
                json.dump({"labels": pairs}, file)
    print(f"{output_dir}: {count} images{'' if labels is None else ' and dataset.json (labels)'}")


def compare(tfrecord_dir_a: str, tfrecord_dir_b: str, ignore_labels: bool = False) -> bool:
    """Compares two datasets, image by image in their order on every level, and prints the counts.

    Returns:
        Whether they are identical.

    Raises:
        UserError: One of them is no dataset or is damaged.
    """
    levels_a, levels_b = find_levels(tfrecord_dir_a), find_levels(tfrecord_dir_b)
    same = list(levels_a) == list(levels_b)
    if not same:
        print(f"resolutions differ: {1 << max(levels_a)} and {1 << max(levels_b)}")
    for log2 in sorted(levels_a.keys() & levels_b.keys(), reverse=True):
        same &= _compare_level(f"{1 << log2}x{1 << log2}", levels_a[log2], levels_b[log2])
    if not ignore_labels:
        a, b = read_labels(tfrecord_dir_a), read_labels(tfrecord_dir_b)
        same &= _compare_labels(a, b)
    print("the datasets are identical" if same else "the datasets differ")
    return same


def info(tfrecord_dir: str) -> None:
    """Prints what the dataset holds, and reads all of it to check it.

    Raises:
        UserError: No dataset, or it is damaged; says where.
    """
    levels = find_levels(tfrecord_dir)
    indexes = {log2: index_records(path) for log2, path in levels.items()}
    labels, manifest = read_labels(tfrecord_dir), read_manifest(tfrecord_dir)
    finest, count = max(levels), len(indexes[max(levels)])
    shape = next(read_images(levels[finest])).shape
    size = sum(entry.stat().st_size for entry in os.scandir(tfrecord_dir) if entry.is_file())
    print(f"dataset:    {tfrecord_dir}")
    print(f"resolution: {shape[1]}x{shape[2]}")
    print(f"channels:   {shape[0]}")
    print(f"images:     {count}")
    print(f"levels:     {len(levels)} (r02 to r{finest:02})")
    print(f"bytes:      {size} ({size / 1e6:.1f} MB)")
    if manifest:
        source, skipped = manifest.get("source", "unknown"), manifest.get("skipped") or []
        print(f"source:     {one_line(source)}, {len(skipped)} files skipped")
    _print_labels(labels, manifest)
    for log2, path in levels.items():
        if len(indexes[log2]) != count:
            raise UserError(f"{path} has {len(indexes[log2])} images, {levels[finest]} has {count}")
    if labels is not None and len(labels) != count:
        raise UserError(f"{tfrecord_dir} has {count} images and {len(labels)} labels")
    _check_manifest(tfrecord_dir, manifest, count, finest)
    for log2, path in levels.items():
        _check_level(path, (shape[0], shape[1] >> finest - log2, shape[2] >> finest - log2), count)
    print(f"check:      passed, all {count * len(levels)} records read")


def read_images(path: str) -> Iterator[np.ndarray]:
    """Yields the images of a level's file, uint8 [channels, height, width].

    Raises:
        UserError: The file is damaged; names the record.
    """
    for number, payload in enumerate(_payloads(path)):
        yield _parse(path, number, payload)


def to_picture(image: np.ndarray) -> Image.Image:
    """Makes a Pillow image of uint8 [1 or 3, height, width]."""
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def contact_sheet(images: list[Image.Image]) -> Image.Image:
    """Puts images of one size into a grid on white, enlarging small ones by a whole factor."""
    width, height = images[0].size
    scale = max(1, SHEET_SCALE_BELOW // height)
    columns = min(SHEET_COLUMNS, len(images))
    cell_x, cell_y = width * scale + 2, height * scale + 2
    sheet = Image.new("RGB", (columns * cell_x, -(-len(images) // columns) * cell_y), "white")
    for i, image in enumerate(images):
        enlarged = image.resize((width * scale, height * scale), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (i % columns * cell_x + 1, i // columns * cell_y + 1))
    return sheet


def is_one_hot(labels: np.ndarray) -> bool:
    """Whether every row of float32 [images, label_size] has a single 1 among zeros."""
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def _finest(tfrecord_dir: str) -> str:
    levels = find_levels(tfrecord_dir)
    return levels[max(levels)]


def _payloads(path: str) -> Iterator[bytes]:
    index = index_records(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for offset, length in index.tolist():
            yield data[offset : offset + length]


def _parse(path: str, number: int, payload: bytes) -> np.ndarray:
    try:
        return parse_image(payload)
    except ValueError as error:
        raise UserError(f"{path} is damaged: record {number}: {error}") from error


def _save_png(folder: str, numbered: tuple[int, np.ndarray]) -> str:
    number, image = numbered
    name = f"img{number:08}.png"
    try:
        to_picture(image).save(os.path.join(folder, name))
    except OSError as error:
        raise UserError(f"cannot write {name} in {folder}: {error.strerror}") from error
    return name


def _compare_level(size: str, path_a: str, path_b: str) -> bool:
    counts = len(index_records(path_a)), len(index_records(path_b))
    different = []
    for i, (a, b) in enumerate(zip(_payloads(path_a), _payloads(path_b), strict=False)):
        # Equal images may be stored as different bytes: the order of features is free.
        if a != b and not np.array_equal(_parse(path_a, i, a), _parse(path_b, i, b)):
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


def _print_labels(labels: np.ndarray | None, manifest: dict | None) -> None:
    if labels is None:
        print("labels:     none")
        return
    one_hot = is_one_hot(labels)
    print(f"labels:     size {labels.shape[1]}{', one-hot' if one_hot else ', not one-hot'}")
    names = (manifest or {}).get("label_names") or []
    for i, number in enumerate(labels.sum(axis=0) if one_hot else []):
        name = f" {one_line(names[i])}" if i < len(names) else ""
        print(f"  {i:4}{name}: {int(number)} images")


def _check_manifest(tfrecord_dir: str, manifest: dict | None, count: int, finest: int) -> None:
    for key, actual in (("images", count), ("resolution", 1 << finest)):
        promised = (manifest or {}).get(key, actual)
        if promised != actual:
            raise UserError(
                f"the manifest of {tfrecord_dir} says {key} {promised}, the files hold {actual}"
            )


def _check_level(path: str, shape: tuple[int, ...], count: int) -> None:
    """Reads all records of a file: their checksums, and that they are images of this shape."""
    tf = load_tensorflow()
    records = tf.io.tf_record_iterator(path)  # unlike _payloads it verifies the checksums
    with tqdm(total=count, unit="img", disable=None, desc=os.path.basename(path)) as bar:
        try:
            for number, payload in enumerate(records):
                got = _parse(path, number, payload).shape
                if got != shape:
                    raise UserError(f"{path}: record {number} has shape {got}, expected {shape}")
                bar.update()
        except tf.errors.OpError as error:
            raise UserError(f"{path} is damaged: {one_line(error.message)}") from error
