"""Losses and regularizers against NumPy, on networks that are known in closed form."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, autosummary
from training import loss, random_streams
from training.config.comparison_methods import METHODS
from training.config.presets import PRESETS
from training.losses import path_length
from training.losses.context import LossContext
from training.losses.logistic import D_logistic_r1, GradientPenaltyOptions

COUNT, LATENTS, LAYERS, CLASSES = 4, 3, 2, 2
IMAGE = (2, 4, 2)  # [C, H, W]
PIXELS = int(np.prod(IMAGE))


class Records(SimpleNamespace):
    """Tensors that the networks below were called with and returned, in the order of calls."""


@pytest.fixture
def setup(session):
    """Linear G, quadratic D, and what they are called with."""
    seen = Records(G=[], D=[])

    def toy_G(
        latents_in,
        labels_in,
        is_training=False,
        return_dlatents=False,
        random_seed=None,
        dlatent_avg_beta=0.995,
    ):
        """images = Σ_l A_l·w_l + B·label, with w = z in every layer."""
        latents_in.set_shape([None, LATENTS])
        labels_in.set_shape([None, CLASSES])
        A = tf.get_variable("A", [LAYERS, LATENTS, PIXELS], initializer=normal_init())
        B = tf.get_variable("B", [CLASSES, PIXELS], initializer=normal_init())
        dlatents = tf.tile(latents_in[:, np.newaxis], [1, LAYERS, 1])
        flat = tf.einsum("nlw,lwp->np", dlatents, A) + tf.matmul(labels_in, B)
        images = tf.reshape(flat, [-1, *IMAGE])
        seen.G.append((latents_in, labels_in, images, dlatents, is_training, dlatent_avg_beta))
        return (images, dlatents) if return_dlatents else images

    def toy_D(images_in, labels_in, is_training=False):
        """score = Σ a·x² + label·b: its gradient is 2·a·x."""
        images_in.set_shape([None, *IMAGE])
        labels_in.set_shape([None, CLASSES])
        a = tf.get_variable("a", IMAGE, initializer=normal_init())
        b = tf.get_variable("b", [CLASSES, 1], initializer=normal_init())
        seen.D.append((images_in, labels_in, is_training))
        return tf.reduce_sum(a * tf.square(images_in), [1, 2, 3])[:, None] + tf.matmul(labels_in, b)

    def random_labels(count, seed):
        uniform = random_streams.uniform([count], seed, maxval=CLASSES, dtype=tf.int32)
        return tf.one_hot(uniform, CLASSES)

    G, D = Network("G", toy_G), Network("D", toy_D)
    D.set_var("a", np.random.default_rng(14).normal(size=IMAGE) * 0.03)
    seen.G.clear()
    seen.D.clear()
    training_set = SimpleNamespace(get_random_labels_tf=random_labels, label_size=CLASSES)
    seed = tf.placeholder(tf.int32, [2])
    inner = {"G": G, "D": D, "training_set": training_set, "minibatch_size": COUNT, "seed": seed}
    args = {**inner, "opt": None}
    return SimpleNamespace(G=G, D=D, seed=seed, args=args, inner=inner, seen=seen, session=session)


def normal_init():
    return tf.initializers.random_normal()


def softplus(x):
    return np.log1p(np.exp(x))


def score(setup, images, labels):
    a, b = setup.D.get_var("a"), setup.D.get_var("b")
    return (a * images.astype(np.float64) ** 2).sum(axis=(1, 2, 3)) + (labels @ b)[:, 0]


def reals_and_labels():
    random = np.random.default_rng(15)
    labels = np.eye(CLASSES, dtype=np.float32)[[0, 1, 1, 0]]
    return random.normal(size=(COUNT, *IMAGE)).astype(np.float32), labels


def evaluate(setup, fetches, position=0):
    autosummary.init_autosummaries()
    return setup.session.run(fetches, {setup.seed: [5, position]})


def test_G_logistic_ns(setup):
    value, reg = loss.G_logistic_ns(**setup.args)
    assert reg is None
    ((z, labels, images, _, training, beta),) = setup.seen.G
    assert training
    assert beta == 0.995
    assert setup.seen.D[0][2]
    value, z, labels, images = evaluate(setup, [value, z, labels, images])
    assert value.shape == (COUNT,)
    np.testing.assert_allclose(value, softplus(-score(setup, images, labels)), rtol=1e-4)
    assert autosummary.read_autosummaries()["Loss/G/loss"].mean == pytest.approx(value.mean())
    # Latents are standard normal and of this seed; labels come from the dataset.
    assert len(np.unique(z)) == z.size
    assert (labels.sum(axis=1) == 1).all()


def test_fakes_are_a_function_of_seed_and_position(setup):
    value, _ = loss.G_logistic_ns(**setup.args)
    autosummary.init_autosummaries()
    run = [setup.session.run(value, {setup.seed: [5, p]}) for p in (0, 0, 32)]
    np.testing.assert_array_equal(run[0], run[1])
    assert (run[0] != run[2]).all()


def test_the_latents_are_standard_normal(setup):
    loss.G_logistic_ns(**{**setup.args, "minibatch_size": 4000})
    z = setup.session.run(setup.seen.G[0][0], {setup.seed: [5, 0]})
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.05


def test_dlatent_avg_beta_is_handed_on(setup):
    loss.G_logistic_ns(**setup.args, dlatent_avg_beta=None)
    reals, labels = map(tf.constant, reals_and_labels())
    loss.D_logistic_r1(**setup.args, reals=reals, labels=labels, dlatent_avg_beta=0.5)
    assert [call[5] for call in setup.seen.G] == [None, 0.5]


def test_D_logistic_r1(setup):
    reals, labels = reals_and_labels()
    tensors = tf.constant(reals), tf.constant(labels)
    value, reg = loss.D_logistic_r1(**setup.args, reals=tensors[0], labels=tensors[1], gamma=3.0)
    ((_, fake_labels, fakes, *_),) = setup.seen.G
    value, reg, fakes, fake_labels = evaluate(setup, [value, reg, fakes, fake_labels])
    real_scores, fake_scores = score(setup, reals, labels), score(setup, fakes, fake_labels)
    np.testing.assert_allclose(value, softplus(fake_scores) + softplus(-real_scores), rtol=1e-4)
    penalty = np.square(2 * setup.D.get_var("a") * reals).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(reg, penalty * 3 / 2, rtol=1e-4)
    read = autosummary.read_autosummaries()
    assert read["Loss/scores/real"].mean == pytest.approx(real_scores.mean(), rel=1e-4)
    assert read["Loss/scores/fake"].mean == pytest.approx(fake_scores.mean(), rel=1e-4)
    assert read["Loss/D/loss"].mean == pytest.approx(value.mean(), rel=1e-4)
    assert read["Loss/D/r1_penalty"].mean == pytest.approx(penalty.mean(), rel=1e-4)


def test_r1_can_be_minimized(setup):
    """Its gradient with respect to the weights: |2·a·x|² by a is 8·a·x²."""
    reals, labels = map(tf.constant, reals_and_labels())
    _, reg = loss.D_logistic_r1(**setup.args, reals=reals, labels=labels, gamma=2.0)
    gradient = tf.gradients(tf.reduce_sum(reg), setup.D.vars["a"])[0]
    expected = 8 * setup.D.get_var("a") * np.square(reals_and_labels()[0]).sum(axis=0)
    np.testing.assert_allclose(evaluate(setup, gradient), expected, rtol=1e-4)


def test_path_lengths(session):
    """|Jᵀy| for images = tanh(w·A): J is known."""
    random = np.random.default_rng(16)
    w, A = random.normal(size=(3, LAYERS, LATENTS)), random.normal(size=(LAYERS, LATENTS, PIXELS))
    noise = random.normal(size=(3, *IMAGE))
    dlatents = tf.constant(w, tf.float32)
    flat = tf.tanh(tf.einsum("nlw,lwp->np", dlatents, tf.constant(A, tf.float32)))
    images = tf.reshape(flat, [3, *IMAGE])
    lengths = loss.path_lengths(images, dlatents, tf.constant(noise, tf.float32))
    slope = 1 - np.tanh(np.einsum("nlw,lwp->np", w, A)) ** 2
    y = noise.reshape(3, PIXELS) / np.sqrt(IMAGE[1] * IMAGE[2])
    jacobian_y = np.einsum("lwp,np,np->nlw", A, slope, y)
    expected = np.sqrt(np.square(jacobian_y).sum(axis=2).mean(axis=1))
    np.testing.assert_allclose(session.run(lengths), expected, rtol=1e-4)


def test_path_length_regularization(setup, monkeypatch):
    """Penalty, its weight, the smaller minibatch, the running mean over several steps."""
    drawn = []

    def recording(shape, seed):
        drawn.append(random_streams.normal(shape, seed))
        return drawn[-1]

    monkeypatch.setattr(path_length, "normal", recording)
    mean = loss.PathLengthMean()
    options = {"pl_minibatch_shrink": 2, "pl_decay": 0.25, "pl_weight": 3.0}
    value, reg = loss.G_logistic_ns_pathreg(**setup.args, pl_mean=mean, **options)
    store = mean.apply()
    tflib.init_uninitialized_vars()
    assert setup.session.run(mean.var) == 0
    (_, labels, images, *_), (z, *_) = setup.seen.G
    noise = drawn[-1]
    A = setup.G.get_var("A")
    expected_mean = 0.0
    for position in (0, 4, 8):
        got = evaluate(setup, [value, reg, images, labels, z, noise, store], position)
        got_value, got_reg, got_images, got_labels, got_z, got_noise, _ = got
        np.testing.assert_allclose(
            got_value, softplus(-score(setup, got_images, got_labels)), rtol=1e-4
        )
        assert got_z.shape == (COUNT // 2, LATENTS)
        y = got_noise.reshape(-1, PIXELS) / np.sqrt(IMAGE[1] * IMAGE[2])
        lengths = np.sqrt(np.square(np.einsum("lwp,np->nlw", A, y)).sum(axis=2).mean(axis=1))
        expected_mean += 0.25 * (lengths.mean() - expected_mean)
        penalty = np.square(lengths - expected_mean)
        np.testing.assert_allclose(got_reg, penalty * 3, rtol=1e-3)
        assert setup.session.run(mean.var) == pytest.approx(expected_mean, rel=1e-4)
        read = autosummary.read_autosummaries()
        assert read["Loss/pl_lengths"].mean == pytest.approx(lengths.mean(), rel=1e-4)
        assert read["Loss/G/pl_penalty"].mean == pytest.approx(penalty.mean(), rel=1e-3)


def test_loss_and_regularizer_take_different_fakes(setup):
    mean = loss.PathLengthMean()
    loss.G_logistic_ns_pathreg(**setup.args, pl_mean=mean, pl_minibatch_shrink=1)
    first, second = (call[0] for call in setup.seen.G)
    first, second = setup.session.run([first, second], {setup.seed: [5, 0]})
    assert (first != second).all()


def test_a_minibatch_smaller_than_the_shrinking(setup):
    args = {**setup.args, "minibatch_size": 1}
    _, reg = loss.G_logistic_ns_pathreg(
        **args, pl_mean=loss.PathLengthMean(), pl_minibatch_shrink=4
    )
    tflib.init_uninitialized_vars()
    assert evaluate(setup, reg).shape == (1,)


def test_replicas_share_the_mean_of_path_lengths(session):
    mean = loss.PathLengthMean()
    moved = [mean.update(tf.constant(lengths), 0.5) for lengths in ([1.0, 3.0], [6.0])]
    store = mean.apply()
    tflib.init_uninitialized_vars()
    session.run(mean.var.initializer)
    for expected in (2.0, 3.0):  # 0 → average of 1 and 3; 2 → average of 2 and 4.
        session.run([*moved, store])
        assert session.run(mean.var) == pytest.approx(expected)
    assert [v.name for v in tf.global_variables()] == ["pl_mean:0"]
    assert not mean.var.trainable


def test_no_mean_to_store(session):
    session.run(loss.PathLengthMean().apply())


def test_the_gradient_of_the_penalty_is_the_official_one(session):
    """The moved mean is part of what is differentiated: d/dL (L - (m + (L - m)·β))² for one L."""
    mean = loss.PathLengthMean()
    length = tf.constant([2.0])
    penalty = tf.square(length - mean.update(length, 0.1))
    tflib.init_uninitialized_vars()
    session.run(mean.var.assign(1.0))
    assert session.run(tf.gradients(penalty, length)[0])[0] == pytest.approx(2 * 0.9 * 0.9)


def test_G_logistic_and_G_wgan(setup):
    values = [loss.G_logistic(**setup.args)[0], loss.G_wgan(**setup.args)[0]]
    fetched = [(images, labels) for _, labels, images, *_ in setup.seen.G]
    (logistic, wgan), fakes = evaluate(setup, [values, fetched])
    scores = score(setup, *fakes[0])
    np.testing.assert_allclose(logistic, -softplus(scores), rtol=1e-4)
    np.testing.assert_allclose(wgan, -score(setup, *fakes[1]), rtol=1e-4)


def discriminator_loss(setup, function, **kwargs):
    """(loss, reg) of a discriminator's loss function, and what its fakes and reals score."""
    reals, labels = reals_and_labels()
    tensors = tf.constant(reals), tf.constant(labels)
    value, reg = function(**setup.args, reals=tensors[0], labels=tensors[1], **kwargs)
    _, fake_labels, fakes, *_ = setup.seen.G[-1]
    fetches = [value, fakes, fake_labels, *([] if reg is None else [reg])]
    value, fakes, fake_labels, *reg = evaluate(setup, fetches)
    scores = score(setup, reals, labels), score(setup, fakes, fake_labels)
    return value, reg, fakes, scores


