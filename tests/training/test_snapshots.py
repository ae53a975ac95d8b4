"""Snapshots: what is written, what is read, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import check_loaded
from small_networks import STYLE

import pretrained_networks
from dnnlib import EasyDict, UserError, tflib
from dnnlib.tflib import Network
from training import misc
from training.snapshots import pickles

ROOT = Path(__file__).resolve().parents[2]
BUILD = "training.networks_stylegan2."
SHAPE = {"resolution": 8, "fmap_base": 32, "fmap_max": 4}


def make_networks():
    """(G, D, Gs) with values that nothing initializes them to."""
    G = Network("G", BUILD + "G_main", label_size=2, **STYLE, **SHAPE)
    D = Network("D", BUILD + "D_stylegan2", label_size=2, **SHAPE)
    Gs = G.clone("Gs")
    random = np.random.default_rng(8)
    for network in (G, D, Gs):
        values = {v: random.normal(size=v.shape.as_list()) for v in network.vars.values()}
        tflib.set_vars(values)
    return G, D, Gs


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(path of a snapshot, values of its networks, images of its Gs)."""
    path = tmp_path_factory.mktemp("snapshot") / "network-snapshot-000012.pkl"
    with tflib.graph_session(seed=1):
        networks = make_networks()
        values = [tflib.run(network.vars) for network in networks]
        pickles.save(networks, str(path))
        images = networks[2].run(latents(), np.eye(2), randomize_noise=False)
    return str(path), values, images


def latents():
    return np.random.default_rng(9).normal(size=(2, 8))


# Reading what others wrote


def test_an_official_snapshot_gives_the_official_images(session, golden, golden_dir):
    path = golden_dir / "sg2_skip_resnet.pkl"
    file = golden("sg2_skip_resnet.npz")
    arrays = file.arrays
    G, D, Gs = pickles.load(str(path))
    assert Gs.name == "Gs"
    assert Gs.static_kwargs == file.meta["G"]
    assert D.static_kwargs == file.meta["D"]
    check_loaded(arrays, (Gs, G), D)
    for name, network in (("G", G), ("D", D), ("G", Gs)):
        values = {k[2:]: v for k, v in arrays.items() if k.startswith(name + "/")}
        assert set(values) == set(network.vars)
        for key, value in tflib.run(network.vars).items():
            np.testing.assert_array_equal(value, values[key])


def test_only_the_networks_that_are_used_are_built(session, saved):
    path, _, expected = saved
    graph = tf.get_default_graph()
    _, D, Gs = pickles.load(path)
    assert len(graph.get_operations()) == 0
    images = Gs.run(latents(), np.eye(2), randomize_noise=False)
    np.testing.assert_array_equal(images, expected)
    scopes = {op.name.split("/")[0] for op in graph.get_operations()}
    assert scopes == {"Gs", "G_synthesis", "G_mapping"}
    # No second generator either: as many variables as Gs has.
    assert len(tf.global_variables()) == len(Gs.vars)
    assert D.output_shapes == [[None, 1]]
    assert any(op.name.startswith("D/") for op in graph.get_operations())


# Writing


def test_roundtrip_is_bit_equal(session, saved):
    path, values, images = saved
    networks = pickles.load(path)
    for network, before in zip(networks, values, strict=True):
        after = tflib.run(network.vars)
        assert list(after) == list(before)
        for name in before:
            np.testing.assert_array_equal(after[name], before[name], strict=True)
    assert [n.name for n in networks] == ["G", "D", "Gs"]
    assert networks[0].static_kwargs == {"label_size": 2, **STYLE, **SHAPE}
    again = networks[2].run(latents(), np.eye(2), randomize_noise=False)
    np.testing.assert_array_equal(again, images)


def test_what_is_read_and_not_built_is_written_again(session, saved, tmp_path):
    path, values, _ = saved
    copy = str(tmp_path / "copy.pkl")
    pickles.save(pickles.load(path), copy)
    assert len(tf.get_default_graph().get_operations()) == 0
    for network, before in zip(pickles.load(copy), values, strict=True):
        for name, value in tflib.run(network.vars).items():
            np.testing.assert_array_equal(value, before[name])


def test_one_network_alone(session, saved, tmp_path):
    path = str(tmp_path / "one.pkl")
    _G, D, Gs = pickles.load(saved[0])
    pickles.save(Gs, path)
    for network in (pickles.load(path), pickles.load_generator(path)):
        assert network.name == "Gs"
    assert pickles.load_generator(saved[0]).name == "Gs"
    pickles.save(D, path)
    with pytest.raises(UserError, match="D_stylegan2, which is not a generator"):
        pickles.load_generator(path)


