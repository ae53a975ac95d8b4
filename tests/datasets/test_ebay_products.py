"""create_from_ebay of Stanford Online Products, in its genuine layout with its quirks."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
from http_server import picture

from dnnlib import UserError
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.photos.decode import Unreadable
from training.datasets.sources.ebay.importer import create_from_ebay
from training.datasets.sources.ebay.products import find_products, products_source

SUPER_CLASSES = (
    "bicycle cabinet chair coffee_maker fan kettle lamp mug sofa stapler table toaster".split()
)
HEADER = "image_id class_id super_class_id path\n"


def rows_of(super_classes, first_image, first_class):
    """Two photos of a product of each super-class."""
    rows = []
    for i, number in enumerate(super_classes):
        for view in range(2):
            image_id = first_image + 2 * i + view
            path = f"{SUPER_CLASSES[number - 1]}_final/1110851{first_class + i:05}_{view}.JPG"
            rows.append(f"{image_id} {first_class + i} {number} {path}\n")
    return rows


TRAIN = rows_of([1, 2, 3, 4, 12], 1, 1)
TEST = rows_of([1, 12], 11, 6)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The unpacked archive."""
    root = tmp_path_factory.mktemp("sop") / "Stanford_Online_Products"
    for name in SUPER_CLASSES:
        (root / f"{name}_final").mkdir(parents=True)
    for i, row in enumerate(TRAIN + TEST):
        (root / row.split()[3]).write_bytes(picture(i))
    (root / "Ebay_train.txt").write_text(HEADER + "".join(TRAIN))
    (root / "Ebay_test.txt").write_text(HEADER + "".join(TEST))
    (root / "Ebay_info.txt").write_text(HEADER + "".join(TRAIN + TEST))
    return root


def listed(source):
    return [(item.name, item.label) for item in source.items]


def write_lists(folder, **lists):
    for part, text in lists.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / f"Ebay_{part}.txt").write_bytes(data)
    return str(folder)


def test_labels_and_partitions(tree):
    root = str(tree)
    paths = [row.split()[3] for row in TRAIN + TEST]
    super_classes = np.repeat([1, 2, 3, 4, 12, 1, 12], 2).tolist()
    source = products_source(root)
    assert listed(source) == list(zip(paths, super_classes, strict=True))
    names = {1: "bicycle", 2: "cabinet", 3: "chair", 4: "coffee_maker", 12: "toaster"}
    assert source.label_names == names and source.skipped == []
    classes = np.repeat(range(1, 8), 2).tolist()
    source = products_source(root, "class")
    assert listed(source) == list(zip(paths, classes, strict=True)) and source.label_names == {}
    assert listed(products_source(root, "none", "train")) == [(p, None) for p in paths[:10]]
    assert listed(products_source(root, "class", "test"))[0] == (paths[10], 6)


def test_without_ebay_info_both_partitions_are_all(tree, tmp_path):
    train = (tree / "Ebay_train.txt").read_bytes()
    root = write_lists(tmp_path, train=train, test=(tree / "Ebay_test.txt").read_bytes())
    assert listed(products_source(root)) == listed(products_source(str(tree)))
    (tmp_path / "Ebay_test.txt").unlink()
    with pytest.raises(UserError, match=r"--partition=all: .* has no Ebay_test.txt and no Ebay_in"):
        products_source(root)
    with pytest.raises(UserError, match=r"--partition=test: .* has no Ebay_test\.txt"):
        products_source(root, partition="test")
    assert len(listed(products_source(root, partition="train"))) == 10


@pytest.mark.parametrize(
    "header",
    [
        "",
        "\n",
        "image_id\n",
        "image_id class_id super_class_id path extra words here\n",
        "image_id class_id super_class_id path",  # The first row follows on the same line.
        "image_id class_id super_class_id path ",
        "\ufeffimage_id class_id super_class_id path\r\n",
        "\ufeff",
        "i\x00mage_id cl\xfcss_id\n",
    ],
)
def test_the_header_may_be_damaged(tmp_path, header):
    root = write_lists(tmp_path, info=header + "".join(TRAIN))
    source = products_source(root)
    assert [name for name, _ in listed(source)] == [row.split()[3] for row in TRAIN]
    assert source.skipped == []


def test_rows_are_parsed_by_position(tmp_path):
    text = "header\r\n 1\t1   1  bicycle_final/a b.JPG  \r\n\r\n2 2 3 chair_final\\c.JPG\r\n"
    source = products_source(write_lists(tmp_path, info=text))
    assert listed(source) == [("bicycle_final/a b.JPG", 1), ("chair_final/c.JPG", 3)]
    assert source.label_names == {1: "bicycle", 3: "chair"} and source.skipped == []


def test_a_byte_order_mark_before_the_first_row(tmp_path):
    root = write_lists(tmp_path, info="\ufeff1 1 1 bicycle_final/a b.JPG\n")
    assert listed(products_source(root)) == [("bicycle_final/a b.JPG", 1)]


