"""Held-out images: never trained on, scored by --aug=adarv, left out by metrics."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import run_training
from dnnlib import UserError, tflib
from dnnlib.tflib import Network, autosummary
from metrics.evaluation import Evaluation, MetricOptions, other_dataset_args
from training import training_loop
from training.augmentation.presets import AugmentOptions
from training.config.command_line import options_from_args
from training.config.options import set_network_size
from training.config.presets import preset
from training.config.schedule import training_schedule
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.format.label_file import write_labels
from training.datasets.format.level_files import RecordWriter
from training.datasets.sources.demo_dataset import create_demo
from training.pictures.grids import setup_snapshot_image_grid
from training.run import data as run_data
from training.run.data import complete_options, copies_of_held_out
from training.run.file_names import find_states
from training.run.train_graph import TrainGraph
from training.snapshots import pickles

ROOT = Path(__file__).resolve().parents[2]
COUNT, HELD_OUT = 11, 4
CLOCK = ("time", "sec_per_tick", "sec_per_kimg", "maintenance", "peak_memory_gb")


# The dataset


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, [COUNT, 3, 8, 8], dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images):
    """A dataset whose labels are the numbers of its images."""
    path = tmp_path_factory.mktemp("data") / "shop"
    path.mkdir()
    with RecordWriter(str(path), "shop", [3, 2]) as writer:
        for image in images:
            writer.add(image)
    labels = np.eye(COUNT, dtype=np.float32)
    write_labels(str(path / "shop-rxx.labels"), iter([labels]), *labels.shape)
    return str(path)


def which(batch, images):
    return [int(np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0]) for image in batch]


def epochs(dataset, images, count=3):
    """Which images the first minibatches hold, an epoch a row; their labels say the same."""
    stream = dataset.minibatches(0, 1)
    batches = list(itertools.islice(stream, count * dataset.num_images))
    stream.close()
    seen = which(np.concatenate([b[0] for b in batches]), images)
    assert seen == [int(b[1].argmax()) for b in batches]
    return np.reshape(seen, [count, dataset.num_images]).tolist()


def test_held_out_images_are_never_seen(folder, images, session):
    dataset = TFRecordDataset(folder, validation=HELD_OUT, seed=3)
    held_out = dataset.validation_set()
    assert (dataset.num_images, held_out.num_images) == (COUNT - HELD_OUT, HELD_OUT)
    trained, validated = epochs(dataset, images), epochs(held_out, images)
    assert sorted(trained[0] + validated[0]) == list(range(COUNT))
    for rows in (trained, validated):
        assert len({tuple(sorted(row)) for row in rows}) == 1  # the same images,
        assert len({tuple(row) for row in rows}) > 1  # and in another order
    train = set(trained[0])
    assert set(dataset.get_random_labels_np(200).argmax(axis=1)) == train
    drawn = tflib.run(dataset.get_random_labels_tf(200, np.array([1, 2], np.int32)))
    assert set(drawn.argmax(axis=1)) == train
    _, reals, labels = setup_snapshot_image_grid(dataset, "1080p")
    assert set(which(reals, images)) == set(labels.argmax(axis=1)) == train
    np.testing.assert_array_equal(dataset.whole().read_images(np.arange(COUNT)), images)


def test_which_are_held_out_depends_on_the_seed_alone(folder, images):
    def held_out(seed, **kwargs):
        dataset = TFRecordDataset(folder, validation=HELD_OUT, seed=seed, **kwargs)
        return tuple(dataset.validation_set().numbers)

    assert held_out(3) == held_out(3) == held_out(3, resolution=4, max_label_size=0)
    assert len({held_out(seed) for seed in range(8)}) > 4
    assert max(held_out(3, max_images=6)) < 6


def content_of(part):
    """As computed anew: parts of a dataset share what was computed before."""
    return type(part).content.func(part)


def test_what_is_held_out_is_part_of_the_content(folder):
    """Or the cache of metrics took one part's features for another's."""
    splits = [{"validation": HELD_OUT, "seed": seed} for seed in (3, 3, 4)]
    one, same, other = (TFRecordDataset(folder, max_label_size=0, **split) for split in splits)
    assert one.content == content_of(one)
    parts = one, one.whole(), one.validation_set(), other
    assert [part.content for part in parts] == [content_of(part) for part in parts]
    assert len({content_of(part) for part in parts}) == len(parts)
    assert content_of(one) == content_of(same)


def test_without_held_out_images_the_order_is_as_it_was(folder):
    order = np.random.Generator(np.random.Philox(key=[5, 2])).permutation(COUNT)
    index = TFRecordDataset(folder, seed=5).image_index(np.arange(2 * COUNT, 3 * COUNT))
    np.testing.assert_array_equal(index, order)


@pytest.fixture(scope="module")
def with_copies(tmp_path_factory):
    """A dataset of 12 images, of which 8 to 11 are copies of 0 to 3."""
    random = np.random.default_rng(4)
    low = random.integers(20, 236, [8, 3, 4, 4])
    originals = np.repeat(np.repeat(low, 32, axis=2), 32, axis=3)
    noisy = originals[:4, :, :, ::-1] + random.integers(-3, 4, originals[:4].shape)
    path = tmp_path_factory.mktemp("copies") / "shop"
    path.mkdir()
    with RecordWriter(str(path), "shop", [7, 6, 5, 4, 3, 2]) as writer:
        for image in np.concatenate([originals, noisy]).astype(np.uint8):
            writer.add(image)
    return path


def test_held_out_images_with_copies_among_the_others_are_counted(with_copies, monkeypatch):
    counts = []
    for seed in range(4):
        dataset = TFRecordDataset(str(with_copies), validation=5, seed=seed)
        trained = set(dataset.numbers % 8)
        counts.append(copies_of_held_out(dataset))
        assert counts[-1] == sum(n % 8 in trained for n in dataset.validation_set().numbers)
    assert len(set(counts)) > 1
    assert copies_of_held_out(TFRecordDataset(str(with_copies))) == 0
    monkeypatch.setattr(run_data, "read_manifest", lambda dataset: {"dedupe": "near"})
    assert copies_of_held_out(dataset) == 0 < counts[-1]


def test_products_that_white_does_not_show_are_no_copies_of_each_other(tmp_path):
    (tmp_path / "shop").mkdir()
    with RecordWriter(str(tmp_path / "shop"), "shop", [6, 5, 4, 3, 2]) as writer:
        for number in range(8):
            image = np.full([4, 64, 64], 255, np.uint8)
            image[3, :, number * 8 :] = 0
            writer.add(image)
    assert copies_of_held_out(TFRecordDataset(str(tmp_path / "shop"), validation=3)) == 0


def test_a_new_run_warns_of_copies(with_copies, tmp_path, monkeypatch, capsys):
    def no_networks(options, training_set):
        raise UserError("enough")

    monkeypatch.setattr(training_loop, "_build_networks", no_networks)
    options = small_options("ada", 5)
    options.dataset_args = {"tfrecord_dir": str(with_copies), "validation": 5, "seed": 1}
    options.seed = 1
    dataset = TFRecordDataset(**options.dataset_args)
    with pytest.raises(UserError, match="enough"):
        training_loop.train(options, str(tmp_path), "run")
    said = capsys.readouterr().out
    assert (
        f"Warning: {copies_of_held_out(dataset)} of the 5 images held out have near-duplicates "
        "among those trained on" in said
    )
    assert "--dedupe=near" in said


def test_both_parts_need_images(folder):
    for count in (COUNT, COUNT + 1, -1):
        with pytest.raises(UserError, match=rf"--validation={count}.*11 images: hold out 1 to 10"):
            TFRecordDataset(folder, validation=count)
    with pytest.raises(UserError, match="no images are held out; --validation=N"):
        TFRecordDataset(folder).validation_set()


# A training step


def small_options(mode, validation):
    options = preset("config-e")
    options.G_loss_args = {"func_name": "training.loss.G_logistic_ns"}
    options.D_loss_args = {"func_name": "training.loss.D_logistic"}
    options.sched_args.minibatch_size_base, options.sched_args.minibatch_gpu_base = 8, 2
    options.sched_args.D_lrate_base = 0.0  # So that the scores can be computed again.
    options.augment_args = AugmentOptions(mode=mode, preset="blit", interval=1, target=0.5)
    options.dataset_args = {"validation": validation}
    set_network_size(options, fmap_base=32, fmap_max=4, latent_size=4, mapping_layers=1)
    return options


def first_step(folder, mode, validation):
    """Means of what a step of two replicas reports in two rounds; D's scores of held-out images."""
    options = small_options(mode, validation)
    dataset = TFRecordDataset(folder, seed=options.seed, **options.dataset_args)
    options = complete_options(options, dataset)
    batches = [next(dataset.minibatches(0, 8))]
    if mode == "adarv":
        batches.append(next(dataset.validation_set().minibatches(0, 8)))
    with tflib.graph_session(seed=1):
        G, D = Network("G", **options.G_args), Network("D", **options.D_args)
        graph = TrainGraph(G, D, G.clone("Gs"), dataset, options, ["/cpu:0"] * 2)
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        graph.step(training_schedule(0, 3, 2, options.sched_args), 0, 0, *batches[0], *batches[1:])
        stats = {name: m.mean for name, m in autosummary.read_autosummaries().items()}
        strength = float(tflib.run(graph.augment.strength))
        held_out, labels = batches[-1]
        held_out = held_out.astype(np.float32) / 127.5 - 1
        scores = [D.run(held_out[i : i + 2], labels[i : i + 2]) for i in range(0, 8, 2)]
    return stats, np.concatenate(scores).mean(), strength


