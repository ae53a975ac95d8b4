"""Configuration A: against the official numbers and against NumPy."""

from __future__ import annotations

import golden_checks
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import assert_close

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training import random_streams
from training.architecture import layers, normalization, stylegan, styles
from training.architecture.layers import Resampling, Weight, to_images, to_internal
from training.snapshots import pickles

RANDOM = np.random.default_rng(12)
MODULE = "training.networks_stylegan"
SHAPE = {"resolution": 16, "fmap_base": 48, "fmap_max": 6}
STYLE = {"latent_size": 5, "dlatent_size": 5, "mapping_fmaps": 5, "mapping_layers": 1}


def make_G(**kwargs):
    G = Network("G", f"{MODULE}.G_style", **{**STYLE, **SHAPE, **kwargs})
    golden_checks.give_random_values(G)
    return G


def make_D(**kwargs):
    D = Network("D", f"{MODULE}.D_basic", **{"num_channels": 3, **SHAPE, **kwargs})
    golden_checks.give_random_values(D)
    return D


def test_parity_with_the_official_code(session, golden):
    file = golden("sg1_config_a_lod0.4.npz")
    G, D = golden_checks.official_networks(file, MODULE)
    golden_checks.check_networks(file.arrays, G, D)


# Layers


def run_layer(function, x, **kwargs):
    """Runs a layer on NCHW numbers with random variables: (result NCHW, {name: value})."""
    with tf.variable_scope(None, "layer"):
        y = to_images(function(to_internal(tf.constant(x, tf.float32)), **kwargs))
    variables = {v.op.name.split("/")[-1]: v for v in tf.global_variables()}
    values = {name: RANDOM.normal(size=v.shape.as_list()) for name, v in variables.items()}
    tflib.set_vars({variables[name]: value for name, value in values.items()})
    return tflib.run(y), values


def convolve(x, w):
    """Sum over the window of a pixel; zeros around the image. [N, C, H, W], [n, n, C, out]."""
    n = len(w)
    before = (n - 1) // 2
    padded = np.pad(x, [(0, 0), (0, 0), *[(before, n - 1 - before)] * 2])
    shifts = [(i, j) for i in range(n) for j in range(n)]
    height, width = x.shape[2:]
    return sum(
        np.einsum("nchw,co->nohw", padded[:, :, i : i + height, j : j + width], w[i, j])
        for i, j in shifts
    )


def test_instance_norm(session):
    x = RANDOM.normal(size=(2, 3, 4, 5)) * 3 + 1
    y, _ = run_layer(normalization.instance_norm, x)
    mean = x.mean(axis=(2, 3), keepdims=True)
    assert_close(y, (x - mean) / np.sqrt(x.var(axis=(2, 3), keepdims=True) + 1e-8))


def test_style_modulation(session):
    """StyleGAN, equation 1: the first half of the style scales, the second shifts."""
    x, w = RANDOM.normal(size=(2, 3, 4, 4)), RANDOM.normal(size=(2, 5))
    y, values = run_layer(styles.style_mod_layer, x, y=tf.constant(w, tf.float32), weight=Weight())
    style = w @ values["weight"] / np.sqrt(5) + values["bias"]
    scale, shift = style[:, :3, None, None], style[:, 3:, None, None]
    assert_close(y, x * (scale + 1) + shift)


def test_noise_has_a_strength_per_channel(session):
    x, noise = RANDOM.normal(size=(2, 3, 4, 4)), RANDOM.normal(size=(2, 1, 4, 4))
    internal = to_internal(tf.constant(noise, tf.float32))
    y, values = run_layer(styles.noise_layer, x, noise=internal)
    assert_close(y, x + noise * values["weight"][:, None, None])


@pytest.mark.parametrize("taps", [[1, 2, 1], [1, 2, 4], [1, 3], [1, 3, 2, 4, 1]])
def test_blur(session, taps):
    x = RANDOM.normal(size=(2, 3, 6, 7))
    y, _ = run_layer(stylegan.blur, x, blur_filter=taps)
    kernel = np.outer(taps, taps) / np.sum(taps) ** 2
    assert_close(y, convolve(x, np.einsum("ij,co->ijco", kernel, np.eye(3))))


def scatter(x, w):
    """Official merged form: every pixel, repeated 2×2, adds the kernel to its surroundings."""
    repeated = np.kron(x, np.ones((2, 2)))
    n, _, height, width = repeated.shape
    y = np.zeros((n, w.shape[3], height + 2, width + 2))
    for i in range(height):
        for j in range(width):
            y[:, :, i : i + 3, j : j + 3] += np.einsum("nc,ijco->noij", repeated[:, :, i, j], w)
    return y[:, :, 1:-1, 1:-1]


