"""The reader of training data, on real files."""

import os

import numpy as np
import pytest

from dnnlib import UserError, tflib
from training.dataset import TFRecordDataset, load_dataset
from training.datasets.format.label_file import write_labels
from training.datasets.format.level_files import RecordWriter

COUNT = 11


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, size=[COUNT, 3, 16, 16], dtype=np.uint8)


@pytest.fixture
def labels():
    return np.eye(3, dtype=np.float32)[np.arange(COUNT) % 3]


@pytest.fixture
def folder(tmp_path, images, labels):
    path = tmp_path / "shop"
    path.mkdir()
    with RecordWriter(str(path), "shop", [4, 3, 2]) as writer:
        for image in images:
            writer.add(image)
    write_labels(str(path / "shop-rxx.labels"), iter([labels]), *labels.shape)
    return str(path)


def take(dataset, start, size, count, lod=0):
    stream = dataset.minibatches(start, size, lod)
    batches = [next(stream) for _ in range(count)]
    stream.close()
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def which(batch, images):
    return [int(np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0]) for image in batch]


def test_every_epoch_shows_every_image_once_in_another_order(folder, images):
    dataset = TFRecordDataset(folder, seed=5)
    batch, _ = take(dataset, 0, COUNT, 3)
    epochs = [which(batch[i * COUNT : (i + 1) * COUNT], images) for i in range(3)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != list(range(COUNT))


def test_order_is_a_function_of_seed_and_position(folder):
    dataset = TFRecordDataset(folder, seed=5)
    whole, whole_labels = take(dataset, 0, 4, 9)
    later, later_labels = take(TFRecordDataset(folder, seed=5), 20, 4, 4)
    np.testing.assert_array_equal(later, whole[20:])
    np.testing.assert_array_equal(later_labels, whole_labels[20:])
    by_ones, _ = take(TFRecordDataset(folder, seed=5), 0, 1, 36)
    np.testing.assert_array_equal(by_ones, whole)
    other, _ = take(TFRecordDataset(folder, seed=6), 0, 4, 9)
    assert (other != whole).any()


def test_labels_stay_with_their_images(folder, images, labels):
    batch, batch_labels = take(TFRecordDataset(folder), 0, 5, 4)
    np.testing.assert_array_equal(batch_labels, labels[which(batch, images)])


def test_levels_of_detail(folder, images):
    dataset = TFRecordDataset(folder)
    coarse, _ = take(dataset, 0, 4, 1, lod=1)
    fine, _ = take(dataset, 0, 4, 1)
    mean = fine.reshape(4, 3, 8, 2, 8, 2).astype(np.float32).mean(axis=(3, 5))
    np.testing.assert_array_equal(coarse, np.rint(mean).astype(np.uint8))
    half = TFRecordDataset(folder, resolution=8)
    assert half.shape == [3, 8, 8]
    np.testing.assert_array_equal(take(half, 0, 4, 1)[0], coarse)


def test_official_attributes_and_functions(folder, labels):
    dataset = load_dataset(data_dir=os.path.dirname(folder), tfrecord_dir="shop")
    assert (dataset.shape, dataset.resolution, dataset.resolution_log2) == ([3, 16, 16], 16, 4)
    assert (dataset.label_size, dataset.num_images, dataset.dynamic_range) == (3, COUNT, [0, 255])
    images, _ = dataset.get_minibatch_np(4)
    again, _ = dataset.get_minibatch_np(4)
    assert images.shape == (4, 3, 16, 16) and images.dtype == np.uint8
    assert (images != again).any()
    assert dataset.get_random_labels_np(7).shape == (7, 3)


def test_label_columns_and_image_count_can_be_limited(folder, images):
    assert TFRecordDataset(folder, max_label_size=0).label_size == 0
    assert TFRecordDataset(folder, max_label_size=2).label_size == 2
    few = TFRecordDataset(folder, max_images=4)
    assert set(which(take(few, 0, 4, 5)[0], images)) == {0, 1, 2, 3}


def test_random_labels_follow_the_data_and_the_seed(folder, labels, session):
    dataset = TFRecordDataset(folder)
    drawn = [
        tflib.run(dataset.get_random_labels_tf(600, np.array([3, position], np.int32)))
        for position in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    np.testing.assert_allclose(drawn[0].mean(axis=0), labels.mean(axis=0), atol=0.1)


def test_another_label_file(folder, tmp_path, labels):
    other = np.arange(COUNT * 5, dtype=np.float32).reshape(COUNT, 5)
    with open(tmp_path / "other.labels", "wb") as file:
        np.save(file, other)
    dataset = TFRecordDataset(folder, label_file=str(tmp_path / "other.labels"))
    np.testing.assert_array_equal(dataset.labels, other)
    os.replace(tmp_path / "other.labels", os.path.join(folder, "other.labels"))
    assert TFRecordDataset(folder, label_file="other.labels").label_size == 5
    with pytest.raises(UserError, match=r"none\.labels"):
        TFRecordDataset(folder, label_file="none.labels")


def test_label_header_that_claims_too_much(folder):
    path = os.path.join(folder, "shop-rxx.labels")
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 4)}
        )
    with pytest.raises(UserError, match=r"cannot read labels .*shop-rxx"):
        TFRecordDataset(folder)


