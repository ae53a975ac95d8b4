"""Metrics from latents to the number, on small networks, against the same sums done by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import standins
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from metrics import metric_base, reals, results
from metrics.copies import Copies
from metrics.evaluation import Evaluation, MetricOptions, Replicas
from metrics.feature_networks import FeatureNetwork, FeatureSources
from metrics.frechet_inception_distance import FID
from metrics.inception_score import IS
from metrics.kernel_inception_distance import KID
from metrics.linear_separability import LS
from metrics.metric_base import MetricGroup
from metrics.metric_defaults import metric_defaults
from metrics.perceptual_path_length import PPL
from metrics.precision_recall import PR
from metrics.reals import choose_reals
from training.architecture import precision
from training.snapshots import pickles

COUNT = 45  # Fakes: not a multiple of the minibatch.


@pytest.fixture(scope="module")
def sources(workplace, tmp_path_factory):
    """Stand-ins for all feature networks."""
    folder = tmp_path_factory.mktemp("networks")
    rng = np.random.default_rng(1)
    weights = standins.vgg16_weights(rng, scale=16)
    np.savez(folder / "vgg16.npz", **weights)
    heads = {
        f"lin{i}": rng.uniform(0, 1, c // 16).astype("f4")
        for i, c in enumerate([64, 128, 256, 512, 512])
    }
    np.savez(folder / "lpips.npz", **heads)
    files = {"vgg16": folder / "vgg16.npz", "lpips": folder / "lpips.npz"}
    return FeatureSources(
        {"inception": workplace.inception, **{k: str(v) for k, v in files.items()}}
    )


@pytest.fixture
def options(workplace, sources):
    return MetricOptions({"tfrecord_dir": workplace.dataset}, seed=7, sources=sources)


@pytest.fixture(scope="module")
def opened():
    """Function: snapshot, options → an Evaluation in a graph that all tests share."""
    graph, networks = tf.Graph(), {}
    with graph.as_default(), tflib.create_session() as session:

        @contextmanager
        def evaluation(snapshot, options):
            with graph.as_default(), session.as_default():
                if snapshot not in networks:
                    networks[snapshot] = pickles.load_generator(snapshot)
                with Evaluation(networks[snapshot], "network-snapshot-000000", options) as result:
                    yield result

        yield evaluation


@pytest.fixture
def measure(opened):
    """Function: reports of metrics on one snapshot."""

    def run(snapshot, options, *metrics, repeats=1):
        with opened(snapshot, options) as evaluation:
            for metric in metrics:
                metric.use_features(options.sources)
            return [metric.measure(evaluation, repeats) for metric in metrics]

    return run


def fakes(opened, snapshot, options, count):
    """The images that metrics see, uint8 [count, 3, H, W], from the network's own interface."""
    with opened(snapshot, options) as evaluation:
        z, labels = evaluation.latents(0, count), evaluation.labels(0, count)
        # The network is untrained: its noise has strength 0.
        to_uint8 = {"func": tflib.convert_images_to_uint8}
        return evaluation.Gs.run(z, labels, is_validation=True, output_transform=to_uint8)


