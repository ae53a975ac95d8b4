"""Official names of dnnlib.tflib that people's own scripts use."""

from __future__ import annotations

import glob

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from scipy import special

from dnnlib import UserError, tflib, util
from dnnlib.tflib import Network, Optimizer, network, network_state, tfutil
from dnnlib.tflib.autosummary import (
    autosummary,
    finalize_autosummaries,
    read_autosummaries,
    save_summaries,
)
from dnnlib.tflib.optimizer import SimpleAdam
from training.snapshots import pickles

RANDOM = np.random.default_rng(13)


def dense(x_in, size=3, scale=1.0):
    x_in.set_shape([None, 2])
    weight = tf.get_variable("weight", [2, size], initializer=tf.initializers.random_normal())
    return tf.matmul(x_in, weight) * scale


def dense_with_bias(x_in, size=3, scale=1.0):
    bias = tf.get_variable("bias", [size], initializer=tf.initializers.ones())
    return dense(x_in, size, scale) + bias


def test_tensorflow_for_short():
    assert util.get_obj_by_name("tf.train.AdamOptimizer") is tf.train.AdamOptimizer


# tfutil


def test_erfinv(session):
    y = np.linspace(-0.99, 0.99, 41, dtype=np.float32)
    np.testing.assert_allclose(session.run(tflib.erfinv(y)), special.erfinv(y), rtol=1e-5)


def test_a_variable_with_a_large_value(session):
    value = RANDOM.normal(size=(300, 1000)).astype(np.float32)
    var = tflib.create_var_with_large_initial_value(value, trainable=False, name="large")
    np.testing.assert_array_equal(tflib.run(var), value)
    assert not var.trainable and var.op.name == "large"
    assert tf.get_default_graph().as_graph_def().ByteSize() < value.nbytes / 100
    counts = tflib.create_var_with_large_initial_value(np.arange(5, dtype=np.int32))
    assert counts.dtype.base_dtype == tf.int32


def test_run_passes_options_on(session):
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    assert tflib.run(tf.constant(3), options=options, run_metadata=metadata) == 3
    assert metadata.ByteSize() > 0


def test_types_for_annotations(session):
    assert isinstance(tf.constant(1), tfutil.TfExpression)
    assert isinstance(3.0, tfutil.TfExpressionEx) and not isinstance(3.0, tfutil.TfExpression)


# autosummary


def events(folder):
    """{tag: [(step, value)]}"""
    found = {}
    for path in glob.glob(f"{folder}/events*"):
        for event in tf.train.summary_iterator(path):
            for value in event.summary.value:
                is_histogram = value.HasField("histo")
                number = value.histo.num if is_histogram else value.simple_value
                found.setdefault(value.tag, []).append((event.step, number))
    return found


def test_statistics_as_official_scripts_keep_them(session, tmp_path):
    """No one initializes anything, and numbers of Python are statistics too."""
    net = Network("Net", dense)
    net.setup_weight_histograms("weights")
    x = tf.placeholder(tf.float32, [])
    y = autosummary("Loss/x", x)
    writer = tf.summary.FileWriter(str(tmp_path))
    for step in (1, 2):
        for value in (1.0, 3.0):
            assert tflib.run(y, {x: value * step}) == value * step
            assert autosummary("Timing/sec", value) == value
        finalize_autosummaries()
        num_ops = len(tf.get_default_graph().get_operations())
        save_summaries(writer, global_step=step)
    assert len(tf.get_default_graph().get_operations()) == num_ops
    writer.close()
    assert events(tmp_path) == {
        "weights/weight": [(1, 6), (2, 6)],
        "Loss/x": [(1, 2), (2, 4)],
        "Timing/sec": [(1, 2), (2, 2)],
    }


def test_conditions_and_what_is_passed_through(session):
    flag = tf.placeholder(tf.bool, [])
    y = autosummary("y", tf.constant([1.0, 5.0]), condition=flag)
    z = autosummary("z", 7.0, passthru=tf.constant(2.0), condition=flag)
    for value in (True, False, True):
        assert tflib.run([y, z], {flag: value})[1] == 2
    assert autosummary("never", 1.0, condition=False) == 1
    assert autosummary("n", [1.0, np.nan, 3.0], passthru="text") == "text"
    read = read_autosummaries()
    assert {name: (m.num, m.mean) for name, m in read.items()} == {
        "y": (4, 3),
        "z": (2, 7),
        "n": (2, 2),
    }


def test_numbers_add_no_ops(session):
    autosummary("x", 1)
    before = len(tf.get_default_graph().get_operations())
    for i in range(3):
        autosummary("x", i)
    assert len(tf.get_default_graph().get_operations()) == before
    assert read_autosummaries()["x"].num == 4


# optimizer


def minimized(options, steps=4):
    """A weight after some steps with -(w - 3)², in a graph of its own."""
    with tflib.graph_session(seed=1):
        w = tf.Variable([1.0, 2.0], name="w")
        optimizer = Optimizer(name="Train", learning_rate=0.1, **options)
        optimizer.register_gradients(tf.square(w - 3), [w])
        step = optimizer.apply_updates()
        tflib.init_uninitialized_vars([w])
        for _ in range(steps):
            tflib.run(step)
        scale = tflib.run(optimizer.get_loss_scaling_var("")) if optimizer.use_loss_scaling else 0
        return tflib.run(w), scale


