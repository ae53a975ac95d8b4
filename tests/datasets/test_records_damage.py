"""Records, labels and manifests that are damaged, of other programs, or made to do harm."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_records import picture, write, write_records

from dnnlib import UserError
from training.datasets.format import examples, levels, tfrecords
from training.datasets.format.examples import parse_image
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.manifest import read_manifest, write_manifest
from training.datasets.format.tfrecords import index_records

ROOT = Path(__file__).parents[2]
JPEG = b"\xff\xd8\xff\xe0"
HEADER = b"{'descr': '%s', 'fortran_order': False, 'shape': %s}\n"


def encoded_record(**features):
    """A record of ours with other features; numbers and bytes as they come."""
    parts = []
    for name, value in features.items():
        if isinstance(value, bytes):
            parts.append(examples._bytes_feature(name.encode(), value))
        else:
            numbers = b"".join(map(examples._varint, value))
            body = examples._field(2, examples._field(3, examples._field(1, numbers)))
            parts.append(examples._field(1, examples._field(1, name.encode()), body))
    return examples._example(*parts)


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"encoded": b"x", "format": [1 << 33], "shape": [3, 16, 16]}, "encoded as ''"),
        ({"encoded": b"x", "format": b"p" * 10_000, "shape": [3, 16, 16]}, "encoded as ''"),
        ({"data": b"x", "shape": [1 << 62, 1 << 62, 4]}, "not one CHW image"),
        ({"data": b"x", "shape": b"three"}, "not one CHW image"),
        ({"data": b"x", "shape": [3] * 100_000}, "not one CHW image"),
        ({"data": [7], "shape": [1, 1, 1]}, "not one CHW image"),
        (
            {"img": b"\xff\xd8\xff\xe0", "shape": [3, 4, 4]},
            r"got \['img', 'shape'\]; it holds a pic",
        ),
        ({"data": b"\x89PNG\r\n\x1a\n", "shape": [3, 4, 4]}, "is a picture file, not pixels"),
        ({"x" * 10_000: b"y"}, r"got \['x{39}…'\]"),
    ],
    ids=range(9),
)
def test_records_that_claim_too_much_or_are_of_others(features, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_image(encoded_record(**features))
    assert len(str(caught.value)) < 300


def test_messages_that_are_numbers_and_endless_varints():
    for payload in (
        b"\x08\x01",
        b"\x0a\x02\x08\x01",
        b"\xff" * 30,
        b"\x0a" + b"\xff" * 9 + b"\x7f",
    ):
        with pytest.raises(ValueError, match=r"not a tf.train.Example|got none"):
            parse_image(payload)


def test_a_stored_jpeg_of_too_many_scans():
    file = io.BytesIO()
    Image.new("L", (4096, 4096)).save(file, "jpeg", progressive=True)
    data = file.getvalue()
    data = data[:-2] + data[data.rfind(b"\xff\xda") : -2] * 2000 + b"\xff\xd9"
    with pytest.raises(ValueError, match="more scans than"):
        parse_image(encoded_record(encoded=data, format=b"jpeg", shape=[1, 4096, 4096]))


def test_a_record_that_is_larger_than_any_image(tmp_path):
    path = tmp_path / "x.tfrecords"
    for extra in (0, 16):
        with open(path, "wb") as file:
            file.write(tfrecords._header(1 << 34))
            file.truncate((1 << 34) + 16 + extra)  # nothing is stored of it
        with pytest.raises(UserError, match="more than any image has"):
            index_records(str(path))


def test_the_largest_image_has_opacity():
    payload = 4 * levels.MAX_SIDE**2
    around = len(examples.serialize_image(np.zeros([4, 8, 8], np.uint8), examples.Encoding()))
    assert payload + around + 100 <= tfrecords.MAX_RECORD_BYTES


def test_records_of_other_programs_are_named(tmp_path):
    payload = encoded_record(img=JPEG, shape=[3, 32, 32])
    write_records(tmp_path / "raw-r05.tfrecords", [payload] * 3)
    with pytest.raises(UserError, match=r"record 0.*'img'.*build the dataset again"):
        find_dataset(str(tmp_path))


@pytest.mark.parametrize("soft", [64, 1024])
def test_more_shards_than_files_may_be_open(tmp_path, soft):
    """Also where the limit cannot be raised; in a process of its own, as it stays raised."""
    code = """