def test_a_clone_of_what_was_read_is_its_own(session, saved):
    Gs = pickles.load(saved[0])[2]
    clone = Gs.clone("other")
    for name in Gs.vars:
        np.testing.assert_array_equal(clone.get_var(name), Gs.get_var(name))
    clone.set_var("dlatent_avg", np.zeros(8))
    assert Gs.get_var("dlatent_avg").any()


FRESH_PROCESS = """
import pickle, sys, numpy as np
from dnnlib import tflib
with tflib.graph_session(), open(sys.argv[1], "rb") as file:
    {read}
    z = np.random.default_rng(9).normal(size=(2, 8))
    np.save(sys.argv[2], Gs.run(z, np.eye(2), randomize_noise=False))
"""


@pytest.mark.parametrize(
    "read",
    [
        "from training import snapshots; Gs = snapshots.load(file.name)[2]",
        "_, _, Gs = pickle.load(file)",  # Whatever it needs of `training` is found.
    ],
)
def test_a_fresh_process_makes_identical_images(saved, run_script, tmp_path, read):
    path, _, images = saved
    out = tmp_path / "images.npy"
    result = run_script(["-c", FRESH_PROCESS.format(read=read), path, out], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.load(out), images)


def test_users_may_unpickle_it_as_they_always_did(session, saved):
    path, _, images = saved
    with open(path, "rb") as file:
        _, _, Gs = pickle.load(file)
    assert list(Gs.components) == ["synthesis", "mapping"]
    np.testing.assert_array_equal(Gs.run(latents(), np.eye(2), randomize_noise=False), images)


def names_in(content):
    """Every `module name` that a pickle asks for."""
    return {arg for op, arg, _ in pickletools.genops(content) if op.name == "GLOBAL"}


OLD_NAMES = {
    "dnnlib.tflib.network Network",
    "dnnlib.util EasyDict",
    "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "numpy ndarray",
    "numpy dtype",
    "_codecs encode",
}


@pytest.mark.parametrize("read", ["pickle", "misc", "pretrained_networks"])
def test_scripts_find_operations_by_their_official_names(session, saved, read):
    """The third network of a file is built third, before anything of it is used."""
    path = saved[0]
    if read == "pickle":
        with open(path, "rb") as file:
            _, _, Gs = pickle.load(file)
    else:
        read = misc.load_pkl if read == "misc" else pretrained_networks.load_networks
        _, _, Gs = read(path)
    assert len(tf.global_variables()) == sum(map(len, saved[1]))
    w = Gs.components.mapping.run(latents(), np.eye(2))
    fetched = session.run("G_synthesis_1/images_out:0", {"G_synthesis_1/dlatents_in:0": w})
    assert fetched.shape == saved[2].shape
    images = Gs.components.synthesis.run(w, randomize_noise=False)
    tensor = session.graph.get_tensor_by_name("G_synthesis_1/_Run/concat:0")
    feed = {"G_synthesis_1/_Run/dlatents_in:0": w}
    np.testing.assert_array_equal(session.run(tensor, feed), images)
    np.testing.assert_array_equal(Gs.run(latents(), np.eye(2), randomize_noise=False), saved[2])


def test_leftovers_of_stylegan_are_told_and_nothing_else_is_ignored(session, saved):
    Gs = pickles.load(saved[0])[2]
    w = Gs.components.mapping.run(latents(), np.eye(2))
    expected = Gs.components.synthesis.run(w, randomize_noise=False)
    with pytest.warns(UserWarning, match="no keyword argument '(structure|use_noise)'"):
        images = Gs.components.synthesis.run(
            w, randomize_noise=False, structure="fixed", use_noise=True
        )
    np.testing.assert_array_equal(images, expected)
    with pytest.raises(UserError, match="'structur'"):
        Gs.components.synthesis.run(w, structur="fixed")


def test_inputs_are_counted(session, saved):
    with pytest.raises(ValueError, match=r"Gs takes \['latents_in', 'labels_in'\], got 1 inputs"):
        pickles.load(saved[0])[2].run(latents())


def test_what_is_written_names_only_what_old_code_knows(saved):
    """Python 3.6 and NumPy 1, which the official code runs on, read protocol 3 at most."""
    content = Path(saved[0]).read_bytes()
    assert names_in(content) <= OLD_NAMES
    assert {"dnnlib.tflib.network Network", "numpy.core.multiarray _reconstruct"} <= names_in(
        content
    )
    assert b"numpy._core" not in content
    operations = [op.name for op, _, _ in pickletools.genops(content)]
    assert "STACK_GLOBAL" not in operations
    assert max(op.proto for op, _, _ in pickletools.genops(content)) <= 3


def test_numpy_numbers_among_keyword_arguments(session, tmp_path):
    path = tmp_path / "G.pkl"
    options = {**STYLE, **SHAPE, "fmap_decay": np.float64(1.0), "resolution": np.int64(8)}
    pickles.save(Network("G", BUILD + "G_main", **options), str(path))
    assert pickles.load(str(path)).static_kwargs == options
    assert names_in(path.read_bytes()) <= OLD_NAMES


