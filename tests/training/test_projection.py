"""Projection into W and W+: official numbers, formulas, and what several targets have in common."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.latents.distances import (
    DiscriminatorDistance,
    box_means,
    pixel_distance,
    shrink,
)
from training.latents.noise_maps import noise_variables, normalized, regularization
from training.latents.options import ProjectionOptions
from training.latents.projection import Projection
from training.latents.projector import project
from training.latents.starting_point import StartingPoints
from training.snapshots import pickles

SHAPE = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 8}
STYLE = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
SG2 = "training.networks_stylegan2."
QUICK = {"dlatent_avg_samples": 200}


def generator(name=SG2 + "G_main", **options):
    Gs = Network("Gs", name, **{**SHAPE, **STYLE, **options})
    rng = np.random.default_rng(0)
    strengths = [v for n, v in Gs.vars.items() if n.endswith("noise_strength")]
    tflib.set_vars({v: rng.uniform(0.1, 0.3) for v in strengths})
    return Gs


def pictures(count, Gs, seed=0):
    """Uint8 images that are no noise."""
    channels, height, width = Gs.output_shape[1:]
    low = np.random.default_rng(seed).integers(40, 216, [count, channels, height // 4, width // 4])
    return np.repeat(np.repeat(low, 4, axis=2), 4, axis=3).astype(np.uint8)


# The official numbers


@pytest.fixture(scope="module")
def golden_run(golden_dir):
    """The golden file, and what our projection found with the same options."""
    with np.load(golden_dir / "projector_sg2_skip_resnet.npz") as file:
        arrays = dict(file)
    maps = [arrays[f"noise_init/{i}"] for i in range(5)]
    with tflib.graph_session(seed=1):
        Gs = pickles.load_generator(str(golden_dir / "sg2_skip_resnet.pkl"))
        found = project(
            Gs,
            arrays["target"][np.newaxis],
            distance=pixel_distance,
            num_steps=int(arrays["num_steps"]),
            initial_noise_factor=0,
            noise_init=maps,
            keep_steps=True,
        )
    return arrays, found


def test_w_of_every_step_is_the_official_one(golden_run):
    arrays, found = golden_run
    w = found.dlatents_by_step[:, 0]
    assert w.shape[0] == 100 and (w == w[:, :1]).all()  # The same for all layers.
    error = np.abs(w[:, 0] - arrays["w"]).max(axis=1) / np.abs(arrays["w"]).max()
    assert error[:20].max() <= 1e-4
    assert error.max() <= 2e-2
    np.testing.assert_array_equal(found.dlatents, w[-1:])


def test_what_it_ends_with_is_official(golden_run):
    arrays, found = golden_run
    assert found.distance == pytest.approx([arrays["dist_final"]], rel=1e-2)
    for i, noise in enumerate(found.noises):
        expected = arrays[f"noise_final/{i}"]
        assert noise.shape == (1, 1, *expected.shape)
        assert np.abs(noise[0, 0] - expected).max() <= 2e-2 * np.abs(expected).max()
    assert np.abs(found.images - arrays["image"]).max() <= 2e-2 * np.abs(arrays["image"]).max()


def test_distances_and_losses_are_those_of_the_official_log(golden_dir, golden_run, session):
    arrays, _ = golden_run
    Gs = pickles.load_generator(str(golden_dir / "sg2_skip_resnet.pkl"))
    options = ProjectionOptions(num_steps=100, initial_noise_factor=0)
    projection = Projection(Gs, pixel_distance, options=options)
    projection.start([arrays["target"]], noise_init=[arrays[f"noise_init/{i}"] for i in range(5)])
    for line in arrays["log"][:3]:
        dist, loss = map(float, re.search(r"dist (\S+) +loss (\S+)", str(line)).groups())
        distances, found = projection.step()
        assert distances == pytest.approx([dist], abs=0.006)
        assert found == pytest.approx(loss, rel=1e-4)


# Formulas


def test_schedules():
    """Linear up, cosine down, parabola of the noise (appendix D)."""
    options = ProjectionOptions()
    rates = {0: 0, 25: 0.05, 50: 0.1, 749: 0.1, 750: 0.1, 875: 0.05, 1000: 0}
    for step, rate in rates.items():
        assert options.learning_rate(step) == pytest.approx(rate, abs=1e-12)
    for step, strength in {0: 0.05, 375: 0.0125, 750: 0, 900: 0}.items():
        assert options.noise_strength(step) == pytest.approx(strength)
    shorter = ProjectionOptions(num_steps=10, lr_rampup_length=0, lr_rampdown_length=0)
    assert shorter.learning_rate(0) == shorter.learning_rate(9) == 0.1


def test_regularization_and_normalization_of_noise_maps(session):
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal([2, 1, *s]).cumsum(axis=3) for s in ((4, 4), (32, 16), (24, 24))]
    expected = np.zeros(2)
    for noise in maps:
        x = noise[:, 0]
        while True:
            for axis in (1, 2):
                expected += (x * np.roll(x, 1, axis)).mean(axis=(1, 2)) ** 2
            if min(x.shape[1:]) <= 8:
                break
            x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    tensors = [tf.constant(m, tf.float32) for m in maps]
    found, normal = tflib.run([regularization(tensors), normalized(tensors[1])])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(normal.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(np.square(normal).mean(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_the_starting_point_is_the_mean_of_a_class_or_of_all(session):
    Gs = generator(label_size=3)
    z = np.random.RandomState(123).randn(30, 8)
    for label, rows in (
        (np.eye(3)[1], np.tile(np.eye(3)[1], [30, 1])),
        (None, np.eye(3)[np.arange(30) % 3]),
    ):
        w = Gs.components.mapping.run(z, rows)[:, 0].astype(np.float64)
        found = StartingPoints(Gs).find(label, 30)
        np.testing.assert_allclose(found.mean, w.mean(axis=0), atol=1e-6)
        expected = np.sqrt(np.square(w - w.mean(axis=0)).sum(axis=1).mean())
        assert found.deviation == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UserError, match=r"a label of shape \[2\]: the network takes \[3\]"):
        StartingPoints(Gs).find(np.ones(2), 30)


def test_noise_on_w_has_the_deviation_that_it_should(session):
    Gs = generator()
    deviation = StartingPoints(Gs).find(None, 200).deviation
    options = ProjectionOptions(
        num_steps=4, initial_learning_rate=0, initial_noise_factor=0.5, **QUICK
    )
    seen = []

    def distance(images, targets):
        seen.append(images)
        return pixel_distance(images, targets)

    projection = Projection(Gs, distance, options=options)
    (dlatents,) = {
        o.inputs[0]
        for o in tf.get_default_graph().get_operations()
        if o.type == "Tile" and o.name.startswith("Projection/Tile")
    }
    projection.start(pictures(1, Gs))
    mean = projection.dlatents[0, 0]
    noise = [
        tflib.run(dlatents, projection._feeds(i, 0, options.noise_strength(i)))[0, 0] - mean
        for i in range(3)
    ]
    draws = [np.sqrt(np.square(n).mean()) / deviation for n in noise]
    # Of 8 numbers each; (1 - t/0.75)² is 1, 4/9, 1/9.
    assert 0.2 < draws[0] < 0.9 and 0.05 < draws[1] < 0.45 and 0.01 < draws[2] < 0.12
    assert not np.allclose(noise[0] * 4 / 9, noise[1])


# Several targets, and what must not make a difference


def test_several_targets_are_as_each_alone(session):
    Gs = generator(label_size=3)
    targets, labels = pictures(3, Gs), [np.eye(3)[0], None, np.eye(3)[2]]
    options = {"num_steps": 12, "distance": pixel_distance, **QUICK}
    together = project(Gs, targets, labels=labels, **options)
    for i in range(3):
        alone = project(Gs, targets[i : i + 1], labels=labels[i : i + 1], **options)
        np.testing.assert_allclose(together.dlatents[i], alone.dlatents[0], atol=1e-4)
        np.testing.assert_allclose(together.images[i], alone.images[0], atol=1e-3)
        assert together.distance[i] == pytest.approx(alone.distance[0], rel=1e-3)
        for maps, own in zip(together.noises, alone.noises, strict=True):
            np.testing.assert_allclose(maps[i], own[0], atol=1e-3)
    assert np.abs(together.dlatents[0] - together.dlatents[1]).max() > 0.05


def test_a_projection_repeats_exactly_in_one_graph(session):
    Gs = generator()
    before = {name: Gs.get_var(name) for name in Gs.vars}
    options = ProjectionOptions(num_steps=6, **QUICK)
    projection = Projection(Gs, pixel_distance, count=2, options=options)
    targets = pictures(2, Gs)

    def run(images, **changes):
        projection.options = ProjectionOptions(num_steps=6, **QUICK, **changes)
        projection.start(images)
        while projection.cur_step < 6:
            projection.step()
        return projection.dlatents, projection.noises, projection.evaluate()[0]

    first = run(targets)
    count = len(tf.get_default_graph().get_operations())
    only = run(targets[1:])  # Fewer than fit: the rest is filled up.
    again = run(targets)
    assert len(tf.get_default_graph().get_operations()) == count
    assert only[0].shape == (1, 6, 8) and len(only[1][0]) == 1
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[2], again[2])
    np.testing.assert_array_equal(first[1][3], again[1][3])
    assert np.abs(run(targets, seed=7)[0] - first[0]).max() > 1e-4
    for name, value in before.items():
        np.testing.assert_array_equal(Gs.get_var(name), value)


def test_wplus_is_closer_and_its_penalty_holds_it_near_the_mean(session):
    Gs = generator()
    targets = pictures(1, Gs)
    options = {"num_steps": 60, "distance": pixel_distance, **QUICK}
    w = project(Gs, targets, **options)
    free = project(Gs, targets, space="w+", wplus_penalty=0, **options)
    held = project(Gs, targets, space="w+", wplus_penalty=10, **options)
    mean = StartingPoints(Gs).find(None, 200).mean
    far = [np.square(x.dlatents[0] - mean).sum(axis=1).mean() for x in (free, held)]
    assert free.distance[0] < 0.95 * w.distance[0]
    assert np.ptp(free.dlatents[0], axis=0).max() > 0.1 and np.ptp(w.dlatents[0], axis=0).max() == 0
    assert far[1] < 0.2 * far[0]


@pytest.mark.parametrize("mode", ["const", "random", "none"])
def test_noise_that_is_not_optimized(session, mode):
    Gs = generator()
    variables = noise_variables(Gs.components.synthesis).values()
    own = tflib.run(list(variables))
    options = {"num_steps": 5, "distance": pixel_distance, **QUICK}
    found = project(Gs, pictures(2, Gs), noise_mode=mode, **options)
    assert all(len(maps) == 2 for maps in found.noises)
    maps = found.noises if mode != "const" else own
    tflib.set_vars({v: m[:1] for v, m in zip(variables, maps, strict=True)})
    images = Gs.components.synthesis.run(found.dlatents, randomize_noise=False)
    np.testing.assert_allclose(images, found.images, atol=1e-4)
    assert (np.abs(found.noises[2]).max() == 0) == (mode == "none")
    with pytest.raises(UserError, match="there are none to optimize"):
        project(Gs, pictures(1, Gs), noise_mode=mode, noise_init=own, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("training.networks.G_main", {"num_channels": 1, "num_fp16_res": 1}),
        (SG2 + "G_main", {"base_size": (6, 4), "architecture": "resnet"}),
        (SG2 + "G_main", {"synthesis_func": "G_synthesis_stylegan_revised"}),
        ("training.networks_stylegan.G_style", {}),
    ],
)
def test_networks_of_all_kinds(session, name, options):
    """Gray, not square, growing, of ADA and of StyleGAN: the distance falls."""
    Gs = generator(name, **options)
    targets = pictures(2, Gs)
    options = {"distance": pixel_distance, "num_steps": 25, **QUICK}
    found = project(Gs, targets, **options)
    first = project(Gs, targets, initial_learning_rate=0, **{**options, "num_steps": 1})
    assert found.images.shape == targets.shape
    assert (found.distance < 0.97 * first.distance).all()


# Distances


def test_boxes_and_pixels(session):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 255, [2, 2, 3, 8, 12]).astype(np.float32)
    x = (a - b).astype(np.float64) / 127.5
    expected = np.zeros(2)
    for side in (1, 2, 4):
        boxes = x.reshape(2, 3, 8 // side, side, 12 // side, side).mean(axis=(3, 5))
        expected += np.square(boxes).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(
        tflib.run(pixel_distance(tf.constant(a), tf.constant(b))), expected, rtol=1e-5
    )
    large = rng.uniform(0, 255, [1, 1, 512, 384]).astype(np.float32)
    small = tflib.run(shrink(tf.constant(large)))
    np.testing.assert_allclose(
        small, large.reshape(1, 1, 256, 2, 192, 2).mean(axis=(3, 5)), rtol=1e-5
    )
    assert shrink(tf.zeros([1, 3, 256, 128])).shape.as_list() == [1, 3, 256, 128]
    assert shrink(tf.zeros([1, 3, 256, 2048]), None).shape.as_list() == [1, 3, 256, 2048]
    assert box_means(tf.zeros([1, 3, 8, 8]), 1).shape.as_list() == [1, 3, 8, 8]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (SG2 + "D_stylegan2", {"architecture": "resnet", "label_size": 3}),
        (SG2 + "D_stylegan2", {"architecture": "skip", "base_size": (6, 4)}),
        (SG2 + "D_stylegan2", {"architecture": "orig"}),
        (SG2 + "D_stylegan", {}),
        ("training.networks.D_main", {"num_fp16_res": 1}),
        ("training.networks_stylegan.D_basic", {}),
    ],
)
def test_features_of_the_discriminator(session, name, options):
    D = Network("D", name, **{**SHAPE, **options})
    images = pictures(3, D).astype(np.float32)
    targets = np.concatenate([images[:1], images[:1], 255 - images[2:]])
    distance = DiscriminatorDistance(D)
    x = tf.constant(images)
    found, slope = tflib.run([y := distance(x, tf.constant(targets)), tf.gradients(y, x)[0]])
    assert found[0] == pytest.approx(0, abs=1e-6) and 0 < found[1] < 4 and 0 < found[2] < 4
    assert np.isfinite(slope).all() and np.abs(slope[2]).max() > 0
    blocks = distance._features(x)
    assert len(blocks) == 2  # At 16×16 and 8×8: what comes after has 8 and 4 rows.
    with pytest.raises(UserError, match="use another --distance"):
        distance(tf.zeros([1, 3, 8, 8]), tf.zeros([1, 3, 8, 8]))


# What does not fit


def test_bad_input(session):
    Gs = generator()
    target = pictures(1, Gs)
    for options, message in [
        ({"space": "z"}, "space 'z': use w, w+"),
        ({"noise_mode": "loud"}, "noise_mode 'loud': use optimize, const"),
        ({"num_steps": 0}, "num_steps 0: expected at least 1"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            ProjectionOptions(**options)
    options = {"distance": pixel_distance, "num_steps": 2, **QUICK}
    for targets, given, message in [
        (target[:, :, :8], {}, "a target of shape [3, 8, 16]: the network makes [3, 16, 16]"),
        (np.full(target.shape, np.nan), {}, "pixels that are not finite"),
        (target, {"labels": [np.ones(1)]}, "a label of shape [1]: the network takes [0]"),
        (target, {"labels": []}, "0 labels for 1 targets"),
        (target, {"noise_init": [np.zeros([4, 4])]}, "1 noise maps: the network has 5"),
        (target, {"noise_init": [np.zeros([4, 4])] * 5}, "expected [8, 8]"),
        (target, {"initial_learning_rate": np.inf}, "is not finite"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            project(Gs, targets, **options, **given)
    with pytest.raises(TypeError):
        project(Gs, target, distance=pixel_distance, steps=3)
    with pytest.raises(UserError, match="2 targets: expected 1 to 1"):
        Projection(Gs, pixel_distance).start(np.concatenate([target, target]))
