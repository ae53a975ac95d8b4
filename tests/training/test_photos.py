"""From a folder of photos to a run, and what is made of it."""

from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from dnnlib import UserError
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.run import photos


def picture(rng, size):
    color, ground = rng.integers(0, 256, [2, 3], np.uint8)
    pixels = np.tile(ground, [size[1], size[0], 1])
    pixels[size[1] // 4 : -size[1] // 4, size[0] // 3 : rng.integers(size[0] // 2, size[0])] = color
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 photos of two classes, of many formats and sizes, with a copy and a broken file."""
    root = tmp_path_factory.mktemp("photos") / "My shop"
    rng = np.random.default_rng(0)
    kinds = [("jpg", "RGB"), ("png", "P"), ("webp", "RGB"), ("tif", "CMYK"), ("gif", "P")]
    for name in ("hats", "shoes"):
        (root / name).mkdir(parents=True)
        for i in range(15):
            suffix, mode = kinds[i % len(kinds)]
            made = picture(rng, (40 + i, 60 - i)).convert(mode)
            made.save(root / name / f"{i}.{suffix}")
    (root / "hats/copy.jpg").write_bytes((root / "hats/0.jpg").read_bytes())
    (root / "shoes/broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    return root


def test_photos_are_looked_at(folder, tmp_path):
    found = photos.look(str(folder))
    assert found.count == 32
    assert found.classes == {"hats": 16, "shoes": 16}
    # Of the broken file there is no size.
    sizes = [min(40 + i, 60 - i) for i in range(15)] * 2 + [40]
    assert found.sides == tuple(sorted(sizes))
    moved = tmp_path / "moved.zip"
    with zipfile.ZipFile(moved, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    assert photos.look(str(moved)).fingerprint == found.fingerprint
    with zipfile.ZipFile(moved, "a") as archive:
        archive.writestr("hats/more.jpg", (folder / "hats/5.jpg").read_bytes())
    assert photos.look(str(moved)).fingerprint != found.fingerprint


@pytest.mark.parametrize(
    "names, why",
    [
        (["a.png"] * 5 + ["hats/b.png"] * 30, "not all photos lie in folders"),
        ([f"hats/{i}.png" for i in range(40)], "only one folder"),
        ([f"{i}/{j}.png" for i in range(10) for j in range(4)], "less than 10 photos each"),
    ],
)
def test_folders_that_are_no_classes(names, why):
    found, reason = photos._classes(names)
    assert found == {} and why in reason


def of(count=3000, side=400, classes=()):
    return photos.Photos("p", count, (side,) * 9, dict.fromkeys(classes, 10), "none", "0")


def choose(monkeypatch, found, given=None, seconds=8 * 3600, speed=2e11, mixed=True):
    monkeypatch.setattr(photos, "convolution_speed", lambda: (speed, "/cpu:0"))
    monkeypatch.setattr(photos, "lower_dtype", lambda: tf.bfloat16 if mixed else None)
    return photos.choose(found, given or {}, seconds)


def test_what_is_chosen(monkeypatch):
    """Larger pictures and networks with more time and faster machines, never beyond the photos."""
    usual = choose(monkeypatch, of())
    assert usual.resolution == 64 and usual.options["fmap_base"] == 1024
    assert usual.options["validation"] == 300 and usual.options["precision"] == "mixed"
    assert any("at most 256x256" in line for line in usual.reasons)
    assert choose(monkeypatch, of(), seconds=600).resolution == 32
    gpu = choose(monkeypatch, of(), speed=5e13, seconds=72 * 3600)
    assert gpu.resolution == 256 and "fmap_base" not in gpu.options
    assert choose(monkeypatch, of(side=100), speed=5e13).resolution == 64
    days = choose(monkeypatch, of(side=2000), seconds=5 * 24 * 3600)
    assert days.resolution == 128 and days.options["fmap_max"] == 128
    kimg = [photos._kimg(r, photos._SIZES[-1], 1e11, 3600, None) for r in photos._RESOLUTIONS]
    assert kimg == sorted(kimg)
    assert choose(monkeypatch, of(count=50)).options["validation"] == 5
    assert usual.options["resume"] == "clothing-64"
    assert choose(monkeypatch, of(), {"fmap_max": 96}).options["resume"] == "clothing-64"
    for other in ({"fmap_max": 64}, {"config": "config-f"}, {"resume": None}):
        assert choose(monkeypatch, of(), other).options["resume"] is None
    assert choose(monkeypatch, of(count=5000)).options["resume"] is None
    assert gpu.options["resume"] is None
    assert choose(monkeypatch, of(), mixed=False).options["precision"] == "fp32"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"config": "config-a"}, "Precision: fp32, since config-a grows"),
        ({"cmethod": "zcr"}, "Precision: fp32, since --cmethod=zcr needs it"),
        ({"precision": "fp32"}, "Precision: fp32, as asked for"),
        ({}, "Precision: mixed, with bfloat16 at the highest resolutions"),
    ],
)
def test_precision_suits_what_is_given(monkeypatch, given, why):
    found = choose(monkeypatch, of(), given)
    assert why in found.reasons and f"Precision: {found.options['precision']}," in why


def test_what_is_given_comes_first(monkeypatch):
    given = {"resolution": 128, "mirror_augment": False, "validation": 7, "fmap_max": 12}
    given |= {"config": "paper256", "total_kimg": 5, "resume": None}
    found = choose(monkeypatch, of(), given, seconds=None)
    assert found.options | given == dict(found.options) and found.resolution == 128
    assert not any("Mirrored" in line for line in found.reasons)


def test_time_is_left_for_what_comes_after():
    assert photos.training_seconds(10, 100) == 36000 - 600 - 100
    assert photos.training_seconds(1, 0) == 3600 - 360
    assert photos.training_seconds(0.1, 0) == 360 - 60
    assert photos.training_seconds(0.02, 0) == 36
    assert photos.training_seconds(0.001, 100) == 1


def test_the_same_photos_are_converted_once(folder, tmp_path, capsys):
    found = photos.look(str(folder))
    made = photos.build_dataset(found, 32, str(tmp_path), True)
    assert os.path.basename(made).startswith("My-shop-32-")
    manifest = read_manifest(find_dataset(made))
    assert manifest["label_names"] == ["hats", "shoes"]
    assert manifest["levels"][-1]["images"] == 30 if "images" in manifest["levels"][-1] else True
    reasons = " ".join(entry["reason"] for entry in manifest["skipped"])
    assert len(manifest["skipped"]) == 2 and "near-duplicate" in reasons
    before = sorted((p, os.stat(os.path.join(made, p)).st_mtime_ns) for p in os.listdir(made))
    assert photos.build_dataset(found, 32, str(tmp_path), True) == made
    assert "holds these photos already" in capsys.readouterr().out
    after = sorted((p, os.stat(os.path.join(made, p)).st_mtime_ns) for p in os.listdir(made))
    assert before == after
    assert photos.build_dataset(found, 32, str(tmp_path), False) != made
    assert photos.build_dataset(found, 16, str(tmp_path), True) != made


def test_too_few_photos(tmp_path):
    with pytest.raises(UserError, match="no image files"):
        photos.look(str(tmp_path))
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    (tmp_path / "one.png").write_bytes(content.getvalue())
    with pytest.raises(UserError, match="holds 1 pictures, expected at least 4: a network learns"):
        photos.look(str(tmp_path))
    for name in ("one", "two", "three", "four"):
        (tmp_path / f"{name}.png").write_bytes(content.getvalue()[:20])
    with pytest.raises(UserError, match="no picture in it can be read"):
        photos.look(str(tmp_path))


def test_one_command_from_photos_to_a_catalog(folder, tmp_path, run_script):
    small = ["--total-kimg=0.024", "--batch=8", "--fmap-base=64", "--fmap-max=16"]
    small += ["--latent-size=8", "--resolution=32", "--snap=1", "--precision=fp32"]
    args = [f"--data={folder}", f"--result-dir={tmp_path}", *small]
    done = run_script(["run_training.py", *args])
    assert done.returncode == 0, done.stderr
    assert "Classes: hats, shoes" in done.stdout and "Resolution 32, " in done.stdout
    (run_dir,) = tmp_path.glob("0*")
    best = json.loads((run_dir / "best-snapshot.json").read_text())
    assert best["snapshot"] in best["distances"] and (run_dir / best["snapshot"]).exists()
    assert best["distances"][best["snapshot"]] == min(best["distances"].values())
    assert best["compared with"] == "the photos trained on"  # Three are held out: too few.
    number = best["snapshot"].removeprefix("network-snapshot-").removesuffix(".pkl")
    assert (run_dir / f"catalog-{number}/catalog.csv").exists()
    assert f"--network={run_dir / best['snapshot']}" in done.stdout
    # Stopped after the training, before the catalog was whole: what is left is done.
    (run_dir / f"catalog-{number}/contact-sheet.png").unlink(missing_ok=True)
    done = run_script(["run_training.py", f"--resume={run_dir}"])
    assert done.returncode == 0, done.stderr
    assert "is trained: what is left is its best snapshot and catalog" in done.stdout
    done = run_script(["run_training.py", f"--resume={run_dir}", "--data", str(folder)])
    assert done.returncode == 2 and "leave out --data" in done.stderr


def test_options_are_checked_before_photos_are_converted(folder, run_script, tmp_path):
    for options, words in (
        (["--config=config-b", "--precision=mixed"], "--precision=mixed: config-b grows"),
        (["--aug=fixed"], "--aug=fixed needs --p"),
        (["--num-gpus=3"], "3 GPUs cannot share a minibatch"),
        (["--batch=16", "--batch-gpu=6"], "--batch=16 is not a multiple of --batch-gpu=6"),
    ):
        for dry in ([], ["--dry-run"]):
            given = [f"--data={folder}", "--hours=1", f"--result-dir={tmp_path / 'results'}"]
            done = run_script(["run_training.py", *given, *options, *dry])
            assert done.returncode == 2 and words in done.stderr, done.stderr
            assert not (tmp_path / "results").exists()


def test_how_long_has_to_be_said(folder, run_script):
    done = run_script(["run_training.py", f"--data={folder}"])
    assert done.returncode == 2
    assert "say how long, with --hours or --total-kimg" in done.stderr
    assert len(done.stderr.splitlines()) == 1
