"""Closed ways through Z, W, labels and noise: formulas, and that they close on a network."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import SHAPE, STYLE

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.latents import truncation, walks
from training.latents.options import WALKS, TruncationOptions, WalkOptions
from training.pictures import generation

TIMES = np.linspace(0, 1, 13)


@pytest.fixture(scope="module")
def Gs():
    with tflib.graph_session(seed=3):
        network = Network("Gs", "training.networks.G_main", label_size=3, **SHAPE, **STYLE)
        network.set_var("dlatent_avg", np.linspace(-1, 1, 8))
        strengths = [v for n, v in network.vars.items() if n.endswith("noise_strength")]
        tflib.set_vars(dict.fromkeys(strengths, 0.5))
        yield network


def make(Gs, kind, count, truncated="class", **options):
    """A walk of `count` seeds of which each has a class of its own."""
    walk = WalkOptions(kind, range(5, 5 + count), **options)
    seeds = walk.keyframe_seeds
    labels = np.eye(3, dtype=np.float32)[seeds % 3]
    if kind == "class":
        labels = np.repeat(np.eye(3, dtype=np.float32)[:, np.newaxis], seeds.shape[1], axis=1)
    centers = truncation.find_centers(Gs, TruncationOptions(truncated, 4))
    direction = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    return walks.make_walk(Gs, walk, labels, centers, direction)


def test_the_spline_is_the_periodic_cubic():
    """Slopes m solve m₋ + 4m + m₊ = 3·(p₊ - p₋); between keyframes stands Hermite's cubic."""
    keys = np.random.RandomState(0).randn(5, 2, 3)
    forth = np.roll(np.eye(5), 1, axis=1)
    difference = np.roll(keys, -1, axis=0) - np.roll(keys, 1, axis=0)
    m = np.linalg.solve(4 * np.eye(5) + forth + forth.T, 3 * difference.reshape(5, -1))
    m = m.reshape(keys.shape)
    for k, t in [(0, 0.0), (1, 0.3), (4, 0.7), (4, 1.0)]:
        p, q, a, b = keys[k], keys[(k + 1) % 5], m[k], m[(k + 1) % 5]
        cubic = (2 * t**3 - 3 * t**2 + 1) * p + (t**3 - 2 * t**2 + t) * a
        cubic += (3 * t**2 - 2 * t**3) * q + (t**3 - t**2) * b
        np.testing.assert_allclose(
            walks.spline(keys)(np.array([(k + t) / 5]))[0], cubic, atol=1e-12
        )
    assert np.ptp(walks.spline(keys[:1])(TIMES), axis=0).max() == 0  # Nowhere to go.


def test_arcs_are_spherical():
    keys = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [0, 0, 3]])
    path = walks.arcs(keys)
    place = path(np.array([1 / 12, 4 / 12, 0.7]))  # A third of the first arc, of the second; none.
    third = np.radians(30)
    np.testing.assert_allclose(place[0], [3 * np.cos(third), 3 * np.sin(third), 0], atol=1e-12)
    np.testing.assert_allclose(place[1], [0, 3 * np.cos(third), 3 * np.sin(third)], atol=1e-12)
    np.testing.assert_allclose(place[2], [0, 0, 3], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(path(TIMES), axis=1), 3)
    sharp = walks.arcs(np.array([[1, 0], [0.5, np.sqrt(0.75)]]))(np.array([1 / 4]))
    np.testing.assert_allclose(sharp, [[np.cos(third), np.sin(third)]], atol=1e-12)
    assert np.isfinite(walks.arcs(np.array([[1.0, 0], [-1, 0], [0, 0]]))(TIMES)).all()


def test_lines_sweeps_and_circles():
    keys = np.eye(3)
    times = np.array([0, 1 / 12, 1 / 3, 1 / 2, 1])
    share = 0.5 - 0.5 * np.cos(np.pi / 4)
    expected = [[1, 0, 0], [1 - share, share, 0], [0, 1, 0], [0, 0.5, 0.5], [1, 0, 0]]
    np.testing.assert_allclose(walks.eased(keys)(times), expected, atol=1e-12)
    sweep = walks.there_and_back(-2, 4)(np.array([0, 1 / 4, 1 / 2, 1]))
    np.testing.assert_allclose(sweep, [-2, 1, 4, -2], atol=1e-12)
    first, second = np.random.RandomState(0).randn(2, 100, 100)
    path = walks.circle(first, second)(TIMES)
    np.testing.assert_array_equal(path[0], first)
    np.testing.assert_allclose(path.std(axis=(1, 2)), 1, atol=0.02)


@pytest.mark.parametrize("kind", WALKS)
def test_every_walk_closes(Gs, kind):
    """The frame after the last is the first, and no step is much larger than others."""
    has_keyframes = kind in ("spline", "slerp")
    count, grid = (4, (2, 1)) if has_keyframes else (2, None)
    walk = make(Gs, kind, count, w_frames=6, grid=grid, psi=0.7)
    assert walk.num_frames == {True: 12, False: 18 if kind == "class" else 6}[has_keyframes]
    assert walk.dlatents(TIMES).shape == (len(TIMES), 2, 6, 8)
    w = np.stack([walk.dlatents(np.array([t]))[0] for t in (0.0, 1.0)])
    np.testing.assert_allclose(w[1], w[0], atol=1e-6)
    for path in walk.noise.values():
        first, last = path(np.array([0.0, 1.0]))
        np.testing.assert_allclose(last, first, atol=1e-6)
    images = Gs.components.synthesis.run(w.reshape(4, 6, 8), randomize_noise=False)
    np.testing.assert_allclose(images[2:], images[:2], atol=1e-6)
    frames = np.stack(list(walk.frames(Gs, 5, 4))).astype(float)
    assert frames.shape == (walk.num_frames, 2, 3, 16, 16)
    steps = np.abs(frames - np.roll(frames, -1, axis=0)).mean(axis=(1, 2, 3, 4))
    assert steps[-1] <= steps.max() and steps.min() > 0
    assert steps.max() < 8 * np.median(steps)


