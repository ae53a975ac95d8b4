"""Projection into W and W+: official numbers, formulas, and what several targets have in common."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_networks import STYLE

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

SHAPE = {"num_channels": 3, "resolution": 8, "fmap_base": 32, "fmap_max": 8}
SG2 = "training.networks_stylegan2."
QUICK = {"dlatent_avg_samples": 200}


def generator(name=SG2 + "G_main", **options):
    Gs = Network("Gs", name, **{**SHAPE, **STYLE, **options})
    rng = np.random.default_rng(0)
    strengths = [v for n, v in Gs.vars.items() if n.endswith("noise_strength")]
    tflib.set_vars({v: rng.uniform(0.1, 0.3) for v in strengths})
    return Gs


@pytest.fixture(scope="module")
def Gs():
    """A network for all tests that need no special one; its graph is the default one."""
    with tflib.graph_session(seed=1):
        yield generator()


@pytest.fixture(scope="module")
def projection(Gs):
    """Into W, of up to two targets."""
    return Projection(Gs, pixel_distance, count=2, options=ProjectionOptions(**QUICK))


@pytest.fixture
def shared_graph(Gs):
    """The graph of `Gs` is the default one, whatever other fixtures made of it."""
    with Gs.as_default():
        yield


def pictures(count, shape=(3, 8, 8), seed=0):
    """Uint8 images that are no noise."""
    channels, height, width = shape
    low = np.random.default_rng(seed).integers(40, 216, [count, channels, height // 4, width // 4])
    return np.repeat(np.repeat(low, 4, axis=2), 4, axis=3).astype(np.uint8)


def run(projection, targets, *args, **changes):
    """Projects with changed options; returns w and the distances of the first step."""
    projection.options = dataclasses.replace(projection.options, **changes)
    projection.start(targets, *args)
    first, _ = projection.step()
    while projection.cur_step < projection.options.num_steps:
        projection.step()
    return projection.dlatents, first


# The official numbers


@pytest.fixture(scope="module")
def golden_run(golden_dir):
    """The golden file, and what our projection found with the same options."""
    with np.load(golden_dir / "projector_sg2_skip_resnet.npz") as file:
        arrays = dict(file)
    options = ProjectionOptions(num_steps=int(arrays["num_steps"]), initial_noise_factor=0)
    found = SimpleNamespace(w=[], log=[])
    with tflib.graph_session(seed=1):
        Gs = pickles.load_generator(str(golden_dir / "sg2_skip_resnet.pkl"))
        projection = Projection(Gs, pixel_distance, options=options)
        maps = [arrays[f"noise_init/{i}"] for i in range(5)]
        projection.start([arrays["target"]], noise_init=maps)
        while projection.cur_step < options.num_steps:
            found.log.append(projection.step())
            found.w.append(projection.dlatents[0])
        found.images, found.distance = projection.evaluate()
        found.noises = projection.noises
    return arrays, found


def test_w_of_every_step_is_the_official_one(golden_run):
    arrays, found = golden_run
    w = np.stack(found.w)
    assert w.shape[0] == 100 and (w == w[:, :1]).all()  # The same for all layers.
    error = np.abs(w[:, 0] - arrays["w"]).max(axis=1) / np.abs(arrays["w"]).max()
    assert error[:20].max() <= 1e-4
    assert error.max() <= 2e-2


def test_what_it_ends_with_is_official(golden_run):
    arrays, found = golden_run
    assert found.distance == pytest.approx(float(arrays["dist_final"]), rel=1e-2)
    for i, noise in enumerate(found.noises):
        expected = arrays[f"noise_final/{i}"]
        assert noise.shape == (1, 1, *expected.shape)
        assert np.abs(noise[0, 0] - expected).max() <= 2e-2 * np.abs(expected).max()
    assert np.abs(found.images - arrays["image"]).max() <= 2e-2 * np.abs(arrays["image"]).max()


def test_distances_and_losses_are_those_of_the_official_log(golden_run):
    arrays, found = golden_run
    for line in arrays["log"]:
        pattern = r"step +(\d+)/100: dist (\S+) +loss (\S+)"
        number, dist, loss = map(float, re.search(pattern, str(line)).groups())
        distances, total = found.log[int(number) - 1]
        assert distances == pytest.approx([dist], rel=1e-2)
        assert total == pytest.approx(loss, rel=1e-2)


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
    """Read off where w enters the synthesis network, with a learning rate of 0."""
    Gs = generator(dlatent_size=200, mapping_layers=1)
    options = ProjectionOptions(num_steps=4, initial_noise_factor=0.5, **QUICK)
    projection = Projection(Gs, pixel_distance, options=options)
    projection.start(pictures(1))
    mean = projection.dlatents
    deviation = StartingPoints(Gs).find(None, 200).deviation
    graph = tf.get_default_graph()
    noisy = graph.get_tensor_by_name("Projection/dlatents_in:0")
    draws = []
    for step, strength in enumerate((1, 4 / 9, 1 / 9)):  # (1 - t/0.75)²
        feeds = projection._feeds(step, 0, options.noise_strength(step))
        noise = (tflib.run(noisy, feeds) - mean)[0]
        assert (noise == noise[0]).all()
        assert noise[0].std() == pytest.approx(0.5 * deviation * strength, rel=0.2)
        draws.append(noise[0] / strength)
    assert abs(np.corrcoef(draws)[0, 1]) < 0.3  # Another draw in every step.


# Several targets, and what must not make a difference


def test_several_targets_are_as_each_alone(session):
    Gs = generator(label_size=3)
    targets, labels = pictures(3), [np.eye(3)[0], None, np.eye(3)[2]]
    options = ProjectionOptions(num_steps=12, **QUICK)
    together = project(Gs, targets, labels=labels, distance=pixel_distance, **vars(options))
    alone = Projection(Gs, pixel_distance, options=options)
    for i in range(3):
        dlatents, _ = run(alone, targets[i : i + 1], labels[i : i + 1])
        np.testing.assert_allclose(together.dlatents[i], dlatents[0], atol=1e-4)
        image, distance = alone.evaluate()
        np.testing.assert_allclose(together.images[i], image[0], atol=1e-3)
        assert together.distance[i] == pytest.approx(distance[0], rel=1e-3)
        for maps, own in zip(together.noises, alone.noises, strict=True):
            np.testing.assert_allclose(maps[i], own[0], atol=1e-3)
    assert np.abs(together.dlatents[0] - together.dlatents[1]).max() > 0.05


def test_a_projection_repeats_exactly_in_one_graph(Gs, projection, shared_graph):
    before = {name: Gs.get_var(name) for name in Gs.vars}
    targets = pictures(2)
    first, _ = run(projection, targets, num_steps=6)
    noises, images = projection.noises, projection.evaluate()[0]
    count = len(tf.get_default_graph().get_operations())
    only, _ = run(projection, targets[1:])  # Fewer than fit: the rest is filled up.
    assert only.shape == (1, 4, 8) and len(projection.noises[1]) == 1
    np.testing.assert_allclose(only[0], first[1], atol=1e-6)
    again, _ = run(projection, targets)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(images, projection.evaluate()[0])
    np.testing.assert_array_equal(noises[2], projection.noises[2])
    assert np.abs(run(projection, targets, seed=7)[0] - first).max() > 1e-4
    assert len(tf.get_default_graph().get_operations()) == count
    for name, value in before.items():
        np.testing.assert_array_equal(Gs.get_var(name), value)


def test_wplus_is_closer_and_its_penalty_holds_it_near_the_mean(Gs, shared_graph):
    targets = pictures(1)
    options = ProjectionOptions(num_steps=60, **QUICK)
    w = project(Gs, targets, distance=pixel_distance, keep_steps=True, **vars(options))
    assert w.dlatents_by_step.shape == (60, 1, 4, 8)
    np.testing.assert_array_equal(w.dlatents_by_step[-1], w.dlatents)
    mean = StartingPoints(Gs).find(None, 200).mean
    np.testing.assert_array_equal(w.dlatents_by_step[0, 0, 0], mean)  # The rate begins at 0.
    assert np.ptp(w.dlatents[0], axis=0).max() == 0
    options = dataclasses.replace(options, space="w+", wplus_penalty=0)
    projection = Projection(Gs, pixel_distance, options=options)
    free, _ = run(projection, targets)
    assert projection.evaluate()[1] < 0.95 * w.distance
    assert np.ptp(free[0], axis=0).max() > 0.1
    held, _ = run(projection, targets, wplus_penalty=10)
    far = [np.square(x - mean).sum(axis=2).mean() for x in (free, held)]
    assert far[1] < 0.2 * far[0]


def test_noise_maps_are_held_less_in_wplus(Gs, projection, shared_graph):
    """What the loss has besides the distance, of the same maps, at the mean."""
    targets = pictures(2)
    options = ProjectionOptions(space="w+", **QUICK)
    assert (options.noise_weight, ProjectionOptions().noise_weight) == (100, 1e5)
    parts = []
    for each in (projection, Projection(Gs, pixel_distance, count=2, options=options)):
        each.options = dataclasses.replace(each.options, seed=5)
        each.start(targets)
        distances, loss = each.step()
        parts.append(loss - distances.sum())
    assert parts[0] == pytest.approx(1000 * parts[1], rel=1e-3)


@pytest.mark.parametrize("mode", ["const", "random", "none"])
def test_noise_that_is_not_optimized(Gs, shared_graph, mode):
    variables = noise_variables(Gs.components.synthesis).values()
    own = tflib.run(list(variables))
    options = ProjectionOptions(num_steps=3, noise_mode=mode, **QUICK)
    projection = Projection(Gs, pixel_distance, count=2, options=options)
    with pytest.raises(UserError, match="there are none to optimize"):
        projection.start(pictures(2), noise_init=[])
    dlatents, _ = run(projection, pictures(2))
    noises = projection.noises
    assert all(len(maps) == 2 for maps in noises)
    maps = noises if mode != "const" else own
    tflib.set_vars({v: m[:1] for v, m in zip(variables, maps, strict=True)})
    images = Gs.components.synthesis.run(dlatents, randomize_noise=False)
    np.testing.assert_allclose(images, projection.evaluate()[0], atol=1e-4)
    assert (np.abs(noises[2]).max() == 0) == (mode == "none")


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
    targets = pictures(2, Gs.output_shape[1:])
    options = ProjectionOptions(num_steps=25, **QUICK)
    projection = Projection(Gs, pixel_distance, count=2, options=options)
    _, first = run(projection, targets)
    images, last = projection.evaluate()
    assert images.shape == targets.shape
    assert (last < 0.97 * first).all()


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
    D = Network("D", name, **{**SHAPE, "resolution": 16, **options})
    images = pictures(3, D.input_shape[1:]).astype(np.float32)
    targets = np.concatenate([images[:1], images[:1], 255 - images[2:]])
    distance, blocks = DiscriminatorDistance(D), []
    features = distance._features
    distance._features = lambda images: blocks.extend(features(images)) or blocks
    x = tf.constant(images)
    found, slope = tflib.run([y := distance(x, tf.constant(targets)), tf.gradients(y, x)[0]])
    assert found[0] == pytest.approx(0, abs=1e-6) and 0 < found[1] < 4 and 0 < found[2] < 4
    assert np.isfinite(slope).all() and np.abs(slope[2]).max() > 0
    assert len(blocks) == 2  # Of 16×16 and of 8×8.
    with pytest.raises(UserError, match="use another --distance"):
        distance(tf.zeros([1, 3, 8, 8]), tf.zeros([1, 3, 8, 8]))


# What does not fit


def test_bad_input(Gs, projection, shared_graph):
    target = pictures(1)
    for options, message in [
        ({"space": "z"}, "space 'z': use w, w+"),
        ({"noise_mode": "loud"}, "noise_mode 'loud': use optimize, const"),
        ({"num_steps": 0}, "num_steps 0: expected at least 1"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            ProjectionOptions(**options)
    for targets, given, message in [
        (target[:, :, :4], {}, "a target of shape [3, 4, 8]: the network makes [3, 8, 8]"),
        (np.full(target.shape, np.nan), {}, "pixels that are not finite"),
        (np.concatenate([target] * 3), {}, "3 targets: expected 1 to 2"),
        (target, {"labels": [np.ones(1)]}, "a label of shape [1]: the network takes [0]"),
        (target, {"labels": []}, "0 labels for 1 targets"),
        (target, {"noise_init": [np.zeros([4, 4])]}, "1 noise maps: the network has 3"),
        (target, {"noise_init": [np.zeros([4, 4])] * 3}, "expected [8, 8]"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            projection.start(targets, **given)
    with pytest.raises(UserError, match="the distance of target 0 is not finite after 3 steps"):
        run(projection, target, initial_learning_rate=1e38, num_steps=9)
    with pytest.raises(TypeError):
        project(Gs, target, distance=pixel_distance, steps=3)
