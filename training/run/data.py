"""What a run takes from its dataset: minibatches, and reals as the discriminator sees them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.output import tqdm
from dnnlib.tflib.workers import ALONE, Alone
from dnnlib.threads import map_in_threads
from training.architecture.sizes import SQUARE_BASE
from training.config.options import NETWORK_SHAPE, TrainingOptions
from training.config.schedule import Schedule
from training.dataset import TFRecordDataset
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.levels import BASE_LOG2
from training.datasets.format.manifest import read_manifest
from training.datasets.photos.arrays import to_picture
from training.datasets.photos.copies import Fingerprint, NearCopies, fit_to_compare
from training.datasets.photos.decode import Fit, fit_picture
from training.random_streams import uniform
from training.run.resume import differences
from training.run.state import Counters


def open_dataset(options: TrainingOptions) -> TFRecordDataset:
    """The dataset of a run, in the order of its seed; a UserError says what is wrong with it."""
    return TFRecordDataset(**{**options.dataset_args, "seed": options.seed})


class Minibatches:
    """Minibatches of a run, read ahead: of the level and size that the schedule says.

    Args:
        training_set: of the run.
        options: of the run, which say whether steps need held-out images too.
        workers: that share a minibatch: each reads its own rows.
    """

    def __init__(
        self, training_set: TFRecordDataset, options: TrainingOptions, workers: Alone = ALONE
    ):
        self._datasets = [training_set]
        self._num_replicas, self._workers = options.num_gpus, workers
        if options.augment_args.mode == "adarv" or training_set.num_held_out:
            self._datasets.append(training_set.validation_set())
        self._kind: tuple[int, int, int] | None = None
        self._parts: list[Generator] = []

    def fetch(self, sched: Schedule, position: int) -> tuple:
        """The next minibatch: (images, labels), and another one of held-out images if needed.

        Args:
            sched: of this moment.
            position: images that the run has seen; with the same level and size, what follows the
                minibatch before.
        """
        kind = (sched.resolution, sched.minibatch_size, sched.minibatch_gpu)
        if kind != self._kind:
            self.close()
            lod = int(np.floor(sched.lod))
            self._kind = kind
            rows = self._rows(sched)
            self._parts = [
                d.minibatches(position, sched.minibatch_size, lod, rows) for d in self._datasets
            ]
        return tuple(next(part) for part in self._parts)

    def _rows(self, sched: Schedule) -> np.ndarray | None:
        """This worker's rows of a minibatch: in every round those of its replicas."""
        if self._workers.count == 1:
            return None
        own = sched.minibatch_gpu * self._num_replicas // self._workers.count
        rounds = np.arange(sched.minibatch_size).reshape(-1, self._workers.count, own)
        return rounds[:, self._workers.index].reshape(-1)

    def close(self) -> None:
        """Stops reading ahead."""
        for part in self._parts:
            part.close()
        self._parts, self._kind = [], None


def complete_options(options: TrainingOptions, training_set: TFRecordDataset) -> TrainingOptions:
    """The options with the shape of the data filled in."""
    shape = _network_shape(training_set)
    # A run is resumed from any folder.
    path = os.path.abspath(training_set.tfrecord_dir)
    return dataclasses.replace(
        options,
        dataset_args={**options.dataset_args, "tfrecord_dir": path},
        G_args={**shape, **options.G_args},
        D_args={**shape, **options.D_args},
    )


def _network_shape(training_set: TFRecordDataset) -> dict[str, Any]:
    """What both networks have to know of the data, by the keywords of `NETWORK_SHAPE`."""
    shape = {
        "num_channels": training_set.shape[0],
        "resolution": training_set.resolution,
        "label_size": training_set.label_size,
    }
    doublings = training_set.resolution_log2 - BASE_LOG2
    base_size = tuple(side >> doublings for side in training_set.shape[1:])
    if base_size != SQUARE_BASE:  # Official readers of square networks do not know the keyword.
        shape["base_size"] = base_size
    return shape


def check_same_data(
    options: TrainingOptions, counters: Counters, training_set: TFRecordDataset
) -> None:
    """Raises a UserError if a dataset is not the one that a run was started with.

    Args:
        options: of the run, as they are stored.
        counters: of its state.
        training_set: what was found now.
    """
    stored = {name: value for name, value in options.G_args.items() if name in NETWORK_SHAPE}
    stored |= {name: getattr(counters, name) for name in ("num_images", "content")}
    # Older states do not say all.
    stored = {name: value for name, value in stored.items() if value is not None}
    found = {**_network_shape(training_set), "num_images": training_set.num_images}
    if "content" in stored:
        found["content"] = training_set.content
    different = list(differences(json.loads(json.dumps(found)), stored, ""))
    if different:
        # Other sizes say more than that the content is another.
        sizes = [d for d in different if d[0] != "content"]
        listed = "; ".join(f"{name} is {now}, not {was}" for name, now, was in sizes)
        listed = listed or "it has as many images of the same size, but other pictures or labels"
        raise UserError(
            f"the dataset {training_set.tfrecord_dir} is not what the run was started with: "
            f"{listed}; resume with the dataset as it was, or start a new run from the weights "
            "with --resume=SNAPSHOT.pkl"
        )