def test_D_logistic(setup):
    value, reg, _, (real, fake) = discriminator_loss(setup, loss.D_logistic)
    assert reg == []
    np.testing.assert_allclose(value, softplus(fake) + softplus(-real), rtol=1e-4)


def test_D_logistic_r2(setup):
    value, reg, fakes, (real, fake) = discriminator_loss(setup, loss.D_logistic_r2, gamma=3.0)
    np.testing.assert_allclose(value, softplus(fake) + softplus(-real), rtol=1e-4)
    gradient = 2 * setup.D.get_var("a") * fakes
    np.testing.assert_allclose(reg[0], 1.5 * (gradient**2).sum(axis=(1, 2, 3)), rtol=1e-4)


def test_D_wgan(setup):
    value, reg, _, (real, fake) = discriminator_loss(setup, loss.D_wgan, wgan_epsilon=0.1)
    assert reg == []
    np.testing.assert_allclose(value, fake - real + 0.1 * real**2, rtol=1e-4, atol=1e-6)


def test_D_wgan_gp_of_a_flat_discriminator_has_finite_gradients(setup):
    reals, labels = (tf.constant(array) for array in reals_and_labels())
    _, penalty = loss.D_wgan_gp(**setup.args, reals=reals, labels=labels)
    gradient = tf.gradients(penalty, setup.D.vars["a"])
    setup.D.set_var("a", np.zeros(IMAGE))
    values = evaluate(setup, [penalty, gradient])
    assert all(np.isfinite(value).all() for value in values)


