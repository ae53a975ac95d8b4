"""Reading pictures of every kind and fitting them to a square."""

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dnnlib import UserError
from training.datasets.photos.decode import (
    Fit,
    Unreadable,
    fit_image,
    fit_picture,
    open_image,
    upright_size,
)
from training.datasets.photos.fitting import parse_transform

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT.parent / "shared/data/clothing-small"


def fit(path, resolution=8, transform="center-crop"):
    with open_image(str(path)) as image:
        return fit_image(image, resolution, resolution, transform)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def noise(width, height, seed=0):
    values = np.random.RandomState(seed).randint(0, 256, [height, width, 3])
    return Image.fromarray(values.astype(np.uint8))


def half_transparent(mode):
    """The left half opaque red or grey 100, the right half transparent."""
    colour = (100, 255) if mode == "LA" else (200, 0, 0, 255)
    image = Image.new(mode, (8, 8), colour)
    image.paste((0,) * len(colour), (4, 0, 8, 8))
    return image


def palette_with_transparency():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.paste(0, (4, 0, 8, 8))
    return image


WHITE, RED, GREY = (255, 255, 255), (200, 0, 0), (100, 100, 100)


def two_halves(left, right):
    """A float picture of two brightnesses."""
    pixels = np.full([8, 8], left, np.float32)
    pixels[:, 4:] = right
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("name", "image", "options", "left", "right"),
    [
        ("rgba.png", half_transparent("RGBA"), {}, RED, WHITE),
        ("la.png", half_transparent("LA"), {}, GREY, WHITE),
        ("palette.png", palette_with_transparency(), {"transparency": 0}, RED, WHITE),
        ("rgb-key.png", Image.new("RGB", (8, 8), RED), {"transparency": RED}, WHITE, WHITE),
        ("grey.png", Image.new("L", (8, 8), 100), {}, GREY, GREY),
        ("bit.png", Image.new("1", (8, 8), 1), {}, WHITE, WHITE),
        ("cmyk.tif", Image.new("CMYK", (8, 8), (55, 255, 255, 0)), {}, RED, RED),
        ("i16.png", Image.new("I;16", (8, 8), 100 * 257), {}, GREY, GREY),
        ("dark-i16.png", Image.new("I;16", (8, 8), 200), {}, (1, 1, 1), (1, 1, 1)),
        ("i8.tif", Image.new("I", (8, 8), 100), {}, GREY, GREY),
        ("i32.tif", Image.new("I", (8, 8), 70000), {}, WHITE, WHITE),
        ("unit.tif", Image.new("F", (8, 8), 100 / 255), {}, GREY, GREY),
        ("bright.tif", two_halves(100 / 255, 1.02), {}, GREY, WHITE),
        ("highlight.tif", two_halves(100 / 255, 7.5), {}, GREY, WHITE),
        ("white-ground.tif", two_halves(1.004, 1.02), {}, WHITE, WHITE),
        ("infinite.tif", two_halves(100 / 255, float("inf")), {}, GREY, WHITE),
        ("bytes.tif", two_halves(100, 254.6), {}, GREY, WHITE),
        ("bright-bytes.tif", two_halves(100, 260), {}, GREY, WHITE),
        ("dark-bytes.tif", two_halves(5, 7), {}, (5, 5, 5), (7, 7, 7)),
        ("words.tif", two_halves(100 * 257, 65535), {}, GREY, WHITE),
        ("beyond.tif", two_halves(100_000, 255_000), {}, GREY, WHITE),
        ("nan.tif", Image.new("F", (8, 8), float("nan")), {}, (0, 0, 0), (0, 0, 0)),
        ("first.gif", Image.new("RGB", (8, 8), RED), {"save_all": True}, RED, RED),
        ("lossless.webp", half_transparent("RGBA"), {"lossless": True}, RED, WHITE),
    ],
)
def test_every_mode_becomes_rgb_over_white(tmp_path, name, image, options, left, right):
    if name == "first.gif":
        options = {**options, "append_images": [Image.new("RGB", (8, 8), "blue")]}
    pixels = fit(saved(image, tmp_path / name, **options))
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8
    assert (tuple(pixels[:, 4, 1]), tuple(pixels[:, 4, 6])) == (left, right)


def test_cmyk_jpeg_is_the_picture_and_not_its_negative(tmp_path):
    path = saved(Image.new("CMYK", (64, 64), (55, 255, 255, 0)), tmp_path / "a.jpg")
    assert np.abs(fit(path).mean(axis=(1, 2)) - RED).max() < 4


