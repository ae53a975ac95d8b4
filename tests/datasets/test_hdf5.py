"""create_from_hdf5 and convert_to_hdf5."""

import os
import sys
import zlib

import numpy as np
import pytest
from official_sources import official_order, random_images, read_dataset

from dnnlib import UserError
from training.datasets.building.build import Output
from training.datasets.format.levels import image_levels
from training.datasets.items import Item, Source
from training.datasets.sources import hdf5

h5py = pytest.importorskip("h5py")


def write_hdf5(path, images):
    """As the tools of the time made it: all levels, and those below 4x4 too."""
    with h5py.File(path, "w") as file:
        for size in (1, 2, 4, 8, 16):
            step = images.shape[2] // size
            file[f"data{size}x{size}"] = images[:, :, ::step, ::step]
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_finest_level_and_labels(tmp_path, channels):
    images = random_images(7, channels, 16, 16)
    path = write_hdf5(tmp_path / "faces.h5", images)
    labels = np.eye(5)[[0, 1, 2, 2, 1, 0, 3]]  # a class without images keeps its place
    np.save(tmp_path / "faces-labels.npy", labels)
    for shuffle, order in ((True, official_order(7)), (False, np.arange(7))):
        folder = tmp_path / f"new{shuffle}"
        hdf5.create_from_hdf5(Output(str(folder), shuffle=shuffle), str(path))
        got_images, got_labels = read_dataset(folder)
        np.testing.assert_array_equal(got_images, images[order])
        np.testing.assert_array_equal(got_labels, labels[order].astype(np.float32))


@pytest.mark.parametrize("channels", [1, 4])
def test_there_and_back_with_channels_of_their_own(tmp_path, channels):
    images = random_images(3, channels, 8, 8)
    source = Source(map(Item, "012"), lambda item: images[int(item.name)], {}, channels=channels)
    hdf5.build(source, Output(str(tmp_path / "a"), shuffle=False))
    hdf5.convert_to_hdf5(str(tmp_path / "b.h5"), str(tmp_path / "a"))
    hdf5.create_from_hdf5(Output(str(tmp_path / "c"), shuffle=False), str(tmp_path / "b.h5"))
    np.testing.assert_array_equal(read_dataset(tmp_path / "c")[0], images)