def test_the_official_layout(saved):
    """The state that the official TensorFlow and PyTorch code look for."""

    class Recorder(EasyDict):
        def __setstate__(self, state):
            self.update(state)

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            known = {"dnnlib.tflib.network": Recorder}.get(module)
            return known or super().find_class(module, name)

    with open(saved[0], "rb") as file:
        G, D, Gs = Reader(file).load()
    keys = "version name static_kwargs components build_module_src build_func_name variables"
    for network in (G, D, Gs, *Gs.components.values()):
        assert set(network) == set(keys.split())
        assert network.version == 4
        assert type(network.static_kwargs) is dict
        assert all(type(v) is np.ndarray for _, v in network.variables)
    assert [n.build_func_name for n in (G, D, Gs)] == ["G_main", "D_stylegan2", "G_main"]
    assert list(Gs.components) == ["synthesis", "mapping"]
    assert [n for n, _ in Gs.variables] == ["lod", "dlatent_avg"]
    assert Gs.components["mapping"].static_kwargs["dlatent_broadcast"] == 4


def test_a_folder_that_is_not_there(session, saved, tmp_path):
    path = str(tmp_path / "none" / "G.pkl")
    with pytest.raises(UserError, match=r"cannot write snapshot .*none"):
        pickles.save(pickles.load(saved[0]), path)


# Refusing


class Evil:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def evil_pickles(victim):
    """{name: pickle that would write the file `victim`}"""
    command = f"touch {victim}"
    code = f"open({str(victim)!r}, 'w').close()"
    state = {"version": 4, "name": "G", "static_kwargs": {}, "components": {}}
    function_as_text = b"c__builtin__\neval\n(V" + code.encode() + b"\ntR."
    return {
        "os.system, GLOBAL": pickle.dumps(Evil(os.system, command), protocol=2),
        "os.system, STACK_GLOBAL": pickle.dumps(Evil(os.system, command), protocol=4),
        "eval": pickle.dumps(Evil(eval, code), protocol=4),
        "exec": pickle.dumps(Evil(exec, code), protocol=2),
        "builtins of Python 2": function_as_text,
        "INST": f"(S'{command}'\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS'{command}'\no.".encode(),
        "open": pickle.dumps(Evil(open, str(victim), "w"), protocol=3),
        "by attribute of what is allowed": b"\x80\x04\x8c\x0bdnnlib.util\x8c\x1aEasyDict.__init__."
        b"__globals__\x93.",
        "a class beside the allowed": b"cdnnlib.tflib.network\nimportlib\n.",
        "dict_of_network_state": pickle.dumps((Evil(os.system, command), state)),
        "extension registry": b"\x80\x02\x82\x01.",
        "persistent id": b"Pos.system\n.",
        "next to networks": pickle.dumps([Evil(subprocess.call, ["touch", str(victim)])]),
    }


@pytest.mark.parametrize("name", evil_pickles("x"))
def test_nothing_in_a_pickle_is_executed(tmp_path, name):
    victim, path = tmp_path / "victim", tmp_path / "evil.pkl"
    path.write_bytes(evil_pickles(victim)[name])
    with pytest.raises(UserError, match=r"evil\.pkl"):
        pickles.load(str(path))
    assert not victim.exists()


def test_the_pickles_are_evil_indeed(tmp_path):
    """Python's own unpickler executes most of them: the test above can fail."""
    written = 0
    for name in ("os.system, GLOBAL", "os.system, STACK_GLOBAL", "eval", "exec", "INST", "open"):
        victim = tmp_path / "victim"
        pickle.loads(evil_pickles(victim)[name])
        written += victim.exists()
        victim.unlink()
    assert written == 6


def with_state(path, **changes):
    """Writes a snapshot of one discriminator whose state is changed."""

    variables = [("4x4/Conv/weight", np.zeros((3, 3, 5, 4), np.float32))]
    state = {"version": 4, "name": "D", "static_kwargs": dict(SHAPE), "components": {}}
    state.update(build_module_src="", build_func_name="D_stylegan2", variables=variables)
    state.update(changes)
    buffer = io.BytesIO()
    pickler = pickle._Pickler(buffer, protocol=2)
    buffer.write(b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81")
    pickler.framer.end_framing()
    pickler.save(state)
    buffer.write(b"b.")
    path.write_bytes(buffer.getvalue())
    return str(path)


def test_embedded_source_is_not_executed(session, tmp_path):
    victim = tmp_path / "victim"
    source = f"open({str(victim)!r}, 'w').close()\n"
    path = with_state(tmp_path / "D.pkl", build_module_src=source, static_kwargs={"resolution": 4})
    D = pickles.load(path)
    with pytest.raises(UserError, match="is missing"):
        D.run(np.zeros((1, 3, 4, 4)), None)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "format version 99"),
        ({"build_func_name": "system"}, "'system'.*D_stylegan2"),
        ({"build_func_name": "os.system"}, r"'os\.system'"),
    ],
)
def test_states_that_do_not_fit(tmp_path, changes, message):
    path = with_state(tmp_path / "D.pkl", **changes)
    with pytest.raises(UserError, match=message):
        pickles.load(path)


