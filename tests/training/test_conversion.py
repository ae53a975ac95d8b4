"""Converting networks between the layouts of the official repositories."""

from __future__ import annotations

import numpy as np
import pytest
import snapshot_writers as others

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.snapshots import conversion, pickles
from training.snapshots.build_functions import ADA, STYLEGAN, STYLEGAN2

# Sizes that tell the defaults of `mapping_fmaps` apart: 512, and that of the dlatents.
STYLE = {"latent_size": 8, "dlatent_size": 6, "mapping_layers": 2}
SHAPE = {"num_channels": 3, "resolution": 8, "fmap_base": 32, "fmap_max": 4}
REVISED = {"synthesis_func": "G_synthesis_stylegan_revised"}
FUNCTIONS = {
    STYLEGAN2: ("G_main", "G_synthesis_stylegan2", "D_stylegan2"),
    ADA: ("G_main", "G_synthesis", "D_main"),
}
OTHER = {STYLEGAN2: (ADA, "5"), ADA: (STYLEGAN2, "4")}
IMAGES = np.random.default_rng(4).normal(size=(8, 3, 8, 8))


def save(path, module, G_options=None, D_options=None):
    """Writes (G, D, Gs) of random values; returns what they make."""
    with tflib.graph_session(seed=1):
        G_func, _, D_func = FUNCTIONS[module]
        G = Network("G", f"{module}.{G_func}", **{**STYLE, **SHAPE, **(G_options or {})})
        D = Network("D", f"{module}.{D_func}", **{**SHAPE, **(D_options or {})})
        random = np.random.default_rng(8)
        for network in (G, D):
            for variable in network.vars.values():
                tflib.set_vars({variable: random.normal(size=variable.shape.as_list())})
        if "lod" in G.vars:
            G.set_var("lod", 0)
        networks = G, D, G.clone("Gs")
        pickles.save(networks, str(path))
        return results(networks)


def results(networks):
    _, D, Gs = networks
    z = np.random.default_rng(9).normal(size=(2, 8))
    images = Gs.run(z, None, truncation_psi=0.7, randomize_noise=False)
    return images, D.run(IMAGES, None)


@pytest.mark.parametrize("module", [STYLEGAN2, ADA])
@pytest.mark.parametrize(
    ("G_options", "D_options"),
    [
        ({}, {}),
        ({"mapping_fmaps": 7, "architecture": "resnet"}, {"mbstd_group_size": 2}),
        ({"mapping_func": "G_mapping", "fused_modconv": False}, {"mbstd_group_size": 8}),
    ],
)
def test_both_families_make_the_same(tmp_path, module, G_options, D_options):
    path, out = tmp_path / "in.pkl", tmp_path / "out.pkl"
    expected = save(path, module, G_options, D_options)
    other, layout = OTHER[module]
    with tflib.graph_session(seed=2):
        conversion.convert(str(path), str(out), layout)
    # What the other official code does: its functions, by the names and defaults of its own.
    with tflib.graph_session(seed=3):
        networks = pickles.load(str(out))
        for actual, value in zip(results(networks), expected, strict=True):
            np.testing.assert_allclose(actual, value, rtol=0, atol=1e-6 * np.abs(value).max())
        G, D, Gs = networks
        assert (Gs.build_func_name, Gs.components.synthesis.build_func_name, D.build_func_name) == (
            FUNCTIONS[other]
        )
        for network in (*networks, *Gs.components.values()):
            assert network.origin.version == int(layout)
            assert network.origin.build_module_src == f"from {other} import *\n"
            assert bool(network.origin.shapes) == (layout == "5")
        assert "mapping_fmaps" in G.static_kwargs and "mbstd_group_size" in D.static_kwargs
        assert ("lod" in G.vars) == (other == STYLEGAN2)
    others_networks = others.read_like_pytorch(str(out)) if "fused_modconv" not in G_options else ()
    assert all(
        others.unknown_to_pytorch(p, "GDG"[i]) == [] for i, (p, _) in enumerate(others_networks)
    )


@pytest.mark.parametrize("module", [STYLEGAN2, ADA])
def test_without_minibatch_stddev(tmp_path, module):
    key = "mbstd_group_size" if module == STYLEGAN2 else "mbstd_num_features"
    expected = save(tmp_path / "in.pkl", module, {}, {key: 0})
    with tflib.graph_session(seed=2):
        conversion.convert(str(tmp_path / "in.pkl"), str(tmp_path / "out.pkl"), OTHER[module][1])
        _, scores = results(pickles.load(str(tmp_path / "out.pkl")))
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=1e-6 * np.abs(scores).max())


@pytest.mark.parametrize(
    ("module", "function", "options", "message"),
    [
        (STYLEGAN2, "D_stylegan2", {"label_size": 2}, "format 5.*-ADA: labels .label_size=2."),
        (STYLEGAN2, "D_stylegan", {}, "format 5.*no training.networks_stylegan2.D_stylegan"),
        (STYLEGAN2, "G_main", {**STYLE, **REVISED}, "no .*G_synthesis_stylegan_revised"),
        (STYLEGAN, "D_basic", {}, "format 5.*no training.networks_stylegan.D_basic"),
        (ADA, "D_main", {"label_size": 2}, "format 4.*StyleGAN2: labels"),
        (ADA, "D_main", {"conv_clamp": 256}, "format 4.*StyleGAN2: it has no conv_clamp=256"),
        (ADA, "D_main", {"freeze_layers": 1}, "no freeze_layers=1"),
        (ADA, "D_main", {"mapping_layers": 1}, "no mapping_layers=1"),
        (ADA, "D_main", {"use_pagan": True, "pagan_num": 3}, "no use_pagan=True"),
        (ADA, "D_main", {"score_max": 5}, "no score_max=5"),
        (ADA, "D_main", {"mbstd_group_size": 1}, "no layer for mbstd_group_size=1"),
        (ADA, "G_main", {**STYLE, "use_noise": False}, "no use_noise=False"),
        (ADA, "G_main", {**STYLE, "fmap_const": 3}, "no fmap_const=3"),
        (ADA, "G_main", {**STYLE, "num_fp16_res": 1}, "no num_fp16_res=1"),
    ],
)
def test_what_one_family_alone_has(session, tmp_path, module, function, options, message):
    path, out = str(tmp_path / "in.pkl"), tmp_path / "out.pkl"
    layout = "4" if module == ADA else "5"
    pickles.save(Network("N", f"{module}.{function}", **SHAPE, **options), path)
    with pytest.raises(
        UserError,
        match=f"network N cannot be converted to {message}"
        if message.startswith("format")
        else message,
    ):
        conversion.convert(path, str(out), layout)
    assert not out.exists()
    conversion.convert(path, str(out), "5" if module == ADA else "4")  # Its own is fine.
    assert pickles.load(str(out)).build_module == module
