"""Pictures as arrays, uint8 [1, 3 or 4, height, width], and back.

Four channels are colors over white, and opacity: color c and opacity a, each 0 to 255, become
(255 - a·(255 - c)/255, a). So the first three are the picture on white; what is transparent is
(255, 255, 255, 0), whatever color a file hides there; and means of pixels are means of what one
sees. Picture files have the colors themselves, as PNG wants them.
"""

from __future__ import annotations

import os
import struct
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image, PngImagePlugin

from dnnlib import UserError
from dnnlib.files import atomic_write, open_regular
from dnnlib.util import one_line

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

    Images = TypeVar("Images", np.ndarray, tf.Tensor)

# What pictures of this project are. Others may be programs (EPS), or decoders that crash.
_FORMATS = ("PNG", "JPEG", "WEBP")
# Pictures on white: so much of their borders, or more, is nearly white.
WHITE_BORDER = 0.9


def to_picture(pixels: np.ndarray) -> Image.Image:
    """Makes a picture of uint8 [1, 3 or 4, height, width]."""
    if len(pixels) == 4:
        return Image.fromarray(_uncovered(pixels))
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def to_pixels(picture: Image.Image) -> np.ndarray:
    """The pixels of a picture in mode L, RGB or RGBA, uint8 [1, 3 or 4, height, width]."""
    pixels = np.asarray(picture)
    if picture.mode == "RGBA":
        return _over_white(pixels.transpose(2, 0, 1))
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def on_white(images: Images) -> Images:
    """Images [..., C, H, W] without their opacity, if they have it: as one sees them on white."""
    return images[..., :3, :, :] if images.shape[-3] == 4 else images


def _over_white(straight: np.ndarray) -> np.ndarray:
    """Colors and opacity uint8 [4, H, W] of a file as arrays have them."""
    opacity = straight[3].astype(np.int32)
    pixels = straight.copy()
    pixels[:3] = 255 - (opacity * (255 - straight[:3].astype(np.int32)) + 127) // 255
    return pixels


def _uncovered(pixels: np.ndarray) -> np.ndarray:
    """The reverse, uint8 [H, W, 4]: exact where no color is darker than its opacity allows."""
    opacity = pixels[3].astype(np.int32)
    depth = (255 - pixels[:3].astype(np.int32)) * 255
    straight = pixels.copy()
    straight[:3] = 255 - np.minimum((depth + opacity // 2) // np.maximum(opacity, 1), 255)
    straight[:3, opacity == 0] = 255
    return np.ascontiguousarray(straight.transpose(1, 2, 0))


def read_picture(path: str) -> Image.Image:
    """A picture of a kind that this project writes, decoded: a PNG, JPEG or WebP.

    No other format is tried, whatever the name is: photos of any kind are read by `decode`.

    Raises:
        UserError: it is none, is damaged, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            # Of many pixels: from twice as many on it is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with open_regular(path) as file, Image.open(file, formats=_FORMATS) as picture:
                picture.load()  # Metadata may stand after the pixels.
                return picture
    except Image.UnidentifiedImageError as error:
        raise UserError(f"cannot read {path}: it is no PNG, JPEG or WebP") from error
    except Exception as error:  # On damaged files Pillow's plugins raise whatever happens to them.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"cannot read {path}: {one_line(reason)}") from error


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
