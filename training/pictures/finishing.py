"""From the pixels of a network to a picture for a shop: background, size, format."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor

from dnnlib import UserError
from training.datasets.photos.arrays import to_picture

# Formats of a shop's pictures: {name: suffix}.
FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
KEEP, TRANSPARENT = "keep", "transparent"
_MOST_SIDE = 8192


@dataclass(frozen=True)
class Finish:
    """What is done to a picture.

    Attributes:
        size: (width, height); None: as the network makes it.
        background: "keep", "transparent", or a color by name or #rrggbb that Pillow knows.
        format: one of FORMATS.

    Raises:
        UserError: a value that there is not.
    """

    size: tuple[int, int] | None = None
    background: str = KEEP
    format: str = "png"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f"format {self.format!r}: use {', '.join(FORMATS)}")
        if self.size is not None and not all(1 <= side <= _MOST_SIDE for side in self.size):
            raise UserError(f"size {self.size}: expected 1 to {_MOST_SIDE} pixels a side")
        if self.background == TRANSPARENT and self.format == "jpeg":
            raise UserError("a JPEG cannot be transparent: use --format=png or webp")
        if self.background not in (KEEP, TRANSPARENT):
            try:
                ImageColor.getrgb(self.background)
            except ValueError:
                raise UserError(
                    f"background {self.background!r}: use {KEEP}, {TRANSPARENT}, a color by name, "
                    "or one like #f4f4f4"
                ) from None

    @property
    def is_none(self) -> bool:
        """Whether the pixels stay as the network makes them."""
        return self == Finish()


def finish(image: np.ndarray, how: Finish) -> Image.Image | None:
    """A picture of an image.

    Args:
        image: uint8 [C, H, W].
        how: what is done to it.

    Returns:
        None where another background is wanted, and there is none to tell the product from.
    """
    picture = to_picture(image)
    if how.background != KEEP:
        cut = _cut_out(picture)
        if cut is None:
            return None
        picture = cut
        if how.background != TRANSPARENT:
            ground = Image.new("RGB", picture.size, ImageColor.getrgb(how.background)[:3])
            ground.paste(picture, mask=picture.getchannel("A"))
            picture = ground
    if how.size is not None and how.size != picture.size:
        picture = _fitted(picture, how.size)
    return on_white(picture) if how.format == "jpeg" else picture


def on_white(picture: Image.Image) -> Image.Image:
    """A picture in RGB, what is transparent on white."""
    if "A" not in picture.getbands():
        return picture.convert("RGB")
    ground = Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of 512 or 600x800.

    Raises:
        UserError: something else.
    """
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise UserError(f"expected a size in pixels, like 512 or 600x800, got {text!r}")
    size = int(match[1]), int(match[2] or match[1])
    Finish(size)
    return size


def _cut_out(picture: Image.Image) -> Image.Image | None:
    """The product of a picture, RGBA."""
    from training.datasets.photos import cutout  # Needs SciPy, which command lines do not wait for.

    if "A" in picture.getbands():
        return picture.convert("RGBA")
    colors = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    if cutout.why_not(colors.transpose(1, 2, 0)) is not None:
        return None
    return to_picture(cutout.cut_out(colors))


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """As large as it can be within a size, in its middle; the rest continues its border."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = tuple(max(round(side * scale), 1) for side in picture.size)
    resized = picture.resize(inner, Image.Resampling.LANCZOS)
    if inner == size:
        return resized
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    pixels = np.asarray(resized)
    sides = [(top, size[1] - inner[1] - top), (left, size[0] - inner[0] - left)]
    padded = np.pad(pixels, sides + [(0, 0)] * (pixels.ndim - 2), mode="edge")
    return Image.fromarray(padded)
