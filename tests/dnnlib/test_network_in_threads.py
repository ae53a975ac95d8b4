"""Networks in other people's programs: threads, several graphs and sessions, forks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network

X = np.random.default_rng(11).normal(size=(5, 2))


def scaled(x_in, components=None, scale=1.0):
    """scale·w·x, with w in a component."""
    if "inner" not in components:
        components.inner = Network("Inner", weighted)
    x_in.set_shape([None, 2])
    return components.inner.get_output_for(x_in) * scale


def weighted(x_in):
    x_in.set_shape([None, 2])
    return x_in * tf.get_variable("w", [2], initializer=tf.initializers.random_normal())


def reread(network):
    """As from a snapshot: the graph is not built yet."""
    state = network.get_state()
    state["components"] = {k: reread(c) for k, c in state["components"].items()}
    loaded = Network.__new__(Network)
    loaded._set_description(network.name, network.static_kwargs)
    loaded._saved_components = state["components"]
    loaded._pending_values = dict(state["variables"])
    loaded._build_func, loaded._build_module = network._build_func, network._build_module
    return loaded


def in_thread(function, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result(timeout=60)


def in_threads(function, count=4):
    """Results of as many calls, which begin at the same moment."""
    barrier = threading.Barrier(count)

    def call(i):
        barrier.wait(timeout=60)
        return function(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_everything_works_in_a_thread_without_a_session(session):
    net = Network("Net", scaled)
    expected = net.run(X)

    def use():
        assert tf.get_default_session() is None
        np.testing.assert_array_equal(net.run(X), expected)
        copy = net.clone("Copy", scale=2.0)
        np.testing.assert_array_equal(copy.run(X), expected * 2)
        copy.set_var("Inner/w", [1, 2])
        np.testing.assert_array_equal(copy.get_var("Inner/w"), [1, 2])
        copy.copy_vars_from(net)
        copy.reset_vars()
        assert (copy.get_var("Inner/w") != net.get_var("Inner/w")).all()
        output = net.get_output_for(X)
        np.testing.assert_allclose(session.run(output), expected, rtol=1e-6)
        with net.as_default() as its_session:
            x = tf.constant(X)
            assert its_session is session
            np.testing.assert_allclose(tflib.run(net.get_output_for(x)), expected, rtol=1e-6)
        assert copy.get_state()["version"] == 4 and copy.list_layers()
        copy.setup_as_moving_average_of(net)
        assert tf.get_default_session() is None

    in_thread(use)


def test_a_thread_with_a_session_of_its_own(session):
    """As the message of a missing session advises: `init_tf` in the thread."""
    net = Network("Net", scaled)
    expected = net.run(X)

    def use():
        tflib.init_tf()
        own = tf.get_default_session()
        assert own is not session
        np.testing.assert_array_equal(net.run(X), expected)
        copy = net.clone()  # In the session of this thread.
        assert copy.input_templates[0].graph is own.graph
        np.testing.assert_array_equal(copy.run(X), expected)
        with pytest.raises(ValueError, match=r"x_in is in another graph than network Net.*as_def"):
            net.get_output_for(tf.zeros([1, 2]))
        return copy

    copy = in_thread(use)
    np.testing.assert_array_equal(copy.run(X), expected)  # And in that of the main thread.
    copy.set_var("Inner/w", [3, 4])
    net.copy_vars_from(copy)  # Across graphs.
    np.testing.assert_allclose(net.run(X), X * [3, 4], rtol=1e-6)


@pytest.mark.parametrize("first", ["run", "get_var", "output_shape"])
def test_first_use_in_several_threads_builds_once(session, first):
    net = Network("Net", scaled)
    expected = net.run(X)
    loaded = reread(net)
    before = len(tf.global_variables())
    uses = {
        "run": lambda i: loaded.run(X),
        "get_var": lambda i: loaded.get_var("Inner/w"),
        "output_shape": lambda i: loaded.output_shape,
    }
    results = in_threads(uses[first])
    assert len(tf.global_variables()) == before + 1
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_array_equal(loaded.run(X), expected)


def test_threads_get_the_results_of_their_own_inputs(session):
    nets = [Network("A", scaled), Network("B", scaled)]
    w = [net.get_var("Inner/w") for net in nets]

    def use(i):
        for k in range(20):
            number = i * 100 + k
            x = np.full([1 + number % 3, 2], number)
            net = nets[number % 2]
            added = number / 3
            transform = {"func": lambda y, added=added: y + added}
            result = net.run(x, scale=number / 7, output_transform=transform)
            expected = x * w[number % 2] * (number / 7) + added
            np.testing.assert_allclose(result, expected, rtol=1e-5)

    in_threads(use)


def test_graphs_and_sessions_are_kept_apart():
    """Whichever session is the default one, each network uses its own."""
    graphs = [tf.Graph(), tf.Graph()]
    sessions = [tf.Session(graph=graph) for graph in graphs]
    nets = []
    for i, session in enumerate(sessions):
        with session.as_default():  # Not the graph, which the session has.
            nets.append(Network("Net", scaled))
            nets[i].set_var("Inner/w", [i + 1, i + 1])
    for session in (*sessions, None):
        with session.as_default() if session else tf.Graph().as_default():
            for i, net in enumerate(nets):
                np.testing.assert_allclose(net.run(X), X * (i + 1), rtol=1e-6)
                assert net.input_templates[0].graph is graphs[i]
    with tf.Session(graph=graphs[0]) as another:
        np.testing.assert_allclose(nets[0].run(X), X, rtol=1e-6)  # It holds no values yet.
        another.run(nets[0].vars["Inner/w"].initializer)
        nets[0].set_var("Inner/w", [5, 5])
        np.testing.assert_allclose(nets[0].run(X), X * 5, rtol=1e-6)
    np.testing.assert_allclose(nets[0].run(X), X, rtol=1e-6)
    for session in sessions:
        session.close()


def test_a_network_that_was_read_is_built_where_it_is_first_used(session):
    net = reread(Network("Net", scaled))
    other = reread(net)
    with tflib.graph_session() as inner:
        assert net.input_templates[0].graph is inner.graph
        assert other.components.inner.input_templates[0].graph is inner.graph
    # In the session of reading where the thread has none; a component's where that was first.
    third, fourth = reread(Network("Net", scaled)), reread(Network("Net", scaled))
    assert in_thread(lambda: third.input_templates[0].graph) is session.graph
    with tflib.graph_session() as inner:
        component = fourth._saved_components["inner"]
        expected = component.run(X)
        with session.as_default():
            np.testing.assert_array_equal(fourth.run(X), expected)


def test_a_build_that_fails_can_be_tried_again(session):
    net = reread(Network("Net", weighted))
    net._pending_values["w"] = np.zeros(3)
    for _ in range(2):
        with pytest.raises(Exception, match="w has shape"):
            net.run(X)
    net._pending_values["w"] = np.full(2, 2.0)
    np.testing.assert_allclose(net.run(X), X * 2, rtol=1e-6)


def test_scopes_of_the_caller_do_not_reach_an_expression(session):
    net = Network("Net", scaled)
    missing = tf.placeholder(tf.float32, [])
    with tf.control_dependencies([missing]), tf.device("/gpu:7"), tf.name_scope("Mine"):
        np.testing.assert_allclose(net.run(X), X * net.get_var("Inner/w"), rtol=1e-6)


def test_inputs_without_values_are_said(session):
    def conditional(x_in, labels_in):
        x_in.set_shape([None, 3])
        labels_in.set_shape([None, 3])
        return labels_in + x_in

    net = Network("Net", conditional)
    with pytest.warns(UserWarning, match=r"^Net.run: labels_in is None, so all zeros .*\[N, 3\]$"):
        net.run(np.zeros([1, 3]), None)


FORK = """
import multiprocessing, os, sys
import numpy as np
from dnnlib import tflib
from dnnlib.tflib import Network

