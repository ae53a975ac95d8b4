"""Training as its user runs it: the command line, on real photos where they are at hand."""

import io
import json
import os
import re
import resource
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from dnnlib.output import tqdm
from training import training_loop
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.datasets.sources.images import create_from_images
from training.run.reports import Reports

SMALL = [
    "--config=config-e",
    "--batch=8",
    "--fmap-base=64",
    "--fmap-max=8",
    "--latent-size=8",
    "--mapping-layers=2",
    "--seed=7",
]
STATUS = re.compile(
    r"^tick \d+ +kimg [\d.]+ +time \S.*? +sec/tick [\d.]+ +sec/kimg [\d.]+ +maintenance [\d.]+ "
    r".*augment [\d.]+ +r_t -?[\d.]+ +mem [\d.]+$",
    re.MULTILINE,
)


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, shared):
    """Datasets of real photos, without labels: `photos` 16×16, `photos32` 32×32."""
    clothing = shared / "data" / "clothing-small"
    folder = tmp_path_factory.mktemp("data")
    source = folder / "some"
    source.mkdir()
    for category in ("dress", "shoes", "t-shirt"):
        names = sorted(os.listdir(clothing / category))[:20]
        for name in names:
            os.symlink(clothing / category / name, source / f"{category}-{name}")
    for name, size in (("photos", 16), ("photos32", 32)):
        output = Output(str(folder / name), resolution=size, transform="pad-white")
        create_from_images(output, str(source))
    return folder


@pytest.fixture(scope="module")
def drawn_dir(tmp_path_factory):
    """A dataset `drawn`, with labels."""
    folder = tmp_path_factory.mktemp("drawn")
    create_demo(Output(str(folder / "drawn"), shuffle=False, resolution=16), num_images=24)
    return folder


def train(run_script, result_dir, *args):
    result = run_script(["run_training.py", f"--result-dir={result_dir}", *SMALL, *args])
    assert result.returncode == 0, result.stderr
    return result, sorted(result_dir.iterdir())[-1]


def read_stats(run_dir):
    """Losses and scores of every tick; what depends on the clock is left out."""
    rows = [json.loads(line) for line in open(run_dir / "stats.jsonl")]
    clock = ("time", "sec_per_tick", "sec_per_kimg", "maintenance", "peak_memory_gb")
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


@pytest.fixture(scope="module")
def photo_run(tmp_path_factory, data_dir, run_script):
    folder = tmp_path_factory.mktemp("results")
    args = (f"--data-dir={data_dir}", "--dataset=photos", "--total-kimg=0.2", "--snap=5")
    return train(run_script, folder, *args)


def test_run_directory_on_real_photos(photo_run):
    result, run_dir = photo_run
    assert run_dir.name == "00000-stylegan2-photos-1gpu-config-e"
    names = {path.name for path in run_dir.iterdir()}
    assert {
        "log.txt",
        "report.html",
        "stats.jsonl",
        "training_options.json",
        "reals.png",
        "fakes_init.png",
        "fakes000000.png",
        "network-snapshot-000000.pkl",
        "network-final.pkl",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.endswith(".partial") for name in names)
    assert len(STATUS.findall(result.stdout)) >= 10
    assert STATUS.findall((run_dir / "log.txt").read_text()) == STATUS.findall(result.stdout)
    options = json.loads((run_dir / "training_options.json").read_text())
    assert options["sched_args"]["minibatch_size_base"] == 8
    assert options["G_args"]["resolution"] == 16


def test_losses_are_finite_and_regularization_runs(photo_run):
    rows = read_stats(photo_run[1])
    last = rows[-1]
    for name in ("Loss/G/loss", "Loss/D/loss", "Loss/scores/real", "Loss/scores/fake"):
        assert all(np.isfinite(row[name]) for row in rows), name
    assert any("Loss/pl_lengths" in row for row in rows)
    assert any("Loss/D/r1_penalty" in row for row in rows)
    assert last["kimg"] == 0.2 and last["pl_mean"] > 0
    assert last["TrainG/skipped_steps"] == 0 and last["TrainD/skipped_steps"] == 0


def test_grids_show_reals_and_changing_fakes(photo_run):
    run_dir = photo_run[1]
    reals = np.asarray(Image.open(run_dir / "reals.png"))
    first = np.asarray(Image.open(run_dir / "fakes_init.png"))
    last = np.asarray(Image.open(run_dir / "fakes000000.png"))
    assert reals.shape == first.shape == last.shape
    assert reals.shape[0] % 16 == 0 and reals.shape[1] % 16 == 0
    assert reals.std() > 20 and (first != last).any()


