"""create_from_deepfashion: every benchmark in its genuine format."""

import os
import shutil

import deepfashion_trees as trees
import numpy as np
import pytest
from deepfashion_trees import (
    append,
    convert,
    error_of,
    is_colour,
    items_of,
    labels_of,
    source_of,
)
from PIL import Image

from training.datasets.sources.deepfashion import importer

TABLES = ("category", "inshop", "consumer2shop", "landmark")  # with the quirks of trees.STYLES
COUNTS = dict(zip(trees.TREES, (8, 8, 6, 4, 3, 4), strict=True))


@pytest.mark.parametrize("name", trees.TREES)
def test_a_benchmark_is_recognized_from_its_folder_and_from_above(tmp_path, name):
    root = trees.TREES[name](tmp_path / "DeepFashion/some Benchmark")
    for start in (root, root.parent, tmp_path):
        found, files = importer.find_benchmark(str(start))
        assert (found, files.root) == (name, str(root))
    assert len(items_of(tmp_path)) == COUNTS[name]
    for other in trees.TREES.keys() - {name}:
        assert "does not hold" in error_of(tmp_path, benchmark=other)


def test_several_benchmarks_need_a_choice(tmp_path):
    trees.inshop(tmp_path / "a")
    trees.landmark(tmp_path / "b")
    text = error_of(tmp_path)
    assert f"inshop in {tmp_path}/a" in text and f"landmark in {tmp_path}/b" in text
    assert len(items_of(tmp_path, benchmark="landmark")) == 4
    trees.inshop(tmp_path / "c")
    assert "inshop in" in error_of(tmp_path, benchmark="inshop")


@pytest.mark.parametrize("style", trees.STYLES)
@pytest.mark.parametrize("name", TABLES)
def test_the_copies_that_circulate_are_read_alike(tmp_path, capsys, name, style):
    genuine = trees.TREES[name](tmp_path / "genuine")
    other = trees.TREES[name](tmp_path / "other", **trees.STYLES[style])
    part = {"partition": "train", "crop": "bbox"}
    source = source_of(other, **part)
    assert list(source.items) == items_of(genuine, **part)
    assert items_of(other) == items_of(genuine)
    assert dict(source.label_names) == dict(source_of(genuine).label_names)
    assert source.skipped == []
    warnings = capsys.readouterr().err
    assert ("rows, its first line says 289222" in warnings) == (style == "wrong count")


@pytest.mark.parametrize(
    "images",
    ["img", "Img/img", "Img", "img-001", "img-001/img", "Img/img-001/img", "images", "."],
)
def test_pictures_are_found_wherever_they_were_unpacked(tmp_path, images):
    root = trees.category(tmp_path / "a", images=images)
    source = source_of(root)
    for item in source.items:
        path = source.read(item)
        assert os.path.relpath(path, root / images) == item.name.removeprefix("img/")


def test_pictures_in_two_parts_of_a_download(tmp_path):
    root = trees.category(tmp_path, images="img-001/img")
    (root / "img-002/img").mkdir(parents=True)
    shutil.move(root / "img-001/img/Boxy_Tee", root / "img-002/img")
    source = source_of(root)
    assert all(os.path.isfile(source.read(item)) for item in source.items)


def test_category_labels_keep_their_numbers_and_become_dense(tmp_path):
    root = trees.category(tmp_path / "tree")
    images, labels, manifest = convert(tmp_path, root)
    assert manifest["label_ids"] == [3, 18, 33, 41]
    assert manifest["label_names"] == ["Blouse", "Tee", "Skirt", "Dress"]
    assert labels.argmax(1).tolist() == [0, 0, 1, 1, 2, 3, 3, 3]
    assert labels.shape == (8, 4) and (labels.sum(1) == 1).all()
    assert len(images) == 8 and manifest["skipped"] == []
    assert manifest["benchmark"] == "category" and "non-commercial" in manifest["licence"]
    assert [item.name for item in items_of(root)] == list(trees.category_names())
    types = source_of(root, labels="Type")
    assert [item.label for item in types.items] == [1, 1, 1, 1, 2, 3, 3, 3]
    assert types.label_names == {1: "upper-body", 2: "lower-body", 3: "full-body"}
    assert set(labels_of(root, labels="none")) == {None}


