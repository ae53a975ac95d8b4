"""Files made to harm: bombs, calls, states that are not sound. All are refused by name."""

from __future__ import annotations

import os
import pickle
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import snapshot_writers as others

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.snapshots import pickles
from training.snapshots.build_functions import ADA


def generator(path):
    """Writes a snapshot of a small generator."""
    with tflib.graph_session(seed=1):
        options = {"latent_size": 8, "dlatent_size": 8, "mapping_layers": 1, "fmap_max": 4}
        G = Network("G", "training.networks_stylegan2.G_main", resolution=4, **options)
        pickles.save(G, str(path))
    return str(path)


def laughs(value, add):
    """A billion laughs: a small file whose object is exponentially large when it is walked."""
    for _ in range(60):
        value = add(value)
    return value


def unicode(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def nested_components():
    """Components that share components: a walk through the tree would take for ever."""
    stub = None
    for _ in range(40):
        state = {"version": 4, "name": "N", "static_kwargs": {}, "build_func_name": "G_main"}
        state["components"] = {"mapping": stub, "synthesis": stub} if stub else {}
        stub = others.Stub({**state, "variables": []})
    return others.dumps(stub)


def own_component():
    state = {"version": 4, "name": "N", "static_kwargs": {}, "build_func_name": "G_main"}
    stub = others.Stub({**state, "variables": [], "components": {}})
    stub.state["components"]["mapping"] = stub
    return others.dumps(stub)


def array(shape, data=b"abcd", code="f4", kind=b"cnumpy.core.multiarray\n_reconstruct\n"):
    shape = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    dtype = b"cnumpy\ndtype\n" + unicode(code) + b"\x85R"
    raw = b"B" + struct.pack("<I", len(data)) + data
    made = kind + b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    return b"\x80\x03" + made + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb."


def shared_array():
    """A network whose hundred variables are one array."""
    state = {"version": 4, "name": "N", "static_kwargs": {}, "build_func_name": "G_mapping"}
    value = np.zeros(100_000, np.float32)
    return others.dumps(others.Stub({**state, "variables": [(f"w{i}", value) for i in range(99)]}))


def second_state():
    """An array that is filled twice, after something may have taken a view of it."""
    whole = array([1], b"abcd")[:-1]
    fill = whole[whole.index(b"R(K") + 1 :]
    return whole + fill + b"."


def bombs():
    """{name: (pickle, what the message says)}"""
    tuples = pickle.dumps(laughs((), lambda x: (x, x)), protocol=2)[:-1]
    text = unicode("x" * 100_000)
    encoded = b"c_codecs\nencode\n" + b"h\x00" + unicode("latin1") + b"\x86R0"
    return {
        "deep nesting": (b"\x80\x02" + b"]" * 3_000_000 + b".", "operations to read"),
        "deep tuples": (b"\x80\x02)" + b"\x85" * 900_000 + b".", "it holds a tuple of 1"),
        "exponential lists": (
            pickle.dumps(laughs([], lambda x: [x, x]), protocol=2),
            "it holds a list of 2",
        ),
        "tuples as key": (b"\x80\x02}" + tuples[2:] + b"K\x01s.", "keys that are not names"),
        "huge array": (array([1 << 40]), r"shape \[1099511627776\] float32, which takes"),
        "huge array of nothing": (array([1 << 40, 0], b""), "it holds a ndarray"),
        "huge number format": (array([], code="V1000000000"), "an array of V1000000000"),
        "objects": (array([1], code="O8"), "an array of O8"),
        "structures": (array([1], code="i4,i4"), "an array of i4,i4"),
        "huge array at once": (
            b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
            b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85C\x01b\x87R.",
            "makes an array in a way",
        ),
        "memo index": (b"\x80\x02]r\xff\xff\xff\x7f.", "it holds a list of 0"),
        "huge integer": (b"\x80\x02\x8b\xff\xff\xff\x7f" + b"1" * 99 + b".", "too many digits"),
        "long decimal": (b"I" + b"9" * 5000 + b"\n.", "too many digits"),
        "huge bytes": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f123.", "broken"),
        "huge text": (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0f123.", "broken"),
        "huge bytearray": (b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f123.", "broken"),
        "huge frame": (b"\x80\x04\x95" + b"\xff" * 7 + b"\x0f123.", "broken"),
        "copies": (b"\x80\x02" + text + b"q\x000" + encoded * 200_000 + b".", "a bomb"),
        "copies of lists": (
            b"\x80\x02(" + b"N" * 10_000 + b"lq\x000"
            + b"c__builtin__\nlist\nh\x00\x85R0" * 100_000 + b".",
            "a bomb",
        ),
        "pairs that are texts": (
            b"\x80\x02" + text + b"q\x000cbuiltins\ndict\n(](" + b"h\x00" * 100_000 + b"etR.",
            "items that are not pairs",
        ),
        "many networks": (
            b"\x80\x02" + others.dumps(others.Stub({"version": 4, "name": "N", "static_kwargs": {},
            "build_func_name": "G_mapping", "variables": []}))[2:-1] * 300 + b".", "256 networks",
        ),
        "one array for many": (shared_array(), "more data than it holds"),
        "second state of an array": (second_state(), "a second state"),
        "shared components": (nested_components(), "more than 64 components"),
        "component of itself": (own_component(), "has no state"),
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_pickle_bombs(tmp_path, name):
    """A message, and no memory to speak of. What is wrong here may take for ever."""
    content, message = bombs()[name]
    path = tmp_path / "bomb.pkl"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=message) as error:
        pickles.load(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert "bomb.pkl" in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"static_kwargs": {"resolution": 1 << 40}}, "'resolution' is .*, more than"),
        ({"static_kwargs": {"fmap_max": 10**6}}, "'fmap_max' is 1000000"),
        ({"static_kwargs": {"colour": "red"}}, r"D_stylegan2\(\) has no keyword argument 'colour'"),
        ({"static_kwargs": {"random_seed": 3}}, "no keyword argument 'random_seed'"),
        ({"static_kwargs": {"return_dlatents": True}}, "no keyword argument 'return_dlatents'"),
        ({"static_kwargs": {"a": laughs([], lambda x: [x, x])}}, "'a' holds too much"),
        ({"static_kwargs": {"a": b"12"}}, "'a' holds a bytes"),
        ({"static_kwargs": [1]}, "that are not a dict"),
        ({"name": "a b"}, "an invalid name: 'a b'"),
        ({"name": "\x1b[2J"}, r"invalid name: '\\x1b\[2J'"),
        ({"name": 5}, "an invalid name: a int"),
        ({"build_func_name": ["D"]}, "build function a list"),
        ({"version": "4"}, "version '4'"),
        ({"version": True}, "version True"),
        ({"version": 1}, "version 1"),
        ({"version": 6}, "version 6"),
        ({"components": {"mapping": 3}}, "component 'mapping' is not a network"),
        ({"components": [1, 2]}, "components that are not networks"),
        ({"variables": 5}, "that are not a list"),
        ({"variables": ["ab"]}, "without name and value"),
        ({"variables": [("w", "text")]}, "'w' is a str, not an array"),
        ({"variables": [("w", [1.0])]}, "'w' is a list"),
        ({"variables": lambda v: v + v[:1]}, "'4x4/FromRGB/weight' twice"),
        ({"build_module_src": "from os import *"}, r"names the build function os\.D_stylegan2"),
        ({"build_module_src": f"from {ADA} import *"}, r"training\.networks\.D_stylegan2"),
    ],
)
def test_states_that_are_not_sound(session, tmp_path, changes, message):
    path = others.one(tmp_path / "D.pkl", **changes)
    with pytest.raises(UserError, match=message) as error:
        pickles.load(path)
    assert str(error.value).isprintable()


