"""Labels of create_from_images from files: which column, which class, which picture."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building import inspect, label_rows
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.manifest import read_manifest
from training.datasets.format.matrices import map_matrix
from training.datasets.items import Item, ItemList, sorted_classes
from training.datasets.sources.images import create_from_images, images_source
from training.datasets.sources.labels import LabelOptions
from training.datasets.tables.cells import class_of, holds_several


@pytest.fixture
def folder(tmp_path):
    return pictures(tmp_path / "photos", "a.png", "b.png", "c.png")


def pictures(folder, *names):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (30 * i, 0, 0)).save(folder / name)
    return folder


def listed(folder, labels="l.csv", text=None, **options):
    """{name: label} and the source."""
    if text is not None:
        path = folder / labels.partition(":")[0]
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    source = images_source(str(folder), labels, LabelOptions(**options))
    return {item.name: item.label for item in source.items}, source


# Which column


@pytest.mark.parametrize(
    "header",
    [
        "image_path,split,label",
        "img,price,category",
        "image_id,width,class_name",
        "class index,filepaths,labels",
        "Label,id,Image Name",
        "file_name,text,class_id",
        "bild,Größe,label",
    ],
)
def test_columns_are_known(folder, header, capsys):
    names = header.split(",")
    files = next(n for n in names if n.lower()[:3] in ("ima", "img", "fil", "bil"))
    if "Image Name" in names:
        files = "Image Name"
    wanted = ("label", "category", "class_name", "labels", "class_id")
    label = next(n for n in names if n.lower() in wanted)
    rows = [
        ",".join(f"{n}.png" if c == files else kind if c == label else str(7 * i) for c in names)
        for i, (n, kind) in enumerate(zip("abc", ("dress", "shoe", "dress"), strict=True))
    ]
    found, source = listed(folder, text="\n".join([header, *rows]))
    assert found == {"a.png": "dress", "b.png": "shoe", "c.png": "dress"}
    assert source.facts["file_column"] == files and source.facts["label_column"] == label
    out = capsys.readouterr().out
    assert f"column {files}, labels in {label}" in out
    assert "2 classes: dress (2), shoe (1)" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,price,size\na.png,1,2\n", r"known: name it with --label-column; .* file, pri"),
        ("file,label,class\na.png,x,y\n", "label and class could both hold the labels"),
        ("x,y,label\n1,2,3\n", "no column of files is known: name it with --file-column"),
        ("a.png,1,dress\nb.png,2,hat\n", "by its number, 1 to 3, with --label-column"),
        ("1,2\n2,1\n", "--file-column"),
    ],
)
def test_columns_are_asked_for(folder, text, message):
    with pytest.raises(UserError, match=message):
        listed(folder, text=text)


def test_columns_are_named(folder):
    text = "x;file;label;Art\nb;a.png;1;Kleid\na;b.png;2;Hut\n"
    found, _ = listed(folder, text=text, label_column="art")
    assert found == {"a.png": "Kleid", "b.png": "Hut"}
    found, _ = listed(folder, text=text, file_column="x", label_column="Art")
    assert found == {"b.png": "Kleid", "a.png": "Hut"}
    found, _ = listed(folder, text="1,a.png,hat\n2,b.png,cap\n", label_column="3")
    assert found == {"a.png": "hat", "b.png": "cap"}
    with pytest.raises(UserError, match=r"--label-column=kind: .*no such column: its columns"):
        listed(folder, text=text, label_column="kind")
    for options in ({"label_column": "x"}, {"file_column": "x"}, {"encoding": "cp1252"}):
        with pytest.raises(UserError, match="is for a file of labels: name it with --labels=FILE"):
            listed(folder, "folders", **options)
    with pytest.raises(UserError, match="--labels=folders:multi is for a file"):
        listed(folder, "folders:multi")


def test_numbers_of_classes_are_not_taken_for_names_of_pictures(tmp_path):
    folder = pictures(tmp_path / "p", "0.png", "1.png", "2.png")
    found, _ = listed(folder, text="file,label\n2.png,0\n0.png,1\n")
    assert found == {"2.png": 0, "0.png": 1}


# NVIDIA's and Hugging Face's files


def test_null_means_no_labels(folder, tmp_path, capsys):
    (folder / "dataset.json").write_text('{"labels": null}')
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as file:
        for name in os.listdir(folder):
            file.write(folder / name, name)
    for source in (folder, tmp_path / "d.zip"):
        found, facts = listed(source, "auto")
        assert set(found.values()) == {None} and facts.facts["labels"] == "none"
        assert "there are no labels" in capsys.readouterr().out


def test_hugging_face_metadata_is_found(folder):
    rows = [{"file_name": f"{n}.png", "text": "x", "label": f"Kind {n}"} for n in "ab"]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert listed(folder, "auto")[0] == {"a.png": "Kind a", "b.png": "Kind b"}
    array = json.dumps(rows, indent=1)
    assert listed(folder, "m.json", array)[0] == {"a.png": "Kind a", "b.png": "Kind b"}
    os.remove(folder / "metadata.jsonl")
    (folder / "metadata.csv").write_text("file_name,label\nc.png,x\n")
    assert listed(folder, "auto")[0] == {"c.png": "x"}


def test_parquet(folder):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"file_name": ["a.png", "b.png"], "label": [1, 0]})
    facts = {"info": {"features": {"label": {"names": ["hat", "dress"], "_type": "ClassLabel"}}}}
    parquet.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(facts)}), folder / "l.parquet"
    )
    assert listed(folder, "l.parquet")[0] == {"a.png": "dress", "b.png": "hat"}
    (folder / "broken.parquet").write_bytes(b"PAR1" + bytes(300) + b"PAR1")
    with pytest.raises(UserError, match=r"the Parquet table .*broken\.parquet is damaged"):
        listed(folder, "broken.parquet")


def test_a_long_dataset_json_is_read_as_a_stream(folder):
    pairs = [["a.png", 1], *([f"{i}.png", 2] for i in range(6_000)), ["b.png", 0]]
    text = '{"label_names": ["x", "y", "z"], "labels": %s}' % json.dumps(pairs)  # noqa: UP031
    tracemalloc.start()
    found, source = listed(folder, "d.json", text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000  # most of it the names of 5,000 rows that are left out
    assert found == {"a.png": 1, "b.png": 0} and source.facts["missing"] == 6_000
    assert len(source.skipped) + source.skipped.unnamed == 6_001  # and c.png


# Which class


def test_text_keeps_its_identity(folder):
    pictures(folder, "e.png")
    codes = dict(zip(("a.png", "b.png", "c.png", "e.png"), ("0", "00", "7", "007"), strict=True))
    text = "file,label\n" + "".join(f"{name},{code}\n" for name, code in codes.items())
    assert listed(folder, text=text)[0] == {
        "a.png": 0,
        "b.png": "00",
        "c.png": 7,
        "e.png": "007",
    }


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (" Home  &amp;\n Garden ", "Home & Garden"),
        ("Men&#39;s", "Men's"),
        ("black&white", "black&white"),
        ("shirts&notes", "shirts&notes"),
        (unicodedata.normalize("NFD", "Röcke"), "Röcke"),
        ("10", 10),
        ("-1", "-1"),
        (-1, -1),
        ("٣", "٣"),
        ("1.0", "1.0"),
        ("9" * 30, "9" * 30),
        ("nan", None),
        (float("nan"), None),
        (float("-inf"), None),
        ("", None),
        (None, None),
        ("Infinity", "Infinity"),
        ("Nan Goldin", "Nan Goldin"),
    ],
)
def test_classes(cell, expected):
    assert class_of(cell) == expected and type(class_of(cell)) is type(expected)


def test_numbers_that_are_not_finite_are_no_labels(folder):
    found, source = listed(folder, text="file,label\na.png,nan\nb.png,-inf\nc.png,3\n")
    assert found == {"c.png": 3}
    assert [entry["file"] for entry in source.skipped] == ["a.png", "b.png"]
    assert "is no finite number" in source.skipped[0]["reason"]
    for number in ("NaN", "Infinity", "-Infinity", "[0.5, NaN]"):
        with pytest.raises(UserError, match="finite numbers"):
            listed(folder, "d.json", '{"labels": [["a.png", %s]]}' % number)  # noqa: UP031


def test_of_two_columns_of_labels_the_one_that_is_filled_counts(folder):
    text = "file,label,category\na.png,,x\nb.png,,y\nc.png,,x\n"
    assert listed(folder, text=text)[0] == {"a.png": "x", "b.png": "y", "c.png": "x"}
    with pytest.raises(UserError, match="could both hold the labels"):
        listed(folder, text=text.replace(",,", ",z,"))


def test_one_object_with_a_file_is_a_row(folder):
    """And no dataset.json of NVIDIA's, though it has `labels`."""
    text = '{"file_name": "a.png", "labels": "x"}'
    for more in ("", "\n" + text.replace("a.png", "b.png")):
        assert listed(folder, "l.json", text + more)[0]["a.png"] == "x"