@pytest.mark.parametrize("name", ["category", "inshop", "consumer2shop", "landmark"])
def test_boxes_are_cut_out(tmp_path, name):
    root = trees.TREES[name](tmp_path / "tree")
    images, _, _ = convert(tmp_path, root, crop="bbox", margin=0.0)
    assert len(images) == COUNTS[name]
    assert all(is_colour(image, trees.colour(i)) for i, image in enumerate(images))
    images, _, _ = convert(tmp_path, root, crop="bbox", margin=0.4)
    for i, image in enumerate(images):
        assert is_colour(image[:, 5:-5, 5:-5], trees.colour(i))
        assert (image[:, 0, 0] > 200).all()
    assert {item.box for item in items_of(root)} == {None}
    assert {item.box for item in items_of(root, crop="bbox")} == {(8.0, 16.0, 32.0, 48.0)}


def test_partitions_and_filters(tmp_path):
    root = trees.category(tmp_path / "category")
    assert labels_of(root, partition="train") == [3, 18, 33, 41]
    assert labels_of(root, partition="val") == [3, 41]
    assert labels_of(root, partition="test") == [18, 41]
    assert labels_of(root, categories=("dress", " TEE ")) == [18, 18, 41, 41, 41]
    assert labels_of(root, categories=("Dress",), partition="val") == [41]
    text = error_of(root, categories=("Cape",))  # one of those that are not in use
    assert text == (
        "none of the 8 pictures has --category=Cape: there are some with the category "
        "Blouse, Dress, Skirt, Tee"
    )
    assert error_of(root, categories=("Skirt",), partition="val") == (
        "none of the 8 pictures has --category=Skirt and --partition=val: there are some with the "
        "category Blouse, Dress, or with the partition train"
    )
    text = error_of(root, categories=("Dresss",))
    assert "'Dresss'" in text and "did you mean Dress?" in text and "Anorak, Blazer" in text

    root = trees.inshop(tmp_path / "inshop")
    assert labels_of(root, partition="query") == ["Denim", "Denim"]
    assert "some with the category Denim, or with the partition train" in error_of(
        root, partition="query", categories=("Dresses",)
    )
    assert labels_of(root, partition="gallery") == ["Denim", "Tees_Tanks", "Tees_Tanks"]
    assert labels_of(root, views=("Front", "flat"), labels="view") == [1, 1, 1, 6]
    assert len(items_of(root, categories=("denim",))) == 3
    assert labels_of(root, categories=("women/denim",), labels="gender") == ["WOMEN", "WOMEN"]
    assert labels_of(root, categories=("dresses",), views=("side",), labels="item") == [
        "id_00000002"
    ]
    text = error_of(root, categories=("Dress",))
    assert "did you mean Dresses?" in text and "WOMEN/Dresses" in text
    assert "additional, back" in error_of(root, views=("left",))


@pytest.mark.parametrize(
    ("name", "options", "classes"),
    [
        ("category", {}, [3, 18, 33, 41]),
        ("category", {"categories": ("Tee", "Dress")}, [18, 41]),
        ("category", {"labels": "attribute:Chiffon"}, [-1, 0, 1]),
        ("inshop", {"labels": "view"}, [1, 2, 3, 4, 6, 7]),
        ("inshop", {"labels": "view", "views": ("front", "flat")}, [1, 6]),
        ("inshop", {"labels": "gender"}, ["MEN", "WOMEN"]),
        ("consumer2shop", {"labels": "type"}, [1, 2, 3]),
        ("landmark", {}, [1, 2, 3]),
        ("deepfashion2", {}, [8, 13]),
        ("deepfashion2", {"labels": "view", "crop": "bbox"}, [1, 2, 3]),
        ("fine", {"anno": "fine"}, [3, 18, 33, 41]),
        ("inshop", {"labels": "none"}, []),
    ],
)
def test_partitions_have_the_classes_of_all(tmp_path, name, options, classes):
    """So a network for one fits the other."""
    root = {**trees.TREES, "fine": trees.fine}[name](tmp_path / "tree")
    parts = {"inshop": ("train", "query"), "consumer2shop": ("train", "test")}
    for part in ("all", *parts.get(name, ("train", "val"))):
        source = source_of(root, partition=part, **options)
        found = {item.label for item in source.items} - {None}
        assert found <= set(classes) and bool(found) == bool(classes)
        assert source.classes == classes and source.skipped == []


def test_a_dataset_of_a_partition_has_columns_for_all_classes(tmp_path):
    root = trees.inshop(tmp_path / "tree")
    _, labels, manifest = convert(tmp_path, root, partition="query", labels="view")
    assert labels.shape == (2, 6) and labels.argmax(1).tolist() == [0, 3]
    assert manifest["label_names"][1] == "side"


