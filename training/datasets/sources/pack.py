"""Datasets as folders of PNG files, and subsets of these (`unpack`, `pack`).

`unpack` is `inspect.extract`: img00000000.png, ..., and dataset.json with labels.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import numpy as np

from dnnlib import UserError
from dnnlib.files import check_free
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.format.dataset_files import VALIDATION
from training.datasets.items import Item, ItemList, Source
from training.datasets.photos.decode import Fit, Unreadable, open_image
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.images import images_source

_MIRRORED = "//mirrored"  # at the end of a picture's name; no path of a picture has two slashes


def pack(
    output: Output,
    unpacked_dir: str,
    num_train: int | None = None,
    num_validation: int = 0,
    mirror: bool = False,
    seed: int = 123,
) -> None:
    """Makes a dataset of randomly chosen pictures of an unpacked one, and one for validation.

    Args:
        output: what to make of the pictures for training; `shuffle` is not used. Pictures for
            validation go to TFRECORD_DIR-validation, never mirrored.
        unpacked_dir: folder of pictures, from `unpack`. The first one tells whether all are
            gray, or have opacity.
        num_train: how many pictures for training; None for all that are left.
        num_validation: how many other pictures for validation.
        mirror: add each picture for training a second time, mirrored.
        seed: which pictures, and in what order.

    Raises:
        UserError: there are fewer pictures, or they are unreadable, or a dataset cannot be written.
    """
    output.check()
    source = images_source(unpacked_dir)
    items = ItemList(source.items)
    source.channels = _channels(source, items)
    left = len(items) - num_validation
    num_train = left if num_train is None else num_train
    if not 0 < num_train <= left:
        raise UserError(
            f"--num_train is {num_train} and --num_validation {num_validation}: "
            f"expected together 1 to {len(items)}, as {unpacked_dir} has so many pictures"
        )
    folder = output.tfrecord_dir.rstrip("/") + VALIDATION
    if num_validation:
        check_free(folder)
    # Deviation: the options are the official ones; which pictures a seed chooses, and where those
    # for validation go, are decisions of ours.
    order = np.random.RandomState(seed).permutation(len(items))
    training = subset(source, items, order[:num_train])
    training.facts["seed"] = seed
    output = dataclasses.replace(output, shuffle=False)
    with PictureReader() as reader:
        build(mirrored(training, reader) if mirror else training, output)
    if num_validation:
        validation = subset(source, items, order[num_train : num_train + num_validation])
        validation.facts["seed"] = seed
        build(validation, dataclasses.replace(output, tfrecord_dir=folder))


def subset(source: Source, items: ItemList, order: np.ndarray) -> Source:
    """Some pictures of a source, in the given order.

    Labels keep their columns even where no picture of a class is among them.

    Args:
        source: as from `images_source`.
        items: all of its items.
        order: numbers of the chosen ones.
    """
    return dataclasses.replace(
        source,
        items=map(items.__getitem__, order.tolist()),
        facts=source.facts | {"mirror": False},
        classes=source.classes or items.classes,
        skipped=copy.copy(source.skipped),
    )


def mirrored(source: Source, reader: PictureReader) -> Source:
    """A source in which each picture is followed by its mirror image."""

    def doubled() -> Iterator[Item]:
        for item in source.items:
            yield item
            yield Item(item.name + _MIRRORED, item.label)

    def read(item: Item) -> str | bytes | np.ndarray:
        if not item.name.endswith(_MIRRORED):
            return source.read(item)
        data = source.read(Item(item.name.removesuffix(_MIRRORED)))
        width, height = reader.size(data)
        return reader.fit(data, Fit(height, width, channels=source.channels)).pixels[:, :, ::-1]

    facts = source.facts | {"mirror": True}
    return dataclasses.replace(source, items=doubled(), read=read, facts=facts)


def _channels(source: Source, items: ItemList) -> int:
    """1 if the first readable picture is gray, 4 if it has opacity, else 3."""
    for number in range(len(items)):
        try:
            with open_image(source.read(items[number])) as image:
                return {"L": 1, "LA": 4, "RGBA": 4}.get(image.mode, 3)
        except Unreadable:
            continue
    return 3
