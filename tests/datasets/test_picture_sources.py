"""create_lsun, create_lsun_wide, create_celeba."""

import io

import numpy as np
import pytest
from official_sources import official_order, random_images, read_dataset
from PIL import Image

from dnnlib import UserError
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.items import Item
from training.datasets.photos.decode import Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources import celeba, lsun

lmdb = pytest.importorskip("lmdb")


def encode(pixels, kind="webp", **options):
    """A picture file of uint8 [height, width, channels]; lossless."""
    buffer = io.BytesIO()
    options = options or ({"lossless": True} if kind == "webp" else {})
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_lmdb(folder, values):
    """Keys are `key00`, … so that the order is that of `values`."""
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as txn:
        for number, value in enumerate(values):
            txn.put(b"key%02d" % number, value)
    return folder


def smooth(height, width):
    """A picture that survives resizing: a ramp in each channel."""
    y, x = np.mgrid[:height, :width]
    ramps = y * 255 / height, x * 255 / width, (x + y) * 255 / (height + width)
    return np.stack(ramps, 2).astype(np.uint8)


def reference(pixels, top, left, height, width, size):
    """Cut and resized, [3, height, width]."""
    cut = Image.fromarray(pixels[top : top + height, left : left + width])
    return np.asarray(cut.resize(size, Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def test_lsun_squares(tmp_path, capsys):
    wide, tall, small = smooth(64, 90), smooth(100, 64), random_images(1, 32, 32, 3)[0]
    values = [encode(wide), b"broken", encode(tall, "png"), encode(small)]
    folder = write_lmdb(tmp_path / "lmdb", values)
    lsun.create_lsun(Output(str(tmp_path / "new"), shuffle=False, resolution=32), str(folder))
    images, labels = read_dataset(tmp_path / "new")
    assert labels is None
    for image, expected in zip(
        images,
        [
            reference(wide, 0, 13, 64, 64, (32, 32)),
            reference(tall, 18, 0, 64, 64, (32, 32)),
            small.transpose(2, 0, 1),
        ],
        strict=True,
    ):
        np.testing.assert_allclose(image.astype(int), expected, atol=3)
    assert "skipped key01: not an image" in capsys.readouterr().err
    # The first ones only, and the official size by default.
    lsun.create_lsun(Output(str(tmp_path / "two"), shuffle=False, max_images=1), str(folder))
    assert read_dataset(tmp_path / "two")[0].shape == (1, 3, 256, 256)
    # Shuffled, they are a random choice.
    output = Output(str(tmp_path / "random"), shuffle=True, resolution=32, max_images=2)
    lsun.create_lsun(output, str(folder))
    chosen = [i for i in official_order(4)[:2] if i != 1]
    expected = images[[{0: 0, 2: 1, 3: 2}[i] for i in chosen]]
    np.testing.assert_array_equal(read_dataset(tmp_path / "random")[0], expected)


def test_lsun_wide(tmp_path, capsys):
    # 32x24 of: as it is; too tall; too narrow; too wide in proportion; double; grey; too low
    exact, tall, double = smooth(24, 32), smooth(60, 32), smooth(50, 64)
    shapes = [exact, tall, smooth(24, 31), smooth(24, 40), double, exact[:, :, 0], smooth(23, 32)]
    values = [encode(pixels, "png") for pixels in shapes]
    folder = write_lmdb(tmp_path / "lmdb", [*values, b"broken"])
    output = Output(str(tmp_path / "new"), shuffle=False)
    lsun.create_lsun_wide(output, str(folder), 32, 24)
    images, _ = read_dataset(tmp_path / "new")
    assert images.shape == (4, 3, 32, 32)
    assert images[:, :, :4].max() == images[:, :, -4:].max() == 0
    pictures = images[:, :, 4:-4].astype(int)
    np.testing.assert_array_equal(pictures[0], exact.transpose(2, 0, 1))
    np.testing.assert_array_equal(pictures[1], tall[18:42].transpose(2, 0, 1))
    np.testing.assert_allclose(pictures[2], reference(double, 1, 0, 48, 64, (32, 24)), atol=3)
    np.testing.assert_array_equal(pictures[3], np.stack([exact[:, :, 0]] * 3))
    err = capsys.readouterr().err
    assert "skipped key07: not an image" in err and "3 pictures did not fit 32x24" in err
    manifest = read_manifest(find_dataset(str(tmp_path / "new")))
    assert manifest["unfit"] == 3 and len(manifest["skipped"]) == 1
    # Those that do not fit do not count.
    output = Output(str(tmp_path / "three"), shuffle=False, max_images=3)
    lsun.create_lsun_wide(output, str(folder), 32, 24)
    np.testing.assert_array_equal(read_dataset(tmp_path / "three")[0], images[:3])


def test_bad_lmdb(tmp_path):
    good = write_lmdb(tmp_path / "good", [encode(smooth(64, 64))] * 9)
    content = (good / "data.mdb").read_bytes()
    for name, data in (("short", content[:-4096]), ("html", b"<html>" * 999), ("empty", b"")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.mdb").write_bytes(data)
    write_lmdb(tmp_path / "none", [])
    write_lmdb(tmp_path / "texts", [b"text"])
    write_lmdb(tmp_path / "narrow", [encode(smooth(24, 31))])
    for create, folder, options, words in [
        (lsun.create_lsun, "absent", {}, ["absent/data.mdb", "No such file"]),
        (lsun.create_lsun, "short", {}, ["short/data.mdb", "truncated", "download it again"]),
        (lsun.create_lsun, "html", {}, ["html/data.mdb", "no LMDB"]),
        (lsun.create_lsun, "empty", {}, ["empty/data.mdb"]),
        (lsun.create_lsun, "none", {}, ["no pictures"]),
        (lsun.create_lsun, "texts", {}, ["no picture is readable", "key00"]),
        (lsun.create_lsun_wide, "good", {"width": 500}, ["--width", "500", "power of two"]),
        (lsun.create_lsun_wide, "good", {"height": 513}, ["--height", "513", "1 to 512"]),
        (lsun.create_lsun_wide, "good", {}, ["none of the 9 pictures", "512x384"]),
        (lsun.create_lsun_wide, "narrow", {"width": 32, "height": 4}, ["none of the 1 pictures"]),
        (lsun.create_lsun_wide, "none", {}, ["none of the 0 pictures"]),
    ]:
        with pytest.raises(UserError) as caught:
            create(Output(str(tmp_path / "new"), shuffle=False), str(tmp_path / folder), **options)
        message = str(caught.value)
        assert "\n" not in message and all(word in message for word in words), message
        assert not (tmp_path / "new").exists()


def test_damage_that_ends_the_process_of_lmdb_is_a_line(tmp_path):
    folder = write_lmdb(tmp_path / "lmdb", [bytes(500)] * 60)
    content = bytearray((folder / "data.mdb").read_bytes())
    leaves = [at for at in range(8192, len(content), 4096) if content[at + 10 : at + 12] == b"\2\0"]
    content[leaves[len(leaves) // 2] + 10] = 0  # no page of keys any longer
    (folder / "data.mdb").write_bytes(content)
    with pytest.raises(UserError, match=r"LMDB .*lmdb is damaged") as caught:
        lsun.create_lsun(Output(str(tmp_path / "new")), str(folder))
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_a_picture_that_vanishes_is_skipped(tmp_path):
    folder = write_lmdb(tmp_path / "lmdb", [encode(smooth(24, 32))])
    database = lsun.open_lmdb(str(folder))
    output = Output(str(tmp_path / "new"))
    for source in (
        lsun.lsun(database, str(folder), output),
        lsun.lsun_wide(lsun.LmdbPictures(database, PictureReader(), str(folder)), output, 32, 24),
    ):
        with pytest.raises(Unreadable, match="it is gone"):
            source.read(Item("key99"))
    database.close()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(UserError, match="pip install lmdb"):
        lsun.create_lsun(Output(str(tmp_path / "new")), str(tmp_path))


def write_celeba(root, folder, suffix, count):
    (root / folder).mkdir(parents=True)
    pixels = random_images(count, 218, 178, 3)
    for number, image in enumerate(pixels, 1):
        Image.fromarray(image).save(root / folder / f"{number:06}{suffix}")
    return pixels.transpose(0, 3, 1, 2)


def test_celeba(tmp_path, capsys):
    pixels = write_celeba(tmp_path / "celeba", "img_align_celeba_png", ".png", 4)
    celeba.create_celeba(Output(str(tmp_path / "new")), str(tmp_path / "celeba"))
    images, labels = read_dataset(tmp_path / "new")
    np.testing.assert_array_equal(images, pixels[official_order(4), :, 57:185, 25:153])
    assert labels is None and "has 4 pictures, the published set 202599" in capsys.readouterr().err
    output = Output(str(tmp_path / "edge"), shuffle=False)
    celeba.create_celeba(output, str(tmp_path / "celeba"), cx=114, cy=64)
    np.testing.assert_array_equal(read_dataset(tmp_path / "edge")[0], pixels[:, :, :128, 50:])


def test_celeba_of_jpeg_with_wrong_files(tmp_path, capsys):
    pixels = write_celeba(tmp_path / "celeba", "img_align_celeba", ".jpg", 3)
    Image.new("RGB", (178, 217)).save(tmp_path / "celeba/img_align_celeba/000002.jpg")
    (tmp_path / "celeba/img_align_celeba/list.txt").write_text("000001.jpg")
    output = Output(str(tmp_path / "new"), shuffle=False)
    celeba.create_celeba(output, str(tmp_path / "celeba"))
    images, _ = read_dataset(tmp_path / "new")
    assert images.shape == (2, 3, 128, 128)
    with Image.open(tmp_path / "celeba/img_align_celeba/000003.jpg") as image:
        expected = np.asarray(image)[57:185, 25:153].transpose(2, 0, 1)
    np.testing.assert_array_equal(images[1], expected)
    assert pixels.shape[0] == 3
    assert "skipped 000002.jpg: it is 178x217" in capsys.readouterr().err
    for options, words in [
        ({"cx": 63}, "--cx is 63: expected 64 to 114"),
        ({"cy": 155}, "--cy is 155: expected 64 to 154"),
    ]:
        with pytest.raises(UserError, match=words):
            celeba.create_celeba(Output(str(tmp_path / "x")), str(tmp_path / "celeba"), **options)
    with pytest.raises(UserError, match="img_align_celeba_png and img_align_celeba"):
        celeba.create_celeba(Output(str(tmp_path / "x")), str(tmp_path))


def test_from_the_command_line(tmp_path, run_script):
    write_lmdb(tmp_path / "lmdb", [encode(smooth(40, 44)), encode(smooth(30, 30))])
    write_celeba(tmp_path / "celeba", "img_align_celeba_png", ".png", 2)
    for arguments, text in [
        (["create_lsun", "a", "lmdb", "--resolution=16"], "a: 2 images of 16x16"),
        (["create_lsun", "b", "lmdb", "--max_images=1"], "b: 1 images of 256x256"),
        (["create_lsun_wide", "c", "lmdb", "--width=32", "--height=24"], "c: 1 images of 32x32"),
        (["create_celeba", "d", "celeba", "--cx=90", "--cy=100"], "d: 2 images of 128x128"),
    ]:
        done = run_script(["dataset_tool.py", *arguments], cwd=tmp_path)
        assert done.returncode == 0 and text in done.stdout, done
    for arguments, text in [
        (["create_lsun", "new", "celeba"], "celeba/data.mdb"),
        (["create_lsun", "new", "lmdb", "--resolution=17"], "--resolution is 17"),
        (["create_lsun_wide", "new", "lmdb", "--width=33"], "--width is 33"),
        (["create_celeba", "new", "celeba", "--cx=0"], "--cx is 0"),
        (["create_celeba", "new", "lmdb"], "img_align_celeba_png"),
    ]:
        done = run_script(["dataset_tool.py", *arguments], cwd=tmp_path)
        assert done.returncode == 2 and text in done.stderr and done.stderr.count("\n") == 1, done