def test_keyframes_are_the_pictures_of_the_seeds(Gs):
    """As `generate-images --noise-mode=const` makes them, picture by picture of a grid."""
    centers = truncation.find_centers(Gs, TruncationOptions("class"))
    for kind in ("spline", "slerp"):
        walk = make(Gs, kind, 4, w_frames=3, grid=(1, 2), psi=0.7)
        frames = list(walk.frames(Gs, 2, 4))
        for seed, frame, picture in [(5, 0, 0), (6, 3, 0), (7, 0, 1), (8, 3, 1)]:
            label = generation.class_labels(Gs, [seed % 3])
            image = generation.image_of_seed(
                Gs, seed, label, 0.7, "const", centers, output_transform=generation.TO_UINT8
            )
            assert np.abs(frames[frame][picture].astype(int) - image).max() <= 1


def test_what_stays_and_what_moves(Gs):
    base = make(Gs, "noise", 1, w_frames=4, psi=0.5)
    fixed = base.dlatents(np.array([0.0]))[0]
    assert np.ptp(base.dlatents(TIMES), axis=0).max() == 0
    sweep = make(Gs, "truncation", 1, w_frames=4, range=(0.5, 1.0)).dlatents(np.array([0, 0.5]))
    np.testing.assert_allclose(sweep[0], fixed, atol=1e-6)
    w = Gs.components.mapping.run(np.random.RandomState(5).randn(1, 8), np.eye(3)[[2]])
    np.testing.assert_allclose(sweep[1], w, atol=1e-6)
    walk = make(Gs, "direction", 1, w_frames=4, psi=0.5, range=(-1.0, 3.0))
    step = walk.dlatents(np.array([0, 0.5])) - fixed
    direction = np.linspace(0, 1, 48).reshape(1, 6, 8)
    np.testing.assert_allclose(step[0], -direction, atol=1e-6)
    np.testing.assert_allclose(step[1], 3 * direction, atol=1e-6)


def test_noise_begins_with_that_of_the_seed_and_adds_nothing_to_the_graph(Gs):
    walk = make(Gs, "noise", 1, w_frames=3, truncated="global")
    frames = list(walk.frames(Gs, 5, 4))
    operations = len(tflib.run.__globals__["tf"].get_default_graph().get_operations())
    again = list(walk.frames(Gs, 5, 4))
    assert len(tflib.run.__globals__["tf"].get_default_graph().get_operations()) == operations
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))
    label = generation.class_labels(Gs, [2])
    image = generation.image_of_seed(Gs, 5, label, 1, output_transform=generation.TO_UINT8)
    np.testing.assert_array_equal(frames[0][0], image)


def test_seeds_of_a_grid():
    seeds = WalkOptions("spline", [1, 2, 3, 4, 5, 6], grid=(2, 1)).keyframe_seeds
    assert seeds.T.tolist() == [[1, 2, 3], [4, 5, 6]]
    again = WalkOptions("slerp", [1, 2], grid=(3, 1), num_keyframes=2).keyframe_seeds
    assert again.T.tolist() == [[1, 2], [1, 2], [1, 2]]
    mixed = WalkOptions("spline", range(20), shuffle_seed=1).keyframe_seeds[:, 0]
    assert sorted(mixed) == list(range(20)) != mixed.tolist()
    assert WalkOptions("noise", [1, 2, 3]).size == (3, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "walk"}, "use spline, slerp"),
        ({"seeds": [1, 2, 3], "grid": (2, 1)}, "3 do not divide among 2x1 pictures: give"),
        ({"kind": "noise", "seeds": [1, 2], "grid": (3, 1)}, "2 do not divide among 3x1"),
        ({"kind": "noise", "seeds": [1, 2], "grid": (1, 1)}, "one seed a picture, got 2"),
        ({"kind": "class", "num_keyframes": 3}, "--walk=class has none: use --w-frames"),
        ({"range": (0, 1)}, "for --walk=truncation and direction, not spline"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(UserError, match=message):
        WalkOptions(**options)


def test_directions_of_files(tmp_path):
    path = str(tmp_path / "step.npz")
    two = np.random.RandomState(0).randn(2, 6, 8).astype(np.float32)
    for arrays, expected in [
        ({"direction": two[0]}, two[0]),
        ({"direction": two[0, 0].astype(np.float64)}, np.tile(two[0, 0], [6, 1])),
        ({"dlatents": two}, two[1] - two[0]),
        ({"w": two}, two[1] - two[0]),
    ]:
        np.savez(path, **arrays)
        np.testing.assert_array_equal(walks.read_direction(path, 6, 8), expected)
    for arrays, message in [
        ({"dlatents": two[:1]}, "expected an array direction"),
        ({"direction": two}, r"floats \[6, 8\] or \[8\]"),
        ({"direction": np.zeros([6, 8], int)}, "of floats"),
        ({"direction": np.full(8, np.nan)}, "not finite"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(UserError, match=message):
            walks.read_direction(path, 6, 8)
    np.savez(path, lightness=two[0], area=two[1])
    np.testing.assert_array_equal(walks.read_direction(f"{path}:area", 6, 8), two[1])
    with pytest.raises(UserError, match="its arrays are lightness, area"):
        walks.read_direction(f"{path}:lightnes", 6, 8)
    with pytest.raises(UserError, match=r"cannot read --direction=.*No such file"):
        walks.read_direction(str(tmp_path / "none.npz"), 6, 8)
