"""New numbers among the options of `Network.run` need no new graph, and give the right results."""

from __future__ import annotations

import functools
import types
import warnings

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network, run_graph
from dnnlib.tflib.fed_numbers import Splitter

X = np.random.default_rng(12).normal(size=(5, 2)).astype(np.float32)
GAIN = 1.0
SETTINGS = types.SimpleNamespace(gain=1.0)
MODULE = types.ModuleType("settings")
NET = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 2}
NET |= {"resolution": 8, "fmap_base": 32, "fmap_max": 4, "num_channels": 1}


def affine(x_in, scale=1.0, power: int | tf.Tensor = 1, structure="plain", clamp=None):
    x_in.set_shape([None, 2])
    y = x_in * scale + tf.cast(power, tf.float32)
    if structure == "doubled":
        y *= 2
    return y if clamp is None else tf.clip_by_value(y, -abs(float(clamp)), float(clamp))


@pytest.fixture
def net(session):
    return Network("Net", affine)


def count_ops():
    return len(tf.get_default_graph().get_operations())


def check(run, expected, values, grows=0):
    """`run(value)` is `expected(value)`; at most `grows` values but the first add to the graph."""
    counts = []
    for value in values:
        np.testing.assert_allclose(run(value), expected(value), rtol=1e-5, err_msg=str(value))
        counts.append(count_ops())
    assert len(set(counts)) - 1 <= grows
    assert (len(set(counts)) > 1) == (grows > 0)


def test_keyword_arguments(net):
    values = [0.5, 1.0, 0.0, -2.5, np.float32(3.5), np.float64(7), 1e-3]
    check(lambda v: net.run(X, scale=v), lambda v: X * v + 1, values)
    # Whole numbers where the annotation says that tensors will do, else not.
    check(lambda v: net.run(X, power=v), lambda v: X + v, [0, 1, 2, True, 2.5, np.int64(4)])
    check(lambda v: net.run(X, scale=v), lambda v: X * v + 1, [1, 2, 3], grows=2)
    check(
        lambda v: net.run(X, structure=v),
        lambda v: (X + 1) * (1 + (v == "doubled")),
        ["plain", "doubled", "plain"],
        grows=1,
    )


def test_numbers_that_must_be_numbers(net):
    """Where a function cannot take a tensor, each value has its expression, and others are fed."""
    before = count_ops()
    with np.errstate(all="ignore"):
        for clamp in (0.5, 0.25, 0.5):
            for power in (1, 2, 3):
                expected = np.clip(X + power, -clamp, clamp)
                np.testing.assert_allclose(net.run(X, clamp=clamp, power=power), expected)
    grown = count_ops()
    net.run(X, clamp=0.25, power=9)
    assert before < grown == count_ops()


def lambdas():
    """{name: how to run a network with a number in its output transform}"""

    def closure(v):
        return {"func": lambda y: y * v}

    def nested(v):
        def inner(y):
            return y * v

        return {"func": lambda y: inner(y) * 1}

    def in_container(v):
        options = {"gains": [v, 1.0]}
        return {"func": lambda y: y * options["gains"][0]}

    def of_global(v):
        global GAIN
        GAIN = v
        return {"func": lambda y: times_gain(y) if GAIN is not None else y}

    return {
        "closure": closure,
        "nested": nested,
        "in a container": in_container,
        "global": of_global,
        "default": lambda v: {"func": lambda y, gain=v: y * gain},
        "keyword default": lambda v: {"func": lambda y, *, gain=v: y * gain},
        "item": lambda v: {"func": times, "gain": v},
        "partial": lambda v: {"func": functools.partial(times, gain=v)},
    }


def times(y, gain):
    return y * gain


def times_gain(y):
    return y * GAIN


@pytest.mark.parametrize("name", lambdas())
def test_numbers_that_functions_have_captured(net, name):
    transform = lambdas()[name]
    values = [0.5, 1.0, np.float64(0.7), -3.0, 0.0]
    check(lambda v: net.run(X, output_transform=transform(v)), lambda v: (X + 1) * v, values)
    check(lambda v: net.run(X, input_transform=transform(v)), lambda v: X * v + 1, values)


def not_fed():
    """The same with what cannot be fed; results must be right all the same."""

    def attribute(v):
        SETTINGS.gain = v
        return {"func": lambda y: y * SETTINGS.gain}

    def of_object(v):
        holder = SETTINGS
        holder.gain = v
        return {"func": lambda y: y * holder.gain}

    def of_module(v):
        MODULE.gain = v
        return {"func": lambda y: y * MODULE.gain}

    def recursive(v):
        def func(y, depth=2):
            return func(y, depth - 1) if depth else y * v

        return {"func": func}

    return {
        "attribute": attribute,
        "object": of_object,
        "module": of_module,
        "recursive": recursive,
        "python": lambda v: {"func": lambda y: y * float(v)},
        "branch": lambda v: {"func": lambda y: y * v if v > 0 else -y * -v},
        "whole": lambda v: {"func": lambda y: y * int(v * 8) / 8},
        "text": lambda v: {"func": lambda y, text=str(v): y * float(text)},
        "array": lambda v: {"func": times, "gain": np.array([v, v], np.float32)},
    }


