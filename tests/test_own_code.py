"""Networks, losses and metrics of the user's own: those of docs/own-code.md, in a real run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import run_generator
import run_training
from dnnlib import UserError, own_code, tflib
from dnnlib.tflib import Network, autosummary
from training.config.presets import preset
from training.datasets.commands import pictures
from training.loss import find_loss
from training.snapshots import build_functions, pickles

ROOT = Path(__file__).resolve().parents[1]
TABLES = (own_code.networks, own_code.losses, own_code.metrics)
OPTIONS = {
    "G_func": "my_code.G_patches",
    "D_func": "my_code.D_patches",
    "G_loss": "my_code.G_hinge",
    "D_loss": "my_code.D_hinge",
}


def D_strict(images_in, labels_in, num_channels=3, resolution=64, label_size=0):
    """A build function that takes no other keyword arguments."""


def own_module() -> str:
    """The module that the page shows, in parts; what follows uses it."""
    page = (ROOT / "docs/own-code.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return "\n".join(block for block in blocks if "import my_code" not in block)


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    for table in TABLES:
        monkeypatch.setattr(table, "_functions", {})


@pytest.fixture
def new_process(monkeypatch, folder):
    """Forgets what was registered and imported, as another process does not know it either."""

    def forget():
        for table in TABLES:
            monkeypatch.setattr(table, "_functions", {})
        monkeypatch.delitem(sys.modules, "my_code", raising=False)

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(folder)
    forget()
    return forget


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with my_code.py and a small dataset of drawings."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_code.py").write_text(own_module())
    data = str(folder / "datasets/mine")
    pictures.create_demo(tfrecord_dir=data, num_images=16, resolution=16)
    return folder


def train(**options):
    given = {"data": "datasets/mine", "cfg": "config-e", "batch": 8, "latent_size": 8}
    return run_training.run_training("results", 1, False, **{**given, **options})


def resume(run_dir, *words):
    return run_training._train(run_training._parse_args([f"--resume={run_dir}", *words]))


def words(options):
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def test_a_run_with_code_of_ones_own(folder, new_process, capsys):
    run_dir = train(**OPTIONS, kimg=0.016, metrics=["my_code.Brightness"], mapping_layers=1)
    stored = json.loads((folder / run_dir / "training_options.json").read_text())
    assert stored["G_args"]["func_name"] == "my_code.G_patches"
    assert stored["G_args"]["fmap_base"] == 8 << 10  # It takes all.
    assert stored["D_loss_args"] == {"func_name": "my_code.D_hinge", "gamma": 100.0}
    assert stored["G_loss_args"] == {"func_name": "my_code.G_hinge"}
    value = (folder / run_dir / "metric-Brightness.txt").read_text().split()[-1]
    assert 0 < float(value) < 255
    network = f"{run_dir}/network-final.pkl"
    stats = (folder / run_dir / "stats.jsonl").read_text()
    assert {"Loss/scores/real", "Loss/scores/fake", "Loss/signs/real"} <= set(
        re.findall(r'"(Loss/[\w/]+)"', stats)
    )

    # Names in files lead nowhere.
    new_process()
    with pytest.raises(UserError, match=r"is 'my_code.G_patches', which is no .*with --G-func"):
        resume(run_dir, "--kimg=0.024")
    with pytest.raises(UserError, match=r"_patches'; known are .*name it with --[GD]-func"):
        run_generator.generate_images(network, [1], 0.5)
    assert "my_code" not in sys.modules
    new_process()
    without_loss = {k: v for k, v in OPTIONS.items() if k != "D_loss"}
    with pytest.raises(UserError, match=r"no loss of D 'my_code.D_hinge'.*with --D-loss"):
        resume(run_dir, "--kimg=0.024", *words(without_loss))
    new_process()
    with pytest.raises(UserError, match=r"--G-func=my_code.G_synth.*: .* started with my_code"):
        resume(run_dir, *words({**OPTIONS, "G_func": "my_code.G_synthesis_patches"}))

    # Named again, they do.
    new_process()
    capsys.readouterr()
    resume(run_dir, "--kimg=0.024", *words(OPTIONS))
    assert "Training from 0.016 to 0.024 kimg" in capsys.readouterr().out
    new_process()
    args = run_generator._parse_args(
        [f"--network={network}", "--seeds=1", *words(OPTIONS)[:2], "--outdir=made"]
    )
    own_code.load_networks(args)
    assert run_generator.generate_images(network, [1], 0.5, "made") == "made"
    assert (folder / "made/seed0001.png").exists()

    # Read, written and read again, they are the same; and beside stock networks.
    with tflib.graph_session():
        Gs = pickles.load_generator(network)
        z = np.random.RandomState(0).randn(2, 8)
        images = Gs.run(z, np.eye(6)[:2])
        pickles.save(Gs, "again.pkl")
    with tflib.graph_session():
        again = pickles.load_generator("again.pkl")
        np.testing.assert_array_equal(again.run(z, np.eye(6)[:2]), images)
        assert again.build_module == "my_code"
        assert again.components.mapping.build_module == "training.networks_stylegan2"
        assert again.components.synthesis.build_module == "my_code"


def test_a_registered_module_is_enough_for_pickles(folder, new_process):
    """Of user code that imports a module which registers its functions, by a decorator."""
    import importlib

    sys.path.append(str(folder))
    module = importlib.import_module("my_code")
    with tflib.graph_session(seed=1):
        D = Network("D", module.D_patches, resolution=16)
        with open("D.pkl", "wb") as file:
            import pickle

            pickle.dump(D, file)
    with tflib.graph_session(), pytest.raises(UserError, match="'D_patches'"):
        pickles.load("D.pkl")
    assert own_code.networks.register(module.D_patches) is module.D_patches
    with tflib.graph_session():
        D = pickles.load("D.pkl")
        assert D.run(np.zeros([2, 3, 16, 16]), None).shape == (2, 1)
        assert D.build_func_name == "D_patches"


def test_keyword_arguments_of_data_are_those_of_the_function(folder, new_process):
    own_code.networks.load("--D-func", "my_code.D_patches")
    good = {"func_name": "my_code.D_patches", "fmaps": 8}
    function = build_functions.find_for_options(good, "D_args")["func_name"]
    assert function.__name__ == "D_patches"
    own_code.networks.register(D_strict)
    strict = {"func_name": f"{__name__}.D_strict"}
    assert build_functions.find_for_options(strict, "D_args") == {"func_name": D_strict}
    with pytest.raises(UserError, match=r"D_args: .*D_strict\(\) has no .* 'depth'"):
        build_functions.find_for_options({**strict, "depth": 3}, "D_args")
    with pytest.raises(UserError, match=r"G_args.func_name is 'my_code.D_patches', which is no"):
        build_functions.find_for_options(good, "G_args")
    own_code.losses.load("--G-loss", "my_code.G_hinge")
    with pytest.raises(UserError, match=r"my_code.G_hinge\(\) has no keyword argument gamma"):
        find_loss("G", {"func_name": "my_code.G_hinge", "gamma": 1.0})
    with pytest.raises(UserError, match="no loss of D"):
        find_loss("D", {"func_name": "my_code.G_hinge"})
    own_code.networks.load("--G-func", "my_code.G_patches")  # With **kwargs.
    for name in ("components", "name", "is_template_graph"):
        with pytest.raises(UserError, match=f"has no keyword argument '{name}'"):
            options = {"func_name": "my_code.G_patches", name: 1}
            build_functions.find_for_options(options, "G_args")
    for other in ("my_code.fakes_of", "os.system", None, ["my_code.D_patches"]):
        with pytest.raises(UserError, match="which is no network"):
            build_functions.find_for_options({"func_name": other}, "D_args")


def test_plans_of_runs_look_names_up_too(folder):
    """Options of a run that is resumed come from a file, with --dry-run as well."""
    from training.run import plan

    options = preset("config-e")
    options.dataset_args = {"tfrecord_dir": str(folder / "datasets/mine")}
    options.G_args = {"func_name": "this.s"}
    with pytest.raises(UserError, match=r"G_args.func_name is 'this.s', which is no network"):
        plan.describe(options)
    assert "this" not in sys.modules  # Which would have been imported.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"G_func": "G_patches"}, "--G-func=G_patches: expected MODULE.FUNCTION"),
        ({"G_func": "nowhere.G_x"}, "--G-func=nowhere.G_x: cannot import nowhere: No module"),
        ({"G_func": "my_code.G_x"}, "--G-func=my_code.G_x: module my_code has no attribute G_x"),
        ({"G_func": "my_code.D_patches"}, "its name has to begin with G_"),
        ({"G_func": "my_code.fakes_of"}, "names of a network begin with G_ or D_"),
        ({"D_func": "my_code.tf"}, "expected a function at the top of a module"),
        ({"metrics": "my_code.Nothing"}, "--metrics=my_code.Nothing: module my_code has no"),
        ({"metrics": "collections.OrderedDict"}, "it is no metrics.metric_base.MetricBase"),
        ({"D_loss": "my_code.D_hinge", "cmethod": "bcr"}, "--cmethod=bcr has losses of its own"),
        ({"D_func": f"{__name__}.D_strict", "fmap_base": 8}, "D_strict.. has no .* 'fmap_base'"),
    ],
)
def test_bad_names(folder, new_process, options, message):
    with pytest.raises(UserError, match=message):
        train(**options, kimg=0.008)
    assert not list(folder.glob("results/*bcr*"))


@pytest.mark.parametrize("line", ["x = unknown", "def broken(:", "raise SystemError('no')"])
def test_a_module_that_cannot_be_imported_is_one_line(folder, new_process, line):
    (folder / "wrong.py").write_text(f"import os\n{line}\n")
    with pytest.raises(UserError, match=r"--G-func=wrong.G_x: cannot import wrong: .*") as error:
        train(G_func="wrong.G_x", kimg=0.008)
    assert "\n" not in str(error.value)
    assert "def" in line or f"{folder / 'wrong.py'}:2" in str(error.value)


def test_losses_that_are_none(session):
    """Of the wrong kind, or without what overfitting is told from."""
    from training.losses.context import LossContext

    def score(images, labels, **_):
        return tf.reduce_sum(images, axis=[1, 2, 3])[:, tf.newaxis]

    D = type("D", (), {"get_output_for": staticmethod(score)})()
    reals = tf.ones([2, 3, 4, 4])
    context = LossContext(None, D, None, 2, tf.zeros([2], tf.int32), reals, tf.zeros([2, 0]))

    def D_single(D, reals, labels):
        return D.get_output_for(reals, labels)

    def D_blind(D, reals, labels, opt):
        return opt.undo_loss_scaling(opt.apply_loss_scaling(D.get_output_for(reals, labels))), None

    def D_sound(D, reals, labels, **_kwargs):
        loss = D.get_output_for(reals, labels) - D.get_output_for(-2 * reals, labels)
        return loss, None

    for function in (D_single, D_blind, D_sound):
        own_code.losses._functions[f"mine.{function.__name__}"] = function
    for name, message in (
        ("D_single", r"returns no pair \(loss, regularizer\)"),
        ("D_blind", "has to score `reals` and fakes"),
    ):
        with pytest.raises(UserError, match=message):
            find_loss("D", {"func_name": f"mine.{name}"})(context)
    result = find_loss("D", {"func_name": "mine.D_sound"})(context)
    assert result.regularizer is None
    autosummary.init_autosummaries()
    loss, sign, means = session.run([result.loss, result.real_sign, result.mean_scores])
    assert (loss == [144, 144]).all() and sign == 1 and (means == [48, -96]).all()
