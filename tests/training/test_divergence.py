"""Numbers that are not finite: they spread nowhere, and a run that learns nothing more stops."""

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import autosummary
from dnnlib.tflib.autosummary import Moments
from training import training_loop
from training.architecture import precision
from training.architecture.generator import track_w_average
from training.augmentation.adaptive import AdaptiveAugment
from training.augmentation.presets import AugmentOptions
from training.config.options import set_network_size
from training.config.presets import preset
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.loss import PathLengthMean
from training.run.divergence import Diverged, SkippedSteps, non_finite
from training.run.file_names import find_states
from training.run.saving import RunOutput
from training.run.state import newest_state

BAD = [np.nan, np.inf, -np.inf]


def ticks(*shares, steps=16, name="TrainD"):
    """Statistics of ticks in which such shares of the steps were skipped."""
    return [{f"{name}/skipped_steps": Moments(steps, share, 0)} for share in shares]


def test_a_run_is_over_when_nothing_is_learned_for_whole_ticks():
    skipped = SkippedSteps()
    for moments in ticks(0, 0.25, 1, 0.75, 1):
        lines = skipped.add_tick(moments)
    assert lines == ["TrainD/skipped_steps: 16 of 16: gradients not finite"] and skipped.is_stuck
    skipped.add_tick(ticks(0, name="TrainG")[0])  # The other one learns.
    skipped.add_tick({})  # One that had no steps says nothing.
    with pytest.raises(Diverged, match=r"TrainD skipped all of its last 32 steps.*--lrate.*gamma"):
        skipped.add_tick(ticks(1)[0])


def test_few_steps_do_not_end_a_run():
    skipped = SkippedSteps()
    for moments in ticks(*[1] * 7, steps=1):
        skipped.add_tick(moments)
    skipped.add_tick(ticks(0, steps=1)[0])
    assert not skipped.is_stuck
    for moments in ticks(*[1] * 7, steps=1):
        skipped.add_tick(moments)
    with pytest.raises(Diverged):
        skipped.add_tick(ticks(1, steps=1)[0])


@pytest.mark.parametrize("bad", BAD)
def test_running_means_take_in_nothing_that_is_not_finite(session, bad):
    w = tf.placeholder(tf.float32, [None, 2, 3])
    w_mean = tf.Variable(np.ones(3, np.float32))
    used = track_w_average(w, w_mean, 0.5)
    pl_mean = PathLengthMean()
    pl_mean.update(tf.reduce_mean(w, axis=[1, 2]), 0.5)
    store = pl_mean.apply()
    statistic = autosummary.autosummary("w", w)
    tflib.init_uninitialized_vars()
    autosummary.init_autosummaries()
    values = np.full([4, 2, 3], 3, np.float32)
    for value in (3.0, bad, 3.0):
        values[2, :, 1] = value
        tflib.run([used, store, statistic], {w: values})
    np.testing.assert_allclose(tflib.run(w_mean)[[0, 2]], 2.75)  # moved three times
    np.testing.assert_allclose(tflib.run(w_mean)[1], 2.5)  # and twice
    assert tflib.run(pl_mean.var) == 2.25
    moments = autosummary.read_autosummaries()["w"]
    assert (moments.num, moments.mean, moments.std) == (70, 3, 0)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("mode", ["ada", "adarv"])
def test_augmentation_leaves_p_alone_after_scores_that_are_not_finite(session, mode, bad):
    """Where all scores are finite it moves; what is saved is finite at every moment."""
    options = AugmentOptions(mode=mode, preset="blit", interval=2, target=-1.0, kimg=1)
    augment = AdaptiveAugment(options)
    signs, scores = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [2])
    held_out = tf.placeholder(tf.float32, [])
    collect = augment.collect([signs], [scores])
    validate = augment.collect_validation([held_out])
    move = augment.build_move(tf.constant(100))
    tflib.init_uninitialized_vars()
    autosummary.init_autosummaries()
    strengths = []
    for first in (0.5, bad, 0.5):
        for value in (first, 0.5):
            feed = {signs: value, scores: [value, -1.0], held_out: 0.25}
            tflib.run([collect, validate] if mode == "adarv" else collect, feed)
            assert not non_finite({v.name: tflib.run(v) for v in tf.global_variables()})
        tflib.run(move)
        strengths.append(float(tflib.run(augment.strength)))
    np.testing.assert_allclose(strengths, [0.2, 0.2, 0.4], rtol=1e-6)


