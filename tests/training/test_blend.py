"""Blending: shares of two networks by resolution, and which networks are refused."""

from __future__ import annotations

import numpy as np
import pytest

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.snapshots import blend, pickles

SHAPE = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 4}
STYLE = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1}


def make(**kwargs):
    return Network("Gs", "training.networks.G_main", **{**SHAPE, **STYLE, **kwargs})


def randomize(network, seed):
    rnd = np.random.RandomState(seed)
    tflib.set_vars({v: rnd.randn(*v.shape) for v in network.vars.values()})


@pytest.fixture(scope="module")
def pair():
    """(G, D, Gs) twice, of which every number is another one; G and Gs are one network."""
    with tflib.graph_session(seed=1):
        D = Network("D", "training.networks.D_main", **SHAPE)
        low, high = make(), make()
        for seed, network in enumerate([low, high]):
            randomize(network, seed)
        yield (low, D, low), (high, None, high)


def shares(result, low, high):
    """{variable: its share of the second network}; every value must fit one share."""
    found = {}
    values, first, second = (tflib.run(network.vars) for network in (result, low, high))
    for name, value in values.items():
        a, b = first[name], second[name]
        share = np.median((value - a) / (b - a))
        np.testing.assert_allclose(value, (1 - share) * a + share * b, atol=1e-5)
        found[name] = share
    return found


def expected_share(name, expected):
    """Of a variable, by the table {resolution: share}."""
    layer = name.split("/")[1] if name.startswith("G_synthesis/") else ""
    if layer.startswith("noise"):
        return float(expected[2 ** ((int(layer[5:]) + 5) // 2)] >= 0.5)
    return expected[int(layer.split("x")[0])] if layer else 0.0


@pytest.mark.parametrize("width", [0, 0.5])
def test_layers_change_at_the_resolution(pair, width):
    low, high = pair
    table = {r: float(r >= 8) for r in (4, 8, 16)}
    if width:
        distance = np.array([-0.5, 0.5, 1.5])
        table = dict(zip(table, 1 / (1 + np.exp(-distance / width)), strict=True))
        low = (None, None, low[2])
    result = blend.blend(low, high, 8, width)
    assert result[1] is low[1] and (result[0] is None) == (low[0] is None)
    for network in filter(None, (result[0], result[2])):
        found = shares(network, low[2], high[2])
        for name, share in found.items():
            assert share == pytest.approx(expected_share(name, table), abs=1e-4), name
        assert found["dlatent_avg"] == found["G_mapping/Dense0/weight"] == 0
        assert {0.0, 1.0} <= {share.round(6) for n, share in found.items() if "noise" in n}


def test_a_snapshot_of_two(pair, tmp_path):
    low, high = pair
    paths = [str(tmp_path / name) for name in ("low.pkl", "high.pkl", "new.pkl")]
    pickles.save(low, paths[0])
    pickles.save(high[2], paths[1])  # A generator alone: Gs is what both have.
    text = blend.blend_files(*paths, 8, 0.25)
    assert f"share of {paths[1]} by resolution: 4 12%, 8 88%, 16 100%" in text
    assert f"mapping network, discriminator and mean of w: {paths[0]}" in text
    G, D, Gs = pickles.load(paths[2])
    assert G is None and D is not None
    found = shares(Gs, low[2], high[2])
    assert found["G_synthesis/8x8/Conv1/weight"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)


def test_growing_networks_count_colors_from_the_finest(session):
    kwargs = {**SHAPE, **STYLE, "resolution": 16, "structure": "linear"}
    low, high = (Network("G", "training.networks_stylegan.G_style", **kwargs) for _ in range(2))
    for number, network in enumerate((low, high)):
        tflib.set_vars({v: np.full(v.shape, float(number)) for v in network.vars.values()})
    result = blend.blend(low, high, 8)
    values = {n: np.mean(v) for n, v in tflib.run(result.vars).items()}
    colors = {n: v for n, v in values.items() if "ToRGB_lod" in n and n.endswith("weight")}
    assert [colors[f"G_synthesis/ToRGB_lod{lod}/weight"] for lod in range(3)] == [1, 1, 0]
    assert values["G_synthesis/noise1"] == 0 and values["G_synthesis/noise2"] == 1


def test_networks_that_do_not_match(session):
    base = make(resolution=8)
    for kwargs, message in [
        ({}, "resolution 8, not 16; only the second has G_synthesis/noise3; .* more"),
        ({"fmap_max": 8}, "fmap_max 4, not 8; .* is .*x4, not .*x8.* more"),
        ({"architecture": "orig"}, "architecture skip, not orig"),
        ({"resample_kernel": [1, 2, 1]}, r"resample_kernel \[1, 3, 3, 1\], not \[1, 2, 1\]"),
    ]:
        network = make(**({"resolution": 8} if kwargs else {}), **kwargs)
        with pytest.raises(UserError, match=f"Gs of the two snapshots do not match .*{message}"):
            blend.blend(base, network, 8)
    stylegan2 = Network("Gs", "training.networks_stylegan2.G_main", **network.static_kwargs)
    with pytest.raises(UserError, match=r"built by training.networks.G_main, not .*stylegan2"):
        blend.blend(base, stylegan2, 8)
    assert blend.blend(base, make(resolution=8, resample_kernel=[1, 3, 3, 1], num_fp16_res=2), 8)
    for switch in (4, 12, 32):
        with pytest.raises(UserError, match=f"--resolution={switch}: the networks have 8 to"):
            blend.blend(base, base, switch)
    with pytest.raises(UserError, match="no network in common"):
        blend.blend((None, base, None), base, 8)
    with pytest.raises(UserError, match=r"--out=new.npz: the name of a snapshot ends with .pkl"):
        blend.blend_files("low.pkl", "high.pkl", "new.npz", 8, 0)