def test_fid_kid_and_is_equal_sums_by_hand(workplace, options, opened, measure):
    fid, kid, score = measure(
        workplace.snapshot,
        options,
        FID("fid", num_fakes=COUNT, max_reals=None, mirror=False),
        KID("kid", num_fakes=COUNT, max_reals=None, mirror=False),
        IS("is", num_images=COUNT, num_splits=4),
    )
    graph = standins.inception_graph()
    real, _ = standins.inception_by_hand(graph, workplace.images)
    fake, probs = standins.inception_by_hand(
        graph, fakes(opened, workplace.snapshot, options, COUNT)
    )

    # With C1 = XᵀX and C2 = YᵀY the trace of (C1 C2)^½ is the sum of the singular values of XYᵀ.
    x = (real - real.mean(0)) / np.sqrt(60)
    y = (fake - fake.mean(0)) / np.sqrt(COUNT - 1)
    expected = np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.sum(x * x) + np.sum(y * y)
    expected -= 2 * np.linalg.svd(x @ y.T, compute_uv=False).sum()
    assert fid.results[""] == pytest.approx(expected, rel=1e-4)
    assert (fid.num_reals, fid.num_fakes) == (60, COUNT)
    assert "fewer than the 2048" in fid.notes[-1]

    rng = np.random.Generator(np.random.Philox(key=[7, 0], counter=[0, 0, 0, 3]))
    total = 0
    for _ in range(100):  # Of 60 reals, a subset has as many images as there are fakes.
        y = fake[np.sort(rng.choice(COUNT, COUNT, replace=False))]
        x = real[np.sort(rng.choice(60, COUNT, replace=False))]
        kxx, kyy, kxy = ((a @ b.T / 2048 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        off = ~np.eye(COUNT, dtype=bool)
        total += kxx[off].mean() + kyy[off].mean() - 2 * kxy.mean()
    assert kid.results[""] == pytest.approx(total / 100, rel=1e-4)

    scores = []
    for i in range(4):
        p = probs[i * COUNT // 4 : (i + 1) * COUNT // 4]
        scores.append(np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1))))
    assert score.results["_mean"] == pytest.approx(np.mean(scores), rel=1e-6)
    assert score.results["_std"] == pytest.approx(np.std(scores), rel=1e-3)


def test_path_length_equals_images_of_steps_compared_by_hand(
    workplace, options, sources, opened, measure
):
    metric = PPL("ppl", 5, epsilon=1e-1, space="w", sampling="end", crop=False)
    (report,) = measure(workplace.snapshot, options, metric)
    with tflib.graph_session(7):
        Gs = pickles.load_generator(workplace.snapshot)
        with Evaluation(Gs, "x", options) as evaluation:
            z = evaluation.latents(0, 10)
        w = Gs.components.mapping.run(z, None)
        ends = [w[0::2], w[0::2] + (w[1::2] - w[0::2]) * 0.1]
        a, b = ((Gs.components.synthesis.run(e, randomize_noise=False) + 1) * 127.5 for e in ends)
        x, y = tf.constant(a), tf.constant(b)
        distance = sources.get("lpips").distance(x, y)
        values = np.sort(tflib.run(distance) / 0.1**2)
    assert report.results[""] == pytest.approx(values.mean(), rel=1e-3)
    assert report.num_fakes == 10


def test_mixed_precision_is_of_fakes_and_not_of_path_lengths(workplace, options, monkeypatch):
    if not precision.has_fast_bfloat16():
        monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    options = dataclasses.replace(options, precision="mixed")
    with tflib.graph_session(7):
        Gs = pickles.load_generator(workplace.snapshot)
        with Evaluation(Gs, "x", options) as evaluation:
            metric = PPL("ppl", 2, 1e-4, "w", "end", False)
            metric.use_features(options.sources)
            metric._build(evaluation)(0)
            assert _types_of_convolutions() == {tf.float32}
            evaluation.fake_images(0)
            assert _types_of_convolutions() == {tf.float32, tf.bfloat16}
            assert any("bfloat16" in note for note in evaluation.facts()["notes"])


def _types_of_convolutions():
    ops = tf.get_default_graph().get_operations()
    return {op.get_attr("T") for op in ops if op.type == "Conv2D"}


@pytest.mark.parametrize("space", ["z", "w"])
@pytest.mark.parametrize(("sampling", "crop"), [("full", True), ("end", False)])
def test_path_lengths_are_finite_for_every_variant(
    workplace, options, measure, space, sampling, crop
):
    metric = PPL("ppl", 6, 1e-4, space, sampling, crop)
    (report,) = measure(workplace.conditional, options, metric)
    assert 0 < report.results[""] < np.inf


