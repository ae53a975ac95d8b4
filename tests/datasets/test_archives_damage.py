"""Zip and tar files that are made to do harm: sizes that are not so, bombs, chains of headers."""

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building.build import Output
from training.datasets.items import Item
from training.datasets.photos.decode import Unreadable
from training.datasets.sources import archives
from training.datasets.sources.images import create_from_images, images_source


def png(seed=0):
    file = io.BytesIO()
    values = np.random.RandomState(seed).randint(0, 256, [8, 8, 3])
    Image.fromarray(values.astype(np.uint8)).save(file, "png")
    return file.getvalue()


def header(name, size, kind=tarfile.REGTYPE):
    """The header of an entry of any size, also a negative one."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = b"%011o\0" % size if size >= 0 else b"\xff" * 4 + struct.pack(">q", size)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name, content, kind=tarfile.REGTYPE):
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


END = bytes(1024)
LONG = "././@LongLink"


@pytest.mark.parametrize(
    "content",
    [
        entry(LONG, b"abcd\0", tarfile.GNUTYPE_LONGNAME) * 3000 + END,
        entry("a.png", png()) + header("b.png", -512) + END,
        entry("a.png", png()) + header("b.png", -1536) + END,
        entry("a.png", png()) + header("x", -1024, tarfile.XHDTYPE) + END,
        entry("a.png", png()) + header(LONG, 1 << 32, tarfile.GNUTYPE_LONGNAME) + END,
        entry("a.png", png()) + header("x", 1 << 32, tarfile.XHDTYPE) + END,
        entry("x", b"19 path=" + b"a" * 20, tarfile.XHDTYPE) * 2000 + entry("a.png", png()) + END,
    ],
    ids=["chain", "back", "far back", "negative pax", "long name", "long pax", "chain of pax"],
)
def test_tar_headers(tmp_path, content):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(content)
    for name in ("a.tar", "a.tar.gz"):
        try:
            source = images_source(str(tmp_path / name))
        except UserError as error:
            assert "a.tar" in str(error) and len(str(error)) < 500
        else:
            assert [item.name for item in source.items] == ["a.png"]


def test_an_entry_that_promises_more_than_there_is(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(entry("a.png", png()) + header("b.png", 1 << 28) + png(1))
    with pytest.raises(UserError, match=r"a\.tar is broken: unexpected end"):
        images_source(str(path))


def test_what_unpacks_to_far_more_than_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(entry("a.png", png()) + header("b.png", 50 << 20) + bytes(50 << 20) + END)
    with pytest.raises(UserError, match=r"unpacks to more than .* as only a bomb does"):
        images_source(str(path))
    monkeypatch.setattr(archives, "MAX_RATIO", 5000)
    assert [item.name for item in images_source(str(path)).items] == ["a.png", "b.png"]


def test_entries_of_a_zip_file_that_overlap(tmp_path):
    """Many names for one entry: a small file that unpacks to terabytes."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0.png", png() * 100)
        first = file.filelist[0]
        for i in range(1, 100):
            other = zipfile.ZipInfo(f"{i}.png")
            for name in ("header_offset", "compress_size", "file_size", "CRC"):
                setattr(other, name, getattr(first, name))
            file.filelist.append(other)
            file.NameToInfo[other.filename] = other
    with pytest.raises(UserError, match="its entries overlap"):
        images_source(str(path))


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_entries_that_unpack_to_more_than_they_promise(tmp_path, method):
    """They end where they should, so that what unpacks to gigabytes takes none."""
    path, good = tmp_path / "a.zip", np.random.RandomState(0).bytes(1 << 15)
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("good.png", good)
        file.writestr("more.png", good + bytes(20 << 20 if method else 1))
        file.writestr("less.png", png(2))
        file.filelist[1].file_size = len(good)
        file.filelist[1].CRC = zlib.crc32(good)
        file.filelist[2].file_size += 1
    source = images_source(str(path))
    tracemalloc.start()
    try:
        assert source.read(Item("good.png")) == good
        with pytest.raises(Unreadable, match="unpacks to more than"):
            source.read(Item("more.png"))
        with pytest.raises(Unreadable, match="it ends early"):
            source.read(Item("less.png"))
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_entries_of_other_methods_and_with_passwords(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in "abcd":
            file.writestr(f"{name}.png", png())
        a, b, c, d = file.filelist
        a.compress_type, b.CRC, c.header_offset = 9, 1, 5
        d.flag_bits |= 1
    source = images_source(str(path))
    for name, words in (
        ("a", "by the method 9"),
        ("b", "checksum"),
        ("c", "header is missing"),
        ("d", "password"),
    ):
        with pytest.raises(Unreadable, match=f"broken in the archive: .*{words}"):
            source.read(Item(f"{name}.png"))


def test_thousands_of_entries_are_read(tmp_path):
    content = png()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for i in range(5000):
            file.writestr(f"{i:04}.png" if i % 10 == 0 else f"{i:04}.txt", content)
    source = images_source(str(tmp_path / "a.zip"))
    assert len(list(source.items)) == 500 and not source.skipped


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    for path in (str(tmp_path / "pipe.zip"), "/dev/zero"):
        with pytest.raises(UserError, match=r"a pipe|no regular file"):
            images_source(path)
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.png").write_bytes(png())
    for name in ("b.png", "c", "dataset.json.zip"):
        os.mkfifo(folder / name)
    create_from_images(Output(str(tmp_path / "ds"), resolution=8), str(folder))
