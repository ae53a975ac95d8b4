"""Snapshots of all families and format versions, from and for other programs."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys

import numpy as np
import pytest
import snapshot_writers as others
import tensorflow.compat.v1 as tf
from golden_checks import assert_close, check_loaded
from small_networks import STYLE

import run_generator
from dnnlib import EasyDict, UserError, tflib
from dnnlib.tflib import Network
from training.snapshots import conversion, description, pickles
from training.snapshots.build_functions import ADA, STYLEGAN, STYLEGAN2

SHAPE = {"num_channels": 3, "resolution": 8, "fmap_base": 32, "fmap_max": 4}
REVISED = {"synthesis_func": "G_synthesis_stylegan_revised"}
# {family: (module, build function of G, its options, build function of D, format version)}
FAMILIES = {
    "stylegan2": (STYLEGAN2, "G_main", {"label_size": 2}, "D_stylegan2", 4),
    "without labels": (STYLEGAN2, "G_main", {"label_size": 0}, "D_stylegan2", 4),
    "revised": (STYLEGAN2, "G_main", {"label_size": 0, **REVISED}, "D_stylegan", 4),
    "stylegan": (STYLEGAN, "G_style", {"label_size": 2}, "D_basic", 4),
    "ada": (ADA, "G_main", {"label_size": 2, "conv_clamp": 4}, "D_main", 5),
    "ada without labels": (ADA, "G_main", {"label_size": 0}, "D_main", 5),
}


def latents():
    return np.random.default_rng(9).normal(size=(2, 8))


def images_of(Gs):
    labels = np.eye(2)[:, : Gs.input_shapes[1][1]]
    return Gs.run(latents(), labels, randomize_noise=False)


def make(family):
    """(G, D, Gs) with values that nothing initializes them to."""
    module, G_func, options, D_func, _ = FAMILIES[family]
    G = Network("G", f"{module}.{G_func}", **options, **STYLE, **SHAPE)
    D = Network("D", f"{module}.{D_func}", label_size=options["label_size"], **SHAPE)
    networks = G, D, G.clone("Gs")
    random = np.random.default_rng(8)
    for network in networks:
        tflib.set_vars({v: random.normal(size=v.shape.as_list()) for v in network.vars.values()})
        if "lod" in network.vars:
            network.set_var("lod", 0)
    return networks


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """{family: (path of our snapshot, path of the same as the official code writes it, images)}"""
    folder = tmp_path_factory.mktemp("families")
    result = {}
    for family, (*_, version) in FAMILIES.items():
        ours, official = folder / f"{family}-ours.pkl", folder / f"{family}.pkl"
        with tflib.graph_session(seed=1):
            networks = make(family)
            pickles.save(networks, str(ours))
            stubs = [
                others.stub_of(n, build_module_src=others.OFFICIAL_SOURCE, version=version)
                for n in networks
            ]
            official.write_bytes(others.dumps(tuple(stubs)))
            result[family] = str(ours), str(official), images_of(networks[2])
    return result


# Reading


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("writer", ["ours", "official"])
def test_every_family_is_read(session, written, family, writer):
    module, G_func, _, D_func, version = FAMILIES[family]
    ours, official, images = written[family]
    G, D, Gs = pickles.load(ours if writer == "ours" else official)
    assert (G.build_module, G.build_func_name) == (module, G_func)
    assert (D.build_module, D.build_func_name) == (module, D_func)
    assert {n.origin.version for n in (G, D, Gs)} == {version}
    assert len(tf.get_default_graph().get_operations()) == 0  # Nothing is built yet.
    np.testing.assert_array_equal(images_of(Gs), images)
    assert {c.build_module for c in Gs.components.values()} == {module}
    assert D.run(images, np.eye(2)[:, : D.input_shapes[1][1]]).shape == (2, 1)


def test_an_official_ada_snapshot_gives_the_official_images(session, golden, golden_dir):
    file = golden("ada_cond3_clamp.npz")
    G, D, Gs = pickles.load(str(golden_dir / "ada_cond3_clamp.pkl"))
    assert Gs.static_kwargs == file.meta["G"]
    check_loaded(file.arrays, (G, Gs), D)


def test_users_may_unpickle_official_files(session, golden, golden_dir):
    arrays = golden("sg2_skip_resnet.npz").arrays
    with open(golden_dir / "sg2_skip_resnet.pkl", "rb") as file:
        _, _, Gs = pickle.load(file)
    images = Gs.run(arrays["z"], arrays["labels"], truncation_psi=0.7, randomize_noise=False)
    assert_close(images, arrays["images_psi0.7_cutNone"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_all_protocols(session, written, tmp_path, protocol):
    """Users pickle networks themselves, with whatever protocol their Python prefers."""
    path = tmp_path / "again.pkl"
    path.write_bytes(pickle.dumps(pickles.load(written["stylegan2"][0]), protocol=protocol))
    images = images_of(pickles.load(str(path))[2])
    np.testing.assert_array_equal(images, written["stylegan2"][2])


@pytest.mark.parametrize("version", [2, 3])
def test_old_versions_lack_components(session, tmp_path, version):
    path = others.one(tmp_path / "D.pkl", version=version, components=None, build_module_src=None)
    D = pickles.load(path)
    assert D.run(np.zeros((1, 3, 4, 4)), None).shape == (1, 1)
    assert D.get_var("Output/weight").any()


def test_a_generator_without_components_has_their_variables(session, written, tmp_path):
    G = pickles.load(written["stylegan2"][0])[0]
    values = [(name, G.get_var(name)) for name in G.vars]
    path = tmp_path / "G.pkl"
    for variables in (values, G.get_state()["variables"]):
        stub = others.stub_of(G, components=None, version=3, variables=variables)
        path.write_bytes(others.dumps(stub))
        loaded = pickles.load(str(path))
        if variables is values:
            np.testing.assert_array_equal(images_of(loaded), images_of(G))
        else:
            with pytest.raises(UserError, match="G_synthesis/4x4/Const/const is missing"):
                images_of(loaded)


@pytest.mark.parametrize(
    ("changes", "module"),
    [
        ({"version": 4}, STYLEGAN2),
        ({"version": 5}, ADA),
        ({"version": 4, "static_kwargs": {**STYLE, "label_fmaps": 3}}, ADA),
        ({"version": 4, "static_kwargs": {**STYLE, "use_wscale": True}}, STYLEGAN),
        ({"version": 5, "build_module_src": f"from {STYLEGAN2} import *\n"}, STYLEGAN2),
        ({"version": 4, "variables": [("LabelEmbed/weight", np.zeros((2, 8)))]}, ADA),
        ({"version": 5, "variables": [("LabelConcat/weight", np.zeros((2, 8)))]}, STYLEGAN2),
        ({"version": 4, "build_func_name": "G_synthesis"}, STYLEGAN),
        ({"version": 4, "build_func_name": "G_synthesis",
          "variables": [("4x4/Conv/mod_weight", np.zeros(2))]}, ADA),
    ],
)  # fmt: skip
def test_what_a_network_alone_tells_of_its_family(tmp_path, changes, module):
    state = {"build_func_name": "G_mapping", "static_kwargs": STYLE, "variables": [], **changes}
    assert pickles.load(others.one(tmp_path / "G.pkl", **state)).build_module == module


def test_the_whole_knows_better_than_its_parts(session, written, tmp_path):
    """Without labels, the mapping networks of all families look alike."""
    for family, version in (("without labels", 5), ("ada without labels", 4)):
        G = pickles.load(written[family][0])[0]
        stub = others.stub_of(G, build_module_src="", version=version, input_shapes=None)
        (tmp_path / "G.pkl").write_bytes(others.dumps(stub))
        loaded = pickles.load(str(tmp_path / "G.pkl"))
        assert {c.build_module for c in loaded._saved_components.values()} == {G.build_module}


def test_arrays_in_other_forms(session, tmp_path):
    def in_other_forms(variables):
        values = dict(variables)
        values["4x4/Conv/weight"] = np.asfortranarray(values["4x4/Conv/weight"])
        values["4x4/Dense0/weight"] = values["4x4/Dense0/weight"].astype(">f4")
        values["4x4/Dense0/bias"] = values["4x4/Dense0/bias"].astype(np.float64)
        return list(values.items())

    plain = pickles.load(others.one(tmp_path / "plain.pkl"))
    options = {"resolution": np.int64(4), "fmap_max": 2, "resample_kernel": np.array([1, 3, 3, 1])}
    path = others.one(
        tmp_path / "other.pkl", variables=in_other_forms, static_kwargs=EasyDict(options)
    )
    other = pickles.load(path)
    assert other.static_kwargs == {**options, "resample_kernel": [1, 3, 3, 1]}
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 4))
    np.testing.assert_array_equal(other.run(x, None), plain.run(x, None))
    assert all(v.dtype == np.float32 for v in tflib.run(other.vars).values())


@pytest.mark.parametrize("structure", ["auto", "fixed", "linear", "recursive"])
def test_keywords_that_say_nothing_are_left_out(session, written, tmp_path, structure):
    inert = {"structure": structure, "is_template_graph": False, "force_clean_graph": False}
    for family in ("stylegan2", "ada"):
        networks = pickles.load(written[family][0])
        stubs = tuple(others.stub_of(n) for n in networks)
        for stub in (s for n in stubs for s in (n, *n.state["components"].values())):
            stub.state["static_kwargs"] = {**stub.state["static_kwargs"], **inert}
        (tmp_path / "old.pkl").write_bytes(others.dumps(stubs))
        loaded = pickles.load(str(tmp_path / "old.pkl"))
        assert [n.static_kwargs for n in loaded] == [n.static_kwargs for n in networks]
        np.testing.assert_array_equal(images_of(loaded[2]), written[family][2])
        assert loaded[1].run(written[family][2], np.eye(2)).shape == (2, 1)


# Writing for others


def test_the_official_pytorch_readers(session, written, tmp_path):
    """A stand-in that takes what they take and refuses what they refuse."""
    for family in ("without labels", "ada", "ada without labels"):
        path = written[family][0]
        networks = pickles.load(path)
        for (params, kwargs), network in zip(others.read_like_pytorch(path), networks, strict=True):
            kind = network.name[0]
            assert others.unknown_to_pytorch(params, kind) == []
            assert kwargs == dict(network.static_kwargs)
            keys = {component.name: key for key, component in network.components.items()}
            for name, value in tflib.run(network.vars).items():
                first, slash, rest = name.partition("/")
                np.testing.assert_array_equal(params[keys.get(first, first) + slash + rest], value)


OFFICIAL_TF = """
import pickle, pickletools, sys, types
import numpy
from collections import namedtuple