def test_one_data_set_serves_two_graphs(folder):
    dataset = TFRecordDataset(folder)
    drawn = []
    for _ in range(2):
        with tflib.graph_session():
            seed = np.array([1, 2], np.int32)
            drawn.append(tflib.run(dataset.get_random_labels_tf(5, seed)))
    np.testing.assert_array_equal(drawn[0], drawn[1])


def break_file(path, change):
    with open(path, "r+b") as file:
        change(file)


@pytest.mark.parametrize("cut", [1, 20, 900])
def test_truncated_file_is_named(folder, cut):
    path = os.path.join(folder, "shop-r04.tfrecords")
    break_file(path, lambda f: f.truncate(os.path.getsize(path) - cut))
    with pytest.raises(UserError, match=r"shop-r04\.tfrecords.*truncated"):
        TFRecordDataset(folder)


def test_missing_level_is_named(folder):
    os.remove(os.path.join(folder, "shop-r03.tfrecords"))
    with pytest.raises(UserError, match=r"shop-r03\.tfrecords is missing"):
        TFRecordDataset(folder)


def test_wrong_shape_is_named(folder):
    small, large = (os.path.join(folder, f"shop-r0{n}.tfrecords") for n in (3, 4))
    os.replace(small, large)
    with open(small, "wb") as file:
        file.write(open(large, "rb").read())
    with pytest.raises(UserError, match=r"record 0 of .*shop-r04.*expected \[3, 16, 16\]"):
        TFRecordDataset(folder)


def test_a_wrong_record_further_on_is_named_when_it_is_read(tmp_path, images):
    import tensorflow.compat.v1 as tf

    path = tmp_path / "bad"
    path.mkdir()
    with RecordWriter(str(path), "bad", [4, 3, 2]) as writer:
        for image in images:
            writer.add(image)
    name = str(path / "bad-r04.tfrecords")
    payloads = [bytes(r) for r in tf.io.tf_record_iterator(name)]
    payloads[7] = b"\xff" * len(payloads[7])
    with tf.io.TFRecordWriter(name) as writer:
        for payload in payloads:
            writer.write(payload)
    dataset = TFRecordDataset(str(path))
    with pytest.raises(UserError, match=r"record 7 of .*bad-r04\.tfrecords"):
        take(dataset, 0, COUNT, 1)


def test_label_count_mismatch_is_named(folder, labels):
    with open(os.path.join(folder, "shop-rxx.labels"), "wb") as file:
        np.save(file, labels[:-1])
    with pytest.raises(UserError, match=r"shop-rxx\.labels has 10 labels.*11 images"):
        TFRecordDataset(folder)


def test_level_with_fewer_images_is_named(folder, images):
    with RecordWriter(str(folder), "shop", [3, 2]) as writer:
        for image in images[:5]:
            writer.add(image[:, ::2, ::2])
    with pytest.raises(UserError, match=r"shop-r02\.tfrecords has 5 images.*has 11"):
        TFRecordDataset(folder)


def test_resolution_that_is_not_there(folder):
    with pytest.raises(UserError, match=r"no level of resolution 64.*4 to 16"):
        TFRecordDataset(folder, resolution=64)
