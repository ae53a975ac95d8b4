"""Pictures of strangers: the usual ones at once, others in a process that can be stopped."""

import io
import json
import os
import struct
import time
import zlib
from dataclasses import asdict

import color_profiles
import numpy as np
import pytest
from PIL import Image

from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.photos import fitting, resize
from training.datasets.photos import reader as picture_reader
from training.datasets.photos.checks import is_plain, without_long_text
from training.datasets.photos.decode import Fit, Unreadable, fit_picture, open_image
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.images import create_from_images

FIT = Fit(8, 8, "stretch")


def noise(width, height, seed=0, mode="RGB"):
    values = np.random.RandomState(seed).randint(0, 256, [height, width, 3]).astype(np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_scans(count, size=64):
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(Image.new("L", (size, size)), "jpeg", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def with_chunks(*chunks):
    """A PNG with parts behind the first."""
    data = encoded(noise(8, 8), "png")
    for kind, content in chunks:
        body = kind + content
        part = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
        data = data[:33] + part + data[33:]
    return data


@pytest.fixture
def reader():
    with PictureReader() as new_reader:
        yield new_reader


def test_usual_pictures_are_plain_and_others_are_not():
    photo = noise(64, 48)
    adobe = color_profiles.rgb(color_profiles.ADOBE_RGB, 2.2)
    for data in (
        encoded(photo, "jpeg"),
        encoded(photo, "jpeg", progressive=True, icc_profile=adobe),
        encoded(photo, "png", icc_profile=adobe),
        with_scans(50),
    ):
        assert is_plain(data)
    many_parts = b"\xff\xd8" + b"\xff\xe5\0\2" * 10_000 + encoded(photo, "jpeg")[2:]
    for data in (
        encoded(photo, "webp"),
        encoded(photo, "gif"),
        encoded(photo, "tiff"),
        encoded(photo.convert("CMYK"), "jpeg", icc_profile=color_profiles.cmyk(600_000)),
        encoded(photo, "png", icc_profile=color_profiles.cmyk(600_000) + os.urandom(20_000)),
        with_scans(2000, 1000),
        many_parts,
        with_chunks(*[(b"tEXt", b"a\0b")] * 6000),
        encoded(photo, "jpeg")[:100],
        encoded(photo, "png") + bytes(40 << 20),
        b"",
    ):
        assert not is_plain(data)


@pytest.mark.parametrize("kind", ["webp", "gif", "tiff", "bmp", "png", "jpeg"])
def test_a_process_gives_the_same_image(reader, tmp_path, kind):
    data = encoded(noise(24, 16), kind)
    (tmp_path / "a").write_bytes(data)
    fit = Fit(8, 16, "pad-white", 1, (2.5, 3, 20, 12), 0.1)
    with open_image(data) as image:
        expected = fit_picture(image, fit).pixels
    for source in (data, str(tmp_path / "a")):
        np.testing.assert_array_equal(reader.fit(source, fit).pixels, expected)
        assert reader.size(source) == (24, 16) and reader.problem(source) is None
    assert reader.problem(data[: len(data) // 2])


def test_a_picture_that_takes_too_long_is_stopped(reader, monkeypatch):
    monkeypatch.setattr(picture_reader, "SECONDS", 1.5)
    begin = time.monotonic()
    with pytest.raises(Unreadable, match=r"takes longer than the 1\.5 s that are allowed"):
        reader.fit(with_scans(20_000, 4000), FIT)
    assert time.monotonic() - begin < 60
    assert reader.fit(encoded(noise(9, 9), "gif"), FIT).pixels.shape == (3, 8, 8)


def test_bombs_are_refused(reader, tmp_path):
    promises = bytearray(encoded(noise(8, 8), "gif"))
    promises[6:10] = struct.pack("<HH", 65535, 65535)
    for bomb in (
        bytes(promises),
        encoded(Image.new("1", (20_000, 20_000)), "tiff", compression="group4"),
    ):
        with pytest.raises(Unreadable, match="bomb"):
            reader.fit(bomb, FIT)
    with open(tmp_path / "large.png", "wb") as file:
        file.write(encoded(noise(8, 8), "png"))
        file.truncate(3 << 30)
    with pytest.raises(Unreadable, match="more than"):
        reader.fit(str(tmp_path / "large.png"), FIT)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("size", [(70_000, 1), (1, 70_000)])
def test_absurdly_long_pictures_are_refused(reader, monkeypatch, kind, size):
    """Resampling takes memory for each pixel of a side, and a long PNG is small."""
    monkeypatch.setattr(resize, "resize", lambda *_: pytest.fail("it is resampled"))
    monkeypatch.setattr(fitting, "resize", lambda *_: pytest.fail("it is resampled"))
    data = encoded(Image.new("L", size), kind)
    for fit in (FIT, Fit(8, 8, "pad-white"), Fit(1, 1, "stretch", digest=True), Fit(8, 8)):
        with pytest.raises(Unreadable, match=r"x.* has a side of more than 65,535 pixels"):
            reader.fit(data, fit)
    with pytest.raises(Unreadable, match="70000"):
        fit_picture(Image.new("L", size), FIT)


def test_where_pictures_are_decoded(tmp_path, monkeypatch):
    """JPEG and PNG here, in threads; all else in the process, big ones only if they are asked."""
    for kind, is_here in (("png", True), ("jpeg", True), ("webp", False), ("tiff", False)):
        content = encoded(noise(8, 8), kind)
        (tmp_path / kind).write_bytes(content)
        for source in (content, str(tmp_path / kind)):
            assert picture_reader._plain_data(source) == (content if is_here else None)
    task = asdict(FIT)
    assert "pixels" in picture_reader._answer(content, task, False)
    monkeypatch.setattr(picture_reader, "_BIG_PICTURE", 64)
    assert picture_reader._answer(content, task, False) == {"big": True}
    assert "pixels" in picture_reader._answer(content, task, True)


def test_big_pictures_are_decoded_in_turn(reader, monkeypatch):
    monkeypatch.setattr(picture_reader, "_BIG_PICTURE", 100)
    for kind in ("png", "webp"):  # the process has its own limit
        assert reader.fit(encoded(noise(40, 40), kind), FIT).pixels.shape == (3, 8, 8)
    big = encoded(Image.new("L", (6000, 6000), 7), "tiff", compression="tiff_lzw")
    assert reader.fit(big, FIT).pixels[0, 0, 0] == 7


def test_png_files_with_long_texts_keep_what_matters(reader):
    long_text = b"Raw profile\0\0" + zlib.compress(b"0" * 3_000_000)
    adobe = color_profiles.rgb(color_profiles.ADOBE_RGB, 2.2)
    profile = b"icc\0\0" + zlib.compress(adobe + bytes(1 << 20))
    short = b"Software\0" + b"test"
    international = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 2_000_000)
    plain = with_chunks((b"tEXt", short))
    for chunks in (
        [(b"zTXt", long_text)],
        [(b"tEXt", b"a\0" + b"x" * 2_000_000)],
        [(b"iTXt", b"a\0\0\0\0\0" + b"x" * 2_000_000)],
        [(b"iTXt", international)] * 3,
        [(b"zTXt", b"a\0\0" + zlib.compress(b"0" * 900_000))] * 100,
    ):
        data = with_chunks((b"tEXt", short), *chunks)
        np.testing.assert_array_equal(reader.fit(data, FIT).pixels, reader.fit(plain, FIT).pixels)
        with open_image(data) as image:
            assert image.info["Software"] == "test"
        end = plain[:-12] + with_chunks(*chunks)[33:-1] + plain[-12:]  # behind the pixels
        assert reader.problem(end) is None
    file = io.BytesIO(plain)
    assert without_long_text(file, 1)[0] is file
    converted = reader.fit(with_chunks((b"iCCP", profile)), FIT)
    assert converted.profile == "converted"
    with pytest.raises(Unreadable, match="200,000 parts"):
        reader.fit(with_chunks(*[(b"tEXt", b"a\0b")])[:33] + b"\0\0\0\0tEXt\0\0\0\0" * 200_001, FIT)


def test_pictures_of_one_size_to_the_eye(tmp_path):
    """Telephones store upright photos sideways, with a note in the EXIF data."""
    upright = noise(24, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "p"
    folder.mkdir()
    for name in ("a.png", "b.webp", "c.jpg"):
        sideways = upright.transpose(Image.Transpose.ROTATE_90)
        sideways.save(folder / name, exif=exif, lossless=True, quality=100)
    upright.save(folder / "d.png")
    create_from_images(Output(str(tmp_path / "ds"), shuffle=False), str(folder))
    dataset = find_dataset(str(tmp_path / "ds"))
    manifest = read_manifest(dataset)
    assert (manifest["width"], manifest["height"], manifest["images"]) == (24, 32, 4)
    with open(dataset.path(".json")) as file:
        assert json.load(file)["skipped"] == []
    from training.datasets.building import inspect

    first, second, _, last = inspect.read_images(dataset)
    np.testing.assert_array_equal(first, last)
    np.testing.assert_array_equal(second, last)
