"""Feature networks against the same sums in NumPy, and what is not let in."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest
import standins
import tensorflow.compat.v1 as tf
from google.protobuf import message_factory, symbol_database

from dnnlib import UserError, tflib
from metrics.feature_networks import frozen_graph, graph_process
from metrics.feature_networks.classifiers import read_classifiers
from metrics.feature_networks.inception import Inception
from metrics.feature_networks.lpips import Lpips
from metrics.feature_networks.own_graph import OwnNetwork
from metrics.feature_networks.vgg16 import Vgg16

SCALE = 16  # VGG16 with so many times fewer channels.


def run(network, images):
    """Outputs of a network for images float32 [N, 3, H, W]."""
    with tflib.graph_session():
        x = tf.placeholder(tf.float32, [None, *images.shape[1:]])
        return tflib.run(network.build(x), {x: images})


@pytest.mark.parametrize("side", [64, 299])
@pytest.mark.parametrize("archived", [True, False])
def test_inception_equals_sums_by_hand_for_any_number_of_images(tmp_path, side, archived):
    graph = standins.inception_graph(3)
    path = tmp_path / ("inception.tgz" if archived else "graph.pb")
    if archived:
        standins.save_inception(path, graph)
    else:
        path.write_bytes(graph.SerializeToString())
    images = np.random.default_rng(0).integers(0, 256, [3, 3, side, side], dtype=np.uint8)
    found = run(Inception(str(path)), images.astype(np.float32))
    features, probabilities = standins.inception_by_hand(graph, images)
    np.testing.assert_allclose(found["features"], features, atol=1e-5)
    np.testing.assert_allclose(found["softmax"], probabilities, rtol=1e-5)


def test_inception_scales_after_normalization_where_the_graph_says(tmp_path):
    graph = standins.inception_graph()
    norm = next(n for n in graph.node if n.name == "conv/batchnorm")
    gamma = standins.constants(graph)["conv/batchnorm/gamma"]
    plain = _conv_output(graph, tmp_path)
    norm.attr["scale_after_normalization"].b = True
    scaled = _conv_output(graph, tmp_path)
    beta = standins.constants(graph)["conv/batchnorm/beta"]
    np.testing.assert_allclose(scaled, (plain - beta) * gamma + beta, atol=1e-5)


def _conv_output(graph, tmp_path):
    part = frozen_graph.cut_out(graph, "ExpandDims", ["conv/batchnorm"], "x")
    with tflib.graph_session():
        images = np.random.default_rng(0).uniform(0, 255, [2, 32, 32, 3]).astype("f4")
        outputs = ["conv/batchnorm:0"]
        return tflib.run(frozen_graph.import_graph(part, "ExpandDims", images, outputs, "x"))[0]


def test_what_is_not_inception_is_refused(tmp_path):
    path = tmp_path / "x.pb"
    path.write_bytes(b"\x00nothing")
    with pytest.raises(UserError, match="is not a frozen TensorFlow graph"):
        Inception(str(path))
    path.write_bytes(b"")
    with pytest.raises(UserError, match="it has no nodes"):
        Inception(str(path))
    graph = standins.inception_graph()
    graph.node.remove(next(n for n in graph.node if n.name == "pool_3"))
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(UserError, match="has no node 'pool_3'"):
        Inception(str(path))
    whole = standins.save_inception(tmp_path / "x.tgz").read_bytes()
    (tmp_path / "x.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read .*x\.tgz"):
        Inception(str(tmp_path / "x.tgz"))


@pytest.mark.parametrize("op", ["ReadFile", "WriteFile", "PyFunc", "RestoreV2", "PrintV2"])
def test_graphs_cannot_reach_files_or_python(op, tmp_path):
    graph = standins.inception_graph()
    node = next(n for n in graph.node if n.name == "mixed")
    node.op = op
    (tmp_path / "x.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(UserError, match=f"holds the operation {op} .node mixed."):
        Inception(str(tmp_path / "x.pb"))


def test_functions_of_a_graph_are_looked_into():
    graph = tf.GraphDef()
    graph.node.add(name="x", op="Placeholder")
    call = graph.node.add(name="y", op="PartitionedCall", input=["x"])
    call.attr["f"].func.name = "inner"
    inner = graph.library.function.add()
    inner.signature.name = "inner"
    inner.node_def.add(name="evil", op="WriteFile")
    with pytest.raises(UserError, match="WriteFile"):
        frozen_graph.cut_out(graph, "x", ["y"], "file")


def test_the_jpeg_decoder_is_left_out(tmp_path):
    part = frozen_graph.cut_out(standins.inception_graph(), "ExpandDims", ["pool_3"], "x")
    ops = {node.op for node in part.node}
    assert "DecodeJpeg" not in ops and "BatchNormWithGlobalNormalization" not in ops
    assert "softmax" not in {node.name for node in part.node}


# VGG16 and LPIPS


@pytest.fixture(scope="module")
def weights():
    return standins.vgg16_weights(np.random.default_rng(2), SCALE)


def vgg_by_hand(x, weights):
    """Activations at the end of each block, of [N, H, W, 3] in float64."""
    taps, name = [], None
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        x = standins.pool(x, 2, np.max) if taps else x
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
            x = standins.conv2d(x, weights[f"{name}/kernel"].astype(np.float64))
            x = np.maximum(x + weights[f"{name}/bias"], 0)
        taps.append(x)
    return taps


def vgg_features_by_hand(images, weights):
    x = images.transpose(0, 2, 3, 1)[..., ::-1] - np.array([103.939, 116.779, 123.68])
    x = standins.pool(vgg_by_hand(x, weights)[-1], 2, np.max)
    x = x.reshape(len(x), -1)
    for name in ("fc1", "fc2"):
        x = np.maximum(
            x @ weights[f"{name}/kernel"].astype(np.float64) + weights[f"{name}/bias"], 0
        )
    return x


def close(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_vgg16_equals_sums_by_hand(weights, tmp_path):
    np.savez(tmp_path / "vgg.npz", **weights)
    images = np.random.default_rng(0).integers(0, 256, [2, 3, 224, 224]).astype(np.float32)
    network = Vgg16(str(tmp_path / "vgg.npz"))
    close(run(network, images)["features"], vgg_features_by_hand(images, weights))
    # Images of another size are resized; pixels of blocks twice as large keep their centers.
    small = run(network, images[:, :, :112, :112])["features"]
    assert small.shape == (2, 4096 // SCALE) and np.isfinite(small).all()


def test_vgg16_reads_the_file_that_keras_publishes(weights, tmp_path):
    h5py = pytest.importorskip("h5py")
    np.savez(tmp_path / "vgg.npz", **weights)
    with h5py.File(tmp_path / "old.h5", "w") as old, h5py.File(tmp_path / "new.h5", "w") as new:
        for name in {n.split("/")[0] for n in weights}:
            kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
            old[f"{name}/{name}_W_1:0"], old[f"{name}/{name}_b_1:0"] = kernel, bias
            new[f"model_weights/{name}/{name}/kernel:0"] = kernel
            new[f"model_weights/{name}/{name}/bias:0"] = bias
        old.create_group("block1_pool")
    images = np.random.default_rng(0).uniform(0, 255, [1, 3, 32, 32]).astype(np.float32)
    expected = run(Vgg16(str(tmp_path / "vgg.npz")), images)["features"]
    for name in ("old.h5", "new.h5"):
        found = run(Vgg16(str(tmp_path / name)), images)["features"]
        np.testing.assert_array_equal(found, expected)


def test_weights_that_do_not_fit_are_named(weights, tmp_path):
    path = str(tmp_path / "vgg.npz")
    np.savez(path, **{k: v for k, v in weights.items() if not k.startswith("fc2")})
    with pytest.raises(UserError, match="no weights of VGG16's layer fc2"):
        Vgg16(path)
    np.savez(path, **{**weights, "block2_conv1/kernel": np.zeros([3, 3, 9, 8])})
    with pytest.raises(UserError, match="layer block2_conv1 has weights of shapes"):
        Vgg16(path)
    (tmp_path / "x.h5").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cannot read .*x\.h5"):
        Vgg16(str(tmp_path / "x.h5"))


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "x.h5").write_bytes(b"nothing")
    with pytest.raises(UserError, match="pip install h5py"):
        Vgg16(str(tmp_path / "x.h5"))


@pytest.mark.parametrize("own_convolutions", [True, False])
def test_lpips_equals_sums_by_hand(weights, tmp_path, own_convolutions):
    rng = np.random.default_rng(0)
    heads = {
        f"lin{i}": rng.uniform(0, 1, [1, c // SCALE, 1, 1]).astype("f4")
        for i, c in enumerate([64, 128, 256, 512, 512])
    }
    vgg_path = str(tmp_path / "vgg.npz")
    np.savez(vgg_path, **weights)
    np.savez(tmp_path / "lpips.npz", **heads, **(weights if own_convolutions else {}))
    a, b = rng.uniform(0, 255, [2, 3, 3, 64, 48]).astype("f4")
    network = Lpips(str(tmp_path / "lpips.npz"), lambda: vgg_path)
    with tflib.graph_session():
        found = tflib.run(network.distance(tf.constant(a), tf.constant(b)))
        same = network.distance(tf.constant(a), tf.constant(a))
        assert tflib.run(same) == pytest.approx(0, abs=1e-9)

    def scaled(images):
        x = images.transpose(0, 2, 3, 1).astype(np.float64)
        if not own_convolutions:
            return x[..., ::-1] - [103.939, 116.779, 123.68]
        return (x / 127.5 - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]

    total = 0
    taps = zip(vgg_by_hand(scaled(a), weights), vgg_by_hand(scaled(b), weights), strict=True)
    for i, (x, y) in enumerate(taps):
        x, y = (v / (np.linalg.norm(v, axis=3, keepdims=True) + 1e-10) for v in (x, y))
        total += ((x - y) ** 2 @ heads[f"lin{i}"].reshape(-1)).mean(axis=(1, 2))
    close(found, total)


def test_heads_that_do_not_fit_are_named(weights, tmp_path):
    path = str(tmp_path / "lpips.npz")
    np.savez(path, lin0=np.ones(4), lin1=np.ones(8))
    with pytest.raises(UserError, match="lacks lin2, lin3, lin4"):
        Lpips(path, None)
    np.savez(path, **{f"lin{i}": np.ones(7) for i in range(5)}, **weights)
    with pytest.raises(UserError, match="lin0 has 7 numbers, VGG16 4 channels"):
        Lpips(path, None)


# A user's own network


def save_own(path, shape, dtype=tf.float32, width=5):
    """A frozen graph: mean colour times a matrix. Returns the matrix."""
    matrix = np.random.default_rng(0).standard_normal([3, width]).astype("f4")
    with tf.Graph().as_default():
        x = tf.placeholder(dtype, shape, name="image")
        axes = [1, 2] if shape[-1] == 3 else [2, 3]
        mean = tf.reduce_mean(tf.cast(x, tf.float32), axis=axes)
        if shape[0] == 1:
            mean = tf.reshape(mean, [1, 3])
        tf.matmul(mean, matrix, name="out")
        path.write_bytes(tf.get_default_graph().as_graph_def().SerializeToString())
    return matrix


@pytest.mark.parametrize("dtype", [tf.float32, tf.uint8])
@pytest.mark.parametrize("shape", [[None, None, None, 3], [1, 16, 16, 3], [None, 3, 8, 8]])
def test_own_frozen_graphs_of_every_form(tmp_path, shape, dtype):
    path = tmp_path / "My fashion.pb"
    matrix = save_own(path, shape, dtype)
    network = OwnNetwork(str(path))
    assert network.name == "My-fashion" and len(network.sha256) == 64
    colours = np.random.default_rng(0).integers(0, 256, [4, 3, 1, 1]).astype("f4")
    images = np.tile(colours, [1, 1, 32, 32])
    found = run(network, images)["features"]
    np.testing.assert_allclose(found, colours[:, :, 0, 0] @ matrix, rtol=1e-4, atol=1e-2)


def test_own_saved_models_are_frozen(tmp_path):
    folder = str(tmp_path / "fashion")
    matrix = np.random.default_rng(0).standard_normal([3, 4]).astype("f4")
    with tflib.graph_session():
        x = tf.placeholder(tf.float32, [None, 8, 8, 3])
        w = tf.get_variable("w", initializer=matrix)
        y = tf.matmul(tf.reduce_mean(x, axis=[1, 2]), w)
        tflib.init_uninitialized_vars()
        tf.saved_model.simple_save(tf.get_default_session(), folder, {"x": x}, {"y": y})
    network = OwnNetwork(folder)
    images = np.tile(np.random.default_rng(1).uniform(0, 255, [2, 3, 1, 1]), [1, 1, 8, 8])
    found = run(network, images.astype("f4"))["features"]
    np.testing.assert_allclose(found, images[:, :, 0, 0] @ matrix, rtol=1e-4)
    assert network.name == "fashion"
    (tmp_path / "fashion/saved_model.pb").write_bytes(b"\x00")
    with pytest.raises(UserError, match="cannot read SavedModel"):
        OwnNetwork(folder)


@pytest.mark.parametrize("victim", ["output", "restore"])
def test_a_saved_model_cannot_reach_files(tmp_path, victim):
    folder = tmp_path / "evil"
    with tflib.graph_session():
        x = tf.placeholder(tf.float32, [None, 8, 8, 3])
        evil = tf.io.write_file(str(tmp_path / "stolen"), "text")
        y = tf.reduce_mean(x, axis=[1, 2], name="output")
        w = tf.get_variable("w", shape=[1])
        tflib.init_uninitialized_vars()
        tf.saved_model.simple_save(tf.get_default_session(), str(folder), {"x": x}, {"y": y + w})
    # Runs with the output, or already when the variables are read.
    pool = symbol_database.Default().pool
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.SavedModel"))
    model = message.FromString((folder / "saved_model.pb").read_bytes())
    meta = model.meta_graphs[0]
    name = "output" if victim == "output" else meta.saver_def.restore_op_name
    next(n for n in meta.graph_def.node if n.name == name).input.append(f"^{evil.name}")
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="holds the operation WriteFile"):
        OwnNetwork(str(folder))
    assert not (tmp_path / "stolen").exists()


def test_own_graphs_that_are_not_clear_are_refused(tmp_path):
    path = tmp_path / "x.pb"
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="a")
        tf.placeholder(tf.float32, name="b")
        tf.reduce_mean(x)
        path.write_bytes(tf.get_default_graph().as_graph_def().SerializeToString())
    with pytest.raises(UserError, match="expected one placeholder, the graph has 2: a, b"):
        OwnNetwork(str(path))
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 8, 8, 3])
        tf.identity(x, name="out")
        path.write_bytes(tf.get_default_graph().as_graph_def().SerializeToString())
    with pytest.raises(UserError, match="expected one vector an image"):
        run(OwnNetwork(str(path)), np.zeros([2, 3, 8, 8], "f4"))
    save_own(path, [None, 3, 8, 8], tf.int32)
    with pytest.raises(UserError, match="is int32, expected float32 or uint8"):
        OwnNetwork(str(path))


def test_classifiers_are_found_by_number(tmp_path):
    for i in range(2):
        save_own(tmp_path / f"celebahq-classifier-{i:02}-x.pb", [None, None, None, 3], width=1)
    first, second = read_classifiers(str(tmp_path), 2, False)
    assert (first.name, second.name) == ("classifier-00", "classifier-01")
    images = np.zeros([3, 3, 8, 8], "f4") - 1  # Black, which the graph is given as 0.
    np.testing.assert_allclose(run(first, images)["features"], np.zeros([3, 1]), atol=1e-6)
    with pytest.raises(UserError, match="lacks the classifiers 02, 03"):
        read_classifiers(str(tmp_path), 4, False)


def _graph_of(build):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        tf.identity(build(x), name="out")
    return graph.as_graph_def()


def _functions(graph, calls):
    """Adds functions that call others by name, and a call of the first to the output."""
    for name, called in calls.items():
        function = graph.library.function.add()
        function.signature.name = name
        for number, other in enumerate(called):
            node = function.node_def.add(name=f"n{number}", op="StatefulPartitionedCall")
            node.attr["f"].func.name = other
    call = graph.node.add(name="call", op="StatefulPartitionedCall")
    call.attr["f"].func.name = next(iter(calls))
    next(n for n in graph.node if n.name == "out").input.append("^call")


def _cycle(graph):
    graph.node.add(name="a", op="NoOp", input=["^b"])
    graph.node.add(name="b", op="NoOp", input=["^a"])
    next(n for n in graph.node if n.name == "out").input.append("^b")


def _splat(graph):
    node = graph.node.add(name="c", op="Const")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["value"].tensor.dtype = tf.float32.as_datatype_enum
    node.attr["value"].tensor.float_val.append(1)
    for _ in range(2):
        node.attr["value"].tensor.tensor_shape.dim.add(size=1 << 20)
    next(n for n in graph.node if n.name == "out").input.append("^c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: _functions(g, {"f": ["f"]}), "functions that call themselves: .*f"),
        (lambda g: _functions(g, {"f": ["g"], "g": ["h"], "h": ["f"]}), "functions that call them"),
        (
            lambda g: _functions(g, {f"f{i}": [f"f{i + 1}"] * 2 for i in range(60)} | {"f60": []}),
            r"has \d+ nodes, more than",
        ),
        (_cycle, "has a cycle of nodes: .*'a'"),
        (_splat, r"node c has a constant of shape \[1048576, 1048576\]"),
        (lambda g: g.node.add(name="n", op="While", input=["x"]), "holds the operation While"),
    ],
)
def test_graphs_without_an_end_are_refused(tmp_path, change, message):
    graph = _graph_of(lambda x: tf.reduce_mean(x, axis=[1, 2]))
    change(graph)
    if graph.node[-1].name == "n":
        next(n for n in graph.node if n.name == "out").input.append("^n")
    (tmp_path / "x.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(UserError, match=message) as error:
        OwnNetwork(str(tmp_path / "x.pb"))
    assert "\n" not in str(error.value)


def _all_memory(x):
    side = tf.cast(tf.reduce_max(x) * 0 + 200_000, tf.int32)
    return tf.reduce_mean(x, axis=[1, 2]) + tf.reduce_sum(tf.fill([side, side], 1.0))


def _all_time(x):
    side = tf.cast(tf.reduce_max(x) * 0 + 3000, tf.int32)
    y = tf.fill([side, side], 1.0)
    for _ in range(100):
        y = tf.matmul(y, y) * 1e-9
    return tf.reduce_mean(x, axis=[1, 2]) + tf.reduce_sum(y)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_all_memory, "does not run|crashed|memory"),
        (_all_time, "takes longer than the 1 s that are allowed"),
        (lambda x: tf.reshape(x, [-1, 5]), "does not run: .*reshape|shape"),
        (lambda x: tf.tile(tf.reduce_mean(x, axis=[1, 2]), [1, 20_000]), "at most 32768"),
        (lambda x: tf.reduce_mean(x, axis=[0, 1, 2])[tf.newaxis], "one vector an image"),
        (lambda x: x, "one vector an image"),
    ],
)
def test_what_graphs_do_when_they_run_stays_in_their_process(tmp_path, monkeypatch, build, message):
    (tmp_path / "x.pb").write_bytes(_graph_of(build).SerializeToString())
    if build is _all_time:
        monkeypatch.setattr(graph_process, "_TRIAL_SECONDS", 1)
    with pytest.raises(UserError, match=message) as error:
        run(OwnNetwork(str(tmp_path / "x.pb")), np.zeros([2, 3, 8, 8], "f4"))
    assert "\n" not in str(error.value)


def test_errors_of_later_images_come_out_as_they_were(tmp_path):
    """The trial goes well; a white picture makes another number of features."""

    def build(x):
        width = tf.cast(tf.reduce_max(x[0]) / 254.9, tf.int32) + 3
        return tf.tile(tf.reduce_mean(x, axis=[1, 2, 3])[:, tf.newaxis], tf.stack([1, width]))

    (tmp_path / "x.pb").write_bytes(
        _graph_of(lambda x: build(tf.minimum(x, 254))).SerializeToString()
    )
    (tmp_path / "y.pb").write_bytes(_graph_of(lambda x: build(x * 3)).SerializeToString())
    white = np.full([1, 3, 8, 8], 255, "f4")
    assert run(OwnNetwork(str(tmp_path / "x.pb")), white)["features"].shape == (1, 3)
    network = OwnNetwork(str(tmp_path / "y.pb"))
    with tflib.graph_session():
        x = tf.placeholder(tf.float32, [None, 3, 8, 8])
        features = network.build(x)["features"]
        with pytest.raises(UserError, match=r"^\S+y.pb gives other numbers"):
            with graph_process.user_errors():
                tflib.run(features, {x: white * 0})


def test_a_network_says_what_it_takes_and_gives(tmp_path):
    save_own(tmp_path / "shop.pb", [None, 3, 8, None], tf.uint8)
    text = OwnNetwork(str(tmp_path / "shop.pb")).contract
    assert text == (
        "shop takes image, [N, 3, H, W], size 8 × any, red, green, blue of 0 to 255, whole numbers "
        "(uint8); gives out:0"
    )
    save_own(tmp_path / "shop.pb", [None, 5000, 8, 3])
    with pytest.raises(UserError, match="sides of at most 4096"):
        OwnNetwork(str(tmp_path / "shop.pb"))


def test_files_that_wait_for_ever_are_not_opened(tmp_path):
    path = str(tmp_path / "x.pb")
    os.mkfifo(path)
    for reader in (OwnNetwork, Inception, Vgg16, lambda p: Lpips(p, None)):
        with pytest.raises(UserError, match="pipe or device"):
            reader(path)


def test_weights_that_claim_more_than_they_hold(tmp_path):
    path = str(tmp_path / "x.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lin0.npy", bytes(1 << 28))
        archive.writestr("lin1.npy", b"")
    with pytest.raises(UserError, match="cannot read"):
        Lpips(path, None)
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lin0.npy", header.getvalue())
    with pytest.raises(UserError, match=r"memory|cannot read"):
        Lpips(path, None)
    np.savez(path, lin0=np.array([{}], object))
    with pytest.raises(UserError, match="cannot read"):
        Lpips(path, None)