def test_precision_and_recall_of_vgg_features(workplace, options, measure):
    (report,) = measure(workplace.snapshot, options, PR("pr", 3, num_fakes=40, max_reals=50))
    assert set(report.results) == {"_precision", "_recall"}
    assert all(0 <= v <= 1 for v in report.results.values())
    assert (report.num_reals, report.num_fakes) == (50, 40)
    assert set(report.feature_networks) == {"vgg16"}


def test_one_seed_fixes_the_number_and_repeats_differ(workplace, options, measure):
    metric = lambda: FID("fid", num_fakes=20, max_reals=None)  # noqa: E731
    (once,) = measure(workplace.conditional, options, metric())
    (again,) = measure(workplace.conditional, options, metric())
    assert once.results == again.results
    (other,) = measure(workplace.conditional, dataclasses.replace(options, seed=8), metric())
    assert other.results != once.results
    (several,) = measure(workplace.conditional, options, metric(), repeats=3)
    singles = [several.results[""], several.deviations[""], several.repeats]
    assert singles[1] > 0 and singles[2] == 3
    assert once.deviations == {}


def test_fakes_are_a_function_of_seed_and_index(workplace, options, opened):
    images = fakes(opened, workplace.conditional, options, 40)
    first = fakes(opened, workplace.conditional, options, 10)
    np.testing.assert_array_equal(images[:10], first)
    assert len(np.unique(images.reshape(40, -1), axis=0)) == 40


def test_labels_of_fakes_have_the_distribution_of_the_data_set(workplace, options, opened):
    with opened(workplace.conditional, options) as evaluation:
        labels = evaluation.labels(0, 2000)
    np.testing.assert_allclose(labels.mean(0), workplace.labels.mean(0), atol=0.04)
    assert labels.sum() == 2000


def test_no_operation_is_added_by_another_measurement(workplace, options, opened):
    metrics = [FID("fid", 10, None), KID("kid", 10, None), PPL("p", 4, 1e-4, "w", "end", False)]
    with opened(workplace.snapshot, options) as evaluation:
        for metric in metrics:
            metric.use_features(options.sources)
            metric.measure(evaluation)
        count = len(tf.get_default_graph().get_operations())
        for metric in metrics:
            metric.measure(evaluation, repeats=2)
        assert len(tf.get_default_graph().get_operations()) == count


class _Pixels(FeatureNetwork):
    """Three numbers an image."""

    def __init__(self):
        super().__init__("pixels", "0" * 64)

    def build(self, images):
        return {"features": tf.reduce_mean(images, axis=[2, 3])}


@pytest.fixture
def reals_of(workplace, options, opened):
    """Function: images of a dataset, their features, and whether something was computed."""

    def get(dataset_dir, max_reals=None, mirror=False):
        changed = dataclasses.replace(options, dataset_args={"tfrecord_dir": dataset_dir})
        with opened(workplace.snapshot, changed) as evaluation:
            images_of = evaluation.reals(_Pixels(), max_reals, mirror)
            computed = []
            images_of.cached("mean", lambda: computed.append(1) or {"x": np.ones(2)}, {"x": (2,)})
            images = np.concatenate(list(images_of.images()))
            return images, np.array(images_of.cached_features()), computed

    return get


def test_every_real_is_used_once(workplace, reals_of):
    images, features, _ = reals_of(workplace.dataset)
    np.testing.assert_array_equal(images, workplace.images)
    np.testing.assert_allclose(features, workplace.images.mean(axis=(2, 3)), rtol=1e-5)
    half, _, _ = reals_of(workplace.dataset, max_reals=30)
    rows = {image.tobytes() for image in workplace.images}
    assert len(half) == 30 and len({i.tobytes() for i in half} & rows) == 30


def test_half_of_the_reals_are_mirrored(workplace, reals_of):
    images, _, _ = reals_of(workplace.dataset, mirror=True)
    is_same = (images == workplace.images).all(axis=(1, 2, 3))
    is_mirrored = (images == workplace.images[:, :, :, ::-1]).all(axis=(1, 2, 3))
    assert (is_same | is_mirrored).all() and 20 < is_mirrored.sum() < 40


