"""Session set-up and helpers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError, tflib, util
from dnnlib.tflib import tfutil

RANDOM = np.random.default_rng(13)


def test_v2_behaviour_is_off(session):
    assert not tf.executing_eagerly()
    assert isinstance(tf.zeros([2]).shape[0], tf.Dimension)
    variable = tf.get_variable("v", [])
    assert type(variable).__name__ == "ResourceVariable"


def test_elementwise_helpers(session):
    x = RANDOM.uniform(0.1, 9, size=(3, 4)).astype(np.float32)
    y = RANDOM.normal(size=(3, 4)).astype(np.float32)
    t = np.array([-0.5, 0, 0.3, 2], np.float32)
    got = session.run(
        [
            tflib.log2(tf.constant(x)),
            tflib.exp2(tf.constant(y)),
            tflib.lerp(x, tf.constant(y), t),
            tflib.lerp_clip(x, tf.constant(y), t),
            tflib.flatten(tf.constant(x)),
        ]
    )
    clipped = np.clip(t, 0, 1)
    expected = [np.log2(x), np.exp2(y), x + (y - x) * t, x + (y - x) * clipped, x.ravel()]
    for actual, reference in zip(got, expected, strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-5, atol=1e-6)


def test_what_is_an_expression(session):
    variable = tf.get_variable("v", [])
    for expression in (tf.zeros([]), variable, tf.no_op()):
        assert tflib.is_tf_expression(expression)
    for other in (1.0, np.zeros(2), "v", None):
        assert not tflib.is_tf_expression(other)


def test_shape_to_list():
    assert tflib.shape_to_list([None, 3, tf.Dimension(4), tf.Dimension(None)]) == [None, 3, 4, None]
    assert tflib.shape_to_list(tf.TensorShape([None, 2])) == [None, 2]


def test_absolute_scopes(session):
    with tf.name_scope("a"), tflib.absolute_name_scope("x/y"):
        assert tf.no_op("op").name == "x/y/op"
    with tf.variable_scope("a"), tflib.absolute_variable_scope("x"):
        first = tf.get_variable("v", [])
    with tflib.absolute_variable_scope("x"):
        assert tf.get_variable("v", []) is first
    assert first.name == "x/v:0"


def test_variables_are_initialized_once(session):
    a = tf.get_variable("a", [2], initializer=tf.initializers.ones())
    b = tf.get_variable("b", [2], initializer=tf.initializers.ones())
    tflib.init_uninitialized_vars([a])
    with pytest.raises(tf.errors.FailedPreconditionError):
        session.run(b)
    tflib.set_vars({a: [5, 6]})
    before = len(tf.get_default_graph().get_operations())
    tflib.init_uninitialized_vars()
    tflib.init_uninitialized_vars([])
    np.testing.assert_array_equal(session.run([a, b]), [[5, 6], [1, 1]])
    assert len(tf.get_default_graph().get_operations()) == before


def test_set_vars(session):
    a, b = tf.get_variable("a", [2]), tf.get_variable("b", [], tf.int32)
    before = len(tf.get_default_graph().get_operations())
    tflib.set_vars({a: [1.5, 2], b: np.float64(3)})
    tflib.set_vars({})
    assert len(tf.get_default_graph().get_operations()) == before
    got_a, got_b = session.run([a, b])
    np.testing.assert_array_equal(got_a, [1.5, 2])
    assert got_b == 3
    tflib.set_vars({b: tf.constant(2) * 4})
    assert session.run(b) == 8
    c = tf.get_variable("c", [2])
    tflib.set_vars({c: a})
    np.testing.assert_array_equal(session.run(c), [1.5, 2])
    with pytest.raises(ValueError, match=r"a:0 has shape \[2\], the value has \[3\]"):
        tflib.set_vars({b: 1, a: np.zeros(3)})
    assert session.run(b) == 8  # Nothing is set if something does not fit.


def test_images_to_uint8(session):
    x = np.array([-9, -1, -0.999, 0, 0.5, 0.9921, 1, 9], np.float32).reshape(1, 1, 2, 4)
    y = session.run(tflib.convert_images_to_uint8(tf.constant(x)))
    expected = np.clip(np.floor((x.astype(np.float64) + 1) * 127.5 + 0.5), 0, 255)
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == np.uint8
    unit = tflib.convert_images_to_uint8(tf.constant(x), drange=[0, 1], nchw_to_nhwc=True)
    expected = np.clip(np.floor(x.astype(np.float64) * 255 + 0.5), 0, 255).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(session.run(unit), expected)


def test_images_to_uint8_can_shrink(session):
    x = RANDOM.uniform(-1, 1, size=(2, 3, 4, 6)).astype(np.float32)
    y = session.run(tflib.convert_images_to_uint8(tf.constant(x), shrink=2))
    means = x.reshape(2, 3, 2, 2, 3, 2).mean(axis=(3, 5))
    assert y.shape == (2, 3, 2, 3)
    assert np.abs(y - ((means + 1) * 127.5)).max() <= 0.501


def test_images_from_uint8_and_back(session):
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = tflib.convert_images_from_uint8(tf.constant(x), nhwc_to_nchw=True)
    values = session.run(images)
    assert values.shape == (1, 1, 16, 16)
    np.testing.assert_allclose(values.ravel(), np.arange(256) / 127.5 - 1, atol=1e-6)
    back = session.run(tflib.convert_images_to_uint8(images, nchw_to_nhwc=True))
    np.testing.assert_array_equal(back, x)
    unit = session.run(tflib.convert_images_from_uint8(tf.constant(x), drange=[0, 1]))
    np.testing.assert_allclose(unit, x / 255.0, atol=1e-6)


def test_sessions(session):
    assert tf.get_default_session() is session
    with tflib.graph_session(seed=4) as inner:
        assert tf.get_default_session() is inner
        first = inner.run(tf.random_normal([3]))
    assert tf.get_default_session() is session
    with tflib.graph_session(seed=4) as again:
        np.testing.assert_array_equal(again.run(tf.random_normal([3])), first)
    with tflib.graph_session(seed=5) as other:
        assert not np.array_equal(other.run(tf.random_normal([3])), first)
    with pytest.raises(RuntimeError):
        inner.run(tf.no_op())  # Closed.


def test_without_a_session():
    with pytest.raises(RuntimeError, match=r"dnnlib\.tflib\.init_tf"):
        tflib.run(tf.no_op())


def test_session_options():
    with tf.Graph().as_default():
        config = {"gpu_options.allow_growth": False, "intra_op_parallelism_threads": 1}
        session = tflib.create_session({**config, "rnd.tf_random_seed": 3, "env.X": 1})
        assert session._config.intra_op_parallelism_threads == 1
        assert not session._config.gpu_options.allow_growth
        assert session._config.graph_options.place_pruned_graph
        session.close()


def test_without_a_gpu_its_name_means_the_cpu(monkeypatch):
    for gpus in ([], ["/gpu:0"]):
        monkeypatch.setattr(tflib.tfutil, "gpu_devices", lambda found=gpus: found)
        with tf.Graph().as_default(), tflib.create_session() as session:
            assert session._config.allow_soft_placement == (not gpus)
            with tf.device("/gpu:0"):
                var = tf.Variable(tf.ones([2]))
            if not gpus:
                tflib.init_uninitialized_vars()
                assert tflib.run(var + 1).tolist() == [2, 2]


INIT_TF = """
import os, numpy as np, tensorflow.compat.v1 as tf
from dnnlib import tflib
tflib.init_tf({"rnd.np_random_seed": 7, "env.TEST_OF_INIT": "yes"})
session = tf.get_default_session()
tflib.init_tf()
assert tf.get_default_session() is session
assert os.environ["TEST_OF_INIT"] == "yes"
print(tf.get_default_graph().seed, np.random.randint(1000))
"""


def test_init_tf_is_for_the_whole_process_and_seeds_it(run_script):
    result = run_script(["-c", INIT_TF])
    assert result.returncode == 0, result.stderr
    random = np.random.RandomState(7)
    expected = [random.randint(1 << 31), random.randint(1000)]  # TensorFlow's seed comes first.
    assert result.stdout.split() == list(map(str, expected))


def test_replica_devices(monkeypatch):
    monkeypatch.setattr(tfutil, "gpu_devices", list)
    assert tfutil.replica_devices(1) == ["/cpu:0"]
    assert tfutil.replica_devices(2) == ["/cpu:0", "/cpu:0"]
    monkeypatch.setattr(tfutil, "gpu_devices", lambda: ["/gpu:0", "/gpu:1", "/gpu:2"])
    assert tfutil.replica_devices(1) == ["/gpu:0"]
    assert tfutil.replica_devices(2) == ["/gpu:0", "/gpu:1"]
    with pytest.raises(UserError, match=r"--num-gpus=4.*sees 3"):
        tfutil.replica_devices(4)


def test_easy_dict():
    d = EasyDict(a=1)
    d.b = 2
    assert (d["b"], d.a) == (2, 1)
    assert d == {"a": 1, "b": 2}
    del d.a
    assert "a" not in d
    for action in (lambda: d.a, lambda: delattr(d, "a")):
        with pytest.raises(AttributeError, match="a"):
            action()
    assert not hasattr(d, "missing")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (8.4, "8s"),
        (59.6, "1m 00s"),
        (312, "5m 12s"),
        (3599.9, "1h 00m 00s"),
        (11112, "3h 05m 12s"),
        (183912, "2d 03h 05m"),
    ],
)
def test_format_time(seconds, text):
    assert util.format_time(seconds) == text


def test_one_line():
    assert util.one_line("a\n  b\tc ") == "a b c"
    assert util.one_line("x" * 500) == "x" * 299 + "…"
    assert util.one_line(ValueError("no\nway")) == "no way"
    assert util.one_line("abc", limit=3) == "abc"