def test_other_partitions_are_no_concern_but_for_their_classes(tmp_path):
    root = trees.deepfashion2(tmp_path / "a")
    (root / "train/annos/000002.json").write_text("")
    source = source_of(root, partition="val")
    assert [item.label for item in source.items] == [13]
    assert source.classes == [8, 13] and source.skipped == []
    shutil.rmtree(root / "validation")
    assert "has no validation" in error_of(root, partition="val")
    root = trees.fine(tmp_path / "b")
    (root / "Anno_fine/train_cate.txt").write_text("0\n" * 4)
    source = source_of(root, anno="fine", partition="val")
    assert [item.label for item in source.items] == [3, 41]
    assert source.classes == [3, 18, 41] and source.skipped == []
    os.remove(root / "Anno_fine/val.txt")
    assert "val.txt" in error_of(root, anno="fine", partition="val")


def test_a_folder_within_a_benchmark_is_told_from_its_root(tmp_path):
    root = trees.deepfashion2(tmp_path / "DeepFashion2")
    for folder, words in (("train", "train"), ("validation", "val"), ("train/annos", "train")):
        text = error_of(root / folder)
        assert f"{root} holds the DeepFashion2 benchmark: give that folder" in text
        assert f"and --partition={words} for this part alone" in text
    root = trees.category(tmp_path / "cap")
    for folder in ("Img", "Img/img"):
        text = error_of(root / folder)
        assert f"{root} holds the Category and Attribute Prediction benchmark: give that" in text
        assert "--partition" not in text


def test_inshop_labels(tmp_path):
    root = trees.inshop(tmp_path)
    rows = trees.INSHOP_ROWS
    assert labels_of(root) == ["Dresses"] * 3 + ["Denim"] * 3 + ["Tees_Tanks"] * 2
    assert labels_of(root, labels="gender") == ["WOMEN"] * 5 + ["MEN"] * 3
    assert labels_of(root, labels="view") == [1, 2, 7, 1, 3, 4, 1, 6]
    assert labels_of(root, labels="type") == [row[3] for row in rows]
    assert labels_of(root, labels="item") == [row[1] for row in rows]
    assert source_of(root, labels="view").label_names[7] == "additional"
    shutil.rmtree(root / "Anno")  # copies with no more than pictures and partitions circulate
    assert len(items_of(root)) == 8
    assert "list_bbox_inshop.txt" in error_of(root, labels="type")


def test_highres_pictures(tmp_path):
    root = trees.inshop(tmp_path)
    trees.inshop(root, images="img_highres")
    for options, folder in [({}, "img"), ({"highres": True}, "img_highres")]:
        source = source_of(root, **options)
        path = source.read(next(iter(source.items)))
        assert os.path.relpath(path, root).split("/")[0] == folder
    assert "--highres" in error_of(root, highres=True, crop="bbox")
    shutil.rmtree(root / "img")
    source = source_of(root)
    assert "/img_highres/" in source.read(next(iter(source.items)))
    assert "none of the 8 pictures" in error_of(root, crop="bbox")


def test_consumer2shop(tmp_path):
    root = trees.consumer2shop(tmp_path)
    names = [f"img/{row[0]}" for row in trees.CONSUMER2SHOP_ROWS]
    assert [item.name for item in items_of(root)] == names
    assert labels_of(root) == ["Blouse"] * 3 + ["Skirt"] * 2 + ["Dress"]
    assert labels_of(root, labels="type") == [1, 1, 1, 2, 2, 3]
    assert labels_of(root, labels="view") == [2, 2, 1, 2, 1, 1]
    assert labels_of(root, labels="item", views=("shop",)) == [
        "id_00000001",
        "id_00000002",
        "id_00000003",
    ]
    assert labels_of(root, categories=("Tops/Blouse",), views=("consumer",)) == ["Blouse"] * 2
    text = error_of(root, partition="test", categories=("Dress",))  # which is in no pair
    assert text.endswith("--partition=test: there are some with the category Skirt")
    source = source_of(root, partition="train")
    assert [item.name for item in source.items] == names[:3]
    assert source.skipped == []  # of what is in no pair

    shutil.rmtree(root / "Anno")
    source = source_of(root, labels="view")  # from the pairs, each picture once
    assert [(i.name, i.label) for i in source.items] == [
        (names[k], label) for k, label in ((0, 2), (2, 1), (1, 2), (3, 2), (4, 1))
    ]
    assert source.skipped == []
    assert "list_bbox_consumer2shop.txt" in error_of(root, crop="bbox")