def test_a_row_without_a_label_takes_none_from_others(folder):
    text = "file,label\na.png,x\na.png,\nb.png,\nb.png,y\nc.png,y\n"
    found, source = listed(folder, "l.csv:multi", text)
    assert source.classes == ["x", "y"]
    assert found == {"a.png": (1.0, 0.0), "b.png": (0.0, 1.0), "c.png": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,", "."),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': 'x'}", "."),
        (b"(" * 900, "."),
    ],
)
def test_broken_headers_of_arrays(folder, header, words):
    head = header.ljust(117) + b"\n"
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(24)
    (folder / "l.npy").write_bytes(content)
    with pytest.raises(UserError, match=rf"^cannot read labels \S+l\.npy: {words}"):
        map_matrix(str(folder / "l.npy"))


# Several labels


CONTRADICTORY = [
    ("d.csv", "filename,class,xmin\na.png,shirt,0\na.png,hat,9\nb.png,hat,1\nb.png,hat,2\n"),
    ("d.json", '{"labels": [["a.png", "shirt"], ["a.png", "hat"], ["b.png", "hat"]]}'),
    ("d.jsonl", '{"file": "a.png", "label": "shirt"}\n{"file": "./a.png", "label": "hat"}\n'),
]


@pytest.mark.parametrize(("name", "text"), CONTRADICTORY)
def test_rows_that_contradict_each_other(folder, name, text):
    words = r"gives 1 picture several labels .* a\.png \(shirt, hat\).*--labels=d.*:multi"
    with pytest.raises(UserError, match=words):
        listed(folder, name, text)
    found, source = listed(folder, f"{name}:multi", text)
    assert source.classes == ["hat", "shirt"] and found["a.png"] == (1.0, 1.0)


