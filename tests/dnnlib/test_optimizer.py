"""Optimizer against Adam in NumPy, and its replicas, accumulation and skipped steps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Optimizer, autosummary, init_uninitialized_vars, set_vars
from dnnlib.tflib.optimizer import lazy_regularization_args

RANDOM = np.random.default_rng(11)
ADAM = {"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-8}
BATCHES = RANDOM.normal(size=(6, 8, 3))


class AdamOracle:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, w, learning_rate, beta1, beta2, epsilon=1e-8):
        self.w, self.rate, self.beta1, self.beta2 = np.array(w), learning_rate, beta1, beta2
        self.epsilon, self.t, self.m, self.v = epsilon, 0, 0.0, 0.0

    def step(self, g):
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m = self.m / (1 - self.beta1**self.t)
        v = self.v / (1 - self.beta2**self.t)
        self.w = self.w - self.rate * m / (np.sqrt(v) + self.epsilon)
        return self.w


class DescentOracle:
    """Plain gradient descent. Adam alone would not notice gradients of a wrong scale."""

    def __init__(self, w, learning_rate):
        self.w, self.rate = np.array(w), learning_rate

    def step(self, g):
        self.w = self.w - self.rate * g
        return self.w


DESCENT = {"tf_optimizer": "tf.train.GradientDescentOptimizer", "learning_rate": 0.1}
BOTH = pytest.mark.parametrize("options", [ADAM, DESCENT], ids=["Adam", "descent"])


def make_oracle(start, options):
    return AdamOracle(start, **options) if options is ADAM else DescentOracle(start, 0.1)


def make_weights(start=(1.0, -2.0, 3.0)):
    return tf.Variable(np.array(start, np.float32), name="w")


def make_steps(*optimizers):
    """What applies the updates of each; all variables have their first values."""
    steps = [optimizer.apply_updates() for optimizer in optimizers]
    init_uninitialized_vars()
    autosummary.init_autosummaries()
    return steps


def losses(w, batch):
    """One loss a sample, [N]; its mean has the gradient `gradient`."""
    return tf.reduce_sum(tf.square(w * batch) + batch * w, axis=1)


def gradient(w, batch):
    return (2 * w * batch**2 + batch).mean(axis=0)


def statistics():
    return autosummary.read_autosummaries()


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


def test_adam(session):
    w, batch = make_weights(), tf.placeholder(tf.float32, [None, 3])
    optimizer = Optimizer("Opt", **ADAM)
    assert not optimizer.has_gradients
    optimizer.register_gradients(losses(w, batch), [w])
    assert optimizer.has_gradients
    (step,) = make_steps(optimizer)
    oracle = AdamOracle(session.run(w), **ADAM)
    for numbers in BATCHES:
        session.run(step, {batch: numbers})
        close(session.run(w), oracle.step(gradient(oracle.w, numbers)))
    read = statistics()
    assert read["Opt/skipped_steps"].mean == 0
    assert read["Opt/learning_rate"].mean == pytest.approx(0.1)

    # From the start again: moments and step count are forgotten.
    optimizer.reset_optimizer_state()
    fresh = AdamOracle(oracle.w, **ADAM)
    for numbers in BATCHES[:3]:
        session.run(step, {batch: numbers})
        close(session.run(w), fresh.step(gradient(fresh.w, numbers)))


def test_the_learning_rate_may_be_a_tensor(session):
    w, rate = make_weights([1.0]), tf.placeholder(tf.float32, [])
    optimizer = Optimizer("Opt", "tf.train.GradientDescentOptimizer", learning_rate=rate)
    optimizer.register_gradients(w * 2, {"w": w})  # A dict, like Network.trainables.
    (step,) = make_steps(optimizer)
    for value in (0.5, 0.25):
        session.run(step, {rate: value})
    close(session.run(w), [1 - 2 * 0.5 - 2 * 0.25])


@BOTH
def test_two_replicas_take_the_average(session, options):
    w = make_weights()
    halves = [tf.placeholder(tf.float32, [4, 3]) for _ in range(2)]
    optimizer = Optimizer("Opt", **options)
    for half in halves:
        optimizer.register_gradients(losses(w, half), [w])
    (step,) = make_steps(optimizer)
    oracle = make_oracle(session.run(w), options)
    for numbers in BATCHES:
        session.run(step, {halves[0]: numbers[:4], halves[1]: numbers[4:]})
        close(session.run(w), oracle.step(gradient(oracle.w, numbers)))


@BOTH
@pytest.mark.parametrize("as_tensor", [False, True])
def test_accumulation_rounds_equal_one_large_batch(session, as_tensor, options):
    w, batch = make_weights(), tf.placeholder(tf.float32, [2, 3])
    rounds = tf.constant(4) if as_tensor else 4
    optimizer = Optimizer("Opt", minibatch_multiplier=rounds, **options)
    optimizer.register_gradients(losses(w, batch), [w])
    (step,) = make_steps(optimizer)
    oracle = make_oracle(session.run(w), options)
    for numbers in BATCHES:
        before = session.run(w)
        for i in range(4):
            np.testing.assert_array_equal(session.run(w), before)  # Only the last round steps.
            session.run(step, {batch: numbers[i * 2 : i * 2 + 2]})
        close(session.run(w), oracle.step(gradient(oracle.w, numbers)))
    assert statistics()["Opt/skipped_steps"].num == len(BATCHES)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rounds", [None, 2])
def test_gradients_that_are_not_finite_are_skipped(session, rounds, bad):
    w, batch = make_weights(), tf.placeholder(tf.float32, [2, 3])
    other = tf.Variable([1.0], name="other")  # Its gradient is finite: the step is skipped whole.
    optimizer = Optimizer("Opt", minibatch_multiplier=rounds, **ADAM)
    optimizer.register_gradients(losses(w, batch) + other, [w, other])
    (step,) = make_steps(optimizer)
    oracle, other_oracle = AdamOracle(session.run(w), **ADAM), AdamOracle([1.0], **ADAM)
    good = BATCHES[0][:2]
    poisoned = good.copy()
    poisoned[1, 2] = bad

    def steps(first):
        for numbers in [first, good][: rounds or 1]:
            session.run(step, {batch: numbers})

    def check():
        close(session.run(w), oracle.w)
        close(session.run(other), other_oracle.w)

    for numbers in (good, poisoned, good, poisoned, poisoned, good):
        steps(numbers)
        if numbers is good:
            oracle.step(gradient(oracle.w, good))
            other_oracle.step(1.0)
        check()
    skipped = statistics()["Opt/skipped_steps"]
    assert skipped.num * skipped.mean == pytest.approx(3)
    assert skipped.num == 6


def test_a_shared_state(session):
    """The regularizer's optimizer continues with the moments of the main one."""
    w, batch = make_weights(), tf.placeholder(tf.float32, [None, 3])
    main = Optimizer("Main", **ADAM)
    lazy = Optimizer("Reg", share=main, **ADAM)
    main.register_gradients(losses(w, batch), [w])
    lazy.register_gradients(losses(w, batch) * 5, [w])
    steps = make_steps(main, lazy)
    assert len(tf.global_variables()) == 5  # w, two moments, two powers of beta: one set for both.
    oracle = AdamOracle(session.run(w), **ADAM)
    for i, numbers in enumerate(BATCHES):
        session.run(steps[0], {batch: numbers})
        oracle.step(gradient(oracle.w, numbers))
        if i % 2:
            session.run(steps[1], {batch: numbers})
            oracle.step(gradient(oracle.w, numbers) * 5)
        close(session.run(w), oracle.w)


