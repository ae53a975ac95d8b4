"""Small pictures of a dataset side by side, for a look at what is in it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from training.datasets.photos.arrays import on_white, save_png, to_picture

COLUMNS, ROWS = 12, 8
MAX_SIDE = 96  # larger images are reduced to this
SCALE_BELOW = 64  # smaller ones are enlarged to this by a whole factor


class ContactSheet:
    """Collects the first images of a dataset."""

    def __init__(self) -> None:
        self.pictures: list[Image.Image] = []

    @property
    def is_full(self) -> bool:
        """Whether further images are ignored."""
        return len(self.pictures) >= COLUMNS * ROWS

    def add(self, image: np.ndarray) -> None:
        """Adds uint8 [1, 3 or 4, height, width], if there is room; all of one size."""
        if not self.is_full:
            picture = to_picture(on_white(image))
            picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
            self.pictures.append(picture)

    def image(self) -> Image.Image:
        """The grid, on white."""
        width, height = self.pictures[0].size
        scale = max(1, SCALE_BELOW // max(height, width))
        columns = min(COLUMNS, len(self.pictures))
        cell_x, cell_y = width * scale + 2, height * scale + 2
        rows = -(-len(self.pictures) // columns)
        sheet = Image.new("RGB", (columns * cell_x, rows * cell_y), "white")
        for i, picture in enumerate(self.pictures):
            enlarged = picture.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (i % columns * cell_x + 1, i // columns * cell_y + 1))
        return sheet

    def save(self, path: str) -> None:
        """Writes a PNG file, if there are images; UserError if it cannot."""
        if self.pictures:
            save_png(self.image(), path)