@pytest.mark.parametrize("name", not_fed())
def test_what_cannot_be_fed_is_right_too(net, name):
    transform, values = not_fed()[name], [0.5, 1.5, -3.0]

    def run(v):
        return net.run(X, output_transform=transform(v))

    check(run, lambda v: (X + 1) * v, values, grows=2)


def test_functions_that_differ_are_told_apart(net):
    for func, expected in (
        (lambda y: y + 1, X + 2),
        (lambda y: y + 2, X + 3),
        (lambda y: y - 1, X),
        (lambda y: y + True, None),
        (tf.nn.relu, np.maximum(X + 1, 0)),
        (tflib.convert_images_to_uint8, None),
    ):
        if expected is not None:
            np.testing.assert_allclose(
                net.run(X, output_transform={"func": func}), expected, rtol=1e-6, atol=1e-6
            )
    one, two = (net.run(X, output_transform={"func": times, "gain": g}) for g in (1, True))
    np.testing.assert_array_equal(one, two)
    for kind in (np.float32, np.int32):  # Equal bytes of another type are another array.
        zeros = {"func": lambda y, like: tf.zeros_like(like)[tf.newaxis], "like": np.zeros(2, kind)}
        assert net.run(X, output_transform=zeros).dtype == kind


def test_a_warning_at_many_expressions(net, monkeypatch):
    monkeypatch.setattr(run_graph, "_MANY", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1, 2):
            net.run(X, scale=scale)
    with pytest.warns(UserWarning, match="network Net has built 3 expressions .* as floats"):
        net.run(X, scale=3)


def test_a_split_takes_numbers_in_one_order():
    """Options with an equal rest must have their numbers in the same order."""

    def split(kwargs, transform):
        numbers = []
        splitter = Splitter(frozenset(["psi"]), True, lambda n: numbers.append(float(n)) or n)
        key = splitter.keywords(kwargs)[0], splitter.transform(transform)[0]
        return key, numbers

    def options(a, b, c, d):
        return {"psi": a, "beta": b}, {"func": lambda y: y * c, "x": {"p": d, "n": None}}

    one, two = split(*options(1, 2.0, 3.0, 4.0)), split(*options(5, 6.0, 7.0, 8.0))
    assert one[0] == two[0] and hash(one[0]) == hash(two[0])
    assert [n + 4 for n in one[1]] == two[1] and sorted(one[1]) == [1, 2, 3, 4]
    kwargs, transform = options(1, 2.0, 3.0, 4.0)
    reordered = dict(reversed(kwargs.items())), dict(reversed(transform.items()))
    assert split(*reordered) == one
    assert split({**kwargs, "psi": None}, transform)[0] != one[0]


@pytest.mark.parametrize("module", ["networks_stylegan2", "networks_stylegan"])
def test_truncation_is_swept_without_growing_and_unchanged(session, module):
    """Bit for bit what numbers in the graph give, 1 and None being no truncation."""
    name = "G_style" if module == "networks_stylegan" else "G_main"
    net = Network("G", f"training.{module}.{name}", **NET)
    net.set_var("dlatent_avg", np.random.default_rng(2).normal(size=4))
    z = np.random.default_rng(1).normal(size=(2, 4))
    labels = np.zeros([2, 0])

    def run(**kwargs):
        return net.run(z, labels, return_dlatents=True, randomize_noise=False, **kwargs)

    expected = {}
    inputs = tf.constant(z, tf.float32), tf.constant(labels, tf.float32)
    for psi, cutoff in ((0.3, None), (0, None), (1, None), (1, 2), (0.7, 2), (0.7, 0), (None, 1)):
        kwargs = {"truncation_psi": psi, "truncation_cutoff": cutoff}
        expected[psi, cutoff] = session.run(
            net.get_output_for(*inputs, return_dlatents=True, randomize_noise=False, **kwargs)
        )
    run(truncation_psi=0.5, truncation_cutoff=1)
    run(truncation_psi=0.5, truncation_cutoff=None)
    run(truncation_psi=None, truncation_cutoff=1)
    before = count_ops()
    for (psi, cutoff), (images, dlatents) in expected.items():
        ours = run(truncation_psi=psi, truncation_cutoff=cutoff)
        np.testing.assert_array_equal(ours[1], dlatents, err_msg=f"{psi} {cutoff}")
        np.testing.assert_array_equal(ours[0], images, err_msg=f"{psi} {cutoff}")
    for psi in np.linspace(0, 1, 100):
        run(truncation_psi=psi, truncation_cutoff=3)
    one, two = (run(truncation_psi=1.0, truncation_cutoff=c)[1] for c in (None, 1))
    np.testing.assert_array_equal(one, two)
    assert count_ops() == before


def test_a_seed_of_noise_is_fed(session):
    net = Network("G", "training.networks_stylegan2.G_main", **NET)
    net.set_var("G_synthesis/4x4/Conv/noise_strength", 1)
    z = np.ones([1, 4])
    images = [net.run(z, None, random_seed=[0, i]) for i in (1, 2, 1)]
    before = count_ops()
    np.testing.assert_array_equal(images[0], images[2])
    assert (images[0] != images[1]).any()
    net.run(z, None, random_seed=np.array([0, 9]))
    assert count_ops() == before
