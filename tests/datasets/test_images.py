"""create_from_images: folders and archives, and labels from where people keep them."""

import json
import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets import archives, inspect, records
from training.datasets.build import Output
from training.datasets.images import create_from_images, images_source

NAMES = ["dress/1.png", "dress/2.png", "hat/1.png", "hat/deep/3.png", "shoe/4.jpg"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for i, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (40 * i, 0, 0)).save(folder / name)
    return folder


def labelled(source):
    return {item.name: item.label for item in source.items}


def make(tmp_path, photos, labels="auto", **options):
    output = Output(str(tmp_path / "foo"), resolution=16, shuffle=False, **options)
    create_from_images(output, str(photos), labels)
    dataset = records.find_dataset(output.tfrecord_dir)
    return dataset, records.read_labels(dataset), records.read_manifest(dataset)


def test_names_of_folders(tmp_path, photos):
    Image.new("RGB", (9, 9)).save(photos / "lost.png")
    _, labels, manifest = make(tmp_path, photos, "folders")
    np.testing.assert_array_equal(labels, np.eye(3)[[0, 0, 1, 1, 2]])
    assert manifest["label_names"] == ["dress", "hat", "shoe"] and manifest["labels"] == "folders"
    assert manifest["skipped"] == [
        {"file": "lost.png", "reason": "it is not in a sub-folder, so has no label"}
    ]


def test_dataset_json_is_found_and_can_be_left_out(tmp_path, photos):
    pairs = [[name, i % 2 * 5] for i, name in enumerate(NAMES[:4])]
    (photos / "dataset.json").write_text(json.dumps({"labels": pairs}))
    assert labelled(images_source(str(photos))) == dict(pairs)
    assert set(labelled(images_source(str(photos), "none")).values()) == {None}
    _, labels, manifest = make(tmp_path, photos)
    assert labels.shape == (4, 2) and manifest["label_ids"] == [0, 5]
    assert manifest["skipped"][0]["reason"] == "it is not in dataset.json, so has no label"
    for content in ({NAMES[0]: 3}, [[NAMES[0], 3]]):
        (photos / "dataset.json").write_text(json.dumps({"labels": content}))
        assert labelled(images_source(str(photos))) == {NAMES[0]: 3}
    named = {"labels": [[NAMES[0], 2]], "label_names": ["a", "b", "c"]}
    (photos / "dataset.json").write_text(json.dumps(named))
    _, labels, manifest = make(tmp_path / "named", photos)
    assert labels.tolist() == [[0, 0, 1]] and manifest["label_names"] == ["a", "b", "c"]
    (photos / "dataset.json").write_text(json.dumps({"labels": [[n, [0.5, 1]] for n in NAMES]}))
    assert labelled(images_source(str(photos)))[NAMES[2]] == (0.5, 1)


@pytest.mark.parametrize(
    "text",
    [
        "file,label\n{0},10\n{1},2\n",
        "\ufeffid;Category;Image\n7;10;{0}\n8;2;{1}\n",
        "{0},10\r\n{1},2\r\n\r\n",
        '"{0}"\t"10"\n"{1}"\t2\n',
    ],
)
def test_tables(tmp_path, photos, text):
    table = tmp_path / "table.csv"
    table.write_text(text.format(*NAMES), encoding="utf-8")
    assert labelled(images_source(str(photos), str(table))) == {NAMES[0]: 10, NAMES[1]: 2}
    shutil.copy(table, photos / "mine.csv")
    _, labels, manifest = make(tmp_path, photos, "mine.csv")
    assert manifest["label_names"] == ["2", "10"] and labels.argmax(1).tolist() == [1, 0]