def test_rows_that_are_none_are_named(tmp_path):
    rows = ["3 1 bicycle_final/a.JPG", "x y z w", "4 1 1", "5 1 1 fan_final/\udce9.JPG"]
    text = (HEADER + "\n".join(rows)).encode("utf-8", "surrogateescape")
    source = products_source(write_lists(tmp_path, info=text))
    assert listed(source) == [("fan_final/\udce9.JPG", 1)]
    assert [entry["file"] for entry in source.skipped] == [f"Ebay_info.txt:{n}" for n in (2, 3, 4)]
    assert "super_class_id" in source.skipped[0]["reason"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.JPG", "bicycle_final/../../a", "..\\a"])
def test_paths_do_not_lead_out(tmp_path, path):
    source = products_source(write_lists(tmp_path, info=f"1 1 1 {path}\n"))
    with pytest.raises(Unreadable, match="leads out"):
        source.read(next(iter(source.items)))


def test_wrong_arguments(tree):
    with pytest.raises(UserError, match=r"--labels=category: .*super-class, class, none"):
        products_source(str(tree), "category")
    with pytest.raises(UserError, match="--partition=val: expected one of all, train, test"):
        products_source(str(tree), partition="val")


def test_it_is_recognized_by_its_lists(tree, tmp_path):
    assert find_products(str(tree)) == find_products(str(tree.parent)) == str(tree)
    assert find_products(str(tmp_path)) is None and find_products(str(tmp_path / "no")) is None
    write_lists(tmp_path, test="")
    assert find_products(str(tmp_path)) == str(tmp_path)


def test_partitions_have_the_classes_of_all(tree, tmp_path):
    """So a network for one fits the other."""
    for labels, classes in (("super-class", [1, 2, 3, 4, 12]), ("class", [*range(1, 8)])):
        for part in ("all", "train", "test"):
            source = products_source(str(tree), labels, part)
            listed(source)
            assert source.classes == classes and source.skipped == []
    assert source.label_names == {}
    source = products_source(str(tree), "super-class", "test")
    listed(source)
    assert source.label_names[2] == "cabinet"
    # What is wrong in another list is not said; without another list, there is no other class.
    test = (tree / "Ebay_test.txt").read_bytes()
    root = write_lists(tmp_path, test=test, train="header\nno row\n1 1 5 fan_final/a.JPG\n")
    source = products_source(root, "super-class", "test")
    assert len(listed(source)) == 4 and source.classes == [1, 5, 12] and source.skipped == []
    (tmp_path / "Ebay_train.txt").unlink()
    source = products_source(root, "super-class", "test")
    listed(source)
    assert source.classes == [1, 12]


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=rf"cannot open the folder {tmp_path}: Permission denied"):
        create_from_ebay(Output(str(tmp_path / "new")), str(tmp_path))


def test_a_dataset_of_it(tree, tmp_path, capsys):
    missing = tree / TRAIN[3].split()[3]
    missing.rename(tmp_path / "away")
    try:
        create_from_ebay(Output(str(tmp_path / "sop"), shuffle=False), str(tree.parent))
    finally:
        (tmp_path / "away").rename(missing)
    dataset = TFRecordDataset(str(tmp_path / "sop"))
    manifest = read_manifest(find_dataset(str(tmp_path / "sop")))
    assert dataset.labels.argmax(axis=1).tolist() == [0, 0, 1, 2, 2, 3, 3, 4, 4, 0, 0, 4, 4]
    assert manifest["label_names"] == ["bicycle", "cabinet", "chair", "coffee_maker", "toaster"]
    assert manifest["label_ids"] == [1, 2, 3, 4, 12]
    assert [entry["file"] for entry in manifest["skipped"]] == [TRAIN[3].split()[3]]
    assert manifest["partition"] == "all" and manifest["source"] == str(tree)
    assert "1 files skipped" in capsys.readouterr().out


def test_from_the_command_line(tree, tmp_path, run_script):
    command = ["dataset_tool.py", "create_from_ebay", tmp_path / "sop", tree]
    for options, words in (
        (["--labels=category"], "--labels=category: Stanford Online Products has super-class"),
        (["--partition=val"], "argument --partition: invalid choice: 'val'"),
        (["--image-column=a"], "--image-column is for tables of listings"),
    ):
        bad = run_script([*command, *options])
        assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and words in bad.stderr
        assert not (tmp_path / "sop").exists()
    good = run_script([*command, "--labels=class", "--partition=test", "--resolution=8"])
    assert good.returncode == 0, good.stderr
    manifest = json.loads((tmp_path / "sop/sop.json").read_text())
    assert (manifest["images"], manifest["label_ids"]) == (4, [1, 2, 3, 4, 5, 6, 7])


def test_an_info_file_of_names_only_is_passed_over(tmp_path):
    names = "image_id class_id super_class_id path\n"
    (tmp_path / "Ebay_info.txt").write_text(names)
    (tmp_path / "Ebay_train.txt").write_text(names + "1 1 1 bicycle_final/1_0.JPG\n")
    (tmp_path / "Ebay_test.txt").write_text(names + "1 2 2 chair_final/2_0.JPG\n")
    found = [item.name for item in products_source(str(tmp_path)).items]
    assert found == ["bicycle_final/1_0.JPG", "chair_final/2_0.JPG"]
