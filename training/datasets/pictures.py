"""Reading a picture of any kind and making it an RGB square."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from dnnlib.util import one_line

TRANSFORMS = ("center-crop", "pad-white", "stretch")
_ORIENTATIONS = {  # EXIF tag 0x0112 -> what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """A picture that cannot be used; the message says why."""


@contextmanager
def open_image(path: str) -> Iterator[Image.Image]:
    """Opens a picture without decoding it yet.

    Raises:
        Unreadable: It is not a picture that Pillow reads; also if so found inside the block.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for ever
            raise Unreadable("not a regular file")
        with Image.open(path) as image:
            yield image
    except Unreadable:
        raise
    except Image.UnidentifiedImageError as error:
        empty = os.path.getsize(path) == 0
        raise Unreadable("the file is empty" if empty else "not an image") from error
    except OSError as error:
        broken = os.path.islink(path) and not os.path.exists(path)
        raise Unreadable("broken link" if broken else error.strerror or one_line(error)) from error
    except Exception as error:  # on damaged files Pillow's plugins raise whatever happens to them
        raise Unreadable(f"{type(error).__name__}: {one_line(error)}") from error


def fit_image(image: Image.Image, resolution: int, transform: str) -> np.ndarray:
    """Turns a picture upright, converts it to RGB, and makes it a square.

    Args:
        image: As from `open_image`.
        resolution: Height and width of the result.
        transform: "center-crop" cuts the longer sides, "pad-white" adds to the shorter ones,
            "stretch" changes the proportions.

    Returns:
        uint8 [3, resolution, resolution]. Transparent parts are white.
    """
    if image.format in ("JPEG", "MPO"):
        # Decoding at 1/2, 1/4 or 1/8 is much faster, and with three times the size that is needed
        # hardly shows: RMS 1 of 255 against full decoding at 48 and 64 pixels, 3 at 32.
        side = max(image.size) if transform == "pad-white" else min(image.size)
        image.draft(None, tuple(-(-length * 3 * resolution // side) for length in image.size))
    image.load()
    rgb = _upright(_to_rgb(image), image)
    width, height = rgb.size
    if transform == "pad-white":
        longest = max(rgb.size)
        size = [max(1, round(length * resolution / longest)) for length in rgb.size]
        square = Image.new("RGB", (resolution, resolution), "white")
        corner = tuple((resolution - length) // 2 for length in size)
        square.paste(rgb.resize(size, Image.Resampling.LANCZOS), corner)
    else:
        side_x, side_y = (width, height) if transform == "stretch" else (min(rgb.size),) * 2
        x, y = (width - side_x) // 2, (height - side_y) // 2
        # Cropping within resize: first resizing 20000x10 until it covers would take the memory.
        box = (x, y, x + side_x, y + side_y)
        square = rgb.resize((resolution, resolution), Image.Resampling.LANCZOS, box)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def printable(text: str) -> str:
    """`text` with line breaks, terminal controls and undecodable bytes written as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_eight_bits(image)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # Pillow knows the way from premultiplied grey to RGBA only through LA.
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> np.ndarray:
    """uint8 [height, width] from an integer or float picture.

    White is 65535 in 16-bit modes. The others do not tell: it is the least of 1 (floats only), 255
    and 65535 that is not exceeded, else the largest value.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    top = float(values.max())
    whites = [65535.0] if image.mode.startswith("I;16") else [255.0, 65535.0]
    whites = [1.0, *whites] if image.mode == "F" else whites
    white = next((white for white in whites if top <= white), top)
    return np.rint(values * (255 / white)).clip(0, 255).astype(np.uint8)


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    try:
        turn = _ORIENTATIONS.get(image.getexif().get(0x0112))
    except Exception:  # damaged EXIF, and Pillow raises all kinds: the picture itself is readable
        turn = None
    return rgb if turn is None else rgb.transpose(turn)
