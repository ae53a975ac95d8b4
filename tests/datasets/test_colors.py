"""Pictures with color profiles, against ImageCms and against the formulas of color spaces."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import color_profiles as profiles
import numpy as np
import pytest
from PIL import Image, ImageCms

from training.datasets.building import inspect
from training.datasets.building.build import Output
from training.datasets.format import examples
from training.datasets.format.examples import parse_image
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.photos import colors
from training.datasets.photos.decode import fit_image, open_image
from training.datasets.sources.images import create_from_images

ADOBE = profiles.rgb(profiles.ADOBE_RGB, 2.2)
P3 = profiles.rgb(profiles.DISPLAY_P3, profiles.srgb_curve())
PRO_PHOTO = profiles.rgb(profiles.PRO_PHOTO, 1.8)
SRGB = profiles.rgb(profiles.SRGB, profiles.srgb_curve())
GREY_LINEAR = profiles.grey(1.0)
CMYK = profiles.cmyk()
IGNORED = ("it is damaged", "it is for another kind of colors than the picture has")


def saved(folder, name, image, **options):
    image.save(folder / name, **options)
    return str(folder / name)


def color(path):
    with open_image(path) as image:
        return fit_image(image, 8, 8, "stretch").mean(axis=(1, 2))


def formula(value, colorants, gamma):
    """sRGB of a color of another RGB space: linear light, XYZ, linear light, sRGB's curve."""
    linear = (np.asarray(value) / 255) ** gamma
    back = np.linalg.inv(np.transpose(profiles.SRGB)) @ np.transpose(colorants) @ linear
    back = back.clip(0, 1)
    return 255 * np.where(back <= 0.0031308, 12.92 * back, 1.055 * back ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    ("name", "profile", "colorants", "gamma"),
    [
        ("adobe.jpg", ADOBE, profiles.ADOBE_RGB, 2.2),
        ("adobe.png", ADOBE, profiles.ADOBE_RGB, 2.2),
        ("p3.webp", profiles.rgb(profiles.DISPLAY_P3, 2.2), profiles.DISPLAY_P3, 2.2),
        ("prophoto.tif", PRO_PHOTO, profiles.PRO_PHOTO, 1.8),
    ],
)
def test_rgb_profiles_are_followed(tmp_path, name, profile, colorants, gamma):
    options = {"quality": 100, "lossless": True} if name.endswith("webp") else {"quality": 100}
    for value in ((112, 200, 90), (200, 60, 70), (60, 90, 190), (128, 128, 128), (0, 0, 0)):
        path = saved(
            tmp_path, name, Image.new("RGB", (64, 64), value), icc_profile=profile, **options
        )
        expected = formula(value, colorants, gamma)
        assert np.abs(color(path) - expected).max() < (3 if name.endswith("jpg") else 2), value
    assert np.abs(formula((112, 200, 90), colorants, gamma) - (112, 200, 90)).max() > 20


@pytest.mark.parametrize("name", ["ink.jpg", "ink.tif"])
def test_cmyk_with_a_profile_and_without(tmp_path, name):
    image = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    path = saved(tmp_path, name, image, icc_profile=CMYK, quality=100)
    source = ImageCms.ImageCmsProfile(io.BytesIO(CMYK))
    expected = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
    ).getpixel((0, 0))
    assert np.abs(color(path) - expected).max() < 3
    assert np.abs(np.subtract(expected, (0, 255, 255))).max() > 60
    plain = saved(tmp_path, f"plain-{name}", image, quality=100)
    assert np.abs(color(plain) - (0, 255, 255)).max() < 3
    large = saved(tmp_path, f"large-{name}", image, icc_profile=profiles.cmyk(600_000))
    assert np.abs(color(large) - expected).max() < 3


def test_grey_profiles_and_sixteen_bits(tmp_path):
    expected = formula((100, 100, 100), profiles.SRGB, 1.0)
    assert abs(expected[0] - 100) > 60
    for name, mode, value in (
        ("a.png", "L", 100),
        ("b.png", "LA", (100, 255)),
        ("c.png", "I;16", 100 * 257),
        ("d.tif", "L", 100),
        ("e.jpg", "L", 100),
    ):
        image = Image.new(mode, (16, 16), value)
        path = saved(tmp_path, name, image, icc_profile=GREY_LINEAR)
        assert np.abs(color(path) - expected).max() < 2, name
        with open_image(path) as opened:
            one_channel = fit_image(opened, 8, 8, "stretch", 1)
        assert abs(int(one_channel[0, 0, 0]) - expected[0]) < 2
    image = Image.new("I;16", (16, 16), 100 * 257)
    assert color(saved(tmp_path, "plain.png", image)).tolist() == [100] * 3


def test_lab(tmp_path):
    lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    image = lab.apply(Image.new("RGB", (16, 16), (200, 90, 40)))
    assert np.abs(color(saved(tmp_path, "a.tif", image)) - (200, 90, 40)).max() < 4