def test_tensorboard_has_the_curves(photo_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(photo_run[1])).Reload()
    curve = events.Scalars("Loss/G/loss")
    rows = [row for row in read_stats(photo_run[1]) if "Loss/G/loss" in row]
    np.testing.assert_allclose([p.value for p in curve], [r["Loss/G/loss"] for r in rows], 1e-6)


def test_a_new_process_makes_identical_images(photo_run, run_script, tmp_path):
    network = photo_run[1] / "network-final.pkl"
    grids = []
    for name in ("a.png", "b.png"):
        out = tmp_path / name
        args = [f"--network={network}", "--grid=3x2", "--truncation-psi=0.7", f"--out={out}"]
        result = run_script(["run_generator.py", "generate-grid", *args])
        assert result.returncode == 0, result.stderr
        grids.append(np.asarray(Image.open(out)))
    assert grids[0].shape == (32, 48, 3)
    np.testing.assert_array_equal(grids[0], grids[1])


def test_the_grid_in_training_is_what_the_snapshot_makes(photo_run):
    """The last fakes of the run, made again from the snapshot in another process (this one)."""
    from dnnlib import tflib
    from training.snapshots import pickles

    run_dir = photo_run[1]
    shown = np.asarray(Image.open(run_dir / "fakes000000.png"))
    columns = shown.shape[1] // 16
    with tflib.graph_session():
        Gs = pickles.load(str(run_dir / "network-snapshot-000000.pkl"))[2]
        rng = np.random.Generator(np.random.Philox(key=[7, 0], counter=[0, 0, 0, 2]))
        count = columns * (shown.shape[0] // 16)
        latents = rng.standard_normal([count, 8], dtype=np.float32)
        image = Gs.run(latents[:5], None, is_validation=True, randomize_noise=False)
    row = np.concatenate(list(image), axis=2).transpose(1, 2, 0)
    expected = np.rint((row + 1) * 127.5).clip(0, 255)
    # Another minibatch size may round the last bit differently.
    assert np.abs(shown[:16, : 5 * 16] - expected).max() <= 1


def test_same_seed_same_run(photo_run, data_dir, run_script, tmp_path):
    args = (f"--data-dir={data_dir}", "--dataset=photos", "--total-kimg=0.2", "--snap=5")
    _, again = train(run_script, tmp_path, *args)
    assert read_stats(again) == read_stats(photo_run[1])
    for name in ("fakes000000.png", "network-final.pkl"):
        assert (again / name).read_bytes() == (photo_run[1] / name).read_bytes(), name
    _, other = train(run_script, tmp_path, *args, "--seed=8", "--total-kimg=0.03")
    assert read_stats(other)[0] != read_stats(again)[0]


def test_labels_are_used_and_accumulation_works(drawn_dir, run_script, tmp_path):
    args = (f"--data-dir={drawn_dir}", "--dataset=drawn", "--total-kimg=0.04", "--batch-gpu=4")
    _, run_dir = train(run_script, tmp_path, *args, "--mirror-augment=true")
    options = json.loads((run_dir / "training_options.json").read_text())
    assert options["G_args"]["label_size"] == options["D_args"]["label_size"] == 6
    assert all(np.isfinite(row["Loss/D/loss"]) for row in read_stats(run_dir))
    out = tmp_path / "grid.png"
    args = [f"--network={run_dir / 'network-final.pkl'}", "--grid=2x6", f"--out={out}"]
    result = run_script(["run_generator.py", "generate-grid", "--class=Shoe,bag", *args])
    assert "class 3 (shoe): rows 1, 3, 5\n  class 4 (bag): rows 2, 4, 6\n" in result.stdout
    assert Image.open(out).size == (32, 96)


def test_networks_of_ada_with_labels(drawn_dir, run_script, tmp_path):
    """From `--config=auto` to pictures of a class, by the snapshot that others read."""
    from training.snapshots import pickles

    args = (f"--data-dir={drawn_dir}", "--dataset=drawn", "--config=auto", "--total-kimg=0.04")
    _, run_dir = train(run_script, tmp_path / "results", *args)
    assert run_dir.name == "00000-stylegan2-drawn-1gpu-auto"
    rows = read_stats(run_dir)
    assert all(np.isfinite(row["Loss/D/loss"]) for row in rows)
    assert any("Loss/pl_lengths" in row for row in rows)
    assert rows[-1]["TrainG/skipped_steps"] == rows[-1]["TrainD/skipped_steps"] == 0
    network = run_dir / "network-final.pkl"
    for net in pickles.load(str(network)):
        assert (net.build_module, net.origin.version) == ("training.networks", 5)
        assert net.static_kwargs["label_size"] == 6
        assert net.static_kwargs["conv_clamp"] == 256
    args = [f"--network={network}", "--seeds=1", "--class=5", f"--result-dir={tmp_path / 'out'}"]
    result = run_script(["run_generator.py", "generate-images", *args])
    assert result.returncode == 0, result.stderr
    assert [Image.open(path).size for path in tmp_path.glob("out/*/seed*.png")] == [(16, 16)]


def test_dry_run_prints_the_options_and_leaves_nothing(drawn_dir, run_script, tmp_path):
    args = ["run_training.py", f"--data-dir={drawn_dir}", "--dataset=drawn", "--gamma=3", "-n"]
    result = run_script([*args, f"--result-dir={tmp_path / 'none'}"])
    options = json.loads(result.stdout)
    assert options["D_loss_args"]["gamma"] == 3
    assert options["D_loss_args"]["func_name"] == "training.loss.D_logistic_r1"
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def broken_dir(tmp_path_factory):
    """Datasets with one defect each."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("truncated", "labels"):
        create_demo(Output(str(folder / name), shuffle=False, resolution=8), num_images=12)
    path = folder / "truncated" / "truncated-r03.tfrecords"
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 30)
    np.save(open(folder / "labels" / "labels-rxx.labels", "wb"), np.eye(5, dtype=np.float32))
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--dataset=nowhere"], "no folder .*nowhere"),
        (["--dataset=empty"], "empty is no dataset"),
        (["--dataset=truncated"], r"truncated-r03\.tfrecords.*truncated"),
        (["--dataset=labels"], r"labels-rxx\.labels has 5 labels.*12 images"),
        (["--dataset=labels", "--resolution=64"], "no level of resolution 64|5 labels"),
        (["--dataset=labels", "--config=config-z"], "config-z.*config-e"),
        (["--dataset=labels", "--gamma=abc"], "--gamma: expected a number"),
        (["--dataset=labels", "--gama=1"], r"arguments: --gama=1; did you mean --gamma\?"),
        (["--dataset=labels", "--metrics=fid"], "--metrics=fid"),
        (["--dataset=labels", "--num-gpus=0"], "--num-gpus/--gpus: expected a whole number"),
        (
            ["--dataset=labels", "--lod-kimg=1"],
            "--lod-kimg is for config-a.*config-f does not grow",
        ),
        ([], "--dataset is missing"),
    ],
)
def test_bad_input_is_one_line(broken_dir, run_script, tmp_path, args, message):
    common = [f"--data-dir={broken_dir}", f"--result-dir={tmp_path / 'results'}"]
    result = run_script(["run_training.py", *common, *args])
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert re.search(message, result.stderr), result.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("script", "args", "message"),
    [
        (
            "training",
            "--dataset=labels --resume=gone.pkl",
            r"cannot read snapshot gone\.pkl: No such",
        ),
        ("training", "--dataset=labels --resume=metface", "did you mean .*metfaces"),
        ("training", "--dataset=labels --metrics=fid1k --feature-net=gone.pb", "no file gone.pb"),
        (
            "training",
            "--dataset=labels --metrics=fid1k --feature-net=inception=gone.tgz",
            "no file gone.tgz",
        ),
        (
            "training",
            "--dataset=labels --feature-net=README.md",
            "--feature-net is what.*--metrics",
        ),
        ("training", "--dataset=labels --metrics=fid1k --metricdata=gone", "--metricdata: .*gone"),
        (
            "training",
            "--dataset=labels --metrics=fid1k --metricdata=validation",
            "--metricdata=validation: no images are held out: add --validation=N",
        ),
        ("metrics", "--network=gone.pkl", r"cannot read snapshot gone\.pkl: No such file"),
        ("metrics", "--network=README.md --dataset=gone", r"no folder gone \(--data-dir names"),
        ("metrics", "--network=README.md --feature-net=gone.pb", "no file gone.pb"),
        ("generator", "info --network=gone.pkl", r"cannot read snapshot gone\.pkl: No such file"),
    ],
)
def test_names_by_hand_are_looked_for_first(
    broken_dir, run_script, tmp_path, script, args, message
):
    """TensorFlow, which takes many seconds, is not loaded: here it cannot be."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow is loaded')")
    command = [f"run_{script}.py", *args.split()]
    command += [f"--data-dir={broken_dir}"] if script == "training" else []
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = run_script(command, env=env)
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert re.search(message, result.stderr), result.stderr


