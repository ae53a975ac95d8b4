"""The record format: against TensorFlow's own reader, and on damaged files."""

import errno
import gzip
import json
import os
import resource

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from training.datasets.format import matrices
from training.datasets.format.dataset_files import Shard
from training.datasets.format.examples import RAW, Encoding, parse_image, serialize_image
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels, write_labels
from training.datasets.format.level_files import LevelReader, RecordWriter
from training.datasets.format.levels import finest_log2, image_levels
from training.datasets.format.manifest import TOOL_VERSION, read_manifest, write_manifest
from training.datasets.format.tfrecords import index_records, read_payloads


def picture(size, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, [channels, size, size]).astype(np.uint8)


def write(folder, images, labels=None, name="foo"):
    os.makedirs(folder, exist_ok=True)
    log2 = finest_log2(*images[0].shape[1:])
    with RecordWriter(str(folder), name, list(range(log2, 1, -1))) as writer:
        for image in images:
            writer.add(image)
    if labels is not None:
        path = os.path.join(folder, f"{name}-rxx.labels")
        write_labels(path, iter(labels[:, np.newaxis]), *labels.shape)
    return str(folder)


def write_records(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return str(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_what_tensorflow_reads(tmp_path, channels):
    images = [picture(16, channels, seed) for seed in range(5)]
    labels = np.eye(5, 3, dtype=np.float64)
    folder = write(tmp_path / "ds", images, labels)
    assert sorted(os.listdir(folder)) == [
        *[f"foo-r0{k}.tfrecords" for k in (2, 3, 4)],
        "foo-rxx.labels",
    ]
    dataset = find_dataset(folder)
    for log2, [path] in dataset.levels.items():
        for image, payload in zip(images, tf.io.tf_record_iterator(path), strict=True):
            feature = tf.train.Example.FromString(payload).features.feature
            level = image_levels(image)[4 - log2]
            assert list(feature["shape"].int64_list.value) == [channels, 1 << log2, 1 << log2]
            assert feature["data"].bytes_list.value == [level.tobytes()]
            np.testing.assert_array_equal(parse_image(payload), level)
    stored = np.load(os.path.join(folder, "foo-rxx.labels"))
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, labels)
    np.testing.assert_array_equal(read_labels(find_dataset(folder)), labels)


def test_writer_names_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot write dataset foo in .*nowhere"):
        with RecordWriter(str(tmp_path / "nowhere"), "foo", [3, 2]):
            pass


@pytest.mark.parametrize("count", [10, 1000])
def test_full_disk_is_a_user_error(tmp_path, count):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(UserError, match=f"cannot write dataset foo in {tmp_path}"):
        with RecordWriter(str(tmp_path), "foo", [3, 2]) as writer:
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
    index = index_records(path)
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
            assert len(index_records(path)) == ends.index(size) + 1
        else:
            with pytest.raises(UserError, match=r"x\.tfrecords is (truncated|empty)"):
                index_records(path)


def test_index_names_files_that_are_something_else(tmp_path):
    path = tmp_path / "x.tfrecords"
    for content in (b"<html>" * 9, bytes(64), b"\x0c" + bytes(27)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"x\.tfrecords is not a TFRecord file"):
            index_records(str(path))
    data = bytearray(open(write_records(path, [b"abc"] * 3), "rb").read())
    data[19] ^= 1  # the length of the second record
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged: record 1 at byte 19"):
        index_records(str(path))
    with pytest.raises(UserError, match="cannot read TFRecord file"):
        index_records(str(tmp_path / "absent.tfrecords"))


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
    # Serialised maps have no fixed order, and parallel test processes have to agree on names.
    ids=["garbage", "empty", "no data", "two sides", "negative", "empty data", "short"],
)
def test_parse_says_what_is_wrong(payload, reason):
    with pytest.raises(ValueError, match=reason):
        parse_image(payload)


def test_features_may_come_in_either_order():
    data, shape = (example(**{k: v})[2:] for k, v in (("data", [b"\7"]), ("shape", [1, 1, 1])))
    for body in (data + shape, shape + data):
        image = parse_image(b"\x0a" + bytes([len(body)]) + body)
        np.testing.assert_array_equal(image, [[[7]]])


