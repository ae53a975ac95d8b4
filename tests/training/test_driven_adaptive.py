"""Adaptive augmentation driven from outside, and the matrices of augmentation, against NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training import augment
from training.augment import AdaptiveAugment
from training.augmentation.adaptive import MAX_STRENGTH

IMAGES = np.random.default_rng(0).normal(size=[16, 3, 8, 8]).astype(np.float32)
PIPELINE = "training.augment.augment_pipeline"


def p_of(aug):
    return float(tflib.run(aug.get_strength_var()))


def test_p_follows_the_signs_that_are_told(session):
    aug = AdaptiveAugment(tune_heuristic="rt", tune_target=0.5, tune_kimg=1)
    signs, other = tf.placeholder(tf.float32, [None]), tf.constant(7.0)
    assert aug.report_stat("Loss/scores/real", other) is other
    told = aug.report_stat("Loss/signs/real", signs)

    def after(*minibatches, nimg=100):
        for values in minibatches:
            np.testing.assert_array_equal(tflib.run(told, {signs: values}), values)
        aug.tune(nimg)
        return p_of(aug)

    assert after([1, 1], [1, 1]) == pytest.approx(0.1)
    assert after([1, 1, 1], [-1], nimg=50) == pytest.approx(0.1)  # The mean is the target.
    assert after([1, 1], nimg=50) == pytest.approx(0.15)
    assert after([0, 0]) == pytest.approx(0.05)  # What came before is forgotten.
    assert after([-1]) == 0
    assert after() == after([np.nan, 1]) == 0
    assert after([1], nimg=5000) == pytest.approx(MAX_STRENGTH)


def test_what_was_told_decays(session):
    aug = AdaptiveAugment(
        tune_heuristic="rt", tune_target=0.4, tune_kimg=1, stat_decay_kimg=0.1, initial_strength=0.5
    )
    signs = tf.placeholder(tf.float32, [None])
    told = aug.report_stat("Loss/signs/real", signs)
    tflib.run(told, {signs: [1, 1]})
    aug.tune(100)  # One half-life: two signs of 1 count as one.
    assert p_of(aug) == pytest.approx(0.6)
    tflib.run(told, {signs: [0]})
    aug.tune(100)  # (1 + 0) / 2 is above the target.
    assert p_of(aug) == pytest.approx(0.7)
    tflib.run(told, {signs: [0]})
    aug.tune(100)  # (0.5 + 0 + 0) / (0.5 + 0.5 + 1) is not.
    assert p_of(aug) == pytest.approx(0.6)


def test_r_v_takes_the_scores_of_held_out_images(session):
    def mean_D(images_in, labels_in, is_training=False):
        images_in.set_shape([None, 3, 8, 8])
        labels_in.set_shape([None, 2])
        return tf.reduce_mean(images_in, axis=[1, 2, 3])[:, tf.newaxis] + labels_in[:, :1]

    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, [7, 3, 8, 8], dtype=np.uint8)
    labels = rng.random([7, 2]).astype(np.float32)
    held_out = SimpleNamespace(load_validation_set_np=lambda: (pixels, labels))
    D = Network("D", mean_D)
    scores = (pixels / 127.5 - 1).mean(axis=(1, 2, 3)) + labels[:, 0]
    for target in (0.45, 0.55):
        aug = AdaptiveAugment(
            tune_heuristic="rv", tune_target=target, tune_kimg=1, initial_strength=0.5
        )
        aug.init_validation_set([D, D], held_out)
        # Train and generated so that r_v = 0.5.
        told = {"Loss/scores/real": scores.mean() + 2, "Loss/scores/fake": scores.mean() - 2}
        ops = [aug.report_stat(k, tf.constant(v, tf.float32)) for k, v in told.items()]
        tflib.run(ops)
        aug.tune(100)
        assert p_of(aug) == 0.5  # Nothing is known of held-out images yet.
        count = len(tf.get_default_graph().get_operations())
        tflib.run(ops)
        aug.run_validation(minibatch_size=4)
        aug.tune(100)
        assert p_of(aug) == pytest.approx(0.6 if target < 0.5 else 0.4)
        assert len(tf.get_default_graph().get_operations()) == count
    fixed = AdaptiveAugment(initial_strength=0.3)
    fixed.init_validation_set([D], None)
    fixed.run_validation(4)
    fixed.tune(100)
    assert p_of(fixed) == pytest.approx(0.3)


def test_images_are_augmented_with_strength_p(session):
    images, labels = tf.constant(IMAGES), tf.zeros([16, 1])
    aug = AdaptiveAugment(PIPELINE, {"lumaflip": 1}, initial_strength=0)
    seen = aug.apply(images, labels)[0]
    np.testing.assert_allclose(tflib.run(seen), IMAGES, atol=1e-5)
    tflib.set_vars({aug.get_strength_var(): 1})
    found, flipped = tflib.run(seen), IMAGES - 2 * IMAGES.mean(axis=1, keepdims=True)
    kept, turned = (np.abs(found - x).max(axis=(1, 2, 3)) < 1e-4 for x in (IMAGES, flipped))
    assert np.logical_xor(kept, turned).all() and turned.any() and kept.any()
    assert aug.apply(images, labels, enable=False) == (images, labels)
    assert AdaptiveAugment().apply(images, labels) == (images, labels)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"tune_heuristic": "ada", "tune_target": 0.6}, "use rt, rv or None"),
        ({"tune_heuristic": "rt"}, "needs a tune_target"),
        ({"apply_func": "os.system"}, "give the function itself"),
    ],
)
def test_what_there_is_not(session, args, words):
    with pytest.raises(UserError, match=words):
        AdaptiveAugment(**args)


def test_parameters_are_switched_off_sample_by_sample(session):
    params = tf.constant(np.arange(2000, dtype=np.float32).reshape(1000, 2) + 1)
    gated = tflib.run(augment.gate_augment_params(0.25, params, -1))
    off = (gated == -1).all(axis=1)
    np.testing.assert_array_equal(gated[~off], tflib.run(params)[~off])
    assert off.mean() == pytest.approx(0.75, abs=0.06)
    chance = tf.constant(np.arange(1000) < 500, tf.float32)
    gated = tflib.run(augment.gate_augment_params(chance, params[:, 0], 0))
    np.testing.assert_array_equal(gated == 0, np.arange(1000) >= 500)


def test_matrices(session):
    t, s, angle = np.float32([1, -2]), np.float32([0.5, 3]), np.float32([0.3, -2])
    c, n, o, i = np.cos(angle), np.sin(angle), np.zeros(2), np.ones(2)
    axis = np.array([1, 2, 2]) / 3
    K = np.array([[0, -2, 2], [2, 0, -1], [-2, 1, 0]]) / 3
    turns = np.tile(np.eye(4), [2, 1, 1])
    for k in range(2):  # Rodrigues' formula.
        turns[k, :3, :3] += n[k] * K + (1 - c[k]) * (K @ K)
    eye4 = np.tile(np.eye(4), [2, 1, 1])
    shifts, scales = eye4.copy(), eye4.copy()
    shifts[:, :3, 3] = np.stack([t, s, angle], axis=1)
    for k, values in enumerate((t, s, angle)):
        scales[:, k, k] = values
    t_, s_, angle_ = map(tf.constant, (t, s, angle))
    expected = {
        augment.translate_2d(t_, 5): [[i, o, t], [o, i, 5 * i], [o, o, i]],
        augment.scale_2d(s_, t_): [[s, o, o], [o, t, o], [o, o, i]],
        augment.rotate_2d(angle_): [[c, -n, o], [n, c, o], [o, o, i]],
        augment.construct_batch_of_matrices([1, t_], [s_, 4]): [[i, t], [s, 4 * i]],
    }
    for matrix, rows in expected.items():
        np.testing.assert_allclose(tflib.run(matrix), np.transpose(rows, [2, 0, 1]), rtol=1e-5)
    for matrix, values in (
        (augment.translate_3d(t_, s_, angle_), shifts),
        (augment.scale_3d(t_, s_, angle_), scales),
        (augment.rotate_3d(axis, angle_), turns),
    ):
        np.testing.assert_allclose(tflib.run(matrix), values, rtol=1e-5, atol=1e-6)
    for name, args in (("translate_2d", (t_, 5)), ("scale_2d", (s_, t_)), ("rotate_2d", (angle_,))):
        there, back = getattr(augment, name)(*args), getattr(augment, name + "_inv")(*args)
        product = tflib.run(tf.matmul(there, back))
        np.testing.assert_allclose(product, np.tile(np.eye(3), [2, 1, 1]), atol=1e-6)
    assert tflib.run(augment.scale_2d(2, 3)).tolist() == [np.diag([2, 3, 1]).tolist()]