def test_simple_adam_is_adam(session):
    adam = {"beta1": 0.3, "beta2": 0.9}
    expected, _ = minimized(adam)
    assert not np.allclose(expected, [1, 2])
    for choice in ("dnnlib.tflib.optimizer.SimpleAdam", SimpleAdam):
        np.testing.assert_array_equal(minimized({**adam, "tf_optimizer": choice})[0], expected)
    w = tf.Variable(1.0)
    optimizer = SimpleAdam("Own", 0.5)
    pairs = optimizer.compute_gradients(tf.square(w), [w])
    step = optimizer.apply_gradients(pairs)
    session.run(tf.global_variables_initializer())
    session.run(step)
    assert session.run(w) == pytest.approx(0.5)  # The first step of Adam is the learning rate.
    assert len(optimizer.variables()) == 4


def test_loss_scaling():
    """With plain descent, as Adam would not notice gradients of a wrong scale."""
    descent = {"tf_optimizer": "tf.train.GradientDescentOptimizer"}
    plain, _ = minimized(descent)
    scaled, scale = minimized({**descent, "use_loss_scaling": True, "loss_scaling_init": 10.0})
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)
    assert scale == pytest.approx(10 + 4 * 0.0005)
    # 2^130 is not finite in float32: steps are skipped until the scale is small enough.
    options = {**descent, "use_loss_scaling": True}
    options |= {"loss_scaling_init": 130.0, "loss_scaling_dec": 60.0}
    scaled, scale = minimized(options, steps=1)
    np.testing.assert_array_equal(scaled, [1, 2])
    assert scale == 70
    np.testing.assert_allclose(minimized(options, steps=5)[0], plain, rtol=1e-5)


def test_applying_and_undoing_loss_scaling(session):
    optimizer = Optimizer(use_loss_scaling=True, loss_scaling_init=3.0, report_mem_usage=True)
    x = tf.constant(5.0)
    applied, undone = optimizer.apply_loss_scaling(x), optimizer.undo_loss_scaling(x)
    np.testing.assert_allclose(tflib.run([applied, undone]), [40, 5 / 8], rtol=1e-6)
    without = Optimizer(name="Other")
    assert without.apply_loss_scaling(x) is x and without.undo_loss_scaling(x) is x
    with pytest.raises(ValueError, match="use_loss_scaling"):
        without.get_loss_scaling_var("/gpu:0")


def test_an_optimizer_without_gradients(session):
    optimizer = Optimizer()
    assert tflib.run(optimizer.apply_updates(allow_no_op=True)) is None
    with pytest.raises(ValueError, match="register_gradients first"):
        optimizer.apply_updates()


# network


def test_attributes(session):
    net = Network("Net", dense, size=4)
    names = """name scope device static_kwargs components input_shapes output_shapes input_shape
        output_shape num_inputs num_outputs input_names output_names input_templates
        output_templates own_vars vars trainables var_global_to_local"""
    assert all(hasattr(net, name) for name in names.split())
    assert net.device == "" and net.static_kwargs == {"size": 4}
    assert (net.num_inputs, net.num_outputs) == (1, 1)
    assert net.var_global_to_local == {"Net/weight:0": "weight"}
    assert [t.shape.as_list() for t in net.output_templates] == [[None, 4]]


def test_convert(session):
    net = Network("Net", dense, size=4)
    net.metadata["note"] = "kept"
    for other in (
        net.convert(f"{__name__}.dense_with_bias", "Other", scale=2.0),
        net.convert(dense_with_bias, scale=2.0),
    ):
        assert other.static_kwargs == {"size": 4, "scale": 2.0} and other.metadata == net.metadata
        np.testing.assert_array_equal(other.get_var("weight"), net.get_var("weight"))
        x = RANDOM.normal(size=(3, 2)).astype(np.float32)
        np.testing.assert_allclose(other.run(x), 2 * net.run(x) + 1, rtol=1e-5)
    assert net.convert(dense).name == "Net" and net.convert(dense_with_bias, "New").name == "New"


def test_import_handlers(session, tmp_path, monkeypatch):
    monkeypatch.setattr(network_state, "_IMPORT_HANDLERS", [])
    path = str(tmp_path / "D.pkl")
    pickles.save(Network("D", "training.networks.D_main", resolution=4, fmap_max=4), path)
    seen = []

    @network.import_handler
    def rename(state):
        seen.append(state["version"])
        state["name"] = "Renamed"
        return state

    assert rename({"version": 5})["name"] == "Renamed"  # It is still a function.
    assert pickles.load(path).name == "Renamed"
    assert seen == [5, 5]
    state = {**pickles.load(path).__getstate__(), "version": 99}
    with pytest.raises(UserError, match="version 99"):
        Network.__new__(Network).set_state(state)
    assert seen == [5, 5, 5]  # Not called for what is not known.