@pytest.mark.parametrize(
    "cells",
    [
        ["shirt|blue", "hat|blue", "hat"],
        ["shirt;blue", "hat;blue", "hat"],
        ['"shirt,blue"', '"hat,blue"', "hat"],
        ['"shirt, blue"', '"hat, blue"', '"hat, shirt"'],
        ['"[""shirt"", ""blue""]"', '"[""hat"", ""blue""]"', "hat"],
        ["\"['shirt', 'blue']\"", "\"['hat', 'blue']\"", "hat"],
    ],
)
def test_several_labels_in_a_cell(folder, cells):
    text = "file,label\n" + "".join(f"{n}.png,{c}\n" for n, c in zip("abc", cells, strict=True))
    with pytest.raises(UserError, match=r"--labels=l\.csv:multi .*:single"):
        listed(folder, text=text)
    found, source = listed(folder, "l.csv:multi", text)
    assert source.classes == ["blue", "hat", "shirt"]
    assert found["a.png"] == (1.0, 0.0, 1.0) and found["b.png"] == (1.0, 1.0, 0.0)
    assert len(set(listed(folder, "l.csv:single", text)[0].values())) >= 2


def test_which_cells_hold_several_classes():
    for cell in (["a", "b"], '["a", "b"]', "a|b", "a; b", "a,b"):
        assert holds_several(cell), cell
    for cell in ([], ["a"], ["a", "a"], '["a", "a"]', "a, b", "a", 5, None, {"a": 1}):
        assert not holds_several(cell), cell