def test_transparency_and_palettes_with_profiles(tmp_path):
    expected = formula((112, 200, 90), profiles.ADOBE_RGB, 2.2)
    image = Image.new("RGBA", (16, 16), (112, 200, 90, 255))
    assert np.abs(color(saved(tmp_path, "a.png", image, icc_profile=ADOBE)) - expected).max() < 2
    image.paste((0, 0, 0, 0), (0, 0, 16, 16))
    assert color(saved(tmp_path, "b.png", image, icc_profile=ADOBE)).tolist() == [255] * 3
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([0, 0, 0, 112, 200, 90])
    assert np.abs(color(saved(tmp_path, "c.png", palette, icc_profile=ADOBE)) - expected).max() < 2


def test_profiles_of_srgb_change_no_bit(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, [64, 64, 3]).astype(np.uint8)
    pillows = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (SRGB, pillows):
        image = Image.fromarray(pixels)
        image.info["icc_profile"] = profile
        result, note = colors.to_srgb(image)
        assert note is None and np.array_equal(np.asarray(result), pixels)


def test_profiles_that_cannot_be_used_are_ignored_and_said(tmp_path):
    damaged = ADOBE[:200] + bytes(len(ADOBE) - 200)
    too_large = ADOBE + bytes(colors.MAX_PROFILE_BYTES)
    for mode, profile, reason in (
        ("RGB", damaged, "damaged"),
        ("RGB", b"garbage", "damaged"),
        ("RGB", ADOBE[:150], "damaged"),
        ("RGB", CMYK, "another kind of colors"),
        ("L", ADOBE, "another kind of colors"),
        ("CMYK", ADOBE, "another kind of colors"),
        ("RGB", too_large, "more than 8 MB"),
    ):
        image = Image.new(mode, (8, 8))
        plain = np.asarray(colors.to_srgb(image)[0])
        image.info["icc_profile"] = profile
        result, note = colors.to_srgb(image)
        assert reason in note
        np.testing.assert_array_equal(np.asarray(result), plain)


def test_threads_share_what_profiles_need():
    pixels = np.random.RandomState(0).randint(0, 256, [200, 200, 3]).astype(np.uint8)

    def convert(i):
        image = Image.fromarray(pixels)
        image.info["icc_profile"] = (ADOBE, P3, PRO_PHOTO)[i % 3]
        return np.asarray(colors.to_srgb(image)[0])

    alone = [convert(i) for i in range(3)]
    with ThreadPoolExecutor(8) as pool:
        for i, result in enumerate(pool.map(convert, range(60))):
            np.testing.assert_array_equal(result, alone[i % 3])


def test_the_manifest_counts_profiles_and_every_entrance_follows_them(tmp_path, capsys):
    folder = tmp_path / "p"
    folder.mkdir()
    green = Image.new("RGB", (64, 64), (112, 200, 90))
    for i, profile in enumerate((ADOBE, P3, SRGB, None, CMYK, b"garbage")):
        saved(folder, f"{i}.png", green, icc_profile=profile)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
        for path in sorted(folder.iterdir()):
            file.write(path, path.name)
    output = Output(str(tmp_path / "a"), resolution=16, shuffle=False)
    create_from_images(output, str(folder))
    create_from_images(
        Output(str(tmp_path / "b"), resolution=16, shuffle=False), str(folder) + ".zip"
    )
    assert inspect.compare(str(tmp_path / "a"), str(tmp_path / "b"))
    dataset = find_dataset(str(tmp_path / "a"))
    manifest = read_manifest(dataset)
    assert manifest["profiles"] == {"converted": 2, IGNORED[0]: 1, IGNORED[1]: 1}
    assert "perceptual intent, without black point" in manifest["colors"]
    assert "2 color profiles ignored" in capsys.readouterr().out
    inspect.info(str(tmp_path / "a"))
    assert "profiles:   2 converted to sRGB, 2 ignored" in capsys.readouterr().out
    first, _, third, *_ = inspect.read_images(dataset)
    assert np.abs(first[:, 5, 5] - formula((112, 200, 90), profiles.ADOBE_RGB, 2.2)).max() < 2
    assert third[:, 5, 5].tolist() == [112, 200, 90]


def test_compressed_records_of_others_are_converted():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (112, 200, 90)).save(file, "png", icc_profile=ADOBE)
    name, shape = b"png", examples._shape_feature((3, 8, 8))
    parts = examples._bytes_feature(b"encoded", file.getvalue())
    payload = examples._example(parts, examples._bytes_feature(b"format", name), shape)
    expected = formula((112, 200, 90), profiles.ADOBE_RGB, 2.2)
    assert np.abs(parse_image(payload)[:, 4, 4] - expected).max() < 2
