"""What the importers of arrays share: MNIST, CIFAR and SVHN have all pictures in a few files."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib import UserError, restricted_pickle
from dnnlib.util import one_line
from training.datasets.items import Item, Source

MAX_PICTURES = 1_000_000  # in one file: more than any of these sources has, and fits in memory
MAX_PICKLE_BYTES = 1 << 30  # the largest genuine one, CIFAR-100's, has 155 MB


@dataclass(frozen=True)
class Part:
    """The pictures of one file.

    Attributes:
        path: the file; its name is part of the pictures' names.
        images: uint8 [images, channels, height, width].
        labels: integers [images], or None.
    """

    path: str
    images: np.ndarray
    labels: np.ndarray | None = None


def array_source(
    folder: str, parts: Sequence[Part], label_names: Mapping[int, str] | None = None
) -> Source:
    """The source that hands out the pictures of all parts in order."""
    images = {os.path.basename(part.path): part.images for part in parts}

    def items() -> Iterator[Item]:
        for part in parts:
            name = os.path.basename(part.path)
            for index in range(len(part.images)):
                label = None if part.labels is None else int(part.labels[index])
                yield Item(f"{name}/{index}", label)

    def read(item: Item) -> np.ndarray:
        name, _, index = item.name.rpartition("/")
        return np.ascontiguousarray(images[name][int(index)])

    facts = {"source": os.path.abspath(folder)}
    channels = parts[0].images.shape[1]
    return Source(items(), read, facts, label_names or {}, channels)


def check_labels(path: str, labels: Any, count: int, classes: int) -> np.ndarray:
    """The labels of a file as integers [count].

    Args:
        path: the file, for messages.
        labels: a list or an array, from the file.
        count: how many there must be.
        classes: labels are 0 to classes - 1.

    Raises:
        UserError: they are not that.
    """
    whole = isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.ndim == 1
    if not whole and not (isinstance(labels, list) and all(type(x) is int for x in labels)):
        raise UserError(f"{path} is damaged: its labels are not a list of whole numbers")
    if len(labels) != count:
        raise UserError(f"{path} is damaged: it has {count} pictures and {len(labels)} labels")
    for index, label in enumerate(labels):
        if not 0 <= label < classes:
            raise UserError(
                f"{path} has the label {one_line(label, 40)} at number {index}: expected "
                f"0 to {classes - 1}"
            )
    return np.asarray(labels, dtype=np.int64)


def load_pickle(path: str, what: str) -> Any:
    """What a pickle of plain containers, text, numbers and arrays holds; executes nothing.

    Args:
        path: the file, as Python 2 or 3 has written it.
        what: what it should be, for messages.

    Raises:
        UserError: the file is missing, too long, broken, or names anything else.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_PICKLE_BYTES:
            raise UserError(
                f"{path} is not {what}: it is no file of up to {MAX_PICKLE_BYTES} bytes"
            )
        with open(path, "rb") as file:
            content = file.read(MAX_PICKLE_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from error
    try:
        return restricted_pickle.loads(content, {}, lambda instance, state: None)
    except UserError as error:
        raise UserError(f"{path} is not {what}: {error}") from error
    except MemoryError as error:
        raise UserError(f"{path} claims more data than memory holds") from error
    except Exception as error:  # A broken pickle can fail in any way while it is read.
        reason = one_line(error) or "it ends early"
        raise UserError(f"{path} is not {what}, or a broken one: {reason}") from error


def note_count(folder: str, count: int, expected: int) -> None:
    """Says on the screen when a source is not the whole of what is published."""
    if count != expected:
        print(f"note: {folder} has {count} pictures, the published set {expected}", file=sys.stderr)
