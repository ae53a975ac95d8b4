"""What a run prints and writes, its names, and metrics of held-out images: one short run."""

import html
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from metrics.measure import find_snapshots
from metrics.results import kimg_of
from training.config.schedule import ScheduleOptions, schedule_notes
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.pictures.grids import RunGrid, white_border
from training.run.file_names import find_states, position_name, state_path
from training.run.reports import Reports, kimg_text, measured, measured_metrics

HELD_OUT = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_script):
    """`done` and `folder` of a run of 10 steps of 5 images, of which each is a tick.

    Of transparent pictures: they take the same way as others.
    """
    folder = tmp_path_factory.mktemp("run")
    output = Output(str(folder / "drawn"), shuffle=False, resolution=16, channels="rgba")
    create_demo(output, num_images=30)
    with tf.Graph().as_default() as graph:
        rows = tf.reduce_mean(tf.placeholder(tf.float32, [None, 16, 16, 3]), axis=2)
        tf.reshape(rows, [-1, 48])
        (folder / "rows.pb").write_bytes(graph.as_graph_def().SerializeToString())
    args = f"--data-dir={folder} --dataset=drawn --result-dir={folder}/results --config=config-e"
    args += " --fmap-base=32 --fmap-max=4 --latent-size=4 --mapping-layers=1 --total-kimg=0.05"
    args += f" --batch=5 --snap=3 --validation={HELD_OUT} --metrics=fid1k --metricdata=validation"
    done = run_script(["run_training.py", *args.split(), f"--feature-net={folder / 'rows.pb'}"])
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(done=done, folder=next((folder / "results").iterdir()))


def test_names_keep_the_exact_position(run):
    expected = ["000000", "000000.020", "000000.035", "000000.050"]
    for pattern in ("network-snapshot-*.pkl", "fakes0*.png"):
        names = [path.name for path in run.folder.glob(pattern)]
        assert sorted(names) == sorted(pattern.replace("0*", "*").replace("*", n) for n in expected)
    states = [f"training-state-{name}.npz" for name in expected[-2:]]
    assert [path.rpartition("/")[2] for path in find_states(str(run.folder))] == states
    [path] = run.folder.glob("metric-*.jsonl")
    rows = [json.loads(line) for line in path.open()]
    assert [row["kimg"] for row in rows] == [0, 0.02, 0.035, 0.05]
    assert {row["num_reals"] for row in rows} == {HELD_OUT}


def test_snapshots_are_in_order_whatever_their_names(tmp_path):
    names = ["000000", "000000.900", "000001", "000001.008", "000012", "1000000"]
    for name in names[::-1]:
        (tmp_path / f"network-snapshot-{name}.pkl").touch()
        (tmp_path / f"training-state-{name}.npz").touch()
    for paths in (find_snapshots(str(tmp_path)), find_states(str(tmp_path))):
        assert [path.rpartition("-")[2][:-4] for path in paths] == names
    assert [kimg_of(f"network-snapshot-{n}") for n in names] == [0, 0.9, 1, 1.008, 12, 1_000_000]
    assert kimg_of("network-final") is None and kimg_of("network-snapshot-1.5.pkl") is None
    assert position_name(25_000_032, True) == "025000"
    assert state_path("x", 3_208, False) == "x/training-state-000003.208.npz"


def test_held_out_images_are_scored_in_every_mode(run):
    rows = [json.loads(line) for line in open(run.folder / "stats.jsonl")]
    for row in rows:
        real, fake, held_out = (row[f"Loss/scores/{n}"] for n in ("real", "fake", "validation"))
        assert row["r_v"] == pytest.approx((real - held_out) / (real - fake))
        assert f"r_v {row['r_v']:.3f}" in run.done.stdout


def test_white_borders_of_fakes_are_reported(run):
    """Of the first eight of the grid: the drawn products are on white."""
    grid = np.asarray(Image.open(run.folder / "fakes000000.050.png"))
    fakes = [grid[:16, x : x + 16] for x in range(0, 128, 16)]
    sides = [[f[0], f[-1], f[1:-1, 0], f[1:-1, -1]] for f in fakes]
    expected = np.mean([(np.concatenate(s) >= 250).all(axis=1) for s in sides])
    rows = [json.loads(line) for line in open(run.folder / "stats.jsonl")]
    assert rows[-1]["white_border"] == pytest.approx(expected)
    assert f"white {expected:.3f} " in run.done.stdout
    [events] = run.folder.glob("events*")
    values = [v for e in tf.train.summary_iterator(str(events)) for v in e.summary.value]
    assert [v.tag for v in values].count("Progress/white_border") == 10