def two_passes(image, size, box):
    """Pillow's resampling, the columns first and then the rows, as [3, height, width]."""
    lanczos = Image.Resampling.LANCZOS
    image = image.resize((size[0], image.height), lanczos, (box[0], 0, box[2], image.height))
    image = image.resize(size, lanczos, (0, box[1], size[0], box[3]))
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.png"):
        path = saved(noise(24, 16), tmp_path / name, exif=exif)
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).resize((8, 8), 1))
        np.testing.assert_array_equal(fit(path, 8, "stretch"), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiffs_have_the_size_in_which_they_are_seen(tmp_path, orientation):
    """Pillow turns TIFFs itself, and says the size of then before it does so."""
    picture = noise(24, 16)
    path = str(tmp_path / "a.tif")
    picture.save(path, tiffinfo={0x0112: orientation})
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    height, width = expected.shape[:2]
    with open_image(path) as image:
        assert upright_size(image) == (width, height)
        pixels = fit_picture(image, Fit(height, width, exact=True)).pixels
    np.testing.assert_array_equal(pixels, expected.transpose(2, 0, 1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_lose_the_photo(tmp_path):
    path = saved(noise(16, 16), tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert fit(path).shape == (3, 8, 8)


@pytest.mark.parametrize("size", [(20, 12), (12, 20), (21, 13), (3, 2), (1, 1), (8, 8), (16, 16)])
def test_transforms(tmp_path, size):
    original = noise(*size)
    path = saved(original, tmp_path / "a.png")
    width, height = size

    # Whole pixels are cut; of an odd number, one more on the right or below.
    side = min(size)
    x, y = (width - side) // 2, (height - side) // 2
    cropped = two_passes(original, (8, 8), (x, y, x + side, y + side))
    np.testing.assert_array_equal(fit(path), cropped)

    stretched = two_passes(original, (8, 8), (0, 0, width, height))
    np.testing.assert_array_equal(fit(path, 8, "stretch"), stretched)

    inner = [max(1, round(8 * length / max(size))) for length in size]
    padded = np.full([8, 8, 3], 255, np.uint8)
    x, y = (8 - inner[0]) // 2, (8 - inner[1]) // 2
    padded[y : y + inner[1], x : x + inner[0]] = two_passes(
        original, inner, (0, 0, width, height)
    ).transpose(1, 2, 0)
    np.testing.assert_array_equal(fit(path, 8, "pad-white"), padded.transpose(2, 0, 1))


def test_margins_have_the_color_that_is_asked_for(tmp_path):
    original = Image.new("RGB", (30, 12), (90, 120, 150))
    original.paste((250, 0, 0), (0, 4, 12, 12))  # It touches a third of the border.
    path = saved(original, tmp_path / "a.png")
    inner = fit(path, 30, "pad-white")[:, 9:21]
    for transform, color in (
        ("pad-white", (255, 255, 255)),
        ("pad-edge", (90, 120, 150)),
        ("pad-color=#0a64ff", (10, 100, 255)),
    ):
        expected = np.empty([3, 30, 30], np.uint8)
        expected[:] = np.array(color)[:, None, None]
        expected[:, 9:21] = inner
        np.testing.assert_array_equal(fit(path, 30, transform), expected)
    gray = fit_image(original, 30, 30, "pad-color=#ff0000", channels=1)
    assert (gray[0, :9] == 76).all()  # 0.299 * 255


def test_transforms_have_names():
    assert parse_transform("pad-color=Linen") == "pad-color=#faf0e6"
    assert parse_transform("pad-color=#FAF0E6") == "pad-color=#faf0e6"
    for bad in ("pad", "pad-color=", "pad-color=#fff", "pad-color=rgb(1,2,3)", "pad-color=nocolor"):
        with pytest.raises(UserError, match="transform '"):
            parse_transform(bad)


def test_the_size_that_is_wanted_is_kept_pixel_for_pixel(tmp_path):
    original = noise(16, 16)
    for transform in ("center-crop", "pad-white", "stretch"):
        pixels = fit(saved(original, tmp_path / "a.png"), 16, transform)
        np.testing.assert_array_equal(pixels, np.asarray(original).transpose(2, 0, 1))


@pytest.mark.parametrize("transform", ["center-crop", "pad-white", "stretch"])
def test_fast_decoding_is_close_to_a_full_one(transform):
    if not PHOTOS.is_dir():
        pytest.skip("needs ../shared/data/clothing-small")
    errors = []
    for path in sorted(PHOTOS.glob("*/*0.jpg"))[:12]:
        with Image.open(path) as photo:
            plain = io.BytesIO()
            photo.save(plain, "png")  # a format without reduced decoding
        with Image.open(plain) as photo:
            expected = fit_image(photo, 64, 64, transform).astype(np.float64)
        errors.append(np.sqrt(np.mean((fit(path, 64, transform) - expected) ** 2)))
    assert np.mean(errors) < 2  # of 255


def test_extreme_proportions_take_little_memory(tmp_path):
    paths = [saved(noise(*size), tmp_path / f"{size[0]}.png") for size in ((20000, 10), (1, 20000))]
    code = (
        "import sys\n"
        "from training.datasets.photos.decode import fit_image, open_image\n"
        "from training.datasets.photos.fitting import TRANSFORMS\n"
        "for path in sys.argv[1:]:\n"
        "    for transform in TRANSFORMS:\n"
        "        with open_image(path) as image:\n"
        "            assert fit_image(image, 256, 256, transform).shape == (3, 256, 256)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    command = [sys.executable, "-c", code, *map(str, paths)]
    peak = int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    assert peak < 200_000  # kB; covering 256x256 before cropping would take 390 MB for the picture


def promises_too_much():
    """A PNG that promises 60000x60000 pixels."""
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "png")
    data = bytearray(file.getvalue())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_what_cannot_be_read_has_a_reason(tmp_path):
    jpeg = saved(noise(64, 64), tmp_path / "whole.jpg").read_bytes()
    contents = {
        "empty.jpg": (b"", "is empty"),
        "page.jpg": (b"<!DOCTYPE html><html></html>", "not an image but a web page"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC .* save it as JPEG"),
        "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not run"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "head.png": (b"\x89PNG\r\n\x1a\n", "not an image"),
        "bomb.png": (promises_too_much(), "bomb"),
    }
    for name, (content, reason) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Unreadable, match=reason):
            fit(tmp_path / name)
    os.symlink("nowhere", tmp_path / "link.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in (("link.jpg", "broken link"), ("pipe.jpg", "not a regular file")):
        with pytest.raises(Unreadable, match=reason):
            fit(tmp_path / name)
