"""The record format: against TensorFlow's own reader, and on damaged files."""

import json
import os
import resource

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from training.datasets import records


def picture(size, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, [channels, size, size]).astype(np.uint8)


def write(folder, images, labels=None, name="foo"):
    os.makedirs(folder, exist_ok=True)
    channels, size, _ = images[0].shape
    with records.RecordWriter(str(folder), name, size, channels) as writer:
        for image in images:
            writer.add(image)
        writer.add_labels(labels)
    return str(folder)


def write_records(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return str(path)


@pytest.mark.parametrize("size", [4, 8, 64])
def test_levels_are_box_means_of_the_unrounded_level_above(size):
    image = picture(size)
    image[:, :2, :2] = [[0, 1], [1, 0]]  # means to 0.5 and on to further fractions
    levels = records.image_levels(image)
    assert [level.shape[1] for level in levels] == [size >> k for k in range(len(levels))]
    assert levels[-1].shape == (3, 4, 4)
    for k, level in enumerate(levels):
        # A box mean of box means is the mean over the whole box of the finest level.
        boxes = image.astype(np.float64).reshape(3, size >> k, 1 << k, size >> k, 1 << k)
        np.testing.assert_array_equal(level, np.rint(boxes.mean(axis=(2, 4))))
        assert level.dtype == np.uint8


def test_float_images_are_rounded_and_clipped_and_wrong_shapes_refused():
    image = np.array([-7.0, 0.5, 1.5, 300.0], np.float32).repeat(12).reshape(3, 4, 4)
    expected = np.array([0, 0, 2, 255], np.uint8).repeat(12).reshape(3, 4, 4)
    np.testing.assert_array_equal(records.image_levels(image)[0], expected)
    for shape in ([4, 4], [3, 8, 4], [3, 12, 12], [3, 2, 2]):
        with pytest.raises(ValueError, match="power of two"):
            records.image_levels(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_what_tensorflow_reads(tmp_path, channels):
    images = [picture(16, channels, seed) for seed in range(5)]
    labels = np.eye(5, 3, dtype=np.float64)
    folder = write(tmp_path / "ds", images, labels)
    assert sorted(os.listdir(folder)) == [
        *[f"foo-r0{k}.tfrecords" for k in (2, 3, 4)],
        "foo-rxx.labels",
    ]
    for log2, path in records.find_levels(folder).items():
        for image, payload in zip(images, tf.io.tf_record_iterator(path), strict=True):
            feature = tf.train.Example.FromString(payload).features.feature
            level = records.image_levels(image)[4 - log2]
            assert list(feature["shape"].int64_list.value) == [channels, 1 << log2, 1 << log2]
            assert feature["data"].bytes_list.value == [level.tobytes()]
            np.testing.assert_array_equal(records.parse_image(payload), level)
    stored = np.load(os.path.join(folder, "foo-rxx.labels"))
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, labels)
    np.testing.assert_array_equal(records.read_labels(folder), labels)


def test_writer_refuses_what_does_not_fit(tmp_path):
    with records.RecordWriter(str(tmp_path), "foo", 8) as writer:
        for image in (picture(16), picture(8, 1)):
            with pytest.raises(ValueError, match="are not uint8"):
                writer.add(image)
        writer.add(picture(8))
        with pytest.raises(ValueError, match="do not fit 1 images"):
            writer.add_labels(np.zeros([2, 3], np.float32))
    with pytest.raises(UserError, match=r"cannot write dataset foo in .*nowhere"):
        with records.RecordWriter(str(tmp_path / "nowhere"), "foo", 8):
            pass


@pytest.mark.parametrize("count", [10, 1000])
def test_full_disk_is_a_user_error(tmp_path, count):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(UserError, match=f"cannot write dataset foo in {tmp_path}"):
        with records.RecordWriter(str(tmp_path), "foo", 8) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
            try:
                for _ in range(count):  # 10 stay in the buffers until the files are closed
                    writer.add(picture(8))
                writer.__exit__(None, None, None)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("lengths", [[10] * 7, [10, 3, 0, 500], [5]])
def test_index_finds_every_payload(tmp_path, lengths):
    payloads = [bytes([i]) * length for i, length in enumerate(lengths)]
    path = write_records(tmp_path / "x.tfrecords", payloads)
    index = records.index_records(path)
    assert index.dtype == np.int64 and index.shape == (len(lengths), 2)
    with open(path, "rb") as file:
        data = file.read()
    assert [data[offset : offset + length] for offset, length in index] == payloads


@pytest.mark.parametrize("lengths", [[10] * 3, [10, 3, 20]])
def test_index_names_a_file_cut_anywhere(tmp_path, lengths):
    path = write_records(tmp_path / "x.tfrecords", [b"a" * length for length in lengths])
    with open(path, "rb") as file:
        data = file.read()
    ends = list(np.cumsum(np.array(lengths) + 16))
    for size in range(len(data)):
        with open(path, "wb") as file:
            file.write(data[:size])
        if size in ends:  # a whole file with fewer records
            assert len(records.index_records(path)) == ends.index(size) + 1
        else:
            with pytest.raises(UserError, match=r"x\.tfrecords is (truncated|empty)"):
                records.index_records(path)


def test_index_names_files_that_are_something_else(tmp_path):
    path = tmp_path / "x.tfrecords"
    for content in (b"<html>" * 9, bytes(64), b"\x0c" + bytes(27)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"x\.tfrecords is not a TFRecord file"):
            records.index_records(str(path))
    data = bytearray(open(write_records(path, [b"abc"] * 3), "rb").read())
    data[19] ^= 1  # the length of the second record
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged: record 1 at byte 19"):
        records.index_records(str(path))
    with pytest.raises(UserError, match="cannot read TFRecord file"):
        records.index_records(str(tmp_path / "absent.tfrecords"))


def example(**features):
    kinds = {"shape": "int64_list", "data": "bytes_list"}
    lists = {"int64_list": tf.train.Int64List, "bytes_list": tf.train.BytesList}
    feature = {
        name: tf.train.Feature(**{kinds[name]: lists[kinds[name]](value=value)})
        for name, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff garbage", "not a tf.train.Example"),
        (b"", "got none"),
        (example(shape=[3, 4, 4]), r"got \['shape'\]"),
        (example(shape=[4, 4], data=[bytes(16)]), "not one CHW image"),
        (example(shape=[3, -4, -4], data=[bytes(48)]), "not one CHW image"),
        (example(shape=[3, 4, 4], data=[]), "not one CHW image"),
        (example(shape=[3, 4, 4], data=[bytes(47)]), "does not fit 47 bytes"),
    ],
)
def test_parse_says_what_is_wrong(payload, reason):
    with pytest.raises(ValueError, match=reason):
        records.parse_image(payload)


