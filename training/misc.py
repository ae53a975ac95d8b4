"""Official face: files, pickles and grids for people's own scripts."""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from dnnlib import EasyDict
from dnnlib.official_util import open_url
from training.dataset import TFRecordDataset
from training.pictures import grids
from training.pictures.grids import (
    adjust_dynamic_range,
    convert_to_pil_image,
    create_image_grid,
    save_image_grid,
)
from training.run import resume
from training.snapshots import pickles
from training.snapshots.roles import build_in_order

__all__ = [
    "adjust_dynamic_range",
    "apply_mirror_augment",
    "convert_to_pil_image",
    "create_image_grid",
    "load_pkl",
    "open_file_or_url",
    "parse_config_for_previous_run",
    "save_image_grid",
    "save_pkl",
    "setup_snapshot_image_grid",
]


def open_file_or_url(file_or_url: str) -> IO[bytes]:
    """Opens a file, which is downloaded first if it is a URL; see `dnnlib.util.open_url`."""
    return open_url(file_or_url)


def load_pkl(file_or_url: str, allow_pickled_code: bool = False) -> Any:
    """Reads a pickle without executing anything that it holds.

    Args:
        file_or_url: path, https URL, or name of a published network.
        allow_pickled_code: run the code that a network brings which is not known here, as those of
            NVIDIA's metrics do. For files that you trust as you trust a program.

    Returns:
        (G, D, Gs) of a snapshot, or the network that is alone in its file; or arrays and plain
        values as `save_pkl` wrote them.

    Raises:
        UserError: not readable, or it holds other objects.
    """
    value = pickles.load_value(file_or_url, allow_pickled_code)
    build_in_order(value)
    return value


def save_pkl(obj: Any, filename: str) -> None:
    """Writes networks, arrays or plain values as a pickle that old programs read too; atomic."""
    pickles.save(obj, filename)


def apply_mirror_augment(minibatch: np.ndarray) -> np.ndarray:
    """A copy with half of the images mirrored, by NumPy's global generator; [N, C, H, W]."""
    is_mirrored = np.random.random_sample(len(minibatch)) < 0.5
    return np.where(is_mirrored[:, None, None, None], minibatch[..., ::-1], minibatch)


def parse_config_for_previous_run(run_dir: str) -> EasyDict:
    """The options of a run of `run_training.py`: `dataset_args`, `mirror_augment` and so on.

    Raises:
        UserError: the run directory holds no `training_options.json`, or none that can be read.
    """
    return EasyDict(resume.read_options(run_dir).with_attributes().to_json())


def setup_snapshot_image_grid(
    training_set: TFRecordDataset, size: str = "1080p", layout: str = "random"
) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """Chooses real images and labels for a grid; see `grids.setup_snapshot_image_grid`.

    Args:
        training_set: where they come from.
        size: "1080p", "4k" or "8k".
        layout: "random", "row_per_class" or "col_per_class".
    """
    return grids.setup_snapshot_image_grid(training_set, size, layout=layout)
