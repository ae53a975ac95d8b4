"""Pictures of every mode and color space in sRGB, as a viewer that manages colors shows them.

Embedded profiles are followed with the perceptual intent and without black point compensation: the
table that a profile has for photos says itself where black goes. A profile whose colors are those
of sRGB anyway, as most are, costs nothing.
"""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageChops, ImageCms

from dnnlib.util import one_line

# What the manifest says.
DESCRIPTION = "sRGB; profiles with perceptual intent, without black point compensation"
MAX_PROFILE_BYTES = 8 << 20  # the largest ones of printers have 3 MB
_SAME = 2  # of 255: colors closer than this are the same
_HIGHLIGHTS, _NEARLY = 8, 1.1  # how far floats exceed their white: the brightest, and half of them
_SPACES = {"L": "GRAY", "LA": "GRAY", "RGB": "RGB ", "RGBA": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}


def to_srgb(image: Image.Image) -> tuple[Image.Image, str | None]:
    """A picture in mode RGB, over white where it is transparent.

    CMYK without a profile becomes RGB by its definition; Lab by that of D50.

    Args:
        image: decoded, of any mode.

    Returns:
        The picture, and what became of its profile: "converted", why it is ignored, or None if it
        has none or one of sRGB.
    """
    # Deviation: the official tool passes over profiles, so that colors of Adobe RGB or P3 are dull.
    profile = image.info.get("icc_profile")
    image = _simple_mode(image)
    transform, note = _find_transform(profile, image.mode) if profile else (None, None)
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        image = _apply(transform, image.convert("L" if image.mode == "LA" else "RGB"))
        image.putalpha(alpha)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB"), note
    if image.mode == "LAB":
        transform = _lab_transform()
    return _apply(transform, image), note


def transparency(image: Image.Image) -> Image.Image:
    """How transparent a picture of any mode is, mode L: 0 is opaque."""
    image = _simple_mode(image)
    if image.mode not in ("LA", "RGBA"):
        return Image.new("L", image.size)
    return ImageChops.invert(image.getchannel("A"))


def set_transparent_color(image: Image.Image) -> None:
    """Gives the one transparent color of a PNG the depth that its pixels will have.

    Pillow leaves it at that of the file, where it decodes 2 and 4 bits of gray, or 16 of color, to
    8 bits: then no pixel has that color, or a wrong one.

    Args:
        image: not decoded yet.
    """
    color = image.info.get("transparency")
    if image.format != "PNG" or not image.tile or isinstance(color, (bytes, type(None))):
        return
    stored = image.tile[0][3]  # How the pixels lie in the file.
    if stored in ("L;2", "L;4"):
        most = 3 if stored == "L;2" else 15
        image.info["transparency"] = (color & most) * (255 // most)
    elif stored == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in color)


def _apply(transform: ImageCms.ImageCmsTransform | None, image: Image.Image) -> Image.Image:
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _simple_mode(image: Image.Image) -> Image.Image:
    """The picture in one of the modes of _SPACES."""
    if image.mode == "F" or image.mode.startswith("I"):
        gray = Image.fromarray(_to_eight_bits(image))
        clear = image.info.get("transparency")
        if isinstance(clear, int):  # One shade of the many that become the same.
            opaque = np.asarray(image) != clear
            gray.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
        return gray
    if image.mode in ("La", "LA") or (image.mode in ("L", "1") and "transparency" in image.info):
        return image.convert("LA")
    if image.mode in ("RGBA", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in _SPACES:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _find_transform(
    profile: bytes, mode: str
) -> tuple[ImageCms.ImageCmsTransform | None, str | None]:
    """What to apply to a picture of one of the modes, and a note as from `to_srgb`."""
    if not isinstance(profile, bytes):
        return None, "it is damaged"
    if len(profile) > MAX_PROFILE_BYTES:
        return None, f"it has more than {MAX_PROFILE_BYTES >> 20} MB"
    space = _SPACES[mode]
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return None, "it is damaged"
    if profile[16:20] != space.encode("ascii"):
        return None, "it is for another kind of colors than the picture has"
    if mode == "LAB":
        return None, None  # there is one Lab
    transform = _transform(profile, {"LA": "L", "RGBA": "RGB"}.get(mode, mode))
    if isinstance(transform, str):
        return None, transform
    return transform, None if transform is None else "converted"


@functools.lru_cache(maxsize=16)  # threads may share a transform
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | str | None:
    """From a profile to sRGB; None where that changes nothing; text if it cannot be used."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        perceptual = ImageCms.Intent.PERCEPTUAL
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB", perceptual)
        if mode == "CMYK":
            return transform
        # Most colors, and all greys, through the profile.
        steps = np.arange(0, 256, 17, np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 1, 3)
        greys = np.arange(256, dtype=np.uint8)[:, np.newaxis]
        probe = np.concatenate([cube, np.repeat(greys[..., np.newaxis], 3, axis=2)])
        probe = greys if mode == "L" else probe
        result = np.asarray(transform.apply(Image.fromarray(probe)), np.int16)
    except Exception as error:  # on damaged profiles ImageCms raises whatever happens to it
        is_damaged = isinstance(error, (ImageCms.PyCMSError, OSError))
        return "it is damaged" if is_damaged else f"it cannot be used: {one_line(error, 80)}"
    expected = probe[..., np.newaxis] if mode == "L" else probe
    return None if (np.abs(result - expected) <= _SAME).all() else transform


@functools.cache
def _lab_transform() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.createProfile("LAB")
    return ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB", ImageCms.Intent.PERCEPTUAL)


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _to_eight_bits(image: Image.Image) -> np.ndarray:
    """uint8 [height, width] from an integer or float picture.

    White is 65535 in 16-bit modes. The others do not tell: it is the least of 1 (floats only), 255
    and 65535 that is not exceeded, else the largest value. Floats exceed their white where they
    were sharpened or resized, and in highlights: they may do so up to _HIGHLIGHTS times, if half of
    the pixels keep to it, or nearly, as those of a white ground do. At the next white they would be
    all but black. Infinite ones are white.
    """
    values = np.asarray(image).astype(np.float32)
    finite = np.nan_to_num(values, posinf=0, neginf=0)
    top = float(finite.max())
    white = 65535.0 if image.mode.startswith("I;16") or top > 255 else 255.0
    white = max(white, top)
    if image.mode == "F":
        for known in (255.0, 1.0):
            if top <= _HIGHLIGHTS * known and np.mean(finite <= _NEARLY * known) >= 0.5:
                white = known
    values = np.nan_to_num(values, copy=False, posinf=white, neginf=0)
    return np.rint(values * (255 / white)).clip(0, 255).astype(np.uint8)
