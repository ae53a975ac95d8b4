"""Collectives between servers, which may just as well be in threads of one process."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import dnnlib.tflib.workers
from dnnlib import UserError, tflib
from dnnlib.cluster import Cluster, WorkerLost, free_ports
from dnnlib.tflib.workers import ALONE, Workers


class Signals:
    """As `Interrupts`, but nothing is raised."""

    def __init__(self, received=None):
        self.received = received

    def take(self, number):
        self.received = self.received or number


def together(function, count=2, limit=20.0, known=lambda addresses, index: addresses):
    """What a function of `Workers` returns on each, or the exception that it raises.

    `known(addresses, index)` are those that worker `index` knows of.
    """
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(count))

    def work(index):
        try:
            return function(Workers(Cluster(known(addresses, index), index), limit))
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_one_that_ends_before_anything_is_missed(monkeypatch):
    """Its port is closed: the others do not wait up to the limit."""
    monkeypatch.setattr(dnnlib.tflib.workers, "_WATCH_SECONDS", 0.1)
    start = time.monotonic()
    have_begun = threading.Barrier(2)  # Worker 1 has to have found worker 0 before it is gone.

    def work(workers):
        have_begun.wait(100)
        if workers.index == 1:
            return None
        monkeypatch.setattr(Cluster, "unreachable", lambda self: [1])
        return workers.tell("x")

    error, _ = together(work, limit=200)
    assert isinstance(error, WorkerLost) and "worker 1 (127.0.0.1:" in str(error)
    assert "has ended: see what it says" in str(error) and time.monotonic() - start < 100


def test_means_sums_and_variables_are_those_of_all():
    sizes = [5, 4_000_000, 7]  # In two buckets.

    def work(workers):
        with workers.session(seed=1):
            own = float(workers.index)
            tensors = [tf.fill([1, n], own + i) for i, n in enumerate(sizes)]
            means = workers.mean(tensors)
            total = workers.sum(tf.constant([own, 1.0]))
            variables = [tf.Variable(tf.fill([2, 3], own)), tf.Variable(workers.index)]
            workers.prepare(variables)
            tflib.init_uninitialized_vars()
            found = workers.run([*means, total])
            workers.share()
            numbers = np.full([4, 3], own + 1)
            totals = [workers.total(numbers) for _ in range(2)]
            return [*found, *tflib.run(variables), *totals, workers.most(3 + workers.index)]

    results = together(work)
    for *means, total, floats, whole, once, twice, most in results:
        for i, (mean, n) in enumerate(zip(means, sizes, strict=True)):
            np.testing.assert_array_equal(mean, np.full([1, n], i + 0.5, np.float32))
        np.testing.assert_array_equal(total, [1, 2])
        np.testing.assert_array_equal(floats, np.zeros([2, 3]))
        assert whole == 0 and most == 4
        np.testing.assert_array_equal([once, twice], np.full([2, 4, 3], 3.0))


def test_the_others_wait_and_signals_reach_all():
    def work(workers):
        signals = Signals(15 if workers.index == 1 else None)
        done = []
        with workers.session(seed=1):
            workers.prepare([])
            with workers.waiting_for_chief(signals) as is_chief:
                done.append(is_chief)
            done.append(signals.received)
            done.append(workers.agree(Signals()))
            done.append(workers.agree(signals))
        return done

    assert together(work) == [[True, 15, None, 15], [False, 15, None, 15]]


def test_a_chief_that_fails_ends_the_others():
    def work(workers):
        with workers.session(seed=1):
            workers.prepare([])
            with workers.waiting_for_chief(Signals()) as is_chief:
                if is_chief:
                    raise UserError("the disk is full")

    first, second = together(work)
    assert str(first) == "the disk is full"
    assert isinstance(second, WorkerLost) and "worker 0 (127.0.0.1:" in str(second)


def test_what_the_chief_computes_is_told_and_so_is_what_he_cannot():
    def fail():
        raise UserError("there is no run")

    def work(workers):
        said = workers.tell(json.dumps({"name": f"{workers.index} é\0"}))
        value = workers.from_chief(lambda: {"index": workers.index})
        with pytest.raises(UserError) as caught:
            workers.from_chief(fail)
        return [json.loads(text)["name"] for text in said], value, str(caught.value)

    first, second = together(work)
    assert first[:2] == second[:2] == (["0 é\0", "1 é\0"], {"index": 0})
    assert first[2] == "there is no run" and second[2].endswith("): there is no run")


def test_lists_of_different_lengths_are_refused_on_all():
    errors = together(lambda w: w.tell("x"), 3, 5.0, lambda a, index: a[: 2 if index == 0 else 3])
    for error, count in zip(errors, (2, 3, 3), strict=True):
        assert f"do not agree on how many they are, {count} here" in str(error)


def test_one_that_does_not_take_part_is_missed_within_the_limit():
    def work(workers):
        with workers.session(seed=1):
            workers.prepare([])
            for _ in range(2):  # After the first step waiting is short.
                workers.agree(Signals())
            if workers.index == 0:
                workers.agree(Signals())

    error, nothing = together(work, limit=1.0)
    assert nothing is None
    assert "another worker does not answer, within 1 seconds" in str(error)


def test_alone_nothing_is_added(session):
    x = tf.constant([1.0])
    before = len(tf.get_default_graph().get_operations())
    assert ALONE.mean([x]) == [x] and ALONE.sum(x) is x and ALONE.once() is True
    ALONE.prepare([])
    ALONE.share()
    assert ALONE.agree(Signals(2)) == 2 and ALONE.most(0.5) == 0.5
    assert len(tf.get_default_graph().get_operations()) == before