def test_variables_that_a_loss_does_not_reach_stay(session):
    w, unused = make_weights(), tf.Variable([7.0])
    optimizer = Optimizer("Opt", **ADAM)
    optimizer.register_gradients(tf.square(w), [w, unused])
    (step,) = make_steps(optimizer)
    session.run(step)
    assert session.run(unused) == [7.0]
    assert session.run(w)[0] != 1.0


def test_state_is_made_of_variables(session):
    """All there is to save and restore are variables of the graph."""
    w, batch = make_weights(), tf.placeholder(tf.float32, [None, 3])
    optimizer = Optimizer("Opt", **ADAM)
    optimizer.register_gradients(losses(w, batch), [w])
    (step,) = make_steps(optimizer)
    for numbers in BATCHES[:3]:
        session.run(step, {batch: numbers})
    saved = session.run({v: v for v in tf.global_variables()})
    results = []
    for _ in range(2):
        set_vars(saved)
        for numbers in BATCHES[3:]:
            session.run(step, {batch: numbers})
        results.append(session.run(w))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("rounds", [None, 3])
def test_statistics_of_the_losses_are_gathered(session, rounds):
    """Gradients alone would not evaluate them, where shapes are known."""
    w, batch = make_weights(), tf.placeholder(tf.float32, [8, 3])
    optimizer = Optimizer("Opt", minibatch_multiplier=rounds, **ADAM)
    optimizer.register_gradients(autosummary.autosummary("loss", losses(w, batch)), [w])
    (step,) = make_steps(optimizer)
    for _ in range(rounds or 1):
        session.run(step, {batch: BATCHES[0]})
    weights = np.array([1.0, -2.0, 3.0])
    read = statistics()["loss"]
    assert read.num == 8 * (rounds or 1)
    expected = (np.square(weights * BATCHES[0]) + BATCHES[0] * weights).sum(axis=1).mean()
    assert read.mean == pytest.approx(expected, rel=1e-5)


def test_lazy_regularization_args():
    """StyleGAN2, appendix B: c = k / (k + 1), lr·c and beta^c."""
    args = lazy_regularization_args(0.002, 16, beta1=0.5, beta2=0.99, epsilon=1e-8)
    c = 16 / 17
    assert args.pop("epsilon") == 1e-8
    assert args == pytest.approx({"learning_rate": 0.002 * c, "beta1": 0.5**c, "beta2": 0.99**c})
    plain = lazy_regularization_args(0.002, None, beta1=0.0, beta2=0.99)
    assert plain == {"learning_rate": 0.002, "beta1": 0.0, "beta2": 0.99}
    assert lazy_regularization_args(0.002, 4, beta1=0.0, beta2=0.99)["beta1"] == 0.0


def test_unknown_optimizers_are_named(session):
    with pytest.raises(UserError, match=r"'tf\.train\.Adam'.*AdamOptimizer"):
        Optimizer("Opt", "tf.train.Adam")
