"""Reading a picture of any kind and fitting it to the size of a dataset."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dnnlib.file_kinds import KINDS, FileKind, recognize
from dnnlib.files import open_regular
from dnnlib.util import one_line
from training.datasets.items import Box
from training.datasets.photos import fitting
from training.datasets.photos.checks import PNG_MAGIC, without_long_text
from training.datasets.photos.colors import (
    MAX_PROFILE_BYTES,
    set_transparent_color,
    to_srgb,
    transparency,
)
from training.datasets.photos.cutout import why_not

ALPHAS = ("file", "from-white")  # The file says; or what is white around the product.
MAX_FILE_BYTES = 1 << 30
# Pixels of a side: that of a JPEG. Resampling takes memory for each of them, whatever the other
# side is: a PNG of 12 KB may be 4,000,000x1.
MAX_PICTURE_SIDE = 65535
_ORIENTATIONS = {  # EXIF tag 0x0112 -> what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
# PostScript is a program, which Pillow would have Ghostscript run.
_PROGRAMS = ("EPS",)


@dataclass(frozen=True)
class Fit:
    """How a picture becomes an image of a dataset.

    Attributes:
        height, width: of the result.
        transform: "center-crop" cuts the longer sides, "pad-white" and others add to the shorter
            ones, "stretch" changes the proportions; see `fitting.parse_transform`.
        channels: 3, 1 for gray, or 4 for colors and opacity.
        box: x1, y1, x2, y2 in pixels of the stored picture, to be cut out; None for all of it.
        margin: added to the box on each side, as a fraction of its width and height.
        exact: whether the picture must have this size already.
        min_size: the shorter side of the picture that is needed; smaller ones are thumbnails.
        digest: whether all pixels are decoded, for a digest of them.
        alpha: where opacity comes from, with four channels: one of ALPHAS.
    """

    height: int
    width: int
    transform: str = "center-crop"
    channels: int = 3
    box: Box | None = None
    margin: float = 0.0
    exact: bool = False
    min_size: int = 1
    digest: bool = False
    alpha: str = "file"


@dataclass(frozen=True)
class Fitted:
    """An image.

    Attributes:
        pixels: uint8 [channels, height, width].
        profile: what became of the color profile, see `colors.to_srgb`.
        digest: SHA-256 of size and pixels, upright and before they are resized, where the `Fit`
            asks for it.
    """

    pixels: np.ndarray
    profile: str | None = None
    digest: bytes = b""


def picture_suffixes() -> set[str]:
    """Suffixes of pictures, in lower case with a dot, whether Pillow reads them or not."""
    unknown = (kind.suffixes for kind in KINDS.values() if kind.group in ("picture", "raw"))
    return _readable_suffixes().union(*unknown, KINDS["svg"].suffixes)


class Unreadable(Exception):
    """A picture that cannot be used; the message says why."""


@contextmanager
def open_image(source: str | bytes) -> Iterator[Image.Image]:
    """Opens a picture, a path or the bytes of a file, without decoding it yet.

    Raises:
        Unreadable: It is not a picture that Pillow reads; also if so found inside the block.
    """
    with readable(source), open_file(source) as file:
        profile = None
        if file.read(len(PNG_MAGIC)) == PNG_MAGIC:
            file, profile = without_long_text(file, MAX_PROFILE_BYTES)
        file.seek(0)
        with Image.open(file, formats=_formats()) as image:
            if image.format == "TIFF" and (kind := recognize(source)).group == "raw":
                raise Unreadable(kind.said)  # Pillow would read the small preview in it
            if profile is not None:
                image.info["icc_profile"] = profile
            set_transparent_color(image)
            yield image


def open_file(source: str | bytes) -> io.BufferedIOBase:
    """The file of a path or of bytes.

    Raises:
        OSError: It cannot be opened, or could wait for ever, or is too large.
    """
    file = open_regular(source) if isinstance(source, str) else io.BytesIO(source)
    if file.seek(0, os.SEEK_END) > MAX_FILE_BYTES:
        file.close()
        raise OSError(f"the file has more than {MAX_FILE_BYTES:,} bytes")
    file.seek(0)
    return file


@contextmanager
def readable(source: str | bytes) -> Iterator[None]:
    """Raises `Unreadable` with the reason for whatever goes wrong with a picture in the block."""
    try:
        yield
    except Unreadable:
        raise
    except Image.UnidentifiedImageError as error:
        raise Unreadable(what_it_is(source)) from error
    except OSError as error:
        broken = isinstance(source, str) and os.path.islink(source) and not os.path.exists(source)
        raise Unreadable("broken link" if broken else error.strerror or one_line(error)) from error
    except MemoryError as error:
        raise Unreadable("it takes more memory than there is") from error
    except Exception as error:  # on damaged files Pillow's plugins raise whatever happens to them
        raise Unreadable(f"{type(error).__name__}: {one_line(error)}") from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as the picture is seen, when it is turned as its EXIF data says."""
    width, height = image.size
    if image.format == "TIFF":  # Pillow turns these itself: some versions say the size of then
        width, height = (int(image.tag_v2.get(tag, 0)) for tag in (256, 257))
    return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def fit_image(
    image: Image.Image, height: int, width: int, transform: str, channels: int = 3
) -> np.ndarray:
    """The pixels of `fit_picture`."""
    return fit_picture(image, Fit(height, width, transform, channels)).pixels


