"""dataset_tool.py from the command line, with good and bad input."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building.build import Output
from training.datasets.building.inspect import read_images
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.manifest import read_manifest
from training.datasets.photos import fitting
from training.datasets.sources import demo_dataset, images

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, str(ROOT / "dataset_tool.py")]
PHOTOS = ROOT.parent / "shared/data/clothing-small"


def process(*args, **options):
    """Runs the tool as a user does; returns exit code, stdout, stderr."""
    done = subprocess.run(
        [*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=120, **options
    )
    return done.returncode, done.stdout, done.stderr


def make_photos(folder, count, size=(8, 8)):
    """Pictures in two folders whose colour is their number in sorted order."""
    for i in range(count):
        path = folder / f"{'ab'[2 * i // count]}/{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i, i, i)).save(path)
    return folder


def colours(dataset):
    return [int(image[0, 0, 0]) for image in read_images(find_dataset(str(dataset)))]


def assert_one_line(result, *words):
    code, out, err = result
    assert code == 2 and out == "" and err.count("\n") == 1, result
    assert "dataset_tool.py" in err and ": error: " in err and "Traceback" not in err
    for word in words:
        assert word in err, err


def test_wrong_arguments_are_one_line_each(tmp_path):
    photos = make_photos(tmp_path / "photos", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", ".hidden.jpg", "a.json", "jpg", ".DS_Store"):
        (tmp_path / "texts" / name).write_bytes(b"x")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/a.txt").write_bytes(b"x")
    before = sorted(os.listdir(tmp_path))
    create = "create_from_images"
    for args, words in [
        ([], ["COMMAND"]),
        (["create_everything"], ["create_everything", "create_demo"]),
        ([create, "new"], ["IMAGE_DIR"]),
        ([create, "new", "absent"], ["absent", "No such file"]),
        ([create, "new", "taken/a.txt"], ["taken/a.txt is neither a folder nor a zip"]),
        ([create, "new", "empty"], ["no image files in empty"]),
        ([create, "new", "texts"], ["no image files in texts"]),
        ([create, "taken", photos], ["taken exists already"]),
        ([create, "taken/a.txt/new", photos], ["cannot write in"]),
        ([create, "new", photos, "--resolution=100"], ["--resolution", "100", "power of two"]),
        ([create, "new", photos, "--resolution=x"], ["--resolution", "'x'"]),
        ([create, "new", photos, "--resolution=2"], ["--resolution", "power of two"]),
        ([create, "new", photos, "--transform=squeeze"], ["--transform", "pad-white"]),
        ([create, "new", photos, "--transform=pad-color=#f4f4f"], ["--transform", "like #f4f4f4"]),
        ([create, "new", photos, "--shuffle=maybe"], ["--shuffle", "maybe"]),
        (["create_demo", "new", "--images=0"], ["--images", "at least 1"]),
        (["create_demo", "new", "--resolution=33"], ["resolution", "33"]),
        (["info", "absent"], ["absent", "No such file"]),
        (["info", "empty"], ["empty is no dataset", "create_from_images"]),
        (["compare", "empty", "taken"], ["empty is no dataset"]),
        (["extract", "taken", "new"], ["taken is no dataset"]),
        (["display", "taken"], ["taken is no dataset"]),
    ]:
        assert_one_line(process(*args, cwd=tmp_path), *words)
    assert sorted(os.listdir(tmp_path)) == before


def test_help_of_every_command_has_an_example():
    assert "example: dataset_tool.py create_from_images" in process("--help")[1]
    for name in ("create_from_images", "create_demo", "display", "extract", "compare", "info"):
        code, out, err = process(name, "--help")
        assert (code, err) == (0, "") and f"example: dataset_tool.py {name} " in out
    for transform in fitting.TRANSFORMS:
        assert transform in process("create_from_images", "--help")[1]


def test_a_hostile_folder_end_to_end(tmp_path):
    photos = make_photos(tmp_path / "photos", 4, (20, 14))
    Image.new("RGB", (5, 9)).save(photos / "UPPER.JPG")
    Image.new("RGB", (5, 9)).save(photos / "new\nline 👗.jpg")
    Image.new("RGB", (5, 9)).save(os.fsencode(photos / "bad-byte-") + b"\xff.jpg", "jpeg")
    whole = (photos / "UPPER.JPG").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "page\n.jpg").write_bytes(b"<html>404</html>")
    (photos / "notes.txt").write_bytes(b"not a candidate")
    (photos / ".hidden").mkdir()
    (photos / ".hidden/a.jpg").write_bytes(whole)
    os.symlink("nowhere", photos / "broken.png")
    os.symlink("..", photos / "a/loop")
    os.mkfifo(photos / "pipe.jpg")

    code, out, err = process(
        "create_from_images", "ds/foo", photos, "--resolution=16", cwd=tmp_path
    )
    assert code == 0 and out == "ds/foo: 7 images of 16x16, 5 files skipped\n"
    names = ["broken.png", "cut.jpg", "empty.jpg", "page\\n.jpg", "pipe.jpg"]
    assert [line.split(": ")[0] for line in err.splitlines()] == [f"skipped {n}" for n in names]
    assert os.listdir(tmp_path / "ds") == ["foo"]
    assert sorted(os.listdir(tmp_path / "ds/foo")) == [
        "foo-contact-sheet.png",
        "foo-r02.tfrecords",
        "foo-r03.tfrecords",
        "foo-r04.tfrecords",
        "foo.json",
    ]
    manifest = read_manifest(find_dataset(str(tmp_path / "ds/foo")))
    assert (manifest["found"], manifest["images"], manifest["resolution"]) == (12, 7, 16)
    assert (manifest["transform"], manifest["filter"]) == ("center-crop", "lanczos")
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert reasons["empty.jpg"] == "the file is empty" and reasons["broken.png"] == "broken link"
    assert len(reasons) == 5 and "truncated" in reasons["cut.jpg"].lower()

    (tmp_path / "wrecks").mkdir()
    os.rename(photos / "cut.jpg", tmp_path / "wrecks/cut.jpg")
    result = process("create_from_images", "new", "wrecks", "--resolution=16", cwd=tmp_path)
    assert_one_line(result, "no picture is readable", "cut.jpg")
    assert sorted(os.listdir(tmp_path)) == ["ds", "photos", "wrecks"]


def test_stdout_that_cannot_be_written(tmp_path):
    """Fails what only prints, and no work."""
    make_photos(tmp_path / "photos", 2)
    for command, redirect, code in (
        ("create_from_images ds photos", ">&-", 0),
        ("info ds", ">/dev/full", 2),
        ("info ds", ">&-", 2),
        ("info ds", "2>&-", 0),
        ("create_demo --help", ">/dev/full", 2),
    ):
        words = f'"$@" {command} {redirect}'
        done = subprocess.run(
            ["bash", "-c", words, "-", *COMMAND], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == code, (words, done.stderr)
        assert ("error: cannot print: " in done.stderr) == (code == 2)
        assert ("check:      passed" in done.stdout) == (redirect == "2>&-")
    assert (tmp_path / "ds/ds.json").exists()


def test_order_is_the_official_one_or_sorted(tmp_path, tool):
    photos = make_photos(tmp_path / "photos", 20)
    for option, expected in [
        ([], np.random.RandomState(123).permutation(20).tolist()),
        (["--shuffle=0"], list(range(20))),
    ]:
        assert tool("create_from_images", tmp_path / "foo", photos, *option)[0] == 0
        assert colours(tmp_path / "foo") == expected
        for file in (tmp_path / "foo").iterdir():
            file.unlink()  # an empty folder may be built over


def test_strict_stops_at_the_first_unreadable_file(tmp_path, tool):
    photos = make_photos(tmp_path / "photos", 4)
    (photos / "b/000.jpg").write_bytes(b"text")
    assert_one_line(tool("create_from_images", tmp_path / "foo", photos, "--strict"), "b/000.jpg")
    assert os.listdir(tmp_path) == ["photos"]
    assert tool("create_from_images", tmp_path / "foo", photos)[0] == 0


def test_without_resolution_all_sizes_must_agree(tmp_path, tool):
    photos = make_photos(tmp_path / "photos", 3, (16, 16))
    for size, words in [((8, 8), ["16x16", "8x8"]), ((16, 8), ["16x8"]), ((12, 12), ["12x12"])]:
        Image.new("RGB", size).save(photos / "other.png")
        result = tool("create_from_images", tmp_path / "foo", photos)
        assert_one_line(result, "other.png", "--resolution", *words)
    assert os.listdir(tmp_path) == ["photos"]
    (photos / "other.png").unlink()
    code, out, _ = tool("create_from_images", tmp_path / "foo", photos)
    assert code == 0 and "3 images of 16x16" in out


def test_result_does_not_depend_on_the_number_of_threads(tmp_path):
    photos = make_photos(tmp_path / "photos", 40, (30, 20))
    files = {}
    for workers in (1, 5):
        common = {"resolution": 16, "workers": workers}
        images.create_from_images(Output(str(tmp_path / f"{workers}/foo"), **common), str(photos))
        demo_dataset.create_demo(Output(str(tmp_path / f"{workers}/demo"), **common), 40, 7)
        paths = sorted((tmp_path / str(workers)).glob("*/*"))
        files[workers] = [(path.name, path.read_bytes()) for path in paths]
    assert files[1] == files[5] and len(files[1]) == 5 + 6


def test_extract_compare_info_and_display(tmp_path, tool, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert tool("create_demo", "demo", "--images=12", "--resolution=16", "--seed=3")[0] == 0
    code, out, err = tool("info", "demo")
    assert (code, err) == (0, "")
    for line in ("resolution: 16x16", "channels:   3", "images:     12", "size 6, one-hot"):
        assert line in out
    assert "0 t-shirt: 2 images" in out and "passed, all 36 records read" in out

    assert tool("extract", "demo", "png")[0] == 0
    names = [f"img{i:08}.png" for i in range(12)]
    assert sorted(os.listdir("png")) == ["dataset.json", *names]
    labels = read_labels(find_dataset("demo"))
    with open("png/dataset.json") as file:
        pairs = json.load(file)["labels"]
    assert pairs == [[n, int(k)] for n, k in zip(names, labels.argmax(1), strict=True)]
    assert json.loads(Path("png/dataset.json").read_text())["label_names"][0] == "t-shirt"
    assert_one_line(tool("extract", "demo", "png"), "png exists already")

    assert tool("create_from_images", "kept", "png", "--shuffle=0")[0] == 0
    assert tool("compare", "demo", "kept")[0] == 0
    assert "0 t-shirt: 2 images" in tool("info", "kept")[1]
    assert tool("create_from_images", "again", "png", "--shuffle=0", "--labels=none")[0] == 0
    code, out, _ = tool("compare", "demo", "again")
    assert code == 1 and "16x16: 12 images identical, 0 different" in out
    assert "only the first dataset has labels" in out
    for option in ("--ignore_labels=1", "--ignore-labels=1"):
        assert tool("compare", "demo", "again", option)[0] == 0
    assert tool("compare", "demo", "demo")[0] == 0
    Image.new("RGB", (16, 16)).save("png/img00000003.png")
    os.remove("png/img00000011.png")
    assert tool("create_from_images", "edited", "png", "--shuffle=0", "--labels=none")[0] == 0
    code, out, _ = tool("compare", "again", "edited")
    assert code == 1 and "16x16: 10 images identical, 1 different (3); 12 and 11 images" in out

    before = sorted(os.listdir())
    code, out, _ = tool("display", "demo")
    path = os.path.join("demo", "demo-contact-sheet.png")
    assert code == 0 and path in out and sorted(os.listdir()) == before
    content = Path(path).read_bytes()
    os.remove(path)
    assert tool("display", "demo")[0] == 0
    assert Path(path).read_bytes() == content  # The one that was made with the dataset.
    assert tool("display", "demo", "--output=sheet.png")[0] == 0
    code, _, err = tool("display", "demo", "--output=sheet.png")
    assert code == 2 and "sheet.png exists already" in err
    assert Path("sheet.png").read_bytes() == content
    with Image.open(path) as sheet:
        assert sheet.size == (12 * 66, 66)
        first = np.asarray(sheet)[1:65:4, 67:131:4]
    with Image.open("png/img00000001.png") as second:
        np.testing.assert_array_equal(first, np.asarray(second))


def test_info_finds_every_kind_of_damage(tmp_path, tool):
    folder = tmp_path / "foo"

    def damage(name, change):
        path = folder / name
        original = path.read_bytes()
        path.write_bytes(change(original))
        code, _, err = tool("info", folder)
        path.write_bytes(original)
        assert code == 2 and err.count("\n") == 1
        return err

    assert tool("create_demo", folder, "--images=6", "--resolution=16")[0] == 0
    assert "r03.tfrecords is truncated" in damage("foo-r03.tfrecords", lambda data: data[:-1])
    record = os.path.getsize(folder / "foo-r03.tfrecords") // 6
    assert "r03.tfrecords is truncated" in damage("foo-r03.tfrecords", lambda d: d[:-record])
    flipped = damage("foo-r04.tfrecords", lambda d: d[:700] + bytes([d[700] ^ 1]) + d[701:])
    assert "r04.tfrecords is damaged" in flipped
    wrong_level = (folder / "foo-r04.tfrecords").read_bytes()
    assert "r03.tfrecords is damaged" in damage("foo-r03.tfrecords", lambda data: wrong_level)
    assert "cannot read labels" in damage("foo-rxx.labels", lambda data: data[:-1])
    assert "manifest" in damage("foo.json", lambda data: data[:-9])
    os.rename(folder / "foo-rxx.labels", tmp_path / "aside")
    assert "foo-rxx.labels is missing" in tool("info", folder)[2]
    os.rename(tmp_path / "aside", folder / "foo-rxx.labels")
    other = damage("foo.json", lambda data: data.replace(b'"images": 6', b'"images": 7'))
    assert "says images 7" in other
    # A dataset of the official tool has no manifest, which would tell sizes.
    os.remove(folder / "foo.json")
    assert "has 5 images" in damage("foo-r03.tfrecords", lambda data: data[:-record])
    assert "has shape (3, 16, 16)" in damage("foo-r03.tfrecords", lambda data: wrong_level)
    with open(folder / "foo-rxx.labels", "wb") as file:
        np.save(file, np.zeros([5, 2], np.float32))
    code, out, err = tool("info", folder)
    assert code == 2 and re.search("has 5 labels, but .* 6 images: build the dataset", err)
    with open(folder / "foo-rxx.labels", "wb") as file:
        np.save(file, np.zeros([6, 2], np.float32))
    code, out, err = tool("info", folder)
    assert code == 0 and "size 2, not one-hot" in out
    os.remove(folder / "foo-r02.tfrecords")
    assert "foo-r02.tfrecords is missing" in tool("info", folder)[2]


def test_real_photos(tmp_path, tool):
    if not PHOTOS.is_dir():
        pytest.skip("needs ../shared/data/clothing-small")
    (tmp_path / "photos").mkdir()
    for path in sorted(PHOTOS.glob("hat/*.jpg"))[:20]:
        os.symlink(path, tmp_path / "photos" / path.name)
    args = ("create_from_images", tmp_path / "foo", tmp_path / "photos", "--resolution=64")
    assert tool(*args, "--transform=pad-white")[0] == 0
    code, out, _ = tool("info", tmp_path / "foo")
    assert code == 0 and "images:     20" in out and "levels:     5 (r02 to r06)" in out


def test_unknown_transform_is_an_error_for_callers_too(tmp_path):
    with pytest.raises(UserError, match="--transform"):
        images.create_from_images(Output(str(tmp_path / "foo"), transform="none"), str(tmp_path))