def test_networks_of_transparent_pictures_have_four_channels(run):
    options = json.loads((run.folder / "training_options.json").read_text())
    assert [options[f"{name}_args"]["num_channels"] for name in "GD"] == [4, 4]
    for name in ("reals", "fakes000000.050"):
        assert Image.open(run.folder / f"{name}.png").mode == "RGB"
    assert np.asarray(Image.open(run.folder / "reals.png"))[0, :16].min() > 200  # On white.


def test_borders_are_white_where_all_colors_are(tmp_path):
    reals = np.full([4, 3, 6, 8], 250, np.uint8)
    reals[:, :, 1:-1, 1:-1] = 0
    assert white_border(reals, (0, 255)) == 1
    reals[1, 2, 5, 3] = 249
    reals[2, 0, 3, 7] = 0
    assert white_border(reals, (0, 255)) == 1 - 2 / (4 * 24)
    assert white_border(reals / 127.5 - 1, (-1, 1)) == 1 - 2 / (4 * 24)
    assert white_border(np.full([1, 1, 4, 4], np.nan), (-1, 1)) == 0
    training_set = SimpleNamespace(shape=[3, 6, 8], num_images=4, label_size=0)
    training_set.image_index = lambda positions: positions
    training_set.labels = np.zeros([4, 0], np.float32)
    Gs = SimpleNamespace(output_shape=[None, 3, 6, 8])
    Gs.run = lambda latents, labels, **kwargs: np.ones([len(latents), 3, 6, 8])
    for dark, expected in ((2, 1.0), (3, None)):  # Of the 24 pixels along the sides.
        training_set.read_images = lambda chosen, dark=dark: np.where(
            np.arange(48).reshape(6, 8) < dark, 0, np.full([len(chosen), 3, 6, 8], 255, np.uint8)
        )
        grid = RunGrid(training_set, "1080p", [4], 1, str(tmp_path / f"{dark}.png"))
        assert grid.white_border(Gs) == expected


def test_tensorboard_has_pictures_of_bounded_size(run):
    [events] = run.folder.glob("events*")
    values = [v for e in tf.train.summary_iterator(str(events)) for v in e.summary.value]
    tags = [v.tag for v in values]
    assert tags.count("Images/reals") == 1 and tags.count("Images/fakes") == 1 + 4
    assert tags.count("Progress/r_v") == 10
    pictures = [v.image for v in values if v.tag.startswith("Images/")]
    assert all(0 < max(p.width, p.height) <= 1024 for p in pictures)
    assert len({p.encoded_image_string for p in pictures}) == len(pictures)


def test_large_grids_are_reduced(tmp_path):
    reports = Reports(str(tmp_path))
    noise = np.random.default_rng(0).integers(256, size=[1536, 3072], dtype=np.uint8)
    reports.image("Images/fakes", Image.fromarray(noise), 3)
    [events] = tmp_path.glob("events*")
    [value] = [v for e in tf.train.summary_iterator(str(events)) for v in e.summary.value]
    assert (value.image.width, value.image.height, value.image.colorspace) == (1024, 512, 1)
    assert events.stat().st_size < 1e6


def test_a_run_says_how_long_it_takes_and_what_comes_next(run):
    out = run.done.stdout
    assert re.search(r"^Building TensorFlow graph.*\nBuilt the graph in \d+", out, re.MULTILINE)
    ticks = re.findall(r"^tick .*", out, re.MULTILINE)
    assert "of 0.05 kimg, starts the graph" in ticks[0] and "kimg 0.005 " in ticks[0]
    assert all(re.search(r"of 0\.05 kimg, \S.* left", tick) for tick in ticks[1:])
    end = out[out.index("Done: 0.05 kimg in") :]
    network = run.folder / "network-final.pkl"
    for words in (
        f"Run directory: {run.folder}",
        f"Page: {run.folder / 'report.html'}",
        f"run_generator.py generate-grid --network={network}",
        f"run_metrics.py --network={run.folder} --metrics=fid1k",
        f"run_training.py --resume={run.folder} --total-kimg=N",
    ):
        assert words in end