def test_D_wgan_gp(setup):
    options = {"wgan_lambda": 5.0, "wgan_epsilon": 0.1, "wgan_target": 2.0}
    assert list(inspect.signature(loss.D_wgan_gp).parameters)[7:10] == list(options)
    reals, labels = reals_and_labels()
    tensors = tf.constant(reals), tf.constant(labels)
    value, reg = loss.D_wgan_gp(**setup.args, reals=tensors[0], labels=tensors[1], **options)
    _, fake_labels, fakes, *_ = setup.seen.G[-1]
    mixed = setup.seen.D[-1][0]  # The third call of D, on images between reals and fakes.
    fetches = [value, reg, mixed, fakes, fake_labels]
    value, reg, mixed, fakes, fake_labels = evaluate(setup, fetches)
    real, fake = score(setup, reals, labels), score(setup, fakes, fake_labels)
    np.testing.assert_allclose(value, fake - real + 0.1 * real**2, rtol=1e-4, atol=1e-6)
    share = ((mixed - reals) / (fakes - reals)).reshape(COUNT, -1)
    np.testing.assert_allclose(
        share, share.mean(axis=1, keepdims=True).repeat(PIXELS, 1), atol=1e-3
    )
    assert len(set(share.mean(axis=1).round(4))) == COUNT
    assert (share > -0.001).all() and (share < 1.001).all()
    norms = np.sqrt(((2 * setup.D.get_var("a") * mixed) ** 2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(reg, (norms - 2.0) ** 2 * 5.0 / 4.0, rtol=1e-3, atol=1e-5)


def test_what_tells_overfitting_is_part_of_the_result(setup):
    reals, labels = reals_and_labels()
    context = LossContext(**setup.inner, reals=tf.constant(reals), labels=tf.constant(labels))
    result = D_logistic_r1(context, GradientPenaltyOptions())
    _, fake_labels, fakes, *_ = setup.seen.G[-1]
    sign, means, fakes, fake_labels = evaluate(
        setup, [result.real_sign, result.mean_scores, fakes, fake_labels]
    )
    real, fake = score(setup, reals, labels), score(setup, fakes, fake_labels)
    assert sign == pytest.approx(np.sign(real).mean())
    np.testing.assert_allclose(means, [real.mean(), fake.mean()], rtol=1e-4)


def test_one_replica_moves_the_mean_of_w(setup):
    for moves in (True, False):
        context = LossContext(**setup.inner, moves_w_mean=moves)
        loss.find_loss("G", {"func_name": "training.loss.G_wgan"})(context)
    assert [call[5] for call in setup.seen.G] == [0.995, None]


# Names and keywords


def test_names_that_runs_store():
    """They never change: old runs must be resumed."""
    names = [
        "training.loss.G_logistic",
        "training.loss.G_logistic_ns",
        "training.loss.G_logistic_ns_pathreg",
        "training.loss.G_wgan",
        "training.loss.D_logistic",
        "training.loss.D_logistic_r1",
        "training.loss.D_logistic_r2",
        "training.loss.D_wgan",
        "training.loss.D_wgan_gp",
        "training.comparison.consistency.D_bcr",
        "training.comparison.consistency.G_zcr",
        "training.comparison.consistency.D_zcr",
        "training.comparison.rotations.G_auxrot",
        "training.comparison.rotations.D_auxrot",
    ]
    assert list(loss.LOSSES) == names
    for name in names:
        function = name.split(".")[-1]
        assert loss.LOSSES[name].__name__ == function
        assert loss.find_loss(function[0], {"func_name": name}).func is loss.LOSSES[name]
    stored = {name for m in METHODS.values() for name in (m.G_loss, m.D_loss) if name}
    stored |= {p[f"{net}_loss_args"]["func_name"] for p in PRESETS.values() for net in "GD"}
    assert stored < set(names)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gama": 1, "a": 2}, r"^D_logistic_r1\(\) has no keyword argument a, gama$"),
        ({"seed": [1, 2]}, r"D_logistic_r1\(\) has no keyword argument seed"),
        ({"gamma": "x"}, "D_loss_args.gamma is 'x', expected a number"),
        ({"gamma": True}, "D_loss_args.gamma is True"),
        ({"gamma": 1e9}, "D_loss_args.gamma is 1000000000.0, expected a number from"),
        ({"gamma": None}, "D_loss_args.gamma is None"),
    ],
)
def test_stored_keyword_arguments_are_checked(options, words):
    with pytest.raises(UserError, match=words):
        loss.find_loss("D", {"func_name": "training.loss.D_logistic_r1", **options})


