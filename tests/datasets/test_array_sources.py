"""create_mnist, create_mnistrgb, create_cifar10, create_cifar100, create_svhn."""

import pickle
import struct

import numpy as np
import pytest
import scipy.io
from official_sources import (
    official_order,
    python2_pickle,
    random_images,
    read_dataset,
    write_cifar10,
    write_cifar100,
    write_gzip,
    write_mnist,
)

from dnnlib import UserError
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.sources import arrays, cifar, mnist, svhn

COUNT = 20
LABELS = [(7 * i) % 10 for i in range(COUNT)]  # all ten classes
ORDER = official_order(COUNT)
IMAGES = random_images(COUNT, 3, 32, 32)


def one_hot(labels, size=10):
    return np.eye(size, dtype=np.float32)[labels]


def build(tmp_path, create, *args, **options):
    output = Output(str(tmp_path / "new"), **options)
    create(output, *map(str, args))
    return read_dataset(tmp_path / "new")


def assert_refused(create, folder, *words):
    """One line that names what is wrong, and nothing is left."""
    target = folder.parent / "refused"
    with pytest.raises(UserError) as caught:
        create(Output(str(target)), str(folder))
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert not target.exists()


# MNIST


def test_mnist(tmp_path):
    digits = random_images(COUNT, 28, 28)
    images, labels = build(
        tmp_path, mnist.create_mnist, write_mnist(tmp_path / "mnist", digits, LABELS)
    )
    assert images.shape == (COUNT, 1, 32, 32)
    np.testing.assert_array_equal(images[:, 0, 2:-2, 2:-2], digits[ORDER])
    assert images[:, 0, 2:-2, 2:-2].sum() == images.sum(dtype=np.int64)  # the border is black
    np.testing.assert_array_equal(labels, one_hot(LABELS)[ORDER])


def test_mnistrgb(tmp_path):
    digits = random_images(COUNT, 28, 28)
    folder = write_mnist(tmp_path / "mnist", digits, LABELS)
    mnist.create_mnistrgb(Output(str(tmp_path / "new"), shuffle=False), str(folder), 9, 5)
    images, labels = read_dataset(tmp_path / "new")
    random = np.random.RandomState(5)
    expected = np.stack([digits[random.randint(COUNT, size=3)] for _ in range(9)])
    np.testing.assert_array_equal(images[:, :, 2:-2, 2:-2], expected)
    assert images.shape == (9, 3, 32, 32) and labels is None


def test_damaged_mnist(tmp_path):
    folder = tmp_path / "mnist"
    digits = random_images(COUNT, 28, 28)
    write_mnist(folder, digits, LABELS)
    images, labels = folder / mnist.IMAGES, folder / mnist.LABELS
    good = images.read_bytes(), labels.read_bytes()
    pixels = digits.tobytes()
    for change, words in [
        (lambda: images.unlink(), [mnist.IMAGES, "No such file"]),
        (lambda: images.write_bytes(good[0][:-20]), [mnist.IMAGES, "truncated"]),
        (lambda: images.write_bytes(good[0][:9000] + b"\0" * 99 + good[0][9099:]), ["cannot read"]),
        (lambda: images.write_bytes(b"<html>"), [mnist.IMAGES, "gzip"]),
        (lambda: images.write_bytes(good[1]), [mnist.IMAGES, "not MNIST's", "2049", "2051"]),
        (lambda: write_gzip(images, struct.pack(">4I", 0x803, 20, 27, 28) + pixels), ["27, 28"]),
        (lambda: write_gzip(images, struct.pack(">4I", 0x803, 21, 28, 28) + pixels), ["truncated"]),
        (lambda: write_gzip(images, struct.pack(">4I", 0x803, 19, 28, 28) + pixels), ["more data"]),
        (lambda: write_gzip(images, struct.pack(">4I", 0x803, 1 << 31, 28, 28)), ["2147483648"]),
        (lambda: write_gzip(images, b"\0\0\x08"), ["truncated"]),
        (lambda: write_mnist(folder, digits, LABELS[1:]), [mnist.LABELS, "20", "19"]),
        (lambda: write_mnist(folder, digits, [*LABELS[1:], 10]), [mnist.LABELS, "10", "number 19"]),
    ]:
        images.write_bytes(good[0])
        labels.write_bytes(good[1])
        change()
        assert_refused(mnist.create_mnist, folder, *words)


# CIFAR


def test_cifar10(tmp_path):
    folder = write_cifar10(tmp_path / "downloads/cifar-10-batches-py", IMAGES, LABELS)
    images, labels = build(tmp_path, cifar.create_cifar10, folder)
    np.testing.assert_array_equal(images, IMAGES[ORDER])
    np.testing.assert_array_equal(labels, one_hot(LABELS)[ORDER])
    manifest = read_manifest(find_dataset(str(tmp_path / "new")))
    assert manifest["label_names"][0] == "airplane" and manifest["label_names"][9] == "truck"
    # The folder that the archive was unpacked in will do, and labels may be left out.
    output = Output(str(tmp_path / "plain"))
    cifar.create_cifar10(output, str(tmp_path / "downloads"), ignore_labels=True)
    images, labels = read_dataset(tmp_path / "plain")
    np.testing.assert_array_equal(images, IMAGES[ORDER])
    assert labels is None


