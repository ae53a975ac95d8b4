"""Crops of the micrographs of BreCaHAD (`extract_brecahad_crops`)."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dnnlib import UserError
from dnnlib.files import staged_directory
from dnnlib.output import tqdm
from training.datasets.items import Item
from training.datasets.photos.arrays import to_picture
from training.datasets.photos.decode import Fit, Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.folders import open_folder


def extract_brecahad_crops(brecahad_dir: str, output_dir: str, cropsize: int = 256) -> None:
    """Writes square crops of every micrograph as NAME_X_Y.png.

    Crops overlap by half of their size: of a picture of 1360x1024, there are 12 of 512x512, 1,944
    of all 162 as the ADA paper counts them (appendix A).

    Args:
        brecahad_dir: folder of the pictures, `images` of the published archive.
        output_dir: folder to make.
        cropsize: width and height of a crop, even.

    Raises:
        UserError: no pictures, a picture is unreadable or smaller than a crop, or the folder
            exists or cannot be written.
    """
    if cropsize < 2 or cropsize % 2:
        raise UserError(f"--cropsize is {cropsize}: expected an even number of at least 2")
    pictures = open_folder(brecahad_dir)
    if not len(pictures.names):
        raise UserError(f"no image files in {brecahad_dir}")
    count = 0
    with PictureReader() as reader, staged_directory(output_dir) as folder:
        for name in tqdm(list(pictures.names), unit="img", disable=None):
            path = pictures.read(Item(name))
            try:
                width, height = reader.size(path)
                pixels = reader.fit(path, Fit(height, width)).pixels
            except Unreadable as error:
                raise UserError(f"{path}: {error}") from error
            if min(width, height) < cropsize:
                raise UserError(f"{path} is {width}x{height}, smaller than --cropsize={cropsize}")
            stem = os.path.splitext(name)[0].replace("/", "_")
            for x, y in _corners(width, height, cropsize):
                crop = to_picture(pixels[:, y : y + cropsize, x : x + cropsize])
                crop.save(os.path.join(folder, f"{stem}_{x}_{y}.png"))
                count += 1
    print(f"{output_dir}: {count} crops of {len(pictures.names)} pictures")


def _corners(width: int, height: int, cropsize: int) -> Iterator[tuple[int, int]]:
    """(x, y) of the upper left corners of crops."""
    for y in range(0, height - cropsize + 1, cropsize // 2):
        for x in range(0, width - cropsize + 1, cropsize // 2):
            yield x, y
