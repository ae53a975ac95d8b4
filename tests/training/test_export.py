"""Generators as models for other programs, run in processes without this project."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import set_lod
from PIL import Image

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.pictures import generation
from training.snapshots import class_names, pickles
from training.snapshots.export import bare, check, command, graph

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/export.md"
STYLE = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
SHAPE = {"resolution": 16, "fmap_base": 64, "fmap_max": 8}
STYLEGAN2, ADA = "training.networks_stylegan2.G_main", "training.networks.G_main"
REVISED = {"synthesis_func": "G_synthesis_stylegan_revised"}
# As the rows of the page's table call them: (build function, keyword arguments, level of detail).
FAMILIES = {
    "A (StyleGAN)": ("training.networks_stylegan.G_style", {}, 0),
    "B to D, while growing": (STYLEGAN2, REVISED, 0.4),
    "E and F": (STYLEGAN2, {"num_channels": 3}, 0),
    "E-Gresnet, conditional, grey": (
        STYLEGAN2,
        {"architecture": "resnet", "label_size": 3, "num_channels": 1},
        0,
    ),
    "ADA, conditional, RGBA, not square": (
        ADA,
        {"label_size": 3, "num_channels": 4, "base_size": (4, 6), "conv_clamp": 256}
        | {"num_fp16_res": 4},
        0,
    ),
}
COLUMNS = tuple(command.FORMATS)
MOST = 5e-6  # That the table may say; rounding in another order makes less.


def make(family, name="Gs"):
    """A generator with values in what starts at zero, too: mistakes would hide there."""
    function, kwargs, lod = FAMILIES[family]
    Gs = Network(name, function, **STYLE, **{**SHAPE, "num_channels": 3, **kwargs})
    random = np.random.default_rng(3)
    for variable, value in zip(Gs.vars.values(), tflib.run(list(Gs.vars.values())), strict=True):
        if not np.any(value):
            tflib.set_vars({variable: 0.3 * random.normal(size=value.shape)})
    set_lod(Gs, lod)
    return Gs


def needs(kind):
    modules = command.FORMATS[kind][0]
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


def table():
    """{family: {format: what the page says}}."""
    rows = re.findall(r"^\| ([^|`]+) \|((?: ≤ [^|]+\|)+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    numbers = {family: re.findall(r"≤ ([\d.e-]+)", cells) for family, cells in rows}
    return {f: dict(zip(COLUMNS, map(float, n), strict=True)) for f, n in numbers.items()}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """{family: (graph to export, folder of a SavedModel, our pictures and w)}; inputs in a file."""
    found = {}
    folder = tmp_path_factory.mktemp("families")
    with tflib.graph_session(seed=1):
        for i, family in enumerate(FAMILIES):
            Gs = make(family, f"Gs{i}")
            given = check.inputs(Gs)
            np.savez(folder / f"{i}.npz", **given)
            made = graph.build(Gs)
            command.write_graph(made, "savedmodel", str(folder / f"{i}"), {})
            found[family] = made, folder / f"{i}", check.pictures(Gs, given)
    return found


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_family_makes_our_pictures_in_every_format(families, tmp_path, kind):
    """And the page says how near they are."""
    needs(kind)
    writes, runs = [], []
    for i, (made, saved_model, _) in enumerate(families.values()):
        folder = saved_model if kind == "savedmodel" else tmp_path / f"{i}"
        folder.mkdir(exist_ok=True)
        if kind == "onnx":
            command.write_graph(made, kind, str(folder), {"label_names": ["é"]})
        writes += [saved_model, folder / "model.tflite" if kind == "tflite" else folder]
        runs += [folder, saved_model.with_suffix(".npz"), tmp_path / f"{i}.npz"]
    if kind in ("keras", "tflite"):
        check.run_bare(f"write-{kind}", *map(str, writes))
    check.run_bare(f"run-{kind}", *map(str, runs))
    said = table()
    assert said.keys() == FAMILIES.keys()
    for i, (family, (_, _, ours)) in enumerate(families.items()):
        with np.load(tmp_path / f"{i}.npz") as file:
            found = check.judge(dict(file), *ours)
            assert ("png0" in file) == (kind == "savedmodel" and "RGBA" not in family)
        print(f"{kind}: {family}: {found.difference:.1e} ({found.programs})")
        assert 0 <= found.difference <= said[family][kind] <= MOST


def test_the_graph_is_the_same_whatever_machine_writes_it(monkeypatch):
    """Also one with a GPU. There is none to run, so that it cannot tell what is truncated."""
    monkeypatch.setenv("TF_OPS_IMPL", "ref")
    monkeypatch.setattr(graph, "_truncated_layers", lambda Gs: np.ones([1, 6, 1], np.float32))
    graphs = []
    for gpus in ([], ["GPU"]):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind, gpus=gpus: gpus)
        with tflib.graph_session(seed=1):
            graphs.append(graph.build(make("ADA, conditional, RGBA, not square")).graph_def)
    plain, gpu = graphs
    names = {node.op for node in plain.node}
    assert {"Conv2D", "DepthwiseConv2dNative"} <= names
    assert not [name for name in names if name.startswith(("TfOps", "Var", "Read"))]
    formats = {n.attr["data_format"].s for n in gpu.node if "data_format" in n.attr}
    assert formats == {b"NHWC"}
    assert [(n.op, n.name, list(n.input)) for n in plain.node] == (
        [(n.op, n.name, list(n.input)) for n in gpu.node]
    )


def test_models_run_with_the_packages_of_this_process_and_without_this_checkout(
    tmp_path, monkeypatch
):
    """Of which some may be this user's alone, or named by PYTHONPATH."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user/only_here.py").touch()
    script = "import only_here, os, sys; assert os.path.abspath(sys.argv[1]) not in sys.path"
    (tmp_path / "bare.py").write_text(script)
    monkeypatch.setattr(check, "_SCRIPT", str(tmp_path / "bare.py"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "user"), *sys.path])
    assert str(ROOT) in sys.path
    check.run_bare(str(ROOT))


