"""What the discriminator sees, and how p follows its overfitting."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import autosummary
from training.augmentation.adaptive import MAX_STRENGTH, AdaptiveAugment, AugmentedDiscriminator
from training.augmentation.presets import AugmentOptions
from training.config.options import TrainingOptions
from training.config.presets import preset
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo


class Identity:
    """Stands for a discriminator: its scores are the images that it sees."""

    def get_output_for(self, images, labels, **kwargs):
        assert kwargs == {"is_training": True}
        return images


def test_p_follows_the_signs_of_scores(session):
    options = AugmentOptions(mode="ada", target=0.5, kimg=1, interval=4)
    augment = AdaptiveAugment(options)
    signs = tf.placeholder(tf.float32, [2])
    collect = augment.collect(tf.unstack(signs), [])
    move = augment.build_move(tf.constant(25))
    tflib.init_uninitialized_vars()
    assert [augment.moves_at(i) for i in range(8)] == [False, False, False, True] * 2

    def after(*minibatches):
        for values in minibatches:
            tflib.run(collect, {signs: values})
        tflib.run(move)
        return float(tflib.run(augment.strength))

    # 4 minibatches of 25 images at a speed of 1 in 1000 images: a step of 0.1.
    assert after([1, 1], [1, 1]) == pytest.approx(0.1)
    assert after([1, 0.2], [1, 0]) == pytest.approx(0.2)  # the mean over all is 0.55
    assert after([1, 0.2], [0, 0]) == pytest.approx(0.1)  # 0.3: what came before is forgotten
    assert after([-1, -1]) == pytest.approx(0)
    assert after([-1, -1]) == 0  # not below
    assert after([np.nan, 1]) == 0
    for _ in range(12):
        last = after([1, 1])
    assert last == pytest.approx(MAX_STRENGTH)


def test_r_v_compares_scores_of_train_validation_and_generated(session):
    options = AugmentOptions(mode="adarv", target=0.5, kimg=1, interval=2)
    augment = AdaptiveAugment(options)
    train, validation, generated = (tf.placeholder(tf.float32, [2]) for _ in range(3))
    told = tf.unstack(tf.stack([train, generated], axis=1))
    collect = tf.group(
        augment.collect(tf.unstack(train), told),
        augment.collect_validation(tf.unstack(validation)),
    )
    move = augment.build_move(tf.constant(50))
    tflib.init_uninitialized_vars()
    autosummary.init_autosummaries()
    assert [augment.moves_at(i) for i in range(4)] == [False, True] * 2

    def after(*minibatches):
        """p, and r_v as it is reported, after the scores of two replicas in some minibatches."""
        for values in minibatches:
            tflib.run(collect, dict(zip((train, validation, generated), values, strict=True)))
        tflib.run(move)
        reported = autosummary.read_autosummaries().get("r_v")
        return float(tflib.run(augment.strength)), reported and reported.mean

    rng = np.random.default_rng(0)
    p = 0.0
    # Scores of validation images fall from those of train images to those of generated ones.
    for level in (0.9, 0.8, 0.7, 0.3, 0.1):
        scores = rng.normal([[3.0], [3 - 4 * level], [-1.0]], 0.2, [2, 3, 2]).astype(np.float32)
        t, v, g = scores.mean(axis=(0, 2))
        r_v = (t - v) / (t - g)
        p += 0.1 if r_v > 0.5 else -0.1  # 2 minibatches of 50 at a speed of 1 in 1000 images
        assert after(*scores) == (pytest.approx(p, abs=1e-6), pytest.approx(r_v, rel=1e-5))
        assert abs(r_v - level) < 0.2
    assert p == pytest.approx(0.1)
    for unclear in ([[1, 2], [0, 0], [2, 1]], [[np.nan, 1], [0, 0], [-1, -1]]):
        assert after(unclear) == (pytest.approx(0.1), None)
    assert after([[1, 1], [np.inf, 0], [0, 0]]) == (pytest.approx(0.1), None)
    assert after() == (pytest.approx(0.1), None)


def test_every_use_has_random_numbers_of_its_own_and_p_is_the_probability(session):
    images = tf.constant(np.random.default_rng(0).normal(size=[16, 3, 8, 8]).astype(np.float32))
    labels = tf.zeros([16, 0])
    augment = AdaptiveAugment(AugmentOptions(mode="fixed", p=0.5, preset="blit"))
    D = augment.wrap(Identity(), tf.constant([1, 2], tf.int32))
    outputs = [D.get_output_for(images, labels, is_training=True) for _ in range(2)]
    tflib.init_uninitialized_vars()
    first, second = tflib.run(outputs)
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_array_equal(tflib.run(outputs[0]), first)
    tflib.set_vars({augment.strength: 0.0})
    np.testing.assert_allclose(tflib.run(outputs[0]), tflib.run(images), atol=1e-5)
    assert AdaptiveAugment(AugmentOptions()).wrap(Identity, None) is Identity
    assert isinstance(D, AugmentedDiscriminator)
    with pytest.raises(UserError, match="--aug=adaptive: use noaug, fixed, ada or adarv"):
        AdaptiveAugment(AugmentOptions(mode="adaptive"))


def test_options(run_script, tmp_path):
    create_demo(Output(str(tmp_path / "drawn"), shuffle=False, resolution=8), num_images=12)

    def dry_run(*args):
        command = ["run_training.py", f"--data-dir={tmp_path}", "--dataset=drawn", "--dry-run"]
        return run_script([*command, *args])

    for args, expected in [
        (["--config=config-f"], {"mode": "noaug"}),
        (["--config=paper256"], {"mode": "ada", "preset": "bgc", "target": 0.6}),
        (["--config=paper256", "--aug=noaug"], {"mode": "noaug"}),
        (["--aug=ada", "--target=0.5", "--augpipe=bg-white"], {"preset": "bg-white"}),
        (["--aug=fixed", "--p=0.3"], {"mode": "fixed", "p": 0.3}),
        (["--aug=adarv", "--validation=4"], {"mode": "adarv", "target": 0.5}),
    ]:
        done = dry_run(*args)
        assert done.returncode == 0, done.stderr
        options = json.loads(done.stdout)
        assert expected.items() <= options["augment_args"].items()
        held_out = {"validation": 4, "seed": 1000} if "--validation=4" in args else {}
        assert held_out == {k: options["dataset_args"][k] for k in held_out}
        assert ("validation" in options["dataset_args"]) == bool(held_out)
        again = TrainingOptions.from_json(options).to_json()
        assert json.loads(json.dumps(again)) == options
    for args, words in [
        (["--aug=fixed"], "--aug=fixed needs --p"),
        (["--aug=ada", "--p=0.5"], "--p is for --aug=fixed, not for --aug=ada"),
        (["--target=0.5"], "--target is for --aug=ada and --aug=adarv, not for --aug=noaug"),
        (["--aug=adarv"], "--aug=adarv needs held-out images: add --validation=N"),
        (["--augpipe=bgc"], "--augpipe needs"),
        (["--aug=ada", "--augpipe=bcg"], "use one of blit, geom"),
        (["--aug=fixed", "--p=2"], "at most 1"),
    ]:
        done = dry_run(*args)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    assert preset("auto", resolution=8).augment_args == AugmentOptions()


def test_a_run_reports_p(run_script, tmp_path):
    create_demo(Output(str(tmp_path / "drawn"), shuffle=False, resolution=8), num_images=12)
    size = ["--fmap-base=32", "--fmap-max=4", "--latent-size=4", "--mapping-layers=1"]
    run = ["--config=config-e", "--aug=ada", "--target=-1", "--batch=8", "--total-kimg=0.08"]
    args = [f"--data-dir={tmp_path}", "--dataset=drawn", f"--result-dir={tmp_path / 'results'}"]
    done = run_script(["run_training.py", *args, *run, *size])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(row) for row in open(next(tmp_path.glob("results/*/stats.jsonl")))]
    # Whatever the signs are they exceed the target but for all being -1: 10 minibatches, 2 moves.
    assert rows[-1]["augment"] == pytest.approx(2 * 4 * 8 / 500_000)
    assert all(-1 <= row["Loss/signs/real"] <= 1 for row in rows)
    assert "augment 0.000" in done.stdout
