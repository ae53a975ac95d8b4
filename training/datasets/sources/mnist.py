"""MNIST (`create_mnist`, `create_mnistrgb`), and what has its files, as Fashion-MNIST does."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from dnnlib import UserError
from dnnlib.util import one_line
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.items import Item, Source
from training.datasets.sources.arrays import (
    MAX_PICTURES,
    Part,
    array_source,
    check_labels,
    note_count,
)

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
PUBLISHED = 60_000  # images for training
SIZE, PADDING, CLASSES = 28, 2, 10
_MAGIC = 0x800  # unsigned bytes; plus the number of dimensions


def create_mnist(output: Output, mnist_dir: str) -> None:
    """Makes a dataset of the 32x32 gray digits of the training set, labeled.

    Args:
        output: what to make.
        mnist_dir: folder with the files IMAGES and LABELS.

    Raises:
        UserError: a file is missing or damaged, or the dataset cannot be written.
    """
    build(mnist(mnist_dir), output)


def create_mnistrgb(
    output: Output, mnist_dir: str, num_images: int = 1_000_000, random_seed: int = 123
) -> None:
    """Makes a dataset of pictures whose channels are three random digits; it has no labels.

    Args:
        output: what to make; pictures are stored in the order in which they are drawn.
        mnist_dir: folder with the file IMAGES.
        num_images: how many pictures.
        random_seed: which ones.

    Raises:
        UserError: the file is missing or damaged, or the dataset cannot be written.
    """
    build(mnistrgb(mnist_dir, num_images, random_seed), output)


def mnist(mnist_dir: str) -> Source:
    """The source of `create_mnist`."""
    images = _images(mnist_dir)
    path = os.path.join(mnist_dir, LABELS)
    labels = check_labels(path, _read_idx(path, ()), len(images), CLASSES)
    note_count(mnist_dir, len(images), PUBLISHED)
    return array_source(mnist_dir, [Part(os.path.join(mnist_dir, IMAGES), images, labels)])


def mnistrgb(mnist_dir: str, num_images: int, random_seed: int) -> Source:
    """The source of `create_mnistrgb`."""
    images = _images(mnist_dir)[:, 0]

    def items() -> Iterator[Item]:
        random = np.random.RandomState(random_seed)
        for index in range(num_images):
            r, g, b = random.randint(len(images), size=3)
            yield Item(f"{index}/{r}-{g}-{b}")

    def read(item: Item) -> np.ndarray:
        digits = item.name.rpartition("/")[2].split("-")
        return images[[int(digit) for digit in digits]]

    facts = {"source": os.path.abspath(mnist_dir), "random_seed": random_seed}
    return Source(items(), read, facts)


def _images(mnist_dir: str) -> np.ndarray:
    """uint8 [images, 1, 32, 32]."""
    images = _read_idx(os.path.join(mnist_dir, IMAGES), (SIZE, SIZE))
    border = (PADDING, PADDING)
    return np.pad(images[:, np.newaxis], ((0, 0), (0, 0), border, border))


def _read_idx(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an idx file, uint8 [number, *shape].

    The file has the magic number, the length of each dimension, and the values; all big-endian.
    """
    dimensions = 1 + len(shape)
    header = struct.Struct(f">{1 + dimensions}I")
    try:
        with gzip.open(path) as file:
            start = file.read(header.size)
            if len(start) < header.size:
                raise EOFError
            magic, count, *rest = header.unpack(start)
            if magic != _MAGIC + dimensions or tuple(rest) != shape:
                raise UserError(
                    f"{path} is not MNIST's: it begins with {[magic, count, *rest]}, expected "
                    f"{[_MAGIC + dimensions, 'count', *shape]}"
                )
            if not 0 < count <= MAX_PICTURES:
                raise UserError(f"{path} is damaged: it claims to hold {count} pictures")
            size = count * SIZE * SIZE if shape else count
            content = file.read(size)
            if len(content) < size:
                raise EOFError
            if file.read(1):
                raise UserError(f"{path} is damaged: it has more data after {count} pictures")
    except EOFError as error:
        raise UserError(f"{path} is truncated: download it again") from error
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot read MNIST file {path}: {reason}") from error
    return np.frombuffer(content, np.uint8).reshape(count, *shape)