def test_names_with_commas_are_one_class(folder):
    text = 'file,label\na.png,"Clothing, Shoes & Jewelry"\nb.png,Clothing\nc.png,"3,5 cm"\n'
    found, _ = listed(folder, text=text)
    assert found["a.png"] == "Clothing, Shoes & Jewelry" and found["c.png"] == "3,5 cm"


def test_a_dataset_of_several_labels(folder, tmp_path, capsys):
    (folder / "l.csv").write_text("file,label\na.png,x|y\nb.png,\nc.png,y\ngone.png,x\n")
    output = Output(str(tmp_path / "ds"), resolution=16, shuffle=False)
    create_from_images(output, str(folder), "l.csv:multi")
    dataset = find_dataset(output.tfrecord_dir)
    np.testing.assert_array_equal(read_labels(dataset), [[1, 1], [0, 1]])
    manifest = read_manifest(dataset)
    assert manifest["label_names"] == ["x", "y"] and manifest["label_mode"] == "multi"
    assert manifest["found"] == manifest["images"] + len(manifest["skipped"]) == 4
    assert "2 classes: x (1), y (2)" in capsys.readouterr().out
    inspect.info(output.tfrecord_dir)
    assert capsys.readouterr().out.splitlines()[-4:-1] == [
        "labels:     size 2, several classes a picture",
        "     0 x: 1 images",
        "     1 y: 2 images",
    ]


@pytest.mark.parametrize(
    ("rows", "names", "shown"),
    [
        ([[1, 1], [0, 1], [0, 0]], ["x", "y"], ["several classes a picture", "0 x: 1", "1 y: 2"]),
        ([[0, 1], [0, 1], [1, 0]], ["x", "y"], ["one-hot", "0 x: 1", "1 y: 2"]),
        ([[0, 1], [0, 1], [1, 0]], [], ["one-hot", "0: 1", "1: 2"]),
        # Sums of numbers that stand for no class would be taken for counts of pictures.
        ([[1, 1], [0, 1], [0, 0]], [], ["not one-hot"]),
        ([[1, 1], [0, 1], [0, 0]], ["x"], ["not one-hot"]),
        ([[0.5, 1], [0, 1], [0, 0]], ["x", "y"], ["not one-hot"]),
        ([[2, 1], [0, 1], [0, 0]], ["x", "y"], ["not one-hot"]),
    ],
)
def test_what_info_says_of_rows(folder, tmp_path, capsys, rows, names, shown):
    path = tmp_path / "ds"
    create_from_images(Output(str(path), resolution=16, shuffle=False), str(folder))
    np.save(path / "labels.npy", np.array(rows, np.float32))
    os.replace(path / "labels.npy", path / "ds-rxx.labels")
    manifest = json.loads((path / "ds.json").read_text())
    (path / "ds.json").write_text(json.dumps({**manifest, "label_names": names}))
    capsys.readouterr()
    inspect.info(str(path))
    first, *rest = capsys.readouterr().out.partition("labels:     size 2, ")[2].splitlines()
    assert [first, *(line.strip().removesuffix(" images") for line in rest[:-1])] == shown


# Which picture


