"""A dataset of product pictures that are drawn (`create_demo`)."""

from __future__ import annotations

import numpy as np

from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.items import Item, Source
from training.datasets.sources.drawn_products import DEMO_CLASSES, class_of, draw_product


def create_demo(output: Output, num_images: int = 3000, seed: int = 0) -> None:
    """Draws a dataset of product pictures with category labels; prints a summary.

    Picture `i` is a pure function of (seed, i), and so is its label; see `draw_product`.

    Args:
        output: The dataset to make; its resolution is a power of two from 4 to 1024.
        num_images: How many pictures.
        seed: Which dataset.

    Raises:
        UserError: An argument is out of range, or the dataset cannot be written.
    """
    draw_product(seed, 0, output.resolution)  # a wrong argument is reported before it starts

    is_transparent = output.channels == "rgba"

    def draw(item: Item) -> np.ndarray:
        return draw_product(seed, int(item.name), output.resolution, is_transparent)[0]

    items = (Item(str(i), class_of(seed, i)) for i in range(num_images))
    facts = {"source": "demo", "seed": seed}
    build(Source(items, draw, facts, dict(enumerate(DEMO_CLASSES))), output)
