"""Statistics of the training graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.autosummary import autosummary, init_autosummaries, read_autosummaries

RANDOM = np.random.default_rng(12)


def test_moments_of_all_values_since_the_last_reading(session):
    x = tf.placeholder(tf.float32, [None, 2])
    y = autosummary("Loss/scores real", x) * 2
    init_autosummaries()
    batches = [RANDOM.normal(5, 3, size=(n, 2)).astype(np.float32) for n in (3, 1, 4)]
    for batch in batches:
        np.testing.assert_allclose(session.run(y, {x: batch}), batch * 2)
    values = np.concatenate(batches)
    read = read_autosummaries()
    assert list(read) == ["Loss/scores real"]
    moments = read["Loss/scores real"]
    assert moments.num == values.size
    assert moments.mean == pytest.approx(values.mean(), rel=1e-6)
    assert moments.std == pytest.approx(values.std(), rel=1e-4)

    assert read_autosummaries() == {}  # Read once, they start anew.
    session.run(y, {x: [[1, 3]]})
    moments = read_autosummaries()["Loss/scores real"]
    assert (moments.num, moments.mean, moments.std) == (2, 2, 1)


def test_the_same_name_in_several_replicas(session):
    parts = [autosummary("loss", tf.constant([float(i), float(i)])) for i in (1, 3)]
    init_autosummaries()
    session.run(parts)
    moments = read_autosummaries()["loss"]
    assert (moments.num, moments.mean, moments.std) == (4, 2, 1)


def test_order_types_and_what_was_not_evaluated(session):
    b = autosummary("b", tf.constant(True))
    a = autosummary("a", tf.constant([1, 2], tf.int32))
    autosummary("never", tf.constant(1.0))
    init_autosummaries()
    got_a, got_b = session.run([a, b])
    assert got_a.dtype == np.int32
    assert got_b
    read = read_autosummaries()
    assert list(read) == ["b", "a"]
    assert (read["b"].mean, read["a"].mean) == (1, 1.5)


def test_many_values_lose_no_precision(session):
    """Sums are kept in float64: a million values of about 1 do not stop growing."""
    x = autosummary("x", tf.fill([1000], 1.0001))
    init_autosummaries()
    for _ in range(300):
        session.run(x)
    moments = read_autosummaries()["x"]
    assert moments.num == 300_000
    assert moments.mean == pytest.approx(1.0001, rel=1e-6)
    assert moments.std < 1e-2


def test_gradients_pass_and_statistics_have_none(session):
    x = tf.constant([1.0, 2.0])
    gradient = tf.gradients(tf.square(autosummary("x", x)), x)[0]
    init_autosummaries()
    np.testing.assert_array_equal(session.run(gradient), [2, 4])


def test_two_graphs_do_not_mix(session):
    x = autosummary("x", tf.constant(1.0))
    init_autosummaries()
    session.run(x)
    with tflib.graph_session() as other:
        y = autosummary("x", tf.constant(5.0))
        init_autosummaries()
        other.run(y)
        assert read_autosummaries()["x"].mean == 5
    assert read_autosummaries()["x"].mean == 1


def test_reading_adds_no_ops_and_variables_are_local(session):
    x = autosummary("x", tf.constant(1.0))
    init_autosummaries()
    before = len(tf.get_default_graph().get_operations())
    for _ in range(3):
        session.run(x)
        read_autosummaries()
        init_autosummaries()
    assert len(tf.get_default_graph().get_operations()) == before
    assert not tf.global_variables()  # They are no part of what a run saves.


def test_inside_a_condition(session):
    """Counted when the branch runs, and only then."""
    flag = tf.placeholder(tf.bool, [])
    y = tf.cond(flag, lambda: autosummary("taken", tf.constant(3.0)), lambda: tf.constant(0.0))
    init_autosummaries()
    for value in (True, False, True):
        session.run(y, {flag: value})
    assert read_autosummaries()["taken"].num == 2