def test_find_dataset(tmp_path):
    folder = write(tmp_path / "ds", [picture(32)])
    dataset = find_dataset(folder)
    assert list(dataset.levels) == [2, 3, 4, 5] and dataset.finest == 5
    assert dataset.levels[5] == [os.path.join(folder, "foo-r05.tfrecords")]
    assert dataset.name == "foo" and not dataset.is_part
    for missing in (2, 4):
        [path] = dataset.levels[missing]
        os.rename(path, tmp_path / "aside")
        with pytest.raises(UserError, match=rf"incomplete: .*foo-r0{missing}\.tfrecords"):
            find_dataset(folder)
        os.rename(tmp_path / "aside", path)
    write(tmp_path / "ds", [picture(4)], name="bar")
    with pytest.raises(UserError, match="more than one dataset: bar, foo"):
        find_dataset(folder)
    for wrong in (str(tmp_path), str(tmp_path / "absent"), dataset.levels[2][0]):
        with pytest.raises(UserError, match=r"no dataset|cannot open"):
            find_dataset(wrong)


def test_shards_are_found_in_order_and_none_may_be_missing(tmp_path):
    images = [picture(8, seed=i) for i in range(23)]
    ends = np.arange(12) * 23 // 11
    for i in range(11):
        with RecordWriter(str(tmp_path), "foo", [3, 2], shard=Shard(i, 11)) as w:
            for image in images[ends[i] : ends[i + 1]]:
                w.add(image)
    dataset = find_dataset(str(tmp_path))
    assert os.path.basename(dataset.levels[3][10]) == "foo-r03-00010-of-00011.tfrecords"
    reader = LevelReader(dataset.levels[3])
    assert len(reader) == 23 and reader.shard_counts == np.diff(ends).tolist()
    for i, payload in enumerate(reader):
        np.testing.assert_array_equal(parse_image(payload), images[i])
    assert reader.where(22) == f"record 2 of {dataset.levels[3][10]}"
    os.rename(dataset.levels[2][4], tmp_path / "aside")
    with pytest.raises(UserError, match=r"incomplete: .*foo-r02-00004-of-00011"):
        find_dataset(str(tmp_path))
    os.rename(dataset.levels[3][4], tmp_path / "aside")
    with pytest.raises(UserError, match=r"holds 10 of 11 shards.*merge"):
        find_dataset(str(tmp_path))
    assert find_dataset(str(tmp_path), allow_part=True).is_part
    (tmp_path / "foo-r03-00001-of-00003.tfrecords").write_bytes(b"")
    with pytest.raises(UserError, match="mixes shards"):
        find_dataset(str(tmp_path))


def test_levels_may_be_missing_where_the_manifest_says_so(tmp_path):
    with RecordWriter(str(tmp_path), "foo", [4]) as writer:
        writer.add(picture(16))
    with pytest.raises(UserError, match=r"incomplete: .*foo-r02"):
        find_dataset(str(tmp_path))
    write_manifest(str(tmp_path), "foo", {"finest_only": True})
    assert list(find_dataset(str(tmp_path)).levels) == [4]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "error"), [("png", 0), ("jpeg", 20), ("webp", 40)])