def test_names_in_every_form(tmp_path):
    folder = pictures(tmp_path / "shop", "x/a.png", "x/B.JPG", "y/a.png", "00123.jpg", "9.png")
    os.rename(folder / "9.png", folder / (unicodedata.normalize("NFD", "grün") + ".png"))
    for name, picture in {
        "./x/a.png": "x/a.png",
        "x\\a.png": "x/a.png",
        "/x//a.png": "x/a.png",
        f"{folder}/x/a.png": "x/a.png",
        "C:\\me\\shop\\y\\a.png": "y/a.png",
        "/kaggle/input/shop/y/a.png": "y/a.png",
        "shop/x/a.png": "x/a.png",
        "X/A.PNG": "x/a.png",
        "b.jpg": "x/B.JPG",
        "b": "x/B.JPG",
        "00123": "00123.jpg",
        "y/a": "y/a.png",
        "grün.png": unicodedata.normalize("NFD", "grün") + ".png",
    }.items():
        found, source = listed(folder, text=f"file,label\n{name},k\n")
        assert found == {picture: "k"}, name
        assert source.facts["missing"] == 0
    for name, reason in (
        ("a.png", "could be several pictures"),
        ("123", "is not among"),
        ("a.jpg", "is not among"),
        ("../a.png", "is not among"),
    ):
        text = f"file,label\n{name},k\n00123.jpg,z\n"
        found, source = listed(folder, text=text)
        assert found == {"00123.jpg": "z"}, name
        assert source.skipped[0]["file"] == "l.csv:2" and reason in source.skipped[0]["reason"]


def test_rows_of_another_folder_name_no_pictures(tmp_path):
    """test/1.png is not train/1.png, though the folder given is train."""
    folder = pictures(tmp_path / "train", "1.png", "2.png")
    found, source = listed(folder, text="file,label\ntrain/1.png,x\ntest/1.png,y\ntrain/2.png,y\n")
    assert found == {"1.png": "x", "2.png": "y"} and source.facts["missing"] == 1