def test_a_step_scores_held_out_images_and_leaves_the_rest_alone(folder):
    stats, mean, strength = first_step(folder, "adarv", HELD_OUT)
    validation = stats.pop("Loss/scores/validation")
    assert validation == pytest.approx(mean, abs=1e-5)  # p is 0: no image is augmented
    real, fake = stats["Loss/scores/real"], stats["Loss/scores/fake"]
    r_v = stats.pop("r_v")
    assert r_v == pytest.approx((real - validation) / (real - fake), rel=1e-3)
    assert strength == pytest.approx(8 / 500_000 if r_v > 0.5 else 0)
    other, *_ = first_step(folder, "noaug", HELD_OUT)
    assert other == pytest.approx(stats, rel=1e-5, abs=1e-5)
    assert -1 <= other["Loss/signs/real"] <= 1


# Whole runs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Options of a short run on `drawn`; there is a dataset `more` like it, and others unlike."""
    folder = tmp_path_factory.mktemp("data")
    for name, resolution, count in (("drawn", 8, 36), ("more", 8, 50), ("small", 4, 12)):
        output = Output(str(folder / name), shuffle=False, resolution=resolution)
        create_demo(output, num_images=count)
    (folder / "more.pb").write_bytes(feature_network())
    run = "--config=config-e --batch=8 --fmap-base=32 --fmap-max=4 --latent-size=4"
    run += " --mapping-layers=1 --total-kimg=0.2 --snap=100 --validation=6 --aug=adarv --target=-1"
    return SimpleNamespace(
        folder=folder,
        run=[f"--data-dir={folder}", "--dataset=drawn", *run.split()],
        metrics=["--metrics=fid1k", f"--feature-net={folder / 'more.pb'}"],
    )