def test_encoded_records(name, error, channels):
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    image = np.stack([np.add.outer(ramp // 2, ramp // 2)] * channels)
    payload = serialize_image(image, Encoding(name))
    feature = tf.train.Example.FromString(payload).features.feature
    assert sorted(feature) == ["encoded", "format", "shape"]
    assert feature["format"].bytes_list.value == [name.encode()]
    assert len(payload) < image.size
    decoded = parse_image(payload)
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - image).max() <= error
    tiny = picture(4, channels)  # no picture file is smaller than that
    assert serialize_image(tiny, Encoding(name)) == serialize_image(tiny, RAW)


def test_encoded_records_that_do_not_fit():
    image = np.zeros([3, 32, 32], np.uint8)
    payload = serialize_image(image, Encoding("png"))
    for before, after, reason in [
        (b"\x03png", b"\x03gif", "encoded as 'gif' is none of png, jpeg, webp"),
        (b"\x03png", b"\x03bmp", "encoded as 'bmp'"),
        (b"\x03\x20\x20", b"\x03\x20\x10", r"does not fit a picture of \(32, 32\)"),
        (b"IDAT", b"IDOT", "its png data is damaged"),
    ]:
        assert before in payload
        with pytest.raises(ValueError, match=reason):
            parse_image(payload.replace(before, after))


def test_payloads_are_checked(tmp_path):
    path = write_records(tmp_path / "x.tfrecords", [b"abc", b"defg", b""])
    assert list(read_payloads(path)) == [b"abc", b"defg", b""]
    data = bytearray(open(path, "rb").read())
    data[12 + 3 + 4 + 12] ^= 1
    (tmp_path / "x.tfrecords").write_bytes(data)
    with pytest.raises(UserError, match="record 1 has a wrong checksum"):
        list(read_payloads(path))


def test_labels_that_are_damaged_are_an_error(tmp_path):
    folder = write(tmp_path / "ds", [picture(4)])
    assert read_labels(find_dataset(folder)) is None
    path = os.path.join(folder, "foo-rxx.labels")
    for content in (np.zeros(3), np.array([["a"]]), np.array([[None]])):
        with open(path, "wb") as file:
            np.save(file, content)
        with pytest.raises(UserError, match=r"foo-rxx\.labels"):
            read_labels(find_dataset(folder))
    for content in (b"", b"text", b"\x93NUMPY\x01\x00"):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(UserError, match=r"cannot read labels .*foo-rxx\.labels"):
            read_labels(find_dataset(folder))


def test_manifest(tmp_path):
    folder = write(tmp_path / "ds", [picture(8)])
    assert read_manifest(find_dataset(folder)) is None
    write_manifest(folder, "foo", {"images": 1, "source": "bad byte \udcff"})
    manifest = read_manifest(find_dataset(folder))
    assert manifest["images"] == 1 and manifest["source"] == "bad byte \udcff"
    assert manifest["dataset_tool"] == TOOL_VERSION
    assert [level["file"] for level in manifest["levels"]] == [
        "foo-r02.tfrecords",
        "foo-r03.tfrecords",
    ]
    size = os.path.getsize(os.path.join(folder, "foo-r03.tfrecords"))
    assert manifest["levels"][1] == {"file": "foo-r03.tfrecords", "bytes": size}
    for content in ("{", json.dumps([1])):
        with open(os.path.join(folder, "foo.json"), "w") as file:
            file.write(content)
        with pytest.raises(UserError, match=r"foo\.json"):
            read_manifest(find_dataset(folder))


def test_files_of_other_tools_under_such_names_are_named(tmp_path):
    """Some forks store JPEG files; copies from git or servers may be no records at all."""
    pixels = tf.train.Example()
    pixels.features.feature["shape"].int64_list.value.extend([3, 32, 32])
    pixels.features.feature["img"].bytes_list.value.append(b"\xff\xd8\xff\xe0" + bytes(300))
    path = tmp_path / "ds-r05.tfrecords"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(pixels.SerializeToString())
    plain = path.read_bytes()
    for content, words in (
        (plain, "record 0: .*img"),
        (gzip.compress(plain), "gunzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=words):
            find_dataset(str(tmp_path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="pipe"):
        find_dataset(str(tmp_path))


def test_folders_that_are_no_dataset_are_named(tmp_path):
    (tmp_path / "lmdb").mkdir()
    (tmp_path / "lmdb/data.mdb").touch()
    (tmp_path / "a.zip").write_bytes(b"PK\5\6" + bytes(18))
    write(tmp_path / "datasets/foo", [picture(8)])
    for name, words in (
        ("lmdb", "create_lsun"),
        ("a.zip", "it is a zip file; give the folder of a dataset"),
        ("datasets", "give the folder of one, like .*datasets/foo"),
    ):
        with pytest.raises(UserError, match=words):
            find_dataset(str(tmp_path / name))


def test_labels_where_files_cannot_be_mapped(tmp_path, monkeypatch):
    labels = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "labels.npy", labels)

    def mmap(*args, **options):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr("mmap.mmap", mmap)
    np.testing.assert_array_equal(matrices.load_array(str(tmp_path / "labels.npy")), labels)
