"""States: whole, strict, and not more of them than are wanted."""

import dataclasses
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from training.run import state
from training.run.divergence import Diverged
from training.run.file_names import find_states, state_path
from training.run.state import Counters, newest_state, read_state

COUNTERS = Counters(5, 4, 3, 2, 1, 0.5)


def test_states_are_whole_and_strict(tmp_path, session):
    a = tf.get_variable("a", initializer=np.float32([1, 2]))
    tflib.init_uninitialized_vars()
    path = state_path(str(tmp_path), 3_200)
    state.save_state(path, COUNTERS, keep=2)
    tflib.set_vars({a: np.float32([7, 8])})
    found = read_state(path)
    found.restore()
    # Where files were written last: as of a state that does not say so, at the last tick.
    assert found.counters == dataclasses.replace(COUNTERS, saved_nimg=1)
    np.testing.assert_array_equal(tflib.run(a), [1, 2])
    b = tf.get_variable("b", initializer=np.float32(0))
    tflib.init_uninitialized_vars([b])
    with pytest.raises(UserError, match=r"does not fit this run: b:0 is missing"):
        read_state(path).restore()
    with pytest.raises(UserError, match="cannot write state"):
        state.save_state(str(tmp_path / "no/x.npz"), COUNTERS, 2)


def test_a_broken_state_is_noticed(tmp_path, session):
    tf.get_variable("a", initializer=np.float32(np.arange(30)))
    tflib.init_uninitialized_vars()
    path = state_path(str(tmp_path), 3_200)
    state.save_state(path, COUNTERS, keep=2)
    content = Path(path).read_bytes()
    rng = random.Random(0)
    broken = [content[:-30], b"", b"text", content[:100], content[:-1]]
    broken += [bytearray(content) for _ in range(300)]
    for damaged in broken[-300:]:
        damaged[rng.randrange(len(content))] ^= rng.randrange(1, 256)
    noticed = 0
    for damaged in broken:
        Path(path).write_bytes(damaged)
        try:
            newest_state(str(tmp_path))
        except UserError as error:
            assert str(error).startswith("cannot read state") and "\n" not in str(error)
            noticed += 1
        else:  # What no program reads: times and the like.
            found = read_state(path)
            assert found.counters == dataclasses.replace(COUNTERS, saved_nimg=1)
            found.restore()
    assert noticed > 150
    Path(path).unlink()
    with pytest.raises(UserError, match="has no state any more"):
        newest_state(str(tmp_path))


def test_a_state_that_is_not_finite_is_passed_over(tmp_path, session, capsys, monkeypatch):
    """As an older version may have written it; none is written any more."""
    a = tf.get_variable("a", initializer=np.float32([1, 2]))
    statistic = tf.get_variable("Autosummary/x", initializer=np.float32(np.nan))
    tflib.init_uninitialized_vars()
    first, second = (state_path(str(tmp_path), n) for n in (3_200, 6_400))
    state.save_state(first, COUNTERS, keep=2)
    tflib.set_vars({a: np.float32([1, np.inf])})
    with pytest.raises(Diverged, match="no state is saved: a:0 not finite"):
        state.save_state(second, COUNTERS, keep=1)
    assert find_states(str(tmp_path)) == [first]
    with monkeypatch.context() as older:
        older.setattr(state, "non_finite", lambda _: [])
        state.save_state(second, COUNTERS, keep=2)
    assert newest_state(str(tmp_path)).path == first
    assert "a:0 has values that are not finite" in capsys.readouterr().out
    with pytest.raises(UserError, match="not finite"):
        read_state(second)
    tflib.set_vars({statistic: 0.0})
    read_state(first).restore()
    assert np.isnan(tflib.run(statistic))


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"format": "1"}, "format is '1', expected a whole number"),
        ({"counters": [1]}, r"counters is \[1\]"),
        (
            {"counters": {**vars(COUNTERS), "cur_nimg": 1 << 40}},
            "counters.cur_nimg is 1099511627776",
        ),
        ({"counters": {**vars(COUNTERS), "cur_nimg": {}}}, r"counters.cur_nimg is \{\}"),
        ({"variables": [5]}, r"variables\[0\] is 5, expected text"),
        ({"variables": ["a:0", "b:0"]}, "it lacks b:0"),
        ({"variables": []}, "does not say what its array v0 is"),
    ],
)
def test_a_state_whose_description_is_wrong(tmp_path, meta, words):
    path = state_path(str(tmp_path), 3_200)
    meta = {"format": 1, "counters": vars(COUNTERS), "variables": ["a:0"], **meta}
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, meta=text, v0=np.zeros(2))
    with pytest.raises(UserError, match=words):
        newest_state(str(tmp_path))
    np.savez_compressed(path, meta=text, v0=np.zeros(1 << 24))
    with pytest.raises(UserError, match="is compressed"):
        newest_state(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cur_nimg": None}, "counters.cur_nimg is None, expected a whole number"),
        ({"cur_tick": "7"}, "counters.cur_tick is '7'"),
        ({"minibatch": 1.5}, "counters.minibatch is 1.5"),
        ({"last_nimg": -1}, "counters.last_nimg is -1"),
        ({"saved_whole": 1}, "counters.saved_whole is 1, expected true or false"),
        ({"x": 1}, "there is no option counters.x"),
    ],
)
def test_counters_are_checked(tmp_path, changes, words):
    path = state_path(str(tmp_path), 3_200)
    names = ("cur_nimg", "last_nimg", "minibatch", "cur_tick", "tick_start_nimg")
    counters = {**dict.fromkeys(names, 64), "seconds": 1.5, "saved_nimg": -1, "saved_whole": True}

    def write(counters):
        text = json.dumps({"format": 1, "counters": counters, "variables": []})
        np.savez(path, meta=np.frombuffer(text.encode(), np.uint8))

    write(counters)
    found = read_state(path).counters
    assert (found.cur_nimg, found.saved_nimg, found.saved_whole) == (64, -1, True)
    write({**counters, **changes})
    with pytest.raises(UserError, match=f"cannot read state .*{words}"):
        read_state(path)
    del counters["seconds"]
    write(counters)
    with pytest.raises(UserError, match=r"counters\.seconds is missing"):
        read_state(path)


def test_only_the_newest_states_stay(tmp_path, session):
    tf.get_variable("a", initializer=np.float32(0))
    tflib.init_uninitialized_vars()

    def states_after(kimg, keep):
        state.save_state(state_path(str(tmp_path), kimg * 1000), COUNTERS, keep)
        return [int(os.path.basename(p)[15:21]) for p in find_states(str(tmp_path))]

    assert [states_after(kimg, 2) for kimg in (4, 5, 6)] == [[4], [4, 5], [5, 6]]
    # From 5 again, since 6 was broken: it must not count as one that is kept.
    assert states_after(5, 1) == [5]


def test_another_graph_is_named(tmp_path):
    path = state_path(str(tmp_path), 0)
    for shape, names, reason in [
        ([2], ["a"], None),
        ([3], ["a"], r"a:0 has shape \[2\], not \[3\]"),
        ([2], ["b"], r"b:0 is missing; a:0 has no place"),
        ([2], [f"v{i}" for i in range(9)], "and 5 more"),
    ]:
        with tflib.graph_session():
            for name in names:
                tf.get_variable(name, initializer=np.zeros(shape, np.float32))
            tflib.init_uninitialized_vars()
            if reason is None:
                state.save_state(path, COUNTERS, 2)
                continue
            with pytest.raises(UserError, match=reason):
                read_state(path).restore()
