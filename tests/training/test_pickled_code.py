"""The source embedded in snapshots, which runs only where the user allows it."""

from __future__ import annotations

import numpy as np
import pytest
import snapshot_writers as others

from dnnlib import UserError
from training.snapshots import npz_weights, pickles

PARTS = """
import tensorflow as tf

def G_mapping(x, **_kwargs):
    x.set_shape([None, 3])
    return x * tf.get_variable("w", shape=[3], initializer=tf.initializers.zeros())

def G_new(x, components=None, **_kwargs):
    x.set_shape([None, 3])
    return components.mapping.get_output_for(x)
"""
METRIC = """
import numpy as np
import tensorflow as tf
import dnnlib.tflib as tflib
from dnnlib import EasyDict
open({victim!r}, "w").close()

def features(images, factor=2.0, **_kwargs):
    assert tf.__name__.endswith("v1") and tflib.lerp and EasyDict
    images.set_shape([None, 3, 4, 4])
    w = tf.get_variable("w", shape=[3], initializer=tf.initializers.zeros())
    return tf.reduce_mean(images, axis=[2, 3]) * w * np.float32(factor)
"""


def metric(path, victim, source=METRIC, **changes):
    values = [("w", np.array([1, 2, 3], np.float32))]
    return others.one(
        path,
        name="features",
        static_kwargs={"factor": 3.0},
        build_func_name="features",
        build_module_src=source.format(victim=str(victim)),
        variables=values,
        **changes,
    )


def test_pickled_code_is_refused_unless_it_is_allowed(session, tmp_path, capsys):
    victim = tmp_path / "victim"
    path = metric(tmp_path / "metric.pkl", victim)
    with pytest.raises(UserError, match=r"'features'.*--allow-pickled-code"):
        pickles.load(path)
    assert not victim.exists()
    assert capsys.readouterr().err == ""

    network = pickles.load(path, allow_pickled_code=True)
    assert victim.exists()
    warning = capsys.readouterr().err
    assert f"WARNING: running Python code embedded in {path}" in warning
    x = np.ones((2, 3, 4, 4))
    np.testing.assert_array_equal(network.run(x), [[3, 6, 9]] * 2)
    # Others can be written and read on under the same condition.
    pickles.save(network.clone("copy"), path)
    with pytest.raises(UserError, match="'features'"):
        pickles.load(path)
    np.testing.assert_array_equal(pickles.load(path, True).run(x), [[3, 6, 9]] * 2)
    with pytest.raises(UserError, match="needs code"):
        npz_weights.save(network, str(tmp_path / "metric.npz"))


def test_the_code_of_known_networks_is_not_run_even_then(session, tmp_path, capsys):
    path = others.one(tmp_path / "D.pkl", build_module_src=others.OFFICIAL_SOURCE)
    D = pickles.load(path, allow_pickled_code=True)
    assert D.run(np.zeros((1, 3, 4, 4)), None).shape == (1, 1)
    assert capsys.readouterr().err == ""


def test_a_whole_of_unknown_code_has_its_parts_from_there_too(session, tmp_path, capsys):
    """`G_mapping` is a name that we know, but not what this file means by it."""
    source = PARTS.format(victim=tmp_path / "victim")
    values = [("w", np.array([1, 2, 3], np.float32))]
    part = {"version": 4, "name": "G_mapping", "static_kwargs": {}, "components": {}}
    part.update(build_func_name="G_mapping", build_module_src=source, variables=values)
    path = others.one(
        tmp_path / "G.pkl",
        name="G",
        static_kwargs={},
        build_func_name="G_new",
        build_module_src=source,
        variables=[],
        components={"mapping": others.Stub(part)},
    )
    G = pickles.load(path, allow_pickled_code=True)
    np.testing.assert_array_equal(G.run(np.ones((1, 3))), [[1, 2, 3]])
    assert capsys.readouterr().err.count("WARNING") == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import tensorflow.contrib as c", "tensorflow.contrib"),
        ("from dnnlib.tflib.ops.upfirdn_2d import x", r"dnnlib\.tflib\.ops"),
        ("def other(): pass", "features"),
        ("features = 3", "not a function"),
        ("def (", "SyntaxError"),
    ],
)
def test_pickled_code_that_does_not_run(session, tmp_path, source, message):
    path = metric(tmp_path / "metric.pkl", "", source)
    with pytest.raises(UserError, match=message) as error:
        pickles.load(path, allow_pickled_code=True)
    assert "metric.pkl" in str(error.value)


def test_pickled_code_that_fails_when_it_is_used(session, tmp_path):
    source = "import tensorflow as tf\ndef features(x, **kwargs):\n    return tf.contrib.layers(x)"
    network = pickles.load(metric(tmp_path / "metric.pkl", "", source), True)
    with pytest.raises(UserError, match=r"metric\.pkl.* does not run here: AttributeError"):
        network.run(np.zeros((1, 3, 4, 4)))