def feature_network():
    """A frozen graph: the mean colours of the image's rows."""
    with tf.Graph().as_default() as graph:
        rows = tf.reduce_mean(tf.placeholder(tf.float32, [None, 8, 8, 3]), axis=2)
        tf.reshape(rows, [-1, 24])
        return graph.as_graph_def().SerializeToString()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data, run_script):
    """Directory of a run that was never ended, which was measured."""
    results = tmp_path_factory.mktemp("whole")
    done = run_script(["run_training.py", f"--result-dir={results}", *data.run, *data.metrics])
    assert done.returncode == 0, done.stderr
    assert "30 images [3, 8, 8] and 6 held out" in done.stdout
    return next(results.iterdir())


def rows_of(run_dir):
    rows = [json.loads(line) for line in open(run_dir / "stats.jsonl")]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


def num_reals(run_dir):
    [path] = run_dir.glob("metric-*.jsonl")
    return {json.loads(line)["num_reals"] for line in open(path)}


def test_a_run_reports_the_overfitting(whole_run):
    log = (whole_run / "log.txt").read_text()
    rows = rows_of(whole_run)
    r_v = [row["r_v"] for row in rows if "r_v" in row]
    assert len(r_v) > 3 and np.isfinite(r_v).all()
    assert rows[-1]["augment"] > 0  # the target is out of reach
    assert f"r_v {r_v[-1]:.3f}" in log
    assert all(
        {"augment", "Loss/signs/real", "Loss/scores/validation"} <= row.keys() for row in rows
    )
    [events] = whole_run.glob("events*")
    values = (v for event in tf.train.summary_iterator(str(events)) for v in event.summary.value)
    assert {"Progress/augment", "Progress/r_v", "Loss/signs/real"} <= {v.tag for v in values}


