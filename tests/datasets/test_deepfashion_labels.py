"""create_from_deepfashion: kinds of labels, folders and copies other than the plain ones."""

import json
import os
import shutil
import unicodedata

import deepfashion_trees as trees
import pytest
from deepfashion_trees import append, convert, error_of, items_of, labels_of, source_of

from training.datasets.sources.deepfashion.attributes import MULTIMODAL_ATTRIBUTES


def test_inshop_labels_by_color_and_by_gender_and_category(tmp_path):
    root = trees.inshop(tmp_path / "tree")
    both = ["WOMEN/Dresses"] * 3 + ["WOMEN/Denim"] * 2 + ["MEN/Denim"] + ["MEN/Tees_Tanks"] * 2
    assert labels_of(root, labels="gender/category") == both
    assert labels_of(root, labels="Gender-Category", partition="query") == [both[3], both[5]]
    colors = ["Black-grey"] * 3 + ["Red"] * 3 + ["Navy"] * 2
    assert labels_of(root, labels="color") == labels_of(root, labels="Colour") == colors
    _, labels, manifest = convert(tmp_path, root, labels="color", categories=("Denim", "Dresses"))
    assert manifest["label_names"] == ["Black-grey", "Red"] and manifest["labels"] == "color"
    assert labels.argmax(1).tolist() == [0] * 3 + [1] * 3

    path = root / "Anno/list_description_inshop.json"
    rows = json.loads(path.read_text())
    rows += [{"item": "id_00000090", "color": "Khaki"}, 5, {"item": "x"}, {"item": [], "color": ""}]
    path.write_text(json.dumps(rows), encoding="utf-8-sig")
    source = source_of(root, labels="color")
    assert [item.label for item in source.items] == colors[:6]
    reasons = [entry["reason"] for entry in source.skipped]
    assert "several colors" in reasons[0] and reasons[-1].endswith("do not tell its color")
    assert len(reasons) == 4 + 2
    for content in ("", "{}", "[" * 100_000, "\0"):
        path.write_text(content)
        assert "list_description_inshop.json" in error_of(root, labels="color")
    path.unlink()
    assert "colors of the items" in error_of(root, labels="color")
    os.mkfifo(path)
    assert "not a regular file" in error_of(root, labels="color")


def test_inshop_without_partitions(tmp_path):
    root = trees.inshop(tmp_path)
    expected = {item.name: item.label for item in items_of(root, labels="item")}
    shutil.rmtree(root / "Eval")
    found = {item.name: item.label for item in items_of(root, labels="item", crop="bbox")}
    assert found == expected
    assert "list_eval_partition.txt" in error_of(root, partition="train")


def test_deepfashion2_labels_by_source_and_style(tmp_path):
    root = trees.deepfashion2(tmp_path)
    assert labels_of(root, labels="source") == ["shop", "user", "shop"]
    assert labels_of(root, labels="style") == [1, 1, 1]
    path = root / "train/annos/000001.json"
    annotation = json.loads(path.read_text())
    annotation["item1"]["style"], annotation["item2"]["style"] = 0, "3"
    path.write_text(json.dumps(annotation | {"source": ["shop"]}))
    assert labels_of(root, labels="style", crop="bbox") == [0, 1, 1]
    source = source_of(root, labels="source", crop="bbox")
    assert [item.label for item in source.items] == ["user", "shop"]
    assert {entry["reason"] for entry in source.skipped} == {
        "the annotation files do not tell its source"
    }


def test_deepfashion2_in_folders_of_other_names(tmp_path):
    root = trees.deepfashion2(tmp_path)
    (root / "train").rename(root / "inner")
    (root / "Train").mkdir()
    (root / "inner").rename(root / "Train/train")
    (root / "validation").rename(root / "val")
    (root / "val/image").rename(root / "val/Image")
    source = source_of(root)
    assert [(item.name, item.label) for item in source.items] == [
        ("Train/train/image/000001.jpg", 8),
        ("Train/train/image/000002.jpg", 8),
        ("val/Image/000001.jpg", 13),
    ]
    assert all(os.path.isfile(source.read(item)) for item in items_of(root, crop="bbox"))
    shutil.rmtree(root / "test")
    shutil.rmtree(root / "val/annos")
    assert labels_of(root, partition="train") == [8, 8]
    assert "has no validation with the folders image and annos" in error_of(root, partition="val")
    assert len(items_of(root, labels="none")) == 3


