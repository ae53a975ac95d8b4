"""CelebA, faces aligned and cropped (`create_celeba`)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from dnnlib import UserError
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.items import Item, Source
from training.datasets.photos.decode import Fit, Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.arrays import note_count
from training.datasets.sources.folders import open_folder

FOLDERS = {"img_align_celeba_png": ".png", "img_align_celeba": ".jpg"}  # the first that is there
PUBLISHED = 202_599
WIDTH, HEIGHT = 178, 218
HALF = 64  # of the side of the square that is cut out


def create_celeba(output: Output, celeba_dir: str, cx: int = 89, cy: int = 121) -> None:
    """Makes a dataset of the 128x128 pixels around (cx, cy) of each picture; it has no labels.

    Args:
        output: what to make; without a size in it, it becomes 128x128.
        celeba_dir: folder with `img_align_celeba_png` (official) or `img_align_celeba`.
        cx: column of the middle.
        cy: row of the middle.

    Raises:
        UserError: cx or cy is out of range, no pictures, or the dataset cannot be written.
    """
    output.check()
    with PictureReader() as reader:
        build(celeba(celeba_dir, reader, cx, cy), output)


def celeba(celeba_dir: str, reader: PictureReader, cx: int, cy: int) -> Source:
    """The source of `create_celeba`."""
    for option, value, length in (("--cx", cx, WIDTH), ("--cy", cy, HEIGHT)):
        if not HALF <= value <= length - HALF:
            raise UserError(
                f"{option} is {value}: expected {HALF} to {length - HALF}, so that the square of "
                f"{2 * HALF} around it lies in pictures of {WIDTH}x{HEIGHT}"
            )
    present = [name for name in FOLDERS if os.path.isdir(os.path.join(celeba_dir, name))]
    if not present:
        raise UserError(f"{celeba_dir} has neither of the folders {' and '.join(FOLDERS)}")
    folder = os.path.join(celeba_dir, present[0])
    pictures = open_folder(folder)

    def items() -> Iterator[Item]:
        count = 0
        for name in pictures.names:
            if name.endswith(FOLDERS[present[0]]) and "/" not in name:
                count += 1
                yield Item(name)
        note_count(folder, count, PUBLISHED)

    def read(item: Item) -> np.ndarray:
        path = os.path.join(folder, item.name)
        width, height = reader.size(path)
        if (width, height) != (WIDTH, HEIGHT):
            raise Unreadable(f"it is {width}x{height}, not one of CelebA's {WIDTH}x{HEIGHT}")
        pixels = reader.fit(path, Fit(HEIGHT, WIDTH)).pixels
        return pixels[:, cy - HALF : cy + HALF, cx - HALF : cx + HALF]

    facts = {"source": os.path.abspath(folder), "cx": cx, "cy": cy}
    return Source(items(), read, facts, skipped=pictures.skipped)
