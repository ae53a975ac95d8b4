"""What lies among pictures and is none is named; other datasets are told by their files."""

import io
import json
import os
import shutil
import zipfile

import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.format.passed_over import other_dataset, paths_below
from training.datasets.photos.decode import Unreadable, open_image
from training.datasets.sources.images import images_source


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


MISSED = {
    "more.zip": (b"PK\5\6" + bytes(18), "unpack it first"),
    "old.rar": (b"Rar!\x1a\7\1\0", "unrar"),
    "film.mp4": (b"\0\0\0\x20ftypisom\0\0\2\0", "ffmpeg"),
    "logo.ai": (b"%PDF-1.5\n", "Illustrator"),
    "train-00000.parquet": (b"PAR1\x15\4\0\0PAR1", "Parquet"),
    "x.npz": (b"PK\3\4" + bytes(26) + b"a.npyPK", "NumPy"),
    "cut.mov": (b"\1" * 99, "a video by its name"),
    "a.jpg.crdownload": (b"\xff\xd8\xff\xe0", "unfinished download"),
    "b.lnk": (b"L\0\0\0\1\x14\2\0", "shortcut"),
    "lost.7z": (b"", "7-Zip archive by its name, but an empty file"),
}
UNREAD = {
    "a.jxl": (b"\xff\n" + bytes(99), "JPEG XL"),
    "b.raf": (b"FUJIFILMCCD-RAW" + bytes(99), "Fujifilm"),
    "c.dng": (bytes(300), "nothing but zero bytes"),
    "d.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "e.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "HEIC"),
}


def test_files_that_are_no_pictures_are_named_where_they_may_be_missed(tmp_path):
    for name, (content, _) in (MISSED | UNREAD).items():
        (tmp_path / name).write_bytes(content)
    for name in ("readme.txt", "table.csv", "labels.json", "net.pkl", "script.py"):
        (tmp_path / name).write_text("file,label\n")
    photo(tmp_path / "in/0.png")
    (tmp_path / "in/.1.jpg.icloud").write_bytes(b"bplist00\xd1")
    (tmp_path / ".hidden").write_bytes(b"PK\5\6" + bytes(18))
    source = images_source(str(tmp_path))
    reasons = {entry["file"]: entry["reason"] for entry in source.skipped}
    assert sorted(reasons) == sorted([*MISSED, "in/.1.jpg.icloud"])
    assert all(words in reasons[name] for name, (_, words) in MISSED.items())
    assert "Finder" in reasons["in/.1.jpg.icloud"]
    assert [item.name for item in source.items] == [*sorted(UNREAD), "in/0.png"]
    for name, (_, words) in UNREAD.items():
        with pytest.raises(Unreadable, match=words), open_image(str(tmp_path / name)):
            pass


def test_pipes_among_pictures_are_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.xyz")
    source = images_source(str(tmp_path))
    assert [entry["file"] for entry in source.skipped] == ["b.xyz"]
    assert "pipe" in source.skipped[0]["reason"]


def test_entries_of_archives_are_named_too(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    names = {"a/0.png": file.getvalue(), "a/b.zip": b"x", "a/film.MOV": b"x", "a/c.csv": b"x"}
    zipped(tmp_path / "p.zip", names)
    source = images_source(str(tmp_path / "p.zip"))
    assert [entry["file"] for entry in source.skipped] == ["b.zip", "film.MOV"]


def test_the_sheet_of_a_dataset_among_photos_is_no_photo(tmp_path, capsys):
    (tmp_path / "in/ds").mkdir(parents=True)
    names = ["a.png", "my-contact-sheet.png", "ds/ds-contact-sheet.png"]
    for name in names:
        photo(tmp_path / "in" / name)
    (tmp_path / "in/ds/ds-r03-00000-of-00002.tfrecords").write_bytes(b"x" * 99)
    shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "in")
    for where in ("in", "all.zip"):
        source = images_source(str(tmp_path / where))
        assert [item.name for item in source.items] == names[:2]
        reasons = {entry["file"]: entry["reason"] for entry in source.skipped}
        assert "the contact sheet of a dataset" in reasons[names[2]]
        err = capsys.readouterr().err
        assert "give its folder to run_training.py" in err and "another kind" not in err


def test_the_preview_in_a_raw_photo_is_no_picture(tmp_path):
    """Pillow reads it like any TIFF, of 160x120 pixels."""
    preview = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(preview, "TIFF", tiffinfo={50706: bytes([1, 4, 0, 0])})
    for name in ("a.dng", "renamed.tif"):
        (tmp_path / name).write_bytes(preview.getvalue())
        with pytest.raises(Unreadable, match="RAW"), open_image(str(tmp_path / name)):
            pass
    with pytest.raises(Unreadable, match="RAW"), open_image(preview.getvalue()):
        pass


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["shirts-r02.tfrecords", "shirts-r03.tfrecords"], "run_training.py"),
        (["train.tfrecord-00000-of-00010"], "TFRecords of another kind"),
        (["data.mdb", "lock.mdb"], "create_lsun"),
        (["train/data-00000-of-00001.arrow", "train/state.json"], "load_from_disk"),
        (["data/train-00000-of-00002.parquet"], "load_dataset"),
        (["00000.tar", "00001.tar"], "WebDataset"),
        (["train-images-idx3-ubyte.gz"], "create_mnist"),
        (["cifar-10-batches-py/data_batch_1"], "create_cifar10"),
        (["test_32x32.mat"], "create_svhn"),
    ],
)
def test_folders_without_pictures_are_named(tmp_path, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\1" * 50)
    with pytest.raises(UserError, match="no image files in ") as caught:
        images_source(str(tmp_path))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    zipped(tmp_path / "all.zip", {f"top/{name}": b"x" for name in names})
    with pytest.raises(UserError, match=words.replace(".", r"\.")):
        images_source(str(tmp_path / "all.zip"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["annotations/instances_train2017.json", "train2017/1.jpg"], "COCO"),
        (["data.yaml", "train/images/1.jpg", "train/labels/1.txt"], "YOLO"),
        (["Annotations/1.xml", "JPEGImages/1.jpg"], "Pascal VOC"),
        (["Ebay_info.txt", "lamp_final/1.JPG"], "create_from_ebay"),
        (["Eval/list_eval_partition.txt", "img/1.jpg"], "create_from_deepfashion"),
    ],
)
def test_labels_of_other_data_sets_are_not_passed_over_silently(tmp_path, capsys, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert len(list(images_source(str(tmp_path)).items)) == 1
    err = capsys.readouterr().err
    assert words in err and "its labels are not read" in err and err.count("\n") == 1
    images_source(str(tmp_path), labels="none")
    assert capsys.readouterr().err == ""
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [[names[1], 0]]}))
    images_source(str(tmp_path))
    assert capsys.readouterr().err == ""


def test_marks_are_looked_for_in_a_bounded_number_of_folders(tmp_path):
    for i in range(300):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}/a.txt").touch()
    os.symlink("..", tmp_path / "0/loop")
    assert 100 < len(list(paths_below(str(tmp_path)))) <= 300
    assert list(paths_below(str(tmp_path / "absent"))) == []
    assert other_dataset(["a.jpg", "notes.txt", "train/labels.csv"]) is None


def test_what_is_no_folder_or_archive_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "t.csv").write_text("file,label\n")
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c\0\4")
    for name, words in (("pipe", "a pipe"), ("t.csv", "but text"), ("a.7z", "7z x")):
        with pytest.raises(UserError, match=words):
            images_source(str(tmp_path / name))
