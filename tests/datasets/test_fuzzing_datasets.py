"""Thousands of damaged files for every reader of datasets and pictures."""

import functools
import io
import itertools
import os
import struct
import tarfile
import zipfile
import zlib

import color_profiles
import fuzzing
import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building import inspect
from training.datasets.building.build import Output
from training.datasets.format import label_file
from training.datasets.format.dataset_files import DatasetFiles
from training.datasets.format.examples import Encoding, parse_image, serialize_image
from training.datasets.format.level_files import RecordWriter
from training.datasets.photos.decode import Fit, Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.images import create_from_images, images_source

COUNT = 2000


def image(size, seed=0):
    return np.random.RandomState(seed).randint(0, 256, [3, size, size]).astype(np.uint8)


def smooth(size):
    """A picture that becomes smaller when it is encoded."""
    return np.broadcast_to(np.arange(size, dtype=np.uint8), [3, size, size]).copy()


def read_record(path):
    """One record, or a file of them."""
    if path.endswith(".tfrecords"):
        dataset = DatasetFiles(os.path.dirname(path), "a", {2: [path]}, ([0], 1))
        for _ in inspect.read_images(dataset):
            pass
        return
    with open(path, "rb") as file:
        payload = file.read()
    try:
        parse_image(payload)
    except ValueError as error:  # whoever reads records says which one it is
        raise UserError(str(error)) from error


def read_labels(path):
    dataset = DatasetFiles(os.path.dirname(path), "a", {}, ([0], 1))
    label_file.read_labels(dataset, path, 5)


def read_manifest(path):
    folder = os.path.dirname(path)
    with RecordWriter(folder, "a", [3, 2]) as writer:
        writer.add(image(8))
    with open(os.path.join(folder, "a-rxx.labels"), "wb") as file:
        np.save(file, np.eye(1, 2, dtype=np.float32))
    inspect.info(folder)


def with_right_checksums(path):
    """Most damage would go no further than to a checksum, which whoever means harm makes right."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if path.endswith(".tar"):
        for start in range(0, len(data) - 511, 512):
            if data[start + 257 : start + 262] == b"ustar":
                block = data[start : start + 148] + b" " * 8 + data[start + 156 : start + 512]
                data[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    elif path.endswith(".png"):
        start = 8
        while start + 12 <= len(data):
            end = start + 8 + int.from_bytes(data[start : start + 4], "big")
            data[end : end + 4] = struct.pack(">I", zlib.crc32(data[start + 4 : end]))
            start = end + 4
    with open(path, "wb") as file:
        file.write(data)


def read_archive(path):
    with_right_checksums(path)
    source = images_source(path)
    for item in itertools.islice(source.items, 100):
        try:
            source.read(item)
        except Unreadable as error:
            assert len(str(error)) < 1000


@functools.cache
def picture_reader():
    return PictureReader()


def read_picture(path):
    with_right_checksums(path)
    try:
        picture_reader().fit(path, Fit(8, 8))
    except Unreadable as error:
        raise UserError(str(error)) from error


def test_records(tmp_path):
    seeds = [tmp_path / name for name in ("raw", "png", "jpeg", "webp", "a-r02.tfrecords")]
    for path in seeds[:4]:
        encoding = Encoding(path.name)
        path.write_bytes(serialize_image(smooth(32), encoding))
    assert b"encoded" in seeds[1].read_bytes()
    with RecordWriter(str(tmp_path), "a", [2]) as writer:
        for seed in range(3):
            writer.add(image(4, seed))
    fuzzing.check_reader(read_record, seeds, COUNT)


def test_labels(tmp_path):
    seeds = []
    for name, labels in (("a", np.eye(5, 3, dtype=np.float32)), ("b", np.eye(5, 3, dtype=np.int8))):
        seeds.append(tmp_path / f"{name}.labels")
        with open(seeds[-1], "wb") as file:
            np.save(file, labels)
    fuzzing.check_reader(read_labels, seeds, COUNT)


def test_manifests(tmp_path):
    folder = tmp_path / "p"
    for label in ("x", "y"):
        (folder / label).mkdir(parents=True)
    Image.fromarray(image(8).T).save(folder / "x/1.png")
    (folder / "y/2.png").write_bytes(b"broken")
    create_from_images(Output(str(tmp_path / "a"), resolution=8), str(folder), "folders")
    fuzzing.check_reader(read_manifest, [tmp_path / "a/a.json"], COUNT)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives(tmp_path, kind):
    file = io.BytesIO()
    Image.fromarray(image(8).T).save(file, "png")
    names = ["a.png", "b/c.png", f"d/{'long' * 40}.png", "no-suffix", "e.txt"]
    if kind == "zip":
        seeds = [tmp_path / "a.zip", tmp_path / "b.zip"]
        for path, how in zip(seeds, (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED), strict=True):
            with zipfile.ZipFile(path, "w", how) as archive:
                for name in names:
                    archive.writestr(name, file.getvalue())
    else:
        seeds = [tmp_path / "a.tar", tmp_path / "b.tar", tmp_path / "c.tar.gz"]
        forms = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.PAX_FORMAT)
        for path, form in zip(seeds, forms, strict=True):
            mode = "w:gz" if path.suffix == ".gz" else "w"
            with tarfile.open(path, mode, format=form) as archive:
                for name in (*names, "ünï.png"):
                    info = tarfile.TarInfo(name)
                    info.size = len(file.getvalue())
                    archive.addfile(info, io.BytesIO(file.getvalue()))
                link = tarfile.TarInfo("link.png")
                link.type, link.linkname = tarfile.LNKTYPE, "a.png"
                archive.addfile(link)
    fuzzing.check_reader(read_archive, seeds, COUNT)


def test_pictures(tmp_path):
    picture = Image.fromarray(image(24).T)
    exif = Image.Exif()
    exif[0x0112] = 6
    adobe = color_profiles.rgb(color_profiles.ADOBE_RGB, 2.2)
    for name, mode, options in (
        ("a.jpg", "RGB", {"icc_profile": adobe, "exif": exif}),
        ("b.jpg", "RGB", {"progressive": True}),
        ("c.jpg", "CMYK", {"icc_profile": color_profiles.cmyk()}),
        ("d.png", "RGBA", {"icc_profile": adobe}),
        ("e.png", "P", {}),
        ("f.png", "I;16", {"icc_profile": color_profiles.grey(1.8)}),
        ("g.gif", "P", {"save_all": True, "append_images": [picture.rotate(90)], "comment": "x"}),
        ("h.webp", "RGB", {"icc_profile": adobe}),
        ("i.tif", "RGB", {"compression": "tiff_lzw"}),
        ("j.tif", "LAB", {}),
        ("k.bmp", "RGB", {}),
        ("l.ico", "RGBA", {}),
    ):
        converted = Image.new(mode, (24, 24)) if mode in ("LAB", "I;16") else picture.convert(mode)
        converted.save(tmp_path / name, **options)
    fuzzing.check_reader(read_picture, sorted(tmp_path.iterdir()), COUNT)
