"""Grids of images as PNG files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from dnnlib import UserError
from dnnlib.tflib import Network, tfutil
from training.dataset import TFRecordDataset
from training.datasets.photos.arrays import WHITE_BORDER, on_white, save_picture, to_picture
from training.pictures.provenance import UNKNOWN
from training.random_streams import generator

# Pixels of a grid by the official names of its sizes.
# By name: width and height in pixels, and the fewest columns and rows.
GRID_SIZES = {
    "1080p": (1920, 1080, 3, 2),
    "4k": (3840, 2160, 7, 4),
    "8k": (7680, 4320, 7, 4),
}
# Deviation: fakes in a grid without a GPU, where the official thousand would take minutes.
_CPU_IMAGES = 96
# Of pictures that are made at once, so that high resolutions fit in memory.
_MINIBATCH_PIXELS = 1 << 20
_PREVIEW_SIDE = 1024
_NUM_MEASURED = 8  # Fakes, whose borders are measured where those of reals are white.
_NEARLY_WHITE = 250  # Of 255, each color.


def adjust_dynamic_range(
    data: np.ndarray | tf.Tensor, drange_in: Sequence[float], drange_out: Sequence[float]
) -> np.ndarray | tf.Tensor:
    """Maps drange_in linearly to drange_out, float32; an array or a tensor."""
    is_tensor = tfutil.is_tf_expression(data)
    data = tf.cast(data, tf.float32) if is_tensor else np.asarray(data, np.float32)
    scale = (drange_out[1] - drange_out[0]) / (drange_in[1] - drange_in[0])
    return data * np.float32(scale) + np.float32(drange_out[0] - drange_in[0] * scale)


def create_image_grid(images: np.ndarray, grid_size: tuple[int, int] | None = None) -> np.ndarray:
    """Images [N, C, H, W] or [N, H, W] side by side, row by row; transparent ones on white.

    Args:
        images: at most gw·gh of them; what is missing stays zero.
        grid_size: (gw, gh) in images; None for about square.
    """
    count = len(images)
    images = on_white(images) if images.ndim == 4 else images
    if grid_size is None:
        grid_w = max(int(np.ceil(np.sqrt(count))), 1)
        grid_size = (grid_w, max((count - 1) // grid_w + 1, 1))
    grid_w, grid_h = grid_size
    height, width = images.shape[-2:]
    grid = np.zeros([*images.shape[1:-2], grid_h * height, grid_w * width], images.dtype)
    for i, image in enumerate(images[: grid_w * grid_h]):
        y, x = i // grid_w * height, i % grid_w * width
        grid[..., y : y + height, x : x + width] = image
    return grid


def convert_to_pil_image(image: np.ndarray, drange: tuple[float, float] = (0, 1)) -> Image.Image:
    """An image [C, H, W] or [H, W] with values in `drange`; one, three or four channels."""
    return to_picture(_to_bytes(image if image.ndim == 3 else image[None], drange))


def _to_bytes(image: np.ndarray, drange: Sequence[float]) -> np.ndarray:
    """Values in `drange` as uint8."""
    return np.rint(adjust_dynamic_range(image, drange, (0, 255))).clip(0, 255).astype(np.uint8)


def save_image_grid(
    images: np.ndarray,
    filename: str,
    drange: tuple[float, float] = (0, 1),
    grid_size: tuple[int, int] | None = None,
) -> None:
    """Writes `create_image_grid` of the images atomically: a PNG, or what the suffix says."""
    save_picture(convert_to_pil_image(create_image_grid(images, grid_size), drange), filename)


def setup_snapshot_image_grid(
    training_set: TFRecordDataset,
    size: str = "1080p",
    max_images: int | None = None,
    layout: str | None = None,
) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """Chooses real images and labels for the grids of a run.

    Args:
        training_set: where reals come from.
        size: a name in `GRID_SIZES`.
        max_images: fewer images where making that many fakes would take long; None for no limit.
        layout: a name in `LAYOUTS`; None: each row holds one class where there are labels.

    Returns:
        ((gw, gh), reals uint8 [gw·gh, C, H, W], labels float32 [gw·gh, label_size]).

    Raises:
        UserError: there is no such size or layout.
    """
    if size not in GRID_SIZES or layout not in (None, *LAYOUTS):
        raise UserError(
            f"a grid of size {size!r} and layout {layout!r}: sizes are {', '.join(GRID_SIZES)}, "
            f"layouts {', '.join(LAYOUTS)}"
        )
    width, height, columns, rows = GRID_SIZES[size]
    grid_w = int(np.clip(width // training_set.shape[2], columns, 32))
    grid_h = int(np.clip(height // training_set.shape[1], rows, 32))
    while max_images is not None and grid_w * grid_h > max_images and grid_w * grid_h > 6:
        if grid_w > 3 and grid_w >= grid_h:
            grid_w -= 1
        else:
            grid_h -= 1
    order = training_set.image_index(np.arange(training_set.num_images))
    if training_set.label_size:
        place = LAYOUTS[layout or "row_per_class"]
        chosen = order[place(training_set.labels[order], grid_w, grid_h)]
    else:
        chosen = np.resize(order, grid_w * grid_h)
    return (grid_w, grid_h), training_set.read_images(chosen), training_set.labels[chosen]


def white_border(images: np.ndarray, drange: tuple[float, float]) -> float:
    """Share of the pixels along the four sides that are nearly white.

    Args:
        images: [N, C, H, W] with values in `drange`; the first three channels are looked at.
    """
    sides = [images[:, :3, [0, -1]], images[:, :3, 1:-1, [0, -1]]]
    darkest = np.concatenate([x.min(axis=1).reshape(len(x), -1) for x in sides], axis=1)
    low, high = drange  # Half a level below: what is rounded up. False where it is not finite.
    return float((darkest >= low + (high - low) * (_NEARLY_WHITE - 0.5) / 255).mean())


class RunGrid:
    """The images that a run shows at every snapshot, beside reals.

    Args:
        training_set: where reals and labels come from.
        size: a name in `GRID_SIZES`.
        latent_shape: shape of one latent.
        seed: fixes the latents.
        reals_png: file that the reals are written to, unless it is there.

    Attributes:
        reals_preview: the first rows and columns of the reals.

    Raises:
        UserError: the reals cannot be written.
    """

    def __init__(
        self,
        training_set: TFRecordDataset,
        size: str,
        latent_shape: Sequence[int],
        seed: int,
        reals_png: str,
    ):
        limit = None if tfutil.gpu_devices() else _CPU_IMAGES
        self._size, reals, self._labels = setup_snapshot_image_grid(training_set, size, limit)
        if not os.path.exists(reals_png):
            save_picture(to_picture(create_image_grid(reals, self._size)), reals_png)
        self.reals_preview = self._preview(reals)
        self._is_on_white = white_border(reals, (0, 255)) >= WHITE_BORDER
        rng = generator("dataset", "grids", [seed, 0])
        self._latents = rng.standard_normal([len(reals), *latent_shape], dtype=np.float32)

    def save_fakes(self, Gs: Network, filename: str) -> Image.Image:
        """Writes what a generator makes as a PNG; raises a UserError if it cannot.

        Returns:
            The first rows and columns, about `_PREVIEW_SIDE` pixels wide and high.
        """
        fakes = self._fakes(Gs, len(self._latents))
        # One after another: a grid of large images takes four times as much in float32.
        images = np.stack([_to_bytes(image, (-1, 1)) for image in fakes])
        del fakes
        grid = to_picture(create_image_grid(images, self._size))
        save_picture(grid, filename, UNKNOWN.xmp("training"))
        return self._preview(images)

    def white_border(self, Gs: Network) -> float | None:
        """`white_border` of a few fakes, always of the same latents; None if reals have no such."""
        if not self._is_on_white:
            return None
        return white_border(self._fakes(Gs, _NUM_MEASURED), (-1, 1))

    def _fakes(self, Gs: Network, count: int) -> np.ndarray:
        """[count, C, H, W] in [-1, 1], of the first latents."""
        return Gs.run(
            self._latents[:count],
            self._labels[:count],
            is_validation=True,
            randomize_noise=False,
            minibatch_size=images_at_once(Gs),
        )

    def _preview(self, images: np.ndarray) -> Image.Image:
        grid_w, grid_h = self._size
        height, width = images.shape[2:]
        columns = min(max(_PREVIEW_SIDE // width, 3), grid_w)
        rows = min(max(_PREVIEW_SIDE // height, 2), grid_h)
        chosen = [y * grid_w + x for y in range(rows) for x in range(columns)]
        return to_picture(create_image_grid(images[chosen], (columns, rows)))


def _row_per_class(labels: np.ndarray, grid_w: int, grid_h: int) -> list[int]:
    """Indices into `labels`, row by row of one class, classes in turn."""
    classes = np.argmax(labels, axis=1)
    pools = [np.flatnonzero(classes == c) for c in np.unique(classes)]
    order: list[int] = []
    for row in range(grid_h):
        pool = pools[row % len(pools)]
        first = row // len(pools) * grid_w
        order += [int(pool[(first + i) % len(pool)]) for i in range(grid_w)]
    return order


def _in_order(labels: np.ndarray, grid_w: int, grid_h: int) -> list[int]:
    """Indices into `labels` as they come, which is a random order already."""
    return np.resize(np.arange(len(labels)), grid_w * grid_h).tolist()


def _col_per_class(labels: np.ndarray, grid_w: int, grid_h: int) -> list[int]:
    """The same, column by column."""
    columns = _row_per_class(labels, grid_h, grid_w)
    return np.reshape(columns, [grid_w, grid_h]).T.ravel().tolist()


# How images with labels are placed, by official names: indices into the labels.
LAYOUTS: Mapping[str, Callable[[np.ndarray, int, int], list[int]]] = {
    "random": _in_order,
    "row_per_class": _row_per_class,
    "col_per_class": _col_per_class,
}


def images_at_once(Gs: Network) -> int:
    """How many pictures a generator makes at once: bounded by their pixels."""
    return int(np.clip(_MINIBATCH_PIXELS // int(np.prod(Gs.output_shape[2:])), 1, 32))
