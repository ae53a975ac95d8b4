"""A hash that tells whether two datasets hold the same pictures and labels."""

from __future__ import annotations

import hashlib
import mmap

import numpy as np

from training.datasets.format.dataset_files import DatasetFiles
from training.datasets.format.tfrecords import index_records, mapped


def content_hash(
    files: DatasetFiles,
    shape: tuple[int, int, int],
    resolution_log2: int,
    numbers: np.ndarray,
    labels: np.ndarray,
) -> str:
    """A hash of all pixels and labels of a dataset at a resolution, without reading the pixels.

    TFRecord files hold a checksum of every record, so that reading those notices any change. Images
    that are held out are no part of it.

    Args:
        files: of the dataset.
        shape: of its images, (channels, height, width).
        resolution_log2: of the level that is used.
        numbers: int64 [N], which images are used.
        labels: float32 [N, label_size], of those.
    """
    stored = resolution_log2 if resolution_log2 in files.levels else files.finest
    digest = hashlib.sha256(f"{shape} {stored} {resolution_log2}".encode())
    for path in files.levels[stored]:
        index = index_records(path, may_be_empty=True)
        digest.update(index.tobytes())
        if len(index):
            digest.update(_payload_checksums(path, index).tobytes())
    digest.update(numbers.tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()


def _payload_checksums(path: str, index: np.ndarray) -> np.ndarray:
    """The four bytes after each payload, uint8 [records, 4]."""
    ends = index.sum(axis=1)
    with open(path, "rb") as file, mapped(file) as data:
        if isinstance(data, mmap.mmap):
            return np.frombuffer(data, np.uint8)[ends[:, np.newaxis] + np.arange(4)]
        parts = b"".join(data[end : end + 4] for end in ends.tolist())
        return np.frombuffer(parts, np.uint8).reshape(-1, 4)
