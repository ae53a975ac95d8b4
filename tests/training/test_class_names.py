"""Names of classes: in snapshots, and on the command line of run_generator.py."""

from __future__ import annotations

import pickle

import pytest
import snapshot_writers as others

from dnnlib import UserError
from dnnlib.tflib import Network
from training import class_names, snapshot_tools, snapshots

NAMES = ["T-shirt", "dress", "Röcke, kurz", "shoe", "2", "dress"]
STYLE = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1}
SHAPE = {"resolution": 8, "fmap_base": 32, "fmap_max": 4}
BUILD = {"4": "training.networks_stylegan2.", "5": "training.networks."}


def generator(layout="4", names=NAMES, label_size=6):
    G = Network("G", BUILD[layout] + "G_main", label_size=label_size, **STYLE, **SHAPE)
    class_names.set_label_names(G, names)
    return G


@pytest.mark.parametrize("layout", ["4", "5"])
def test_names_travel_with_snapshots(session, tmp_path, layout):
    """Through clones, every layout, and pickle itself; official readers are not disturbed."""
    path, pickled, npz = (str(tmp_path / name) for name in ("a.pkl", "b.pkl", "c.npz"))
    D_func = {"4": "D_stylegan2", "5": "D_main"}[layout]
    D = Network("D", BUILD[layout] + D_func, label_size=6, **SHAPE)
    G = generator(layout)
    snapshots.save((G, D, G.clone("Gs")), path)
    snapshot_tools.convert(path, pickled, layout)
    snapshot_tools.convert(path, npz, "npz")
    for file in (path, pickled, npz):
        for network in (*snapshots.load(file), snapshots.load_generator(file)):
            expected = None if network.build_func_name.startswith("D") else NAMES
            assert class_names.label_names(network) == expected
            assert "label_names" not in network.static_kwargs
    copy = pickle.loads(pickle.dumps(G))
    assert class_names.label_names(copy) == NAMES
    assert "0 T-shirt, 1 dress, 2 Röcke, kurz, 3 shoe, 4 2, 5 dress" in snapshot_tools.describe(npz)
    if layout == "5":
        names = [network["name"] for network in others.read_like_pytorch(path)]
        assert names == ["G", "D", "Gs"]


def test_networks_without_names_have_no_such_field(session):
    assert "metadata" not in generator(names=None).get_state()
    assert class_names.label_names(generator(names=None)) is None


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"label_names": ["a"]}, "1 label_names for 6 classes"),
        ({"label_names": "abcdef"}, "no list of names"),
        ({"label_names": [1] * 6}, "no list of names"),
        ({"label_names": [b"a"] * 6}, "metadata 'label_names' holds a bytes"),
        ({"label_names": ["a"] * (1 << 21)}, "metadata 'label_names' holds too much"),
        ([1], "metadata that are no dict"),
    ],
)
def test_damaged_names_are_one_error(session, metadata, message):
    state = {**generator().get_state(), "metadata": metadata}
    network = Network.__new__(Network)
    with pytest.raises(UserError, match=message):
        network.set_state(state)
        class_names.find_classes(network, "0")


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("0", [0]),
        ("5", [5]),
        ("2", [2]),  # A number comes before the name "2".
        ("0-2,4", [0, 1, 2, 4]),
        ("shoe", [3]),
        ("SHOE, t-SHIRT", [3, 0]),
        ("Röcke, kurz", [2]),
        ('"Röcke, kurz",shoe', [2, 3]),
        ("ro\u0308cke,  shoe", None),
        ("Ro\u0308cke, kurz", [2]),  # Of letters and accents apart.
    ],
)
def test_classes_are_found(session, text, classes):
    G = generator()
    if classes is None:
        with pytest.raises(UserError, match="did you mean 'Röcke, kurz'"):
            class_names.find_classes(G, text)
    else:
        assert class_names.find_classes(G, text) == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shoo", "classes 0 to 5, got 'shoo'; did you mean 'shoe'"),
        ("dress", "'dress' is the name of classes 1, 5: use a number"),
        ("6", "classes 0 to 5, got '6'"),
        ("", "got ''"),
        ("shoe,", "got ''"),
        ("-1", "got '-1'"),
        ("3-1", "got '3-1'"),
        ("9" * 5000, "classes 0 to 5"),
        ("²", "got '²'"),
    ],
)
def test_classes_that_are_not_there(session, text, message):
    with pytest.raises(UserError, match=message):
        class_names.find_classes(generator(), text)


def test_without_names_or_classes(session):
    assert class_names.find_classes(generator(names=None), "1,3") == [1, 3]
    with pytest.raises(UserError, match="got 'hat'; its snapshot does not hold their names"):
        class_names.find_classes(generator(names=None), "hat")
    with pytest.raises(UserError, match="--class=0: the network has no classes"):
        class_names.find_classes(generator(names=None, label_size=0), "0")


def test_places_of_classes(session):
    G = generator()
    text = class_names.describe_places(G, [1, 0, 1], "row", [1, 2, 3])
    assert text == "  class 0 (T-shirt): row 2\n  class 1 (dress): rows 1, 3\n"
    many = class_names.describe_places(G, [3] * 100, "seed", range(100))
    assert many.endswith(" 19, …\n") and many.count("\n") == 1
    assert class_names.describe_places(generator(label_size=0, names=None), [0], "row", [1]) == ""


def test_a_run_keeps_the_names_of_its_data(tmp_path):
    """And a transfer to other labels those of the new data."""
    from training.dataset import TFRecordDataset
    from training.datasets.build import Output
    from training.datasets.demo_dataset import create_demo

    create_demo(Output(str(tmp_path / "demo"), resolution=8), num_images=12)
    names = TFRecordDataset(str(tmp_path / "demo")).label_names
    assert names[:2] == ["t-shirt", "dress"]
