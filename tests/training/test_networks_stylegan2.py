"""The networks and their layers, against the official numbers and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, layer_table
from tf_ops import layout
from training import random_streams
from training.architecture import layers, styles
from training.architecture.layers import Resampling, Weight
from training.architecture.normalization import minibatch_stddev_layer
from training.architecture.sizes import resolution_log2
from training.architecture.specs import ImagesSpec
from training.loss import path_lengths, r1_penalty
from training.networks_stylegan2 import BUILD_FUNCTIONS

RANDOM = np.random.default_rng(7)
GOLDEN = ("sg2_skip_resnet", "sg2_resnet_skip_cond3", "sg2_orig_orig")
G_ARGS = {
    "latent_size": 8,
    "dlatent_size": 8,
    "mapping_fmaps": 8,
    "mapping_layers": 2,
    "resolution": 16,
    "fmap_base": 64,
    "fmap_max": 8,
}
D_ARGS = {"resolution": 16, "fmap_base": 64, "fmap_max": 8}


def assert_close(actual, expected, tolerance=2e-5):
    """max|actual - expected| within the tolerance of golden/README.md."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def make_network(name, **kwargs):
    function = "G_main" if name.startswith("G") else "D_stylegan2"
    base = G_ARGS if name.startswith("G") else D_ARGS
    return Network(name, f"training.networks_stylegan2.{function}", **{**base, **kwargs})


# Parity with the official code


@pytest.fixture(scope="module", params=GOLDEN)
def official(request, golden):
    """Golden arrays, and our networks with the official weights, in a session of their own."""
    file = golden(f"{request.param}.npz")
    with tflib.graph_session(seed=1):
        networks = {}
        for name in ("G", "D"):
            function = "training.networks_stylegan2." + file.meta[f"{name}_func"]
            networks[name] = net = Network(name, function, **file.meta[name])
            values = {k[2:]: v for k, v in file.arrays.items() if k.startswith(name + "/")}
            assert set(values) == set(net.vars)
            tflib.set_vars({net.vars[k]: v for k, v in values.items()})
        yield file.arrays, networks["G"], networks["D"]


def golden_images(arrays):
    """(psi, cutoff, images) of every case of a golden file."""
    for name, images in arrays.items():
        if name.startswith("images_psi"):
            psi, cutoff = name.removeprefix("images_psi").split("_cut")
            yield float(psi), None if cutoff == "None" else int(cutoff), images


def test_images_and_dlatents(official):
    arrays, G, _ = official
    z, labels = arrays["z"], arrays["labels"]
    compared = 0
    for psi, cutoff, expected in golden_images(arrays):
        options = {"truncation_psi": psi, "truncation_cutoff": cutoff, "randomize_noise": False}
        assert_close(G.run(z, labels, **options), expected)
        compared += 1
    assert compared
    assert_close(G.components.mapping.run(z, labels), arrays["dlatents"])
    images = G.components.synthesis.run(arrays["dlatents"], randomize_noise=False)
    assert_close(images, arrays["images_from_dlatents"])


def norms(loss, network):
    """{local name: L2 norm of the gradient}; variables that the loss does not reach have 0."""
    names, variables = zip(*network.trainables.items(), strict=True)
    gradients = tf.gradients(loss, variables)
    nothing = tf.zeros([])
    values = tflib.run([nothing if g is None else tf.norm(g) for g in gradients])
    return dict(zip(names, values, strict=True))


def assert_norms(got, arrays, prefix):
    expected = {k.removeprefix(prefix): float(v) for k, v in arrays.items() if k.startswith(prefix)}
    assert expected
    allowance = 1e-6 * max(expected.values())
    for name, value in got.items():  # What the file leaves out has no gradient.
        reference = expected.pop(name, 0.0)
        assert abs(value - reference) <= 1e-3 * reference + allowance, name
    assert not expected


