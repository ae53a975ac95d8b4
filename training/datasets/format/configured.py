"""Reading as scripts for the official code do it: minibatches of one configuration at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from dnnlib import UserError
from dnnlib.tensorflow_loader import load_tensorflow
from training.datasets.format.dataset_files import VALIDATION
from training.datasets.format.examples import parse_image

if TYPE_CHECKING:  # Commands on datasets need no TensorFlow.
    import tensorflow.compat.v1 as tf


class ConfiguredReading:
    """Official functions of `training.dataset.TFRecordDataset`."""

    _configuration: tuple[int, int] | None
    _reading: Iterator[tuple[np.ndarray, np.ndarray]] | None
    _lock: threading.Lock

    def configure(self, minibatch_size: int, lod: int = 0) -> None:
        """Says what `get_minibatch_tf` gives; another size or lod starts again at position 0.

        Args:
            minibatch_size: images at once.
            lod: level of detail: 0 for the finest level, 1 for half its resolution, …
        """
        with self._lock:
            self._configure(minibatch_size, lod)

    def _configure(self, minibatch_size: int, lod: float) -> None:
        configuration = (int(minibatch_size), int(np.floor(lod)))
        if configuration != self._configuration:
            self._stop_reading()
            self._reading = self.minibatches(0, *configuration)
            self._configuration = configuration

    def get_minibatch_np(self, minibatch_size: int, lod: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The next minibatch, from position 0 on; another size or lod starts again at 0.

        Returns:
            (images uint8 [N, C, H, W], labels float32 [N, label_size]).

        Raises:
            tf.errors.OutOfRangeError: all images of a dataset that does not repeat were given.
        """
        with self._lock:
            self._configure(minibatch_size, lod)
            found = next(self._reading, None)
        if found is None:
            out_of_range = load_tensorflow().errors.OutOfRangeError
            raise out_of_range(None, None, f"dataset {self.tfrecord_dir}: all images were given")
        return found

    def get_minibatch_tf(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Tensors that are the next minibatch at every run, as `configure` says at that moment.

        Returns:
            (images uint8 [N, C, H, W], labels float32 [N, label_size]).
        """
        tf = load_tensorflow()

        def read() -> tuple[np.ndarray, np.ndarray]:
            with self._lock:
                if self._reading is None:
                    raise UserError(
                        f"dataset {self.tfrecord_dir}: call configure() before it is read"
                    )
                return next(self._reading)  # StopIteration becomes an OutOfRangeError.

        with tf.device("/cpu:0"):
            images, labels = tf.numpy_function(read, [], [tf.uint8, tf.float32])
        images.set_shape([None, self.shape[0], None, None])
        labels.set_shape([None, self.label_size])
        return images, labels

    @staticmethod
    def parse_tfrecord_tf(record: tf.Tensor) -> tf.Tensor:
        """The image of a record, uint8 [C, H, W], in the graph.

        Args:
            record: string scalar, a tf.train.Example.
        """
        tf = load_tensorflow()
        image = tf.numpy_function(ConfiguredReading.parse_tfrecord_np, [record], tf.uint8)
        image.set_shape([None, None, None])
        return image

    @staticmethod
    def parse_tfrecord_np(record: bytes) -> np.ndarray:
        """The image of a record, uint8 [C, H, W]; raises a ValueError if it holds none."""
        return parse_image(record)

    def load_validation_set_np(self) -> tuple[np.ndarray, np.ndarray]:
        """Images that are held out, or those of the dataset that `pack` puts beside this one.

        Returns:
            (images uint8 [N, C, H, W], labels float32 [N, label_size]); N is at most the dataset's
            `max_validation`.

        Raises:
            UserError: there are none.
        """
        folder = self.tfrecord_dir.rstrip("/") + VALIDATION
        if self.num_held_out or not os.path.isdir(folder):
            held_out, close = self.validation_set(), nullcontext()
        else:
            held_out = type(self)(folder, self.resolution, max_label_size=self.label_size)
            close = closing(held_out)
        with close:
            index = np.arange(held_out.num_images)[: self.max_validation]
            return held_out.read_images(index), held_out.labels[index]

    def _stop_reading(self) -> None:
        """Ends the threads that read ahead."""
        if self._reading is not None:
            self._reading.close()
        self._reading = self._configuration = None