def test_zip_files_of_windows_and_macos(tmp_path):
    folder = pictures(tmp_path / "p", "0.png")
    content = (folder / "0.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as file:
        file.writestr(zipfile.ZipInfo("dress\\"), b"")
        for name in ("dress\\0.png", "shoe\\1.png", "shoe\\._1.png", "__MACOSX\\shoe\\1.png"):
            file.writestr(zipfile.ZipInfo(name), content)
        mac = zipfile.ZipInfo("shoe\\gr\u00fcn.png")
        mac.filename = "shoe\\gr\u00fcn.png".encode().decode("cp437")
        file.writestr(mac, content)
    data = (tmp_path / "w.zip").read_bytes()
    found, _ = listed(tmp_path / "w.zip", "folders")
    assert {"dress/0.png": "dress", "shoe/1.png": "shoe"}.items() <= found.items()
    assert len(found) == 3 and data


def test_missing_pictures_are_counted(folder, tmp_path, capsys):
    rows = "".join(f"gone{i}.png,x\n" for i in range(7))
    (folder / "l.csv").write_text("file,label\na.png,x\nb.png,x\nc.png,x\n" + rows)
    output = Output(str(tmp_path / "ds"), resolution=16)
    words = r"7 of 10 pictures that l\.csv names are missing: .*--allow-missing"
    with pytest.raises(UserError, match=words):
        create_from_images(output, str(folder), "l.csv")
    create_from_images(output, str(folder), "l.csv", LabelOptions(allow_missing=True))
    manifest = read_manifest(find_dataset(output.tfrecord_dir))
    assert (manifest["found"], manifest["images"], manifest["missing"]) == (10, 3, 7)
    entry = {"file": "l.csv:5", "reason": "gone0.png is not among the pictures"}
    assert entry in manifest["skipped"]
    assert "3 images of 16x16, 1 class, 7 files skipped" in capsys.readouterr().out


def test_numbers_as_texts_and_floats_are_in_order(folder):
    text = "file,label\na.png,10.0\nb.png,-1\nc.png,2.5\n"
    found, _ = listed(folder, text=text)
    items = ItemList(Item(name, label) for name, label in found.items())
    assert list(items.classes) == ["-1", "2.5", "10.0"]
    labels = ["x", "10.0", -9, "-10", "2.5", 7, "007"]
    assert sorted_classes(labels) == ["-10", -9, "2.5", 7, "10.0", "007", "x"]
    rows = [["a.png", 0.0], ["b.png", 1.0], ["c.png", 1]]
    found, _ = listed(folder, "d.json", json.dumps({"labels": rows}))
    assert found == {"a.png": 0, "b.png": 1, "c.png": 1}
    with pytest.raises(UserError, match="is no pair"):
        listed(folder, "d.json", json.dumps({"labels": [["a.png", 0.5]]}))


def test_names_as_addresses_write_them(tmp_path):
    names = "my hat (1).png", "50% off.png", "gr\u00fcn.png", "shoes/a.png", "hats/a.png"
    folder = pictures(tmp_path / "p", *names)
    rows = (
        "my%20hat%20%281%29.png,1\n50% off.png,2\ngr%C3%BCn.png,3\n"
        "https://cdn.shop/f/shoes/a.png?v=2&w=100,4\nHTTP://cdn.shop/hats%2Fa.png#x,5\n"
    )
    assert listed(folder, text="file,label\n" + rows)[0] == dict(
        zip(names, range(1, 6), strict=True)
    )


def test_captions_are_no_labels(folder):
    (folder / "metadata.csv").write_text("file_name,text\na.png,a red hat\nb.png,a hat\n")
    with pytest.raises(UserError, match=r"no column of labels is known.*--labels=none"):
        listed(folder, "auto")
    assert listed(folder, "metadata.csv", label_column="text")[0]["b.png"] == "a hat"


@pytest.mark.parametrize("mode", ["", ":multi"])
def test_titles_are_no_categories(folder, tmp_path, capsys, monkeypatch, mode):
    """A class for each picture would fill the disk with their labels."""
    names = [f"{i:03}.png" for i in range(120)]
    for name in names:
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    rows = "".join(f"{name},t{number}\n" for number, name in enumerate(names))
    (folder / "l.csv").write_text(f"file,label\n{rows}")
    if not mode:
        create_from_images(Output(str(tmp_path / "fine"), resolution=4), str(folder), "l.csv")
        note = "note: 120 pictures have 120 classes: is the column label the category? name another"
        assert note in capsys.readouterr().err
    for name, value in (("MAX_LABEL_BYTES", 4 * 120 * 120 - 1), ("MAX_LABEL_SIZE", 119)):
        with monkeypatch.context() as patch:
            patch.setattr(label_rows, name, value)
            with pytest.raises(UserError, match=r"120 classes.* name another with --label-column"):
                create_from_images(Output(str(tmp_path / "new")), str(folder), f"l.csv{mode}")
    assert not (tmp_path / "new").exists()


def test_lists_with_blanks(folder):
    text = "a.png 0\nb.png   1\nc.png 0 \n"
    assert listed(folder, "l.txt", text)[0] == {"a.png": 0, "b.png": 1, "c.png": 0}
    numbers = pictures(folder.parent / "n", "0.png", "1.png")
    assert listed(numbers, "l.txt", "0.png 1\n1.png 0\n")[0] == {"0.png": 1, "1.png": 0}


def test_annotations_of_coco_are_named(folder):
    text = json.dumps({"images": [{"file_name": "a.png"}], "annotations": [], "categories": []})
    with pytest.raises(UserError, match="COCO"):
        listed(folder, "instances.json", text)


def test_two_separators_in_a_cell(folder):
    text = "file,label\na.png,x|y;z\nb.png,y\nc.png,x\n"
    found, source = listed(folder, "l.csv:multi", text)
    assert source.classes == ["x", "y", "z"] and found["a.png"] == (1, 1, 1)


def test_parts_of_a_data_set_are_no_classes(tmp_path, capsys):
    names = [f"{part}/{kind}/{part}.png" for part in ("Train", "test") for kind in ("cat", "dog")]
    folder = pictures(tmp_path / "p", *names)
    found, _ = listed(folder, "folders")
    assert found == {name: name.split("/")[1] for name in names}
    assert "Train, test: taken as parts" in capsys.readouterr().out
    plain = pictures(tmp_path / "q", "train/a.png", "test/b.png")
    assert set(listed(plain, "folders")[0].values()) == {"train", "test"}
    other = pictures(tmp_path / "r", "train/cat/a.png", "bus/b.png")
    assert set(listed(other, "folders")[0].values()) == {"train", "bus"}
    (folder / "test" / "metadata.jsonl").write_text('{"file_name": "a.png", "label": 1}')
    assert set(listed(folder, "auto")[0].values()) == {None}
    assert "test/metadata.jsonl is not read" in capsys.readouterr().err


def zip_file(path, names, content=b"", extra=b""):
    """A zip file with names in bytes, not marked as UTF-8."""
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo(f"{number:x<{len(name)}}")
            info.extra = extra
            file.writestr(info, content)
    data = path.read_bytes()
    for number, name in enumerate(names):
        data = data.replace(f"{number:x<{len(name)}}".encode(), name)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp932", ["商品/帽子/帽子の写真.png", "商品/靴と鞄/靴の写真です.png"]),
        ("gb18030", ["商品/帽子/红色帽子照片.png", "商品/鞋子/黑色鞋子照片.png"]),
        ("cp949", ["상품/모자/빨간 모자 사진.png", "상품/가방/가방 사진입니다.png"]),
        ("cp437", ["fotos/Hüte/Hut 1.png", "fotos/Schürzen/grün.png"]),
        ("cp850", ["fotos/Calções/calção.png", "fotos/Blusões/À.png"]),
        ("cp1252", ["fotos/Hüte/Hut 1.png", "fotos/Mäntel/grün.png"]),
        ("cp866", ["фото/Шапки/шапка 1.png", "фото/Сумки/сумка 1.png"]),
        ("utf-8", ["fotos/Hüte/Hut 1.png", "fotos/帽子/2.png"]),
    ],
)
def test_names_in_zip_files_of_all_countries(tmp_path, folder, encoding, names, capsys):
    path = zip_file(
        tmp_path / "z.zip",
        [name.encode(encoding) for name in names],
        (folder / "a.png").read_bytes(),
    )
    found, _ = listed(path, "folders")
    assert found == {name.partition("/")[2]: name.split("/")[1] for name in names}
    said = f"names in it are read as {encoding}" in capsys.readouterr().err
    assert said == (encoding not in ("cp437", "utf-8"))


