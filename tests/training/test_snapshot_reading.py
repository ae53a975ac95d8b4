"""What is taken from files, and what is refused, when snapshots are read."""

from __future__ import annotations

import os

import pytest
import snapshot_writers as others
from small_networks import STYLE

from dnnlib import UserError
from dnnlib.tflib import Network
from training.snapshots import pickles

SHAPE = {"resolution": 8, "fmap_base": 32, "fmap_max": 4}
REVISED = {"synthesis_func": "G_synthesis_stylegan_revised"}


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("networks_stylegan2.G_main", {**STYLE, **REVISED}),
        ("networks_stylegan2.G_synthesis_stylegan_revised", {"dlatent_size": 8}),
        ("networks_stylegan2.D_stylegan", {}),
        ("networks_stylegan.G_style", STYLE),
        ("networks_stylegan.D_basic", {}),
    ],
)
def test_the_structure_of_networks_that_grow_stays(session, tmp_path, function, options):
    network = Network("N", f"training.{function}", **SHAPE, **options, structure="fixed")
    pickles.save(network, str(tmp_path / "N.pkl"))
    loaded = pickles.load(str(tmp_path / "N.pkl"))
    assert loaded.static_kwargs == network.static_kwargs
    for key, component in loaded.origin.components.items():
        assert component.static_kwargs.get("structure") == ("fixed" if key == "synthesis" else None)


@pytest.mark.parametrize(
    ("key", "value"),
    [("structure", "tree"), ("structure", 1), ("force_clean_graph", True), ("structur", "auto")],
)
def test_other_keywords_are_refused_by_name(session, tmp_path, key, value):
    options = {"resolution": 4, "fmap_max": 2, key: value}
    with pytest.raises(UserError, match=f"keyword argument '{key}'"):
        _ = pickles.load(others.one(tmp_path / "D.pkl", static_kwargs=options)).vars


def test_what_official_readers_do_not_agree_on_is_said(session, tmp_path):
    """Sides of forks that say nothing, and the groups that PyTorch's readers take to be all."""
    options = {"resolution": 4, "fmap_max": 2, "resolution_w": 4, "resolution_h": 4}
    D = pickles.load(others.one(tmp_path / "D.pkl", static_kwargs=options))
    written = {"resolution": 4, "fmap_max": 2, "mbstd_group_size": 4}
    assert D.output_shape == [None, 1] and D.get_state()["static_kwargs"] == written
    chosen = {"resolution": 4, "fmap_max": 2, "mbstd_group_size": 2}
    D = pickles.load(others.one(tmp_path / "D.pkl", static_kwargs=chosen))
    assert D.get_state()["static_kwargs"] == chosen
    options["resolution_h"] = 8
    with pytest.raises(UserError, match="keyword argument 'resolution_h'"):
        pickles.load(others.one(tmp_path / "D.pkl", static_kwargs=options))


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.pkl")
    for path in (str(tmp_path / "pipe.pkl"), "/dev/zero", str(tmp_path)):
        with pytest.raises(UserError, match=f"cannot read snapshot {path}: .*not a regular file"):
            pickles.read(path)
    path = others.one(tmp_path / "D.pkl")
    os.symlink(path, tmp_path / "link.pkl")
    assert pickles.read(str(tmp_path / "link.pkl")) == pickles.read(path)


CODE = "def G_new(latents_in, components=None, **_kwargs):\n    raise RuntimeError('built')\n"


def test_a_generator_needs_its_components(session, tmp_path):
    G = Network("G", "training.networks_stylegan2.G_main", **SHAPE, **STYLE)
    parts = {k: others.stub_of(c) for k, c in G.components.items()}
    new = {"build_func_name": "G_new", "build_module_src": CODE}
    path = tmp_path / "G.pkl"
    for keys, message in (
        ((), "holds G_new without the components mapping and synthesis"),
        (("mapping",), "without the component synthesis"),
    ):
        components = {k: parts[k] for k in keys}
        path.write_bytes(
            others.dumps(others.Stub({**G.get_state(), **new, "components": components}))
        )
        with pytest.raises(UserError, match=message):
            pickles.load_generator(str(path), allow_pickled_code=True)
    path.write_bytes(others.dumps(others.Stub({**G.get_state(), **new, "components": parts})))
    loaded = pickles.load_generator(str(path), allow_pickled_code=True)
    assert loaded.build_func_name == "G_new" and "components" not in vars(loaded)
    # Our own generators make theirs: files of old format versions have none.
    path.write_bytes(others.dumps(others.Stub({**G.get_state(), "components": {}, "version": 3})))
    assert pickles.load_generator(str(path)).build_func_name == "G_main"