def test_more_bad_input(drawn_dir, run_script, tmp_path):
    """What is found only when a run directory is made or the networks are built."""
    (tmp_path / "file").write_text("no folder")
    common = ["run_training.py", f"--data-dir={drawn_dir}", "--dataset=drawn", *SMALL]
    for args, message in [
        ([f"--result-dir={tmp_path / 'file' / 'results'}"], "choose another --result-dir"),
        ([f"--result-dir={tmp_path}", "--num-gpus=3"], "--batch=8 is not a multiple"),
        ([f"--result-dir={tmp_path}", "--batch-gpu=3"], "--batch=8 is not a multiple"),
    ]:
        result = run_script([*common, *args])
        assert result.returncode == 2, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert message in result.stderr


@pytest.mark.parametrize("config", ["config-a", "config-b", "config-c", "config-d"])
def test_progressive_growing_on_real_photos(data_dir, run_script, tmp_path, config):
    """From 8×8 through two changes of resolution, faded in, with everything that trains."""
    args = (f"--data-dir={data_dir}", "--dataset=photos32", f"--config={config}")
    args += ("--total-kimg=0.36", "--lod-kimg=0.06", "--snap=100")
    result, run_dir = train(run_script, tmp_path, *args)
    rows = read_stats(run_dir)
    lods = [row["lod"] for row in rows]
    assert rows[0]["resolution"] == 8
    assert {row["resolution"] for row in rows} == {8, 16, 32}
    assert lods == sorted(lods, reverse=True) and lods[0] == 2 and lods[-1] == 0
    assert any(0 < lod < 1 for lod in lods) and any(1 < lod < 2 for lod in lods)
    assert re.search(r"^tick .* res 16 +lod 1\.", result.stdout, re.MULTILINE)
    for row in rows:
        assert all(np.isfinite(v) for k, v in row.items() if k.startswith("Loss/")), row
        assert row["TrainG/skipped_steps"] == row["TrainD/skipped_steps"] == 0
    assert any("Loss/pl_lengths" in row for row in rows) == (config == "config-d")
    lazy = config in ("config-c", "config-d")
    assert all("Loss/D/r1_penalty" in row for row in rows) != lazy
    assert (run_dir / "network-final.pkl").exists()


