"""Pictures as arrays, uint8 [1 or 3, height, width], and back."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from dnnlib import UserError
from dnnlib.files import atomic_write


def to_picture(pixels: np.ndarray) -> Image.Image:
    """Makes a picture of uint8 [1 or 3, height, width]."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def to_pixels(picture: Image.Image) -> np.ndarray:
    """The pixels of a picture in mode RGB or L, uint8 [3 or 1, height, width]."""
    pixels = np.asarray(picture)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def save_png(picture: Image.Image, filename: str) -> None:
    """Writes a PNG file atomically; a UserError says why it cannot."""
    _save(picture, filename, "PNG")


def save_picture(picture: Image.Image, filename: str) -> None:
    """As `save_png`, in the format that the suffix names where Pillow writes it, else as PNG."""
    kind = Image.registered_extensions().get(os.path.splitext(filename)[1].lower())
    _save(picture, filename, kind if kind in Image.SAVE else "PNG")


def _save(picture: Image.Image, filename: str, kind: str) -> None:
    try:
        with atomic_write(filename) as file:
            picture.save(file, format=kind)
    except OSError as error:
        raise UserError(f"cannot write {filename}: {error.strerror or error}") from error