def test_features_may_come_in_either_order():
    data, shape = (example(**{k: v})[2:] for k, v in (("data", [b"\7"]), ("shape", [1, 1, 1])))
    for body in (data + shape, shape + data):
        image = records.parse_image(b"\x0a" + bytes([len(body)]) + body)
        np.testing.assert_array_equal(image, [[[7]]])


def test_find_levels(tmp_path):
    folder = write(tmp_path / "ds", [picture(32)])
    levels = records.find_levels(folder)
    assert list(levels) == [2, 3, 4, 5]
    assert levels[5] == os.path.join(folder, "foo-r05.tfrecords")
    assert records.dataset_name(folder) == "foo"
    for missing in (2, 4):
        os.rename(levels[missing], tmp_path / "aside")
        with pytest.raises(UserError, match=rf"incomplete: .*foo-r0{missing}\.tfrecords"):
            records.find_levels(folder)
        os.rename(tmp_path / "aside", levels[missing])
    write(tmp_path / "ds", [picture(4)], name="bar")
    with pytest.raises(UserError, match="more than one dataset: bar, foo"):
        records.find_levels(folder)
    for wrong in (str(tmp_path), str(tmp_path / "absent"), levels[2]):
        with pytest.raises(UserError, match=r"no dataset|cannot open"):
            records.find_levels(wrong)


def test_labels_that_are_damaged_are_an_error(tmp_path):
    folder = write(tmp_path / "ds", [picture(4)])
    assert records.read_labels(folder) is None
    path = os.path.join(folder, "foo-rxx.labels")
    for content in (np.zeros(3), np.array([["a"]]), np.array([[None]])):
        with open(path, "wb") as file:
            np.save(file, content)
        with pytest.raises(UserError, match=r"foo-rxx\.labels"):
            records.read_labels(folder)
    for content in (b"", b"text", b"\x93NUMPY\x01\x00"):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(UserError, match=r"cannot read labels .*foo-rxx\.labels"):
            records.read_labels(folder)


def test_manifest(tmp_path):
    folder = write(tmp_path / "ds", [picture(8)])
    assert records.read_manifest(folder) is None
    records.write_manifest(folder, "foo", {"images": 1, "source": "bad byte \udcff"})
    manifest = records.read_manifest(folder)
    assert manifest["images"] == 1 and manifest["source"] == "bad byte \udcff"
    assert manifest["dataset_tool"] == records.TOOL_VERSION
    assert [level["file"] for level in manifest["levels"]] == [
        "foo-r02.tfrecords",
        "foo-r03.tfrecords",
    ]
    size = os.path.getsize(os.path.join(folder, "foo-r03.tfrecords"))
    assert manifest["levels"][1] == {"file": "foo-r03.tfrecords", "resolution": 8, "bytes": size}
    for content in ("{", json.dumps([1])):
        with open(os.path.join(folder, "foo.json"), "w") as file:
            file.write(content)
        with pytest.raises(UserError, match=r"foo\.json"):
            records.read_manifest(folder)
