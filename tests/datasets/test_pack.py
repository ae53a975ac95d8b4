"""unpack and pack."""

import json
import os

import numpy as np
import pytest
from official_sources import random_images, read_dataset
from PIL import Image

from dnnlib import UserError
from training.datasets.building import inspect
from training.datasets.building.build import Output, build
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.items import Item, Source
from training.datasets.sources import pack

COUNT = 12
LABELS = [i % 4 for i in range(COUNT)]


@pytest.fixture(params=[3, 1])
def unpacked(request, tmp_path):
    """A dataset of COUNT labeled images in the order of `images`, and its folder of files."""
    images = random_images(COUNT, request.param, 8, 8)
    items = [Item(str(i), LABELS[i]) for i in range(COUNT)]
    source = Source(items, lambda item: images[int(item.name)], {}, channels=request.param)
    build(source, Output(str(tmp_path / "old"), shuffle=False))
    inspect.extract(str(tmp_path / "old"), str(tmp_path / "unpacked"))
    return str(tmp_path / "unpacked"), images


def test_all_of_it(tmp_path, unpacked):
    folder, images = unpacked
    pack.pack(Output(str(tmp_path / "new")), folder, seed=9)
    order = np.random.RandomState(9).permutation(COUNT)
    got_images, got_labels = read_dataset(tmp_path / "new")
    np.testing.assert_array_equal(got_images, images[order])
    np.testing.assert_array_equal(got_labels, np.eye(4, dtype=np.float32)[LABELS][order])
    assert not (tmp_path / "new-validation").exists()


def test_a_mirrored_subset_and_other_images_for_validation(tmp_path, unpacked):
    folder, images = unpacked
    (tmp_path / "new-validation").mkdir()  # an empty folder is not in the way
    pack.pack(Output(str(tmp_path / "new")), folder, 2, 3, True, seed=9)
    order = np.random.RandomState(9).permutation(COUNT)
    train, train_labels = read_dataset(tmp_path / "new")
    pairs = [image for i in order[:2] for image in (images[i], images[i][:, :, ::-1])]
    np.testing.assert_array_equal(train, pairs)
    # Two images have at most two of the four classes; labels are of the same size all the same.
    rows = np.eye(4, dtype=np.float32)[LABELS]
    np.testing.assert_array_equal(train_labels, rows[np.repeat(order[:2], 2)])
    validation, validation_labels = read_dataset(tmp_path / "new-validation")
    np.testing.assert_array_equal(validation, images[order[2:5]])
    np.testing.assert_array_equal(validation_labels, rows[order[2:5]])
    manifest = read_manifest(find_dataset(str(tmp_path / "new")))
    assert manifest["mirror"] is True and manifest["seed"] == 9 and manifest["source"] == folder


@pytest.mark.parametrize("names", [{}, {0: "hat", 2: "shoe"}])
def test_classes_without_images_keep_their_columns(tmp_path, names):
    images, labels = random_images(3, 3, 8, 8), [0, 2, 3]
    items = [Item(str(i), label) for i, label in enumerate(labels)]
    source = Source(items, lambda item: images[int(item.name)], {}, names, classes=range(5))
    build(source, Output(str(tmp_path / "old"), shuffle=False))
    if not names:
        (tmp_path / "old/old.json").unlink()  # as datasets of the official tools have none
    inspect.extract(str(tmp_path / "old"), str(tmp_path / "unpacked"))
    pack.pack(Output(str(tmp_path / "new")), str(tmp_path / "unpacked"), seed=9)
    order = np.random.RandomState(9).permutation(3)
    rows = read_dataset(tmp_path / "new")[1]
    np.testing.assert_array_equal(rows, np.eye(5, dtype=np.float32)[labels][order])
    expected = [names.get(i, str(i)) for i in range(5)]
    assert read_manifest(find_dataset(str(tmp_path / "new")))["label_names"] == expected


