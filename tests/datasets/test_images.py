"""create_from_images: folders and archives, and labels from where people keep them."""

import io
import json
import os
import shutil
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building import inspect
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.manifest import read_manifest
from training.datasets.sources import archives
from training.datasets.sources.images import create_from_images, images_source

NAMES = ["dress/1.png", "dress/2.png", "hat/1.png", "hat/deep/3.png", "shoe/4.jpg"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for i, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (40 * i, 0, 0)).save(folder / name)
    return folder


def labeled(source):
    return {item.name: item.label for item in source.items}


def make(tmp_path, photos, labels="auto", **options):
    output = Output(str(tmp_path / "foo"), resolution=16, shuffle=False, **options)
    create_from_images(output, str(photos), labels)
    dataset = find_dataset(output.tfrecord_dir)
    return dataset, read_labels(dataset), read_manifest(dataset)


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
    assert labeled(images_source(str(photos))) == dict(pairs)
    assert set(labeled(images_source(str(photos), "none")).values()) == {None}
    _, labels, manifest = make(tmp_path, photos)
    assert labels.shape == (4, 2) and manifest["label_ids"] == [0, 5]
    assert manifest["skipped"][0]["reason"] == "it is not in dataset.json, so has no label"
    for content in ({NAMES[0]: 3}, [[NAMES[0], 3]]):
        (photos / "dataset.json").write_text(json.dumps({"labels": content}))
        assert labeled(images_source(str(photos))) == {NAMES[0]: 3}
    named = {"labels": [[NAMES[0], 2]], "label_names": ["a", "b", "c"]}
    (photos / "dataset.json").write_text(json.dumps(named))
    _, labels, manifest = make(tmp_path / "named", photos)
    assert labels.tolist() == [[0, 0, 1]] and manifest["label_names"] == ["a", "b", "c"]
    (photos / "dataset.json").write_text(json.dumps({"labels": [[n, [0.5, 1]] for n in NAMES]}))
    assert labeled(images_source(str(photos)))[NAMES[2]] == (0.5, 1)


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
    assert labeled(images_source(str(photos), str(table))) == {NAMES[0]: 10, NAMES[1]: 2}
    shutil.copy(table, photos / "mine.csv")
    _, labels, manifest = make(tmp_path, photos, "mine.csv")
    assert manifest["label_names"] == ["2", "10"] and labels.argmax(1).tolist() == [1, 0]


def test_labels_that_cannot_be_used(tmp_path, photos):
    for content, reason in [
        (None, r"no\.json: No such file.*none, folders, or"),
        (b"{", "not readable"),
        (b'{"labels": 3}', r'expected \{"labels"'),
        (b'{"labels": [["a.png"]]}', "is no pair"),
        (b'{"labels": [["a.png", true]]}', "is no pair"),
        (b'{"labels": [["a.png", [1, 2]], ["b.png", [1]]]}', "is no pair"),
        (b'{"labels": [["a.png", null]]}', "is no pair"),
        (b'{"labels": [["a.png", " "]]}', "is no pair"),
        (b'{"labels": [["a.png", NaN]]}', "is no pair"),
        (b'{"labels": [["a.png", []]]}', "is no pair"),
        (b'{"labels": [["a.png", [0.5, NaN]]]}', "is no pair"),
        (b'{"labels": [["a.png", [-Infinity]]]}', "is no pair"),
        (b'{"labels": [["a.png", [1e39]]]}', "is no pair"),
        (b'{"labels": [["a.png", [true, 1]]]}', "is no pair"),
        (b'{"labels": [["a.png", 2]], "label_names": ["x", "y"]}', "label_names must be"),
        (b'{"labels": [["a.png", "x"]], "label_names": ["x", "y"]}', "label_names must be"),
        (b"file,label\n", "hold no labels"),
        (b"", r"labels\.json is empty"),
        (b"PK\x03\x04", r"labels\.json is a zip file: unpack it"),
    ]:
        path = tmp_path / ("labels.json" if content is not None else "no.json")
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            images_source(str(photos), str(path))
    (tmp_path / "other.csv").write_text("file,label\nz.png,3\n")
    words = r"other\.csv names 'z\.png', .*photos holds 'dress/1\.png'"
    with pytest.raises(UserError, match=words):
        make(tmp_path, photos, str(tmp_path / "other.csv"))


