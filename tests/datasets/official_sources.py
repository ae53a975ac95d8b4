"""Writes tiny datasets in the formats in which the originals are published."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets.building.inspect import read_images
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels


def read_dataset(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Images [N, C, H, W] and labels of what was built."""
    dataset = find_dataset(str(folder))
    return np.stack(list(read_images(dataset))), read_labels(dataset)


def official_order(count: int) -> np.ndarray:
    order = np.arange(count)
    np.random.RandomState(123).shuffle(order)
    return order


def random_images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, [count, *shape]).astype(np.uint8)


def write_mnist(folder: Path, images: np.ndarray, labels: Any) -> Path:
    """`images` uint8 [N, 28, 28]."""
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">4I", 0x803, *images.shape)
    write_gzip(folder / "train-images-idx3-ubyte.gz", header + images.tobytes())
    header = struct.pack(">2I", 0x801, len(labels))
    write_gzip(folder / "train-labels-idx1-ubyte.gz", header + bytes(labels))
    return folder


def write_gzip(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content))


def write_cifar10(folder: Path, images: np.ndarray, labels: Any) -> Path:
    """`images` uint8 [N, 3, 32, 32], split into five batches."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = zip(np.split(images, 5), np.split(np.asarray(labels), 5), strict=True)
    for number, (part, part_labels) in enumerate(parts, 1):
        batch = {
            "batch_label": f"training batch {number} of 5",
            "labels": part_labels.tolist(),
            "data": part.reshape(len(part), -1),
            "filenames": [f"picture_s_{i:06}.png" for i in range(len(part))],
        }
        (folder / f"data_batch_{number}").write_bytes(python2_pickle(batch))
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    meta = {"num_cases_per_batch": 10000, "label_names": names, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    return folder


def write_cifar100(folder: Path, images: np.ndarray, labels: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    train = {
        "filenames": [f"picture_s_{i:06}.png" for i in range(len(images))],
        "batch_label": "training batch 1 of 1",
        "fine_labels": list(labels),
        "coarse_labels": [label // 5 for label in labels],
        "data": images.reshape(len(images), -1),
    }
    (folder / "train").write_bytes(python2_pickle(train))
    return folder


def python2_pickle(value: Any) -> bytes:
    """`value` as Python 2 and its NumPy pickle it in protocol 2: text is bytes, of one type."""
    return b"\x80\x02" + _pickle(value) + b"."


def _pickle(value: Any) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        value = value.encode("latin1")
    if isinstance(value, bytes):
        size = len(value)
        return (b"U" + bytes([size]) if size < 256 else b"T" + struct.pack("<i", size)) + value
    if isinstance(value, list):
        return b"](" + b"".join(map(_pickle, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_pickle, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(_pickle(x) for pair in value.items() for x in pair) + b"u"
    kind = value.dtype.str[1:]
    order = "|" if value.dtype.itemsize == 1 else "<"
    dtype = b"cnumpy\ndtype\n" + _pickle((kind, 0, 1)) + b"R"
    dtype += _pickle((3, order, None, None, None, -1, -1, 0)) + b"b"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    array += _pickle((0,)) + _pickle("b") + b"tR("
    return (
        array
        + _pickle(1)
        + _pickle(value.shape)
        + dtype
        + b"\x89"
        + (_pickle(value.tobytes()) + b"tb")
    )