def test_users_of_plain_pickle_have_the_same_checks(session, tmp_path):
    for changes, message in (
        ({"build_func_name": "evil"}, "'evil'"),
        ({"static_kwargs": {"colour": 1}}, "'colour'"),
        ({"version": 7}, "version 7"),
    ):
        with open(others.one(tmp_path / "D.pkl", **changes), "rb") as file:
            with pytest.raises(UserError, match=message):
                pickle.load(file)


def test_a_file_of_absurd_size_is_not_read(tmp_path):
    with open(tmp_path / "x.pkl", "wb") as file:
        file.truncate(1 << 36)  # Takes no room on disk.
    with pytest.raises(UserError, match="has 68,719,476,736 bytes, expected at most"):
        pickles.load(str(tmp_path / "x.pkl"))


def test_a_failed_first_use_fails_again(session, tmp_path):
    """Not half a network, whose variables nobody has set."""
    D = pickles.load(others.one(tmp_path / "D.pkl", variables=lambda v: v[1:]))
    for _ in range(2):
        with pytest.raises(UserError, match="4x4/FromRGB/weight is missing"):
            D.run(np.zeros((1, 3, 4, 4)), None)


@pytest.mark.parametrize("changes", [{"fmap_max": 8}, {"dlatent_size": 9}, {"resolution": 8}])
def test_a_whole_that_does_not_fit_its_components(session, tmp_path, changes):
    stub = others.stub_of(pickles.load(generator(tmp_path / "G.pkl")))
    stub.state["static_kwargs"] |= changes
    (tmp_path / "G.pkl").write_bytes(others.dumps(stub))
    with pytest.raises(UserError, match="components of network G in snapshot do not fit together"):
        _ = pickles.load(str(tmp_path / "G.pkl")).vars


def harmful(folder):
    """{name: (path, what the message says)}"""

    class Call:
        def __reduce__(self):
            return os.system, (f"touch {folder / 'victim'}",)

    code = f"open({str(folder / 'victim')!r}, 'w').close()\n"

    def file(name, content):
        (folder / name).write_bytes(content)
        return str(folder / name)

    content = Path(generator(folder / "G.pkl")).read_bytes()
    G = pickles.load(str(folder / "G.pkl"))
    changed = G.get_state()["variables"]
    missing = others.stub_of(G, build_module_src=code)
    missing.state["variables"] = changed[:1]
    wrong = others.stub_of(G, build_module_src=code)
    wrong.state["variables"] = [changed[0], (changed[1][0], np.zeros(9, np.float32))]
    return {
        "bomb": (file("bomb.pkl", bombs()["deep nesting"][0]), "bomb"),
        "os.system": (file("call.pkl", pickle.dumps(Call())), "posix.system"),
        "source": (
            others.one(folder / "code.pkl", build_module_src=code, build_func_name="evil"),
            "build function 'evil'",
        ),
        "truncated": (file("cut.pkl", content[: len(content) // 2]), "broken"),
        "missing": (file("missing.pkl", others.dumps(missing)), "dlatent_avg is missing"),
        "wrong shape": (
            file("wrong.pkl", others.dumps(wrong)),
            r"dlatent_avg has shape [9], expected [8]",
        ),
    }


def test_harmful_files_end_a_command_with_code_2(tmp_path, monkeypatch, capsys):
    files = harmful(tmp_path)
    monkeypatch.chdir(tmp_path)
    for path, message in files.values():
        for command in (["info"], ["generate-images", "--seeds=1"]):
            code, error = others.command_line(monkeypatch, capsys, *command, f"--network={path}")
            assert code == 2
            assert error.startswith("run_generator.py: error: ")
            assert message in error
            assert len(error.splitlines()) == 1
    assert not (tmp_path / "victim").exists()
