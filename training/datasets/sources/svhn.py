"""SVHN, cropped digits of house numbers (`create_svhn`)."""

from __future__ import annotations

import os
from glob import glob
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.util import one_line
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.items import Source
from training.datasets.sources.arrays import (
    MAX_PICTURES,
    Part,
    array_source,
    check_labels,
    load_pickle,
    note_count,
)

MATLAB = "train_32x32.mat"
BATCHES = "train_{}.pkl"  # how the official tool wants it: numbered from 1, (images, labels) each
PUBLISHED = 73_257  # images for training
SHAPE, CLASSES = (3, 32, 32), 10


def create_svhn(output: Output, svhn_dir: str) -> None:
    """Makes a dataset of the 32x32 pictures of the training set, labeled by digit.

    Args:
        output: what to make.
        svhn_dir: folder with the published `train_32x32.mat`, or with `train_1.pkl`,
            `train_2.pkl`, … as for the official tool.

    Raises:
        UserError: a file is missing or damaged, or the dataset cannot be written.
    """
    build(svhn(svhn_dir), output)


def svhn(svhn_dir: str) -> Source:
    """The source of `create_svhn`."""
    path = os.path.join(svhn_dir, MATLAB)
    if os.path.lexists(path):
        parts = [_matlab(path)]
    else:
        count = len(glob(BATCHES.format("*"), root_dir=svhn_dir))
        paths = [os.path.join(svhn_dir, BATCHES.format(i)) for i in range(1, count + 1)]
        parts = [_pickle(path) for path in paths]
    if not parts:
        raise UserError(
            f"{svhn_dir} has neither {MATLAB} nor {BATCHES.format(1)}: expected the folder of SVHN"
        )
    note_count(svhn_dir, sum(len(part.images) for part in parts), PUBLISHED)
    return array_source(svhn_dir, parts)


def _matlab(path: str) -> Part:
    """The file as published: X uint8 [32, 32, 3, N], y [N, 1] with 10 for the digit 0."""
    import scipy.io

    try:
        # What the file claims is looked at before memory is taken for it.
        shapes = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
        shape, kind = shapes.get("X", ((), ""))
        count = shape[-1] if len(shape) == 4 else 0
        if kind != "uint8" or shape[:3] != (32, 32, 3) or not 0 < count <= MAX_PICTURES:
            raise UserError(
                f"{path} is not SVHN's: it has X {kind} {list(shape)}, expected uint8 "
                "[32, 32, 3, pictures]"
            )
        if shapes.get("y", ((), ""))[0] != (count, 1):
            raise UserError(f"{path} is not SVHN's: expected a label in y for each of {count}")
        values = scipy.io.loadmat(path, variable_names=("X", "y"))
        images, labels = values["X"], values["y"][:, 0]
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
    except Exception as error:  # A damaged file fails in SciPy's reader in many ways.
        reason = one_line(error) or type(error).__name__
        raise UserError(f"{path} is no MATLAB 5 file, or a damaged one: {reason}") from error
    labels = check_labels(path, labels, count, CLASSES + 1)
    if not labels.all():
        raise UserError(f"{path} has the label 0: expected 1 to 10, where 10 is the digit 0")
    return Part(path, images.transpose(3, 2, 0, 1), labels % CLASSES)


def _pickle(path: str) -> Part:
    content: Any = load_pickle(path, "an SVHN batch")
    pair = content if isinstance(content, (list, tuple)) and len(content) == 2 else (None, None)
    images, labels = pair
    is_array = isinstance(images, np.ndarray) and images.dtype == np.uint8
    if not is_array or images.shape[1:] != SHAPE or not len(images):
        raise UserError(
            f"{path} is not an SVHN batch: expected (uint8 [pictures, 3, 32, 32], labels)"
        )
    return Part(path, np.asarray(images), check_labels(path, labels, len(images), CLASSES))
