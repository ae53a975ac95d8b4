"""Layers by their official names: signatures, and results against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import assert_close
from official_signatures import check_signatures, public_functions

from dnnlib import UserError, tflib
from training import networks as ada
from training import networks_stylegan as sg1
from training import networks_stylegan2 as sg2

RANDOM = np.random.default_rng(17)
FILTER = [1, 3, 3, 1]
# Interface facts of the official repositories.
SIGNATURES = {
    sg2: """
        get_weight(shape, gain=1, use_wscale=True, lrmul=1, weight_var='weight')
        dense_layer(x, fmaps, gain=1, use_wscale=True, lrmul=1, weight_var='weight')
        conv2d_layer(x, fmaps, kernel, up=False, down=False, resample_kernel=None, gain=1,
            use_wscale=True, lrmul=1, weight_var='weight')
        apply_bias_act(x, act='linear', alpha=None, gain=None, lrmul=1, bias_var='bias')
        naive_upsample_2d(x, factor=2)
        naive_downsample_2d(x, factor=2)
        modulated_conv2d_layer(x, y, fmaps, kernel, up=False, down=False, demodulate=True,
            resample_kernel=None, gain=1, use_wscale=True, lrmul=1, fused_modconv=True,
            weight_var='weight', mod_weight_var='mod_weight', mod_bias_var='mod_bias')
        minibatch_stddev_layer(x, group_size=4, num_new_features=1)""",
    sg1: """
        blur2d(x, f=(1, 2, 1), normalize=True)
        upscale2d(x, factor=2)
        downscale2d(x, factor=2)
        get_weight(shape, gain=1.4142135623730951, use_wscale=False, lrmul=1)
        dense(x, fmaps, **kwargs)
        conv2d(x, fmaps, kernel, **kwargs)
        upscale2d_conv2d(x, fmaps, kernel, fused_scale='auto', **kwargs)
        conv2d_downscale2d(x, fmaps, kernel, fused_scale='auto', **kwargs)
        apply_bias(x, lrmul=1)
        leaky_relu(x, alpha=0.2)
        pixel_norm(x, epsilon=1e-08)
        instance_norm(x, epsilon=1e-08)
        style_mod(x, dlatent, **kwargs)
        apply_noise(x, noise_var=None, randomize_noise=True)
        minibatch_stddev_layer(x, group_size=4, num_new_features=1)""",
    ada: """
        get_weight(shape, gain=1, equalized_lr=True, lrmul=1, weight_var='weight', trainable=True,
            use_spectral_norm=False)
        apply_bias_act(x, act='linear', gain=None, lrmul=1, clamp=None, bias_var='bias',
            trainable=True)
        dense_layer(x, fmaps, lrmul=1, weight_var='weight', trainable=True,
            use_spectral_norm=False)
        conv2d(x, w, up=False, down=False, resample_kernel=None, padding=0)
        conv2d_layer(x, fmaps, kernel, up=False, down=False, resample_kernel=None, lrmul=1,
            trainable=True, use_spectral_norm=False)
        modulated_conv2d_layer(x, y, fmaps, kernel, up=False, down=False, demodulate=True,
            resample_kernel=None, lrmul=1, fused_modconv=False, trainable=True,
            use_spectral_norm=False)
        normalize_2nd_moment(x, axis=1, eps=1e-08)
        minibatch_stddev_layer(x, group_size=None, num_new_features=1)
        apply_spectral_norm(w, state_var='sn', iterations=1, eps=1e-08)""",
}


@pytest.mark.parametrize("module", SIGNATURES, ids=lambda module: module.__name__)
def test_official_signatures(module):
    names = check_signatures(module, SIGNATURES[module])
    assert all(getattr(module, name).__module__ == module.__name__ for name in names)
    own = {n for n, f in public_functions(module).items() if f.__module__ == module.__name__}
    assert own == names | set(module.BUILD_FUNCTIONS)


# `test_own_networks.py` compares them with the official numbers; here is what is not used there.


def run_layer(function, x, *args, **kwargs):
    """Runs a layer with random variables: (result, {name in its scope: value})."""
    with tf.variable_scope(None, "layer") as own:
        y = function(tf.constant(x, tf.float32), *args, **kwargs)
    variables = {
        v.op.name.removeprefix(own.name + "/"): v for v in tf.global_variables(own.name + "/")
    }
    values = {n: RANDOM.normal(size=v.shape.as_list()) for n, v in variables.items()}
    tflib.set_vars({variables[n]: value for n, value in values.items()})
    return tflib.run(y), values


def convolve(x, w):
    """[N, C, H, W] with zeros around it, kernels [(N,) n, n, C, out] with n odd."""
    w = np.broadcast_to(w, (len(x), *w.shape[-4:]))
    radius = w.shape[1] // 2
    padded = np.pad(x, [(0, 0), (0, 0), (radius, radius), (radius, radius)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[1:3], axis=(2, 3))
    return np.einsum("nchwij,nijco->nohw", windows, w)


def repeat(x, factor=2):
    return np.kron(x, np.ones((factor, factor)))


def boxes(x, factor=2):
    n, c, height, width = x.shape
    x = x.reshape(n, c, height // factor, factor, width // factor, factor)
    return x.mean(axis=(3, 5))


IMAGES = RANDOM.normal(size=(2, 3, 6, 8))
LATENTS = RANDOM.normal(size=(2, 5))
HOW_KEPT = [  # Keyword arguments, and by what the variable is multiplied for a fan-in of 27.
    ({}, 1 / np.sqrt(27)),
    ({"gain": 2, "lrmul": 0.1}, 0.2 / np.sqrt(27)),
    ({"gain": 2, "lrmul": 0.1, "use_wscale": False}, 0.1),
]


@pytest.mark.parametrize(("options", "scale"), HOW_KEPT)
def test_how_weights_of_stylegan2_are_kept(session, options, scale):
    y, values = run_layer(sg2.conv2d_layer, IMAGES, 4, 3, weight_var="w", **options)
    assert_close(y, convolve(IMAGES, values.pop("w") * scale))
    assert not values
    y, values = run_layer(sg2.dense_layer, IMAGES[:, :, :3, :3], 4, weight_var="w", **options)
    assert_close(y, IMAGES[:, :, :3, :3].reshape(2, 27) @ values["w"] * scale)
    y, values = run_layer(lambda x: x + sg2.get_weight([3, 9, 4], **options), np.zeros(4))
    assert_close(y, values["weight"] * scale)


@pytest.mark.parametrize(("options", "scale"), HOW_KEPT)
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_with_other_weights_and_names(session, options, scale, demodulate):
    names = {"weight_var": "a", "mod_weight_var": "b", "mod_bias_var": "c", **options}
    w = tf.constant(LATENTS, tf.float32)
    y, v = run_layer(sg2.modulated_conv2d_layer, IMAGES, w, 4, 3, demodulate=demodulate, **names)
    assert set(v) == {"a", "b", "c"}
    style = LATENTS @ v["b"] / np.sqrt(5) + v["c"] + 1
    kernels = v["a"] * scale * style[:, None, None, :, None]
    if demodulate:
        kernels /= np.sqrt(np.square(kernels).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
    assert_close(y, convolve(IMAGES, kernels))


@pytest.mark.parametrize("layers", [sg2, ada])
def test_modulation_with_resampling(session, layers):
    w, layer = tf.constant(LATENTS, tf.float32), layers.modulated_conv2d_layer
    for options, expected in (
        ({"up": True}, lambda kernels: convolve(repeat(IMAGES), kernels)),
        ({"down": True}, lambda kernels: boxes(convolve(IMAGES, kernels))),
    ):
        options = {"demodulate": False, "lrmul": 0.5, **options}
        y, v = run_layer(layer, IMAGES, w, 4, 3, **options)
        style = LATENTS @ v["mod_weight"] / np.sqrt(5) + v["mod_bias"] + 1
        assert_close(y, expected(v["weight"] * 0.5 / np.sqrt(27) * style[:, None, None, :, None]))
        y_fused, _ = run_layer(layer, IMAGES * 0, w, 4, 3, fused_modconv=True, **options)
        assert y_fused.shape == y.shape


def test_activations(session):
    for x in (IMAGES, IMAGES[:, :, 0, 0]):
        y, v = run_layer(sg2.apply_bias_act, x, "lrelu", alpha=0.5, gain=3, lrmul=0.1, bias_var="b")
        t = x + (v["b"] * 0.1).reshape(-1, *[1] * (x.ndim - 2))
        assert_close(y, np.where(t < 0, 0.5 * t, t) * 3)
        y, v = run_layer(ada.apply_bias_act, x, "relu", 3, 0.1, 1.0, "b", trainable=False)
        t = x + (v["b"] * 0.1).reshape(-1, *[1] * (x.ndim - 2))
        assert_close(y, np.clip(np.maximum(t, 0) * 3, -1, 1))
        assert_close(tflib.run(sg1.leaky_relu(tf.constant(x), 0.3)), np.where(x < 0, 0.3 * x, x))
        mean = np.square(x).mean(axis=1, keepdims=True)
        assert_close(tflib.run(sg1.pixel_norm(tf.constant(x), 0.5)), x / np.sqrt(mean + 0.5))
    assert len(tf.trainable_variables()) == 2
    x = IMAGES - IMAGES.mean(axis=(2, 3), keepdims=True)
    variance = np.square(x).mean(axis=(2, 3), keepdims=True)
    assert_close(run_layer(sg1.instance_norm, IMAGES, 0.5)[0], x / np.sqrt(variance + 0.5))
    mean = np.square(IMAGES).mean(axis=2, keepdims=True)
    y, _ = run_layer(ada.normalize_2nd_moment, IMAGES, axis=2, eps=0.5)
    assert_close(y, IMAGES / np.sqrt(mean + 0.5))


def test_pixels_are_repeated_and_averaged(session):
    for up, down in (
        (sg2.naive_upsample_2d, sg2.naive_downsample_2d),
        (sg1.upscale2d, sg1.downscale2d),
    ):
        x = RANDOM.normal(size=(2, 3, 6, 12))
        assert_close(run_layer(up, x)[0], repeat(x))
        assert_close(run_layer(up, x, factor=3)[0], repeat(x, 3))
        assert_close(run_layer(down, x)[0], boxes(x))
        assert_close(run_layer(down, x, factor=3)[0], boxes(x, 3))


def test_blur(session):
    square = RANDOM.normal(size=(3, 3))
    for f, kernel in (([1, 2, 4], np.outer([1, 2, 4], [1, 2, 4])), (square, square)):
        for normalize, total in ((True, kernel.sum()), (False, 1)):
            y, _ = run_layer(sg1.blur2d, IMAGES, f, normalize)
            w = np.einsum("ij,co->ijco", kernel / total, np.eye(3))
            assert_close(y, convolve(IMAGES, w), 1e-4)
    edges = np.outer([-1, 0, 1], [-1, 0, 1])
    y, _ = run_layer(sg1.blur2d, IMAGES, [-1, 0, 1], normalize=False)
    assert_close(y, convolve(IMAGES, np.einsum("ij,co->ijco", edges, np.eye(3))))


def test_weights_of_stylegan(session):
    y, v = run_layer(sg1.conv2d, IMAGES, 4, 3)
    assert_close(y, convolve(IMAGES, v["weight"]))
    deviation = {}
    for use_wscale in (False, True):
        with tf.variable_scope(f"wscale_{use_wscale}"):
            used = sg1.get_weight([50, 400], use_wscale=use_wscale, lrmul=0.1)
        tflib.init_uninitialized_vars()
        (variable,) = tf.global_variables(f"wscale_{use_wscale}")
        deviation[use_wscale] = np.std(tflib.run(variable)), np.std(tflib.run(used))
    np.testing.assert_allclose(deviation[False], (2, 0.2), rtol=0.05)
    np.testing.assert_allclose(deviation[True], (10, 0.2), rtol=0.05)
    y, v = run_layer(sg1.style_mod, IMAGES, tf.constant(LATENTS, tf.float32), lrmul=0.5)
    style = LATENTS @ v["StyleMod/weight"] * 0.5 + v["StyleMod/bias"]
    assert_close(y, IMAGES * (style[:, :3, None, None] + 1) + style[:, 3:, None, None])
    y, v = run_layer(sg1.apply_bias, IMAGES, lrmul=0.5)
    assert_close(y, IMAGES + v["bias"][:, None, None] * 0.5)


def scatter(x, w):
    """Every pixel, repeated 2×2, adds the kernel to its surroundings."""
    return convolve(repeat(x), w[::-1, ::-1])


@pytest.mark.parametrize(
    ("size", "fused", "kernel", "expected"),
    [
        ((4, 6), False, 3, lambda x, w: convolve(repeat(x), w)),
        ((4, 6), True, 5, scatter),
        ((4, 6), "auto", 5, lambda x, w: convolve(repeat(x), w)),
        ((64, 66), "auto", 3, scatter),
        ((64, 32), "auto", 3, lambda x, w: convolve(repeat(x), w)),
    ],
)
def test_upsampling_is_merged_where_the_official_is(session, size, fused, kernel, expected):
    x = RANDOM.normal(size=(1, 2, *size))
    y, v = run_layer(sg1.upscale2d_conv2d, x, 3, kernel, fused_scale=fused)
    assert_close(y, expected(x, v["weight"]))
    y, v = run_layer(sg1.conv2d_downscale2d, x, 3, kernel, fused_scale=fused)
    assert_close(y, boxes(convolve(x, v["weight"])))


def test_noise(session):
    for shape in ((1, 1, 6, 8), (2, 1, 6, 8)):
        noise = RANDOM.normal(size=shape)
        given = tf.constant(noise, tf.float32)
        y, v = run_layer(sg1.apply_noise, IMAGES, given, randomize_noise=False)
        assert list(v) == ["Noise/weight"]
        assert_close(y, IMAGES + noise * v["Noise/weight"][:, None, None])
    for options in ({"noise_var": given}, {}, {"randomize_noise": False}):
        y, v = run_layer(sg1.apply_noise, np.zeros((50, 3, 6, 8)), **options)
        drawn = y / v["Noise/weight"][:, None, None]
        assert abs(drawn.std() - 1) < 0.05 and np.ptp(drawn, axis=0).min() > 0.5
        assert_close(drawn[:, 1:], drawn[:, :-1], 1e-4)  # The same for all feature maps.


@pytest.mark.parametrize("layers", [sg2, sg1, ada])
def test_groups_of_the_minibatch(session, layers):
    x = RANDOM.normal(size=(8, 4, 2, 3))
    group = 8 if layers is ada else 4
    for options, size, features in (
        ({}, group, 1),
        ({"group_size": 2, "num_new_features": 2}, 2, 2),
    ):
        y, _ = run_layer(layers.minibatch_stddev_layer, x, **options)
        parts = x.reshape(size, 8 // size, features, 4 // features, 2, 3)
        expected = np.sqrt(parts.var(axis=0) + 1e-8).mean(axis=(2, 3, 4))
        assert_close(y[:, :4], x)
        assert_close(y[:, 4:, 0, 0], np.tile(expected, (size, 1)))


# ADA


def test_convolutions_that_need_no_padding(session):
    w = RANDOM.normal(size=(3, 3, 3, 4))
    weight = tf.constant(w, tf.float32)
    full = convolve(IMAGES, w)
    assert_close(run_layer(ada.conv2d, IMAGES, weight)[0], full)
    assert_close(run_layer(ada.conv2d, IMAGES, weight, padding=-1)[0], full[:, :, 1:-1, 1:-1])
    for options in ({"up": True}, {"down": True}):
        options["resample_kernel"] = FILTER
        whole, _ = run_layer(ada.conv2d, IMAGES, weight, **options)
        inner, _ = run_layer(ada.conv2d, IMAGES, weight, padding=-1, **options)
        assert_close(inner, whole[:, :, 1:-1, 1:-1])
    with pytest.raises(UserError, match=r"padding 2 .*use 0 or -1"):
        ada.conv2d(tf.zeros([1, 3, 4, 4]), weight, padding=2)


def test_learning_rate_multipliers_of_ada(session):
    scale = 0.5 / np.sqrt(27)
    y, v = run_layer(ada.conv2d_layer, IMAGES, 4, 3, lrmul=0.5)
    assert_close(y, convolve(IMAGES, v["weight"] * scale))
    y, v = run_layer(ada.dense_layer, IMAGES[:, :, :3, :3], 4, 0.5, "w")
    assert_close(y, IMAGES[:, :, :3, :3].reshape(2, 27) @ v["w"] * scale)


@pytest.mark.parametrize(
    ("layer", "args", "names"),
    [
        (ada.dense_layer, (4,), {"weight"}),
        (ada.conv2d_layer, (4, 3), {"weight"}),
        (ada.modulated_conv2d_layer, (4, 3), {"weight", "mod_weight"}),
    ],
)
def test_weights_of_ada(session, layer, args, names):
    latents = [tf.constant(LATENTS, tf.float32)] if "mod_weight" in names else []
    layer_of = lambda **options: run_layer(layer, IMAGES, *latents, *args, **options)  # noqa: E731
    _, v = layer_of()
    variables = names | ({"mod_bias"} if latents else set())
    assert set(v) == variables and len(tf.trainable_variables()) == len(variables)
    _, v = layer_of(trainable=False, use_spectral_norm=True)
    assert set(v) == variables | {f"{name}_sn" for name in names}
    assert len(tf.trainable_variables()) == len(variables)  # Those of before.


def test_spectral_norm_converges_by_being_used(session):
    def layer(x, **options):
        return x + ada.get_weight([2, 3, 4], 5, lrmul=0.1, weight_var="w", **options)

    y, v = run_layer(layer, np.zeros(4), equalized_lr=False)
    assert_close(y, v["w"] * 0.1)
    with tf.variable_scope("normalized"):
        used = ada.get_weight([2, 3, 4], 5, lrmul=0.1, weight_var="w", use_spectral_norm=True)
        twice = ada.apply_spectral_norm(tf.constant(v["w"], tf.float32), "state", iterations=60)
    tflib.init_uninitialized_vars()
    variables = {v.op.name: v for v in tf.global_variables("normalized")}
    assert set(variables) == {"normalized/w", "normalized/w_sn", "normalized/state"}
    w = tflib.run(variables["normalized/w"])
    for _ in range(60):
        y = tflib.run(used)
    assert_close(y, w / np.linalg.norm(w.reshape(6, 4), 2), 1e-3)
    assert_close(tflib.run(twice), v["w"] / np.linalg.norm(v["w"].reshape(6, 4), 2), 1e-3)


# Errors


@pytest.mark.parametrize("layers", [sg2, ada])
def test_a_layer_changes_the_size_one_way(session, layers):
    x, both = tf.zeros([1, 3, 4, 4]), {"up": True, "down": True}
    with pytest.raises(UserError, match="up=True and down=True"):
        layers.conv2d_layer(x, 4, 3, **both)
    with pytest.raises(UserError, match="up=True and down=True"):
        layers.modulated_conv2d_layer(x, tf.zeros([1, 5]), 4, 3, **both)


def test_bad_arguments_are_named(session):
    x = tf.zeros([1, 3, 4, 4])
    for call, message in (
        (lambda: sg1.upscale2d_conv2d(x, 4, 3, fused_scale="never"), "'never'.*'auto'"),
        (lambda: sg1.conv2d_downscale2d(x, 4, 3, fused_scale=2), "fused_scale 2.*'auto'"),
        (lambda: sg2.apply_bias_act(x, act="gelu"), "'gelu'.*lrelu"),
    ):
        with pytest.raises(UserError, match=message):
            call()
    with pytest.raises(TypeError, match="gains"):
        sg1.dense(x, 4, gains=2)