def test_there_and_back(tmp_path):
    images = random_images(5, 3, 16, 16)
    rows = np.random.RandomState(1).randn(5, 3).astype(np.float32)  # labels that are no classes
    items = [Item(str(i), tuple(row.tolist())) for i, row in enumerate(rows)]
    hdf5.build(Source(items, lambda item: images[int(item.name)], {}), Output(str(tmp_path / "a")))
    target = tmp_path / "b.h5"
    hdf5.convert_to_hdf5(str(target), str(tmp_path / "a"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b-labels.npy", "b.h5"]
    order = official_order(5)
    with h5py.File(target) as file:
        assert sorted(file) == ["data16x16", "data4x4", "data8x8"]
        for level in (0, 1, 2):
            expected = np.stack([image_levels(images[i])[level] for i in order])
            np.testing.assert_array_equal(file[f"data{16 >> level}x{16 >> level}"], expected)
    np.testing.assert_array_equal(np.load(tmp_path / "b-labels.npy"), rows[order])
    hdf5.create_from_hdf5(Output(str(tmp_path / "c"), shuffle=False), str(target))
    for first, second in zip(
        read_dataset(tmp_path / "a"), read_dataset(tmp_path / "c"), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    with pytest.raises(UserError, match=r"b\.h5 exists already"):
        hdf5.convert_to_hdf5(str(target), str(tmp_path / "a"))
    with pytest.raises(UserError, match=r"b-labels\.npy exists already"):
        hdf5.convert_to_hdf5(str(tmp_path / "b.hdf5"), str(tmp_path / "a"))
    with pytest.raises(UserError, match=r"cannot write .*No such file"):
        hdf5.convert_to_hdf5(str(tmp_path / "absent/b.h5"), str(tmp_path / "a"))


def test_bad_files(tmp_path):
    images = random_images(7, 3, 16, 16)
    path = tmp_path / "faces.h5"
    labels = tmp_path / "faces-labels.npy"
    good = write_hdf5(path, images).read_bytes()

    def write(name, data):
        path.unlink()
        with h5py.File(path, "w") as file:
            file[name] = data

    for change, words in [
        (path.unlink, ["faces.h5", "No such file"]),
        (lambda: path.write_bytes(b"<html>"), ["not an HDF5 file"]),
        (lambda: path.write_bytes(b""), ["faces.h5"]),
        (lambda: path.write_bytes(good[:-2000]), ["faces.h5", "truncated"]),
        (lambda: write("other", images), ["has no images", "data4x4"]),
        (lambda: write("data16x16", images[0]), ["has no images"]),
        (lambda: write("data16x16/inner", images), ["has no images"]),
        (lambda: write("data16x16", images / 255), ["float64", "uint8"]),
        (lambda: write("data16x16", images.transpose(0, 2, 3, 1)), ["[7, 16, 16, 3]"]),
        (lambda: write("data16x16", images[:0]), ["no pictures"]),
        (lambda: write("data15x15", images[:, :, 1:, 1:]), ["15x15", "--resolution"]),
        (lambda: np.save(labels, np.zeros([6, 2])), ["faces-labels.npy", "7 rows"]),
        (lambda: np.save(labels, np.zeros([7])), ["matrix"]),
        (lambda: np.save(labels, np.array([[{}]] * 7)), ["faces-labels.npy"]),
        (lambda: labels.write_bytes(b"text"), ["cannot read labels"]),
    ]:
        path.write_bytes(good)
        change()
        with pytest.raises(UserError) as caught:
            hdf5.create_from_hdf5(Output(str(tmp_path / "new")), str(path))
        message = str(caught.value)
        assert "\n" not in message and all(word in message for word in words), message
        assert not (tmp_path / "new").exists()


def test_files_that_lead_to_others(tmp_path):
    """Or a pipe, which would be waited for."""
    secret, pipe, other = tmp_path / "secret", tmp_path / "pipe", tmp_path / "other.h5"
    secret.write_bytes(bytes(3 * 64 * 4))
    os.mkfifo(pipe)
    shape = (4, 3, 8, 8)
    with h5py.File(other, "w") as file:
        file["data8x8"] = random_images(*shape)

    def stored_in(place):
        def write(file):
            file.create_dataset("data8x8", shape, np.uint8, external=[(str(place), 0, 768)])

        return write

    def virtual(place):
        def write(file):
            layout = h5py.VirtualLayout(shape, np.uint8)
            layout[:] = h5py.VirtualSource(str(place), "data8x8", shape)
            file.create_virtual_dataset("data8x8", layout)

        return write

    def link(to):
        return lambda file: file.__setitem__("data8x8", to)

    for write, words in [
        (stored_in(secret), "stored in other files"),
        (stored_in(pipe), "stored in other files"),
        (virtual(other), "stored in other files"),
        (virtual(pipe), "stored in other files"),
        (link(h5py.ExternalLink(str(other), "data8x8")), "is a link"),
        (link(h5py.ExternalLink(str(pipe), "data8x8")), "is a link"),
        (link(h5py.SoftLink("/else")), "is a link"),
    ]:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["else"] = h5py.ExternalLink(str(other), "data8x8")
            write(file)
            with pytest.raises(UserError, match=rf"data8x8 of a\.h5 .*{words}"):
                hdf5._finest_level(file, "a.h5")


def test_files_that_claim_more_than_they_hold(tmp_path):
    path = tmp_path / "a.h5"
    for shape, options, words in [
        ((10**9, 3, 4, 4), {"chunks": (1000, 3, 4, 4)}, "up to 5,000,000 images"),
        ((5, 3, 4, 8192), {"chunks": (1, 3, 4, 8192)}, "sides of 1 to 4096"),
        ((5, 3, 0, 4), {}, "sides of 1 to 4096"),
        ((300, 3, 1024, 1024), {"chunks": (300, 3, 1024, 1024)}, "takes 900 MB to read"),
        ((300, 3, 1024, 1024), {"chunks": (300, 1, 64, 64)}, "takes 900 MB to read"),
        ((4_000_000, 3, 4, 4), {"chunks": (1000, 3, 4, 4)}, "but 0 bytes of images are stored"),
        ((1000, 3, 4, 4), {}, "but 0 bytes of images are stored"),
        ((10**6, 3, 64, 64), {"chunks": (1, 3, 64, 64), "compression": "gzip"}, "are stored in"),
    ]:
        with h5py.File(path, "w") as file:
            data = file.create_dataset("data4x4", shape, np.uint8, **options)
            if "compression" in options:
                data[0] = 1
        with h5py.File(path) as file, pytest.raises(UserError, match=words):
            hdf5._finest_level(file, str(path))


def test_a_chunk_that_unpacks_to_more_than_it_should_is_skipped(tmp_path, capsys, monkeypatch):
    images = random_images(2, 3, 16, 16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = {"chunks": (1, 3, 16, 16), "compression": "gzip"}
        data = file.create_dataset("data16x16", images.shape, np.uint8, **options)
        data[0] = images[0]
        data.id.write_direct_chunk((1, 0, 0, 0), zlib.compress(bytes(100 << 20)))
    monkeypatch.setattr(hdf5, "_MEMORY", 64 << 20)
    hdf5.create_from_hdf5(Output(str(tmp_path / "new"), shuffle=False), str(tmp_path / "a.h5"))
    np.testing.assert_array_equal(read_dataset(tmp_path / "new")[0], images[:1])
    assert "skipped /data16x16/1: the HDF5 file is damaged" in capsys.readouterr().err


def test_a_damaged_image_is_skipped_and_named(tmp_path, capsys):
    path = tmp_path / "faces.h5"
    images = random_images(6, 3, 16, 16)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data16x16", data=images, chunks=(1, 3, 16, 16), fletcher32=True)
        where = data.id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 100] ^= 255
    path.write_bytes(content)
    hdf5.create_from_hdf5(Output(str(tmp_path / "new"), shuffle=False), str(path))
    np.testing.assert_array_equal(read_dataset(tmp_path / "new")[0], images[[0, 1, 3, 4, 5]])
    assert "skipped /data16x16/2: the HDF5 file is damaged" in capsys.readouterr().err


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (
        lambda: hdf5.create_from_hdf5(Output(str(tmp_path / "new")), "a.h5"),
        lambda: hdf5.convert_to_hdf5("a.h5", str(tmp_path)),
    ):
        with pytest.raises(UserError, match="pip install h5py"):
            call()


def test_from_the_command_line(tmp_path, run_script):
    write_hdf5(tmp_path / "faces.h5", random_images(5, 1, 16, 16))

    def tool(*arguments):
        return run_script(["dataset_tool.py", *arguments], cwd=tmp_path)

    done = tool("create_from_hdf5", "new", "faces.h5", "--shuffle=0")
    assert done.returncode == 0 and "new: 5 images of 16x16" in done.stdout, done
    done = tool("convert_to_hdf5", "again.h5", "new")
    assert done.returncode == 0 and done.stdout == "again.h5: 5 images\n", done
    for arguments, text in [
        (["create_from_hdf5", "bad", "new"], "new is not an HDF5 file"),
        (["create_from_hdf5", "new", "faces.h5"], "new exists already"),
        (["convert_to_hdf5", "again.h5", "new"], "again.h5 exists already"),
        (["convert_to_hdf5", "bad.h5", "faces.h5"], "faces.h5"),
    ]:
        done = tool(*arguments)
        assert done.returncode == 2 and text in done.stderr and done.stderr.count("\n") == 1, done