def test_landmark(tmp_path):
    root = trees.landmark(tmp_path)
    source = source_of(root)
    assert [(item.name, item.label) for item in source.items] == [
        ("img/img_00000001.jpg", 1),
        ("img/img_00000003.jpg", 2),
        ("img/img_00000004.jpg", 3),
        ("img/img_00000009.jpg", 3),
    ]
    assert labels_of(root, partition="test") == [3]
    good = "img/img_00000001.jpg 1" + " 0 146 102" * 6  # the other published order
    bad = ["img/a.jpg 1 1 0 1 2", "img/b.jpg 4 1" + " 0 1 2" * 6, "img/c.jpg", "img/d.jpg x y z"]
    path = root / "Anno/list_landmarks.txt"
    path.write_text("\n".join([good, *bad]) + "\n")
    source = source_of(root)
    assert [item.label for item in source.items] == [1]
    assert [entry["file"] for entry in source.skipped] == [
        f"list_landmarks.txt:{n}" for n in "2345"
    ]


def test_attributes(tmp_path):
    root = trees.category(tmp_path / "tree")
    source = source_of(root, labels="attribute:chiffon")
    assert [item.label for item in source.items] == [-1, 0, 1, -1, 0, 1, -1, 0]
    assert labels_of(root, labels="attribute:animal print") == [1] * 8
    assert labels_of(root, labels="attribute:a-line", partition="val") == [-1, -1]
    assert labels_of(root, labels="attribute:Chiffon", categories=("Tee",)) == [1, -1]
    _, labels, manifest = convert(tmp_path, root, labels="attribute:Chiffon")
    assert manifest["label_ids"] == [-1, 0, 1]
    assert manifest["label_names"] == ["no", "unknown", "yes"]
    assert labels.argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert "animal print" in error_of(root, labels="attribute:animal prnt")
    assert "expected attribute:NAME" in error_of(root, labels="attribute")
    table = root / "Anno_coarse/list_attr_cloth.txt"
    append(table, "CHIFFON   2")
    assert "attributes in" in error_of(root, labels="attribute:chiffoN")
    # Now there are five names, and rows of four values.
    assert "has no row of image_name and 5 values" in error_of(root, labels="attribute:Chiffon")


def test_fine_annotations(tmp_path):
    root = trees.fine(tmp_path / "a/Category Benchmark")
    source = source_of(tmp_path / "a", labels="category")
    assert [item.label for item in source.items] == [3, 18, 33, 41, 3, 41, 18, 41]
    assert source.label_names[41] == "Dress"
    assert labels_of(root, partition="val", labels="type") == [1, 3]
    assert labels_of(root, labels="attribute:A-line") == [0, 0, 0, 1, 1, 0, 1, 1]
    assert source_of(root, labels="attribute:a-line").label_names == {0: "no", 1: "yes"}
    images, _, _ = convert(tmp_path, root, crop="bbox", margin=0.0, categories=("Skirt",))
    assert len(images) == 1 and is_colour(images[0], trees.colour(4))
    assert "Anno_fine" not in error_of(root, anno="coarse")

    trees.category(root)
    os.remove(root / "Anno_coarse/list_attr_img.txt")
    assert source_of(root, labels="attribute:a-line").label_names == {0: "no", 1: "yes"}
    assert labels_of(root) == [row[1] for row in trees.CATEGORY_ROWS]  # the coarse ones
    assert labels_of(root, anno="fine") == [3, 18, 33, 41, 3, 41, 18, 41]
    path = root / "Anno_fine/val_attr.txt"
    path.write_text(path.read_text().replace("1 1", "1 1 1", 1))
    assert labels_of(root, labels="attribute:a-line", anno="fine", partition="val") == [0]
    lines = (root / "Anno_fine/train_cate.txt").read_text().splitlines()
    (root / "Anno_fine/train_cate.txt").write_text("\n".join(["51", "", *lines[2:]]) + "\n\n\n")
    source = source_of(root, anno="fine", partition="train")
    assert [item.label for item in source.items] == [33, 41]
    assert [entry["file"] for entry in source.skipped] == ["train.txt:1", "train.txt:2"]
    append(root / "Anno_fine/train.txt", *["img/one/more.jpg"] * 4)
    assert "train_cate.txt ends before line 7" in error_of(root, anno="fine")
    os.remove(root / "Anno_fine/train_cate.txt")
    assert "train_cate.txt" in error_of(root, anno="fine")


def test_old_annotation_folder_and_scattered_files(tmp_path):
    root = trees.category(tmp_path / "old", anno="Anno")
    assert len(items_of(root, partition="all", crop="bbox")) == 8
    flat = trees.category(tmp_path / "flat", anno=".", images="img")
    shutil.move(flat / "Eval/list_eval_partition.txt", flat)
    assert len(items_of(flat, partition="train", crop="bbox")) == 4
    nested = trees.category(tmp_path / "nested", anno="Anno_coarse/Anno_coarse")
    assert len(items_of(nested, crop="bbox")) == 8


