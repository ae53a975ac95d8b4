"""What a run takes from its dataset, and whether it is still the dataset that it began with."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Generator
from typing import Any

import numpy as np

from dnnlib import UserError
from training.architecture.sizes import SQUARE_BASE
from training.config.options import NETWORK_SHAPE, TrainingOptions
from training.config.schedule import Schedule
from training.dataset import TFRecordDataset
from training.datasets.format.levels import BASE_LOG2
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
    """

    def __init__(self, training_set: TFRecordDataset, options: TrainingOptions):
        self._datasets = [training_set]
        if options.augment_args.mode == "adarv" or training_set.num_held_out:
            self._datasets.append(training_set.validation_set())
        self._kind: tuple[int, int] | None = None
        self._parts: list[Generator] = []

    def fetch(self, sched: Schedule, position: int) -> tuple:
        """The next minibatch: (images, labels), and another one of held-out images if needed.

        Args:
            sched: of this moment.
            position: images that the run has seen; with the same level and size, what follows the
                minibatch before.
        """
        kind = (sched.resolution, sched.minibatch_size)
        if kind != self._kind:
            self.close()
            lod = int(np.floor(sched.lod))
            self._kind = kind
            self._parts = [
                d.minibatches(position, sched.minibatch_size, lod) for d in self._datasets
            ]
        return tuple(next(part) for part in self._parts)

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