def fit_picture(image: Image.Image, fit: Fit) -> Fitted:
    """Converts a picture to sRGB or gray, cuts a box out, turns it upright, fits it to a size.

    Transparent parts become white, unless there are four channels.

    Args:
        image: As from `open_image`.
        fit: the size, and how to get there.

    Raises:
        Unreadable: The box has no part in the picture, or it is of another size than it must be;
            or is not on white, if that is to be transparent; or is absurdly long.
    """
    if max(image.size) > MAX_PICTURE_SIDE:
        shown = f"{image.width}x{image.height}"
        raise Unreadable(f"{shown} has a side of more than {MAX_PICTURE_SIDE:,} pixels")
    if fit.exact and upright_size(image) != (fit.width, fit.height):
        width, height = upright_size(image)
        raise Unreadable(f"changed while it was read: it is {width}x{height} now")
    stored = image.size
    if min(stored) < fit.min_size:
        raise Unreadable(f"{stored[0]}x{stored[1]} is smaller than --min-size={fit.min_size}")
    area = _area(stored, fit.box, fit.margin)
    if image.format in ("JPEG", "MPO") and not fit.digest:
        _decode_smaller(image, area, fit.height, fit.width, fit.transform)
    image.load()
    rgb, profile = to_srgb(image)
    layers = [rgb]
    if fit.channels == 4 and fit.alpha == "file":
        layers.append(transparency(image))
    if fit.box is not None:
        scale = [now / before for now, before in zip(rgb.size, stored, strict=True)]
        edges = [round(edge * scale[i % 2]) for i, edge in enumerate(area)]
        layers = [layer.crop(edges) for layer in layers]
    turn = _ORIENTATIONS.get(_orientation(image))
    layers = layers if turn is None else [layer.transpose(turn) for layer in layers]
    digest = b""
    if fit.digest:
        size = b"%dx%d " % layers[0].size
        digest = hashlib.sha256(size + b"".join(layer.tobytes() for layer in layers)).digest()
    return Fitted(np.ascontiguousarray(_fitted(layers, fit)), profile, digest)


def _fitted(layers: list[Image.Image], fit: Fit) -> np.ndarray:
    """A picture in mode RGB, and its transparency in mode L if it counts, at the size of `fit`."""
    size = fit.height, fit.width, fit.transform
    if len(layers) == 2:
        return fitting.fit_transparent(*layers, *size)
    [rgb] = layers
    if fit.channels == 4:
        if reason := why_not(np.asarray(rgb)):
            raise Unreadable(reason)
        return fitting.fit_cut_out(rgb, *size)
    return fitting.fit(rgb.convert("L") if fit.channels == 1 else rgb, *size)


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in _PROGRAMS]


def _readable_suffixes() -> set[str]:
    known = Image.registered_extensions()  # this loads the plugins, which fill Image.OPEN
    return {suffix for suffix, kind in known.items() if kind in Image.OPEN}


def is_readable_kind(kind: FileKind) -> bool:
    """Whether Pillow reads files of this kind."""
    return kind.group == "picture" and not _readable_suffixes().isdisjoint(kind.suffixes)


def what_it_is(source: str | bytes) -> str:
    """Why Pillow does not know a file as a picture."""
    kind = recognize(source)
    if kind is KINDS["empty"]:
        return "the file is empty"
    if kind in (KINDS["text"], KINDS["unknown"]):
        return "not an image"
    if kind.group not in ("picture", "raw", "drawing"):
        return f"not an image but {kind.said}"
    if is_readable_kind(kind):
        return f"not an image, although it begins like {kind.name}"
    return kind.said


def _area(size: tuple[int, int], box: Box | None, margin: float) -> tuple[float, ...]:
    """The part of a picture that a box with its margin covers."""
    if box is None:
        return (0, 0, *size)
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2 and x1 < size[0] and y1 < size[1] and x2 > 0 and y2 > 0):
        raise Unreadable(f"box {list(box)} has no part in the picture of {size[0]}x{size[1]}")
    dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
    area = max(x1 - dx, 0), max(y1 - dy, 0), min(x2 + dx, size[0]), min(y2 + dy, size[1])
    if round(area[0]) >= round(area[2]) or round(area[1]) >= round(area[3]):
        raise Unreadable(f"box {list(box)} covers no pixel of the picture")
    return area


def _decode_smaller(
    image: Image.Image, area: tuple[float, ...], height: int, width: int, transform: str
) -> None:
    """Has a JPEG decoded at 1/2, 1/4 or 1/8 where three times the size that is needed remains.

    That is much faster and hardly shows: RMS 1 of 255 against full decoding at 48 and 64 pixels, 3
    at 32.
    """
    # Before it is turned upright, width and height may stand for each other.
    sides, target = (area[2] - area[0], area[3] - area[1]), max(height, width)
    side = max(sides) if fitting.has_margins(transform) else min(sides)
    image.draft(None, tuple(-int(-length * 3 * target // side) for length in image.size))


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(0x0112)
    except Exception:  # damaged EXIF, and Pillow raises all kinds: the picture itself is readable
        return None
