"""Datasets as scripts for the official code read them."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from training.dataset import TFRecordDataset, load_dataset
from training.datasets.format.examples import RAW, serialize_image
from training.datasets.format.label_file import write_labels
from training.datasets.format.level_files import RecordWriter

COUNT = 7


def build(path, images, labels):
    path.mkdir()
    with RecordWriter(str(path), path.name, [3, 2]) as writer:
        for image in images:
            writer.add(image)
    write_labels(str(path / f"{path.name}-rxx.labels"), iter([labels]), *labels.shape)
    return str(path)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, size=[COUNT, 3, 8, 8], dtype=np.uint8)


@pytest.fixture
def labels():
    return np.eye(3, dtype=np.float32)[np.arange(COUNT) % 3]


@pytest.fixture
def folder(tmp_path, images, labels):
    return build(tmp_path / "shop", images, labels)


def test_tensors_give_the_minibatches_of_the_configuration(session, folder):
    before = set(threading.enumerate())
    dataset, expected = TFRecordDataset(folder, seed=3), TFRecordDataset(folder, seed=3)
    batch = dataset.get_minibatch_tf()
    assert batch[0].shape.as_list() == [None, 3, None, None]
    assert batch[1].shape.as_list() == [None, 3]
    with pytest.raises(tf.errors.OpError, match="call configure"):
        tflib.run(batch)
    stream = expected.minibatches(0, 2)
    dataset.configure(2)
    for _ in range(5):
        for found, other in zip(tflib.run(batch), next(stream), strict=True):
            np.testing.assert_array_equal(found, other)
        dataset.configure(2)  # The same again changes nothing.
    # Images and labels of one run belong together, and two of one run are two minibatches.
    again = dataset.get_minibatch_tf()
    pair = tflib.run([batch[0], again[0]])
    wanted = [next(stream)[0], next(stream)[0]]
    assert sorted(x.tobytes() for x in pair) == sorted(x.tobytes() for x in wanted)
    dataset.configure(3, lod=1)
    coarse, _ = tflib.run(batch)
    np.testing.assert_array_equal(coarse, expected.get_minibatch_np(3, lod=1)[0])
    assert coarse.shape == (3, 3, 4, 4)
    stream.close()
    dataset.close()
    expected.close()
    # TensorFlow's own threads are listed by such names once they have run Python.
    new = {t for t in threading.enumerate() if not t.name.startswith("Dummy-")} - before
    assert new == set()


def test_without_repetition_the_images_end(session, folder, images, labels):
    dataset = load_dataset(path=folder, repeat=False, shuffle_mb=0, prefetch_mb=1, num_threads=1)
    found = [dataset.get_minibatch_np(3) for _ in range(3)]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), images)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), labels)
    with pytest.raises(tf.errors.OutOfRangeError):
        dataset.get_minibatch_np(3)
    dataset.configure(4)
    batch = dataset.get_minibatch_tf()
    assert [len(tflib.run(batch)[0]) for _ in range(2)] == [4, 3]
    with pytest.raises(tf.errors.OutOfRangeError):
        tflib.run(batch)


def test_images_are_mirrored_at_random(folder, images):
    args = {"path": folder, "shuffle": False, "mirror_augment": True}
    one, same, other = (load_dataset(**args, seed=seed) for seed in (None, 0, 1))
    positional = load_dataset(args.pop("path"), **args)  # As in the ADA repository.
    np.testing.assert_array_equal(positional.read_images([0]), one.read_images([0]))
    found, again, third = (d.get_minibatch_np(5 * COUNT)[0] for d in (one, same, other))
    np.testing.assert_array_equal(found, again)
    assert (found != third).any()
    repeated = np.tile(images, [5, 1, 1, 1])
    kept = (found == repeated).all(axis=(1, 2, 3))
    turned = (found == repeated[..., ::-1]).all(axis=(1, 2, 3))
    assert np.logical_xor(kept, turned).all() and 5 < turned.sum() < 30
    np.testing.assert_array_equal(one.read_images(np.arange(COUNT)), images)


def test_images_for_validation(folder, tmp_path, images, labels):
    with pytest.raises(UserError, match="no images are held out"):
        TFRecordDataset(folder).load_validation_set_np()
    dataset = TFRecordDataset(folder, validation=3)
    held_out, of_them = dataset.load_validation_set_np()
    numbers = dataset.validation_set().numbers
    np.testing.assert_array_equal(held_out, images[numbers])
    np.testing.assert_array_equal(of_them, labels[numbers])
    build(tmp_path / "shop-validation", images[::-1], labels[::-1])
    dataset = load_dataset("dataset.TFRecordDataset", str(tmp_path), tfrecord_dir="shop")
    found, of_them = dataset.load_validation_set_np()
    np.testing.assert_array_equal(found, images[::-1])
    np.testing.assert_array_equal(of_them, labels[::-1])
    few = TFRecordDataset(folder, max_validation=2, max_label_size=0).load_validation_set_np()
    assert [len(x) for x in few] == [2, 2] and few[1].shape == (2, 0)


def test_records_are_parsed(session, images):
    record = serialize_image(images[0], RAW)
    np.testing.assert_array_equal(TFRecordDataset.parse_tfrecord_np(record), images[0])
    parsed = TFRecordDataset.parse_tfrecord_tf(tf.constant(record))
    np.testing.assert_array_equal(tflib.run(parsed), images[0])
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        TFRecordDataset.parse_tfrecord_np(b"\xff" * 9)


def test_a_folder_is_needed(folder):
    with pytest.raises(UserError, match="tfrecord_dir= or path="):
        load_dataset(data_dir=os.path.dirname(folder))
    load_dataset(None, os.path.dirname(folder), tfrecord_dir="shop").close()
    with pytest.raises(UserError, match="no dataset class"):
        load_dataset("mine.Dataset", tfrecord_dir=folder)
