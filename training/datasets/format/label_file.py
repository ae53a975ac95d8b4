"""The file of labels of a dataset, NAME-rxx.labels."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from dnnlib import UserError
from training.datasets.format.dataset_files import DatasetFiles
from training.datasets.format.matrices import map_matrix

MAX_LABEL_SIZE = 1_000_000


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
            "build the dataset again"
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
            "rows: build the dataset again from labels without gaps"
        )
