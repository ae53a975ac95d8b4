"""Pictures as arrays, uint8 [1 or 3, height, width], and back."""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from dnnlib import UserError
from dnnlib.files import atomic_write


def to_picture(pixels: np.ndarray) -> Image.Image:
    """Makes a picture of uint8 [1 or 3, height, width]."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def to_pixels(picture: Image.Image) -> np.ndarray:
    """The pixels of a picture in mode RGB or L, uint8 [3 or 1, height, width]."""
    pixels = np.asarray(picture)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def save_png(picture: Image.Image, filename: str, xmp: bytes | None = None) -> None:
    """Writes a PNG file atomically; a UserError says why it cannot.

    Args:
        picture: what to write.
        filename: of the file.
        xmp: packet of XMP that goes with it, in UTF-8, at most 60,000 bytes; None: none.
    """
    _save(picture, filename, "PNG", xmp)


def save_picture(
    picture: Image.Image, filename: str, xmp: bytes | None = None, **options: Any
) -> None:
    """As `save_png`, in the format that the suffix names where Pillow writes it, else as PNG.

    Other formats than PNG, JPEG and WebP take no XMP. `options` are Pillow's.
    """
    kind = Image.registered_extensions().get(os.path.splitext(filename)[1].lower())
    _save(picture, filename, kind if kind in Image.SAVE else "PNG", xmp, **options)


def _save(
    picture: Image.Image, filename: str, kind: str, xmp: bytes | None, **options: Any
) -> None:
    if xmp is not None:
        options |= _xmp_options(kind, xmp)
    try:
        with atomic_write(filename) as file:
            picture.save(file, format=kind, **options)
    except OSError as error:
        raise UserError(f"cannot write {filename}: {error.strerror or error}") from error


def _xmp_options(kind: str, xmp: bytes) -> dict[str, Any]:
    """What makes Pillow write a packet of XMP."""
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return {"pnginfo": text}
    if kind == "JPEG":  # Its option xmp came with Pillow 11; this is what it writes.
        segment = b"http://ns.adobe.com/xap/1.0/\0" + xmp
        return {"extra": b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment}
    return {"xmp": xmp} if kind == "WEBP" else {}