def test_weight_averages_stay_finite(session):
    build = "training.networks_stylegan2.D_stylegan2"
    net = tflib.Network("D", build, resolution=4, num_channels=1, fmap_base=16, fmap_max=2)
    average = net.clone("average")
    update = average.setup_as_moving_average_of(net, beta=0.5)
    name = next(name for name in net.trainables if name.endswith("bias"))
    values = tflib.run(net.trainables[name])
    tflib.set_vars({net.trainables[name]: np.where(np.arange(values.size) == 0, np.nan, 2)})
    tflib.run(update)
    np.testing.assert_allclose(
        tflib.run(average.trainables[name]), [values[0], *[1] * (values.size - 1)]
    )


def test_which_arrays_are_not_finite():
    arrays = {"a": np.ones(3), "b": np.array([1, np.nan], np.float32), "c": np.array(-np.inf)}
    assert non_finite({**arrays, "d": np.array([1]), "e": np.frombuffer(b"x", np.uint8)}) == [
        "b",
        "c",
    ]


# Whole runs


@pytest.fixture
def options(tmp_path):
    """Of a run of 25 ticks of 8 steps on a tiny dataset."""
    create_demo(Output(str(tmp_path / "drawn"), shuffle=False, resolution=8), num_images=24)
    result = preset("config-e", minibatch=4)
    result.dataset_args = {"tfrecord_dir": str(tmp_path / "drawn"), "resolution": 4}
    set_network_size(result, fmap_base=16, fmap_max=2, latent_size=4, mapping_layers=1)
    result.total_kimg, result.grid_size = 0.8, "1080p"
    result.network_snapshot_ticks = 2
    return result


def test_weights_that_break_end_a_run_and_replace_nothing(options, tmp_path, monkeypatch, capsys):
    """From a moment on all gradients are NaN; a state that is not finite is passed over."""
    minibatches = TFRecordDataset.minibatches

    def broken(self, start, *args):
        for i, (reals, labels) in enumerate(minibatches(self, start, *args)):
            # 50 steps in: within tick 7.
            yield reals, labels + (np.nan if start // 4 + i >= 50 else 0)

    monkeypatch.setattr(TFRecordDataset, "minibatches", broken)
    with pytest.raises(Diverged, match=r"TrainD skipped all of its last \d+ steps, those of 2 tic"):
        training_loop.train(options, str(tmp_path / "results"), "x")
    out = capsys.readouterr().out
    assert "Warning: TrainD/skipped_steps: 8 of 8: gradients not finite" in out
    assert len(re.findall("^tick ", out, re.MULTILINE)) < 12
    [run_dir] = (tmp_path / "results").iterdir()
    assert not (run_dir / "network-final.pkl").exists()
    states = find_states(str(run_dir))
    assert len(states) == 2 and "Diverged" in (run_dir / "log.txt").read_text()
    assert (
        "The run diverged: TrainD skipped all of its last" in (run_dir / "report.html").read_text()
    )
    for path in states:
        with np.load(path) as arrays:
            assert non_finite(dict(arrays)) == []
            content = dict(arrays)
    content["v0"] = np.full_like(content["v0"], np.nan)
    np.savez(states[1], **content)
    assert newest_state(str(run_dir)).path == states[0]
    assert "not finite" in capsys.readouterr().out


def test_weights_that_are_not_finite_are_not_saved(options, tmp_path, monkeypatch):
    save_tick = RunOutput.save_tick

    def broken_tick(self, *args):
        if self._counters.cur_tick == 3:
            var = next(iter(self._networks.Gs.trainables.values()))
            tflib.set_vars({var: np.full(var.shape.as_list(), np.inf)})
        return save_tick(self, *args)

    monkeypatch.setattr(RunOutput, "save_tick", broken_tick)
    with pytest.raises(Diverged, match=r"Gs/.* is not finite at 0\.\d+ kimg.*--resume=FILE"):
        training_loop.train(options, str(tmp_path / "results"), "x")
    [run_dir] = (tmp_path / "results").iterdir()
    assert len(list(run_dir.glob("network-*.pkl"))) == len(find_states(str(run_dir))) == 2


def test_metrics_of_a_mixed_run_are_in_float32(options, tmp_path):
    """Or they were others than those of the same snapshot later."""

    seen = []

    class Metrics:
        names = ("x",)

        def run(self, network_pkl, run_dir, only=None):
            seen.append(precision.activation_dtype(8, 8, 0))

        def scalars(self):
            return {}

    options.precision, options.total_kimg = "mixed", 0.016
    training_loop.train(options, str(tmp_path / "results"), "x", Metrics())
    assert seen and set(seen) == {tf.float32}


def test_a_run_that_lacks_what_it_needs_leaves_nothing(options, tmp_path):
    options.augment_args.mode = "adarv"
    with pytest.raises(UserError, match="no images are held out"):
        training_loop.train(options, str(tmp_path / "results"), "x")
    assert list((tmp_path / "results").iterdir()) == []
