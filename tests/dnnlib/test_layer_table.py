"""The table of layers is of what a network has, in whatever precision it is computed."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network
from dnnlib.tflib.layer_table import format_layers
from tf_ops import layout
from training.architecture import precision

SHAPE = {"resolution": 16, "fmap_base": 64, "fmap_max": 8}
STYLE = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 1}


def tables(name, dtype=None):
    """The table of G or D, and whether some activations are of `dtype`."""
    args = {**SHAPE, **(STYLE if "G_" in name else {})}
    chosen = "fp32" if dtype is None else "mixed"
    with tflib.graph_session(seed=1) as session, precision.computed_in(chosen):
        assert dtype in (None, precision.lower_dtype())
        net = Network("N", name, **args)
        types = {op.outputs[0].dtype for op in session.graph.get_operations() if op.outputs}
        return format_layers(net, None, False), dtype in types


@pytest.mark.parametrize(
    "function",
    [
        "networks.G_main",
        "networks.D_main",
        "networks_stylegan2.G_main",
        "networks_stylegan2.D_stylegan2",
    ],
)
def test_mixed_precision_changes_no_row(monkeypatch, function):
    name = f"training.{function}"
    exact, _ = tables(name)
    assert "16x16/Conv" in exact and "[3, 3, 8, 8]" in exact
    # On a GPU, or on a CPU that has them: only the graph is built here.
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    assert tables(name, tf.bfloat16) == (exact, True)
    monkeypatch.setattr(layout, "has_float16", lambda: True)
    assert tables(name, tf.float16) == (exact, True)


def test_every_layer_has_an_output(session):
    net = Network("G", "training.networks_stylegan2.G_main", **SHAPE, **STYLE)
    layers = {name: (output, variables) for name, output, variables in net.list_layers()}
    assert all(tf.is_tensor(output) for output, _ in layers.values())
    output, variables = layers["G_mapping/Dense0"]
    assert output.shape.as_list() == [None, 8] and len(variables) == 2
    # Variables without a layer have one each.
    net.set_var("dlatent_avg", range(8))
    mean, variables = layers["dlatent_avg"]
    assert tflib.run(mean).tolist() == list(range(8)) and not variables
    assert layers["G_synthesis/noise1"][0].shape.as_list() == [1, 1, 8, 8]
