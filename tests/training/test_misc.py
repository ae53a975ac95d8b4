"""training.misc: files, pickles and grids for people's own scripts."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from dnnlib import EasyDict, UserError
from dnnlib.tflib import Network
from training import misc
from training.config.presets import preset

RANDOM = np.random.default_rng(14)


def network(name="D"):
    return Network(name, "training.networks.D_main", resolution=4, fmap_max=4)


def test_networks_there_and_back(session, tmp_path):
    path = str(tmp_path / "a.pkl")
    D = network()
    misc.save_pkl(D, path)
    loaded = misc.load_pkl(path)
    assert isinstance(loaded, Network)
    x = RANDOM.normal(size=(2, 3, 4, 4))
    np.testing.assert_array_equal(loaded.run(x, None), D.run(x, None))
    misc.save_pkl((None, D, None), path)
    G, loaded, Gs = misc.load_pkl(path)
    assert G is None and Gs is None and loaded.name == "D"


def test_plain_data_there_and_back(tmp_path):
    path = str(tmp_path / "a.pkl")
    mu, sigma = RANDOM.normal(size=3), RANDOM.normal(size=(3, 3)).astype(np.float32)
    value = {"stats": (mu, sigma), "names": ["a", None, True, 1.5], "kwargs": EasyDict(a=1)}
    for obj in (value, (mu, sigma), mu, [np.float32(3), b"bytes"]):
        misc.save_pkl(obj, path)
        loaded = misc.load_pkl(path)
        assert type(loaded) is type(obj)
        assert pickle.dumps(loaded) == pickle.dumps(obj)
    misc.save_pkl(value, path)
    loaded = misc.load_pkl(path)
    assert type(loaded["stats"][0]) is np.ndarray
    assert type(loaded["kwargs"]) is EasyDict and loaded["kwargs"].a == 1


class Bad:
    def __reduce__(self):
        return os.mkdir, ("made by a pickle",)


@pytest.mark.parametrize("obj", [Bad(), functools.partial(print), SimpleNamespace(a=1), np.ndarray])
def test_nothing_is_executed(obj, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": [obj]}, protocol=2))
    with pytest.raises(UserError, match=r"a\.pkl"):
        misc.load_pkl("a.pkl")
    assert os.listdir() == ["a.pkl"]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        misc.load_pkl(str(tmp_path / "none.pkl"))
    endless = []
    endless.append(endless)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(endless))
    with pytest.raises(UserError, match="without end"):
        misc.load_pkl(str(path))
    with pytest.raises(UserError, match="cannot write"):
        misc.save_pkl(1, str(tmp_path / "none" / "a.pkl"))


def test_shared_containers(tmp_path):
    """What is shared stays so, and small files whose objects are endless to walk are refused."""
    path = str(tmp_path / "a.pkl")
    row = [1, 2]
    misc.save_pkl({"a": [row] * 1000, "b": (row,)}, path)
    loaded = misc.load_pkl(path)
    assert loaded == {"a": [row] * 1000, "b": (row,)} and loaded["a"][9] is loaded["b"][0]
    for add in (lambda x: [x, x], lambda x: (x, x), lambda x: {"a": x, "b": x}):
        value = add([])
        for _ in range(60):
            value = add(value)
        misc.save_pkl(value, path)
        assert os.path.getsize(path) < 2000
        with pytest.raises(UserError, match="a bomb"):
            misc.load_pkl(path)


def test_open_file_or_url(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert misc.open_file_or_url(str(tmp_path / "a")).read() == b"content"
    with pytest.raises(UserError):
        misc.open_file_or_url(str(tmp_path / "b"))


def test_dynamic_range(session):
    values = np.array([-1, 0, 1], np.float32)
    expected = [0, 127.5, 255]
    np.testing.assert_allclose(misc.adjust_dynamic_range(values, [-1, 1], [0, 255]), expected)
    tensor = misc.adjust_dynamic_range(tf.constant(values), [-1, 1], [0, 255])
    np.testing.assert_allclose(session.run(tensor), expected)
    pixels = misc.adjust_dynamic_range(tf.constant([0, 255], tf.uint8), [0, 255], [-1, 1])
    np.testing.assert_allclose(session.run(pixels), [-1, 1])


def test_grids_are_pictures(tmp_path):
    images = RANDOM.uniform(-1, 1, size=(5, 3, 4, 4))
    grid = misc.create_image_grid(images, (3, 2))
    assert grid.shape == (3, 8, 12)
    picture = misc.convert_to_pil_image(grid, [-1, 1])
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.bmp", "BMP"), ("a.psd", "PNG")):
        misc.save_image_grid(images, str(tmp_path / name), drange=[-1, 1], grid_size=(3, 2))
        written = Image.open(io.BytesIO((tmp_path / name).read_bytes()))
        assert written.format == kind and written.size == (12, 8)
        if kind != "JPEG":
            np.testing.assert_array_equal(np.asarray(written), np.asarray(picture))
    with pytest.raises(UserError, match=r"cannot write .*a\.png"):
        misc.save_image_grid(images, str(tmp_path / "none" / "a.png"), drange=[-1, 1])


def test_mirroring():
    images = RANDOM.integers(0, 256, size=(64, 3, 2, 4), dtype=np.uint8)
    np.random.seed(1)
    first = misc.apply_mirror_augment(images)
    np.random.seed(1)
    np.testing.assert_array_equal(misc.apply_mirror_augment(images), first)
    is_same = (first == images).all(axis=(1, 2, 3))
    is_mirrored = (first == images[..., ::-1]).all(axis=(1, 2, 3))
    assert (is_same ^ is_mirrored).all() and 16 < is_mirrored.sum() < 48
    assert first.dtype == np.uint8


class Dataset:
    """Twelve images whose every pixel is their number, of three classes or none."""

    shape = (1, 540, 640)
    num_images = 12

    def __init__(self, label_size=3):
        self.label_size = label_size
        self.labels = np.eye(3, dtype=np.float32)[np.arange(12) % 3][:, :label_size]

    def image_index(self, positions):
        return (positions * 5 + 2) % 12

    def read_images(self, index):
        return np.broadcast_to(np.uint8(index)[:, None, None, None], [len(index), 1, 2, 2])


def test_layouts():
    (grid_w, grid_h), reals, labels = misc.setup_snapshot_image_grid(Dataset())
    assert (grid_w, grid_h) == (3, 2)
    numbers = reals[:, 0, 0, 0]
    np.testing.assert_array_equal(numbers, [2, 7, 0, 5, 10, 3])  # In the order of the dataset.
    np.testing.assert_array_equal(labels.argmax(axis=1), numbers % 3)

    def classes(layout, size="1080p"):
        (w, h), _, labels = misc.setup_snapshot_image_grid(Dataset(), size, layout)
        return labels.argmax(axis=1).reshape(h, w)

    np.testing.assert_array_equal(classes("row_per_class"), [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(classes("col_per_class"), [[0, 1, 2], [0, 1, 2]])
    assert classes("col_per_class", "4k").shape == (4, 7)
    _, reals, labels = misc.setup_snapshot_image_grid(Dataset(label_size=0), layout="row_per_class")
    assert labels.shape == (6, 0) and len(reals) == 6
    for kwargs in ({"layout": "class4x4"}, {"size": "720p"}):
        with pytest.raises(UserError, match=r"layouts random, row_per_class, col_per_class"):
            misc.setup_snapshot_image_grid(Dataset(), **kwargs)


def test_options_of_a_run(tmp_path):
    options = preset("config-e")
    options.dataset_args = {"tfrecord_dir": "datasets/mine"}
    options.mirror_augment = True
    (tmp_path / "training_options.json").write_text(json.dumps(options.to_json()))
    config = misc.parse_config_for_previous_run(str(tmp_path))
    assert config.dataset_args.tfrecord_dir == "datasets/mine" and config.mirror_augment
    with pytest.raises(UserError, match="training_options"):
        misc.parse_config_for_previous_run(str(tmp_path / "none"))
