"""Reads datasets of multi-resolution TFRecords for training, metrics and projection.

The order of images is a function of (seed, position): every epoch is a fresh permutation of the
whole dataset, computed, so that a run can start reading at any position (DESIGN D4).
"""

from __future__ import annotations

import copy
import functools
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.threads import map_in_threads
from training.datasets.format import levels
from training.datasets.format.configured import ConfiguredReading
from training.datasets.format.content import content_hash
from training.datasets.format.examples import parse_image
from training.datasets.format.find_dataset import choose_level, find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.level_files import LevelReader
from training.datasets.format.manifest import read_manifest
from training.random_streams import generator, uniform

# Minibatches that are read ahead of the one in use, by as many threads as the machine can spare.
_READ_AHEAD = 4
_READ_THREADS = 2


class TFRecordDataset(ConfiguredReading):
    """A dataset in a folder of `NAME-rNN.tfrecords` files.

    Coarser levels that the folder does not hold are computed from the finest when they are read.

    Args:
        tfrecord_dir: the folder.
        resolution: of the finest level to use, a power of two; None for the finest there is.
        label_file: path of the label file; None for `NAME-rxx.labels` where it exists.
        max_label_size: columns of the labels to use at most; "full" for all, 0 for none.
        max_images: use only the first so many images; None for all.
        validation: images that are held out, chosen at random by `seed`: they are no part of this
            dataset but of its `validation_set`.
        seed: of the order of images, of random labels, and of which images are held out.
        max_validation: images at most that `load_validation_set_np` gives; None for all.
        mirror_augment: mirror images at random.
        repeat: False: minibatches end with the last image, and the last one may be smaller.
        shuffle: False: images come in the order of the files.
        shuffle_mb: 0 does not shuffle either; other numbers have no effect.
        prefetch_mb, buffer_mb, num_threads: official keywords without effect.

    Attributes:
        shape: [C, H, W] of the finest level.
        resolution, resolution_log2: of the finest level. Images that are not square have the
            resolution of a square with as many levels.
        num_images: images used, without those that are held out.
        numbers: int64 [num_images], ascending: the place of each image in the files.
        labels: float32 [num_images, label_size].
        label_size: columns of the labels used, 0 for none.
        label_names: names of the classes where the manifest has them, else None.
        dynamic_range: [0, 255].

    Raises:
        UserError: names the file that is missing, truncated, of a wrong shape or count.
    """

    def __init__(
        self,
        tfrecord_dir: str,
        resolution: int | None = None,
        label_file: str | None = None,
        max_label_size: int | str = "full",
        max_images: int | None = None,
        validation: int = 0,
        seed: int = 0,
        *,
        max_validation: int | None = 10_000,
        mirror_augment: bool = False,
        repeat: bool = True,
        shuffle: bool = True,
        shuffle_mb: int = 4096,
        prefetch_mb: int = 2048,
        buffer_mb: int = 256,
        num_threads: int = 2,
    ):
        self.tfrecord_dir = tfrecord_dir
        self._dataset = find_dataset(tfrecord_dir)
        self.name = self._dataset.name
        self.dtype = "uint8"
        self.dynamic_range = [0, 255]
        self.seed = seed
        self.repeat, self._is_shuffled = repeat, shuffle and shuffle_mb > 0
        self.mirror_augment, self.max_validation = mirror_augment, max_validation
        self._readers: dict[int, LevelReader] = {}
        self.resolution_log2 = choose_level(self._dataset, resolution)
        self.resolution = 2**self.resolution_log2
        self._open_levels()
        self.shape = self._shape_of(self.resolution_log2)
        count = len(self._readers[self._dataset.finest])
        self._all_labels = self._load_labels(label_file, max_label_size, count)
        self.label_size = self._all_labels.shape[1]
        self.label_dtype = "float32"
        self.label_names = self._load_label_names()
        self._all_numbers = np.arange(count if max_images is None else min(count, max_images))
        numbers, self._held_out = self._split(validation)
        self._use(numbers, "order")

    @property
    def num_held_out(self) -> int:
        """How many images are held out."""
        return len(self._held_out)

    @functools.cached_property
    def content(self) -> str:
        """A hash of all pixels and labels, see `content_hash`."""
        return content_hash(
            self._dataset, self.shape, self.resolution_log2, self.numbers, self.labels
        )

    def validation_set(self) -> TFRecordDataset:
        """The images that are held out, as a dataset that shares the files of this one.

        Raises:
            UserError: there are none.
        """
        if not self.num_held_out:
            raise UserError(
                f"dataset {self.tfrecord_dir}: no images are held out; --validation=N holds out N"
            )
        return self._part(self._held_out, "validation")

    def whole(self) -> TFRecordDataset:
        """All images, held out or not, as a dataset that shares the files of this one."""
        return self._part(self._all_numbers, "order")

    def close(self) -> None:
        """Closes the files, and ends the threads that read ahead."""
        self._stop_reading()
        while self._readers:
            self._readers.popitem()[1].close()

    def minibatches(
        self,
        start: int,
        minibatch_size: int,
        lod: int = 0,
        rows: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Minibatches, read ahead in the background; endless unless the dataset does not repeat.

        Args:
            start: position in the run, in images: the first image is that of position `start`.
            minibatch_size: images at once.
            lod: level of detail: 0 for the finest level, 1 for half its resolution, …
            rows: which images of each minibatch are read, int64 [N], by their places in it; None
                for all.

        Returns:
            (images uint8 [N, C, H, W], labels float32 [N, label_size]).

        Raises:
            UserError: a record of another shape than its level's.
        """
        positions = itertools.count(start, minibatch_size)
        if not self.repeat:
            positions = range(start, self.num_images, minibatch_size)
        return map_in_threads(
            lambda position: self._load(position, minibatch_size, lod, rows),
            positions,
            _READ_THREADS,
            _READ_AHEAD,
        )

    def get_random_labels_np(self, minibatch_size: int, position: int = 0) -> np.ndarray:
        """Labels of randomly chosen images, float32 [N, label_size]: a function of `position`."""
        rng = generator("dataset", "labels", [self.seed, position])
        return self.labels[rng.integers(self.num_images, size=minibatch_size)]

    def get_random_labels_tf(
        self, minibatch_size: int | tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Labels of randomly chosen images in the graph, float32 [N, label_size].

        Args:
            minibatch_size: N.
            seed: [2] int32, the labels are a function of it; None draws others at every run.
        """
        if not self.label_size:
            return tf.zeros([minibatch_size, 0])
        graph = tf.get_default_graph()
        if graph not in self._labels_vars:
            # A variable, because a graph has no room for the constants of a large dataset.
            with tf.name_scope(None), tf.control_dependencies(None), tf.device("/cpu:0"):
                init = tf.zeros([self.num_images, self.label_size])
                var = tf.Variable(init, trainable=False, name="Dataset/labels")
            self._labels_vars[graph] = var
            tflib.set_vars({var: self.labels})
        rows = uniform([minibatch_size], seed, maxval=self.num_images, dtype=tf.int32)
        return tf.gather(self._labels_vars[graph], rows)

    def read_images(self, index: np.ndarray, lod: int = 0) -> np.ndarray:
        """Images by their number in the dataset, uint8 [N, C, H, W]."""
        numbers = self.numbers[index]
        return np.stack([self._read(self.resolution_log2 - lod, int(i)) for i in numbers])

    def image_index(self, positions: np.ndarray) -> np.ndarray:
        """Which image stands at a position of the run, int64 like `positions`."""
        # Deviation: the official reader shuffles within a buffer of some thousands of images.
        epochs, offsets = np.divmod(positions, self.num_images)
        if not self._is_shuffled:
            return offsets
        index = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            index[chosen] = self._permutation(int(epoch))[offsets[chosen]]
        return index

    def _split(self, validation: int) -> tuple[np.ndarray, np.ndarray]:
        """Places in the files of the images to use, and of those that are held out."""
        numbers = self._all_numbers
        if validation == 0:
            return numbers, numbers[:0]
        if not 0 < validation < len(numbers):
            raise UserError(
                f"--validation={validation}: the dataset {self.tfrecord_dir} has {len(numbers)} "
                f"images: hold out 1 to {len(numbers) - 1}"
            )
        order = generator("dataset", "split", [self.seed, 0]).permutation(len(numbers))
        return np.sort(order[validation:]), np.sort(order[:validation])

    def _part(self, numbers: np.ndarray, order: str) -> TFRecordDataset:
        """Other images of the same files."""
        part = copy.copy(self)
        part._held_out = numbers[:0]
        part._use(numbers, order)
        return part

    def _use(self, numbers: np.ndarray, order: str) -> None:
        """Becomes the dataset of some images, with a stream of random numbers for their order."""
        self.numbers, self.num_images, self._order = numbers, len(numbers), order
        self.__dict__.pop("content", None)
        self.labels = self._all_labels[numbers]
        self._labels_vars: WeakKeyDictionary = WeakKeyDictionary()  # By graph.
        self._permutations: dict[int, np.ndarray] = {}
        self._configuration, self._reading, self._lock = None, None, threading.Lock()

    def _permutation(self, epoch: int) -> np.ndarray:
        """Order of the images in an epoch. The last two are kept: a minibatch may span both."""
        known = self._permutations  # Replaced as a whole, because several threads read it.
        if epoch not in known:
            rng = generator("dataset", self._order, [self.seed, epoch])
            order = rng.permutation(self.num_images)
            recent = [e for e in (epoch - 1, epoch + 1) if e in known]
            self._permutations = {epoch: order, **{e: known[e] for e in recent[:1]}}
            return order
        return known[epoch]

    def _load(
        self, start: int, count: int, lod: int, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        end = start + count if self.repeat else min(start + count, self.num_images)
        positions = np.arange(start, end, dtype=np.int64)
        positions = positions if rows is None else positions[rows]
        index = self.image_index(positions)
        images = self.read_images(index, lod)
        if self.mirror_augment:
            draws = (generator("dataset", "mirror", [self.seed, i]).random() for i in positions)
            flipped = np.fromiter(draws, np.float64) < 0.5
            images[flipped] = images[flipped][..., ::-1]
        return images, self.labels[index]

    def _read(self, log2: int, number: int) -> np.ndarray:
        """One image of a level, uint8 [C, H, W]."""
        stored = log2 if log2 in self._readers else self._dataset.finest
        reader = self._readers[stored]
        try:
            image = parse_image(reader.payload(number))
        except (OSError, ValueError) as error:
            raise UserError(f"{reader.where(number)} is broken: {error}") from error
        expected = self._shape_of(stored)
        if list(image.shape) != expected:
            raise UserError(
                f"{reader.where(number)} has shape {list(image.shape)}, expected {expected}"
            )
        return image if stored == log2 else levels.coarser(image, stored - log2)

    def _shape_of(self, log2: int) -> list[int]:
        channels, height, width = self._finest_shape
        k = self._dataset.finest - log2
        return [channels, height >> k, width >> k]

    def _open_levels(self) -> None:
        """Opens the files that are needed, and finds the shape of the finest level there is."""
        finest = self._dataset.finest
        for log2, paths in self._dataset.levels.items():
            if log2 <= self.resolution_log2 or log2 == finest:
                self._readers[log2] = LevelReader(paths)
        reader = self._readers[finest]
        try:
            shape = parse_image(reader.payload(0)).shape
        except (OSError, ValueError) as error:
            raise UserError(f"{reader.where(0)} is broken: {error}") from error
        if levels.level_count(*shape[1:]) is None or levels.finest_log2(*shape[1:]) != finest:
            raise UserError(
                f"{reader.where(0)} has shape {list(shape)}, expected "
                f"{[shape[0], 2**finest, 2**finest]} or another size with as many levels"
            )
        self._finest_shape = shape
        for log2, other in self._readers.items():
            if len(other) != len(reader):
                raise UserError(
                    f"{other.paths[0]} has {len(other)} images, "
                    f"{reader.paths[0]} has {len(reader)}: build the dataset again"
                )
            self._read(log2, 0)

    def _load_labels(self, label_file, max_label_size, count: int) -> np.ndarray:
        if max_label_size == 0:
            return np.zeros([count, 0], np.float32)
        labels = read_labels(self._dataset, label_file, count)
        if labels is None:
            return np.zeros([count, 0], np.float32)
        return labels if max_label_size == "full" else labels[:, :max_label_size]

    def _load_label_names(self) -> list[str] | None:
        manifest = read_manifest(self._dataset)
        names = (manifest or {}).get("label_names")
        return names if names and len(names) == self.label_size else None


def load_dataset(
    class_name: str | None = None,
    data_dir: str | None = None,
    verbose: bool = False,
    *,
    path: str | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> TFRecordDataset:
    """Opens a dataset as the official functions of this name do.

    Args:
        class_name: of the one class there is; or `path`, the first parameter in the ADA repository.
        data_dir: folder that a relative `tfrecord_dir` is in.
        verbose: print what was opened.
        path: the folder, as the ADA repository calls it.
        seed: of the order of images; None for 0.
        kwargs: for `TFRecordDataset`.
    """
    if class_name is not None and path is None and os.path.isdir(class_name):
        path, class_name = class_name, None
    if class_name not in (None, "training.dataset.TFRecordDataset", "dataset.TFRecordDataset"):
        raise UserError(f"no dataset class {class_name!r}")
    if path is not None:
        kwargs["tfrecord_dir"] = path
    if "tfrecord_dir" not in kwargs:
        raise UserError("load_dataset() needs the folder of a dataset: tfrecord_dir= or path=")
    if data_dir is not None:
        kwargs["tfrecord_dir"] = os.path.join(data_dir, kwargs["tfrecord_dir"])
    dataset = TFRecordDataset(**kwargs, seed=seed or 0)
    if verbose:
        print(f"Dataset {dataset.tfrecord_dir}: {dataset.num_images} images, ", end="")
        print(f"shape {dataset.shape}, label size {dataset.label_size}")
    return dataset