def test_cifar100(tmp_path):
    fine = [(13 * i) % 100 for i in range(100)]
    pictures = random_images(100, 3, 32, 32, seed=1)
    folder = write_cifar100(tmp_path / "cifar-100-python", pictures, fine)
    images, labels = build(tmp_path, cifar.create_cifar100, folder)
    np.testing.assert_array_equal(images, pictures[official_order(100)])
    np.testing.assert_array_equal(labels, one_hot(fine, 100)[official_order(100)])


def test_pickles_of_today_are_read(tmp_path):
    folder = write_cifar10(tmp_path / "cifar", IMAGES, LABELS)
    for protocol, number in ((2, 1), (4, 2), (5, 3)):
        part = slice(4 * number - 4, 4 * number)
        batch = {"data": IMAGES[part].reshape(4, -1), "labels": LABELS[part]}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(batch, protocol))
    images, _ = build(tmp_path, cifar.create_cifar10, folder)
    np.testing.assert_array_equal(images, IMAGES[ORDER])


class Evil:
    """What a pickle can do."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def test_damaged_and_hostile_cifar(tmp_path):
    folder = write_cifar10(tmp_path / "cifar", IMAGES, LABELS)
    batch = folder / "data_batch_3"
    good = batch.read_bytes()
    data = IMAGES[:4].reshape(4, -1)
    copies = (
        b"\x80\x02X\x40\x42\x0f\x00"
        + b"a" * 1_000_000
        + b"q\x00"
        + (b"0c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 400 + b".")
    )
    for content, words in [
        (None, ["data_batch_3", "No such file"]),
        (good[:-5000], ["data_batch_3", "broken"]),
        (b"<html>", ["not a CIFAR batch"]),
        (b"", ["not a CIFAR batch"]),
        (pickle.dumps(Evil(f"touch {tmp_path}/executed")), ["data_batch_3", "system", "nothing"]),
        (pickle.dumps({"data": Evil("true"), "labels": []}, 2), ["system"]),
        (copies, ["bomb"]),
        (b"\x80\x02]" + b"2" * 1_100_000 + b".", ["DUP"]),
        (b"\x80\x02" + b"N0" * 600_000 + b"N.", ["bomb"]),
        (python2_pickle([1]), ["expected a dict with data and labels"]),
        (python2_pickle({"data": data}), ["data and labels"]),
        (python2_pickle({"data": data[:, 1:], "labels": [0] * 4}), ["uint8 [pictures, 3072]"]),
        (python2_pickle({"data": data.astype("<f4"), "labels": [0] * 4}), ["uint8"]),
        (python2_pickle({"data": data[:0], "labels": []}), ["uint8"]),
        (python2_pickle({"data": data, "labels": [0] * 3}), ["4 pictures and 3 labels"]),
        (python2_pickle({"data": data, "labels": [0, 1, 10, 0]}), ["label 10", "number 2"]),
        (python2_pickle({"data": data, "labels": [0, 1, -1, 0]}), ["label -1"]),
        (python2_pickle({"data": data, "labels": ["a"] * 4}), ["whole numbers"]),
        (python2_pickle({"data": data, "labels": "cats"}), ["whole numbers"]),
    ]:
        batch.unlink(missing_ok=True)
        if content is not None:
            batch.write_bytes(content)
        assert_refused(cifar.create_cifar10, folder, *words)
    assert not (tmp_path / "executed").exists()
    batch.write_bytes(good)
    (folder / "batches.meta").write_bytes(python2_pickle({"label_names": ["cat"]}))
    assert_refused(cifar.create_cifar10, folder, "batches.meta", "10 label_names")


def test_files_that_are_too_long_are_not_read(tmp_path, monkeypatch):
    folder = write_cifar10(tmp_path / "cifar", IMAGES, LABELS)
    monkeypatch.setattr(arrays, "MAX_PICKLE_BYTES", 1000)
    assert_refused(cifar.create_cifar10, folder, "data_batch_1", "1000 bytes")


# SVHN


def test_svhn_as_published(tmp_path):
    (tmp_path / "svhn").mkdir()
    digits = [10 if label == 0 else label for label in LABELS]
    write_mat(tmp_path, IMAGES, digits)
    images, labels = build(tmp_path, svhn.create_svhn, tmp_path / "svhn")
    np.testing.assert_array_equal(images, IMAGES[ORDER])
    np.testing.assert_array_equal(labels, one_hot(LABELS)[ORDER])


def test_svhn_as_the_official_tool_has_it(tmp_path):
    (tmp_path / "svhn").mkdir()
    for number, part in enumerate((slice(0, 9), slice(9, 20)), 1):
        pair = IMAGES[part], np.array(LABELS[part], np.uint8)
        (tmp_path / f"svhn/train_{number}.pkl").write_bytes(python2_pickle(pair))
    images, labels = build(tmp_path, svhn.create_svhn, tmp_path / "svhn")
    np.testing.assert_array_equal(images, IMAGES[ORDER])
    np.testing.assert_array_equal(labels, one_hot(LABELS)[ORDER])


def write_mat(tmp_path, images, digits, name="train_32x32.mat", **more):
    content = {"X": images.transpose(2, 3, 1, 0), "y": np.array(digits, np.uint8)[:, np.newaxis]}
    scipy.io.savemat(tmp_path / "svhn" / name, content | more, do_compression=True)


def test_damaged_svhn(tmp_path):
    folder = tmp_path / "svhn"
    folder.mkdir()
    mat, first = folder / "train_32x32.mat", folder / "train_1.pkl"
    good = [10] * COUNT
    nine = np.array([9] * 4, np.uint8)
    for write, words in [
        (lambda: None, ["train_32x32.mat", "train_1.pkl"]),
        (lambda: write_mat(tmp_path, IMAGES, good, "test_32x32.mat"), ["train_32x32.mat"]),
        (lambda: write_mat(tmp_path, IMAGES[:, :, 1:], good), ["[31, 32, 3, 20]"]),
        (lambda: write_mat(tmp_path, IMAGES / 255, good), ["X double"]),
        (lambda: write_mat(tmp_path, IMAGES, good[1:]), ["a label in y for each of 20"]),
        (lambda: write_mat(tmp_path, IMAGES, [0, *good[1:]]), ["label 0", "1 to 10"]),
        (lambda: write_mat(tmp_path, IMAGES, [11, *good[1:]]), ["label 11"]),
        (lambda: write_mat(tmp_path, IMAGES, good, y=np.ones([20, 1])), ["whole numbers"]),
        (lambda: mat.write_bytes(b"<html>404</html>" * 99), ["no MATLAB 5 file"]),
        (lambda: mat.mkdir(), ["cannot read", "directory"]),
        (lambda: truncate(tmp_path, mat), ["damaged"]),
        (lambda: first.write_bytes(python2_pickle((IMAGES[:4], nine[:3]))), ["4 pictures and 3"]),
        (lambda: first.write_bytes(python2_pickle((IMAGES[:4], nine + 1))), ["label 10"]),
        (lambda: first.write_bytes(python2_pickle((nine, nine))), ["SVHN batch", "3, 32, 32"]),
        (lambda: first.write_bytes(python2_pickle({"X": 1})), ["SVHN batch"]),
        (lambda: first.write_bytes(pickle.dumps(Evil("true"))), ["system"]),
        (lambda: (folder / "train_2.pkl").write_bytes(b""), ["train_1.pkl", "No such file"]),
    ]:
        for path in folder.iterdir():
            path.rmdir() if path.is_dir() else path.unlink()
        write()
        assert_refused(svhn.create_svhn, folder, *words)


def truncate(tmp_path, mat):
    write_mat(tmp_path, IMAGES, [10] * COUNT)
    mat.write_bytes(mat.read_bytes()[:-1000])


def test_from_the_command_line(tmp_path, run_script):
    write_mnist(tmp_path / "mnist", random_images(COUNT, 28, 28), LABELS)
    write_cifar10(tmp_path / "cifar", IMAGES, LABELS)
    write_cifar100(tmp_path / "cifar", IMAGES, LABELS)
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn/train_1.pkl").write_bytes(python2_pickle((IMAGES, np.array(LABELS))))
    for command, folder, classes, count in [
        (["create_mnist"], "mnist", 10, 20),
        (["create_mnistrgb", "--num_images=7"], "mnist", 0, 7),
        (["create_cifar10"], "cifar", 10, 20),
        (["create_cifar10", "--ignore_labels=1"], "cifar", 0, 20),
        (["create_cifar100", "--encoding=png"], "cifar", 10, 20),
        (["create_svhn", "--max-images=5"], "svhn", 10, 5),
    ]:
        name = f"{'-'.join(command)}"
        done = run_script(["dataset_tool.py", command[0], name, folder, *command[1:]], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{count} images of 32x32" in done.stdout
        labels = read_dataset(tmp_path / name)[1]
        assert (0 if labels is None else labels.shape[1]) == classes
    assert "note: svhn has 20 pictures, the published set 73257" in done.stderr

    (tmp_path / "cifar/data_batch_2").write_bytes(pickle.dumps(Evil("touch executed")))
    done = run_script(["dataset_tool.py", "create_cifar10", "bad", "cifar"], cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout
    assert "cifar/data_batch_2" in done.stderr and "system" in done.stderr
    assert not (tmp_path / "bad").exists() and not (tmp_path / "executed").exists()
