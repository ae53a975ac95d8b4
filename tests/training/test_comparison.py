"""The parts of the comparison methods, each against NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, autosummary
from tf_ops import layout
from training.architecture.dropout import GaussianDropout
from training.architecture.progressive_augmentation import checksum, draw_bits
from training.architecture.spectral_norm import build_update, spectral_normalize
from training.augmentation.adaptive import StrengthenedDiscriminator
from training.losses import consistency, logistic, rotations
from training.losses.context import LossContext
from training.losses.path_length_mean import PathLengthMean
from training.random_streams import normal, stream

RANDOM = np.random.default_rng(7)
COUNT, CLASSES = 4, 2
SMALL = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 4}
DISCRIMINATOR = "training.networks.D_main"


def seed(position=0):
    return tf.constant([3, position], tf.int32)


def images_of(count, height=8, width=8):
    return RANDOM.uniform(-1, 1, size=[count, 3, height, width]).astype(np.float32)


def softplus(x):
    return np.logaddexp(0, x)


# Rotations


def test_images_are_turned(session):
    images = images_of(2)
    turned = tflib.run(rotations.turn_images(tf.constant(images)))
    expected = [np.rot90(images, quarters, axes=(2, 3)) for quarters in range(4)]
    np.testing.assert_array_equal(turned, np.concatenate(expected))


@pytest.mark.parametrize(("height", "width"), [(12, 8), (4, 14)])
def test_images_that_are_not_square_are_turned_within_their_frame(session, height, width):
    images = images_of(2, height, width)
    turned = tflib.run(rotations.turn_images(tf.constant(images)))
    for quarters in range(4):
        expected = np.rot90(images, quarters, axes=(2, 3))
        for axis, size in ((2, height), (3, width)):
            cut = max((expected.shape[axis] - size) // 2, 0)
            expected = np.take(expected, range(cut, expected.shape[axis] - cut), axis)
            pad = [(0, 0)] * 4
            pad[axis] = ((size - expected.shape[axis]) // 2,) * 2
            expected = np.pad(expected, pad, mode="reflect")
        np.testing.assert_array_equal(turned[2 * quarters : 2 * quarters + 2], expected)


# Spectral normalization


def test_spectral_norm_is_the_largest_singular_value(session):
    shape = [3, 3, 4, 6]

    def layers(x_in):
        x_in.set_shape([None, 1])
        init = tf.initializers.random_normal()
        for i in range(2):
            with tf.variable_scope(f"Layer{i}"):
                w = spectral_normalize(tf.get_variable("weight", shape, initializer=init) * 0.3)
                x_in += tf.reduce_sum(w[..., :1]) * 0
        return x_in, w

    net = Network("net", layers)
    assert [n for n in net.vars if n not in net.trainables] == ["Layer0/sn", "Layer1/sn"]
    used = net.get_output_for(tf.zeros([1, 1]))[1]
    gradient_of = RANDOM.normal(size=shape).astype(np.float32)
    gradient = tf.gradients(tf.reduce_sum(used * gradient_of), [net.vars["Layer1/weight"]])[0]
    update = build_update(net)
    before = net.get_var("Layer1/sn")
    first = tflib.run(used)
    np.testing.assert_array_equal(tflib.run(used), first)  # Using it changes nothing.
    np.testing.assert_array_equal(net.get_var("Layer1/sn"), before)
    for _ in range(300):
        tflib.run(update)
    w = net.get_var("Layer1/weight").reshape(-1, 6).astype(np.float64) * 0.3
    u, s, vt = np.linalg.svd(w)
    np.testing.assert_allclose(tflib.run(used).reshape(-1, 6), w / s[0], rtol=1e-3, atol=1e-5)
    # Miyato et al. 2018, equation 11, with σ's singular vectors constant.
    e = gradient_of.reshape(-1, 6).astype(np.float64)
    expected = (e - np.sum(e * w / s[0]) * np.outer(u[:, 0], vt[0])) / s[0] * 0.3
    np.testing.assert_allclose(tflib.run(gradient).reshape(-1, 6), expected, rtol=1e-2, atol=1e-3)
    assert build_update(Network("D", DISCRIMINATOR, **SMALL)) is None


# Dropout


def test_dropout_multiplies_whole_feature_maps(session):
    x = tf.ones([500, 6, 2, 2])
    x = layout.convert(x, layout.NCHW, layout.internal_format())

    def outputs(deviation, position):
        dropout = GaussianDropout(tf.constant(deviation), seed(position))
        y = layout.convert(dropout(x), layout.internal_format(), layout.NCHW)
        return y, dropout(tf.ones([500, 6]))

    y, z = tflib.run(outputs(0.5, 1))
    assert np.ptp(y, axis=(2, 3)).max() == 0
    for values in (y[:, :, 0, 0], z):
        assert values.mean() == pytest.approx(1, abs=0.05)
        assert values.std() == pytest.approx(0.5, abs=0.03)
        assert abs(np.corrcoef(values.T)[0, 1]) < 0.15
    assert abs(np.corrcoef(y[:, 0, 0, 0], z[:, 0])[0, 1]) < 0.15
    same, other, none = (tflib.run(outputs(*args)) for args in ((0.5, 1), (0.5, 2), (0.0, 1)))
    np.testing.assert_array_equal(y, same[0])
    assert np.abs(y - other[0]).max() > 0.1
    assert (none[0] == 1).all() and (none[1] == 1).all()


# PA-GAN


@pytest.mark.parametrize("p", [0.0, 0.1, 0.2, 0.8, 1.0])
def test_bits_in_use_follow_the_strength(session, p):
    bits = tflib.run(draw_bits(4000, tf.constant(p), 16, 0.5, seed()))
    assert set(np.unique(bits)) <= {0, 1}
    expected = [min(max(p * 16 - i + 1, 0), 0.5) for i in range(1, 17)]
    np.testing.assert_allclose(bits.mean(axis=0), expected, atol=0.03)
    assert (bits.max(axis=0) > 0).sum() == np.ceil(p * 16)
    signs = tflib.run(checksum(tf.constant(bits)))
    np.testing.assert_array_equal(signs[:, 0], (-1.0) ** bits.sum(axis=1))


def test_the_checksum_decides_what_a_score_means(session):
    D = Network("D", DISCRIMINATOR, **SMALL, use_pagan=True)
    assert D.vars["8x8/FromRGB/Bits/weight"].shape.as_list() == [16, 4]
    images, labels = tf.constant(images_of(16)), tf.zeros([16, 0])
    plain = D.get_output_for(images, labels)
    scores = StrengthenedDiscriminator(D, tf.constant(1.0), seed()).get_output_for(images, labels)
    bits = draw_bits(16, 1.0, 16, 0.5, stream(seed(), "augment", 0))
    seen = tflib.run([plain, scores])
    assert np.abs(np.abs(seen[0]) - np.abs(seen[1])).max() > 1e-3  # It sees the bits.
    D.set_var("8x8/FromRGB/Bits/weight", np.zeros([16, 4]))
    before, after, signs = tflib.run([plain, scores, checksum(bits)])
    np.testing.assert_allclose(after, before * signs, rtol=1e-5)
    assert len(np.unique(signs)) == 2


# The discriminator of ADA


def test_only_the_methods_have_variables_of_their_own(session):
    plain, normalized = (
        Network(name, DISCRIMINATOR, **SMALL, **args)
        for name, args in (
            ("plain", {"adaptive_dropout": 1.0}),
            ("normalized", {"use_spectral_norm": True}),
        )
    )
    extra = set(normalized.vars) - set(plain.vars)
    assert extra == {"8x8/Conv0/sn", "8x8/Conv1_down/sn", "4x4/Conv/sn"}
    images = images_of(4)
    labels = tf.zeros([4, 0])
    dropped = StrengthenedDiscriminator(plain, tf.constant(0.5), seed())
    first, second = (dropped.get_output_for(tf.constant(images), labels) for _ in range(2))
    scores, a, b = tflib.run([plain.get_output_for(tf.constant(images), labels), first, second])
    np.testing.assert_array_equal(plain.run(images, None), scores)
    assert np.abs(a - scores).max() > 1e-3 and np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize("label_size", [0, 3])
def test_further_scores_come_from_the_last_layer(session, label_size):
    D = Network("D", DISCRIMINATOR, **SMALL, label_size=label_size, score_max=5)
    images, labels = images_of(4), np.eye(4, dtype=np.float32)[:, :label_size]
    first, five = D.run(images, labels), D.run(images, labels, score_size=5)
    assert first.shape == (4, 1) and five.shape == (4, 5)
    np.testing.assert_allclose(five[:, :1], first, atol=1e-6)
    assert D.vars["Output/bias"].shape.as_list() == [4 + 4 if label_size else 5]
    with pytest.raises(UserError, match="score_size=6, expected 1 to score_max=5"):
        D.run(images, labels, score_size=6)


# Losses


@pytest.fixture(scope="module")
def networks():
    """Small networks of ADA with five scores, what their losses are called with, and reals."""
    with tflib.graph_session(seed=1):
        common = {**SMALL, "label_size": CLASSES}
        G = Network(
            "G",
            "training.networks.G_main",
            **common,
            latent_size=3,
            dlatent_size=3,
            mapping_layers=1,
            style_mixing_prob=0.9,
        )
        D = Network("D", DISCRIMINATOR, **common, score_max=5)
        data = SimpleNamespace(
            get_random_labels_tf=lambda count, seed: tf.one_hot(tf.range(count) % 2, CLASSES)
        )
        args = {"G": G, "D": D, "training_set": data, "minibatch_size": COUNT, "seed": seed(5)}
        reals = {"reals": tf.constant(images_of(COUNT)), "labels": tf.one_hot([0, 1, 1, 0], 2)}
        yield SimpleNamespace(G=G, D=D, args=args, reals=reals)


def scores_of(networks, images, labels, **kwargs):
    return networks.D.run(images, labels, is_training=True, **kwargs)


def made_fakes(networks, name, moved=0.0):
    """Fakes of a loss, and their labels."""
    own = stream(seed(5), name)
    latents = normal([COUNT, 3], stream(own, "latents"))
    latents += moved * normal([COUNT, 3], stream(own, "latents", 1))
    labels = tf.one_hot(tf.range(COUNT) % 2, CLASSES)
    images = networks.G.get_output_for(
        latents, labels, is_training=True, random_seed=own, dlatent_avg_beta=None
    )
    return tflib.run([images, labels])


def basic_loss(networks, fakes, fake_labels):
    reals, labels = tflib.run([networks.reals["reals"], networks.reals["labels"]])
    real = scores_of(networks, reals, labels)[:, 0]
    fake = scores_of(networks, fakes, fake_labels)[:, 0]
    return real, fake, softplus(fake) + softplus(-real)


def evaluate(networks, function, options, **further):
    """Value of a loss, and of its regularizer; D's gradients of the loss are finite."""
    result = function(LossContext(**networks.args, **further), options)
    value, reg = result.loss, result.regularizer
    gradients = tf.gradients(value, list(networks.D.trainables.values()))
    tflib.init_uninitialized_vars()
    autosummary.init_autosummaries()
    assert all(np.isfinite(g).all() for g in tflib.run([g for g in gradients if g is not None]))
    return tflib.run(value), None if reg is None else tflib.run(reg)