def test_a_killed_run_goes_on_exactly_and_measures_with_other_data(
    tmp_path, data, whole_run, run_script
):
    command = [sys.executable, str(ROOT / "run_training.py"), f"--result-dir={tmp_path}"]
    process = subprocess.Popen([*command, *data.run], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("*/training-state*")):  # that of the first of four minibatches
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    [run_dir] = tmp_path.iterdir()
    args = [f"--resume={run_dir}", f"--data-dir={data.folder}", "--metricdata=more", *data.metrics]
    done = run_script(["run_training.py", *args])
    assert done.returncode == 0, done.stderr
    assert rows_of(run_dir) == rows_of(whole_run)
    weights = "network-final.pkl"
    assert (run_dir / weights).read_bytes() == (whole_run / weights).read_bytes()
    states = [np.load(find_states(str(d))[-1]) for d in (run_dir, whole_run)]
    for name in set(states[0].files) - {"meta"}:
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)
    assert num_reals(run_dir) == {50} and num_reals(whole_run) == {30}


def test_metrics_leave_out_what_was_held_out(whole_run):
    options = json.loads((whole_run / "training_options.json").read_text())
    dataset = TFRecordDataset(**{**options["dataset_args"], "seed": options["seed"]})
    network = SimpleNamespace(name="none", sha256="0", key="none")
    with tflib.graph_session(seed=1):
        Gs = pickles.load_generator(str(whole_run / "network-final.pkl"))
        with Evaluation(Gs, "x", MetricOptions(options["dataset_args"], seed=1)) as evaluation:
            reals = evaluation.reals(network, None, mirror=False)
            images = np.concatenate(list(reals.images()))
    np.testing.assert_array_equal(images, dataset.read_images(np.arange(30)))
    np.testing.assert_array_equal(reals.index, dataset.numbers)  # by which features are cached


def test_metrics_know_what_was_trained_on(data):
    """Where others compare with other photos."""
    words = [*data.run, "--metrics=kid1k_full,copies"]
    for name, folder in (("validation", None), ("more", str(data.folder / "more"))):
        args = run_training._parse_args([*words, f"--metricdata={name}"])
        options = options_from_args(args)
        metric_data = run_training._metric_data(args, options)
        metrics = run_training._metrics(args, options, *metric_data).options
        assert metrics.held_out == (folder is None)
        used = metrics.dataset_args if metrics.trained_args is None else metrics.trained_args
        assert used == options.dataset_args and used["validation"] == 6
        assert metrics.dataset_args["tfrecord_dir"] == folder or folder is None


def test_data_for_metrics_has_to_be_of_the_same_kind(data, folder, tmp_path, run_script):
    with RecordWriter(str(tmp_path), "grey", [3, 2]) as writer:
        writer.add(np.zeros([1, 8, 8], np.uint8))
    trained = {"tfrecord_dir": str(data.folder / "drawn"), "validation": 6, "seed": 1}
    more, small = (str(data.folder / name) for name in ("more", "small"))
    assert other_dataset_args(more, trained)["tfrecord_dir"] == more
    with pytest.raises(UserError, match=r"--metricdata: .*small has no level of resolution 8"):
        other_dataset_args(small, trained)
    with pytest.raises(UserError, match=r"has images \[1, 8, 8\], the training set \[3, 8, 8\]"):
        other_dataset_args(str(tmp_path), trained)
    with pytest.raises(UserError, match=r"has labels of size 11, the training set \d: name"):
        other_dataset_args(folder, trained)
    assert other_dataset_args(folder, {**trained, "max_label_size": 0})["max_label_size"] == 0
    for args, words in [
        (["--metrics=fid1k", "--metricdata=none"], "--metricdata: there is no folder"),
        (["--metricdata=more"], "add --metrics"),
        (["--validation=36"], "--validation=36: the dataset"),
        (["--validation=0"], "--validation: expected a whole number of at least 1"),
    ]:
        done = run_script(["run_training.py", f"--result-dir={data.folder}/r", *data.run, *args])
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