def test_upsampling_convolutions(session):
    """Apart, a convolution gathers; merged, it scatters, so that its kernel is mirrored."""
    options = {"fmaps": 4, "kernel": 3, "weight": Weight(gain=2.0, use_wscale=True)}
    for fused, function, size in (
        (False, lambda x, w: convolve(np.kron(x, np.ones((2, 2))), w), 4),
        (True, scatter, 4),
        ("auto", lambda x, w: convolve(np.kron(x, np.ones((2, 2))), w), 32),
        ("auto", scatter, 64),  # To 128 pixels and more.
    ):
        x = RANDOM.normal(size=(2, 3, size, size))
        with tf.Graph().as_default(), tflib.create_session().as_default():
            y, values = run_layer(stylegan.up_conv, x, fused_scale=fused, **options)
        assert_close(y, function(x, values["weight"] * 2 / np.sqrt(27)))


def test_downsampling_convolution(session):
    """A convolution, then averages of 2×2 pixels."""
    x = RANDOM.normal(size=(2, 3, 6, 8))
    options = {"fmaps": 4, "kernel": 3, "resampling": Resampling(up=False)}
    y, values = run_layer(layers.conv2d_layer, x, **options)
    full = convolve(x, values["weight"] / np.sqrt(27))
    assert_close(y, full.reshape(2, 4, 3, 2, 4, 2).mean(axis=(3, 5)))


def test_mapping_puts_the_gain_into_weights(session):
    """The bias is added after √2, unlike StyleGAN2, where the activation multiplies it too."""
    G = make_G(label_size=2)
    z, labels = RANDOM.normal(size=(3, 5)), np.eye(2)[[0, 1, 1]]
    mapping = G.components.mapping
    embedding, w, b = (
        mapping.get_var(n) for n in ("LabelConcat/weight", "Dense0/weight", "Dense0/bias")
    )
    x = np.concatenate([z, labels @ embedding], axis=1)
    x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)
    y = x @ w * 0.01 * np.sqrt(2 / 10) + b * 0.01
    expected = np.where(y < 0, y * 0.2, y)
    assert_close(mapping.run(z, labels), np.repeat(expected[:, np.newaxis], 6, axis=1))


# Networks


def test_structures_agree_to_the_second_derivative(session):
    synthesis, D = make_G(resolution=8).components.synthesis, make_D(resolution=8)
    w, images = RANDOM.normal(size=(4, 4, 5)), RANDOM.normal(size=(4, 3, 8, 8))
    inputs = w, images, np.zeros((4, 0))
    golden_checks.check_structures_agree(synthesis, D, inputs, lods=(0, 0.4, 1), tolerance=1e-3)


def test_images_fade_linearly(session):
    G = make_G()
    z = RANDOM.normal(size=(2, 5))
    images = {}
    for lod in (0, 0.4, 1, 2):
        G.set_var("lod", lod)  # The synthesis network's own follows.
        images[lod] = G.run(z, None, randomize_noise=False)
    assert_close(images[0.4], images[0] * 0.6 + images[1] * 0.4)
    assert not np.ptp(images[2].reshape(2, 3, 4, 4, 4, 4), axis=(3, 5)).any()


def test_truncation(session):
    G = make_G(structure="fixed")
    z = RANDOM.normal(size=(3, 5))
    w, mean = G.components.mapping.run(z, None), G.get_var("dlatent_avg")
    some = np.array([0.7, 0.7, 1, 1, 1, 1])
    for options, psi in (
        ({}, np.full(6, 0.7)),
        ({"truncation_psi": None}, np.ones(6)),
        ({"truncation_cutoff": None}, np.ones(6)),
        ({"truncation_cutoff": 2}, some),
        ({"truncation_cutoff": 0}, np.ones(6)),
        ({"is_validation": True}, np.ones(6)),
        ({"is_validation": True, "truncation_psi_val": 0.7}, np.ones(6)),
        ({"is_validation": True, "truncation_psi_val": 0.7, "truncation_cutoff_val": 2}, some),
    ):
        _images, dlatents = G.run(z, None, return_dlatents=True, **options)
        assert_close(dlatents, mean + (w - mean) * psi[:, np.newaxis])


def test_styles_mix_among_active_layers_only(session):
    G = make_G()
    z = RANDOM.normal(size=(2, 5))
    w = G.components.mapping.run(z, None)
    seed = tf.placeholder(tf.int32, [2])
    _images, mixed = G.get_output_for(
        tf.constant(z, tf.float32),
        None,
        is_training=True,
        return_dlatents=True,
        style_mixing_prob=0.5,
        random_seed=seed,
    )
    other_z = random_streams.normal([2, 5], random_streams.stream(seed, "mixing_latents"))
    other = G.components.mapping.get_output_for(other_z, None)
    for lod, possible in ((0, {1, 2, 3, 4, 5, 6}), (0.9, {1, 2, 3, 4, 5, 6}), (2, {1, 6})):
        golden_checks.set_lod(G, lod)
        cutoffs = set()
        for position in range(40):
            dlatents, replaced = tflib.run([mixed, other], {seed: [1, position]})
            kept = np.isclose(dlatents, w, rtol=1e-4, atol=1e-5).all(axis=(0, 2))
            taken = np.isclose(dlatents, replaced, rtol=1e-4, atol=1e-5).all(axis=(0, 2))
            np.testing.assert_array_equal(kept, ~taken)
            cutoffs.add(int(kept.sum()))
        assert cutoffs == possible