def test_statistics_are_cached_until_a_pixel_or_a_label_changes(workplace, reals_of, tmp_path):
    assert reals_of(workplace.dataset)[2] == [1]
    assert reals_of(workplace.dataset)[2] == []
    assert reals_of(workplace.dataset, mirror=True)[2] == [1]
    assert reals_of(workplace.dataset, max_reals=59)[2] == [1]
    images = workplace.images.copy()
    images[31, 2, 5, 6] ^= 1
    changed = standins.make_dataset(tmp_path / "shop", images, workplace.labels)
    assert reals_of(changed)[2] == [1]
    shutil.rmtree(changed)
    standins.make_dataset(tmp_path / "shop", workplace.images, workplace.labels)
    assert reals_of(changed)[2] == []  # The same content at another place.
    shutil.rmtree(changed)
    standins.make_dataset(tmp_path / "shop", workplace.images, workplace.labels[::-1])
    assert reals_of(changed)[2] == [1]


def test_damaged_cache_files_are_computed_anew(workplace, reals_of, cache):
    reals_of(workplace.dataset)
    for path in (cache / "metrics").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    _, features, computed = reals_of(workplace.dataset)
    assert computed == [1] and len(features) == 60


def test_features_that_are_all_the_same_are_refused(workplace, reals_of, monkeypatch):
    monkeypatch.setattr(
        reals.RealImages, "features", lambda self: iter([np.ones([60, 3], np.float32)])
    )
    with pytest.raises(UserError, match="the features of all real images are the same"):
        reals_of(workplace.dataset)


def test_a_cache_that_cannot_be_written_is_reported(workplace, reals_of, cache):
    (cache / "metrics").write_bytes(b"in the way")
    with pytest.raises(UserError, match=r"cannot write .*DNNLIB_CACHE_DIR"):
        reals_of(workplace.dataset)


def test_the_choice_of_reals_spreads_over_the_data_set(workplace, options, opened):
    with opened(workplace.snapshot, options) as evaluation:
        index, _ = choose_reals(evaluation.dataset, 20, mirror=False)
    assert 20 < index.mean() < 40 and (np.diff(index) > 0).all()


def test_few_images_and_missing_labels_are_said_in_the_report(workplace, options, measure):
    (report,) = measure(workplace.snapshot, options, FID("fid", 10, max_reals=1000))
    assert "60 reals: the dataset has no 1000" in report.notes
    assert any("labels" in note for note in report.notes)
    (report,) = measure(workplace.conditional, options, FID("fid", 10, max_reals=60))
    assert not any("labels" in note for note in report.notes)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (FID("fid", num_fakes=10, max_reals=1), "1 real image: a covariance needs at least 2"),
        (FID("fid", num_fakes=1, max_reals=None), "1 generated image"),
        (KID("kid", num_fakes=10, max_reals=1), "1 real and 10 generated"),
        (PR("pr", 3, num_fakes=3, max_reals=None), "3 images: the 3 nearest neighbors"),
        (IS("is", num_images=3, num_splits=10), "3 images: an inception score of 10 splits"),
    ],
)
def test_too_few_images_are_an_error_and_no_number(workplace, options, measure, metric, message):
    with pytest.raises(UserError, match=message):
        measure(workplace.snapshot, options, metric)


def test_a_network_that_makes_nan_has_no_result(workplace, options, measure, tmp_path):
    with tflib.graph_session():
        Gs = pickles.load_generator(workplace.snapshot)
        var = Gs.components.synthesis.vars["4x4/Const/const"]
        tflib.set_vars({var: np.full(var.shape.as_list(), np.nan)})
        path = str(tmp_path / "broken.pkl")
        pickles.save(Gs, path)
    with pytest.raises(UserError, match="values that are not finite"):
        measure(path, options, FID("fid", 10, None))
    with pytest.raises(UserError, match="values that are not finite"):
        measure(path, options, PPL("ppl", 4, 1e-4, "w", "end", False))