def test_scores_and_gradients_of_the_discriminator(official):
    arrays, _, D = official
    images, labels = arrays["D_images"], arrays["D_labels"]
    assert_close(D.run(images, labels), arrays["scores"])
    images = tf.constant(images)
    scores = D.get_output_for(images, tf.constant(labels), is_training=True)
    slope = tf.gradients(tf.reduce_sum(scores), [images])[0]
    penalty = r1_penalty(scores, images)
    got_slope, got_penalty = tflib.run([slope, penalty])
    assert_close(got_slope, arrays["dscore_dimage"])
    assert_close(got_penalty, arrays["r1_penalty"])
    assert_norms(norms(tf.reduce_sum(penalty), D), arrays, "dr1/")
    assert_norms(norms(tf.reduce_sum(tf.nn.softplus(scores)), D), arrays, "dsoftplus/")


def test_path_lengths_and_their_gradients(official):
    arrays, G, _ = official
    synthesis = G.components.synthesis
    dlatents = tf.constant(arrays["dlatents"])
    images = synthesis.get_output_for(dlatents, is_training=True, randomize_noise=False)
    lengths = path_lengths(images, dlatents, tf.constant(arrays["pl_noise"]))
    assert_close(tflib.run(lengths), arrays["pl_lengths"])
    assert_norms(norms(tf.reduce_sum(tf.square(lengths - 1)), synthesis), arrays, "dpl/")


def test_the_layout_of_gpus_gives_the_same_images(golden, session, monkeypatch):
    """Activations in NCHW, as on a GPU; on a CPU, oneDNN has these convolutions."""
    file = golden("sg2_skip_resnet.npz")
    arrays = file.arrays
    monkeypatch.setattr(layout, "internal_format", lambda: layout.NCHW)
    try:
        session.run(layout.conv2d(tf.zeros([1, 2, 4, 4]), tf.zeros([3, 3, 2, 2])))
    except tf.errors.OpError:
        pytest.skip("needs convolutions in NCHW, which TensorFlow does not have on this CPU")
    for name, check in (("G", golden_images), ("D", None)):
        net = Network(name, BUILD_FUNCTIONS[file.meta[f"{name}_func"]], **file.meta[name])
        net_values = {k[2:]: v for k, v in arrays.items() if k.startswith(name + "/")}
        tflib.set_vars({net.vars[k]: v for k, v in net_values.items()})
        if check is None:
            assert_close(net.run(arrays["D_images"], arrays["D_labels"]), arrays["scores"])
            continue
        for psi, cutoff, expected in golden_images(arrays):
            options = {"truncation_psi": psi, "truncation_cutoff": cutoff}
            images = net.run(arrays["z"], arrays["labels"], randomize_noise=False, **options)
            assert_close(images, expected)


WITHOUT_ONEDNN = """
import sys, numpy as np
from dnnlib import tflib
from training.snapshots import pickles
folder, out = sys.argv[1:]
arrays = np.load(folder + "/sg2_skip_resnet.npz")
with tflib.graph_session(seed=1) as session:
    import tensorflow.compat.v1 as tf
    from tf_ops import upfirdn_2d
    _, D, Gs = pickles.load(folder + "/sg2_skip_resnet.pkl")
    options = dict(truncation_psi=0.7, randomize_noise=False)
    images = Gs.run(arrays["z"], arrays["labels"], **options)
    x = tf.constant(arrays["D_images"])
    scores = D.get_output_for(x, tf.constant(arrays["D_labels"]))
    slope = tf.gradients(tf.reduce_sum(scores), [x])[0]
    # NCHW at the boundary of an op, which CPUs without oneDNN have no convolution for.
    golden = np.load(folder + "/tf_ops.npz")
    args = [tf.constant(golden["08/arg%d" % i]) for i in range(2)]
    y = upfirdn_2d.upsample_conv_2d(*args, k=[1, 3, 3, 1], data_format="NCHW")
    gradients = tf.gradients(y, args, grad_ys=tf.constant(golden["08/dy"]))
    slope, y, gradients = session.run([slope, y, gradients])
np.savez(out, images=images, slope=slope, y=y, dx=gradients[0], dw=gradients[1])
"""