def test_stored_keyword_arguments_reach_the_loss():
    stored = {"func_name": "training.loss.D_logistic_r1", "gamma": 3, "dlatent_avg_beta": None}
    options = loss.find_loss("D", stored).keywords["options"]
    assert options == GradientPenaltyOptions(gamma=3, dlatent_avg_beta=None)


def test_keywords_of_user_code(setup):
    reals, labels = map(tf.constant, reals_and_labels())
    with pytest.raises(TypeError, match="gama"):
        loss.D_logistic_r1(**setup.args, reals=reals, labels=labels, gama=1)
    with pytest.raises(TypeError, match="reals"):
        loss.D_logistic_r1(**setup.args, labels=labels)
    with pytest.raises(TypeError, match="reals"):
        loss.G_logistic(**setup.args, reals=reals)
    # By position too, with random numbers that differ from run to run.
    value, _ = loss.G_logistic(setup.G, setup.D, None, setup.args["training_set"], COUNT)
    autosummary.init_autosummaries()
    assert (setup.session.run(value) != setup.session.run(value)).all()


@pytest.mark.parametrize("name", [name for name in loss.__all__ if name[:2] in ("G_", "D_")])
def test_signature_and_documentation_name_every_keyword(name):
    function = getattr(loss, name)
    parameters = inspect.signature(function).parameters
    assert list(parameters)[:5] == ["G", "D", "opt", "training_set", "minibatch_size"]
    assert parameters["seed"].kind == inspect.Parameter.KEYWORD_ONLY
    assert ("reals" in parameters) == ("labels" in parameters) == name.startswith("D_")
    assert ("pl_mean" in parameters) == ("pathreg" in name)
    assert parameters["dlatent_avg_beta"].default == 0.995
    assert "moves_w_mean" not in parameters and function.__name__ == name
    for parameter in parameters:
        assert f"\n    {parameter}: " in function.__doc__


def test_official_defaults():
    def defaults(function):
        items = inspect.signature(function).parameters.items()
        ours = ("seed", "pl_mean")
        return {k: p.default for k, p in items if p.default is not p.empty and k not in ours}

    assert defaults(loss.D_logistic_r1) == {"gamma": 10.0, "dlatent_avg_beta": 0.995}
    assert defaults(loss.D_logistic_r2) == {"gamma": 10.0, "dlatent_avg_beta": 0.995}
    path_lengths = {"pl_minibatch_shrink": 2, "pl_decay": 0.01, "pl_weight": 2.0}
    expected = path_lengths | {"dlatent_avg_beta": 0.995}
    assert defaults(loss.G_logistic_ns_pathreg) == expected
    gp = {"wgan_lambda": 10.0, "wgan_epsilon": 0.001, "wgan_target": 1.0}
    assert defaults(loss.D_wgan_gp) == gp | {"dlatent_avg_beta": 0.995}
