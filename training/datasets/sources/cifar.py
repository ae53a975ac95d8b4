"""CIFAR-10 and CIFAR-100 (`create_cifar10`, `create_cifar100`): their versions for Python."""

from __future__ import annotations

import os

import numpy as np

from dnnlib import UserError
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.items import Source
from training.datasets.sources.arrays import (
    Part,
    array_source,
    check_labels,
    load_pickle,
    note_count,
)

PUBLISHED = 50_000  # images for training, in either
SHAPE = (3, 32, 32)


def create_cifar10(output: Output, cifar10_dir: str, ignore_labels: bool = False) -> None:
    """Makes a dataset of the 32x32 pictures of the training set, in 10 classes.

    Args:
        output: what to make.
        cifar10_dir: folder with data_batch_1 to data_batch_5 (or with `cifar-10-batches-py`).
        ignore_labels: make it without labels.

    Raises:
        UserError: a file is missing or damaged, or the dataset cannot be written.
    """
    build(cifar10(cifar10_dir, ignore_labels), output)


def create_cifar100(output: Output, cifar100_dir: str) -> None:
    """Makes a dataset of the 32x32 pictures of the training set, in 100 (fine) classes.

    Args:
        output: what to make.
        cifar100_dir: folder with `train` (or with `cifar-100-python`).

    Raises:
        UserError: a file is missing or damaged, or the dataset cannot be written.
    """
    build(cifar100(cifar100_dir), output)


def cifar10(cifar10_dir: str, ignore_labels: bool = False) -> Source:
    """The source of `create_cifar10`."""
    files = [f"data_batch_{i}" for i in range(1, 6)]
    folder = _folder(cifar10_dir, "cifar-10-batches-py", files[0])
    parts = [_batch(os.path.join(folder, file), "labels", 10, ignore_labels) for file in files]
    return _source(folder, parts, "batches.meta", "label_names", 10)


def cifar100(cifar100_dir: str) -> Source:
    """The source of `create_cifar100`."""
    folder = _folder(cifar100_dir, "cifar-100-python", "train")
    parts = [_batch(os.path.join(folder, "train"), "fine_labels", 100, False)]
    return _source(folder, parts, "meta", "fine_label_names", 100)


def _folder(root: str, unpacked: str, file: str) -> str:
    """`root`, or the folder in it that the published archive makes."""
    inner = os.path.join(root, unpacked)
    return inner if os.path.exists(os.path.join(inner, file)) else root


def _source(folder: str, parts: list[Part], meta: str, key: str, classes: int) -> Source:
    note_count(folder, sum(len(part.images) for part in parts), PUBLISHED)
    return array_source(folder, parts, _label_names(os.path.join(folder, meta), key, classes))


def _batch(path: str, key: str, classes: int, ignore_labels: bool) -> Part:
    batch = load_pickle(path, "a CIFAR batch")
    if not isinstance(batch, dict) or not {"data", key} <= batch.keys():
        raise UserError(f"{path} is not a CIFAR batch: expected a dict with data and {key}")
    data, size = batch["data"], int(np.prod(SHAPE))
    is_array = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2
    if not is_array or data.shape[1] != size or not len(data):
        raise UserError(f"{path} is not a CIFAR batch: its data are not uint8 [pictures, {size}]")
    labels = check_labels(path, batch[key], len(data), classes)
    images = np.asarray(data).reshape(-1, *SHAPE)
    return Part(path, images, None if ignore_labels else labels)


def _label_names(path: str, key: str, classes: int) -> dict[int, str]:
    """Names of the classes; none if the file of names is not there."""
    if not os.path.lexists(path):
        return {}
    meta = load_pickle(path, "a CIFAR file of names")
    names = meta.get(key) if isinstance(meta, dict) else None
    if not isinstance(names, list) or len(names) != classes or {type(x) for x in names} != {str}:
        raise UserError(f"{path} is not a CIFAR file of names: expected {classes} {key}")
    return dict(enumerate(names))
