"""Transparent products: opacity from files, and cut out of photos on white."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from training.datasets.building.inspect import read_images
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.photos.arrays import on_white, to_picture, to_pixels
from training.datasets.photos.cutout import cut_out, why_not
from training.datasets.photos.decode import Fit, fit_picture, open_image
from training.datasets.sources.drawn_products import DEMO_CLASSES, draw_product

SIZE, FINER = 192, 4


def fitted(image, size, transform="center-crop", **options):
    return fit_picture(image, Fit(size, size, transform, 4, **options)).pixels


def product_on_white(outline, color, blur=0.0):
    """(photo uint8 [3, SIZE, SIZE], opacity [SIZE, SIZE] of 0 to 1) of drawn shapes.

    Args:
        outline: draws white on black, in units of the whole side.
        color: [3], or [3, SIZE, SIZE].
        blur: of the edge, in pixels.
    """
    mask = Image.new("L", (SIZE * FINER, SIZE * FINER))
    outline(ImageDraw.Draw(mask), SIZE * FINER)
    mask = mask.filter(ImageFilter.GaussianBlur(blur * FINER)).reduce(FINER)
    opacity = np.asarray(mask) / 255
    color = color_plane(color)
    return np.rint(color * opacity + 255 * (1 - opacity)).astype(np.uint8), opacity


def color_plane(color):
    """[3, SIZE, SIZE] of that or of one color."""
    color = np.asarray(color)
    return np.broadcast_to(color if color.ndim == 3 else color[:, None, None], [3, SIZE, SIZE])


def overlap(opacity, expected):
    """Soft intersection over union: every shade of the edge counts."""
    return np.minimum(opacity, expected).sum() / np.maximum(opacity, expected).sum()


def as_jpeg(pixels, quality):
    file = io.BytesIO()
    to_picture(pixels).save(file, "jpeg", quality=quality)
    return to_pixels(Image.open(file))


def ellipse(pen, n):
    pen.ellipse((n * 0.2, n * 0.1, n * 0.8, n * 0.9), fill=255)


def star(pen, n):
    angles = np.arange(16) * np.pi / 8
    radii = n * np.resize([0.45, 0.2], 16)
    points = np.stack([n / 2 + radii * np.cos(angles), n / 2 + radii * np.sin(angles)], axis=1)
    pen.polygon([tuple(point) for point in points], fill=255)


def bag(pen, n):
    """It hangs from the upper border by a strap, and stands on the lower one."""
    pen.rectangle((n * 0.2, n * 0.5, n * 0.8, n), fill=255)
    pen.line((n * 0.3, n * 0.55, n * 0.45, -1), fill=255, width=n // 50)


STRIPES = np.full([3, SIZE, SIZE], 90.0) + 25 * (np.arange(SIZE) // 24 % 2)[:, None]
COLORS = {"dark": (30, 30, 30), "red": (200, 40, 50), "light": (215, 225, 210), "stripes": STRIPES}


@pytest.mark.parametrize("outline", [ellipse, star, bag])
@pytest.mark.parametrize("color", COLORS)
def test_products_are_cut_out_of_white(outline, color):
    for blur in (0, 1.2):
        photo, opacity = product_on_white(outline, COLORS[color], blur)
        pixels = cut_out(photo)
        assert overlap(pixels[3] / 255, opacity) > 0.98
        # What one sees on white is the photo, but for a ground that is quite white now.
        assert np.abs(on_white(pixels).astype(int) - photo).max() <= 10
        assert overlap(cut_out(as_jpeg(photo, 90))[3] / 255, opacity) > 0.96
        straight = np.asarray(to_picture(pixels)).transpose(2, 0, 1)
        edge = (pixels[3] > 60) & (pixels[3] < 200)
        rim = np.abs(straight[:3] - color_plane(COLORS[color]))[:, edge]
        assert rim.mean() < 15  # Not white.


def test_wide_soft_edges():
    photo, opacity = product_on_white(ellipse, COLORS["red"], blur=3)
    assert overlap(cut_out(photo)[3] / 255, opacity) > 0.98


def test_enclosed_white_and_light_parts_stay():
    def ring(pen, n):
        ellipse(pen, n)
        pen.ellipse((n * 0.4, n * 0.4, n * 0.6, n * 0.6), fill=0)

    photo, _ = product_on_white(ring, COLORS["red"])
    photo[:, 20:24, 80:110] = 240  # A light seam right behind the edge.
    _, filled = product_on_white(ellipse, COLORS["red"])
    assert overlap(cut_out(photo)[3] / 255, filled) > 0.98


def test_noise_of_the_ground_goes():
    photo, opacity = product_on_white(ellipse, COLORS["dark"])
    photo[:, 5:8, 5] = 200  # A speck.
    ground = opacity == 0
    noise = np.random.default_rng(0).integers(0, 9, photo.shape).astype(np.uint8)
    pixels = cut_out(np.where(ground, photo - noise, photo))
    far = np.asarray(Image.fromarray(ground).filter(ImageFilter.MinFilter(5)))
    assert (pixels[3, far] == 0).all() and (pixels[:3, far] == 255).all()
    assert overlap(pixels[3] / 255, opacity) > 0.98


def test_drawn_products_have_masks():
    """Those without a shadow are cut out of white as they were drawn."""
    for index in range(12):
        picture, label = draw_product(1, index, 128)
        pixels, _ = draw_product(1, index, 128, with_opacity=True)
        np.testing.assert_array_equal(on_white(pixels), picture)
        assert (pixels[:3] >= 255 - pixels[3].astype(int) - 1).all()
        assert (pixels[3, 0] == 0).all() and (pixels[3] == 255).mean() > 0.05
        if DEMO_CLASSES[label] in ("t-shirt", "dress", "trousers"):
            assert overlap(cut_out(picture)[3] / 255, pixels[3] / 255) > 0.98
        else:  # The shadow is no darker than 60 of 255.
            floor = (picture.min(axis=0) > 190) & (pixels[3] > 0) & (pixels[3] < 255)
            assert pixels[3][floor].min() < 60


def test_photos_that_are_not_on_white_are_left_out(tmp_path, tool):
    photos = tmp_path / "photos"
    photos.mkdir()
    white, _ = product_on_white(bag, COLORS["red"])
    assert why_not(white.transpose(1, 2, 0)) is None
    to_picture(white).save(photos / "white.png")
    gray = white.copy()
    gray[:, :, :70] = gray[:, :, 122:] = 230
    to_picture(gray).save(photos / "gray.png")
    args = ["create_from_images", tmp_path / "new", photos, "--resolution=64", "--channels=rgba"]
    code, _, err = tool(*args, "--alpha=from-white")
    assert code == 0 and "gray.png: " in err and "% of its border is white" in err
    dataset = find_dataset(str(tmp_path / "new"))
    [pixels] = read_images(dataset)
    expected = fitted(to_picture(white), 64, alpha="from-white")
    np.testing.assert_array_equal(pixels, expected)
    _, opacity = product_on_white(bag, COLORS["red"])
    opacity = opacity.reshape(64, 3, 64, 3).mean(axis=(1, 3))
    assert overlap(pixels[3] / 255, opacity) > 0.98
    manifest = read_manifest(dataset)
    assert (manifest["channels"], manifest["alpha"]) == (4, "from-white")
    assert [entry["file"] for entry in manifest["skipped"]] == ["gray.png"]


def test_colors_and_opacity_go_there_and_back():
    opacity, color = np.mgrid[:256, :256].astype(np.uint8)
    file = np.stack([color, color[:, ::-1], 255 - opacity, opacity], axis=2)
    pixels = to_pixels(Image.fromarray(file))
    exact = 255 - (opacity / 255) * (255.0 - file[..., :3].transpose(2, 0, 1))
    np.testing.assert_array_equal(pixels[:3], np.rint(exact))
    np.testing.assert_array_equal(pixels[3], opacity)
    assert (pixels[:3, opacity == 0] == 255).all()  # No color is hidden.
    np.testing.assert_array_equal(to_pixels(to_picture(pixels)), pixels)
    opaque = file[opacity[:, 0] == 255]
    np.testing.assert_array_equal(np.asarray(to_picture(pixels))[-1], opaque[0])


def half_transparent(size, hidden):
    """Blue, and transparent in its right half, where a file hides a color."""
    image = Image.new("RGBA", size, (20, 60, 200, 255))
    image.paste((*hidden, 0), (size[0] // 2, 0, *size))
    return image


def test_files_say_what_is_transparent():
    pixels = fitted(half_transparent((64, 64), (255, 0, 0)), 16)
    np.testing.assert_array_equal(pixels, fitted(half_transparent((64, 64), (0, 255, 9)), 16))
    assert (pixels[:, :, :4] == np.reshape([20, 60, 200, 255], [4, 1, 1])).all()
    assert (pixels[3, :, 12:] == 0).all() and (pixels[:3, :, 12:] == 255).all()
    assert (pixels[:3] >= 255 - pixels[3]).all()
    seen = fit_picture(half_transparent((64, 64), (255, 0, 0)), Fit(16, 16)).pixels
    np.testing.assert_allclose(on_white(pixels).astype(int), seen, atol=1)
    opaque = fitted(Image.new("RGB", (16, 16), (1, 2, 3)), 16)
    assert (opaque[3] == 255).all() and (opaque[:3, 3, 3] == [1, 2, 3]).all()
    turned = half_transparent((64, 64), (0, 0, 0))
    turned.getexif()[0x0112] = 3
    np.testing.assert_array_equal(fitted(turned, 16)[3], pixels[3, :, ::-1])


def png_with_color(depth, color, values, clear):
    """A PNG of one row, and the one color of it that is transparent."""
    channels = 1 if color == 0 else 3
    bits = "".join(f"{value:0{depth}b}" for value in values)
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    head = struct.pack(">IIBBBBB", len(values) // channels, 1, depth, color, 0, 0, 0)
    key = struct.pack(f">{channels}H", *clear)
    parts = ((b"IHDR", head), (b"tRNS", key), (b"IDAT", zlib.compress(row)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


KEY, OTHER, DEEP, DEEP_OTHER = (1, 2, 3), (1, 2, 4), (0x1234,) * 3, (0x3412,) * 3


@pytest.mark.parametrize(
    ("depth", "color", "values", "clear"),
    [
        (1, 0, [0, 0, 1, 0, 1, 1, 0, 1], [1]),
        (2, 0, [0, 0, 1, 0, 1, 1, 0, 1], [1]),
        (4, 0, [3, 3, 5, 3, 5, 5, 0, 5], [5]),
        (8, 0, [3, 3, 5, 3, 5, 5, 0, 5], [5]),
        (16, 0, [0x1233, 0, 0x1234, 0, 0x1234, 0x1234, 9, 0x1234], [0x1234]),
        (8, 2, [*OTHER * 2, *KEY, *OTHER, *KEY * 2, *OTHER, *KEY], KEY),
        (16, 2, [*DEEP_OTHER * 2, *DEEP, *DEEP_OTHER, *DEEP * 2, *DEEP_OTHER, *DEEP], DEEP),
    ],
)
def test_one_color_of_a_png_is_transparent_at_every_depth(depth, color, values, clear):
    expected = [255, 255, 0, 255, 0, 0, 255, 0]
    with open_image(png_with_color(depth, color, values, clear)) as image:
        pixels = fit_picture(image, Fit(1, 8, channels=4)).pixels
        on_white = fit_picture(image, Fit(1, 8)).pixels
    assert pixels[3, 0].tolist() == expected
    assert (on_white[:, 0, [2, 4, 5, 7]] == 255).all()


def test_margins_of_transparent_pictures():
    wide = half_transparent((32, 16), (255, 0, 0))
    for transform, margin in (
        ("pad-white", (255, 255, 255, 0)),
        ("pad-color=#0a141e", (10, 20, 30, 255)),
    ):
        pixels = fitted(wide, 32, transform)
        np.testing.assert_array_equal(pixels[:, 3, 5], margin)
        np.testing.assert_array_equal(pixels[:, 16, 2], (20, 60, 200, 255))
    clear = Image.new("RGBA", (32, 16), (9, 9, 9, 0))
    clear.paste((20, 60, 200, 255), (8, 4, 24, 16))
    np.testing.assert_array_equal(fitted(clear, 32, "pad-edge")[:, 3, 5], (255, 255, 255, 0))


@pytest.mark.parametrize("encoding", ["raw", "png", "webp"])
def test_datasets_hold_opacity(tmp_path, tool, encoding):
    photos = tmp_path / "photos"
    photos.mkdir()
    image = half_transparent((16, 16), (255, 0, 0))
    image.putpixel((3, 3), (250, 130, 10, 77))
    image.save(photos / "a.png")
    args = ["create_from_images", tmp_path / "new", photos, "--channels=rgba"]
    code, _, err = tool(*args, f"--encoding={encoding}", "--quality=100")
    assert code == 0, err
    [pixels] = read_images(find_dataset(str(tmp_path / "new")))
    np.testing.assert_array_equal(pixels, to_pixels(image))
    assert tool("info", tmp_path / "new")[0] == 0
    assert tool("extract", tmp_path / "new", tmp_path / "out")[0] == 0
    np.testing.assert_array_equal(to_pixels(Image.open(tmp_path / "out/img00000000.png")), pixels)
    sheet = Image.open(tmp_path / "new/new-contact-sheet.png")
    assert sheet.mode == "RGB" and sheet.getpixel((sheet.width - 6, 9)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--alpha=from-white"], "--alpha=from-white is for --channels=rgba: give both"),
        (["--channels=rgba", "--encoding=jpeg"], "--encoding=jpeg holds no opacity"),
        (
            ["--channels=rgba", "--alpha=from-white", "--transform=pad-color=linen"],
            "margins of --alpha=from-white are transparent",
        ),
        (["--channels=cmyk"], "rgba"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path, tool, options, words):
    (tmp_path / "photos").mkdir()
    code, _, err = tool("create_from_images", tmp_path / "new", tmp_path / "photos", *options)
    assert code == 2 and words in err and err.count("\n") == 1
    assert not (tmp_path / "new").exists()