def test_statistics_that_cannot_be_written_do_not_end_a_run(session, tmp_path, capsys, monkeypatch):
    """What comes when there is space is written; and nothing else on stderr or in the folder."""
    for early in (True, False):  # Whether something is written before the disk is full.
        folder = tmp_path / f"early{early}"
        folder.mkdir()
        reports = Reports(str(folder))
        if early:
            reports.scalars({"early": 1.0}, 0)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
            reports.scalars({"lost": 2.0}, 1)
            reports.scalars({f"lost{i}": 2.0 for i in range(9)}, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            signal.signal(signal.SIGXFSZ, previous)
        reports.scalars({"late": 3.0}, 3)
        printed = capsys.readouterr()
        warning = "Warning: cannot write statistics: "
        lines = printed.out.splitlines()
        assert 1 <= len(lines) <= 2 and all(line.startswith(warning) for line in lines)
        assert "Traceback" not in printed.err
        [file] = folder.glob("events*")
        events = list(tf.train.summary_iterator(str(file)))
        assert events[0].file_version == "brain.Event:2"
        tags = [v.tag for event in events for v in event.summary.value]
        assert tags[-1] == "late" and ("early" in tags) == early and "lost8" not in tags


def test_the_bar_of_a_run_ends_where_the_run_is_over():
    """The last step may go beyond."""
    with warnings.catch_warnings(), tqdm(total=0.2, file=io.StringIO(), mininterval=0) as bar:
        warnings.simplefilter("error")
        for _ in range(4):
            training_loop._advance(bar, 0.064)
        assert bar.n == pytest.approx(0.2)
