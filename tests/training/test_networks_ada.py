"""The networks of ADA, against the official numbers and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import (
    assert_close,
    check_networks,
    give_random_values,
    official_networks,
)

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from tf_ops import layout
from training import networks, networks_stylegan2
from training.architecture import layers, precision, styles

RANDOM = np.random.default_rng(11)
G_ARGS = {"latent_size": 6, "dlatent_size": 5, "mapping_layers": 2}
SIZES = {"resolution": 8, "fmap_base": 64, "fmap_max": 8}
LABELS = np.eye(3)[[0, 2, 1, 2]]


def make_G(**kwargs):
    net = Network("G", "training.networks.G_main", **{**G_ARGS, **SIZES, **kwargs})
    give_random_values(net)
    return net


def make_D(**kwargs):
    net = Network("D", "training.networks.D_main", **{**SIZES, **kwargs})
    give_random_values(net)
    return net


def values_of(net):
    return {name: net.get_var(name).astype(np.float64) for name in net.vars}


def dense(x, v, scope, act=False, lrmul=1.0):
    """Fully connected layer at equalized learning rate; `act`: leaky ReLU with its gain."""
    w = v[f"{scope}/weight"]
    x = x @ w * (lrmul / np.sqrt(len(w))) + v[f"{scope}/bias"] * lrmul
    return np.where(x < 0, 0.2 * x, x) * np.sqrt(2) if act else x


def normalize(x):
    return x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-8)


def test_parity_with_the_official_code(session, golden):
    file = golden("ada_cond3_clamp.npz")
    G, D = official_networks(file, "training.networks")
    check_networks(file.arrays, G, D)


# Labels


@pytest.mark.parametrize("label_fmaps", [None, 7])
@pytest.mark.parametrize("mapping_fmaps", [None, 9])
@pytest.mark.parametrize("normalized", [True, False])
def test_labels_are_embedded_beside_z(session, label_fmaps, mapping_fmaps, normalized):
    options = {"label_fmaps": label_fmaps, "mapping_fmaps": mapping_fmaps, "mapping_lrmul": 0.5}
    mapping = Network(
        "mapping",
        "training.networks.G_mapping",
        **{**G_ARGS, **options, "normalize_latents": normalized, "label_size": 3},
        dlatent_broadcast=2,
    )
    give_random_values(mapping)
    z, v = RANDOM.normal(size=(4, 6)) * 3, values_of(mapping)
    assert v["LabelEmbed/weight"].shape == (3, label_fmaps or 6)
    assert v["Dense0/weight"].shape == (6 + (label_fmaps or 6), mapping_fmaps or 5)
    parts = [z, dense(LABELS, v, "LabelEmbed")]
    x = np.concatenate([normalize(p) if normalized else p for p in parts], axis=1)
    for i in range(2):
        x = dense(x, v, f"Dense{i}", act=True, lrmul=0.5)
    assert_close(mapping.run(z, LABELS), np.stack([x, x], axis=1))


def test_no_labels_no_embedding(session):
    G, D = make_G(), make_D(mapping_layers=2)
    scopes = {name.split("/")[-2] for name in [*G.vars, *D.vars] if "/" in name}
    assert not [s for s in scopes if "Label" in s or s.startswith("Mapping")]
    assert D.vars["Output/weight"].shape.as_list() == [8, 1]
    v = values_of(G.components.mapping)
    z = RANDOM.normal(size=(4, 6))
    x = dense(dense(normalize(z), v, "Dense0", True, 0.01), v, "Dense1", True, 0.01)
    assert_close(G.components.mapping.run(z, None)[:, 0], x)


@pytest.mark.parametrize("mapping_layers", [0, 2])
@pytest.mark.parametrize("mapping_fmaps", [None, 5])
def test_scores_are_projected_onto_the_mapped_label(session, mapping_layers, mapping_fmaps):
    D = make_D(label_size=3, mapping_layers=mapping_layers, mapping_fmaps=mapping_fmaps)
    v, images = values_of(D), RANDOM.normal(size=(4, 3, 8, 8))
    m = normalize(dense(LABELS, v, "LabelEmbed"))
    for i in range(mapping_layers):
        m = dense(m, v, f"Mapping{i}", act=True, lrmul=0.1)
    fmaps = mapping_fmaps or 8
    assert v["Output/weight"].shape == (8, fmaps)
    assert m.shape == (4, fmaps)
    # Features before the output layer: scores of the same network without labels, whose output
    # layer picks one of them after the other.
    plain, features = make_D(), []
    shared = {name: v[name] for name in plain.vars if not name.startswith("Output/")}
    tflib.set_vars({plain.vars[name]: value for name, value in shared.items()})
    plain.set_var("Output/bias", np.zeros(1))
    for i in range(8):
        plain.set_var("Output/weight", np.eye(8)[:, i : i + 1] * np.sqrt(8))
        features.append(plain.run(images, None)[:, 0])
    projected = dense(np.stack(features, axis=1), v, "Output")
    expected = (projected * m).sum(axis=1, keepdims=True) / np.sqrt(fmaps)
    assert_close(D.run(images, LABELS), expected, 1e-4)


# Clamp


def test_clamped_activations(session):
    x = RANDOM.normal(size=(2, 3, 4, 4)) * 3
    internal = layers.to_internal(tf.constant(x, tf.float32))
    y = layers.to_images(layers.apply_bias_act(internal, "lrelu", clamp=1.5))
    b = np.array([1.0, -2.0, 0.5])
    tflib.set_vars({tf.global_variables()[0]: b})
    x = x + b[:, np.newaxis, np.newaxis]
    assert_close(tflib.run(y), np.clip(np.where(x < 0, 0.2 * x, x) * np.sqrt(2), -1.5, 1.5))


def test_images_are_sums_of_clamped_ones(session):
    w = RANDOM.normal(size=(2, 4, 5))
    options = {"randomize_noise": False}
    for architecture, limit in (("orig", 0.25), ("resnet", 0.25), ("skip", 0.5)):
        synthesis = make_G(architecture=architecture, conv_clamp=0.25).components.synthesis
        images = synthesis.run(w, **options)
        free = synthesis.run(w, conv_clamp=None, **options)
        assert np.abs(images).max() <= limit + 1e-6
        assert np.abs(free).max() > limit
        assert_close(synthesis.run(w, conv_clamp=1e6, **options), free)


# Synthesis


def test_constant_and_noise_are_optional(session):
    G = make_G(use_noise=False, fmap_const=3)
    synthesis = G.components.synthesis
    assert synthesis.vars["4x4/Const/const"].shape.as_list() == [1, 3, 4, 4]
    assert synthesis.vars["4x4/Conv/weight"].shape.as_list() == [3, 3, 3, 8]
    assert not [name for name in G.vars if "noise" in name]
    z = RANDOM.normal(size=(2, 6))
    np.testing.assert_array_equal(G.run(z, None), G.run(z, None))
    default = make_G()
    assert default.components.synthesis.vars["4x4/Const/const"].shape.as_list() == [1, 8, 4, 4]
    assert len([name for name in default.vars if "noise_strength" in name]) == 3


def test_the_same_images_as_stylegan2(session):
    """One set of layers: without what ADA adds, both modules compute the same."""
    kwargs = {**G_ARGS, **SIZES, "mapping_fmaps": 5, "num_channels": 1}
    G = Network("G", networks.G_main, **kwargs)
    old = Network("G", networks_stylegan2.G_main, **kwargs)
    give_random_values(G)
    assert set(old.vars) - set(G.vars) == {"lod"}
    assert list(old.vars)[1:] == list(G.vars)
    old.copy_vars_from(G)
    z, options = RANDOM.normal(size=(2, 6)), {"randomize_noise": False}
    np.testing.assert_array_equal(G.run(z, None, **options), old.run(z, None, **options))


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
@pytest.mark.parametrize(("resolution", "num_channels"), [(4, 3), (16, 1)])
def test_other_sizes(session, architecture, resolution, num_channels):
    options = {"resolution": resolution, "num_channels": num_channels, "label_size": 3}
    G, D = make_G(**options, architecture=architecture), make_D(**options, architecture="skip")
    images = G.run(RANDOM.normal(size=(4, 6)), LABELS)
    assert images.shape == (4, num_channels, resolution, resolution)
    assert np.isfinite(D.run(images, LABELS)).all()


# Discriminator


def test_groups_of_the_minibatch_standard_deviation(session):
    images = RANDOM.normal(size=(6, 3, 8, 8))
    D = make_D()
    np.testing.assert_array_equal(D.run(images, None), D.run(images, None, mbstd_group_size=6))
    assert np.abs(D.run(images, None) - D.run(images, None, mbstd_group_size=3)).max() > 1e-6
    without = make_D(mbstd_num_features=0)
    assert without.vars["4x4/Conv/weight"].shape.as_list() == [3, 3, 8, 8]
    halves = [without.run(images[i : i + 3], None) for i in (0, 3)]
    assert_close(without.run(images, None), np.concatenate(halves))


def test_frozen_layers(session):
    names = [f"16x16/{layer}" for layer in ("FromRGB", "Conv0", "Conv1_down", "Skip")]
    names += [f"8x8/{layer}" for layer in ("Conv0", "Conv1_down", "Skip")]
    for count in (0, 1, 3, 5, 7, 10):
        D = Network("D", networks.D_main, **{**SIZES, "resolution": 16}, freeze_layers=count)
        frozen = {name.rpartition("/")[0] for name in D.vars if name not in D.trainables}
        assert frozen == set(names[:count])


# Mixed precision


def test_cpus_compute_in_float32(session):
    if layout.has_float16():
        pytest.skip("needs a machine without GPU")
    G, D = make_G(), make_D()
    z, options = RANDOM.normal(size=(4, 6)), {"randomize_noise": False}
    images = G.run(z, None, **options)
    np.testing.assert_array_equal(G.run(z, None, num_fp16_res=2, **options), images)
    np.testing.assert_array_equal(
        D.run(images, None, num_fp16_res=2), D.run(images, None, num_fp16_res=0)
    )


@pytest.fixture
def float16(session, monkeypatch):
    """Half precision, as on GPUs, where this machine has the convolutions for it."""
    monkeypatch.setattr(layout, "has_float16", lambda: True)
    try:
        x, w = tf.zeros([1, 4, 4, 2], tf.float16), tf.zeros([3, 3, 2, 2], tf.float16)
        y = layout.conv2d(x, w, data_format=layout.internal_format())
        session.run(tf.gradients(y, [x, w]))
    except tf.errors.OpError:
        pytest.skip("needs convolutions in float16, which TensorFlow does not have here")


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_the_highest_resolutions_in_float16(float16, architecture):
    kwargs = {"architecture": architecture, "resolution": 16, "conv_clamp": 256}
    G, D = make_G(**kwargs), make_D(**kwargs)
    z, options = RANDOM.normal(size=(4, 6)), {"randomize_noise": False}
    images = G.run(z, None, **options)
    half = G.run(z, None, num_fp16_res=1, **options)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - images).max() < 0.01 * np.abs(images).max()
    images = RANDOM.normal(size=(4, 3, 16, 16))
    scores = D.run(images, None)
    for count in (1, 9):
        half = D.run(images, None, num_fp16_res=count)
        assert 0 < np.abs(half - scores).max() < 0.01 * np.abs(scores).max()
    # Rounding moves values across the kink of the leaky ReLU, where slopes jump: none here. The
    # slopes of these scores are so small that float16 would hold few of their digits: scaled.
    x, slopes = tf.constant(images, tf.float32), []
    for count in (9, 0):
        score = D.get_output_for(x, None, num_fp16_res=count, nonlinearity="linear")
        slopes += tf.gradients(score * 1000, [x])
    assert_close(*tflib.run(slopes), 0.02)


def test_which_resolutions_are_in_float16(monkeypatch):
    monkeypatch.setattr(layout, "has_float16", lambda: True)
    for count, expected in ((0, []), (1, [5]), (3, [3, 4, 5]), (9, [3, 4, 5])):
        dtypes = {stage: precision.activation_dtype(stage, 5, count) for stage in range(2, 6)}
        assert [stage for stage, dtype in dtypes.items() if dtype == tf.float16] == expected


def test_large_weights_and_styles_do_not_overflow(float16):
    """Kernels and styles are scaled before float16 could not hold their product."""
    x = np.clip(RANDOM.normal(size=(2, 8, 4, 4)) * 100, -256, 256)
    w = RANDOM.normal(size=(2, 5)).astype(np.float32)
    outputs = []
    for dtype in (tf.float32, tf.float16):
        with tf.variable_scope("layer", reuse=tf.AUTO_REUSE):
            internal = layers.to_internal(tf.constant(x, dtype))
            y, scale = styles.modulated_conv2d_layer(internal, tf.constant(w), 8, 3)
            outputs.append(y * layers.per_channel(scale, dtype))
    for variable in tf.global_variables():
        values = RANDOM.normal(size=variable.shape.as_list())
        tflib.set_vars({variable: values * (1 if variable.op.name.endswith("bias") else 1e4)})
    expected, half = tflib.run(outputs)
    assert half.dtype == np.float16
    assert_close(half.astype(np.float32), expected, 0.01)


# Keyword arguments


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [
        (make_G, {"mbstd_group_size": 4}, "mbstd_group_size"),
        (make_G, {"mapping_fmap": 4}, "mapping_fmap"),
        (make_G, {"synthesis_func": "G_synthesis_stylegan2"}, "'G_synthesis_stylegan2'.*D_main"),
        (make_G, {"architecture": "unet"}, "'unet'.*orig, skip, resnet"),
        (make_D, {"label_fmaps": 4}, "label_fmaps"),
        (make_D, {"conv_clam": 1}, "conv_clam"),
        (make_D, {"dtype": "float16"}, "float16"),
    ],
)
def test_bad_keyword_arguments_are_named(session, make, kwargs, message):
    with pytest.raises(UserError, match=message):
        make(**kwargs)


def test_a_component_rejects_what_no_function_has(session):
    G = make_G()
    with pytest.raises(UserError, match="conv_clam"):
        G.components.synthesis.run(np.zeros((1, 4, 5)), conv_clam=1)
    with pytest.raises(UserError, match="label_fmap'"):
        G.components.mapping.run(np.zeros((1, 6)), None, label_fmap=1)
