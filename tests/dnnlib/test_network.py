"""Network, on build functions of a few lines and on real ones."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, network_graph

RANDOM = np.random.default_rng(10)
SYNTHETIC = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 2}
SYNTHETIC |= {"resolution": 8, "fmap_base": 32, "fmap_max": 4, "num_channels": 1}


def affine(x_in, y_in, size=3, scale=1.0, twice=False):
    """scale·(x·w) + b + y, and that doubled if `twice`."""
    x_in.set_shape([None, 2])
    y_in.set_shape([None, size])
    with tf.variable_scope("Dense"):
        w = tf.get_variable("weight", shape=[2, size], initializer=tf.initializers.random_normal())
        b = tf.get_variable("bias", shape=[size], initializer=tf.initializers.zeros())
    steps = tf.get_variable("steps", [], initializer=tf.initializers.ones(), trainable=False)
    y = tf.identity(scale * tf.matmul(x_in, w) + b + y_in * steps, name="y_out")
    return (y, y * 2) if twice else y


def outer(x_in, components=None, is_template_graph=False, size=3, **kwargs):
    """A network with a component."""
    if "inner" not in components:
        components.inner = Network("Inner", affine, size=size)
    x_in.set_shape([None, 2])
    gain = tf.get_variable("gain", [], initializer=tf.initializers.ones())
    return components.inner.get_output_for(x_in, None, **kwargs) * gain


def generator(name="G", **kwargs):
    return Network(name, "training.networks_stylegan2.G_main", **{**SYNTHETIC, **kwargs})


@pytest.fixture
def net(session):
    net = Network("Net", affine)
    net.set_var("Dense/bias", RANDOM.normal(size=3))
    return net


def oracle(net, x, y, scale=1.0):
    return scale * (x @ net.get_var("Dense/weight")) + net.get_var("Dense/bias") + y


def test_attributes(net):
    assert net.name == net.scope == "Net"
    assert net.input_names == ["x_in", "y_in"]
    assert net.input_shapes == [[None, 2], [None, 3]]
    assert net.output_shape == [None, 3]
    assert net.output_names == ["y_out"]
    assert (net.num_inputs, net.num_outputs) == (2, 1)
    assert list(net.vars) == ["Dense/weight", "Dense/bias", "steps"]
    assert list(net.trainables) == ["Dense/weight", "Dense/bias"]
    assert net.vars["steps"].name == "Net/steps:0"
    assert net.get_var_local_name(net.vars["steps"]) == "steps"
    assert net.find_var("steps") is net.find_var(net.vars["steps"])
    assert net.build_func_name == "affine"
    assert net.get_var("Dense/weight").any()  # Initialized.
    with pytest.raises(AttributeError, match="no_such"):
        _ = net.no_such


def test_run_and_output_for(net, session):
    x, y = RANDOM.normal(size=(5, 2)), RANDOM.normal(size=(5, 3))
    expected = oracle(net, x, y)
    np.testing.assert_allclose(net.run(x, y), expected, rtol=1e-5)
    np.testing.assert_allclose(net.run(x, None), oracle(net, x, 0), rtol=1e-5)
    np.testing.assert_allclose(net.run(x, y, scale=3.0), oracle(net, x, y, 3.0), rtol=1e-5)
    (alone,) = net.run(x, y, return_as_list=True)
    np.testing.assert_allclose(alone, expected, rtol=1e-5)
    one, two = net.run(x, y, twice=True)
    np.testing.assert_allclose(two, one * 2)

    tensors = tf.constant(x), tf.constant(y)  # float64 is taken too.
    np.testing.assert_allclose(session.run(net.get_output_for(*tensors)), expected, rtol=1e-5)
    outputs = net.get_output_for(*tensors, twice=True)
    assert isinstance(outputs, tuple)
    assert isinstance(net.get_output_for(*tensors, return_as_list=True), list)
    assert len(tf.global_variables()) == 3  # Every expression is over the same variables.


def test_assume_frozen_makes_no_difference(net):
    x, y = RANDOM.normal(size=(2, 2)), np.zeros((2, 3))
    before = net.run(x, y, assume_frozen=True)
    np.testing.assert_array_equal(before, net.run(x, y))
    net.set_var("Dense/bias", [5, 6, 7])
    assert np.abs(net.run(x, y, assume_frozen=True) - before).max() > 1


@pytest.mark.parametrize("minibatch_size", [1, 2, 3, 7, 100, None])
def test_minibatches_equal_one_go(net, minibatch_size):
    x, y = RANDOM.normal(size=(7, 2)), RANDOM.normal(size=(7, 3))
    result = net.run(x, y, minibatch_size=minibatch_size)
    np.testing.assert_allclose(result, oracle(net, x, y), rtol=1e-5)


def test_transforms(net):
    def mirrored(x, y):
        return -x, y

    x, y = RANDOM.normal(size=(4, 2)), RANDOM.normal(size=(4, 3))
    images = net.run(
        x,
        y,
        input_transform={"func": mirrored},
        output_transform={"func": lambda t, factor: tf.reduce_max(t, 1) * factor, "factor": 10.0},
    )
    np.testing.assert_allclose(images, oracle(net, -x, y).max(axis=1) * 10, rtol=1e-5)


def test_several_devices_share_a_minibatch(net, monkeypatch):
    monkeypatch.setattr(tflib.tfutil, "replica_devices", lambda num_gpus: ["/cpu:0"] * num_gpus)
    x, y = RANDOM.normal(size=(7, 2)), RANDOM.normal(size=(7, 3))
    for minibatch_size in (1, 5, None):
        result = net.run(x, y, num_gpus=3, minibatch_size=minibatch_size)
        np.testing.assert_allclose(result, oracle(net, x, y), rtol=1e-5)


def test_wrong_inputs_are_errors(net):
    with pytest.raises(ValueError):
        net.run(np.zeros((2, 2)), np.zeros((3, 3)))
    with pytest.raises(ValueError):
        net.run(np.zeros((2, 5)), np.zeros((2, 3)))
    with pytest.raises(ValueError):
        net.get_output_for(tf.zeros([2, 2]))
    with pytest.raises(ValueError, match=r"y_in of network Net has shape \(2, 4\), .*\[None, 3\]"):
        net.get_output_for(tf.zeros([2, 2]), tf.zeros([2, 4]))


def count_ops():
    return len(tf.get_default_graph().get_operations())


def test_the_graph_does_not_grow(session):
    """DESIGN D9: graphs are built once; no op is added per call."""
    G, other = generator(), generator("H")
    z, mean = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=4)
    transform = {"func": tflib.convert_images_to_uint8, "nchw_to_nhwc": True}

    def use_all():
        G.run(z, None, truncation_psi=0.7, minibatch_size=2)
        G.run(z, None, output_transform=dict(transform))
        G.components.mapping.run(z, None)
        G.set_var("dlatent_avg", mean)
        G.get_var("dlatent_avg")
        other.copy_vars_from(G)
        other.copy_trainables_from(G)
        other.copy_own_vars_from(G)
        other.reset_trainables()
        other.reset_own_vars()
        other.reset_vars()
        tflib.init_uninitialized_vars()
        tflib.set_vars({G.find_var("dlatent_avg"): mean})
        G.list_layers()
        G.__getstate__()

    use_all()
    before = count_ops()
    for _ in range(3):
        use_all()
    assert count_ops() == before
    G.run(z, None, truncation_psi=0.6)  # Numbers are fed.
    assert count_ops() == before
    G.run(z, None, return_dlatents=True)  # Another structure is another expression: it can grow.
    assert count_ops() > before


def test_two_graphs_in_one_process():
    """Networks of the same name, used in turn."""
    x, y = RANDOM.normal(size=(2, 2)), np.zeros((2, 3))
    results = []
    with tflib.graph_session(seed=1):
        one = Network("Net", affine)
        with tflib.graph_session(seed=2):
            two = Network("Net", affine)
            assert two.scope == "Net"  # Names of the other graph are not taken here.
            results.append(two.run(x, y))
        results.append(one.run(x, y))
        np.testing.assert_array_equal(one.run(x, y), results[1])
    assert not np.allclose(*results)


def test_networks_of_one_name_are_apart(session):
    one, two = Network("Net", affine), Network("Net", affine)
    assert {one.scope, two.scope} == {"Net", "Net_1"}
    one.set_var("steps", 5)
    assert two.get_var("steps") == 1
    assert two.trainables.keys() == one.trainables.keys()


def test_inside_other_scopes(session):
    """Where a network is made or used does not change the names of its variables."""
    with tf.variable_scope("Elsewhere"), tf.name_scope("Deep"):
        net = Network("Net", affine)
        net.get_output_for(tf.zeros([1, 2]), None)
    assert [v.name for v in tf.global_variables()] == [
        "Net/Dense/weight:0",
        "Net/Dense/bias:0",
        "Net/steps:0",
    ]
    assert list(net.vars) == ["Dense/weight", "Dense/bias", "steps"]


def test_components(session):
    net = Network("Outer", outer, size=2)
    assert list(net.own_vars) == ["gain"]
    assert set(net.vars) == {"gain", "Inner/Dense/weight", "Inner/Dense/bias", "Inner/steps"}
    assert set(net.trainables) == {"gain", "Inner/Dense/weight", "Inner/Dense/bias"}
    inner = net.components.inner
    x = RANDOM.normal(size=(3, 2))
    net.set_var("gain", 3)
    np.testing.assert_allclose(net.run(x), inner.run(x, None) * 3, rtol=1e-6)
    np.testing.assert_allclose(net.run(x, scale=2.0), inner.run(x, None) * 6, rtol=1e-6)
    net.get_output_for(tf.zeros([1, 2]))
    assert len(tf.global_variables()) == 4


def test_clone(session):
    net = Network("Outer", outer, size=2)
    net.set_var("gain", 4)
    clone = net.clone("Copy")
    assert (clone.name, clone.static_kwargs) == ("Copy", {"size": 2})
    assert clone.components.inner is not net.components.inner
    x = RANDOM.normal(size=(3, 2))
    np.testing.assert_array_equal(clone.run(x), net.run(x))
    before = net.run(x)
    clone.reset_vars()
    assert clone.get_var("gain") == 1
    np.testing.assert_array_equal(net.run(x), before)
    assert net.clone().name == "Outer"
    loud = Network("Loud", affine).clone(scale=7.0)
    assert loud.static_kwargs == {"scale": 7.0}


def test_copying_takes_what_both_have(session):
    source, target = Network("A", affine), Network("B", affine)
    source.set_var("steps", 9)
    target.copy_trainables_from(source)
    np.testing.assert_array_equal(target.get_var("Dense/weight"), source.get_var("Dense/weight"))
    assert target.get_var("steps") == 1
    target.copy_vars_from(source)
    assert target.get_var("steps") == 9
    target.reset_trainables()
    assert target.get_var("steps") == 9
    assert (target.get_var("Dense/weight") != source.get_var("Dense/weight")).all()


def test_own_variables_are_copied_and_reset_alone(session):
    source, target = Network("A", outer), Network("B", outer)
    for net, value in ((source, 5), (target, 6)):
        net.set_var("gain", value)
        net.set_var("Inner/steps", value)
    target.copy_own_vars_from(source)
    assert (target.get_var("gain"), target.get_var("Inner/steps")) == (5, 6)
    target.reset_own_vars()
    assert (target.get_var("gain"), target.get_var("Inner/steps")) == (1, 6)


def test_moving_average(session):
    source, average = Network("A", outer), Network("B", outer)
    beta = tf.placeholder(tf.float32, [])
    update = average.setup_as_moving_average_of(source, beta=beta)
    copying = average.setup_as_moving_average_of(source, beta=1.0, beta_nontrainable=0.5)
    expected = {name: average.get_var(name) for name in average.vars}
    for value in (0.9, 0.5):
        source.reset_trainables()
        source.set_var("Inner/steps", value * 10)
        session.run(update, {beta: value})
        for name, var in source.vars.items():
            decay = value if name in source.trainables else 0
            new = session.run(var)
            expected[name] = new + (expected[name] - new) * decay
            np.testing.assert_allclose(average.get_var(name), expected[name], rtol=1e-5)
    source.set_var("Inner/steps", 7)
    before = average.get_var("Inner/Dense/weight")
    session.run(copying)
    np.testing.assert_allclose(average.get_var("Inner/Dense/weight"), before, rtol=1e-6)
    assert average.get_var("Inner/steps") == 6  # Half way from 5 to 7.


def test_loading_is_strict(session):
    """Every missing, unexpected or mis-shaped variable is named, and nothing is loaded."""
    net = generator()
    state = net.components.synthesis.__getstate__()
    variables = dict(state["variables"])
    del variables["4x4/Const/const"]
    variables["noise9"] = np.zeros(3)
    variables["noise0"] = np.zeros((1, 1, 8, 8))
    state["variables"] = list(variables.items())
    loaded = Network.__new__(Network)
    loaded.__setstate__(state)
    with pytest.raises(UserError) as error:
        loaded.run(np.zeros((1, 4, 4)))
    message = str(error.value)
    assert "network G_synthesis" in message
    assert "4x4/Const/const is missing" in message
    assert "noise9 is unexpected" in message
    assert "noise0 has shape [1, 1, 8, 8], expected [1, 1, 4, 4]" in message
    assert message.count(";") == 2  # And nothing else.


def test_state_roundtrip(session):
    net = generator()
    copy = Network.__new__(Network)
    copy.__setstate__(net.__getstate__())
    assert copy.name == "G"
    z = RANDOM.normal(size=(2, 4))
    expected = net.run(z, None, randomize_noise=False)
    # Components are the same objects here: a pickle would copy them.
    np.testing.assert_array_equal(copy.run(z, None, randomize_noise=False), expected)


@pytest.mark.parametrize("field", ["version", "static_kwargs", "variables", "build_func_name"])
def test_a_state_that_lacks_something(session, field):
    state = generator().__getstate__()
    del state[field]
    with pytest.raises(UserError, match=f"lacks {field}"):
        Network.__new__(Network).__setstate__(state)


def test_values_of_another_shape_are_refused(net):
    with pytest.raises(ValueError, match=r"Net/Dense/bias.*\[3\].*\[4\]"):
        net.set_var("Dense/bias", np.zeros(4))
    with pytest.raises(KeyError):
        net.set_var("bias", np.zeros(3))


def test_values_may_be_tensors(net):
    net.set_var("Dense/bias", tf.constant([1.0, 2.0, 3.0]) * 2)
    np.testing.assert_array_equal(net.get_var("Dense/bias"), [2, 4, 6])


@pytest.mark.parametrize(
    "name", ["training.networks_stylegan2.G_mian", "training.no_such_module.G_main", "G_main"]
)
def test_unknown_build_functions(session, name):
    with pytest.raises(UserError, match=f"no build function '{name}': "):
        Network("G", name)


def test_unknown_keywords(session, net):
    with pytest.raises(UserError, match=r"affine\(\) has no keyword argument 'colour'"):
        Network("Net", affine, colour="red")
    with pytest.raises(UserError, match="'colour'"):
        net.run(np.zeros((1, 2)), None, colour="red")
    with pytest.raises(UserError, match="'colour'"):
        net.get_output_for(tf.zeros([1, 2]), None, colour="red")
    with pytest.raises(UserError, match="'colour'"):
        generator(colour="red")


def test_the_name_of_the_rest_is_no_keyword(session):
    with pytest.raises(UserError, match="kwargs"):
        generator(kwargs=3)


def test_the_size_of_a_network_is_limited(session, monkeypatch):
    """That of all its variables, those of components too; before any of them takes memory."""
    initialized = []
    monkeypatch.setattr(tflib.tfutil, "init_uninitialized_vars", initialized.append)
    with pytest.raises(UserError, match=r"network Net has 300,000,00\d numbers .* narrower layers"):
        Network("Net", affine, size=100_000_000)
    assert initialized == []
    monkeypatch.setattr(network_graph, "_MAX_SIZE", 11)  # Inner has 10 in all, and there is a gain.
    Network("Net", outer)
    monkeypatch.setattr(network_graph, "_MAX_SIZE", 10)
    with pytest.raises(
        UserError, match="network Net has 11 numbers in its variables, more than 10:"
    ):
        Network("Net", outer)


def test_without_a_session():
    with tf.Graph().as_default(), pytest.raises(RuntimeError, match="init_tf"):
        Network("Net", affine)


def test_print_layers(session, capsys):
    net = generator()
    net.print_layers()
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].split() == ["G", "Params", "OutputShape", "WeightShape"]
    total = sum(int(np.prod(v.shape.as_list())) for v in net.trainables.values())
    assert re.fullmatch(rf"Total +{total} +\(\?, 1, 8, 8\) *", lines[-1])
    table = {line.split()[0]: line.split()[1] for line in lines[2:-2]}
    assert sum(int(n) for n in table.values() if n != "-") == total
    conv = {n: v for n, v in net.trainables.items() if n.startswith("G_synthesis/8x8/Conv0_up/")}
    conv_params = sum(int(np.prod(v.shape.as_list())) for v in conv.values())
    assert int(table["G_synthesis/8x8/Conv0_up"]) == conv_params
    row = next(line for line in lines if line.startswith("G_synthesis/8x8/Conv1 "))
    assert "[3, 3, 4, 4]" in row
    assert "(?, 8, 8, 4)" in row or "(?, 4, 8, 8)" in row

    net.print_layers("Title", hide_layers_with_no_params=True)
    short = capsys.readouterr().out.strip().splitlines()
    assert short[0].startswith("Title ")
    assert len(short) < len(lines)
    assert short[-1].split()[:2] == ["Total", str(total)]


def test_list_ops(net):
    ops = net.list_ops()
    assert {op.name for op in ops} >= {"Net/x_in", "Net/y_out", "Net/Dense/weight"}
    before = len(ops)
    net.get_output_for(tf.zeros([1, 2]), None)
    net.run(np.zeros((1, 2)), None)
    net.setup_as_moving_average_of(net)
    assert len(net.list_ops()) == before
