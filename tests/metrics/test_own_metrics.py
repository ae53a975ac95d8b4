"""Metrics of one's own, written and run as for the official code."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, own_code, tflib
from metrics import metric_base
from metrics.evaluation import MetricOptions
from metrics.frechet_inception_distance import FID
from metrics.inception_score import IS
from metrics.linear_separability import LS
from metrics.metric_base import DummyMetric, MetricBase, MetricGroup
from metrics.metric_defaults import metric_defaults
from metrics.perceptual_path_length import PPL
from metrics.precision_recall import PR
from metrics.reals import RealImages
from training.dataset import TFRecordDataset

MINIBATCH = 4


class Brightness(MetricBase):
    """In the manner of StyleGAN2."""

    def __init__(self, num_images, minibatch_per_gpu, **kwargs):
        super().__init__(**kwargs)
        self.num_images, self.minibatch_per_gpu = num_images, minibatch_per_gpu

    def _evaluate(self, Gs, Gs_kwargs, num_gpus):
        minibatch_size = num_gpus * self.minibatch_per_gpu
        self.seen, self.kwargs = [], Gs_kwargs
        for idx, images in enumerate(self._iterate_reals(minibatch_size=minibatch_size)):
            begin, end = idx * minibatch_size, min((idx + 1) * minibatch_size, self.num_images)
            self._report_progress(begin, self.num_images, status_str="reals")
            self.seen.append(images[: end - begin])
            if end == self.num_images:
                break
        result = []
        for gpu_idx in range(num_gpus):
            with tf.device(f"/gpu:{gpu_idx}"):
                Gs_clone = Gs.clone()
                latents = tf.random_normal([self.minibatch_per_gpu, *Gs_clone.input_shape[1:]])
                labels = self._get_random_labels_tf(self.minibatch_per_gpu)
                images = Gs_clone.get_output_for(latents, labels, **Gs_kwargs)
                result += [tf.reduce_mean(tflib.convert_images_to_uint8(images), axis=0), labels]
        pixels, self.labels = tflib.run(result[:2])
        fakes = next(self._iterate_fakes(Gs, minibatch_size, num_gpus))
        assert fakes.dtype == np.uint8 and len(fakes) == minibatch_size
        self._report_result(np.concatenate(self.seen).mean(), suffix="_reals")
        self._report_result(fakes.mean(), suffix="_fakes", fmt="%-8.1f")
        assert pixels.shape == fakes.shape[1:]


class AdaBrightness(MetricBase):
    """In the manner of ADA."""

    def __init__(self, max_reals, **kwargs):
        super().__init__(**kwargs)
        self.max_reals = max_reals

    def _evaluate(self, Gs, G_kwargs, num_gpus, **_kwargs):
        self.kwargs = G_kwargs
        images = np.concatenate(list(self._iterate_reals(minibatch_size=25)))
        self.numbers = images[: self.max_reals]
        assert self._get_random_labels_tf(2).shape.as_list() == [2, 0]
        self._report_progress(len(images), 60)
        self._report_result(self.numbers.mean())


def test_a_metric_of_ones_own(workplace, tmp_path, capsys):
    metric = Brightness(name="brightness", num_images=60, minibatch_per_gpu=MINIBATCH)
    metric.configure_progress_reports(plo=10, phi=20, pmax=100, psec=0)
    root, name = workplace.dataset.rsplit("/", 1)
    (tmp_path / "training_options.json").write_text("{}")
    report = metric.run(
        workplace.conditional,
        run_dir=str(tmp_path),
        data_dir=root,
        dataset_args={"tfrecord_dir": name, "shuffle_mb": 0},
        num_gpus=1,
        tf_config={"rnd.np_random_seed": 1},
    )
    np.testing.assert_array_equal(np.concatenate(metric.seen), workplace.images)
    assert report.results["_reals"] == pytest.approx(workplace.images.mean())
    assert metric.labels.shape == (MINIBATCH, 3)
    assert metric.kwargs == {"is_validation": True}
    out = capsys.readouterr().out
    assert "brightness: 10.0 % reals" in out and "brightness: 19.3 % reals" in out
    line = metric.get_result_str()
    fakes = report.results["_fakes"]
    assert f"brightness_reals {workplace.images.mean():<10.4f}" in line and line in out
    assert line.endswith(f"brightness_fakes {fakes:<8.1f}".rstrip())
    assert (tmp_path / "metric-brightness.txt").read_text() == line + "\n"
    rows = [json.loads(row) for row in (tmp_path / "metric-brightness.jsonl").open()]
    assert rows[0]["results"] == report.results
    metric.close()


def test_what_a_metric_forces_and_is_configured_with(workplace, capsys):
    forced = {"shuffle": False, "max_images": 50, "repeat": False, "mirror_augment": False}
    metric = AdaBrightness(
        name="ada",
        max_reals=40,
        force_dataset_args=forced,
        force_G_kwargs={"truncation_psi": 0.5},
    )
    progress = []
    args = {"path": workplace.dataset, "mirror_augment": True}
    metric.configure(dataset_args=args, progress_fn=lambda *now: progress.append(now))
    metric.run(workplace.snapshot, num_gpus=1, G_kwargs={"is_validation": True}, log_results=False)
    np.testing.assert_array_equal(metric.numbers, workplace.images[:40])
    assert metric.kwargs == {"is_validation": True, "truncation_psi": 0.5}
    assert progress == [(50, 60)] and capsys.readouterr().out == ""


def test_groups_of_metrics_as_the_official_scripts_make_them(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("metrics.metric_base.Brightness", Brightness, raising=False)
    own = {"func_name": "metrics.metric_base.Brightness", "name": "own", "minibatch_per_gpu": 4}
    dummy = {"func_name": "metrics.metric_base.DummyMetric", "name": "dummy"}
    group = MetricGroup([dummy, {**own, "num_images": 8}])
    folder = {"dataset_args": {"tfrecord_dir": workplace.dataset}, "mirror_augment": True}
    (tmp_path / "training_options.json").write_text(json.dumps(folder))
    snapshot = shutil.copy(workplace.snapshot, tmp_path)
    reports = group.run(snapshot, run_dir=str(tmp_path), log_results=False)
    assert group.errors == {}
    assert [report.metric for report in reports] == ["dummy", "own"]
    assert len(group.get_result_str().splitlines()) == 2
    assert set(group.scalars()) == {"Metrics/dummy", "Metrics/own_reals", "Metrics/own_fakes"}
    assert not list(tmp_path.glob("metric-*"))
    # Half of the reals are mirrored, as the training was.
    mean = workplace.images.mean(axis=(1, 2, 3))
    seen = group._ready["own"].seen[0]
    known = [int(np.abs(mean - image.mean()).argmin()) for image in seen]
    turned = [(a != b).any() for a, b in zip(seen, workplace.images[known], strict=True)]
    mirrored = workplace.images[known][..., ::-1]
    assert all((a == b).all() for a, b, t in zip(seen, mirrored, turned, strict=True) if t)
    assert isinstance(metric_base.create(metric_defaults["fid50k"]), FID)
    from metrics import metric_defaults as module  # The name of the table does not hide it.

    assert module.metric_defaults is metric_defaults and metric_defaults.fid50k.name == "fid50k"
    with pytest.raises(TypeError, match="num_gpus"):
        MetricGroup([dummy], MetricOptions(None)).run(snapshot, num_gpus=1)


class Failing(MetricBase):
    """Raises what it was made with."""

    def __init__(self, error=None, **kwargs):
        super().__init__(**kwargs)
        self.error = error

    def _evaluate(self, Gs, Gs_kwargs, num_gpus):
        raise self.error  # This line is what people look for.


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        IndexError("a\nb"),
        KeyError(3),
        TypeError(),
        AssertionError(),
        StopIteration(),
        Unprintable(),
    ],
)
def test_own_code_that_fails_leaves_the_other_metrics(workplace, monkeypatch, capsys, error):
    monkeypatch.setattr(metric_base, "Failing", Failing, raising=False)
    own = {"func_name": "metrics.metric_base.Failing", "name": "own", "error": error}
    dummy = {"func_name": "metrics.metric_base.DummyMetric", "name": "dummy"}
    group = MetricGroup([own, dummy], MetricOptions(None, seed=1))
    assert [report.metric for report in group.run(workplace.snapshot)] == ["dummy"]
    lines = Path(__file__).read_text().splitlines()
    number = 1 + next(n for n, line in enumerate(lines) if "raise self.error" in line)
    assert group.errors["own"].startswith(f"{type(error).__name__}: ")
    assert group.errors["own"].endswith(f" ({__file__}:{number})")
    assert f"Warning: no own: {group.errors['own']}\n" in capsys.readouterr().out


def test_own_code_that_cannot_be_interrupted_is_not(workplace, monkeypatch):
    monkeypatch.setattr(metric_base, "Failing", Failing, raising=False)
    own = {"func_name": "metrics.metric_base.Failing", "name": "own", "error": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        MetricGroup([own], MetricOptions(None, seed=1)).run(workplace.snapshot)


def test_own_metrics_that_cannot_be_made_are_one_line(monkeypatch):
    monkeypatch.setattr(own_code.metrics, "_functions", {"shop.Brightness": Brightness})
    with pytest.raises(UserError, match=r"--metrics=shop.Brightness: TypeError: .*num_images") as e:
        MetricGroup(["shop.Brightness"])
    assert "\n" not in str(e.value)


def test_official_keywords_of_metrics(workplace):
    fid = FID(name="fid", num_images=20, minibatch_per_gpu=8)
    assert (fid.num_fakes, fid.max_reals) == (20, 20)
    with pytest.raises(UserError, match="needs num_fakes, or num_images"):
        FID(name="fid")
    with pytest.raises(TypeError, match="num_image"):
        FID(name="fid", num_image=20)
    PR("pr", num_images=9, nhood_size=3, minibatch_per_gpu=8, row_batch_size=9, col_batch_size=9)
    IS("is", num_images=9, num_splits=3, minibatch_per_gpu=8, force_G_kwargs={})
    overrides = {"dtype": "float32", "mapping_dtype": "float32", "synthesis_dtype": "float32"}
    where = {"space": "w", "sampling": "end", "crop": False, "epsilon": 1e-4}
    ppl = PPL("p", num_samples=9, minibatch_per_gpu=4, Gs_overrides=overrides, **where)
    assert ppl.Gs_overrides == {"dtype": "float32"}
    with pytest.raises(UserError, match="num_attributes or attrib_indices"):
        LS("ls", num_samples=9, num_keep=3)
    asked = []
    ls = LS("ls", num_samples=9, num_keep=3, attrib_indices=[4, 1], minibatch_per_gpu=2)
    ls.use_features(type("S", (), {"classifiers": lambda self, n: asked.append(n) or "abcdef"})())
    assert asked == [5] and ls._classifiers == ["e", "b"]


def test_statistics_of_reals_are_computed_anew_where_that_is_asked(workplace):
    network = SimpleNamespace(key="pixels")
    counts = []

    def features(images):
        counts.append(len(images))
        return images.mean(axis=(2, 3), dtype=np.float32)

    def reals(network, max_reals, mirror, use_cache):
        assert (max_reals, mirror) == (9, None)
        index = np.arange(max_reals)
        with closing(TFRecordDataset(workplace.dataset)) as dataset:
            found = RealImages(dataset, network, index, index < 0, 4, features, use_cache)
            rows = {"rows": lambda: {"rows": np.concatenate(list(found.features()))}}
            array = found.cached("rows", rows["rows"], {"rows": (9, 3)})["rows"]
            np.testing.assert_array_equal(found.cached_features(), array)

    for use_cached, count in ((True, 18), (True, 0), (False, 18)):
        metric = FID("fid", num_images=9, use_cached_real_stats=use_cached)
        metric._network = network
        metric._reals(SimpleNamespace(reals=reals))
        assert sum(counts) == count
        counts.clear()


def test_without_a_dataset(workplace, tmp_path):
    snapshot = shutil.copy(workplace.snapshot, tmp_path)
    with pytest.raises(UserError, match="a dataset is missing, and beside network-snapshot-000000"):
        Brightness(name="b", num_images=4, minibatch_per_gpu=2).run(snapshot)


def test_results_as_statistics_of_a_run(workplace, session, tmp_path):
    metric = DummyMetric(name="dummy")
    # Beside the copy there are no options, and it needs no dataset.
    report = metric.run(shutil.copy(workplace.snapshot, tmp_path))
    assert report.results == {"": 0.0}
    metric.update_autosummaries()
    assert any(name == "Metrics/dummy" for name, _ in tf.get_collection("autosummaries"))


def test_a_metric_that_reports_nothing(workplace):
    class Silent(MetricBase):
        def _evaluate(self, Gs, Gs_kwargs, num_gpus):
            self.cache = self._get_cache_file_for_reals(num_images=3)

    args = {"tfrecord_dir": workplace.dataset}
    metric = Silent(name="silent")
    with pytest.raises(UserError, match="silent has no result"):
        metric.run(workplace.snapshot, dataset_args=args)
    assert metric.cache.endswith("-silent.pkl")
    assert metric_base.MetricBase is MetricBase
