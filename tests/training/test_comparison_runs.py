"""Runs of the comparison methods: their options, training, resuming, snapshots."""

from __future__ import annotations

import itertools
import json
import re
import sys

import numpy as np
import pytest

import run_training
from dnnlib import UserError, tflib
from dnnlib.tflib import Network, autosummary
from training.config.comparison_methods import find_method
from training.config.options import TrainingOptions
from training.config.schedule import training_schedule
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output, build
from training.datasets.items import Item, ItemList, Source
from training.datasets.sources.demo_dataset import create_demo
from training.run.data import complete_options
from training.run.state import Counters, read_state, save_state
from training.run.train_graph import TrainGraph
from training.snapshots import pickles

SIZE = ["--fmap-base=32", "--fmap-max=4", "--latent-size=4", "--batch=8"]
CONFLICTS = [
    ("--cmethod=bcR", "invalid choice: 'bcR'"),
    ("--dcap=0", "--dcap: expected a number of at least 0.001"),
    ("--cmethod=auxrot --config=config-e", "auxrot needs the discriminator of StyleGAN2-ADA"),
    ("--cmethod=adropout --cfg=stylegan2 --augpipe=blit", "leave out --augpipe"),
    ("--cmethod=zcr --precision=mixed", "zcr needs --precision=fp32"),
    ("--cmethod=wgangp --cfg=stylegan2", "wgangp: signs of its scores do not tell"),
    ("--cmethod=wgangp --gamma=1", "no R1 regularization: leave out --gamma"),
    ("--cmethod=auxrot --cfg=stylegan2", "--aug=ada with --augpipe=bgc turns images"),
    (
        "--cmethod=auxrot --cfg=cifar --aug=noaug --batch=20",
        "80 images at once, 4 times --batch-gpu",
    ),
    ("--cmethod=shallowmap --mapping-layers=4", "leave out --mapping-layers"),
    ("--cmethod=shallowmap --cfg=cifar --gpus=2", "cifar has a mapping network of 2 layers"),
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder of datasets: `drawn` 8×8 with labels, and `upright` 12×8."""
    folder = tmp_path_factory.mktemp("data")
    create_demo(Output(str(folder / "drawn"), shuffle=False, resolution=8), num_images=24)
    items = ItemList([Item(str(i)) for i in range(16)])
    draw = np.random.default_rng(1).integers(256, size=[16, 3, 12, 8]).astype(np.uint8)
    upright = Source(items, lambda item: draw[int(item.name)], {"source": "drawn"})
    build(upright, Output(str(folder / "upright"), shuffle=False))
    return folder


@pytest.fixture
def plan(data_dir, monkeypatch, capsys):
    """Options of a run by its command line."""

    def run(*args):
        command = ["run_training.py", f"--data-dir={data_dir}", "--dry-run", *args]
        if not any(arg.startswith("--dataset") for arg in args):
            command.append("--dataset=drawn")
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(run_training, "_print_plan", lambda *_: None)  # Takes seconds.
        run_training.main()
        return json.loads(capsys.readouterr().out)

    return run


def differences(a, b, name=""):
    """{name: (value in a, value in b)} of two dictionaries within dictionaries."""
    if isinstance(a, dict) and isinstance(b, dict):
        pairs = [differences(a.get(k), b.get(k), f"{name}.{k}") for k in sorted({*a, *b})]
        return {key: value for pair in pairs for key, value in pair.items()}
    return {} if a == b else {name[1:]: (a, b)}


# Options


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        ("--cmethod=bcr", {"D_loss_args.func_name": "training.comparison.consistency.D_bcr"}),
        (
            "--cmethod=zcr",
            {
                "G_loss_args.func_name": "training.comparison.consistency.G_zcr",
                "D_loss_args.func_name": "training.comparison.consistency.D_zcr",
                "G_args.num_fp16_res": 0,
                "D_args.num_fp16_res": 0,
                "G_args.conv_clamp": None,
                "D_args.conv_clamp": None,
            },
        ),
        ("--cmethod=pagan", {"D_args.use_pagan": True, "augment_args.target": 0.95}),
        ("--cmethod=pagan --target=0.6", {"D_args.use_pagan": True}),
        ("--cmethod=pagan --aug=noaug", {"D_args.use_pagan": True, "augment_args.target": 0.95}),
        ("--cmethod=adropout --aug=noaug", {"D_args.adaptive_dropout": 1.0}),
        (
            "--cmethod=wgangp --aug=noaug",
            {
                "G_loss_args.func_name": "training.loss.G_wgan",
                "D_loss_args.func_name": "training.loss.D_wgan_gp",
                "D_loss_args.gamma": None,
                "lazy_regularization": False,
                "sched_args.G_lrate_base": 0.001,
                "sched_args.D_lrate_base": 0.001,
                "G_args.num_fp16_res": 0,
                "D_args.num_fp16_res": 0,
                "G_args.conv_clamp": None,
                "D_args.conv_clamp": None,
                "augment_args.mode": "noaug",
            },
        ),
        (
            "--cmethod=auxrot --augpipe=color",
            {
                "G_loss_args.func_name": "training.comparison.rotations.G_auxrot",
                "D_loss_args.func_name": "training.comparison.rotations.D_auxrot",
                "D_args.score_max": 5,
                "augment_args.preset": "color",
            },
        ),
        ("--cmethod=spectralnorm", {"D_args.use_spectral_norm": True}),
        ("--cmethod=shallowmap", {"G_args.mapping_layers": 2}),
        ("--cmethod=adropout", {"D_args.adaptive_dropout": 1.0}),
        ("--dcap=0.25", {"D_args.fmap_base": 2048, "D_args.fmap_max": 128}),
    ],
)
def test_what_each_method_changes(plan, args, changes):
    plain, options = plan("--cfg=paper256"), plan("--cfg=paper256", *args.split())
    if "--cmethod" in args:
        changes = changes | {"cmethod": args.split()[0].split("=")[1]}
    assert {k: new for k, (_, new) in differences(plain, options).items()} == changes
    assert json.loads(json.dumps(TrainingOptions.from_json(options).to_json())) == options


def test_methods_of_other_configurations(plan):
    """Without path lengths, with fewer keyword arguments, with learning rates by resolution."""
    zcr = plan("--cfg=cifar", "--gpus=2", "--cmethod=zcr")
    assert zcr["G_loss_args"]["pl_weight"] == 0
    wgan = plan("--config=config-a", "--cmethod=wgangp")
    assert "num_fp16_res" not in wgan["D_args"] and wgan["sched_args"]["G_lrate_dict"] == {}
    assert plan("--cmethod=wgangp", "--lrate=0.5")["sched_args"]["D_lrate_base"] == 0.5
    small = plan("--config=config-f", "--dcap=0.5")
    assert (small["D_args"]["fmap_base"], small["D_args"]["fmap_max"]) == (8192, 256)
    assert "fmap_base" not in small["G_args"]
    given = plan("--config=config-f", "--dcap=0.5", "--fmap-base=100")
    assert (given["D_args"]["fmap_base"], given["G_args"]["fmap_base"]) == (50, 100)


@pytest.mark.parametrize(("args", "message"), CONFLICTS)
def test_what_does_not_go_together_is_named_in_one_line(plan, capsys, args, message):
    with pytest.raises((UserError, SystemExit)) as error:
        plan(*args.split())
    text = str(error.value) if error.type is UserError else capsys.readouterr().err
    assert message in text and len(text.strip().splitlines()) == 1, text


def test_unknown_methods_are_named():
    with pytest.raises(UserError, match="cmethod=mixup: use one of nocmethod, bcr"):
        find_method("mixup")


# Training


class Run:
    """A run in the current graph, which is taken step by step."""

    def __init__(self, options, devices):
        self.dataset = TFRecordDataset(**options.dataset_args, seed=options.seed)
        options = complete_options(options, self.dataset)
        self.G, self.D = Network("G", **options.G_args), Network("D", **options.D_args)
        self.Gs = self.G.clone("Gs")
        self.graph = TrainGraph(self.G, self.D, self.Gs, self.dataset, options, devices)
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        log2 = self.dataset.resolution_log2
        self.now = training_schedule(0, log2, len(devices), options.sched_args)

    def steps(self, begin, end):
        size = self.now.minibatch_size
        batches = self.dataset.minibatches(begin * size, size)
        for i in range(begin, end):
            self.graph.step(self.now, i * size, i, *next(batches))
        batches.close()

    def values(self):
        networks = {"G": self.G, "D": self.D, "Gs": self.Gs}
        values = {n: tflib.run(network.vars) for n, network in networks.items()}
        return values, float(tflib.run(self.graph.augment.strength))


def small_options(plan, *args):
    options = TrainingOptions.from_json(plan(*SIZE, *args))
    options.G_args["mapping_layers"] = 2
    options.augment_args.kimg, options.augment_args.interval = 0.1, 1
    return options


@pytest.mark.parametrize(
    ("args", "devices", "statistics"),
    [
        ("--cfg=stylegan2 --augpipe=blit --cmethod=bcr --dcap=2", 1, ["D/bcr_real", "D/bcr_fake"]),
        ("--config=config-e --cmethod=zcr --batch-gpu=4", 1, ["G/zcr", "D/zcr", "pl_lengths"]),
        ("--config=config-e --cmethod=wgangp --cond=false", 1, ["D/gradient_norm"]),
        (
            "--dataset=upright --cfg=cifar --aug=noaug --cmethod=auxrot",
            2,
            ["G/auxrot", "D/auxrot"],
        ),
    ],
)
def test_losses_train(plan, args, devices, statistics):
    options = small_options(plan, *args.split())
    options.sched_args.minibatch_gpu_base = 4 if devices == 2 or "batch-gpu" in args else 8
    with tflib.graph_session(seed=options.seed):
        run = Run(options, ["/cpu:0"] * devices)
        before = run.values()[0]
        run.steps(0, 2)
        after = run.values()[0]
        stats = autosummary.read_autosummaries()
        assert {f"Loss/{name}" for name in statistics} <= set(stats)
        assert all(np.isfinite(m.mean) for m in stats.values())
        assert stats["TrainG/skipped_steps"].mean == stats["TrainD/skipped_steps"].mean == 0
        for name in ("G", "D"):
            assert any(np.abs(after[name][n] - v).max() > 1e-5 for n, v in before[name].items())
        assert ("Loss/D/r1_penalty" in stats) == ("wgangp" not in args)


@pytest.mark.parametrize(
    ("args", "devices"),
    [
        ("--cmethod=spectralnorm --batch-gpu=4 --aug=noaug", 1),
        ("--cmethod=adropout --batch-gpu=4 --target=-1", 2),
        ("--cmethod=pagan --target=-1", 1),
    ],
)
def test_runs_with_a_state_go_on_exactly_and_their_snapshots_load(plan, tmp_path, args, devices):
    options = small_options(plan, "--cfg=cifar", *args.split())
    state = str(tmp_path / "training-state-000000.npz")
    with tflib.graph_session(seed=options.seed):
        run = Run(options, ["/cpu:0"] * devices)
        start = run.values()
        run.steps(0, 1)
        save_state(state, Counters.of_new_run(), keep=1)
        halfway = run.values()
        run.steps(1, 2)
        whole = run.values()
        assert all(np.isfinite(m.mean) for m in autosummary.read_autosummaries().values())
        pickles.save((run.G, run.D, run.Gs), str(tmp_path / "network.pkl"))
        images = np.random.default_rng(0).uniform(-1, 1, [4, 3, 8, 8]).astype(np.float32)
        labels = np.eye(4, run.dataset.label_size, dtype=np.float32)
        scores = run.D.run(images, labels)
        np.testing.assert_array_equal(run.D.run(images, labels), scores)
    with tflib.graph_session(seed=options.seed + 1):
        run = Run(options, ["/cpu:0"] * devices)
        read_state(state).restore()
        run.steps(1, 2)
        resumed = run.values()
    assert resumed[1] == whole[1]
    for name, values in whole[0].items():
        for key, value in values.items():
            np.testing.assert_array_equal(resumed[0][name][key], value, err_msg=f"{name}/{key}")
    if "spectralnorm" in args:
        vectors = [n for n in whole[0]["D"] if n.endswith("/sn")]
        moments = [[v[0]["D"][n] for n in vectors] for v in (start, halfway, whole)]
        assert len(vectors) == 3
        for a, b in itertools.pairwise(moments):
            assert all(np.abs(x - y).max() > 1e-5 for x, y in zip(a, b, strict=True))
    else:
        assert (halfway[1], whole[1]) == (pytest.approx(0.08), pytest.approx(0.16))
    with tflib.graph_session():
        _, D, _ = pickles.load(str(tmp_path / "network.pkl"))
        np.testing.assert_allclose(D.run(images, labels), scores, rtol=1e-5, atol=1e-6)


def test_a_run_on_the_command_line(run_script, data_dir, tmp_path):
    args = [f"--data-dir={data_dir}", "--dataset=drawn", f"--result-dir={tmp_path}", *SIZE]
    args += ["--cfg=auto", "--cmethod=adropout", "--aug=fixed", "--p=0.5", "--dcap=0.5"]
    done = run_script(["run_training.py", *args, "--total-kimg=0.064"])
    assert done.returncode == 0, done.stderr
    (run_dir,) = tmp_path.iterdir()
    assert run_dir.name == "00000-stylegan2-drawn-1gpu-auto-adropout-dcap0.5"
    rows = [json.loads(row) for row in open(run_dir / "stats.jsonl")]
    assert rows[-1]["augment"] == 0.5
    done = run_script(["run_training.py", *args, "--total-kimg=0.072", "--resume=latest"])
    assert done.returncode == 0, done.stderr
    args.remove("--cmethod=adropout")
    again = [*args, "--cmethod=spectralnorm", f"--resume={run_dir}"]
    done = run_script(["run_training.py", *again])
    assert done.returncode == 2 and re.search("cmethod adropout, not spectralnorm", done.stderr)