def test_data_that_does_not_fit_the_network_is_refused(workplace, options, measure, tmp_path):
    def refused(dataset_dir, snapshot, match):
        changed = dataclasses.replace(options, dataset_args={"tfrecord_dir": dataset_dir})
        with pytest.raises(UserError, match=match):
            measure(snapshot, changed, FID("fid", 10, None))

    small = standins.make_dataset(tmp_path / "small", workplace.images[:, :, ::2, ::2])
    refused(small, workplace.snapshot, "no level of resolution 32")
    grey = standins.make_dataset(tmp_path / "grey", workplace.images[:, :1])
    refused(grey, workplace.snapshot, r"images \[1, 32, 32\], network .* makes \[3, 32, 32\]")
    plain = standins.make_dataset(tmp_path / "plain", workplace.images)
    refused(plain, workplace.conditional, "has 0 labels an image, network .* takes 3")
    refused(str(tmp_path / "none"), workplace.snapshot, "cannot open dataset folder")


def test_a_larger_data_set_is_read_at_the_resolution_of_the_network(workplace, reals_of, tmp_path):
    large = np.repeat(np.repeat(workplace.images[:8], 2, axis=2), 2, axis=3)
    folder = standins.make_dataset(tmp_path / "large", large)
    images, _, _ = reals_of(folder)
    np.testing.assert_array_equal(images, workplace.images[:8])


# MetricGroup


@pytest.fixture
def small_metrics(monkeypatch):
    for name in ("fid5k_full", "kid5k_full"):
        row = dict(metric_defaults[name], num_fakes=20)
        monkeypatch.setitem(metric_defaults, name, row)


def test_a_group_writes_official_lines_json_and_a_plot(workplace, options, small_metrics, tmp_path):
    group = MetricGroup(["fid5k_full", "kid5k_full"], options)
    # What a machine that went down may leave.
    (tmp_path / "metric-fid5k_full.jsonl").write_text('{"metric": "fid5k_fu')
    for path in (workplace.snapshot, workplace.conditional):
        group.run(path, str(tmp_path))
    assert group.errors == {}
    assert set(group.scalars()) == {"Metrics/fid5k_full", "Metrics/kid5k_full"}
    lines = (tmp_path / "metric-fid5k_full.txt").read_text().splitlines()
    words = [line.split() for line in lines]
    assert [w[0] for w in words] == ["network-snapshot-000000", "network-snapshot-000003"]
    assert lines[0][:31] == f"{'network-snapshot-000000':<30s} " and words[0][1] == "time"
    assert words[1][-2:] == ["fid5k_full", f"{group.scalars()['Metrics/fid5k_full']:.4f}"]
    rows = [json.loads(line) for line in (tmp_path / "metric-fid5k_full.jsonl").open()]
    assert [row["kimg"] for row in rows] == [0, 3]
    assert rows[0]["seed"] == 7 and rows[0]["num_fakes"] == 20
    assert len(rows[0]["feature_networks"]["inception"]) == 64
    plots = [tmp_path / f"metric-{name}5k_full.png" for name in ("kid", "fid")]
    assert plots[0].read_bytes()[:4] == b"\x89PNG"
    # What was ended between the row of a result and its plot.
    plots[0].unlink()
    os.utime(plots[1], (0, 0))
    group.plot_missing(str(tmp_path))
    assert plots[0].exists() and plots[1].stat().st_mtime > 0
    # One of them alone.
    assert [r.metric for r in group.run(workplace.snapshot, only={"kid5k_full"})] == ["kid5k_full"]


