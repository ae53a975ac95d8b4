"""run_generator.py generate-catalog, as its user runs it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_networks import conditional_pair
from test_control import make_products

import run_generator
from dnnlib import UserError, cli, tflib
from training.config.presets import preset
from training.datasets.photos.arrays import to_picture, to_pixels
from training.latents.likeness import Gallery
from training.pictures import finishing, generation, provenance
from training.pictures.candidates import Judge
from training.pictures.finishing import Finish, finish
from training.pictures.samples import Studio
from training.snapshots import class_names, pickles

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A snapshot of two classes beside its options, and the dataset that these name."""
    folder = tmp_path_factory.mktemp("catalog")
    with tflib.graph_session(seed=3):
        G, D = conditional_pair(label_size=2)
        make_products(G)
        class_names.set_label_names(G, ["hat", "shoe"])
        pickles.save((G, D, G), str(folder / "net.pkl"))
        pickles.save(G, str(folder / "alone.pkl"))
        # The two best shoes are among the photos, one of them mirrored.
        shoes = Studio(G, 0.7, [1])
        images = shoes.images(shoes.draw(range(24)).dlatents)
        judge = Judge(pickles.load_subject(str(folder / "net.pkl")), None)
        best = judge.choose(images, 1, 2, Gallery(), lambda image: True).places
        planted = images[best]
        for number, name in enumerate(("hat", "shoe")):
            (folder / "photos" / name).mkdir(parents=True)
            label = class_names.class_labels(G, [number])
            for seed in range(1000, 1030):
                image = generation.image_of_seed(G, seed, label, 1, output_transform=TO_UINT8)
                to_picture(image).save(folder / "photos" / name / f"{seed}.png")
    to_picture(planted[0]).save(folder / "photos/shoe/planted.png")
    to_picture(planted[1][:, :, ::-1]).save(folder / "photos/shoe/mirrored.png")
    build = [sys.executable, str(ROOT / "dataset_tool.py"), "create_from_images", "data", "photos"]
    subprocess.run([*build, "--labels=folders"], cwd=folder, check=True, capture_output=True)
    options = preset("config-f")
    options.dataset_args = {"tfrecord_dir": "data"}
    (folder / "training_options.json").write_text(json.dumps(options.to_json()))
    return SimpleNamespace(folder=folder, planted=best)


@pytest.fixture
def workplace(made):
    return made.folder


TO_UINT8 = {"func": tflib.convert_images_to_uint8}


