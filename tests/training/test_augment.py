"""The augmentation pipeline as a whole: official numbers, chances, seeds, derivatives."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import assert_close

from dnnlib import UserError
from training.augment import augment_pipeline
from training.augmentation.draws import Draws
from training.augmentation.presets import AUGMENT_GROUPS, AUGMENT_PRESETS, augment_preset
from training.augmentation.spec import AugmentSpec

RANDOM = np.random.default_rng(8)
SEED = (1, 2)
PLAIN = AugmentSpec()


def pipeline(images, strength=1, seed=SEED, **options):
    seed = None if seed is None else tf.constant(seed)
    return augment_pipeline(images, None, strength, seed=seed, **options)[0]


def preset(name):
    """Keywords of a preset."""
    return dataclasses.asdict(augment_preset(name))


def test_official_numbers(session, golden):
    """All transformations but noise, alone and together, at three percentiles."""
    file = golden("augment.npz")
    percentile = tf.placeholder(tf.float32, [])
    images = tf.constant(file.arrays["images"])
    compared = set()
    for name, transforms in file.meta["combos"].items():
        options = dict.fromkeys(transforms, 1)
        result, _ = augment_pipeline(images, None, debug_percentile=percentile, **options)
        for p in file.meta["percentiles"]:
            assert_close(session.run(result, {percentile: p}), file.arrays[f"{name}/p{p}"])
        compared.update(transforms)
    members = {option for group in AUGMENT_GROUPS.values() for option in group}
    assert compared == members - {"noise"}


def test_presets():
    def on(name):
        """{name: multiplier} of what a preset switches on."""
        values = dataclasses.asdict(augment_preset(name))
        return {key: value for key, value in values.items() if value != getattr(PLAIN, key)}

    assert list(AUGMENT_PRESETS) == (
        "blit geom color filter noise cutout bg bgc bgcf bgcfn bgcfnc bg-white bgc-white".split()
    )
    assert augment_preset("blit") == AugmentSpec(xflip=1, rotate90=1, xint=1)
    assert augment_preset("geom") == AugmentSpec(scale=1, rotate=1, aniso=1, xfrac=1)
    assert set(on("color").values()) == {1} and len(on("color")) == 5
    initials = {"b": "blit", "g": "geom", "c": "color", "f": "filter", "n": "noise"}
    expected = {}
    for length, name in enumerate(("blit", "bg", "bgc", "bgcf", "bgcfn"), start=1):
        expected |= on(initials["bgcfn"[length - 1]])
        assert augment_preset(name) == AugmentSpec(**expected)
    assert augment_preset("bgcfnc") == AugmentSpec(**expected, cutout=1)
    assert augment_preset("bg-white") == dataclasses.replace(augment_preset("bg"), background=1)
    without = dataclasses.replace(augment_preset("bgc"), brightness=0, lumaflip=0)
    assert augment_preset("bgc-white") == dataclasses.replace(without, background=1)
    with pytest.raises(UserError, match=r"'body'.*blit, geom.*bgcfnc"):
        augment_preset("body")


@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (2, 1, 7, 10), (1, 3, 4, 4), (2, 3, 33, 12)])
def test_strength_0_is_the_identity_and_1_changes_every_sample(session, shape):
    images = RANDOM.uniform(-1, 1, size=shape).astype(np.float32)
    strength = tf.placeholder(tf.float32, [])
    options = preset("bgcfnc")
    result = pipeline(tf.constant(images), strength, **options)
    assert result.shape.as_list() == list(shape)
    np.testing.assert_allclose(session.run(result, {strength: 0}), images, atol=1e-6)
    changed = session.run(result, {strength: 1})
    assert np.isfinite(changed).all()
    assert np.abs(changed - images).max(axis=(1, 2, 3)).min() > 0.1


def test_without_multipliers_nothing_happens(session):
    images, labels = tf.zeros([2, 3, 8, 8]), tf.zeros([2, 5])
    before = len(session.graph.get_operations())
    out_images, out_labels = augment_pipeline(images, labels)
    assert out_labels is labels and out_images is images
    # Nothing is computed: only the constant of the strength has been added.
    assert len(session.graph.get_operations()) - before <= 2


def test_labels_pass_and_the_batch_may_be_unknown(session):
    images = tf.placeholder(tf.float32, [None, 3, 8, 8])
    labels = tf.placeholder(tf.float32, [None, 2])
    result, out_labels = augment_pipeline(images, labels, 0.9, **preset("bgcfnc"))
    assert out_labels is labels
    assert result.shape.as_list() == [None, 3, 8, 8]
    for count in (1, 5):
        assert session.run(result, {images: np.ones([count, 3, 8, 8])}).shape == (count, 3, 8, 8)


def test_an_unknown_keyword_is_an_error(session):
    with pytest.raises(TypeError, match="yflip"):
        augment_pipeline(tf.zeros([2, 3, 8, 8]), None, yflip=1)


def test_signature_and_documentation_name_every_keyword():
    parameters = inspect.signature(augment_pipeline).parameters
    assert list(parameters)[:4] == ["images", "labels", "strength", "debug_percentile"]
    assert parameters["imgfilter_bands"].default == (1, 1, 1, 1)
    for field in dataclasses.fields(AugmentSpec):
        assert parameters[field.name].default == field.default
        assert f"\n    {field.name}: " in augment_pipeline.__doc__
    assert len(parameters) == 5 + len(dataclasses.fields(AugmentSpec))


# How often a transformation that comes changes the image: mirroring half the time, …
CHANGES = {"xflip": 1 / 2, "rotate90": 3 / 4, "lumaflip": 1 / 2}
ALL = [option for group in AUGMENT_GROUPS.values() for option in group]


@pytest.mark.parametrize("name", ALL)
def test_chance_of_a_transformation(session, name):
    """Strength times multiplier; for the filter each band on its own, by its own multiplier."""
    count, chance = 2000, 0.4 * 0.75
    images = RANDOM.normal(size=(count, 3, 4, 6)).astype(np.float32)
    bands = (1, 0.5, 0, 0.2)
    options = {name: 0.75, "xint_max": 4.0, "cutout_size": 0.9, "imgfilter_bands": bands}
    result = session.run(pipeline(tf.constant(images), tf.constant(0.4), **options))
    changed = np.abs(result - images).max(axis=(1, 2, 3)) > 1e-4
    expected = chance * CHANGES.get(name, 1)
    if name == "imgfilter":
        expected = 1 - np.prod([1 - chance * band for band in bands])
    assert abs(changed.mean() - expected) < 4.5 * np.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rotations_come_before_or_after_the_anisotropic_scaling(session, share):
    """The picture is turned with the same chance, however the rotations are shared out."""
    images = tf.constant(RANDOM.normal(size=(2000, 1, 4, 4)), tf.float32)
    options = {"rotate": 1, "aniso_rotate_prob": share}
    result, source = session.run([pipeline(images, 0.3, **options), images])
    changed = np.abs(result - source).max(axis=(1, 2, 3)) > 1e-4
    assert abs(changed.mean() - 0.3) < 4.5 * np.sqrt(0.3 * 0.7 / 2000)


def test_numbers_are_a_function_of_the_seed(session):
    images = tf.constant(RANDOM.normal(size=(2, 3, 16, 16)), tf.float32)
    options = preset("bgcfnc")
    seed = tf.placeholder(tf.int32, [2])
    result, _ = augment_pipeline(images, None, 0.8, seed=seed, **options)
    again, _ = augment_pipeline(images, None, 0.8, seed=seed, **options)
    unseeded = pipeline(images, 0.8, seed=None, **options)
    first = session.run(result, {seed: SEED})
    np.testing.assert_array_equal(first, session.run(again, {seed: SEED}))
    for other in ((1, 3), (2, 2)):
        assert np.abs(first - session.run(result, {seed: other})).max() > 0.1
    assert np.abs(session.run(unseeded) - session.run(unseeded)).max() > 0.1


def test_switching_one_off_leaves_the_others_alone(session):
    images = tf.constant(RANDOM.normal(size=(8, 3, 16, 16)), tf.float32)
    base = session.run(pipeline(images, 0.7, contrast=1, noise=1))
    for extra in ({"cutout": 1}, {"cutout": 1, "imgfilter": 1e-9, "xflip": 1e-9, "hue": 1e-9}):
        result = session.run(pipeline(images, 0.7, contrast=1, noise=1, **extra))
        kept = result != 0
        assert 0.5 < kept.mean() < 1
        np.testing.assert_allclose(result[kept], base[kept], atol=1e-5)


def test_gates_and_parameters_have_streams_of_their_own(session):
    count = 1000
    draws = Draws(tf.constant(SEED), count, 1, None)
    numbers = []
    for name in [*ALL, "post_rotate"]:
        for use in range(4):
            numbers.append(draws.uniform(name, -1, 1, use))
            numbers.append(draws.gate(name, 0.5, tf.ones([count]), -1, use))
    correlations = np.corrcoef(session.run(numbers)) - np.eye(len(numbers))
    assert np.abs(correlations).max() < 6 / np.sqrt(count)


def test_numbers_of_a_transformation_never_change(session):
    """Resuming relies on them: a release that changes them breaks every run in progress."""
    draws = Draws(tf.constant([1000, 64]), 3, 1, None)
    last, first = session.run([draws.uniform("cutout", 0, 1, 1), draws.normal("xflip", 1.0)])
    np.testing.assert_allclose(last, [0.16887975, 0.3348106, 0.9155556], rtol=1e-5)
    np.testing.assert_allclose(first, [0.5564813, -0.32732412, 0.3092744], rtol=1e-5)


def test_derivatives_are_exact_through_the_whole_pipeline(session):
    """For y = A·x + b: ⟨dy, A·dx⟩ = ⟨Aᵀ·dy, dx⟩, and the gradient of Aᵀ·dy for dy is A again."""
    x, dx = RANDOM.normal(size=(2, 4, 3, 9, 12))
    dy = tf.constant(RANDOM.normal(size=x.shape), tf.float32)
    images = tf.placeholder(tf.float32, x.shape)
    y = pipeline(images, 0.9, **preset("bgcfnc"))
    gradient = tf.gradients(y, images, grad_ys=dy)[0]
    second = tf.gradients(gradient, dy, grad_ys=tf.constant(dx, tf.float32))[0]
    at_x, at_sum = session.run(y, {images: x}), session.run(y, {images: x + dx})
    got_gradient, got_second, dy = session.run([gradient, second, dy], {images: x})
    assert_close(got_second, at_sum - at_x)
    inner = np.sum(got_gradient * dx, axis=(1, 2, 3))
    np.testing.assert_allclose(inner, np.sum(dy * (at_sum - at_x), axis=(1, 2, 3)), atol=1e-3)
    assert np.abs(inner).max() > 1


def test_r1_through_the_pipeline(session):
    """∂|∇D|²/∂w for D(x) = Σ w·(A·x)³: against finite differences in w."""
    images = tf.constant(RANDOM.normal(size=(2, 3, 8, 8)), tf.float32)
    w = tf.placeholder(tf.float32, [2, 3, 8, 8])
    scores = w * pipeline(images, **preset("bgcf")) ** 3
    penalty = tf.reduce_sum(tf.square(tf.gradients(scores, images)[0]))
    gradient = tf.gradients(penalty, w)[0]
    at, direction = RANDOM.normal(size=(2, 2, 3, 8, 8))
    # The penalty is a quadratic function of w, so that the central difference is exact.
    above, below = (session.run(penalty, {w: at + s * direction}) for s in (1, -1))
    got = np.sum(session.run(gradient, {w: at}) * direction)
    np.testing.assert_allclose(got, (above - below) / 2, rtol=1e-3)


@pytest.mark.parametrize("name", ["bg-white", "bgc-white"])
def test_white_stays_white(session, name):
    """Exactly, wherever no part of the product comes to, also beyond a whole reflection."""
    pictures = np.ones([64, 3, 32, 32], np.float32)
    pictures[:, :, 12:20, 10:18] = RANDOM.uniform(-1, 0.5, size=(64, 3, 8, 8))
    product = tf.constant((pictures != 1).max(axis=1, keepdims=True), tf.float32)
    far = {"xfrac_std": 0.4}
    result = pipeline(tf.constant(pictures), **preset(name) | far)
    reach = pipeline(product, **preset("bg") | far)
    official = pipeline(tf.constant(pictures), **preset(name.removesuffix("-white")) | far)
    result, reach, official = session.run([result, reach, official])
    is_white = np.broadcast_to(reach == 0, result.shape)
    assert is_white[..., [0, -1]].mean() > 0.5 and (reach != 0).mean() > 0.2
    np.testing.assert_array_equal(result[is_white], 1)
    assert np.abs(result[~is_white] - 1).mean() > 0.1
    off = (np.abs(official[is_white] - 1) > 1 / 255).mean()  # Gray, or other colors.
    assert 0.01 < off < 0.2 if name == "bg-white" else off > 0.8


def test_geometry_is_official_but_for_the_background(session):
    pictures = tf.constant(RANDOM.uniform(-1, 1, size=(64, 3, 32, 32)), tf.float32)
    both = [pipeline(pictures, **preset(name)) for name in ("bg", "bg-white")]
    official, result = session.run(both)
    np.testing.assert_allclose(result, official, atol=0.004)  # Ripple of the wavelet.


def transparent(colors, opacity):
    """Colors over white, and opacity, in [-1, 1], of opacity [N, 1, H, W] of 0 to 1."""
    return np.concatenate([1 + opacity * (colors - 1), 2 * opacity - 1], axis=1)


@pytest.mark.parametrize("name", ["bgc", "bgc-white"])
def test_colors_change_as_far_as_they_are_opaque(session, name):
    colors = RANDOM.uniform(-1, 1, size=(16, 3, 8, 8)).astype(np.float32)
    opacity = RANDOM.choice([0, 0.3, 1], size=(16, 1, 8, 8)).astype(np.float32)
    options = preset(name) | dict.fromkeys(AUGMENT_GROUPS["blit"] + AUGMENT_GROUPS["geom"], 0)
    on_colors, result = session.run(
        [pipeline(tf.constant(x), **options) for x in (colors, transparent(colors, opacity))]
    )
    assert np.abs(on_colors - colors).mean() > 0.3
    np.testing.assert_allclose(result, transparent(on_colors, opacity), atol=1e-5)
    np.testing.assert_array_equal(result[:, 3:], 2 * opacity - 1)
    is_clear = np.broadcast_to(opacity == 0, colors.shape)
    np.testing.assert_array_equal(result[:, :3][is_clear], 1)


def test_transparent_pictures_stay_transparent(session):
    clear = np.broadcast_to(np.float32([1, 1, 1, -1]).reshape(-1, 1, 1), [8, 4, 16, 16])
    opaque = np.float32(RANDOM.uniform(-1, 1, size=(8, 4, 16, 16)))
    opaque[:, 3] = 1
    far = preset("bg") | {"cutout": 1, "xfrac_std": 2.0, "xint_max": 2.0}
    result, shifted, noisy = session.run(
        [
            pipeline(tf.constant(clear), **preset("bgcfnc")),
            pipeline(tf.constant(opaque), **far),
            pipeline(tf.constant(opaque), noise=1),
        ]
    )
    np.testing.assert_array_equal(result, clear)
    beyond = shifted[:, 3] == -1
    assert 0.2 < beyond.mean() < 1
    assert (shifted.transpose(0, 2, 3, 1)[beyond] == [1, 1, 1, -1]).all()
    np.testing.assert_array_equal(noisy[:, 3], 1)
    assert np.abs(noisy - opaque)[:, :3].mean() > 0.01


def test_running_adds_nothing_to_the_graph(session):
    images = tf.zeros([2, 3, 8, 8])
    result = pipeline(images, **preset("bgcfnc"))
    gradient = tf.gradients(result, images)[0]
    session.graph.finalize()
    for _ in range(2):
        session.run([result, gradient])
