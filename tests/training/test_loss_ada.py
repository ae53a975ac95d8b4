"""The losses of the ADA repository, against those of StyleGAN2 and against NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, autosummary
from training import loss
from training.augment import AdaptiveAugment
from training.losses import consistency, rotations
from training.losses.context import LossContext

COUNT, LATENTS, CLASSES, IMAGE = 4, 3, 2, (3, 8, 8)
PIXELS = int(np.prod(IMAGE))


def linear_G(latents_in, labels_in, is_training=False, return_dlatents=False, **_kwargs):
    """images = A·w + B·label, with w = z."""
    latents_in.set_shape([None, LATENTS])
    labels_in.set_shape([None, CLASSES])
    init = tf.initializers.random_normal()
    A = tf.get_variable("A", [LATENTS, PIXELS], initializer=init)
    B = tf.get_variable("B", [CLASSES, PIXELS], initializer=init)
    w = latents_in[:, np.newaxis]
    images = tf.reshape(tf.matmul(w[:, 0], A) + tf.matmul(labels_in, B), [-1, *IMAGE])
    return (images, w) if return_dlatents else images


def quadratic_D(images_in, labels_in, is_training=False, score_size=1):
    """scores = Σ a·x² + label·b."""
    images_in.set_shape([None, *IMAGE])
    labels_in.set_shape([None, CLASSES])
    init = tf.initializers.random_normal(stddev=0.05)
    a = tf.get_variable("a", [5, *IMAGE], initializer=init)
    b = tf.get_variable("b", [CLASSES, 5], initializer=init)
    scores = tf.einsum("nchw,schw->ns", tf.square(images_in), a) + tf.matmul(labels_in, b)
    return scores[:, :score_size]


@pytest.fixture
def setup(session):
    rng = np.random.default_rng(3)
    labels = np.eye(CLASSES, dtype=np.float32)[[0, 1, 1, 0]]
    reals = rng.normal(size=(COUNT, *IMAGE)).astype(np.float32)
    G, D = Network("G", linear_G), Network("D", quadratic_D)
    fake_labels, seed = tf.constant(labels[::-1].copy()), tf.constant([5, 7])
    tensors = {"real_images": tf.constant(reals), "real_labels": tf.constant(labels)}
    args = {"G": G, "D": D, "aug": None, "fake_labels": fake_labels, **tensors, "seed": seed}
    training_set = SimpleNamespace(get_random_labels_tf=lambda count, seed: fake_labels[:count])
    stylegan2 = {"G": G, "D": D, "training_set": training_set, "minibatch_size": COUNT}
    of_D = {"reals": tensors["real_images"], "labels": tensors["real_labels"]}
    return SimpleNamespace(
        args=args,
        stylegan2={**stylegan2, "opt": None, "seed": seed},
        of_D=of_D,
        context=LossContext(**stylegan2, seed=seed, **of_D),
        reals=reals,
        labels=labels,
        **{k: args[k] for k in ("G", "D")},
    )


def run(fetches, feeds=None):
    tflib.init_uninitialized_vars()
    autosummary.init_autosummaries()
    return tflib.run(fetches, feeds)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def score(setup, images, labels):
    a, b = setup.D.get_var("a")[0], setup.D.get_var("b")[:, 0]
    return (a * images.astype(np.float64) ** 2).sum(axis=(1, 2, 3)) + labels @ b


def test_stylegan2_is_what_the_losses_of_that_name_are(setup):
    found = loss.stylegan2(**setup.args, r1_gamma=3, pl_decay=0.25, pl_weight=3)
    G_loss, _ = loss.G_logistic_ns(**setup.stylegan2)
    lengths = loss.G_logistic_ns_pathreg(**setup.stylegan2, pl_decay=0.25, pl_weight=3)
    D = loss.D_logistic_r1(**setup.stylegan2, **setup.of_D, gamma=3)
    values, expected = run([found, (G_loss, D[0], lengths[1], D[1])])
    assert [v.shape for v in values] == [(COUNT,), (COUNT,), (COUNT // 2,), (COUNT,)]
    for value, other in zip(values, expected, strict=True):
        close(value, other)
    # The penalty is that of one gradient in closed form, and without a weight there is none.
    a = setup.D.get_var("a")[0]
    close(values[3], 1.5 * np.square(2 * a * setup.reals).sum(axis=(1, 2, 3)))
    assert loss.stylegan2(**setup.args, pl_weight=0)[2] is None


def test_the_mean_of_path_lengths_moves_whenever_they_are_evaluated(setup):
    reg = loss.stylegan2(**setup.args, pl_decay=1, pl_weight=1)[2]
    further = loss.stylegan2(**setup.args, pl_decay=0.25, pl_weight=1)[2]
    # With a decay of 1 the mean is that of the two lengths m ± d: the penalty is d².
    d = np.sqrt(run(reg))
    assert d[0] == pytest.approx(d[1], rel=1e-3)
    first, second = run(further), run(further)
    # (m ± d - β·m)², and then with 1 - (1 - β)² in the place of β.
    m = np.abs(np.sqrt(first).mean()) / 0.75
    for share, values in ((0.75, first), (0.75**2, second)):
        expected = [(share * m - d[0]) ** 2, (share * m + d[0]) ** 2]
        np.testing.assert_allclose(np.sort(values), expected, rtol=1e-2)


def test_terms_of_comparison_methods_are_those_of_their_losses(setup):
    weights = {"bcr_real_weight": 2, "bcr_fake_weight": 3, "zcr_gen_weight": 0.5}
    weights |= {"zcr_dis_weight": 0.7, "auxrot_alpha": 0.3, "auxrot_beta": 0.2, "r2_gamma": 4}
    found = loss.cmethods(**setup.args, **weights)
    base = loss.stylegan2(**setup.args)
    bcr = consistency.BcrOptions(bcr_real_weight=2, bcr_fake_weight=3)
    G_zcr = consistency.GZcrOptions(zcr_gen_weight=0.5, pl_weight=0)
    D_zcr = consistency.DZcrOptions(zcr_dis_weight=0.7)
    turned = rotations.GRotationOptions(auxrot_alpha=0.3, pl_weight=0)
    context = setup.context
    of_G = [consistency.G_zcr(context, G_zcr), rotations.G_auxrot(context, turned)]
    of_D = [
        consistency.D_bcr(context, bcr),
        consistency.D_zcr(context, D_zcr),
        rotations.D_auxrot(context, rotations.DRotationOptions(auxrot_beta=0.2)),
    ]
    r2 = loss.D_logistic_r2(**setup.stylegan2, **setup.of_D, gamma=4)[1]
    parts = [[r.loss for r in of_G], [r.loss for r in of_D], r2]
    found, base, (G_parts, D_parts, r2) = run([found, base, parts])
    close(found[0], sum(G_parts) - base[0])
    close(found[1], sum(D_parts) - 2 * base[1])
    close(found[2], base[2])
    close(found[3], base[3] + r2)
    for whole, part in ((found[0], base[0]), (found[1], base[1]), (found[3], base[3])):
        assert np.abs(whole - part).max() > 1e-3


def test_without_weights_comparison_methods_are_stylegan2(setup):
    found, plain = run([loss.cmethods(**setup.args), loss.stylegan2(**setup.args)])
    for value, other in zip(found, plain, strict=True):
        close(value, other)
    assert loss.cmethods(**setup.args, r1_gamma=0)[3] is None


def test_a_transformation_of_ones_own_for_bcr(setup):
    pipeline = {"func_name": "training.augment.augment_pipeline", "lumaflip": 1}
    found = loss.cmethods(**setup.args, bcr_real_weight=2, bcr_augment=pipeline)[1]
    found, base = run([found, loss.stylegan2(**setup.args)[1]])
    flipped = setup.reals - 2 * setup.reals.mean(axis=1, keepdims=True)
    known, moved = (score(setup, x, setup.labels) for x in (setup.reals, flipped))
    share = (found - base) / (2 * (known - moved) ** 2)
    close(share, np.rint(share))
    assert set(np.rint(share)) == {0, 1}
    with pytest.raises(UserError, match=r"there is no 'os\.system'"):
        loss.cmethods(**setup.args, bcr_real_weight=2, bcr_augment={"func_name": "os.system"})


def test_wgangp_is_what_the_losses_of_that_name_are(setup):
    options = {"wgan_lambda": 5, "wgan_epsilon": 0.1, "wgan_target": 2}
    found = loss.wgangp(**setup.args, **options)
    assert found[2] is None
    G_loss, _ = loss.G_wgan(**setup.stylegan2)
    D = loss.D_wgan_gp(**setup.stylegan2, **setup.of_D, **options)
    values, expected = run([[found[i] for i in (0, 1, 3)], [G_loss, *D]])
    for value, other in zip(values, expected, strict=True):
        close(value, other)


def test_keywords_of_other_losses_have_no_effect_and_unknown_ones_are_errors(setup):
    plain, more = loss.wgangp(**setup.args), loss.wgangp(**setup.args, r1_gamma=5, pl_weight=0)
    values, others = run([[losses[i] for i in (0, 1, 3)] for losses in (plain, more)])
    for value, other in zip(values, others, strict=True):
        close(value, other)
    with pytest.raises(UserError, match=r"stylegan2\(\) has no keyword argument 'r1_gama'"):
        loss.stylegan2(**setup.args, r1_gama=5)


def test_without_a_seed_random_numbers_are_others_at_every_run(setup):
    fresh = loss.cmethods(**{**setup.args, "seed": None}, zcr_gen_weight=1, zcr_noise_std=0)
    plain = loss.stylegan2(**{**setup.args, "seed": None})
    first, second = run(fresh[0]), run(fresh[0])
    assert (first != second).all()
    # Neighbors at no distance: in one run, both fakes are of the same z.
    fake = autosummary.read_autosummaries()["Loss/G/zcr"]
    assert fake.num == COUNT and fake.mean == pytest.approx(0, abs=1e-6)
    assert run(plain[1]).shape == (COUNT,)


def test_G_and_D_in_training(setup):
    z = tf.constant(np.random.default_rng(1).normal(size=[COUNT, LATENTS]), tf.float32)
    plain = loss.eval_G(setup.G, z, setup.args["fake_labels"])
    assert plain.dlatents is None
    made = loss.eval_G(setup.G, z, setup.args["fake_labels"], return_dlatents=True)
    seen = loss.eval_D(setup.D, None, made.images, setup.args["fake_labels"], report="fake")
    more = loss.eval_D(setup.D, None, made.images, setup.args["fake_labels"], return_aux=4)
    assert seen.aux is None and seen.images_aug is made.images
    fetches = [plain.images, made, seen.scores, more.scores, more.aux]
    images, made, scores, first, aux = run(fetches)
    close(images, made["images"])
    w = np.einsum("nw,wp->np", made["dlatents"][:, 0], setup.G.get_var("A"))
    w += setup.labels[::-1] @ setup.G.get_var("B")
    close(images.reshape(COUNT, -1), w)
    expected = score(setup, images, setup.labels[::-1])
    close(scores[:, 0], expected)
    close(first, scores)
    assert scores.shape == (COUNT, 1) and aux.shape == (COUNT, 4)
    read = autosummary.read_autosummaries()
    assert read["Loss/scores/fake"].mean == pytest.approx(expected.mean(), rel=1e-4)
    assert read["Loss/signs/fake"].mean == pytest.approx(np.sign(expected).mean())


def test_losses_tell_what_shows_overfitting_and_see_augmented_images(setup):
    calls = []

    def double(images, labels, strength):
        calls.append(strength)
        return images * (1 + strength), labels

    aug = AdaptiveAugment(double, initial_strength=0.5, tune_heuristic="rt", tune_target=0)
    found = loss.stylegan2(**{**setup.args, "aug": aug}, r1_gamma=2)
    D_loss, D_reg = run([found[1], found[3]])
    assert calls[0] is aug.get_strength_var() and D_loss.shape == (COUNT,)
    # R1 is of the images before augmentation: a factor of 1.5² in scores and in gradients.
    a = setup.D.get_var("a")[0]
    close(D_reg, np.square(2 * 1.5**2 * a * setup.reals).sum(axis=(1, 2, 3)))
    sign = np.sign(np.sign(score(setup, 1.5 * setup.reals, setup.labels)).mean())
    aug.tune(50_000)
    assert tflib.run(aug.get_strength_var()) == pytest.approx(0.5 + 0.1 * sign)
    plain = loss.eval_D(setup.D, aug, *setup.of_D.values(), augment_inputs=False)
    close(run(plain.scores)[:, 0], score(setup, setup.reals, setup.labels))


def test_losses_are_reported(setup):
    values = [tf.constant([float(i), i + 1.0]) for i in range(4)]
    found = loss.report_loss(None, *values[:2], None, values[3])
    assert found[2] is None
    run([v for v in found if v is not None])
    means = {name: m.mean for name, m in autosummary.read_autosummaries().items()}
    assert means == {"Loss/G/loss": 0.5, "Loss/D/loss": 1.5, "Loss/D/reg": 3.5}
