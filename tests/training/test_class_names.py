"""Names of classes: in snapshots, and on the command line of run_generator.py."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import snapshot_writers as others

from dnnlib import UserError
from dnnlib.tflib import Network
from training.snapshots import class_names, conversion, description, pickles

NAMES = ["T-shirt", "dress", "Röcke, kurz", "shoe", "2", "dress"]
STYLE = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1}
SHAPE = {"resolution": 8, "fmap_base": 32, "fmap_max": 4}


def generator(names=NAMES, label_size=6):
    """What the functions here look at of a generator."""
    shapes = {"input_names": ["latents_in", "labels_in"], "input_shapes": [[None, 4], [None, 6]]}
    network = SimpleNamespace(name="G", metadata={}, **shapes)
    network.input_shapes[1][1] = label_size
    class_names.set_label_names(network, names)
    return network


def test_names_travel_with_snapshots(session, tmp_path):
    """Through clones, every layout, and pickle itself; official readers are not disturbed."""
    path, pickled, npz = (str(tmp_path / name) for name in ("a.pkl", "b.pkl", "c.npz"))
    build = "training.networks."
    D = Network("D", build + "D_main", label_size=6, **SHAPE)
    G = Network("G", build + "G_main", label_size=6, **STYLE, **SHAPE)
    assert "metadata" not in G.get_state()
    class_names.set_label_names(G, NAMES)
    pickles.save((G, D, G.clone("Gs")), path)
    assert len(others.read_like_pytorch(path)) == 3
    conversion.convert(path, pickled, "5")
    conversion.convert(pickled, npz, "npz")
    for file in (path, pickled, npz):
        for network in pickles.load(file):
            expected = {"label_names": NAMES} if network.name.startswith("G") else {}
            assert network.metadata == expected
            assert "label_names" not in network.static_kwargs
    copy = pickle.loads(pickle.dumps(G))
    assert class_names.label_names(copy) == NAMES
    shown = description.describe(npz)
    assert "classes    0 T-shirt, 1 dress, 2 Röcke, kurz, 3 shoe, 4 2, 5 dress\n" in shown


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"label_names": ["a"]}, "1 label_names for 6 classes"),
        ({"label_names": "abcdef"}, "not a list of names"),
        ({"label_names": [1] * 6}, "not a list of names"),
        ({"label_names": [b"a"] * 6}, "metadata 'label_names' holds a bytes"),
        ({"label_names": ["a"] * 300_000}, "metadata 'label_names' holds too much"),
        ([1], "metadata that are not a dict"),
    ],
)
def test_damaged_names_are_one_error(tmp_path, metadata, message):
    with pytest.raises(UserError, match=message):
        network = pickles.load(others.one(tmp_path / "D.pkl", metadata=metadata))
        class_names.find_classes(SimpleNamespace(**{**vars(generator()), **vars(network)}), "0")


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
def test_classes_are_found(text, classes):
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
    ],
)
def test_classes_that_are_not_there(text, message):
    with pytest.raises(UserError, match=message):
        class_names.find_classes(generator(), text)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("shoe:3,T-shirt:1", ((3, 0.75), (0, 0.25))),
        ("3:.5, 0: 0.5", ((3, 0.5), (0, 0.5))),
        ('"Röcke, kurz":1,shoe:0', ((2, 1.0),)),
        ('"Röcke, kurz:1",shoe:0', ((2, 1.0),)),
        ("2:1,4:1,2:2", ((2, 0.75), (4, 0.25))),  # A number comes before the name "2".
    ],
)
def test_mixes(text, shares):
    G = generator()
    (mix,) = class_names.find_classes(G, text)
    assert mix == class_names.Mix(shares)
    labels = class_names.class_labels(G, [mix, 1])
    assert labels.dtype == np.float32 and labels[1].tolist() == [0, 1, 0, 0, 0, 0]
    assert {int(i): float(labels[0, i]) for i in labels[0].nonzero()[0]} == dict(shares)


def test_names_with_colons_are_no_mixes():
    G = generator(names=["a:1", "a", "b", "c", "d", "e"])
    assert class_names.find_classes(G, "a:1") == [0]
    assert class_names.find_classes(G, "a:1,b") == [0, 2]
    (mix,) = class_names.find_classes(G, "a:1:3,b:1")
    assert mix.shares == ((0, 0.75), (2, 0.25))
    assert class_names.show_class(G, mix) == "0.75 of 0 (a:1) + 0.25 of 2 (b)"
    assert class_names.describe_places(G, [mix, mix], "seed", [1, 2]) == (
        "  class 0.75 of 0 (a:1) + 0.25 of 2 (b): seeds 1, 2\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shoe:1,T-shirt", "give all classes a weight"),
        ("shoe:0,T-shirt:0", "the weights sum to 0, expected more"),
        ("shoo:1", "got 'shoo'; did you mean 'shoe'"),
        ("9:1", "classes 0 to 5, got '9'"),
        ("shoe:-1", "got 'shoe:-1'"),
        ("shoe:inf", "got 'shoe:inf'"),
    ],
)
def test_mixes_that_there_are_not(text, message):
    with pytest.raises(UserError, match=message):
        class_names.find_classes(generator(), text)


def test_without_names_or_classes():
    assert class_names.find_classes(generator(names=None), "1,3") == [1, 3]
    with pytest.raises(UserError, match="got 'hat'; its snapshot does not hold their names"):
        class_names.find_classes(generator(names=None), "hat")
    with pytest.raises(UserError, match="--class=0: the network has no classes"):
        class_names.find_classes(generator(names=None, label_size=0), "0")


def test_places_of_classes():
    G = generator()
    text = class_names.describe_places(G, [1, 0, 1], "row", [1, 2, 3])
    assert text == "  class 0 (T-shirt): row 2\n  class 1 (dress): rows 1, 3\n"
    many = class_names.describe_places(G, [3] * 100, "seed", range(100))
    assert many.endswith(" 19, …\n") and many.count("\n") == 1
    assert class_names.describe_places(generator(label_size=0, names=None), [0], "row", [1]) == ""