def test_bcr(networks):
    value, reg = evaluate(
        networks,
        consistency.D_bcr,
        consistency.BcrOptions(gamma=3.0, bcr_fake_weight=4.0),
        **networks.reals,
    )
    fakes, fake_labels = made_fakes(networks, "D_loss")
    reals, labels = tflib.run([networks.reals["reals"], networks.reals["labels"]])
    real, fake, expected = basic_loss(networks, fakes, fake_labels)
    own = stream(seed(5), "D_loss")
    for i, (images, its_labels, scores, weight) in enumerate(
        [(reals, labels, real, 10), (fakes, fake_labels, fake, 4)]
    ):
        shifted = consistency.shift_images(tf.constant(images), stream(own, "augment", i))
        other = scores_of(networks, tflib.run(shifted), its_labels)[:, 0]
        assert np.abs(scores - other).max() > 1e-4
        expected = expected + weight * (scores - other) ** 2
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)
    options = logistic.GradientPenaltyOptions(gamma=3.0)
    _, plain = evaluate(networks, logistic.D_logistic_r1, options, **networks.reals)
    np.testing.assert_allclose(reg, plain, rtol=1e-4)


def test_shifts_are_of_whole_pixels_and_small(session):
    images = np.zeros([64, 3, 32, 64], np.float32)
    images[:, :, 16, 32] = 1
    shifted = tflib.run(consistency.shift_images(tf.constant(images), seed()))
    np.testing.assert_allclose(shifted.max(axis=(1, 2, 3)), 1, atol=1e-4)
    rows, columns = np.unravel_index(shifted[:, 0].reshape(64, -1).argmax(axis=1), (32, 64))
    assert set(rows) == {15, 16, 17} and set(columns) == {30, 31, 32, 33, 34}
    assert (np.sort(np.abs(shifted[:, 0]).reshape(64, -1))[:, -2] < 1e-4).all()