def test_every_variable_that_does_not_fit_is_named(session, tmp_path, saved):
    D = pickles.load(saved[0])[1]
    state = D.__getstate__()
    variables = dict(state["variables"])
    variables["4x4/Dense0/offset"] = variables.pop("4x4/Dense0/bias")
    variables["8x8/Conv0/weight"] = variables["8x8/Conv0/weight"][..., :-1]
    path = with_state(
        tmp_path / "D.pkl", static_kwargs=state["static_kwargs"], variables=list(variables.items())
    )
    D = pickles.load(path)
    with pytest.raises(UserError) as error:
        D.run(np.zeros((1, 3, 8, 8)), np.zeros((1, 2)))
    message = str(error.value)
    assert "4x4/Dense0/bias is missing" in message
    assert "4x4/Dense0/offset is unexpected" in message
    assert "8x8/Conv0/weight has shape [3, 3, 4, 3], expected [3, 3, 4, 4]" in message
    assert "8x8/Conv0/bias" not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a snapshot"),
        (b"hello, I am a text file\n" * 10, "not a snapshot"),
        (b"\n <!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"PK\x03\x04" + bytes(100), "not a snapshot"),
        (pickle.dumps({"G": 1, "D": 2}), "it holds a dict"),
        (pickle.dumps((1, 2, 3)), "it holds a tuple of 3"),
        (pickle.dumps(()), "it holds a tuple of 0"),
        (pickle.dumps(np.zeros(3), protocol=2), "it holds a ndarray"),
        (pickle.dumps(None), "it holds a NoneType"),
        (b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81]b.", "lacks version"),
    ],
)
def test_files_that_are_no_snapshots(tmp_path, content, message):
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        pickles.load(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_snapshot_cut_short_anywhere(tmp_path, saved):
    content = Path(saved[0]).read_bytes()
    path = tmp_path / "cut.pkl"
    lengths = np.linspace(1, len(content) - 1, 60, dtype=int)
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="not a snapshot, or a broken one"):
            pickles.load(str(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read snapshot .*none\.pkl: No such file"):
        pickles.load(str(tmp_path / "none.pkl"))
    with pytest.raises(UserError, match="cannot read snapshot"):
        pickles.load(str(tmp_path))


def test_a_tuple_of_one_network(saved, tmp_path):
    path = str(tmp_path / "one.pkl")
    pickles.save((pickles.load(saved[0])[2],), path)
    with pytest.raises(UserError, match="tuple of 1"):
        pickles.load_generator(path)


def test_a_pickle_cannot_change_our_classes(tmp_path):
    """BUILD on a class itself, with a pair as its state, is setattr."""
    path = tmp_path / "poison.pkl"
    path.write_bytes(b"cdnnlib.util\nEasyDict\n(N(dVpoison\nI1\nstb.")
    try:
        with pytest.raises(UserError):
            pickles.load(str(path))
        assert not hasattr(EasyDict, "poison")
    finally:
        if "poison" in vars(EasyDict):
            del EasyDict.poison


# Being killed


SAVE_FOR_EVER = """
import os, signal, sys, time
from dnnlib import tflib
from training import snapshots
networks = snapshots.load(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:  # Forks: thirty times TensorFlow's start would take minutes.
    path, delay = line.split()
    child = os.fork()
    if child == 0:
        while True:
            snapshots.save(networks, path)
    time.sleep(float(delay))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def test_killed_while_saving_leaves_a_whole_snapshot_or_none(tmp_path, saved):
    """Thirty processes, killed with SIGKILL at different moments of their endless saving.

    More on a busy machine, until one has had the time to save.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, saved[0]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        outcomes = set()
        for i in range(80):
            if i >= 30 and len(outcomes) == 2:
                break
            path = tmp_path / f"network-snapshot-{i:06d}.pkl"
            process.stdin.write(f"{path} {0.0007 * 1.12**i}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "killed\n"
            outcomes.add(path.exists())
            if path.exists():
                assert len(pickles.load(str(path))) == 3
        assert outcomes == {True, False}  # Else the moments say nothing.
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def test_a_failed_write_keeps_the_old_file(session, tmp_path, saved, monkeypatch):
    path = tmp_path / "network.pkl"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        pickles.save(pickles.load(saved[0]), str(path))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["network.pkl"]