def test_deepfashion2(tmp_path):
    root = trees.deepfashion2(tmp_path / "tree")
    source = source_of(root)
    assert [(item.name, item.label) for item in source.items] == [
        ("train/image/000001.jpg", 8),  # the larger of the two items
        ("train/image/000002.jpg", 8),
        ("validation/image/000001.jpg", 13),
    ]
    assert source.label_names[13] == "sling dress"
    assert labels_of(root, partition="val", labels="item") == [12]
    assert labels_of(root, labels="view") == [2, 3, 2]
    assert labels_of(root, crop="bbox", labels="view") == [1, 2, 3, 2]
    assert labels_of(root, crop="bbox", categories=("Short sleeve top",)) == [1]
    text = error_of(root, views=("no wear",))
    assert "none of the 3 pictures has --view=no wear: " in text
    assert "the view frontal, side or back" in text
    assert labels_of(root, labels="none") == [None] * 4  # with that of test
    assert len(items_of(root, labels="none", partition="test")) == 1
    assert "--labels=none" in error_of(root, partition="test")
    images, labels, manifest = convert(tmp_path, root, crop="bbox", margin=0.0)
    assert manifest["label_ids"] == [1, 8, 13] and labels.argmax(1).tolist() == [0, 1, 1, 2]
    colours = [trees.BACKGROUND, *map(trees.colour, range(3))]
    assert all(is_colour(image, rgb) for image, rgb in zip(images, colours, strict=True))
    names = [item.name for item in items_of(root, crop="bbox")]
    assert names[:2] == ["train/image/000001.jpg:item1", "train/image/000001.jpg:item2"]


def test_multimodal(tmp_path):
    root = trees.multimodal(tmp_path)
    (root / "images/.DS_Store").write_bytes(b"x")
    assert labels_of(root) == ["Denim", "Denim", "Blouses_Shirts", "Dresses"]
    assert labels_of(root, labels="gender") == ["MEN", "MEN", "WOMEN", "WOMEN"]
    assert labels_of(root, labels="view") == [7, 1, 3, 4]
    assert labels_of(root, labels="item", views=("front", "back")) == ["id_00000080", "id_00000001"]
    assert labels_of(root, categories=("MEN/Denim",), views=("additional",)) == ["Denim"]
    assert labels_of(root, labels="attribute:fabric:0") == [0, 1, 2, 3]
    assert labels_of(root, labels="attribute:pattern:1") == [7] * 4
    source = source_of(root, labels="attribute:shape:11")
    assert [item.label for item in source.items] == [0, 1, 2]  # fewer rows than pictures
    assert [entry["file"] for entry in source.skipped] == trees.MULTIMODAL_NAMES[3:]
    assert os.path.isfile(source.read(items_of(root)[0]))
    for wrong in ("shape:12", "shape", "colour:0", "shape:-1"):
        assert "shape:0 to shape:11" in error_of(root, labels=f"attribute:{wrong}")
    shutil.rmtree(root / "images")
    assert "images.zip" in error_of(root)


def test_real_photos(tmp_path, clothing):
    """Photos with the categories of their folders, in the tree of the category benchmark."""
    folders = {"dress": 41, "shorts": 32}
    names = [(path, number) for f, number in folders.items() for path in (clothing / f).iterdir()]
    names = sorted(names)[::40][:8]
    root = tmp_path / "tree"
    rows = [(f"img/{path.parent.name}/{path.name}", number) for path, number in names]
    for (path, _), (name, _) in zip(names, rows, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(path, root / name)
    trees.category_table(root / "Anno/list_category_cloth.txt")
    trees.table(root / "Anno/list_category_img.txt", "image_name  category_label", rows)
    boxes = []
    for path, _ in names:
        with Image.open(path) as image:
            boxes.append((0, 0, image.width // 2, image.height // 2))
    rows = [(name, *trees.padded(box)) for (name, _), box in zip(rows, boxes, strict=True)]
    trees.table(root / "Anno/list_bbox.txt", "image_name  x_1  y_1  x_2  y_2", rows)
    images, labels, manifest = convert(tmp_path, root, crop="bbox", margin=0.0)
    assert len(images) == len(names) == labels.sum() and manifest["skipped"] == []
    for image, (path, _), box in zip(images, names, boxes, strict=True):
        with Image.open(path) as photo:
            small = photo.convert("RGB").resize((16, 16), Image.Resampling.LANCZOS, box)
        assert abs(image.transpose(1, 2, 0) - np.asarray(small).astype(int)).mean() < 8