def test_a_missing_feature_network_leaves_the_other_metrics(workplace, small_metrics, capsys):
    sources = FeatureSources({"inception": workplace.inception, "lpips": "/nowhere.npz"})
    options = MetricOptions({"tfrecord_dir": workplace.dataset}, seed=7, sources=sources)
    group = MetricGroup(["ppl2_wend", "fid5k_full"], options)
    reports = group.run(workplace.snapshot)
    assert [r.metric for r in reports] == ["fid5k_full"]
    assert "--feature-net=lpips=/nowhere.npz: there is no such file" in group.errors["ppl2_wend"]
    assert "Warning: no ppl2_wend" in capsys.readouterr().out
    assert [r.metric for r in group.run(workplace.snapshot)] == ["fid5k_full"]
    assert group.errors == {}  # It is asked for once.


def test_without_a_seed_every_snapshot_has_its_own(workplace, options, small_metrics):
    group = MetricGroup(["fid5k_full"], dataclasses.replace(options, seed=None))
    seeds = {group.run(workplace.snapshot)[0].seed for _ in range(2)}
    assert len(seeds) == 2


def test_a_broken_snapshot_is_an_error_of_the_group(options, tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"nothing")
    group = MetricGroup(["fid5k_full"], options)
    assert group.run(str(tmp_path / "x.pkl")) == []
    assert "x.pkl is not a snapshot" in group.errors["fid5k_full"]


def test_rows_of_others_and_damaged_ones_stay_and_are_not_drawn(tmp_path):
    foreign = [
        b'{"results": {"fid": 3.1}, "metric": "fid", "snapshot_pkl": "network.pkl"}',
        b"5",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe no JSON",
        b'{"metric": "fid", "snapshot": "a", "kimg": "1", "results": {"": 1}}',
        b'{"metric": "fid", "snapshot": "a", "kimg": 1, "results": {"": "x"}, "deviations": 3}',
        b'{"metric": "fid", "snapshot": "a", "kimg": 2, "results": {"": 1e999}}',
        b'{"metric": "fid", "snapshot": "a", "kimg": 3, "results": [1]}',
        b'{"metric": "fid", "snapshot": "a", "kimg": ' + b"9" * 400 + b', "results": {"": 1}}',
        b'{"metric": "fid", "snapshot": "a", "kimg": 9, "results": {"_x": 1}}',  # Other suffixes.
    ]
    path = tmp_path / "metric-fid.jsonl"
    path.write_bytes(b"\n".join(foreign))
    for kimg in (1, 2):
        report = results.MetricReport("fid", f"network-snapshot-{kimg:06}", {"": 1.0}, {}, 1, 1, 1)
        results.write(report, str(tmp_path))
    rows = path.read_bytes().splitlines()
    assert rows[: len(foreign)] == foreign
    assert [json.loads(row)["kimg"] for row in rows[len(foreign) :]] == [1, 2]
    assert (tmp_path / "metric-fid.png").read_bytes()[:4] == b"\x89PNG"
    assert [point.kimg for point in results._points(str(tmp_path), path.name, "fid")] == [9, 1, 2]
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"cannot write .*metric-fid"):
        results.write(report, str(tmp_path))


class _Stains(FeatureNetwork):
    """As `_Pixels`, and of places; or what is no number."""

    def __init__(self, factor=1.0):
        super().__init__("stains", "0" * 64)
        self.factor = factor

    def build(self, images):
        x = tf.nn.avg_pool2d(images, 8, 8, "VALID", data_format="NCHW") * self.factor
        return {"features": tf.reshape(x, [-1, 3 * 4 * 4])}


def looking_through(network):
    return SimpleNamespace(own_file="shop.pb", get=lambda role: network)


COPIES = {"name": "copies", "func_name": "metrics.copies.Copies", "num_fakes": 20}


