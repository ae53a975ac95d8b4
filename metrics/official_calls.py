"""Metrics as scripts for the official code write and run them: options of a call, own metrics."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, downloads, tflib, urls
from dnnlib.schema import read_json_object
from dnnlib.tflib import Network, tfutil
from dnnlib.util import one_line
from metrics.evaluation import Evaluation, MetricOptions
from training.dataset import TFRecordDataset
from training.datasets.photos.arrays import on_white
from training.random_streams import generator


def trained_options(folder: str) -> dict[str, Any]:
    """What `training_options.json` in a folder says; nothing if there is none."""
    path = os.path.join(folder, "training_options.json")
    options = read_json_object(path)
    if not isinstance(options.get("dataset_args", {}), dict):
        raise UserError(f"{path} does not hold training options")
    return options


def options_of_call(
    network_pkl: str,
    run_dir: str | None = None,
    data_dir: str | None = None,
    dataset_args: Mapping[str, Any] | None = None,
    mirror_augment: bool | None = None,
    **others: Any,
) -> MetricOptions:
    """The options that the official arguments of a metric's `run` mean.

    What is None is as `training_options.json` in `run_dir` or beside the network says, or for
    `others`, further fields of the options, as their defaults. Without a dataset, metrics can be
    measured that need none.
    """
    trained: dict[str, Any] = {}
    for folder in (run_dir, None if urls.is_url(network_pkl) else os.path.dirname(network_pkl)):
        if folder is not None and not trained:
            trained = trained_options(folder)
    of_run = _our_args(trained.get("dataset_args", {}), data_dir)
    args = of_run if dataset_args is None else _our_args(dataset_args, data_dir)
    if dataset_args is not None:
        others["trained_args"] = args_of_trained(of_run, args.get("tfrecord_dir"))
    in_dataset = args.pop("mirror_augment", None)
    if mirror_augment is None:
        mirror_augment = trained.get("mirror_augment", False) if in_dataset is None else in_dataset
    others = {name: value for name, value in others.items() if value is not None}
    return MetricOptions(args, bool(mirror_augment), **others)


def _our_args(official: Mapping[str, Any], data_dir: str | None) -> dict[str, Any]:
    """Arguments of a dataset by the names of `TFRecordDataset`, with its whole path."""
    args = dict(official)
    args.pop("class_name", None)
    if "path" in args:
        args["tfrecord_dir"] = args.pop("path")
    if data_dir is not None and isinstance(args.get("tfrecord_dir"), str):
        args["tfrecord_dir"] = os.path.join(data_dir, args["tfrecord_dir"])
    return args


def args_of_trained(
    of_run: Mapping[str, Any], given: str | None, is_other: bool = False
) -> dict[str, Any] | None:
    """`MetricOptions.trained_args` where a dataset is given that is not taken from the run.

    Args:
        of_run: arguments of the dataset of the run.
        given: the folder that is given; if that of the run is gone, it is taken for it.
        is_other: it is given to compare with: then it is taken only if it has the same name.

    Returns:
        None if the run does not say: then what is given counts.
    """
    args = {name: value for name, value in of_run.items() if name != "mirror_augment"}
    path = args.get("tfrecord_dir")
    if not isinstance(path, str):
        return None
    if given is not None and not os.path.isdir(path):
        names = {os.path.basename(os.path.normpath(p)) for p in (path, given)}
        if not is_other or len(names) == 1:
            args["tfrecord_dir"] = given
    return args


@contextmanager
def metric_session(seed: int, tf_config: Mapping[str, Any] | None = None) -> Iterator[None]:
    """A graph and session of its own, where `/gpu:0` is the CPU if there is no GPU."""
    with tf.Graph().as_default(), tflib.create_session(tf_config):
        tfutil.seed_graph(seed)
        yield


class OfficialHelpers:
    """What `_evaluate` of a metric of one's own calls, by the official names.

    Attributes:
        evaluation: that is running, else None.
    """

    name: str
    evaluation: Evaluation | None = None
    _progress_range: tuple[float, float] | None = None
    _progress_seconds = 15.0
    _progress_time = 0.0
    _progress_fn: Callable[[float, float], None] | None = None
    _labels_drawn = 0

    def configure_progress_reports(
        self, plo: float, phi: float, pmax: float, psec: float = 15
    ) -> None:
        """Says how progress is printed.

        Args:
            plo, phi: what begin and end of this metric are in all that is done.
            pmax: how much that is.
            psec: seconds between lines.
        """
        self._progress_range = plo / pmax, phi / pmax
        self._progress_seconds = psec

    def _report_progress(self, pcur: float, pmax: float, status_str: str = "") -> None:
        """Tells that `pcur` of `pmax` are done."""
        if self._progress_fn is not None:
            self._progress_fn(pcur, pmax)
        now = time.monotonic()
        if self._progress_range is None or now < self._progress_time + self._progress_seconds:
            return
        self._progress_time = now
        low, high = self._progress_range
        share = low + (high - low) * pcur / pmax
        print(one_line(f"{self.name}: {100 * share:.1f} % {status_str}"), flush=True)

    def _report_result(self, value: float, suffix: str = "", fmt: str = "%-10.4f") -> None:
        """A result, reported as `name` + `suffix`, with the format for the line of results."""
        self._results[suffix] = float(value)
        self._formats[suffix] = fmt

    def _get_dataset_obj(self) -> TFRecordDataset:
        """The dataset, at the resolution of the network."""
        return self.evaluation.dataset

    def _iterate_reals(self, minibatch_size: int) -> Iterator[np.ndarray]:
        """Minibatches of reals uint8 [N, C, H, W] on white, endless unless the dataset is not.

        Half of them are mirrored if the network was trained so.
        """
        rng = generator("metric_reals", "mirror")
        with closing(self.evaluation.dataset.minibatches(0, minibatch_size)) as minibatches:
            for images, _ in minibatches:
                if self.evaluation.options.mirror_augment:
                    chosen = rng.random(len(images)) < 0.5
                    images[chosen] = images[chosen][..., ::-1]
                yield on_white(images)

    def _iterate_fakes(
        self, Gs: Network, minibatch_size: int, num_gpus: int
    ) -> Iterator[np.ndarray]:
        """Endless minibatches of generated images uint8 [N, C, H, W], on white."""
        transform = {"func": tflib.convert_images_to_uint8}
        begin = 0
        while True:
            images = Gs.run(
                self.evaluation.latents(begin, minibatch_size),
                self.evaluation.labels(begin, minibatch_size),
                output_transform=transform,
                num_gpus=num_gpus,
                **self.evaluation.options.Gs_kwargs,
            )
            yield on_white(images)
            begin += minibatch_size

    def _get_minibatch_np(self, minibatch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """The next real images uint8 [N, C, H, W], on white, and their labels."""
        images, labels = self.evaluation.dataset.get_minibatch_np(minibatch_size)
        return on_white(images), labels

    def _get_random_labels_tf(self, minibatch_size: int) -> tf.Tensor:
        """Labels as the network takes them, drawn at every run, float32 [N, label_size]."""
        if not self.evaluation.label_size:
            return tf.zeros([minibatch_size, 0])
        return self.evaluation.dataset.get_random_labels_tf(minibatch_size)

    def _get_random_labels_np(self, minibatch_size: int) -> np.ndarray:
        """The same as an array."""
        begin, self._labels_drawn = self._labels_drawn, self._labels_drawn + minibatch_size
        return self.evaluation.labels(begin, minibatch_size)

    def _get_cache_file_for_reals(self, extension: str = "pkl", **kwargs: Any) -> str:
        """Path of a file for what is computed of the reals once.

        Args:
            extension: of the file.
            kwargs: further numbers and texts that it depends on.
        """
        options = self.evaluation.options
        key = {
            "metric": type(self).__name__,
            "content": self.evaluation.dataset.content,
            "mirrored": options.mirror_augment,
            **kwargs,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        folder = os.path.join(downloads.cache_folder(), "metrics")
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, f"{digest}-{self.name}.{extension}")