class Network:
    def __setstate__(self, state):
        assert state["version"] in (2, 3, 4, 5)
        self.state = state
        module = types.ModuleType("_imported")
        exec(state["build_module_src"], module.__dict__)
        assert getattr(module, state["build_func_name"]) == state["build_func_name"], state

names = {"training.networks_stylegan2": "G_main G_mapping G_synthesis_stylegan2 D_stylegan2 "
                                         "G_synthesis_stylegan_revised D_stylegan",
         "training.networks_stylegan": "G_style G_mapping G_synthesis D_basic",
         "training.networks": "G_main G_mapping G_synthesis D_main"}
for module in ("training", "dnnlib", "dnnlib.tflib", "dnnlib.tflib.network", "dnnlib.util", *names):
    sys.modules[module] = types.ModuleType(module)
    vars(sys.modules[module]).update((n, n) for n in names.get(module, "").split())
sys.modules["dnnlib.tflib.network"].Network = Network
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        networks = pickle.load(file)
    print(*(n.state["build_module_src"].split()[1] for n in networks))
    for n in networks:
        assert all(type(v) in (int, float, str, list, type(None)) for v in
                   n.state["static_kwargs"].values()), n.state["static_kwargs"]
"""


def test_the_official_tensorflow_code(written, run_script, tmp_path):
    """A stand-in that executes the embedded source, in a process without our packages."""
    paths = [written[family][0] for family in FAMILIES]
    result = run_script(["-I", "-c", OFFICIAL_TF, *paths][1:], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    modules = [FAMILIES[family][0] for family in FAMILIES]
    assert result.stdout.splitlines() == [f"{m} {m} {m}" for m in modules]


def test_states_are_plain_and_official(session):
    kernel = (1, np.float64(3), 3, np.int32(1))
    D = Network("D", f"{STYLEGAN2}.D_stylegan2", resample_kernel=kernel, **SHAPE)
    D.static_kwargs.random_seed = 5
    state = D.get_state()
    # Other readers take the whole minibatch where no group is named.
    assert state["static_kwargs"] == {
        "resample_kernel": [1, 3, 3, 1],
        "mbstd_group_size": 4,
        **SHAPE,
    }
    assert {type(v) for v in state["static_kwargs"]["resample_kernel"]} == {int, float}
    D.static_kwargs.nonlinearity = print
    with pytest.raises(UserError, match="'nonlinearity' holds a builtin_function"):
        D.get_state()


# Converting and showing


@pytest.mark.parametrize("family", ["stylegan2", "ada"])
def test_weights_only(session, written, tmp_path, family):
    out = tmp_path / "weights.npz"
    conversion.convert(written[family][1], str(out), "npz")
    networks = pickles.load(str(out))
    np.testing.assert_array_equal(images_of(networks[2]), written[family][2])
    with np.load(out, allow_pickle=False) as file:
        meta = json.loads(str(file["meta"]))
        names = set(file.files)
    assert meta == json.loads(out.with_suffix(".json").read_text())
    expected = {f"{n.name}/{v}" for n in networks for v in n.vars}
    assert names == {"meta", *expected}
    # And back.
    layout = str(FAMILIES[family][-1])
    conversion.convert(str(out), str(tmp_path / "back.pkl"), layout)
    np.testing.assert_array_equal(
        images_of(pickles.load_generator(str(tmp_path / "back.pkl"))), written[family][2]
    )


def test_info(session, written):
    ours, official, _ = written["stylegan2"]
    text = description.describe(official)
    for expected in (
        official,
        hashlib.sha256(open(official, "rb").read()).hexdigest(),
        "training.networks_stylegan2.G_main",
        "version 4, 1 line of embedded source, not run",
        "8×8, 3 channels",
        "latent_size=8",
        "G_synthesis/8x8/Conv0_up",
        "latents_in [N, 8], labels_in [N, 2]",
        "D_stylegan2",
    ):
        assert expected in text
    assert "written by this project" in description.describe(ours)


def test_commands(written, tmp_path, monkeypatch, capsys):
    path = f"--network={written['stylegan2'][0]}"
    out = tmp_path / "new.npz"
    convert = ("convert", path, f"--out={out}")
    assert others.command_line(monkeypatch, capsys, *convert, "--format=npz")[0] == 0
    assert out.exists() and (tmp_path / "new.json").exists()
    code, error = others.command_line(monkeypatch, capsys, *convert, "--format=4")
    assert (code, "ends with .pkl" in error) == (2, True)
    assert others.command_line(monkeypatch, capsys, *convert, "--format=3")[0] == 2
    monkeypatch.setattr(sys, "argv", ["run_generator.py", "info", f"--network={out}"])
    with tf.Graph().as_default():
        run_generator.main()
    assert "training.networks_stylegan2.G_main" in capsys.readouterr().out