def test_copies_are_of_the_photos_trained_on_whatever_others_compare_with(workplace, tmp_path):
    trained = {"tfrecord_dir": workplace.dataset, "validation": 10, "seed": 1}
    other = standins.make_dataset(tmp_path / "other", workplace.images[:9], workplace.labels[:9])
    sources = looking_through(_Stains())
    found = []
    for given in (
        {"dataset_args": trained, "held_out": True},
        {"dataset_args": {"tfrecord_dir": other}, "trained_args": trained},
    ):
        group = MetricGroup([COPIES], MetricOptions(seed=1, sources=sources, **given))
        [report] = group.run(workplace.snapshot, log_results=False)
        assert report.num_reals == 50 and "_z" in report.results
        assert not any("_z" in note for note in report.notes)
        found.append(report.results)
    options = MetricOptions({"tfrecord_dir": other}, seed=1, sources=sources, trained_args={})
    group = MetricGroup([COPIES], options)
    assert group.run(workplace.snapshot, log_results=False) == []
    assert "training_options.json" in group.errors["copies"]
    # As scripts for the official code call it, beside the options of a run.
    snapshot = shutil.copy(workplace.snapshot, tmp_path)
    (tmp_path / "training_options.json").write_text(json.dumps({"dataset_args": trained}))
    metric = Copies("copies", num_fakes=20)
    report = metric.run(snapshot, dataset_args={"tfrecord_dir": other}, sources=sources, seed=1)
    assert report.num_reals == 50 and found == [report.results] * 2


def test_copies_by_features_that_are_not_finite_are_refused(workplace):
    args = {"tfrecord_dir": workplace.dataset}
    for factor in (1e38, float("nan")):
        options = MetricOptions(args, seed=1, sources=looking_through(_Stains(factor)))
        group = MetricGroup([COPIES], options)
        assert group.run(workplace.snapshot, log_results=False) == []
        assert "--feature-net=shop.pb gives features of" in group.errors["copies"]
        assert "that are not finite numbers" in group.errors["copies"]


def test_names_of_metrics_are_official_and_can_be_made():
    names = (
        "fid50k fid50k_full kid50k_full is50k ppl_zfull ppl_wfull ppl_zend ppl_wend ppl2_wend "
        "pr50k3 pr50k3_full ls fid1k fid5k_full kid5k_full kid1k_full copies"
    ).split()
    assert sorted(metric_defaults) == sorted(names)
    assert {metric_base.create(name).name for name in names} == set(names)
    with pytest.raises(UserError, match="no metric 'fid'"):
        metric_base.create("fid")


def test_linear_separability_of_images_and_latents(workplace, options, measure, tmp_path):
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, None, None, 3])
        tf.reduce_mean(x, axis=[1, 2, 3])[:, tf.newaxis] / 10 - 12.75
        content = tf.get_default_graph().as_graph_def().SerializeToString()
    for i in range(2):
        (tmp_path / f"celebahq-classifier-{i:02}-x.pb").write_bytes(content)
    sources = FeatureSources({"classifiers": str(tmp_path)})
    changed = dataclasses.replace(options, sources=sources)
    (report,) = measure(workplace.snapshot, changed, LS("ls", 200, 100, num_attributes=2))
    # Two attributes of two classes: between exp(0) and exp(2 log 2).
    assert all(1 <= report.results[s] <= 4 for s in ("_z", "_w"))
    assert set(report.feature_networks) == {"classifier-00", "classifier-01"}


def test_devices_share_the_rows_of_a_minibatch(session):
    built = []

    def build(replica):
        built.append(replica)
        feeds = {"x": tf.placeholder(tf.float32, [None, 2]), "s": tf.placeholder(tf.float32, [])}
        return feeds, [feeds["x"] * feeds["s"], tf.shape(feeds["x"])[:1]]

    replicas = Replicas(["/cpu:0"] * 3, build)
    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    result, shares = replicas.run({"x": x}, {"s": 2})
    np.testing.assert_array_equal(result, x * 2)
    assert built == [0, 1, 2] and sorted(shares) == [2, 2, 3]
    result, shares = replicas.run({"x": x[:2]}, {"s": 3})
    np.testing.assert_array_equal(result, x[:2] * 3)
    assert list(shares) == [1, 1]  # No device runs on nothing.
    assert len(replicas.run({"x": x}, {"s": 1}, num_outputs=1)) == 1
