"""How alike pictures look to a discriminator: vectors of them, and the nearest of many."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from tf_ops import layout
from training.latents.distances import OfImages, block_activations

_BLOCKS = 2  # The last ones before 4×4, which see what is where and not each pixel.
_OTHERS = 50  # Vectors beside the nearest, which say what is near.
# Relative distance, of squared ones, below which pictures are alike. Of 300 photos that were held
# out, 2 % are below 0.15; of compressed and shifted copies 98 %: see tests/benchmarks/README.md.
ALIKE = 0.15
# A copy is also nearer to a photo than all but 5 % of photos are to each other: where products
# hardly differ, so do new ones. Where many photos are there twice, the median says what is near.
_NEARER, _NEARER_THAN_MEDIAN = 0.05, 0.1
_SAMPLE = 500  # Photos that this is found with.
_TINY = 1e-20
_BLOCK_BYTES = 1 << 25
_BLOCK_ROWS = 1 << 13
_TABLE = 1 << 22  # Distances, and numbers of queries, that are in memory at once.


def place_vectors(D: Network, images: tf.Tensor) -> tf.Tensor:
    """Adds a discriminator to the graph: vectors whose squared distances say how alike images look.

    Activations after the blocks of 16×16 and 8×8, scaled to unit length in each place as in LPIPS
    (Zhang et al. 2018), averaged to the 4×4 places of the second. Squared distances are 0 to 4.

    Args:
        D: a discriminator.
        images: float32 [N, C, H, W] of -1 to 1, of its size.

    Returns:
        float32 [N, F].

    Raises:
        UserError: it is none, or too small to have such blocks.
    """
    if not D.build_func_name.startswith("D_"):
        raise UserError(f"{D.build_func_name} is no discriminator")
    if min(D.input_shape[2:]) < 8:
        raise UserError("a discriminator of less than 8x8 pixels has no features to compare")
    data_format = layout.internal_format()
    axis = layout.channel_axis(data_format)
    rows, columns = layout.spatial_axes(data_format)
    activations = block_activations(D, images)[-_BLOCKS:]
    if not activations:
        raise UserError(f"{D.build_func_name} has no blocks whose features could be compared")
    height, width = (activations[-1].shape[a].value for a in (rows, columns))
    parts = []
    for x in activations:
        energy = tf.reduce_sum(tf.square(x), axis=axis, keepdims=True)
        x *= tf.math.rsqrt(tf.maximum(energy, _TINY))
        box = x.shape[rows].value // height
        if box > 1:
            x = tf.nn.avg_pool2d(x, box, box, "VALID", data_format=data_format)
        parts.append(
            tf.reshape(x, [-1, np.prod(x.shape.as_list()[1:])])
            * (height * width * len(activations)) ** -0.5
        )
    return tf.concat(parts, axis=1)


class Likeness(OfImages):
    """`place_vectors` of arrays."""

    def _build(self, D: Network, images: tf.Tensor) -> tf.Tensor:
        return place_vectors(D, images)


class Gallery:
    """Vectors in a temporary file, so that memory does not grow with their number.

    Args:
        kept_as: their type in the file. Half precision does for `place_vectors`, whose lengths are
            known: distances are right to about a thousandth. Other features may be of any size.
    """

    def __init__(self, kept_as: type[np.floating] = np.float32) -> None:
        self._file = tempfile.TemporaryFile(prefix="gallery.")
        self._dtype = np.dtype(kept_as)
        self._width = self.count = 0

    def add(self, vectors: np.ndarray) -> None:
        """Appends float [N, F]."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(vectors.astype(self._dtype).tobytes())
        self._width = vectors.shape[1]
        self.count += len(vectors)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first, float32 [M, F]) of all, as `nearest` takes them."""
        size = self._width * self._dtype.itemsize
        rows = min(max(_BLOCK_BYTES // max(size, 1), 1), _BLOCK_ROWS)
        for begin in range(0, self.count, rows):
            count = min(rows, self.count - begin)
            self._file.seek(begin * size)
            content = self._file.read(count * size)
            yield begin, np.frombuffer(content, self._dtype).reshape(count, -1).astype(np.float32)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """float32 [N, F] of ascending numbers."""
        parts = []
        for begin, vectors in self.blocks():
            chosen = numbers[(numbers >= begin) & (numbers < begin + len(vectors))]
            parts.append(vectors[chosen - begin])
        return np.concatenate(parts)


@dataclass(frozen=True)
class Neighbors:
    """The nearest vector of each of N queries.

    Attributes:
        numbers: of the vectors, int64 [N].
        distances: squared, float [N].
        seconds: those of the second nearest.
        relative: squared distances, divided by the mean squared distance of the next 50: how much
            nearer the nearest is than others. Copies are far below 1, also where all distances are
            large.
    """

    numbers: np.ndarray
    distances: np.ndarray
    seconds: np.ndarray
    relative: np.ndarray

    def are_copies(self, limit: float) -> np.ndarray:
        """Which queries are copies of their nearest vector, bool [N]; see `copy_limit`."""
        return (self.relative < ALIKE) & (self.distances < limit)


def nearest(queries: np.ndarray, blocks: Iterable[tuple[int, np.ndarray]]) -> Neighbors:
    """The nearest of many vectors, which come block by block.

    The relative distance is made like that by which Carlini et al. 2023 (arXiv:2301.13188, section
    4.2) find pictures that a network has learned by heart. Theirs is of distances themselves, this
    one of squared ones: 0.15 here is about 0.39 there.

    Args:
        queries: float32 [N, F], finite.
        blocks: (number of the first, float [M, F]) of the vectors, at least two in all, finite.
    """
    count = _OTHERS + 1
    best = np.full([len(queries), count], np.inf)
    numbers = np.full([len(queries), count], -1)
    for begin, vectors in blocks:
        # Small differences of large numbers are lost in float32, whose squares may also be too
        # large for it.
        vectors = vectors.astype(np.float64)
        norms = np.einsum("nf,nf->n", vectors, vectors)
        own = begin + np.arange(len(vectors))
        step = max(_TABLE // max(vectors.shape), 1)
        for part in (slice(first, first + step) for first in range(0, len(queries), step)):
            x = queries[part].astype(np.float64)
            distances = x @ vectors.T
            distances *= -2
            distances += np.einsum("nf,nf->n", x, x)[:, np.newaxis]
            distances += norms
            known = np.concatenate([best[part], np.maximum(distances, 0)], axis=1)
            whose = [numbers[part], np.broadcast_to(own, distances.shape)]
            chosen = np.argpartition(known, count - 1, axis=1)[:, :count]
            best[part] = np.take_along_axis(known, chosen, axis=1)
            numbers[part] = np.take_along_axis(np.concatenate(whose, axis=1), chosen, axis=1)
    order = np.argsort(best, axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    others = np.ma.masked_invalid(best[:, 1:]).mean(axis=1).filled(np.inf)
    relative = np.divide(best[:, 0], others, out=np.zeros(len(best)), where=others > 0)
    nearest_number = numbers[np.arange(len(order)), order[:, 0]]
    return Neighbors(nearest_number, best[:, 0], best[:, 1], relative)


def copy_limit(vectors: np.ndarray, blocks: Iterable[tuple[int, np.ndarray]]) -> float:
    """Squared distance below which a picture may be a copy of a photo.

    Args:
        vectors: of some of the photos, float32 [N, F].
        blocks: of all of them, see `nearest`.
    """
    distances = nearest(vectors, blocks).seconds  # The nearest is the photo itself.
    limits = np.quantile(distances, _NEARER), _NEARER_THAN_MEDIAN * np.median(distances)
    return float(max(limits))


def sample_numbers(count: int) -> np.ndarray:
    """Numbers of the photos that `copy_limit` is found with, evenly spread over all."""
    return np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int))


@dataclass(frozen=True)
class EitherWay(Neighbors):
    """Neighbors of pictures, or of their mirror images where those are nearer.

    Attributes:
        are_mirrored: which, bool [N].
    """

    are_mirrored: np.ndarray

    def __getitem__(self, part: slice) -> EitherWay:
        return EitherWay(*(array[part] for array in vars(self).values()))


def nearest_either_way(queries: np.ndarray, blocks: Iterable[tuple[int, np.ndarray]]) -> EitherWay:
    """As `nearest`, of pictures and their mirror images, float32 [N, 2, F]."""
    found = nearest(queries.reshape(-1, queries.shape[-1]), blocks)
    way = found.distances.reshape(-1, 2).argmin(axis=1)
    chosen = np.arange(len(way)) * 2 + way
    return EitherWay(*(array[chosen] for array in vars(found).values()), way == 1)