def small_snapshot(folder):
    with tflib.graph_session(seed=1):
        Gs = make("E-Gresnet, conditional, grey")
        class_names.set_label_names(Gs, ["dress", "hat", "shoes"])
        pickles.save((Gs, Gs, Gs), str(folder / "network.pkl"))
        generation.generate_images(
            Gs, [5], 0.7, "", [1], outdir=str(folder / "ours"), noise_mode="const"
        )


def test_the_command_and_what_the_page_shows(tmp_path, run_script):
    """The page's example of TensorFlow makes the picture of generate-images, in a bare process."""
    small_snapshot(tmp_path)
    words = "run_generator.py export --network=network.pkl --format=savedmodel --out=model"
    done = run_script([*words.split(), "--truncation-psi=0.7"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"Wrote model: run by TensorFlow \S+ without .* \d\.\de-\d\d .*\n", done.stdout
    )
    record = json.loads((tmp_path / "model/export.json").read_text())
    digest = hashlib.sha256((tmp_path / "network.pkl").read_bytes()).hexdigest()
    assert (record["network_sha256"], record["psi"]) == (digest, 0.7)
    assert record["label_names"] == ["dress", "hat", "shoes"]
    assert (record["latent_size"], record["height"], record["channels"]) == (8, 16, 1)
    example = re.search(r"```python\n(import json\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    shown = subprocess.run(
        [sys.executable, "-I", "-c", example], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    made, ours = (
        np.asarray(Image.open(tmp_path / p), int) for p in ("hat.png", "ours/seed0005.png")
    )
    assert made.shape == (16, 16) and np.abs(made - ours).max() <= 1
    again = run_script(words.split(), cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr and len(again.stderr.splitlines()) == 1


def test_what_makes_other_pictures_is_not_published(tmp_path, monkeypatch):
    small_snapshot(tmp_path)
    truncated = graph._truncated_layers
    monkeypatch.setattr(graph, "_truncated_layers", lambda Gs: truncated(Gs) * 0)
    with tflib.graph_session(), pytest.raises(UserError, match=r"w is up to .* from our own"):
        command.export(str(tmp_path / "network.pkl"), "savedmodel", str(tmp_path / "model"), 0.5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.pkl", "ours"]


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r'needs onnx and tf2onnx and onnxruntime: pip install -e "\.\[onnx\]"'
    with pytest.raises(UserError, match=message):
        command.export("network.pkl", "onnx", "model", 0.5)
    with pytest.raises(UserError, match=r'needs ai-edge-litert: pip install -e "\.\[tflite\]"'):
        command.check_packages("tflite")
    command.check_packages("keras")


def test_an_error_of_the_bare_process_is_one_line(tmp_path):
    with pytest.raises(UserError, match="Error") as caught:
        check.run_bare("run-savedmodel", str(tmp_path), str(tmp_path / "no.npz"), "out.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("values", 0.5, "values is up to 0.5 from our own"),
        ("images", 2, "images is up to 2 from"),
        ("w", np.nan, "w is up to nan from"),
        ("first", None, "the first image alone has shape"),
    ],
)
def test_other_pictures_are_told(name, value, message):
    ours, w = np.zeros([2, 4, 4, 3], np.float32), np.ones([2, 3, 5], np.float32)
    levels = np.full(ours.shape, 128, np.uint8)
    made = {"images": levels, "first": levels[:1], "w": w, "w_images": levels, "values": ours}
    made["programs"] = np.array("x")
    assert check.judge(made, ours, w).difference == 0
    made[name] = levels if value is None else (made[name] + value).astype(made[name].dtype)
    with pytest.raises(UserError, match=message):
        check.judge(made, ours, w)


def test_the_bare_script_imports_nothing_of_this_project():
    tree = ast.parse(Path(bare.__file__).read_text(encoding="utf-8"))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    others = {"numpy", "tensorflow", "onnxruntime", "ai_edge_litert"}
    assert names - others - set(sys.stdlib_module_names) == set()