def test_without_onednn(golden, run_script, tmp_path, golden_dir):
    """CPUs without oneDNN have no NCHW convolutions: ours must not need them."""
    env = {"TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    out = tmp_path / "out.npz"
    result = run_script(["-c", WITHOUT_ONEDNN, golden_dir, out], env=env)
    assert result.returncode == 0, result.stderr
    got, ops = np.load(out), golden("tf_ops.npz").arrays
    arrays = golden("sg2_skip_resnet.npz").arrays
    assert_close(got["images"], arrays["images_psi0.7_cutNone"])
    assert_close(got["slope"], arrays["dscore_dimage"])
    for ours, theirs in (("y", "y"), ("dx", "grad_arg0"), ("dw", "grad_arg1")):
        assert_close(got[ours], ops[f"08/{theirs}"])


# Layers against NumPy


def in_scope(function, x, **kwargs):
    """Runs a layer on NCHW numbers: (result NCHW, {variable name: value})."""
    x = tf.constant(x, tf.float32)
    with tf.variable_scope(None, "layer"):
        y = function(layers.to_internal(x), **kwargs)
    tflib.init_uninitialized_vars()
    variables = tf.global_variables(y.op.name.split("/")[0] + "/")
    for v in variables:  # Biases start at zero: give all of them something to do.
        tflib.set_vars({v: RANDOM.normal(size=v.shape.as_list())})
    values = {v.op.name.split("/")[-1]: tflib.run(v).astype(np.float64) for v in variables}
    return tflib.run(layers.to_images(y)), values


def correlate(x, w):
    """One image [C, H, W] with zeros around it, kernel [n, n, C, out]; explicit."""
    radius = w.shape[0] // 2
    padded = np.pad(x, [(0, 0), (radius, radius), (radius, radius)])
    y = np.zeros((w.shape[3], *x.shape[1:]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            window = padded[:, i : i + w.shape[0], j : j + w.shape[1]]
            y[:, i, j] = np.einsum("cij,ijco->o", window, w)
    return y


def modulated_convolution(x, **options):
    """The layer, and what is left of its demodulation."""
    return styles.demodulated(*styles.modulated_conv2d_layer(x, **options))


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_modulated_convolution_has_a_kernel_per_sample(session, kernel, demodulate):
    """StyleGAN2, equations 1 and 3."""
    x, w_latent = RANDOM.normal(size=(2, 3, 5, 4)), RANDOM.normal(size=(2, 6))
    latents = tf.constant(w_latent, tf.float32)
    y, values = in_scope(
        modulated_convolution,
        x,
        **{"y": latents, "fmaps": 4, "kernel": kernel, "demodulate": demodulate},
    )
    weight = values["weight"] / np.sqrt(kernel * kernel * 3)
    style = w_latent @ values["mod_weight"] / np.sqrt(6) + values["mod_bias"] + 1
    for n in range(2):
        own = weight * style[n][:, np.newaxis]
        if demodulate:
            own = own / np.sqrt((own**2).sum(axis=(0, 1, 2)) + 1e-8)
        assert_close(y[n], correlate(x[n], own))


@pytest.mark.parametrize("up", [True, False])
def test_modulation_with_resampling_commutes(session, up):
    """Scaling inputs and outputs around a resampled convolution equals scaling its kernel."""
    x, latents = (
        RANDOM.normal(size=(3, 2, 4, 4)),
        tf.constant(RANDOM.normal(size=(3, 5)), tf.float32),
    )
    resampling = Resampling(up, [1, 3, 3, 1])
    options = {"fmaps": 3, "kernel": 3, "resampling": resampling}
    y, values = in_scope(modulated_convolution, x, y=latents, **options)
    weight = values["weight"] / np.sqrt(3 * 3 * 2)
    style = tflib.run(latents) @ values["mod_weight"] / np.sqrt(5) + values["mod_bias"] + 1
    for n in range(3):
        own = weight * style[n][:, np.newaxis]
        own = own / np.sqrt((own**2).sum(axis=(0, 1, 2)) + 1e-8)
        image = layers.to_internal(tf.constant(x[n : n + 1], tf.float32))
        w = tf.constant(own, tf.float32)
        one = layers.resampled_conv(image, w, resampling)
        assert_close(y[n], tflib.run(layers.to_images(one))[0], 1e-4)


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize(("count", "group_size"), [(8, 4), (2, 4), (6, 3), (5, 1)])
def test_minibatch_stddev(session, count, group_size, features):
    x = RANDOM.normal(size=(count, 4, 2, 3))
    batch = tf.placeholder(tf.float32, [None, 4, 2, 3])
    y = minibatch_stddev_layer(layers.to_internal(batch), group_size, features)
    y = tflib.run(layers.to_images(y), {batch: x})
    group = min(group_size, count)
    groups = count // group
    expected = np.zeros((count, features, 2, 3))
    for n in range(count):
        members = x[n % groups :: groups]  # Every groups-th sample.
        for f in range(features):
            share = members[:, f * 4 // features : (f + 1) * 4 // features]
            expected[n, f] = np.sqrt(share.var(axis=0) + 1e-8).mean()
    np.testing.assert_array_equal(y[:, :4], x.astype(np.float32))
    assert_close(y[:, 4:], expected)


def test_dense_layer_flattens_channels_first(session):
    x = RANDOM.normal(size=(2, 3, 2, 2))
    internal = layers.to_internal(tf.constant(x, tf.float32))
    y = layers.dense_layer(internal, 5, Weight(lrmul=0.01))
    w = RANDOM.normal(size=(12, 5))
    (variable,) = tf.global_variables()
    tflib.set_vars({variable: w})
    assert_close(tflib.run(y), x.reshape(2, 12) @ w * (0.01 / np.sqrt(12)))


def test_equalized_learning_rate(session):
    """Variables have deviation 1/lrmul, and what the layer uses has 1/sqrt(fan-in)."""
    with tf.variable_scope("a"):
        used = layers.get_weight([3, 3, 50, 40], Weight(lrmul=0.1))
    with tf.variable_scope("b"):
        plain = layers.get_weight([3, 3, 50, 40], Weight(gain=2.0, use_wscale=False))
    tflib.init_uninitialized_vars()
    variable, used, plain = session.run([tf.global_variables()[0], used, plain])
    assert variable.std() == pytest.approx(10, rel=0.05)
    assert used.std() == pytest.approx(1 / np.sqrt(450), rel=0.05)
    assert plain.std() == pytest.approx(2 / np.sqrt(450), rel=0.05)


def test_feature_maps_and_resolutions():
    nf = ImagesSpec().fmaps
    assert [nf(stage) for stage in range(1, 10)] == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    assert ImagesSpec(fmap_base=64, fmap_min=20).fmaps(8) == 20
    assert [resolution_log2(r) for r in (4, 8, 1024)] == [2, 3, 10]
    for bad in (2, 0, -8, 48):
        with pytest.raises(UserError, match=f"resolution {bad}"):
            resolution_log2(bad)


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("G", {"latent_size": 1 << 20, "mapping_fmaps": 512}, "weights of 1048576×512 numbers"),
        ("D", {"fmap_base": 1 << 20, "fmap_max": 1 << 14}, "weights of 3×3×16384×16384 numbers"),
        ("D", {"resolution": 1 << 14, "fmap_base": 1 << 20}, "activations of "),
    ],
)
def test_layers_of_absurd_size(session, name, sizes, words):
    """Refused before a variable has values: these would take from 2 GiB to 32 GiB."""
    with pytest.raises(UserError) as error:
        make_network(name, **sizes)
    assert f"a layer has {words}" in str(error.value)
    assert "with a lower fmap_base, fmap_max, latent_size or resolution" in str(error.value)


def test_the_largest_layer(session):
    layers.get_weight([1 << 14, 1 << 14], layers.Weight(name="fits"))
    with pytest.raises(UserError, match="numbers, more than 268,435,456: "):
        layers.get_weight([1 << 14, (1 << 14) + 1])


def test_many_layers_that_are_too_large_together(session):
    """None of them is too large alone: 16 GiB in all."""
    with pytest.raises(UserError, match=r"network G_mapping has 4,\d{3},\d{3},\d{3} numbers in"):
        make_network("G", mapping_layers=256, mapping_fmaps=1 << 12)


def test_official_networks_are_not_too_large(session):
    """config-f at 1024×1024, whose sizes are the functions' own."""
    for function in ("G_main", "D_stylegan2"):
        net = Network("N", BUILD_FUNCTIONS[function], resolution=1024)
        assert 28e6 < layer_table.count_parameters(net.vars.values()) < 34e6


# The generator's own arithmetic


@pytest.mark.parametrize("label_size", [0, 3])
@pytest.mark.parametrize("normalize_latents", [True, False])
def test_mapping_network(session, normalize_latents, label_size):
    """In NumPy: the golden weights are so small that their dlatents hardly depend on z."""
    options = {"latent_size": 5, "dlatent_size": 4, "mapping_fmaps": 6, "mapping_layers": 3}
    options |= {"label_size": label_size, "normalize_latents": normalize_latents}
    mapping = Network("M", BUILD_FUNCTIONS["G_mapping"], dlatent_broadcast=2, **options)
    for name, var in mapping.vars.items():
        scale = 1 if name.startswith("LabelConcat") else 100  # 1 / mapping_lrmul
        mapping.set_var(name, RANDOM.normal(size=var.shape.as_list()) * scale)
    v = {name: mapping.get_var(name).astype(np.float64) for name in mapping.vars}
    z, labels = RANDOM.normal(size=(3, 5)) * 2, np.eye(3)[[2, 0, 1]][:, :label_size]
    x = np.concatenate([z, labels @ v["LabelConcat/weight"]], axis=1) if label_size else z
    if normalize_latents:
        x = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-8)
    for i in range(3):
        w, b = v[f"Dense{i}/weight"], v[f"Dense{i}/bias"]
        x = x @ w * (0.01 / np.sqrt(len(w))) + b * 0.01
        x = np.maximum(x, 0.2 * x) * np.sqrt(2)
    w = mapping.run(z, labels)
    assert_close(w, np.repeat(x[:, np.newaxis], 2, axis=1))


@pytest.fixture(scope="module")
def G():
    with tflib.graph_session(seed=2):
        net = make_network("G", resample_kernel=[1, 2, 1], num_channels=2)
        net.set_var("dlatent_avg", RANDOM.normal(size=8))
        yield net


def test_truncation(G):
    z = RANDOM.normal(size=(3, 8))
    w, mean = G.components.mapping.run(z, None), G.get_var("dlatent_avg")
    assert w.shape == (3, 6, 8)
    default_psi, some = np.full(6, 0.5), np.array([0.3, 0.3, 1, 1, 1, 1])
    for options, psi in (
        ({}, default_psi),
        ({"truncation_psi": 1}, np.ones(6)),
        ({"truncation_psi": None}, np.ones(6)),
        ({"truncation_psi": -0.5}, np.full(6, -0.5)),
        ({"truncation_psi": 0.3, "truncation_cutoff": 2}, some),
        ({"truncation_psi": 0.3, "truncation_cutoff": 0}, np.ones(6)),
        ({"is_validation": True}, np.ones(6)),
        ({"is_validation": True, "truncation_psi_val": 0.3, "truncation_cutoff_val": 2}, some),
    ):
        images, dlatents = G.run(z, None, return_dlatents=True, randomize_noise=False, **options)
        expected = mean + (w - mean) * psi[:, np.newaxis]
        assert_close(dlatents, expected)
        assert_close(images, G.components.synthesis.run(expected, randomize_noise=False), 1e-4)


def training_outputs(G, z, seed, **options):
    """(images, dlatents) while training, with random numbers from `seed`."""
    options = {"dlatent_avg_beta": None, "random_seed": seed, **options}
    z = tf.constant(z, tf.float32)
    return G.get_output_for(z, None, is_training=True, return_dlatents=True, **options)


def test_style_mixing(G):
    z = RANDOM.normal(size=(2, 8))
    w = G.components.mapping.run(z, None)
    seed = tf.placeholder(tf.int32, [2])
    _, mixed = training_outputs(G, z, seed, style_mixing_prob=0.5)
    other_z = random_streams.normal([2, 8], random_streams.stream(seed, "mixing_latents"))
    other = G.components.mapping.get_output_for(other_z, None)
    cutoffs = []
    for position in range(60):
        dlatents, replaced = tflib.run([mixed, other], {seed: [1, position]})
        from_first = np.isclose(dlatents, w, rtol=1e-4, atol=1e-5).all(axis=(0, 2))
        from_other = np.isclose(dlatents, replaced, rtol=1e-4, atol=1e-5).all(axis=(0, 2))
        cutoff = int(from_first.sum())
        # A first stretch of layers has w, the rest the other one.
        np.testing.assert_array_equal(from_first, np.arange(6) < cutoff)
        np.testing.assert_array_equal(from_other, np.arange(6) >= cutoff)
        cutoffs.append(cutoff)
    assert set(cutoffs) == {1, 2, 3, 4, 5, 6}  # At least one layer keeps w; 6: not mixed.
    assert 18 <= cutoffs.count(6) <= 42  # Half of 60; four standard deviations either way.


def test_style_mixing_can_be_off(G):
    z = RANDOM.normal(size=(2, 8))
    w = G.components.mapping.run(z, None)
    for off in (None, 0):
        _, dlatents = training_outputs(G, z, tf.constant([1, 2]), style_mixing_prob=off)
        np.testing.assert_allclose(tflib.run(dlatents), w, rtol=1e-5, atol=1e-6)


def test_training_moves_the_mean_of_w(session):
    G = make_network("G")
    before = RANDOM.normal(size=8).astype(np.float32)
    G.set_var("dlatent_avg", before)
    z = RANDOM.normal(size=(4, 8))
    batch_mean = G.components.mapping.run(z, None)[:, 0].mean(axis=0)
    options = {"dlatent_avg_beta": 0.9, "style_mixing_prob": 0.9}
    _images, dlatents = training_outputs(G, z, tf.constant([0, 1]), **options)
    tflib.run(dlatents)
    after = batch_mean + (before - batch_mean) * 0.9
    np.testing.assert_allclose(G.get_var("dlatent_avg"), after, rtol=1e-5, atol=1e-7)
    tflib.run(training_outputs(G, z, tf.constant([0, 1]))[0])  # beta None
    G.run(z, None)  # not training
    np.testing.assert_allclose(G.get_var("dlatent_avg"), after, rtol=1e-5, atol=1e-7)


def test_noise(G):
    """Strength times one standard normal image a sample, the same for all feature maps."""
    synthesis = G.components.synthesis
    strengths = [n for n in synthesis.vars if n.endswith("noise_strength")]
    assert len(strengths) == 5
    w = np.repeat(RANDOM.normal(size=(1, 6, 8)), 2, axis=0)
    quiet = synthesis.run(w)
    np.testing.assert_array_equal(quiet, synthesis.run(w, randomize_noise=False))
    try:
        for name in strengths:
            synthesis.set_var(name, 1.0)
        fixed = synthesis.run(w, randomize_noise=False)
        # The variables serve all samples, whose sums some processors add up in another order.
        np.testing.assert_allclose(fixed[0], fixed[1], rtol=1e-5, atol=1e-5)
        assert np.abs(fixed - quiet).max() > 1e-3
        fresh = synthesis.run(w)
        assert np.abs(fresh[0] - fresh[1]).max() > 1e-3  # Every sample has noise of its own …
        assert np.abs(fresh - synthesis.run(w)).max() > 1e-3  # … and so has every run.
    finally:
        for name in strengths:
            synthesis.set_var(name, 0.0)


def test_random_streams(session):
    """A function of (seed, position, use): the same again, others for any difference."""
    place = tf.placeholder(tf.int32, [2])
    uses = [
        random_streams.normal([4], random_streams.stream(place, name, index))
        for name in ("latents", "noise", "G_loss")
        for index in (0, 1)
    ]
    nested = random_streams.stream(random_streams.stream(place, "G_reg"), "latents")
    uses.append(random_streams.normal([4], nested))
    drawn = [
        tuple(row) for seed in ([1, 0], [1, 32], [2, 0]) for row in session.run(uses, {place: seed})
    ]
    assert len(set(drawn)) == 3 * 7
    np.testing.assert_array_equal(
        session.run(uses, {place: [1, 32]}), session.run(uses, {place: [1, 32]})
    )
    whole = random_streams.uniform([1000], place, maxval=5, dtype=tf.int32)
    assert set(session.run(whole, {place: [3, 4]})) == {0, 1, 2, 3, 4}
    fresh = random_streams.normal([3], None)
    assert not np.array_equal(session.run(fresh), session.run(fresh))
    with pytest.raises(ValueError):
        random_streams.stream(place, "unknown")


def test_numbers_of_a_stream_never_change(session):
    """Resuming relies on them: a release that changes them breaks every run in progress."""
    seed = random_streams.stream(tf.constant([1000, 64]), "latents", 2)
    numbers = session.run(random_streams.normal([3], seed))
    np.testing.assert_allclose(numbers, [-1.2560052, 0.7054401, 0.366191], rtol=1e-5)


def test_training_is_a_function_of_the_seed(G):
    for name in G.vars:
        if name.endswith("noise_strength"):
            G.set_var(name, 0.5)
    z = RANDOM.normal(size=(2, 8))
    seed = tf.placeholder(tf.int32, [2])
    images, _ = training_outputs(G, z, seed)
    first, again, other, other_run = (
        tflib.run(images, {seed: s}) for s in ([1, 0], [1, 0], [1, 2], [2, 0])
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - other_run).max() > 1e-3


def test_labels_choose_the_score(session):
    """One output a class, of which the label picks its own (projection)."""
    D = make_network("D", label_size=3)
    images = RANDOM.normal(size=(1, 3, 16, 16)).repeat(3, axis=0)
    bias = np.array([10.0, 20.0, 30.0])
    before = D.run(images, np.eye(3), minibatch_size=1)
    D.set_var("Output/bias", bias)
    after = D.run(images, np.eye(3), minibatch_size=1)
    assert_close(after[:, 0] - before[:, 0], bias)
    assert not D.run(images, np.zeros((3, 3))).any()


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
@pytest.mark.parametrize("resolution", [4, 8])
def test_every_architecture_builds_small(session, architecture, resolution):
    options = {"architecture": architecture, "resolution": resolution}
    G, D = make_network("G", **options), make_network("D", **options, mbstd_group_size=2)
    assert G.output_shape == [None, 3, resolution, resolution]
    scores = D.run(G.run(RANDOM.normal(size=(2, 8)), None), None)
    assert scores.shape == (2, 1)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("G", {"mbstd_group_size": 4}, "mbstd_group_size"),
        ("G", {"truncation_pis": 0.7}, "truncation_pis"),
        ("D", {"latent_size": 8}, "latent_size"),
        ("G", {"architecture": "unet"}, "'unet'.*orig, skip, resnet"),
        ("D", {"architecture": "unet"}, "'unet'.*orig, skip, resnet"),
        ("G", {"resolution": 24}, "resolution 24"),
        ("G", {"mapping_func": "os.system"}, "'os.system'.*G_mapping"),
        ("D", {"dtype": "float16"}, "float16"),
        ("D", {"nonlinearity": "gelu"}, "'gelu'.*lrelu"),
    ],
)
def test_bad_keyword_arguments_are_named(session, kind, kwargs, message):
    with pytest.raises(UserError, match=message):
        make_network(kind, **kwargs)


def test_a_keyword_that_is_wrong_only_when_running(G):
    with pytest.raises(UserError, match="trunc_psi"):
        G.run(np.zeros((1, 8)), None, trunc_psi=0.5)