def test_training_is_a_function_of_the_seed(session):
    G = make_G()
    seed = tf.placeholder(tf.int32, [2])
    z = tf.constant(RANDOM.normal(size=(2, 5)), tf.float32)
    images = G.get_output_for(z, None, is_training=True, random_seed=seed)
    first, again, other = (tflib.run(images, {seed: s}) for s in ([1, 0], [1, 0], [1, 2]))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize(
    ("G_options", "D_options"),
    [
        ({"num_channels": 1}, {"num_channels": 1, "mbstd_group_size": 2}),
        ({"use_styles": False, "use_instance_norm": False}, {"mbstd_group_size": 0}),
        ({"const_input_layer": False, "use_pixel_norm": True}, {"mbstd_num_features": 2}),
        ({"use_noise": False, "blur_filter": None}, {"blur_filter": None}),
        ({"use_wscale": False, "nonlinearity": "relu"}, {"use_wscale": False}),
        ({"resolution": 4}, {"resolution": 4, "nonlinearity": "relu"}),
        ({"structure": "fixed", "fused_scale": True}, {"structure": "recursive"}),
    ],
)
def test_every_option_with_labels(session, G_options, D_options):
    small = {"resolution": 8, "label_size": 3}
    G, D = make_G(**{**small, **G_options}), make_D(**{**small, **D_options})
    names = " ".join(G.vars)
    assert ("StyleMod" in names) == G_options.get("use_styles", True)
    assert ("noise0" in names) == G_options.get("use_noise", True)
    assert ("4x4/Dense/weight" in names) != G_options.get("const_input_layer", True)
    labels = np.eye(3)[[0, 1, 2, 0]]
    images = G.run(RANDOM.normal(size=(4, 5)), labels, is_training=True)
    scores, slope, *gradients = tflib.run(golden_checks.outputs_and_gradients(D, images, labels))
    assert scores.shape == (4, 1)
    for value in (images, scores, slope, *gradients):
        assert np.isfinite(value).all()
    assert slope.any()
    # The label picks one of the outputs.
    before = D.run(images, labels)
    D.set_var("4x4/Dense1/bias", D.get_var("4x4/Dense1/bias") + np.array([1, 2, 3]))
    np.testing.assert_allclose(D.run(images, labels) - before, [[1], [2], [3], [1]], atol=1e-3)


def test_pixel_norm(session):
    """Feature vectors have a mean square of one before they are modulated."""
    G = make_G(use_pixel_norm=True, use_instance_norm=False, use_styles=False, resolution=4)
    synthesis = G.components.synthesis
    torgb = np.zeros((1, 1, 6, 3))
    torgb[0, 0, :3] = np.eye(3) * np.sqrt(6)  # Images show the first three features …
    first = tflib.run(_features(synthesis, torgb))
    torgb[0, 0] = 0
    torgb[0, 0, 3:] = np.eye(3) * np.sqrt(6)  # … and the other three.
    other = tflib.run(_features(synthesis, torgb))
    np.testing.assert_allclose((first**2 + other**2).sum(axis=1) / 6, 1, rtol=1e-4)


def _features(synthesis, torgb):
    synthesis.set_var("ToRGB_lod0/weight", torgb)
    synthesis.set_var("ToRGB_lod0/bias", np.zeros(3))
    return synthesis.get_output_for(tf.zeros([2, 1, 5]), randomize_noise=False)


def test_snapshots_hold_them(session, tmp_path):
    options = {"label_size": 2, "resolution": 8}
    networks = make_G(**options), make_D(**options), make_G(**options)
    G, D, Gs = networks
    golden_checks.set_lod(Gs, 0.5)
    z, labels = RANDOM.normal(size=(4, 5)), np.eye(2)[[0, 1, 1, 0]]
    expected = Gs.run(z, labels, randomize_noise=False)
    scores = D.run(expected, labels)
    pickles.save(networks, str(tmp_path / "a.pkl"))
    G, D, Gs = pickles.load(str(tmp_path / "a.pkl"))
    # The mapping network too is that of this module, though all modules have one by its name.
    np.testing.assert_array_equal(Gs.run(z, labels, randomize_noise=False), expected)
    np.testing.assert_array_equal(D.run(expected, labels), scores)
    assert G.static_kwargs == Gs.static_kwargs


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [
        *golden_checks.refused_by_growing(make_G, make_D),
        (make_G, {"nonlinearity": "swish"}, "'swish'.*relu, lrelu"),
        (make_G, {"mapping_nonlinearity": "tanh"}, "'tanh'.*relu, lrelu"),
        (make_G, {"fused_scale": "never"}, "'never'.*'auto'"),
        (make_D, {"fused_scale": "never"}, "'never'.*'auto'"),
        (make_D, {"fmap_min": 1}, "'fmap_min'"),
    ],
)
def test_bad_keyword_arguments_are_named(session, make, kwargs, message):
    with pytest.raises(UserError, match=message):
        make(**kwargs)