@pytest.mark.parametrize("mirror", [False, True])
def test_opacity_is_kept(tmp_path, mirror):
    images = random_images(3, 4, 8, 8)
    images[:, :3] = np.maximum(images[:, :3], 255 - images[:, 3:])  # colors over white
    images[0, 3] = 255  # the first one may be opaque
    source = Source(map(Item, "012"), lambda item: images[int(item.name)], {}, channels=4)
    build(source, Output(str(tmp_path / "old"), shuffle=False))
    inspect.extract(str(tmp_path / "old"), str(tmp_path / "unpacked"))
    pack.pack(Output(str(tmp_path / "new")), str(tmp_path / "unpacked"), mirror=mirror, seed=9)
    packed = read_dataset(tmp_path / "new")[0][:: 1 + mirror]
    np.testing.assert_array_equal(packed, images[np.random.RandomState(9).permutation(3)])
    Image.new("LA", (8, 8), (9, 99)).save(tmp_path / "unpacked/gray.png")
    for path in (tmp_path / "unpacked").glob("img*"):
        path.unlink()
    pack.pack(Output(str(tmp_path / "gray")), str(tmp_path / "unpacked"))
    assert read_dataset(tmp_path / "gray")[0].shape == (1, 4, 8, 8)


def test_too_many_are_asked_for(tmp_path, unpacked):
    for counts in ((13, 0), (10, 3), (None, 12)):
        with pytest.raises(UserError, match=r"--num_train .* --num_validation .* 1 to 12"):
            pack.pack(Output(str(tmp_path / "new")), unpacked[0], *counts)
    (tmp_path / "new-validation").mkdir()
    (tmp_path / "new-validation/kept").touch()
    with pytest.raises(UserError, match="new-validation exists already"):
        pack.pack(Output(str(tmp_path / "new")), unpacked[0], 2, 3)
    assert not (tmp_path / "new").exists()


def test_pictures_without_labels_and_a_broken_one(tmp_path, capsys):
    (tmp_path / "in/00000").mkdir(parents=True)
    (tmp_path / "in/00000/a.png").write_bytes(b"text")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "in/00000/b.png")
    pack.pack(Output(str(tmp_path / "new")), str(tmp_path / "in"), mirror=True)
    images, labels = read_dataset(tmp_path / "new")
    assert images.shape == (2, 3, 8, 8) and labels is None
    assert "skipped 00000/a.png//mirrored: not an image" in capsys.readouterr().err


def test_from_the_command_line(tmp_path, unpacked, run_script):
    def tool(*arguments):
        return run_script(["dataset_tool.py", *arguments], cwd=tmp_path)

    done = tool("unpack", "--tfrecord_dir=old", "--output_dir=again")
    assert done.returncode == 0 and "again: 12 images and dataset.json" in done.stdout
    assert sorted(os.listdir(tmp_path / "again")) == sorted(os.listdir(unpacked[0]))
    with open(tmp_path / "again/dataset.json") as file:
        assert json.load(file)["labels"][5] == ["img00000005.png", 1]
    options = ["--num_train=4", "--num_validation=2", "--mirror=1", "--seed=3"]
    done = tool("pack", "--unpacked_dir=again", "--tfrecord_dir=sub/new/", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "dataset.json: 4 classes: 0 (3), 1 (3), 2 (3), 3 (3)",
        "sub/new/: 8 images of 8x8, 4 classes, 0 files skipped",
        "sub/new-validation: 2 images of 8x8, 4 classes, 0 files skipped",
    ]
    for arguments, text in [
        (["pack", "--unpacked_dir=again"], "--tfrecord_dir"),
        (["pack", "--unpacked_dir=absent", "--tfrecord_dir=bad"], "absent"),
        (["pack", "--unpacked_dir=again", "--tfrecord_dir=bad", "--num_train=99"], "99"),
        (["pack", "--unpacked_dir=again", "--tfrecord_dir=bad", "--runner=spark"], "spark"),
        (["unpack", "--tfrecord_dir=again", "--output_dir=bad"], "again is no dataset"),
    ]:
        done = tool(*arguments)
        assert done.returncode == 2 and text in done.stderr and done.stderr.count("\n") == 1, done
    assert not (tmp_path / "bad").exists()