def test_labels_that_cannot_be_used(tmp_path, photos):
    for content, reason in [
        (None, r"no\.json: No such file.*none, folders, or"),
        (b"\xff\xfe", "not readable"),
        (b"{", "not readable"),
        (b'{"labels": null}', r'expected \{"labels"'),
        (b'{"labels": [["a.png"]]}', "is no pair"),
        (b'{"labels": [["a.png", true]]}', "is no pair"),
        (b'{"labels": [["a.png", [1, 2]], ["b.png", [1]]]}', "is no pair"),
        (b'{"labels": [["a.png", null]]}', "is no pair"),
        (b'{"labels": [["a.png", 2]], "label_names": ["x", "y"]}', "label_names must be"),
        (b'{"labels": [["a.png", "x"]], "label_names": ["x", "y"]}', "label_names must be"),
        (b"file,label\na.png\n", "row 2 has 1 columns"),
        (b"file,label\n", "hold no labels"),
        (b"", "hold no labels"),
    ]:
        path = tmp_path / ("labels.json" if content is not None else "no.json")
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            images_source(str(photos), str(path))
    (tmp_path / "other.csv").write_text("file,label\nz.png,3\n")
    with pytest.raises(UserError, match=r"no pictures to convert: cannot read .*other\.csv"):
        make(tmp_path, photos, str(tmp_path / "other.csv"))


def archive_of(folder, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for root, _, names in os.walk(folder):
                for name in names:
                    full = os.path.join(root, name)
                    file.write(full, os.path.relpath(full, folder))
    else:
        mode = {".tar": "w", ".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[path.suffix]
        with tarfile.open(path, mode) as file:
            file.add(folder, ".")
    return str(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_archives_are_read_as_folders_are(tmp_path, photos, name):
    (photos / "__MACOSX").mkdir()
    (photos / "__MACOSX/._1.png").write_bytes(b"x")
    (photos / ".hidden.png").write_bytes(b"x")
    (photos / "notes.txt").write_bytes(b"x")
    shutil.copy(photos / NAMES[0], photos / "no-suffix")
    cut = (photos / NAMES[1]).read_bytes()[:-40]
    (photos / "cut.png").write_bytes(cut)
    archive = archive_of(photos, tmp_path / name)
    shutil.rmtree(photos / "__MACOSX")
    (photos / "dataset.json").write_text(json.dumps({"labels": [[n, 1] for n in NAMES]}))
    assert set(labelled(images_source(archive))) == {*NAMES, "cut.png", "no-suffix"}
    assert "dataset.json" not in set(labelled(images_source(archive)))

    archive = archive_of(photos, tmp_path / f"labelled-{name}")
    create_from_images(Output(str(tmp_path / "foo"), resolution=16), str(photos))
    create_from_images(Output(str(tmp_path / "bar"), resolution=16), archive)
    assert inspect.compare(str(tmp_path / "foo"), str(tmp_path / "bar"))


def test_an_outer_folder_of_an_archive_is_no_class(tmp_path, photos):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in NAMES:
            file.write(photos / name, f"photos/{name}")
        file.writestr("photos/dataset.json", json.dumps({"labels": [[NAMES[1], 7]]}))
        file.writestr("__MACOSX/photos/._1.png", b"x")
    folders = labelled(images_source(str(tmp_path / "a.zip"), "folders"))
    assert folders == {name: name.split("/")[0] for name in NAMES}
    assert labelled(images_source(str(tmp_path / "a.zip"))) == {NAMES[1]: 7}


def test_archives_that_cannot_be_used(tmp_path, photos, monkeypatch):
    whole = archive_of(photos, tmp_path / "a.zip")
    gz = archive_of(photos, tmp_path / "a.tar.gz")
    for path, size in ((whole, 200), (gz, 150)):
        content = open(path, "rb").read()
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(UserError, match=r"cut is (neither a folder|.*broken)|archive .*cut"):
            images_source(str(tmp_path / "cut"))
    # An entry that is damaged, one that promises too much, and one with a password.
    data = bytearray(open(whole, "rb").read())
    data[data.index(b"\x89PNG") + 10 if b"\x89PNG" in data else 60] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(data)
    _, _, manifest = make(tmp_path, tmp_path / "damaged.zip")
    assert len(manifest["skipped"]) == 1 and "broken" in manifest["skipped"][0]["reason"]
    monkeypatch.setattr(archives, "MAX_ENTRY_BYTES", 60)
    with pytest.raises(UserError, match=r"no picture is readable.*bytes when unpacked"):
        create_from_images(Output(str(tmp_path / "bomb"), resolution=16), whole)


def test_an_archive_cannot_reach_out(tmp_path, photos):
    """Names that lead out of it are names: nothing is unpacked."""
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as file:
        file.add(photos / NAMES[0], "../../evil.png")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match="no image files"):
        images_source(str(path))
    assert sorted(os.listdir(tmp_path)) == before