def test_multimodal_attributes_have_names(tmp_path):
    root = trees.multimodal(tmp_path / "tree")
    for labels in ("attribute:upper fabric", "attribute:fabric:0", "Attribute:Upper_Fabric"):
        source = source_of(root, labels=labels)
        assert [item.label for item in source.items] == [0, 1, 2, 3]
        assert source.label_names[3] == "furry"
    source = source_of(root, labels="attribute:lower color")
    assert [item.label for item in source.items] == [7] * 4
    assert source.label_names == source_of(root, labels="attribute:lower pattern").label_names
    _, labels, manifest = convert(tmp_path, root, labels="attribute:sleeve length")
    assert manifest["label_names"] == ["sleeveless"] and len(labels) == 3
    _, _, manifest = convert(tmp_path, root, labels="attribute:lower pattern")
    assert manifest["label_names"] == ["NA"]
    text = error_of(root, labels="attribute:sleeve")
    assert all(name in text for name in ("sleeve length", "outer pattern", "shape:0 to shape:11"))
    assert [len(columns) for columns in MULTIMODAL_ATTRIBUTES.values()] == [12, 3, 3]
    for columns in MULTIMODAL_ATTRIBUTES.values():
        assert all(values[-1] == "NA" for _, values in columns)
    assert labels_of(root, labels="gender/category")[0] == "MEN/Denim"


@pytest.mark.parametrize("separator", ["    ", ", ", "\t", " "])
def test_consumer2shop_attributes_and_groups(tmp_path, separator):
    root = trees.consumer2shop(tmp_path)
    path = root / "Anno/list_attr_cloth.txt"
    header = ["2", separator.join(("Chinese name", "English name", "type"))]
    rows = [separator.join(map(str, row)) for row in trees.CONSUMER2SHOP_ATTRIBUTES]
    path.write_text("\n".join([*header, *rows]) + "\n", encoding="utf-8")
    source = source_of(root, labels="attribute:Sleeve  length")
    assert [item.label for item in source.items] == [-1, -1, -1, 0, 0, 1]
    assert source.label_names == {-1: "no", 0: "unknown", 1: "yes"}
    assert labels_of(root, labels="attribute:袖长") == [-1, -1, -1, 0, 0, 1]
    assert labels_of(root, labels="attribute:dress", partition="test") == [1, 1]
    assert "did you mean sleeve length" in error_of(root, labels="attribute:sleve length")
    assert labels_of(root, labels="group") == ["TOPS"] * 3 + ["CLOTHING"] * 2 + ["DRESSES"]
    assert labels_of(root, labels="group/category")[0] == "TOPS/Blouse"
    source = source_of(root, labels="source")
    assert [item.label for item in source.items] == [2, 2, 1, 2, 1, 1]
    assert source.label_names == {1: "shop", 2: "consumer"}
    append(root / "Anno/list_attr_items.txt", "id_00000004  1", "id_00000005  1  2")
    source = source_of(root, labels="attribute:dress")
    assert len(list(source.items)) == 6
    assert [entry["file"] for entry in source.skipped] == [f"list_attr_items.txt:{n}" for n in "67"]
    os.remove(root / "Anno/list_attr_items.txt")
    assert "list_attr_items.txt" in error_of(root, labels="attribute:dress")


@pytest.mark.parametrize("name", ["category", "inshop", "consumer2shop", "landmark"])
def test_rows_as_other_systems_write_them(tmp_path, name):
    """Paths of Windows, blank lines between all rows and before them."""
    genuine = items_of(trees.TREES[name](tmp_path / "genuine"), partition="train", crop="bbox")
    root = trees.TREES[name](tmp_path / "other")
    for path in root.rglob("*.txt"):
        text = path.read_text(encoding="utf-8").replace("/", "\\")
        path.write_text("\n" + text.replace("\n", "\r\n  \r\n"), encoding="utf-8", newline="")
    source = source_of(root, partition="train", crop="bbox")
    assert list(source.items) == genuine and source.skipped == []
    assert all(os.path.isfile(source.read(item)) for item in genuine)


