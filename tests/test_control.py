"""run_generator.py attributes, directions and edit, as their user runs them."""

from __future__ import annotations

import csv
import json
import re
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image
from small_networks import SHAPE, STYLE

import run_generator
from dnnlib import UserError, cli, tflib
from dnnlib.tflib import Network
from metrics.picture_scores import classifier_measure
from training.latents.attributes import measured
from training.latents.directions import files
from training.pictures import control, edits, sessions
from training.pictures.samples import Studio
from training.snapshots import class_names, pickles

BUILD = "training.networks_stylegan2."
STYLE = {**STYLE, "nonlinearity": "linear", "mapping_nonlinearity": "linear"}


def make_products(G):
    """Lets a generator that was never trained show a blob on a gray background."""
    synthesis = G.components.synthesis
    rng = np.random.default_rng(5)
    for name, variable in synthesis.vars.items():
        shape = variable.shape.as_list()
        if name.endswith("const"):  # Something in the middle only.
            value = np.zeros(shape)
            value[:, :, 1:3, 1:3] = rng.uniform(1, 2, [1, shape[1], 1, 1])
            synthesis.set_var(name, value)
        elif len(shape) == 4 and shape[0] == 3:  # Which stays there: pixels do not mix.
            value = np.zeros(shape)
            value[1, 1] = rng.uniform(0, 0.5, shape[2:]) + np.eye(*shape[2:])
            synthesis.set_var(name, value)
        elif name.endswith("mod_weight"):  # Far from where styles change their sign.
            synthesis.set_var(name, rng.normal(size=shape) * 0.3)
        elif name.endswith("ToRGB/weight"):
            synthesis.set_var(name, rng.normal(size=shape))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Snapshots with and without classes and D, a classifier, and labeled photos."""
    folder = tmp_path_factory.mktemp("control")
    with tflib.graph_session(seed=3):
        G = Network("G", BUILD + "G_main", **SHAPE, **STYLE)
        make_products(G)
        D = Network("D", BUILD + "D_stylegan2", **SHAPE)
        pickles.save((G, D, G), str(folder / "net.pkl"))
        pickles.save(G, str(folder / "alone.pkl"))
        small = SHAPE | {"resolution": 8}
        labeled = Network("G", BUILD + "G_main", label_size=3, **small, **STYLE)
        make_products(labeled)
        class_names.set_label_names(labeled, ["hat", "shirt", "red shoes"])
        D = Network("D", BUILD + "D_stylegan2", label_size=3, **small)
        pickles.save((labeled, D, labeled), str(folder / "labeled.pkl"))
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, 16, 16, 3], name="images")
        tf.reduce_mean(images, axis=[1, 2], name="means")
        (folder / "means.pb").write_bytes(graph.as_graph_def().SerializeToString())
    rng = np.random.default_rng(0)
    for label, color in (("dark", 40), ("light", 210)):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(color, 20, [20, 18, 3]), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def subjects(workplace):
    """The snapshots, opened once."""
    with tflib.graph_session():
        yield {n: pickles.load_subject(str(workplace / f"{n}.pkl")) for n in ("net", "labeled")}


@pytest.fixture
def generator(workplace, monkeypatch, capsys):
    """Runs run_generator.py in this process, with few pictures: (exit code, stdout, stderr)."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(control, "_TRIED_ON", 20)
    monkeypatch.setattr(control, "_CHECKED_ON", 20)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["run_generator.py", *args])
        with pytest.raises(SystemExit) as ended:
            cli.run(run_generator.main)
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def good(result):
    assert result[0] == 0, result
    return result


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_attributes_directions_and_edits(workplace, generator, run_script):
    """The whole way; directions are found from the table, without measuring samples again."""
    args = ["attributes", "--network=net.pkl", "--samples=120", "--out=a.csv"]
    result = run_script(["run_generator.py", *args], cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^\d+ of 120 samples have a clean background", result.stdout, re.MULTILINE)
    rows = table(workplace / "a.csv")
    assert list(rows[0]) == ["seed", "class", *measured.MEASURED] and len(rows) == 120
    lightness = np.array([float(row["lightness"] or "nan") for row in rows])
    assert np.isfinite(lightness).mean() > 0.5

    args = ["--scores=a.csv", "--attributes=lightness,hue-red", "--keep=none", "--layers=all"]
    _, out, _ = good(generator("directions", "--network=net.pkl", *args))
    found = files.load(str(workplace / "directions.npz"))
    info = found.info.directions["lightness"]
    assert info.r2 > 0.1 and 0.5 < info.effect["lightness"] < 1.5 and info.right > 0.7
    assert info.sigma == pytest.approx(np.nanstd(lightness), rel=1e-3)
    assert re.search(r"^lightness +0\.\d\d +\+\d\.\d\d", out, re.MULTILINE)

    args = ["edit", "--network=net.pkl", "--seeds=3,4", "--set=lightness=+2,hue-red=-0.5"]
    _, out, _ = good(generator(*args, "--frames=3"))
    assert Image.open(workplace / "edit.png").size == (3 * 120, 2 * (112 + 28 + 8))
    first = re.search(r"^seed 3: lightness (\S+) to (\S+), hue-red", out, re.MULTILINE)
    assert float(first[2]) > float(first[1])
    assert float(first[1]) == pytest.approx(lightness[3], rel=0.01)


def test_edits_of_projected_pictures_and_of_some_layers(workplace, subjects, capsys):
    subject = subjects["net"]
    step = np.ones([6, 8], np.float32) / 4
    info = files.DirectionInfo("one", list(range(6)))
    about = files.DirectionsInfo(subject.sha256, "net.pkl", "ridge", 6, 8, 1.0, 100, 1.0,
                                 sigmas={}, directions={"lightness": info})  # fmt: skip
    path, out = str(workplace / "ones.npz"), str(workplace / "w.png")
    files.save(path, files.Directions(about, {"lightness": step}))
    w = subject.Gs.components.mapping.run(np.random.RandomState(3).randn(1, 8), None)
    np.savez(workplace / "w.npz", dlatents=np.float32(w))
    made, request = [], sessions.Request([3], psi=None)
    for dlatents, ranges in ((None, None), (str(workplace / "w.npz"), None), (None, ["fine"])):
        change = edits.Edit({"lightness": 0.5}, path, ranges, frames=2)
        edits.edit(subject, request, change, dlatents, out)
        printed = capsys.readouterr().out.replace("dlatent 0", "seed 3")
        made.append((printed, Image.open(out).tobytes()))
    assert made[0] == made[1] and made[0][1] != made[2][1]


def test_unsupervised_directions(workplace, subjects, capsys, monkeypatch):
    monkeypatch.setattr(control, "_TRIED_ON", 20)
    monkeypatch.setattr(control, "_CHECKED_ON", 20)
    path, subject = str(workplace / "sefa.npz"), subjects["labeled"]
    control.find_directions(subject, sessions.Request(range(60)), path, method="sefa", count=2,
                            ranges=["coarse"])  # fmt: skip
    out = capsys.readouterr().out
    assert "sefa-1 " in out and "one standard deviation of w along it; " in out
    found = files.load(path)
    assert list(found.arrays) == ["sefa-0", "sefa-1"]
    assert found.info.directions["sefa-0"].layers == [0]
    change = edits.Edit({"sefa-1": 2.0}, path)
    edits.edit(subject, sessions.Request([1]), change, None, str(workplace / "sefa.png"))
    assert "nothing is measured of these directions" in capsys.readouterr().out


def test_style_space(workplace, subjects):
    out = str(workplace / "style-space.csv")
    request = sessions.Request(range(100))
    control.rank_styles(subjects["net"], request, out, attributes="lightness", count=3)
    rows = table(out)
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert float(rows[0]["theta"]) >= float(rows[1]["theta"]) > 0


def test_what_the_user_brings(workplace, generator):
    """A frozen graph, labeled photos and a table of scores."""
    args = ["--classifier=means.pb", "--photos=photos", "--samples=20", "--out=own.csv"]
    _, _, err = good(generator("attributes", "--network=net.pkl", *args))
    rows = table(workplace / "own.csv")
    for row in rows[:5]:
        assert float(row["photos-dark"]) + float(row["photos-light"]) == pytest.approx(1, abs=1e-4)
        assert 0 <= float(row["classifier-0"]) <= 255
    assert re.search(r"--photos=photos: \d+% of held-out pictures are told right among 2", err)
    with tflib.graph_session():
        Gs = pickles.load_generator("net.pkl")
        z = np.concatenate([np.random.RandomState(seed).randn(1, 8) for seed in range(120)])
        w = Gs.components.mapping.run(z, None)[:, 0]
    with open("scores.csv", "w") as file:
        file.write("seed,liked,note\n")
        file.writelines(f"{s},{x @ np.arange(8):.5f},text\n" for s, x in enumerate(np.array(w)))
        file.write('120,"1,5",\n')
    args = ["--scores=scores.csv", "--attributes=liked", "--keep=none", "--out=liked.npz"]
    odd = "liked has 1 cells that are no numbers and count as empty, like '1,5' in line 122"
    assert odd in good(generator("directions", "--network=net.pkl", *args))[2]
    info = json.loads((workplace / "liked.json").read_text())["directions"]["liked"]
    assert info["r2"] > 0.9 and info["shortfalls"] == ["its effect cannot be measured"]
    step = files.load("liked.npz").arrays["liked"][0]
    assert step @ np.arange(8) == pytest.approx(np.std(np.array(w) @ np.arange(8)), rel=0.05)


def test_an_onnx_network(workplace):
    """Means of the channels, by onnxruntime itself."""
    pytest.importorskip("onnxruntime")
    shapes = (
        b"Z\x1e\n\x01x\x12\x19\n\x17\x08\x01\x12\x13\n\x03\x12\x01N\n\x02\x08\x03\n\x03\x12\x01H"
    )
    shapes += b"\n\x03\x12\x01Wb\t\n\x01y\x12\x04\n\x02\x08\x01"
    graph = b'\x08\x08:I\n\x19\n\x01x\x12\x01y"\x11GlobalAveragePool\x12\x01g' + shapes
    path = workplace / "means.onnx"
    path.write_bytes(graph + b"B\x04\n\x00\x10\r")
    images = np.random.default_rng(0).integers(0, 256, [5, 3, 16, 16], dtype=np.uint8)
    found = classifier_measure(str(path), [3, 16, 16])
    assert found.names == ("classifier-0", "classifier-1", "classifier-2")
    np.testing.assert_allclose(found.function(images), images.mean(axis=(2, 3)), rtol=1e-5)
    path.write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be read as a model of one input"):
        classifier_measure(str(path), [3, 16, 16])


def test_ctrl_c_keeps_what_was_measured(workplace, subjects, monkeypatch, capsys):
    measure, calls = Studio.measure, []

    def interrupted(self, dlatents, what):
        calls.append(len(dlatents))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(self, dlatents, what)

    monkeypatch.setattr(Studio, "measure", interrupted)
    out = workplace / "part.csv"
    with pytest.raises(KeyboardInterrupt):
        control.measure_attributes(subjects["net"], sessions.Request(range(100)), str(out))
    assert [row["seed"] for row in table(out)] == [str(seed) for seed in range(calls[0])]
    assert f"{calls[0]} of 100 samples are in {out}" in capsys.readouterr().err


def test_classes_of_the_network(workplace, subjects, capsys):
    """Probabilities where the features tell classes apart; else the table goes without."""
    out = str(workplace / "classes.csv")
    control.measure_attributes(subjects["labeled"], sessions.Request(range(90)), out)
    err = capsys.readouterr().err
    names = [name for name in table(out)[0] if name.startswith("class-")]
    assert re.search(r"class probabilities: (\d+)% of held-out pictures are told right", err)
    told_apart = "NOTE: no class probabilities" not in err
    assert names == (["class-hat", "class-shirt", "class-red-shoes"] if told_apart else [])


def test_mixes_of_classes_have_no_number_and_tell_nothing_of_classes(generator, tmp_path):
    args = ["--network=labeled.pkl", "--samples=10", "--class=hat:0.5,shirt:0.5"]
    _, _, err = good(generator("attributes", *args, f"--out={tmp_path / 'mixed.csv'}"))
    assert "class probabilities: they are learned from samples of two classes or more" in err
    rows = table(tmp_path / "mixed.csv")
    assert {row["class"] for row in rows} == {""} and "class-hat" not in rows[0]


def test_bad_input_that_needs_no_network(workplace, generator, run_script):
    network, out = "--network=net.pkl", "--out=x.npz"
    for args, message in [
        (["attributes", "--network=none.pkl"], "cannot read snapshot none.pkl"),
        (["attributes", network, "--samples=60", "--seeds=1"], "not allowed with argument"),
        (["attributes", network, "--scores=none.csv"], "there is no file or folder none.csv"),
        (["directions", network, "--attributes=lightnes"], "did you mean lightness"),
        (["directions", network, "--keep=shap"], "--keep: no attribute 'shap': did you mean shape"),
        (["directions", network, "--method=sefa", "--keep=area"], "--keep is for --method=ridge"),
        (["directions", network, "--layers=corse"], "use numbers like 0-3, coarse"),
        (["directions", network, "--out=x.pkl"], "expected a name that ends with .npz"),
        (["edit", network, "--seeds=1", "--set=area"], "expected NAME=STEP"),
        (["edit", network, "--seeds=1", "--set=area=nan"], "expected NAME=STEP"),
        (["edit", network, "--seeds=1", "--set=area=1,area=2"], "area is set twice"),
        (
            ["edit", network, "--seeds=1", "--set=area=1", "--directions=no.npz"],
            "directions writes",
        ),
        (["edit", network, "--set=area=1"], "one of the arguments --seeds --dlatents"),
        (["directions", network, "--photos=a.txt", out], "no file or folder a.txt"),
    ]:
        code, _, err = generator(*args)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1, (args, err)
    result = run_script(["run_generator.py", "edit", network, "--seeds=1", "--set=area"])
    assert result.returncode == 2 and len(result.stderr.strip().splitlines()) == 1, result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("directions net --layers=4-6", "--layers: layer 6, the network has 0 to 5"),
        ("directions net --attributes=class-hat", "no attribute 'class-hat'"),
        (
            "directions alone --photos=photos",
            "--photos=photos: the snapshot holds no discriminator",
        ),
        ("attributes net --class=hat", "the network has no classes"),
        ("attributes net --scores=photos/dark/0.png", "photos/dark/0.png"),
        ("attributes net --scores=bad.csv", "--scores=bad.csv, line 3: seed 1 has a line already"),
        ("attributes net --scores=text.csv", "no column has numbers: its columns are seed, note"),
        ("attributes net --scores=odd.csv", "there is no column seed: its columns are"),
        ("attributes net --classifier=bad.csv", "bad.csv"),
        ("attributes net --classifier=x.onnx", "ONNX needs onnxruntime: pip install onnxruntime"),
        ("attributes net --photos=photos/dark", "expected two folders or more"),
        ("edit net --seeds=1 --set=area=1", "no direction 'area' in made.npz: use lightness"),
        ("edit net --seeds=1 --set=lightness=1 --layers=9", "layer 9, the network has 0 to 5"),
        ("edit net --seeds=1 --set=lightness=1 --layers=fine", "none of the directions changes"),
        ("edit net --dlatents=bad.csv --set=lightness=1", "cannot read --dlatents=bad.csv"),
        ("edit labeled --seeds=1 --set=lightness=1", "directions of another network, net.pkl"),
    ],
)
def test_bad_input(workplace, generator, monkeypatch, args, message):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (workplace / "bad.csv").write_text("seed,x\n1,2\n1,3\n")
    (workplace / "text.csv").write_text("seed,note\n1,a\n2,b\n")
    (workplace / "odd.csv").write_text("name,x\n1,2\n2,3\n")
    (workplace / "x.onnx").write_bytes(b"x")
    subject = (workplace / "net.pkl").read_bytes()
    info = files.DirectionInfo("one", [0])
    about = files.DirectionsInfo(files._sha256(subject), "net.pkl", "ridge", 6, 8, 1.0, 100, 1.0,
                                 {}, {"lightness": info})  # fmt: skip
    array = np.zeros([6, 8], np.float32)
    array[0] = 1
    files.save(str(workplace / "made.npz"), files.Directions(about, {"lightness": array}))
    command, network, *rest = args.split()
    given = [command, f"--network={network}.pkl", *rest]
    if command != "edit" and not any("--s" in word for word in rest):
        given.append("--samples=60")
    given += ["--directions=made.npz"] if command == "edit" else []
    code, _, err = generator(*given)
    lines = [line for line in err.splitlines() if "clean background" not in line]
    assert code == 2 and message in err, err
    assert len([line for line in lines if line.startswith("run_generator.py: error:")]) == 1