def test_pictures_whose_label_is_empty_are_skipped(tmp_path, photos):
    rows = [f"{NAMES[0]},red", f"{NAMES[1]},", f"{NAMES[2]}", f'{NAMES[3]}," "', ",blue"]
    (photos / "labels.csv").write_text("\n".join(["file,label", *rows]))
    source = images_source(str(photos), "labels.csv")
    assert labeled(source) == {NAMES[0]: "red"}
    reasons = {entry["file"]: entry["reason"] for entry in source.skipped}
    empty = "its label in labels.csv is empty, so has no label"
    assert reasons == {
        "labels.csv:6": "no file name",
        NAMES[1]: empty,
        NAMES[2]: empty,
        NAMES[3]: empty,
        NAMES[4]: "it is not in labels.csv, so has no label",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("names", ["Bild;File_Name;Label\n", ""])
def test_tables_of_spreadsheet_programs(tmp_path, photos, encoding, names):
    (photos / "dress/1.png").rename(photos / "dress/Kleid_grün.png")
    row = "x;dress\\Kleid_grün.png;Kleid für 5 €" if names else "dress/Kleid_grün.png;Kleid für 5 €"
    (tmp_path / "table.csv").write_text(names + row + "\n", encoding=encoding)
    found = labeled(images_source(str(photos), str(tmp_path / "table.csv")))
    assert found == {"dress/Kleid_grün.png": "Kleid für 5 €"}


def test_memory_does_not_grow_with_the_rows_of_a_table(tmp_path, photos):
    path = tmp_path / "labels.csv"
    with open(path, "w") as file:
        file.write("file,label,title\n")
        file.writelines(f"dress/{i}.png,{i % 7},{'text' * 75}\n" for i in range(30_000))
    assert os.path.getsize(path) > 9_000_000
    tracemalloc.start()
    assert len(labeled(images_source(str(photos), str(path)))) == 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # for a part that is decoded, of a mebibyte


def test_files_of_labels_that_cannot_be_read(tmp_path, photos):
    unreadable = "/proc/self/mem"  # even for root, whom no permissions hold up
    with pytest.raises(UserError, match=rf"cannot read the table {unreadable}: Input/output error"):
        images_source(str(photos), unreadable)
    os.symlink(unreadable, photos / "dataset.json")
    with pytest.raises(UserError, match=r"cannot read the table dataset\.json: Input/output"):
        images_source(str(photos))
    with pytest.raises(UserError, match=rf"--labels={photos}: Is a directory"):
        images_source(str(photos), str(photos))


def test_links_that_lead_to_themselves_are_skipped(photos):
    os.symlink("loop", photos / "dress/loop")
    source = images_source(str(photos))
    assert set(labeled(source)) == set(NAMES)
    assert source.skipped == [{"file": "dress/loop", "reason": "Too many levels of symbolic links"}]


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
    assert set(labeled(images_source(archive))) == {*NAMES, "cut.png", "no-suffix"}
    assert "dataset.json" not in set(labeled(images_source(archive)))

    archive = archive_of(photos, tmp_path / f"labeled-{name}")
    create_from_images(Output(str(tmp_path / "foo"), resolution=16), str(photos))
    create_from_images(Output(str(tmp_path / "bar"), resolution=16), archive)
    assert inspect.compare(str(tmp_path / "foo"), str(tmp_path / "bar"))


def test_an_outer_folder_of_an_archive_is_no_class(tmp_path, photos):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in NAMES:
            file.write(photos / name, f"photos/{name}")
        file.writestr("photos/dataset.json", json.dumps({"labels": [[NAMES[1], 7]]}))
        file.writestr("__MACOSX/photos/._1.png", b"x")
    folders = labeled(images_source(str(tmp_path / "a.zip"), "folders"))
    assert folders == {name: name.split("/")[0] for name in NAMES}
    assert labeled(images_source(str(tmp_path / "a.zip"))) == {NAMES[1]: 7}


def test_archives_that_cannot_be_used(tmp_path, photos, monkeypatch):
    whole = archive_of(photos, tmp_path / "a.zip")
    gz = archive_of(photos, tmp_path / "a.tar.gz")
    for path, size in ((whole, 200), (gz, 150)):
        content = open(path, "rb").read()
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(UserError, match=r"zip file .*cut is broken.*copy it|archive .*cut is"):
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


def test_entries_of_the_same_name(tmp_path, photos):
    """The size of one must not stand for the content of the other."""
    first, second = ((photos / name).read_bytes() for name in NAMES[:2])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.png", first)
        file.writestr("b.png", second)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.png", second + bytes(1000))
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for name, path in (("a.png", NAMES[0]), ("b.png", NAMES[1]), ("./a.png", NAMES[1])):
            file.add(photos / path, name)
    for name in ("a.zip", "a.tar"):
        source = images_source(str(tmp_path / name))
        assert [source.read(item) for item in source.items] == [first, second]
        reason = "a second entry of the same name"
        assert source.skipped == [{"file": "a.png", "reason": reason}]


def test_hard_links_in_tar_files(tmp_path, photos):
    os.link(photos / NAMES[0], photos / "zz.png")  # tar stores it as a link to the first
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        file.add(photos, "photos")
        lost = tarfile.TarInfo("photos/lost.png")
        lost.type, lost.linkname = tarfile.LNKTYPE, "photos/gone.png"
        file.addfile(lost)
    source = images_source(str(path))
    contents = {item.name: source.read(item) for item in source.items}
    assert set(contents) == {*NAMES, "zz.png"}
    assert contents["zz.png"] == contents[NAMES[0]] == (photos / NAMES[0]).read_bytes()
    reason = "a hard link to photos/gone.png, which is not found in the archive"
    assert source.skipped == [{"file": "photos/lost.png", "reason": reason}]


def test_links_and_gaps_in_tar_files(tmp_path, photos):
    """As `tar -P ../photos` stores them."""
    path = tmp_path / "a.tar"
    links = {
        "near.png": "../" + NAMES[0],
        "chain.png": "near.png",
        "folder": "..",
        "round.png": "round.png",
        "out.png": "../../../x.png",
        "text.png": "/etc/passwd",
    }
    with tarfile.open(path, "w") as file:
        file.add(photos, "../photos")
        for name, to in links.items():
            link = tarfile.TarInfo(f"../photos/links/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, to
            file.addfile(link)
        pipe = tarfile.TarInfo("../photos/pipe.png")
        pipe.type = tarfile.FIFOTYPE
        file.addfile(pipe)
        gaps = tarfile.TarInfo("../photos/gaps.bmp")
        gaps.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}
        gaps.size = 1
        file.addfile(gaps, io.BytesIO(b"x"))
    source = images_source(str(path))
    contents = {item.name: source.read(item) for item in source.items}
    assert set(contents) == {*NAMES, "links/near.png", "links/chain.png"}
    assert contents["links/near.png"] == contents["links/chain.png"] == contents[NAMES[0]]
    reasons = {entry["file"]: entry["reason"] for entry in source.skipped}
    assert set(reasons) == {
        *(f"photos/links/{name}.png" for name in ("round", "out", "text")),
        *("photos/pipe.png", "photos/gaps.bmp"),
    }
    assert "which is not found in the archive" in reasons["photos/links/out.png"]
    assert "tar --sparse" in reasons["photos/gaps.bmp"]


def test_an_archive_cannot_reach_out(tmp_path, photos):
    """Names that lead out of it are names: nothing is unpacked."""
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as file:
        file.add(photos / NAMES[0], "../../a.png")
        file.add(photos / NAMES[0], "/sub/../../b.png")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    before = sorted(os.listdir(tmp_path))
    source = images_source(str(path))
    assert [item.name for item in source.items] == ["a.png", "b.png"]
    reason = "a link to /etc/passwd, which is not found in the archive"
    assert source.skipped == [{"file": "link.png", "reason": reason}]
    assert sorted(os.listdir(tmp_path)) == before