@pytest.mark.parametrize("name", ["category", "inshop", "consumer2shop", "landmark"])
def test_paths_with_spaces_and_pictures_in_another_case(tmp_path, name):
    root = trees.TREES[name](tmp_path / "tree")
    for path in root.rglob("*.txt"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("Boxy_Tee", "Boxy Tee").replace("/Denim", "/Den im")
        text = text.replace("Blouse/id_", "Blo use/id_").replace("img/img_0", "img/a b/img_0")
        path.write_text(text, encoding="utf-8")
    folder = next(p for p in (root / "Img/img", root / "img") if p.is_dir())
    moves = {"Boxy_Tee": "boxy tee", "WOMEN/Denim": "women/den im", "MEN/Denim": "MEN/DEN IM"}
    moves |= {"TOPS/Blouse": "TOPS/blo use", "Café_Skirt_裙": "CAFÉ_skirt_裙"}
    for old, new in moves.items():
        if (folder / old).exists():
            new = folder / unicodedata.normalize("NFD", new)
            new.parent.mkdir(exist_ok=True)
            (folder / old).rename(new)
    if name == "landmark":
        (folder / "A B").mkdir()
        for path in folder.glob("*.jpg"):
            path.rename(folder / "A B" / path.name.upper())
    options = {"crop": "bbox"} | ({"labels": "attribute:Chiffon"} if name == "category" else {})
    source = source_of(root, **options)
    items = list(source.items)
    assert len(items) == {"category": 8, "inshop": 8, "consumer2shop": 6, "landmark": 4}[name]
    assert source.skipped == [] and any(" " in item.name for item in items)
    if name != "inshop":  # there, WOMEN and women are both
        assert all(os.path.isfile(source.read(item)) for item in items)


def test_an_annotation_folder_stands_for_the_benchmark(tmp_path):
    for name in ("category", "inshop", "consumer2shop", "landmark"):
        root = trees.TREES[name](tmp_path / name)
        for folder in sorted(p for p in root.iterdir() if p.name.startswith(("Anno", "Eval"))):
            assert items_of(folder) == items_of(root)


def test_prefixes_of_paths(tmp_path):
    root = trees.category(tmp_path)
    for path in root.rglob("*.txt"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("img/", "./Img/img/"), encoding="utf-8")
    source = source_of(root, partition="train")
    assert all(os.path.isfile(source.read(item)) for item in source.items)


def test_only_what_is_used_has_to_be_there(tmp_path, capsys):
    root = trees.fine(tmp_path / "fine")
    for name in ("val_cate", "test", "test_cate", "test_attr", "test_bbox", "val_attr"):
        os.remove(root / f"Anno_fine/{name}.txt")
    assert labels_of(root, partition="train") == [3, 18, 33, 41]
    assert "val_cate.txt is missing" in capsys.readouterr().err
    assert "val_cate.txt" in error_of(root)
    (root / "Anno_fine/val_cate.txt").write_text("3\n")  # truncated
    assert labels_of(root, partition="train") == [3, 18, 33, 41]
    assert "ends before line" in error_of(root, partition="val")

    root = trees.category(tmp_path / "names")
    expected = [item.name for item in items_of(root, labels="none", partition="train")]
    for path in (root / "Anno_coarse").iterdir():
        if path.name not in ("list_category_cloth.txt", "list_bbox.txt"):
            path.unlink()
    found = [item.name for item in items_of(root, labels="none", partition="train", crop="bbox")]
    assert found == expected
    os.remove(root / "Eval/list_eval_partition.txt")
    assert len(items_of(root, labels="none")) == 8
    assert "list_category_img.txt" in error_of(root)


def test_counts_that_disagree_are_said(tmp_path, capsys):
    root = trees.category(tmp_path)
    path = root / "Anno_coarse/list_category_img.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:6]) + "\nimg/Boxy_T", encoding="utf-8")  # cut off
    source = source_of(root)
    assert len(list(source.items)) == 4 and len(source.skipped) == 1
    assert "has 5 rows, its first line says 8" in capsys.readouterr().err
    for lines in ([], ["8"], ["8", "image_name  category_label"], ["", " "]):
        path.write_text("\n".join(lines) + "\n")
        assert "list_category_img.txt has no row of image_name" in error_of(root)


def test_a_pipe_or_an_endless_line_among_the_files(tmp_path):
    root = trees.category(tmp_path)
    path = root / "Anno_coarse/list_category_img.txt"
    append(path, "name " * 100_000, "img/Boxy_Tee/img_00000009.jpg 18")
    source = source_of(root)
    assert len(list(source.items)) == 9 and 0 < len(source.skipped) < 20
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in error_of(root)