def test_the_page_of_a_run_shows_it(run):
    """As it was when the run had ended."""
    page = (run.folder / "report.html").read_text()
    assert f"Page, from the first tick on: {run.folder / 'report.html'}\n" in run.done.stdout
    assert "none: the run is over" in page and "0.05 thousand" in page
    [machine] = re.findall(r"^Machine: (.*)$", run.done.stdout, re.MULTILINE)
    assert machine.endswith(f"TensorFlow {tf.__version__}") and html.escape(machine) in page
    [metric] = (path.stem.removeprefix("metric-") for path in run.folder.glob("metric-*.jsonl"))
    assert f'<th scope="row">{metric}</th>' in page and "<dt>Trained on</dt><dd>24 images" in page
    assert page.count("<svg") == 7 + 1  # Of statistics, and of the metric.
    assert page.count('"fakes0000') == 4 + 1  # Of the slider, and the one that is shown.


def test_metrics_that_a_resumed_run_drops_are_said(run, run_script):
    done = run_script(["run_training.py", f"--resume={run.folder}", "--total-kimg=0.055"])
    assert done.returncode == 0, done.stderr
    assert "Nothing is measured any more: fid1k were; --metrics" in done.stdout
    assert "Training from 0.05 to 0.055 kimg" in done.stdout


def test_metrics_are_known_by_what_the_command_line_calls_them(tmp_path):
    """Also those whose files are called otherwise, and those of older versions."""
    rows = {
        "kernel-rows-1k_full": ['{"snapshot": "s", "option": "kid1k_full"}'],
        "Brightness": ['{"snapshot": "s", "option": "my_code.Brightness"}', '{"snapshot": "t"}'],
        "fid50k": ['{"snapshot": "s"}', '{"snapshot": "s", "option": 5}'],
        "foreign": ["5", "[" * 9000, '{"snapshot": 3}', '{"note": "\\"snapshot\\": \\"s\\""}'],
    }
    for name, lines in rows.items():
        (tmp_path / f"metric-{name}.jsonl").write_text("\n".join(lines) + "\n")
    found = measured(str(tmp_path / "s.pkl"))
    assert set(found) == {"kid1k_full", "my_code.Brightness", "fid50k"}
    assert found["kid1k_full"] == str(tmp_path / "metric-kernel-rows-1k_full.jsonl")
    assert set(measured(str(tmp_path / "t.pkl"))) == {"Brightness"}
    names = measured_metrics(str(tmp_path))
    assert names == "my_code.Brightness,Brightness,fid50k,kid1k_full"


def test_positions_are_told_to_the_image():
    assert [kimg_text(n) for n in (0, 8, 800, 12_032, 25_000_000)] == [
        "0",
        "0.008",
        "0.8",
        "12.032",
        "25000",
    ]


NEAREST = {1: 4, 5: 4, 7: 8, 11: 12, 13: 12, 25: 24}


@pytest.mark.parametrize(("size", "nearest"), NEAREST.items())
def test_minibatches_that_cannot_be_compared_are_said(size, nearest, run):
    def notes(**options):
        return schedule_notes(4, 1, 4, ScheduleOptions(minibatch_size_base=size, **options))

    [note] = notes()
    assert f"--batch={size} " in note and note.endswith(f"groups is --batch={nearest}")
    assert not notes(minibatch_gpu_base=size) or size == 1
    assert schedule_notes(4, 1, 4, ScheduleOptions(minibatch_size_base=nearest)) == []
    assert schedule_notes(4, 1, None, ScheduleOptions(minibatch_size_base=size)) == []
    if size == 5:
        assert f"Warning: {note}" in run.done.stdout


def test_one_image_at_once_is_said_where_it_was_asked_for():
    options = ScheduleOptions(minibatch_size_base=8, minibatch_gpu_base=1)
    [note] = schedule_notes(4, 1, 4, options)
    assert "8 rounds of 1 sample" in note and "--batch-gpu that is a multiple of 4" in note