def describe_data(dataset: TFRecordDataset) -> str:
    """A line that says what a run trains on."""
    text = f"Dataset {dataset.tfrecord_dir}: {dataset.num_images} images {dataset.shape}"
    if dataset.num_held_out:
        text += f" and {dataset.num_held_out} held out"
    if not dataset.label_size:
        return text + ", no labels used"
    names = f": {', '.join(dataset.label_names)}" if dataset.label_names else ""
    return f"{text}, conditional on {dataset.label_size} labels{names}"


def copies_of_held_out(dataset: TFRecordDataset) -> int:
    """How many of the held-out images are near-duplicates of images that are trained on.

    0 without looking, where the manifest says that such pictures were left out of the dataset.
    """
    if not dataset.num_held_out:
        return 0
    manifest = read_manifest(find_dataset(dataset.tfrecord_dir)) or {}
    if manifest.get("dedupe") == "near":
        return 0
    held_out, copies, found = dataset.validation_set(), NearCopies(), set()
    for number, fingerprint in enumerate(_fingerprints(held_out)):
        copies.add(str(number), fingerprint)
    fingerprints = _fingerprints(dataset)
    bar = tqdm(fingerprints, total=dataset.num_images, desc="held out?", unit="img", disable=None)
    with closing(fingerprints):
        for fingerprint in bar:
            found.update(match.number for match in copies.matches(fingerprint))
    return len(found)


def _fingerprints(dataset: TFRecordDataset) -> Generator[Fingerprint]:
    """Of all images, in the order of the files."""
    # Of the coarsest level that is not enlarged, which is quick to read.
    height, width = dataset.shape[1:]
    lod = max(0, (min(height, width) // NearCopies.FIT.height).bit_length() - 1)
    fit = fit_to_compare(NearCopies, Fit(height, width, channels=dataset.shape[0]))

    def fingerprint(index: int) -> Fingerprint:
        [image] = dataset.read_images(np.array([index]), lod)
        return NearCopies.fingerprint(fit_picture(to_picture(image), fit))

    return map_in_threads(fingerprint, range(dataset.num_images))


def process_reals(
    x: tf.Tensor,
    labels: tf.Tensor,
    lod: float | tf.Tensor,
    mirror_augment: bool,
    drange_data: Sequence[float],
    drange_net: Sequence[float],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Images of a dataset as the discriminator sees them, and their labels.

    Args:
        x: [N, C, H, W] of the level floor(lod), values in `drange_data`.
        labels: [N, label_size], which stay as they are.
        lod: level of detail, 0 for full resolution.
        mirror_augment: whether half of the images are mirrored, at random.
        drange_data: like [0, 255].
        drange_net: like [-1, 1].

    Returns:
        Images float32 of full resolution with values in `drange_net`, and labels.
    """
    sides = x.shape[2:].as_list()
    scale = (drange_net[1] - drange_net[0]) / (drange_data[1] - drange_data[0])
    images = tf.cast(x, tf.float32) * scale + (drange_net[0] - drange_data[0] * scale)
    if mirror_augment:
        images = mirror_half(images, seed=None)
    if tf.is_tensor(lod) or lod > 0:
        images = fade_and_upscale(images, tf.cast(lod, tf.float32))
    if not tf.is_tensor(lod) and None not in sides:
        images.set_shape([*x.shape[:2], *(side * 2 ** int(lod) for side in sides)])
    return images, labels


def mirror_half(images: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
    """Images [N, C, H, W], each mirrored with a chance of one half.

    Args:
        images: any.
        seed: [2] int32; None draws fresh numbers at every run.
    """
    draw = uniform([tf.shape(images)[0], 1, 1, 1], seed)
    mask = tf.broadcast_to(draw < 0.5, tf.shape(images))
    return tf.where(mask, images, tf.reverse(images, [3]))


def fade_and_upscale(images: tf.Tensor, lod: tf.Tensor) -> tf.Tensor:
    """Images of a level as progressive growing shows them to the discriminator.

    Blends them with what the next coarser level holds, by the fraction of `lod` (PGGAN, figure 2),
    and repeats pixels up to full resolution.

    Args:
        images: [N, C, H, W] of the level floor(lod).
        lod: scalar level of detail.
    """
    shape = tf.shape(images)
    n, c, h, w = (shape[i] for i in range(4))
    level = tf.floor(lod)

    def blended():
        boxes = tf.reshape(images, [n, c, h // 2, 2, w // 2, 2])
        coarse = tf.reduce_mean(boxes, axis=[3, 5], keepdims=True)
        coarse = tf.reshape(tf.tile(coarse, [1, 1, 1, 2, 1, 2]), shape)
        return tflib.lerp(images, coarse, lod - level)

    # The coarsest level is never blended, and may have sides that are odd.
    images = tf.cond(lod > level, blended, lambda: images)
    factor = tf.cast(tf.round(2.0**level), tf.int32)
    images = tf.tile(images[:, :, :, tf.newaxis, :, tf.newaxis], [1, 1, 1, factor, 1, factor])
    return tf.reshape(images, [n, c, h * factor, w * factor])
