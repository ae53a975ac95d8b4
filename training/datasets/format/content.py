"""A hash that tells whether two data sets hold the same pictures and labels."""

from __future__ import annotations

import hashlib
import mmap
from typing import TYPE_CHECKING

import numpy as np

from training.datasets.format import records, tfrecords

if TYPE_CHECKING:
    from training.dataset import TFRecordDataset


def content_hash(dataset: TFRecordDataset) -> str:
    """A hash of all pixels and labels of a data set at its resolution, without reading the pixels.

    TFRecord files hold a checksum of every record, so that reading those notices any change. Images
    that are held out are no part of it.
    """
    files = records.find_dataset(dataset.tfrecord_dir)
    log2 = dataset.resolution_log2
    stored = log2 if log2 in files.levels else files.finest
    digest = hashlib.sha256(f"{dataset.shape} {stored} {log2}".encode())
    for path in files.levels[stored]:
        index = tfrecords.index_records(path, may_be_empty=True)
        digest.update(index.tobytes())
        if len(index):
            digest.update(_payload_checksums(path, index).tobytes())
    digest.update(dataset.numbers.tobytes())
    digest.update(np.ascontiguousarray(dataset.labels).tobytes())
    return digest.hexdigest()


def _payload_checksums(path: str, index: np.ndarray) -> np.ndarray:
    """The four bytes after each payload, uint8 [records, 4]."""
    ends = index.sum(axis=1)
    with open(path, "rb") as file, tfrecords.mapped(file) as data:
        if isinstance(data, mmap.mmap):
            return np.frombuffer(data, np.uint8)[ends[:, np.newaxis] + np.arange(4)]
        parts = b"".join(data[end : end + 4] for end in ends.tolist())
        return np.frombuffer(parts, np.uint8).reshape(-1, 4)