import os, resource, sys
import numpy as np
from training.datasets.format import examples, tfrecords
from training.datasets.format.level_files import LevelReader
from training.datasets.format.level_files import RecordWriter
from training.datasets.format.dataset_files import Shard
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.tfrecords import index_records
from training.datasets.format.examples import parse_image
from training.datasets.format.label_file import read_labels
from training.datasets.format.manifest import read_manifest
from training.datasets.format.manifest import write_manifest
soft, folder = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
for i in range(1200):
    with RecordWriter(folder, "foo", [3, 2], shard=Shard(i, 1200)) as writer:
        writer.add(np.full([1, 8, 8], i % 251, np.uint8))
levels = find_dataset(folder).levels
readers = [LevelReader(paths) for paths in levels.values()]
assert len(os.listdir("/proc/self/fd")) < soft - 20
for i in (1199, 0, 600, 7):
    assert parse_image(readers[1].payload(i))[0, 0, 0] == i % 251
for reader in readers:
    reader.close()
"""
    command = [sys.executable, "-c", code, str(soft), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LABEL_FILES = {
    "a broken zip": (b"PK\3\4" + bytes(100), "not a NumPy array but"),
    "npz": (None, "not a NumPy array but NumPy arrays"),
    "brackets": (b"(" * 9000 + b"\n", "cannot read labels"),
    "no text": (b"{[]:1}\n", "cannot read labels"),
    "objects": (
        HEADER % (b"|O", b"(3, 2)"),
        "cannot read labels",
    ),
    "text": (
        HEADER % (b"<U4", b"(3, 2)") + bytes(96),
        "not a matrix",
    ),
    "negative": (HEADER % (b"<f4", b"(-3, 2)"), "cannot read"),
    "nothing": (b"", "cannot read labels"),
}


@pytest.mark.parametrize("name", LABEL_FILES)
def test_label_files_that_are_something_else(tmp_path, name):
    folder = write(tmp_path / "ds", [picture(4, seed=i) for i in range(3)])
    content, reason = LABEL_FILES[name]
    path = tmp_path / "ds/foo-rxx.labels"
    if content is None:
        with open(path, "wb") as file:
            np.savez(file, a=np.eye(3))
    else:
        is_header = content[:1] in (b"(", b"{")
        head = b"\x93NUMPY\1\0" + len(content.partition(b"\n")[0] + b"\n").to_bytes(2, "little")
        path.write_bytes((head if is_header else b"") + content)
    with pytest.raises(UserError, match=reason):
        read_labels(find_dataset(folder))


def test_labels_are_as_many_as_images_and_finite(tmp_path):
    folder = write(tmp_path / "ds", [picture(4, seed=i) for i in range(3)])
    dataset = find_dataset(folder)
    path = dataset.path("-rxx.labels")
    with open(path, "wb") as file:  # nothing is stored of most of it
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 32, 4)}
        )
        file.truncate((1 << 36) + 128)
    with pytest.raises(UserError, match=r"has 4294967296 labels, but .* 3 images"):
        read_labels(dataset, count=3)
    for bad in (np.nan, np.inf, -np.inf, 1e300):
        rows = np.eye(3)
        rows[1, 2] = bad
        with open(path, "wb") as file:
            np.save(file, rows)
        with pytest.raises(UserError, match=r"row 1, column 2 is .* no finite number"):
            read_labels(dataset, count=3)
    os.remove(path)
    os.mkfifo(path)
    with pytest.raises(UserError, match="not a regular file"):
        read_labels(dataset)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("levels", 5),
        ("levels", [{"file": "foo-r02.tfrecords", "bytes": "x"}]),
        ("levels", [{"file": "../foo-r02.tfrecords", "bytes": 1}]),
        ("levels", [{"file": "/etc/passwd"}]),
        ("skipped", 5),
        ("skipped", [["a.png", "bad"]]),
        ("skipped", None),
        ("label_names", {"a": 1}),
        ("label_names", [1.5]),
        ("images", "3"),
        ("images", -1),
        ("encoding", ["png"]),
        ("source", {}),
        ("finest_only", "yes"),
        ("more_skipped", 1e300),
        ("shard_images", [None]),
        ("profiles", [1]),
    ],
)
def test_types_in_a_manifest(tmp_path, key, value):
    folder = write(tmp_path / "ds", [picture(4)])
    write_manifest(folder, "foo", {})
    path = tmp_path / "ds/foo.json"
    manifest = json.loads(path.read_text()) | {key: value}
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"foo\.json: .*({key}|no file of a level)"):
        find_dataset(folder)
        read_manifest(find_dataset(folder))