def weighted(x_in):
    x_in.set_shape([None, 2])
    return x_in * 2

def use(net=None):
    tflib.init_tf()
    return float((net or Network("Net", weighted)).run(np.ones([1, 2])).sum())

def in_fork(function):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    def child():
        try:
            queue.put(function())
        except RuntimeError as error:
            queue.put(str(error))
    process = context.Process(target=child)
    process.start()
    result = queue.get(timeout=60)
    process.join(60)
    return result

print(in_fork(use))
print(use())
net = Network("Net", weighted)
print(in_fork(use))
print(in_fork(lambda: net.run(np.ones([1, 2]))))
print(in_fork(net.clone))
print(use(net))
"""


def test_forks(run_script):
    """Before the first session: works. After it: an error, not a wait for ever."""
    result = run_script(["-c", FORK], timeout=120)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [lines[0], lines[1], lines[5]] == ["4.0"] * 3
    for line in lines[2:5]:
        assert "forked from one that had a TensorFlow session" in line and "spawn" in line


DETERMINISTIC = """
import numpy as np, tensorflow.compat.v1 as tf
from dnnlib import tflib
from dnnlib.tflib import Network
from training import random_streams

def noise(x_in):
    x_in.set_shape([None, 1])
    w = tf.get_variable("w", [3], initializer=tf.initializers.random_normal())
    return random_streams.normal([2, 3], None) + w

def numbers():
    net = Network("Net", noise)
    one, two = net.run(np.zeros([1, 1])), net.run(np.zeros([1, 1]))
    assert (one != two).any()
    return one

with tflib.graph_session():
    first = numbers()
with tflib.graph_session():
    assert (numbers() == first).all()
with tf.Session(graph=tf.Graph()):
    assert (numbers() == first).all()
np.random.seed(1)
tflib.init_tf()
numbers()
print("done")
"""


def test_deterministic_ops(run_script):
    """TensorFlow refuses random ops of a graph without a seed."""
    result = run_script(["-c", DETERMINISTIC], env={"TF_DETERMINISTIC_OPS": "1"})
    assert result.stdout == "done\n", result.stderr


def test_noise_is_fresh_without_a_seed():
    values = []
    for seed in (None, None, 5, 5):
        with tflib.graph_session(seed) as session:
            values.append(float(session.run(tf.random_normal([]))))
    assert values[0] != values[1] and values[2] == values[3]