@pytest.fixture
def generator(workplace, monkeypatch, capsys):
    """Runs `generate-catalog --network=net.pkl` in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(workplace)

    def run(*args, network="net.pkl"):
        words = ["run_generator.py", "generate-catalog", f"--network={network}", *args]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.run(run_generator.main)
        return ended.value.code, *capsys.readouterr()

    return run


def table(folder):
    with open(folder / "catalog.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_catalog(made, workplace, generator):
    code, out, err = generator("--per-class=6", "--out=first", "--candidates=3")
    assert code == 0, err
    assert out.startswith("Wrote 12 pictures in first; passed over: ")
    folder = workplace / "first"
    rows = table(folder)
    assert [row["class"] for row in rows] == ["0 (hat)"] * 6 + ["1 (shoe)"] * 6
    assert {p.name for p in folder.glob("*.png")} == {r["file"] for r in rows} | {
        "contact-sheet.png"
    }
    for row in rows:
        with Image.open(folder / row["file"]) as picture:
            record = provenance.read(picture)
            assert record.options["seeds"] == [int(row["seed"])]
            if row["lightness"]:
                assert 0 <= float(row["lightness"]) <= 100
        assert 0 < float(row["distance"]) < 1 and 0 <= int(row["nearest_photo"]) < 62
    shoes = [int(row["seed"]) for row in rows[6:]]
    assert not set(shoes) & set(made.planted)
    state = json.loads((folder / "catalog.json").read_text())
    assert state["classes"]["1-shoe"]["copies"] >= 2
    # More of the same continues; other options do not.
    code, out, err = generator("--per-class=7", "--out=first", "--candidates=3")
    assert code == 0 and len(table(folder)) == 14, err
    assert {r["file"] for r in rows} < {r["file"] for r in table(folder)}
    code, _, err = generator("--per-class=7", "--out=first", "--candidates=2")
    assert code == 2 and "the catalog in it has candidates 3, not 2: name a new folder" in err


def test_pictures_are_made_again(workplace, run_script):
    common = ["--network=net.pkl", "--copy-check=false"]
    args = ["generate-catalog", *common, "--per-class=1", "--out=made", "--size=40x32"]
    done = run_script(["run_generator.py", *args], cwd=workplace)
    assert done.returncode == 0, done.stderr
    row = table(workplace / "made")[1]
    assert row["nearest_photo"] == row["distance"] == ""
    args = ["reproduce", "--network=net.pkl", f"made/{row['file']}"]
    done = run_script(["run_generator.py", *args], cwd=workplace)
    assert done.stdout == "Wrote reproduced.png: all pixels are equal\n", done.stderr


def test_a_catalog_that_was_killed_is_the_same(workplace, generator):
    args = ["--per-class=10", "--truncation-psi=2"]
    command = [sys.executable, str(ROOT / "run_generator.py"), "generate-catalog"]
    command += ["--network=net.pkl", "--out=killed", *args]
    process = subprocess.Popen(command, cwd=workplace)
    state = workplace / "killed/catalog.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.01)
        if state.exists() and '"seed"' in state.read_text():
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    for out in ("killed", "whole"):
        code, _, err = generator(f"--out={out}", *args)
        assert code == 0, err
    for path in (workplace / "whole").iterdir():
        assert path.read_bytes() == (workplace / "killed" / path.name).read_bytes(), path.name
    assert len(list((workplace / "killed").glob("*-seed*.png"))) == 20


def test_no_two_pictures_are_alike(workplace):
    rng = np.random.default_rng(2)
    with tflib.graph_session():
        judge = Judge(pickles.load_subject(str(workplace / "net.pkl")), None)
        images = rng.integers(0, 256, [16, 3, 16, 16], np.uint8)
        images[5] = np.clip(images[2].astype(int) + rng.integers(-3, 4, [3, 16, 16]), 0, 255)
        known = Gallery()
        choice = judge.choose(images, 0, 16, known, lambda image: True)
        assert choice.duplicates == 1
        assert len(choice.places) == 15 and len({2, 5} & set(choice.places)) == 1
        assert choice.scores[choice.places].tolist() == sorted(choice.scores[choice.places])[::-1]
        again = judge.choose(images[:8], 0, 8, known, lambda image: True)
        assert again.places == [] and again.duplicates == 8
        usable = judge.choose(images[8:], 0, 8, Gallery(), lambda image: image is not images[9])
        assert len(usable.places) == 8


@pytest.mark.parametrize(
    "args, message",
    [
        (["--class=0-2"], "class"),
        (["--dataset=nowhere"], "--dataset: there is no folder nowhere"),
        (["--format=jpeg", "--background=transparent"], "a JPEG cannot be transparent"),
        (["--background=whitish"], "background 'whitish': use keep, transparent, a color"),
        (["--size=9999x9"], "--size: size (9999, 9): expected 1 to 8192"),
        (["--out=photos"], "the folder has other files in it"),
    ],
)
def test_bad_options(generator, args, message):
    code, _, err = generator("--per-class=1", "--out=bad", *args)
    assert code == 2
    assert message in err and err.count("\n") == 1


def test_what_cannot_be_checked_is_said(workplace, generator, monkeypatch):
    code, _, err = generator("--per-class=1", "--out=bad1", network="alone.pkl")
    assert code == 2 and "a catalog: the snapshot holds no discriminator" in err
    (workplace / "moved").mkdir()
    (workplace / "moved/net.pkl").write_bytes((workplace / "net.pkl").read_bytes())
    code, _, err = generator("--per-class=1", "--out=bad2", network="moved/net.pkl")
    assert code == 2 and "name them with --dataset" in err and "--copy-check=false" in err
    code, _, err = generator("--per-class=30000", "--out=bad4")
    assert code == 2 and "a catalog has at most 50,000" in err
    code, _, err = generator("--per-class=1", "--out=bad3", "--background=white")
    assert code == 2 and "class 0 (hat): 0 of 1" in err and "no clean background" in err


def on_white(size=24):
    image = np.full([3, size, size], 255, np.uint8)
    image[:, 6:18, 8:16] = np.array([200, 30, 40], np.uint8)[:, np.newaxis, np.newaxis]
    return image


def test_finishing():
    image = on_white()
    assert to_pixels(finish(image, Finish())).tolist() == image.tolist()
    blue = to_pixels(finish(image, Finish(background="#0000ff", format="jpeg")))
    assert blue[:, 0, 0].tolist() == [0, 0, 255] and blue[:, 12, 12].tolist() == [200, 30, 40]
    clear = finish(image, Finish(background="transparent", format="webp"))
    assert clear.mode == "RGBA" and clear.getpixel((0, 0))[3] == 0
    assert clear.getpixel((12, 12)) == (200, 30, 40, 255)
    assert to_pixels(finishing.on_white(clear)).tolist() == image.tolist()
    wide = finish(image, Finish((60, 30)))
    assert wide.size == (60, 30) and wide.getpixel((0, 0)) == (255, 255, 255)
    assert wide.getpixel((30, 15)) == (200, 30, 40)
    assert finish(np.zeros([3, 16, 16], np.uint8), Finish(background="white")) is None
    assert finishing.parse_size("512") == (512, 512)
    for bad in ("0", "12x", "big", "-3"):
        with pytest.raises(UserError):
            finishing.parse_size(bad)