def test_zcr(networks):
    options = consistency.DZcrOptions(zcr_dis_weight=30.0)
    value, reg = evaluate(networks, consistency.D_zcr, options, **networks.reals)
    fakes, fake_labels = made_fakes(networks, "D_loss")
    moved = made_fakes(networks, "D_loss", moved=0.1)[0]
    _, fake, expected = basic_loss(networks, fakes, fake_labels)
    other = scores_of(networks, moved, fake_labels)[:, 0]
    np.testing.assert_allclose(value, expected + 30 * (fake - other) ** 2, rtol=1e-3, atol=1e-5)
    assert reg.shape == (COUNT,)

    options = consistency.GZcrOptions(pl_weight=0, zcr_gen_weight=5.0)
    value, reg = evaluate(networks, consistency.G_zcr, options, pl_mean=PathLengthMean())
    fakes, fake_labels = made_fakes(networks, "G_loss")
    moved = made_fakes(networks, "G_loss", moved=0.1)[0]
    fake = scores_of(networks, fakes, fake_labels)[:, 0]
    distance = np.mean((fakes - moved) ** 2, axis=(1, 2, 3))
    assert (distance > 0).all()
    np.testing.assert_allclose(value, softplus(-fake) - 5 * distance, rtol=1e-4)
    assert reg is None


def test_auxrot(networks):
    def oracle(images, labels):
        turned = np.concatenate([np.rot90(images, r, axes=(2, 3)) for r in range(4)])
        logits = scores_of(networks, turned, np.tile(labels, [4, 1]), score_size=5)[:, 1:]
        log_q = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -np.mean([log_q[r * COUNT :][:COUNT, r] for r in range(4)], axis=0)

    options = rotations.DRotationOptions()
    value, _ = evaluate(networks, rotations.D_auxrot, options, **networks.reals)
    fakes, fake_labels = made_fakes(networks, "D_loss")
    reals, labels = tflib.run([networks.reals["reals"], networks.reals["labels"]])
    expected = basic_loss(networks, fakes, fake_labels)[2] + 5 * oracle(reals, labels)
    np.testing.assert_allclose(value, expected, rtol=1e-4)

    options = rotations.GRotationOptions()
    value, reg = evaluate(networks, rotations.G_auxrot, options, pl_mean=PathLengthMean())
    fakes, fake_labels = made_fakes(networks, "G_loss")
    fake = scores_of(networks, fakes, fake_labels)[:, 0]
    expected = softplus(-fake) + 10 * oracle(fakes, fake_labels)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert reg.shape == (COUNT // 2,)
