"""One snapshot under measurement: its fakes, the reals, and their features.

A graph is built once for a feature network and holds, on every device, generator and feature
network: latents go in, features come out. Where real images are fed instead of generated ones, the
generator does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, tfutil
from metrics.feature_networks import FeatureNetwork, FeatureSources
from metrics.feature_networks.graph_process import user_errors
from metrics.reals import RealImages, choose_reals
from training import random_streams
from training.architecture.precision import computed_in, lower_dtype
from training.dataset import TFRecordDataset
from training.datasets.photos.arrays import on_white
from training.snapshots.build_functions import BUILD_MODULES
from training.snapshots.pickles import Subject

# Images at once on a device: 8 of 1024×1024, and as many pixels of smaller ones up to a limit.
_MINIBATCH_PIXELS = 8 << 20
_MINIBATCH = (8, 32)


@dataclass(frozen=True)
class MetricOptions:
    """What metrics are measured with.

    Attributes:
        dataset_args: for `TFRecordDataset`; the resolution is that of the network. None or empty:
            no dataset, for metrics that need none.
        mirror_augment: whether the network was trained on mirrored images too.
        num_gpus: devices that share every minibatch.
        seed: of the fakes; None draws one for every snapshot, which is reported.
        repeats: evaluations with other fakes; their mean and deviation are reported.
        sources: feature networks.
        allow_pickled_code: run the code that a snapshot brings.
        held_out: compare with the images of the dataset that are held out, not with the others.
        trained_args: as `dataset_args`, of the dataset that was trained on, for metrics that are
            about that one; None: it is the same dataset; empty: it is not known.
        Gs_kwargs: keyword arguments of the generator when it makes fakes.
        precision: in which it makes them, see `training.architecture.precision`; path lengths,
            whose steps are too short for less, are of float32 always.
    """

    dataset_args: Mapping[str, Any] | None
    mirror_augment: bool = False
    num_gpus: int = 1
    seed: int | None = None
    repeats: int = 1
    sources: FeatureSources = field(default_factory=FeatureSources)
    allow_pickled_code: bool = False
    held_out: bool = False
    trained_args: Mapping[str, Any] | None = None
    Gs_kwargs: Mapping[str, Any] = field(default_factory=lambda: {"is_validation": True})
    precision: Literal["fp32", "mixed"] = "fp32"


def other_dataset_args(folder: str, trained: Mapping[str, Any]) -> dict[str, Any]:
    """For `MetricOptions`: arguments of the dataset that --metricdata names.

    Args:
        folder: of the dataset.
        trained: arguments of the one that is trained on.

    Raises:
        UserError: it has images of another shape, or labels of another size.
    """
    with closing(TFRecordDataset(**trained)) as expected:
        pass
    args = {"tfrecord_dir": folder, "max_label_size": trained.get("max_label_size", "full")}
    try:
        with closing(TFRecordDataset(**args, resolution=expected.resolution)) as other:
            pass
    except UserError as error:
        raise UserError(f"--metricdata: {error}") from error
    for what, has, needs in (
        ("images", other.shape, expected.shape),
        ("labels of size", other.label_size, expected.label_size),
    ):
        if has != needs:
            raise UserError(
                f"--metricdata: {folder} has {what} {has}, the training set {needs}: name a "
                "dataset of the same kind"
            )
    return args


class Replicas:
    """The same expressions on every device, each of which computes its share of the rows.

    Args:
        devices: their names.
        build: called with the number of each device; returns placeholders by name and outputs
            with one row an image.
    """

    def __init__(self, devices: list[str], build: Callable[[int], tuple[dict, list[tf.Tensor]]]):
        self._parts = []
        for i, device in enumerate(devices):
            with tf.device(device), tf.name_scope(f"Metric{i}"):
                self._parts.append(build(i))
        tflib.init_uninitialized_vars()

    def run(
        self,
        rows: Mapping[str, np.ndarray],
        shared: Mapping[str, Any] | None = None,
        num_outputs: int | None = None,
    ) -> list[np.ndarray]:
        """Evaluates the outputs.

        Args:
            rows: arrays that the devices share, one row an image.
            shared: what every device gets as it is.
            num_outputs: evaluate only the first so many; None for all.
        """
        count = len(next(iter(rows.values())))
        bounds = np.linspace(0, count, min(len(self._parts), count) + 1).astype(int)
        feed, fetches = {}, []
        for (placeholders, outputs), a, b in zip(self._parts, bounds, bounds[1:], strict=False):
            feed.update({placeholders[name]: array[a:b] for name, array in rows.items()})
            feed.update({placeholders[name]: value for name, value in (shared or {}).items()})
            fetches.append(outputs[:num_outputs])
        with user_errors():
            columns = zip(*tflib.run(fetches, feed), strict=True)
        return [np.concatenate(column) for column in columns]


class Evaluation:
    """A generator with the dataset it is compared to, in the current graph and session.

    Args:
        Gs: the generator.
        snapshot: its name, for reports.
        options: see `MetricOptions`; with a seed.
        subject: the file that it is from, with its discriminator, for metrics that need that.

    Attributes:
        repeat: number of the evaluation: each has other fakes.
        label_size: of the generator, 0 for none.

    Raises:
        UserError: the dataset does not fit the network.
    """

    def __init__(
        self, Gs: Network, snapshot: str, options: MetricOptions, subject: Subject | None = None
    ):
        self.Gs, self.snapshot, self.options, self.subject = Gs, snapshot, options, subject
        self.seed, self.repeat = options.seed, 0
        self._devices = tfutil.replica_devices(options.num_gpus)
        channels, height, width = Gs.output_shape[1:]
        per_device = int(np.clip(_MINIBATCH_PIXELS // (height * width), *_MINIBATCH))
        self.minibatch = per_device * len(self._devices)
        self.label_size = Gs.input_shapes[1][1] or 0
        self._dataset = None
        if options.dataset_args:
            self._dataset = self._open_dataset(options.dataset_args, [channels, height, width])
        self._replicas: dict[Hashable, Replicas] = {}
        self.begin_metric()

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._dataset is not None:
            self._dataset.close()

    @property
    def dataset(self) -> TFRecordDataset:
        """The dataset; raises a UserError if none was given."""
        if self._dataset is None:
            raise UserError(
                f"a dataset is missing, and beside {self.snapshot} there is no "
                "training_options.json that names one: give dataset_args=dict(tfrecord_dir=...)"
            )
        return self._dataset

    def _open_dataset(self, args: Mapping[str, Any], shape: list[int]) -> TFRecordDataset:
        # A network that is not square has the resolution of a square with as many levels.
        resolution = self.Gs.static_kwargs.get("resolution", max(shape[1:]))
        dataset = TFRecordDataset(**{**args, "resolution": resolution})
        if self.options.held_out:
            dataset = dataset.validation_set()
        name, size = dataset.tfrecord_dir, self.label_size
        if list(dataset.shape) != shape:
            raise UserError(
                f"dataset {name} has images {list(dataset.shape)}, network {self.snapshot} "
                f"makes {shape}: use the dataset that it was trained on"
            )
        if size and size != dataset.label_size:
            raise UserError(
                f"dataset {name} has {dataset.label_size} labels an image, network "
                f"{self.snapshot} takes {size}: use the dataset that it was trained on"
            )
        return dataset

    # What a report says

    def begin_metric(self) -> None:
        """Forgets what was noted of the metric before."""
        self._notes: dict[str, None] = {}
        self._num_reals = self._num_fakes = 0
        self._networks: dict[str, str] = {}
        if self._dataset is not None and self._dataset.label_size and not self.label_size:
            self.note("the network has no labels; those of the dataset are not used")
        if self.options.precision == "mixed" and lower_dtype() is not None:
            self.note(f"pictures are made in {lower_dtype().name}, for path lengths in float32")

    def note(self, text: str) -> None:
        """Something that the reader of the number should know; the same text counts once."""
        self._notes[text] = None

    def uses(self, network: FeatureNetwork, num_reals: int = 0, num_fakes: int = 0) -> None:
        """Notes what a metric compares, and with which feature network."""
        self._networks[network.name] = network.sha256
        self._num_reals = num_reals or self._num_reals
        self._num_fakes = num_fakes or self._num_fakes

    def facts(self) -> dict[str, Any]:
        """The part of a `MetricReport` that is known here."""
        return {
            "num_reals": self._num_reals,
            "num_fakes": self._num_fakes,
            "feature_networks": dict(self._networks),
            "notes": tuple(self._notes),
        }

    # Random numbers as functions of the image's number

    def generator(self, use: str, number: int) -> np.random.Generator:
        """Random numbers of one image for one purpose."""
        return random_streams.generator("metrics", use, [self.seed, self.repeat], number)

    def latents(self, begin: int, count: int) -> np.ndarray:
        """float32 [N, latent_size] of images from `begin` on."""
        size = self.Gs.input_shape[1]
        return np.stack(
            [
                self.generator("latents", i).standard_normal(size, dtype=np.float32)
                for i in range(begin, begin + count)
            ]
        )

    def labels(self, begin: int, count: int) -> np.ndarray:
        """Labels of images of the dataset, drawn at random, float32 [N, label_size]."""
        if not self.label_size:
            return np.zeros([count, 0], np.float32)
        total = self.dataset.num_images
        numbers = range(begin, begin + count)
        return self.dataset.labels[[self.generator("labels", i).integers(total) for i in numbers]]

    def uniform(self, use: str, begin: int, count: int) -> np.ndarray:
        """float32 [N] in [0, 1)."""
        numbers = range(begin, begin + count)
        return np.array([self.generator(use, i).random() for i in numbers], np.float32)

    def noise_seed(self, begin: int) -> dict[str, list[int]]:
        """What `Replicas.run` feeds for the noise of a minibatch that starts at an image."""
        return {"seed": [(self.seed + self.repeat) % 2**31, begin]}

    def minibatches(self, count: int, pairs: bool = False) -> Iterator[tuple[int, int]]:
        """(first image, number of images) of each minibatch; of pairs there are half as many."""
        step = max(self.minibatch // 2, 1) if pairs else self.minibatch
        return ((begin, min(step, count - begin)) for begin in range(0, count, step))

    # Images and features

    def fake_images(self, replica: int, with_dlatents: bool = False):
        """Placeholders by name, and images float32 [N, C, H, W] of the generator as it is.

        Truncation is that for validation unless the options say otherwise, noise is random.
        """
        feeds = {
            "latents": tf.placeholder(tf.float32, [None, self.Gs.input_shape[1]]),
            "labels": tf.placeholder(tf.float32, [None, self.label_size]),
            "seed": tf.placeholder(tf.int32, [2]),
        }
        kwargs = dict(self.options.Gs_kwargs)
        # The code of others knows no seed: there, the seed of the graph has to do.
        if self.Gs.build_module in BUILD_MODULES:
            kwargs["random_seed"] = random_streams.stream(feeds["seed"], "replica", replica)
        if with_dlatents:
            kwargs["return_dlatents"] = True
        with computed_in(self.options.precision):
            result = self.Gs.get_output_for(feeds["latents"], feeds["labels"], **kwargs)
        return (feeds, *result) if with_dlatents else (feeds, result)

    def replicas(self, key: Hashable, build: Callable) -> Replicas:
        """`Replicas` that are built once in this evaluation."""
        if key not in self._replicas:
            self._replicas[key] = Replicas(self._devices, build)
        return self._replicas[key]

    def _feature_graph(self, network: FeatureNetwork, output: str) -> Replicas:
        def build(replica: int):
            feeds, images = self.fake_images(replica)
            is_sound = tf.reduce_all(tf.is_finite(images), axis=[1, 2, 3])
            images = tflib.convert_images_to_uint8(images)
            feeds["images"] = images = tf.placeholder_with_default(
                images, [None, *self.Gs.output_shape[1:]]
            )
            images = tf.cast(on_white(images), tf.float32)
            if images.shape[1].value == 1:
                images = tf.tile(images, [1, 3, 1, 1])
            return feeds, [network.build(images)[output], is_sound]

        return self.replicas((network.key, output), build)

    def fake_features(
        self, network: FeatureNetwork, count: int, output: str = "features"
    ) -> Iterator[np.ndarray]:
        """Features of `count` generated images, float32 [N, D] a minibatch."""
        self.uses(network, num_fakes=count)
        graph = self._feature_graph(network, output)
        for begin, size in self.minibatches(count):
            rows = {"latents": self.latents(begin, size), "labels": self.labels(begin, size)}
            features, is_sound = graph.run(rows, self.noise_seed(begin))
            if not is_sound.all():  # As bytes they would be black pictures.
                raise UserError(f"{self.snapshot} makes images that are not finite numbers")
            yield features

    def all_fake_features(self, network: FeatureNetwork, count: int) -> np.ndarray:
        """Features of `count` generated images, float32 [count, D]."""
        return np.concatenate(list(self.fake_features(network, count)))

    def reals(
        self,
        network: FeatureNetwork,
        max_reals: int | None,
        mirror: bool | None,
        use_cache: bool = True,
    ) -> RealImages:
        """The real images of a metric.

        Args:
            network: for their features.
            max_reals: None for all.
            mirror: whether half of them are mirrored; None: as the network was trained.
            use_cache: take what was computed of them before.
        """
        mirror = self.options.mirror_augment if mirror is None else mirror
        index, mirrored = choose_reals(self.dataset, max_reals, mirror)
        if max_reals is not None and len(index) < max_reals:
            self.note(f"{len(index)} reals: the dataset has no {max_reals}")
        self.uses(network, num_reals=len(index))

        def compute(images: np.ndarray) -> np.ndarray:
            graph = self._feature_graph(network, "features")
            return graph.run({"images": images}, num_outputs=1)[0]

        # By their places in the files, so that the cache tells apart which are held out.
        numbers = self.dataset.numbers[index]
        whole = self.dataset.whole()
        return RealImages(whole, network, numbers, mirrored, self.minibatch, compute, use_cache)
