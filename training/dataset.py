"""Reads data sets of multi-resolution TFRecords for training, metrics and projection.

The order of images is a function of (seed, position): every epoch is a fresh permutation of the
whole data set, computed, so that a run can start reading at any position (DESIGN D4).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from training.datasets import records
from training.random_streams import uniform

# Minibatches that are read ahead of the one in use, by as many threads as the machine can spare.
_READ_AHEAD = 4
_READ_THREADS = 2

# Each use of randomness has a stream of its own.
_USES = {"order": 0, "labels": 1}


class TFRecordDataset:
    """A data set in a folder of `NAME-rNN.tfrecords` files.

    Args:
        tfrecord_dir: the folder.
        resolution: of the finest level to use; None for the finest there is.
        label_file: path of the label file; None for `NAME-rxx.labels` where it exists.
        max_label_size: columns of the labels to use at most; "full" for all, 0 for none.
        max_images: use only the first so many images; None for all.
        seed: of the order of images and of random labels.

    Attributes:
        shape: [C, H, W] of the finest level.
        resolution, resolution_log2: of the finest level.
        num_images: images used.
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
        seed: int = 0,
    ):
        self.tfrecord_dir = tfrecord_dir
        self.name = records.dataset_name(tfrecord_dir)
        self.dtype = "uint8"
        self.dynamic_range = [0, 255]
        self.seed = seed
        self._paths = records.find_levels(tfrecord_dir)
        self.resolution_log2 = self._choose_level(resolution)
        self.resolution = 2**self.resolution_log2
        self._indexes: dict[int, np.ndarray] = {}
        self._files: dict[int, int] = {}
        for log2 in range(2, self.resolution_log2 + 1):
            self._open_level(log2)
        self.shape = list(self._read(self.resolution_log2, 0).shape)
        count = len(self._indexes[self.resolution_log2])
        self.num_images = count if max_images is None else min(count, max_images)
        self.labels = self._load_labels(label_file, max_label_size, count)[: self.num_images]
        self.label_size = self.labels.shape[1]
        self.label_dtype = "float32"
        self.label_names = self._load_label_names()
        self._labels_vars: WeakKeyDictionary = WeakKeyDictionary()  # By graph.
        self._permutations: dict[int, np.ndarray] = {}
        self._minibatches: tuple[tuple[int, int], Iterator] | None = None

    def close(self) -> None:
        """Closes the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def minibatches(
        self, start: int, minibatch_size: int, lod: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless minibatches, read ahead in the background.

        Args:
            start: position in the run, in images: the first image is that of position `start`.
            minibatch_size: images at once.
            lod: level of detail: 0 for the finest level, 1 for half its resolution, …

        Yields:
            (images uint8 [N, C, H, W], labels float32 [N, label_size]).

        Raises:
            UserError: a record of another shape than its level's.
        """
        with ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="dataset") as pool:
            pending: deque = deque()
            try:
                while True:
                    while len(pending) < _READ_AHEAD:
                        pending.append(pool.submit(self._load, start, minibatch_size, lod))
                        start += minibatch_size
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def get_minibatch_np(self, minibatch_size: int, lod: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The next minibatch, from position 0 on; another size or lod starts anew."""
        key = (minibatch_size, lod)
        if self._minibatches is None or self._minibatches[0] != key:
            self._minibatches = (key, self.minibatches(0, minibatch_size, lod))
        return next(self._minibatches[1])

    def get_random_labels_np(self, minibatch_size: int, position: int = 0) -> np.ndarray:
        """Labels of randomly chosen images, float32 [N, label_size]: a function of `position`."""
        rng = _generator(self.seed, "labels", position)
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
            # A variable, because a graph has no room for the constants of a large data set.
            with tf.name_scope(None), tf.control_dependencies(None), tf.device("/cpu:0"):
                init = tf.zeros([self.num_images, self.label_size])
                var = tf.Variable(init, trainable=False, name="Dataset/labels")
            self._labels_vars[graph] = var
            tflib.set_vars({var: self.labels})
        rows = uniform([minibatch_size], seed, maxval=self.num_images, dtype=tf.int32)
        return tf.gather(self._labels_vars[graph], rows)

    def read_images(self, index: np.ndarray, lod: int = 0) -> np.ndarray:
        """Images by their number in the data set, uint8 [N, C, H, W]."""
        return np.stack([self._read(self.resolution_log2 - lod, int(i)) for i in index])

    def image_index(self, positions: np.ndarray) -> np.ndarray:
        """Which image stands at a position of the run, int64 like `positions`."""
        # Deviation: the official reader shuffles within a buffer of some thousands of images.
        epochs, offsets = np.divmod(positions, self.num_images)
        index = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            index[chosen] = self._permutation(int(epoch))[offsets[chosen]]
        return index

    def _permutation(self, epoch: int) -> np.ndarray:
        """Order of the images in an epoch. The last two are kept: a minibatch may span both."""
        if epoch not in self._permutations:
            order = _generator(self.seed, "order", epoch).permutation(self.num_images)
            recent = [e for e in (epoch - 1, epoch + 1) if e in self._permutations]
            # Replaced as a whole, because several threads read it.
            self._permutations = {epoch: order, **{e: self._permutations[e] for e in recent[:1]}}
            return order
        return self._permutations[epoch]

    def _load(self, start: int, count: int, lod: int) -> tuple[np.ndarray, np.ndarray]:
        index = self.image_index(np.arange(start, start + count, dtype=np.int64))
        return self.read_images(index, lod), self.labels[index]

    def _read(self, log2: int, number: int) -> np.ndarray:
        """One image, uint8 [C, H, W]."""
        path = self._paths[log2]
        offset, length = (int(n) for n in self._indexes[log2][number])
        try:
            image = records.parse_image(os.pread(self._files[log2], length, offset))
        except (OSError, ValueError) as error:
            raise UserError(f"record {number} of {path} is broken: {error}") from error
        channels = getattr(self, "shape", image.shape)[0]
        if image.shape != (channels, 2**log2, 2**log2):
            raise UserError(
                f"record {number} of {path} has shape {list(image.shape)}, "
                f"expected {[channels, 2**log2, 2**log2]}"
            )
        return image

    def _choose_level(self, resolution: int | None) -> int:
        finest = max(self._paths)
        if resolution is None:
            return finest
        log2 = int(resolution).bit_length() - 1
        if resolution != 2**log2 or log2 not in self._paths:
            raise UserError(
                f"data set {self.tfrecord_dir} has no level of resolution {resolution}: "
                f"it has powers of two from 4 to {2**finest}"
            )
        return log2

    def _open_level(self, log2: int) -> None:
        path = self._paths[log2]
        self._indexes[log2] = records.index_records(path)
        self._files[log2] = os.open(path, os.O_RDONLY)
        self._read(log2, 0)
        first = min(self._indexes)
        if len(self._indexes[log2]) != len(self._indexes[first]):
            raise UserError(
                f"{path} has {len(self._indexes[log2])} images, "
                f"{self._paths[first]} has {len(self._indexes[first])}: build the data set anew"
            )

    def _load_labels(self, label_file, max_label_size, count: int) -> np.ndarray:
        if max_label_size == 0:
            return np.zeros([count, 0], np.float32)
        labels = records.read_labels(self.tfrecord_dir, label_file)
        if labels is None:
            return np.zeros([count, 0], np.float32)
        if len(labels) != count:
            path = label_file or os.path.join(self.tfrecord_dir, f"{self.name}-rxx.labels")
            raise UserError(
                f"label count: {path} has {len(labels)} labels, "
                f"the data set {count} images: build the data set anew"
            )
        return labels if max_label_size == "full" else labels[:, :max_label_size]

    def _load_label_names(self) -> list[str] | None:
        manifest = records.read_manifest(self.tfrecord_dir)
        names = (manifest or {}).get("label_names")
        if not isinstance(names, list) or len(names) != self.label_size:
            return None
        return [str(name) for name in names]


def _generator(seed: int, use: str, number: int) -> np.random.Generator:
    """Random numbers as a function of the seed, what they are for, and a counter (DESIGN D4)."""
    return np.random.Generator(np.random.Philox(key=[seed, number], counter=[0, 0, 0, _USES[use]]))


def load_dataset(
    class_name: str = "training.dataset.TFRecordDataset",
    data_dir: str | None = None,
    verbose: bool = False,
    **kwargs,
) -> TFRecordDataset:
    """Opens a data set as the official function of this name does.

    Args:
        class_name: kept for compatibility; there is one class.
        data_dir: folder that a relative `tfrecord_dir` is in.
        verbose: print what was opened.
        kwargs: for `TFRecordDataset`.
    """
    if class_name != "training.dataset.TFRecordDataset":
        raise UserError(f"no data set class {class_name!r}")
    if data_dir is not None:
        kwargs["tfrecord_dir"] = os.path.join(data_dir, kwargs["tfrecord_dir"])
    dataset = TFRecordDataset(**kwargs)
    if verbose:
        print(f"Data set {dataset.tfrecord_dir}: {dataset.num_images} images, ", end="")
        print(f"shape {dataset.shape}, label size {dataset.label_size}")
    return dataset
