"""Giving a picture the size of a dataset: cut, stretched, or with margins of some color."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

from dnnlib import UserError
from dnnlib.util import did_you_mean
from training.datasets.photos.cutout import cut_out
from training.datasets.photos.resize import resize

TRANSFORMS = ("center-crop", "pad-white", "pad-edge", "stretch")
_PAD, _PAD_COLOR = "pad-", "pad-color="
_MAX_CUT_OUT = 2048  # Pixels of a side.


def parse_transform(text: str) -> str:
    """One of TRANSFORMS, or pad-color=#rrggbb, which stands for a name like pad-color=linen too.

    Raises:
        UserError: there is no such transform or color.
    """
    if not text.startswith(_PAD_COLOR):
        if text not in TRANSFORMS:
            choices = (*TRANSFORMS, f"{_PAD_COLOR}#rrggbb")
            hint = did_you_mean(text, choices)
            raise UserError(f"transform {text!r}: {hint}use one of {', '.join(choices)}")
        return text
    color = text.removeprefix(_PAD_COLOR).lower()
    code = str(ImageColor.colormap.get(color, color))
    if len(code) != 7 or code[0] != "#" or not set(code[1:]) <= set("0123456789abcdef"):
        raise UserError(f"transform {text!r}: expected a color like #f4f4f4 or a name like linen")
    return _PAD_COLOR + code


def has_margins(transform: str) -> bool:
    """Whether the longer sides decide, so that nothing is lost."""
    return transform.startswith(_PAD)


def fit(image: Image.Image, height: int, width: int, transform: str) -> np.ndarray:
    """The pixels of a picture of another size.

    Args:
        image: of mode RGB or L.
        height, width: of the result.
        transform: as from `parse_transform`. The margins of "pad-edge" have one color: the median
            of the pixels along the four sides of the picture, for each channel, which is that of
            the background where a product touches less than half of them.

    Returns:
        uint8 [3 or 1, height, width].
    """
    whole = (0, 0, *image.size)
    if has_margins(transform):
        scale = min(width / image.width, height / image.height)
        inner_width, inner_height = (max(1, round(length * scale)) for length in image.size)
        inner = resize(image, inner_width, inner_height, whole)
        result = np.empty([len(inner), height, width], np.uint8)
        result[:] = _margin(inner, transform)
        x, y = (width - inner_width) // 2, (height - inner_height) // 2
        result[:, y : y + inner_height, x : x + inner_width] = inner
        return result
    if transform == "stretch":
        return resize(image, width, height, whole)
    cut_x = min(image.width, max(1, round(image.height * width / height)))
    cut_y = min(image.height, max(1, round(image.width * height / width)))
    x, y = (image.width - cut_x) // 2, (image.height - cut_y) // 2
    return resize(image, width, height, (x, y, x + cut_x, y + cut_y))


def fit_transparent(
    colors: Image.Image, clear: Image.Image, height: int, width: int, transform: str
) -> np.ndarray:
    """As `fit`, of a picture that is transparent in part.

    The margins of "pad-white" are transparent, those of "pad-color" opaque, and "pad-edge" has the
    median of opacity too.

    Args:
        colors: of mode RGB, over white.
        clear: its transparency, mode L.
        height, width, transform: see `fit`.

    Returns:
        uint8 [4, height, width], see `arrays`.
    """
    pixels = fit(colors, height, width, transform)
    transform = f"{_PAD_COLOR}#000000" if transform.startswith(_PAD_COLOR) else transform
    clearness = fit(clear, height, width, transform)
    # Where the filter overshoots, colors would be darker than their opacity allows.
    return np.concatenate([np.maximum(pixels, clearness), 255 - clearness])


def fit_cut_out(photo: Image.Image, height: int, width: int, transform: str) -> np.ndarray:
    """As `fit`, of a photo on white whose ground becomes transparent, see `cutout`.

    It is cut out at up to 4 times the size, which gives smoother edges.

    Args:
        photo: of mode RGB.
        height, width: of the result.
        transform: see `fit`; margins are white.

    Returns:
        uint8 [4, height, width], see `arrays`.
    """
    larger = min(photo.height // height, photo.width // width, _MAX_CUT_OUT // max(height, width))
    larger = int(np.clip(larger, 1, 4))
    pixels = cut_out(fit(photo, larger * height, larger * width, transform))
    boxes = pixels.reshape(4, height, larger, width, larger)
    return np.rint(boxes.mean(axis=(2, 4))).astype(np.uint8)


def _margin(inner: np.ndarray, transform: str) -> np.ndarray | int:
    """The color around a picture: 255, or uint8 [channels, 1, 1].

    Args:
        inner: uint8 [channels, height, width].
        transform: one that has margins.
    """
    if transform == "pad-white":
        return 255
    if transform == "pad-edge":
        sides = [inner[:, [0, -1]], inner[:, 1:-1, [0, -1]]]
        border = np.concatenate([x.reshape(len(inner), -1) for x in sides], axis=1)
        return np.rint(np.median(border, axis=1)).astype(np.uint8)[:, np.newaxis, np.newaxis]
    mode = "L" if len(inner) == 1 else "RGB"
    color = ImageColor.getcolor(transform.removeprefix(_PAD_COLOR), mode)
    return np.array(color, np.uint8).reshape(-1, 1, 1)