def test_names_of_zip_files_in_a_field_of_their_own(tmp_path, folder):
    name = "h?te/a?.png".replace("?", "\x81").encode("latin-1")
    unicode = "h\u00fcte/a\u0142.png"
    for crc, expected in ((zlib.crc32(name), unicode), (7, "h\u00fcte/a\u00fc.png")):
        field = struct.pack("<BI", 1, crc) + unicode.encode()
        extra = struct.pack("<HH", 0x7075, len(field)) + field
        names = [name, b"caps/other.png"]
        path = zip_file(tmp_path / "z.zip", names, (folder / "a.png").read_bytes(), extra)
        assert sorted(listed(path, "folders")[0]) == ["caps/other.png", expected]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["shop/photos/hat/1.png", "shop/photos/bag/2.png"], {"hat/1.png", "bag/2.png"}),
        (["photos/hat/1.png", "photos/hat/2.png"], {"hat/1.png", "hat/2.png"}),
        (["photos/1.png", "photos/2.png"], {"1.png", "2.png"}),
        (["1.png", "hat/2.png"], {"1.png", "hat/2.png"}),
    ],
)
def test_folders_that_hold_everything(tmp_path, folder, names, found):
    content = (folder / "a.png").read_bytes()
    path = zip_file(tmp_path / "z.zip", [name.encode() for name in names], content)
    assert set(listed(path, "none")[0]) == found
