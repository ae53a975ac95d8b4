"""States: whole, strict, and not more of them than are wanted."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from training import training_state
from training.resume import find_states, newest_state, read_meta, state_path


def test_states_are_whole_and_strict(tmp_path, session):
    a = tf.get_variable("a", initializer=np.float32([1, 2]))
    tflib.init_uninitialized_vars()
    path = state_path(str(tmp_path), 3_200)
    training_state.save_state(path, {"n": 5}, keep=2)
    tflib.set_vars({a: np.float32([7, 8])})
    assert training_state.load_state(path) == {"n": 5}
    np.testing.assert_array_equal(tflib.run(a), [1, 2])
    b = tf.get_variable("b", initializer=np.float32(0))
    tflib.init_uninitialized_vars([b])
    with pytest.raises(UserError, match=r"does not fit this run: b:0 is missing"):
        training_state.load_state(path)
    with pytest.raises(UserError, match="cannot write state"):
        training_state.save_state(str(tmp_path / "no/x.npz"), {}, 2)


def test_a_broken_state_is_noticed(tmp_path, session):
    tf.get_variable("a", initializer=np.float32(np.arange(30)))
    tflib.init_uninitialized_vars()
    path = state_path(str(tmp_path), 3_200)
    training_state.save_state(path, {"n": 5}, keep=2)
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
            assert read_meta(path)["counters"] == {"n": 5}
            training_state.load_state(path)
    assert noticed > 150
    Path(path).unlink()
    with pytest.raises(UserError, match="has no state any more"):
        newest_state(str(tmp_path))


def test_only_the_newest_states_stay(tmp_path, session):
    tf.get_variable("a", initializer=np.float32(0))
    tflib.init_uninitialized_vars()

    def states_after(kimg, keep):
        training_state.save_state(state_path(str(tmp_path), kimg * 1000), {}, keep)
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
                training_state.save_state(path, {}, 2)
                continue
            with pytest.raises(UserError, match=reason):
                training_state.load_state(path)
