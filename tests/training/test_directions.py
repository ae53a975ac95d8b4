"""Directions: every method against a few lines of NumPy, and on a generator that is known."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from dnnlib import UserError
from dnnlib.tflib import Network
from training.latents.directions import files, find, layers
from training.latents.directions.boundary import find_boundary
from training.latents.directions.combine import Combination
from training.latents.directions.effects import Effect, Ground, calibrated, shortfalls
from training.latents.directions.ganspace import principal_components
from training.latents.directions.ridge import fit_ridge
from training.latents.directions.search import Found, Sampled, Search
from training.latents.directions.sefa import sefa
from training.latents.directions.style_layers import StyleLayer, style_layers
from training.latents.directions.style_space import rank_channels
from training.snapshots.pickles import Subject

RNG = np.random.default_rng(0)
NUM_LAYERS, SIZE = 6, 8
# What the attributes of the known generator are made of: lightness from fine layers, area from
# coarse ones and a little of the middle ones, edge-density from middle and fine ones.
SLOPES = {name: RNG.normal(size=SIZE) for name in ("lightness", "area", "edge-density")}
WEIGHTS = {"lightness": [0, 0, 0, 0, 0.5, 0.5], "area": [0.4, 0.4, 0.2, 0, 0, 0],
           "edge-density": [0, 0, 0.3, 0.3, 0.4, 0]}  # fmt: skip
NAMES = tuple(SLOPES)


def attributes_of(dlatents):
    """[N, 3] of [N, 6, 8]: linear but for a bend of the second."""
    values = [np.einsum("nld,d,l->n", dlatents, SLOPES[n], WEIGHTS[n]) for n in NAMES]
    values[1] = values[1] + 0.05 * values[1] ** 2
    return np.stack(values, axis=1)


def search_of(**given):
    rng = np.random.default_rng(1)
    w = rng.normal(size=[600, SIZE]) @ np.diag(np.linspace(0.5, 2, SIZE))
    dlatents = np.repeat(w[:, np.newaxis], NUM_LAYERS, axis=1)
    values = attributes_of(dlatents)
    extra = rng.normal(size=[600, 1])  # An attribute that has nothing to do with w.
    sigmas = values.std(axis=0)

    def ground(part):
        return Ground(np.float32(dlatents[part]), values[part], NAMES, sigmas, attributes_of)

    sampled = Sampled(w[:400], np.zeros(400, int), (*NAMES, "luck"),
                           np.hstack([values, extra])[:400])  # fmt: skip
    ranges = layers.find_ranges(None, NUM_LAYERS)
    options = {"ranges": ranges, "keep": NAMES} | given
    return Search(sampled, ground(slice(400, 480)), ground(slice(480, 600)), **options)


def found_by(search, method, names=NAMES, **given):
    found = Found()
    find.find(search, method, names, given.get("count", 3), given.get("styles", ()), found)
    return found


# Formulas


def test_sefa_is_five_lines_of_numpy():
    matrices = [RNG.normal(size=[SIZE, n]) for n in (5, 9, 4)]
    a = np.concatenate(matrices, axis=1)
    a /= np.linalg.norm(a, axis=0)
    values, vectors = np.linalg.eigh(a @ a.T)
    expected = vectors[:, np.argsort(-values)].T
    expected *= np.sign(expected[np.arange(SIZE), np.abs(expected).argmax(axis=1)])[:, np.newaxis]
    np.testing.assert_allclose(sefa(matrices, 6), expected[:6], atol=1e-9)


def test_ganspace_is_pca_in_standard_deviations():
    w = RNG.normal(size=[200, SIZE]) * np.arange(1, SIZE + 1)
    values, vectors = np.linalg.eigh(np.cov(w.T, bias=True))
    found = principal_components(w, 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.sqrt(values[::-1][:3]))
    for row, vector in zip(found, vectors.T[::-1], strict=False):
        assert abs(row @ vector) == pytest.approx(np.linalg.norm(row))
        assert (w @ row).std() / np.linalg.norm(row) == pytest.approx(np.linalg.norm(row))


def test_ridge_finds_the_slope_and_tells_how_well_it_predicts():
    w, slope = RNG.normal(size=[500, SIZE]), RNG.normal(size=SIZE)
    noise = RNG.normal(size=500) * np.linalg.norm(slope)  # As strong: R² is a half.
    fit = fit_ridge(w, w @ slope + noise)
    assert fit.r2 == pytest.approx(0.5, abs=0.12)
    assert fit.sigma == pytest.approx(np.linalg.norm(slope) * np.sqrt(2), rel=0.15)
    assert fit.slope @ slope / np.linalg.norm(fit.slope) / np.linalg.norm(slope) > 0.98
    assert fit_ridge(w, RNG.normal(size=500)).r2 < 0.1


def test_ridge_is_the_minimum_of_its_sum():
    x, y = RNG.normal(size=[40, 3]), RNG.normal(size=40)
    fit = fit_ridge(x, y)
    xc, yc = x - x.mean(axis=0), y - y.mean()
    # At a minimum, the slope of the sum of squares is a multiple of what it penalizes.
    pull = xc.T @ (yc - xc @ fit.slope)
    np.testing.assert_allclose(pull / fit.slope, (pull / fit.slope).mean(), rtol=1e-6)
    assert (pull / fit.slope).mean() > 0


def test_ridge_knows_classes():
    """Classes that differ in both, against the slope within each."""
    classes = np.arange(400) % 2
    w = RNG.normal(size=[400, 2]) + 10 * classes[:, np.newaxis]
    y = w[:, 0] - 20 * classes
    assert fit_ridge(w, y, classes).slope == pytest.approx([1, 0], abs=0.01)
    assert fit_ridge(w, y).slope[0] < 0.9


def test_the_boundary_separates_extreme_scores():
    w, normal = RNG.normal(size=[1000, SIZE]), RNG.normal(size=SIZE)
    normal /= np.linalg.norm(normal)
    found, accuracy = find_boundary(w, w @ normal)
    assert found @ normal > 0.9 and accuracy > 0.9
    assert np.linalg.norm(found) == pytest.approx(1)


def test_style_channels_are_ranked_by_how_clearly_they_differ():
    w = RNG.normal(size=[1000, SIZE])
    matrix = RNG.normal(size=[SIZE, 20])
    scores = -(w @ matrix[:, 7])
    layer = StyleLayer("8x8/Conv1", 2, matrix)
    best, *rest = rank_channels([layer], w, scores, 4)
    assert (best.name, best.layer, best.channel, best.sign) == ("8x8/Conv1", 2, 7, -1)
    styles = w @ matrix
    delta = (styles - styles.mean(axis=0)) / styles.std(axis=0)
    top = delta[np.argsort(-scores)[:20]]
    theta = np.abs(top.mean(axis=0)) / top.std(axis=0)
    assert [c.theta for c in (best, *rest)] == pytest.approx(np.sort(theta)[::-1][:4])


def test_a_combination_moves_one_and_keeps_others():
    effects = RNG.normal(size=[60, 5, 2]) * 0.1 + RNG.normal(size=[5, 2])
    combination = Combination(effects)
    mean = effects.mean(axis=0)
    np.testing.assert_allclose(combination.factors @ mean, [1, 0], atol=1e-6)
    other = np.linalg.pinv(mean.T)[:, 0]  # The shortest such one is less uniform.
    spread = [
        (np.tensordot(effects, x, axes=(1, 0))[:, 0]).std() for x in (combination.factors, other)
    ]
    assert spread[0] <= spread[1] * 1.05
    moved = np.array([0.5, 0.25])
    corrected = combination.corrected(combination.factors, moved)
    np.testing.assert_allclose(
        (corrected - combination.factors) @ mean, 0.8 * ([1, 0] - moved), atol=1e-6
    )
    effects[3, 1] = np.nan  # A picture without clean background.
    assert np.isfinite(Combination(effects).factors).all()


def test_orthogonal():
    a, b, c = RNG.normal(size=[3, SIZE])
    found = find.orthogonal(a, [b, c])
    assert found @ b == pytest.approx(0) and found @ c == pytest.approx(0)
    assert np.linalg.matrix_rank(np.stack([a - found, b, c])) == 2


def test_ranges_of_layers():
    assert layers.thirds(10) == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]
    ranges = layers.parse_ranges("coarse, 4-5,9")
    assert layers.find_ranges(ranges, 10) == [[0, 1, 2], [4, 5], [9]]
    assert layers.find_ranges(None, 2) == [[0], [1]]
    with pytest.raises(UserError, match="--layers: layer 10, the network has 0 to 9"):
        layers.find_ranges(layers.parse_ranges("3-10"), 10)
    for bad in ("5-3", "corse", "", "1.5"):
        with pytest.raises(UserError, match="use numbers like 0-3, coarse, middle, fine or all"):
            layers.parse_ranges(bad)


# What a step does


def test_effects_are_in_standard_deviations_and_pass_over_what_is_not_clean():
    search = search_of()
    ground = search.ground
    step = search.step(SLOPES["lightness"], [4, 5])
    expected = SLOPES["lightness"] @ SLOPES["lightness"] / ground.sigmas[0]
    effect = ground.effect(step, "lightness")
    assert effect.moved["lightness"] == pytest.approx(expected, rel=1e-5)
    assert effect.moved["area"] == pytest.approx(0, abs=1e-6)
    assert (effect.right, effect.pictures) == (1, 80)
    values = ground.values.copy()
    values[:5] = np.nan
    partly = dataclasses.replace(ground, values=values).effect(step, "lightness")
    assert partly.pictures == 75 and partly.moved["lightness"] == pytest.approx(expected, rel=1e-5)
    scaled = calibrated(ground, step / 5, "lightness", 80)
    assert ground.effect(scaled).moved["lightness"] == pytest.approx(1, rel=1e-4)


def test_what_an_effect_lacks():
    good = Effect({"a": 1.0, "b": 0.4}, 0.95, 200)
    assert shortfalls(good, "a", ["b"]) == []
    bad = Effect({"a": 0.3, "b": -0.4}, 0.8, 200)
    assert len(shortfalls(bad, "a", ["a", "b"])) == 3
    assert shortfalls(Effect({"b": 1.0}, None, 200), "a", ["b"]) == [
        "its effect cannot be measured"
    ]


# Directions of the known generator


def test_ridge_directions_move_their_own_attribute_and_no_other():
    found = found_by(search_of(), "ridge", (*NAMES, "luck"))
    assert list(found.infos) == list(NAMES)
    for name, info in found.infos.items():
        assert info.effect[name] == pytest.approx(1, abs=0.15)
        assert all(abs(v) < 0.5 for other, v in info.effect.items() if other != name)
        assert info.right > 0.95 and info.r2 > 0.8 and not info.shortfalls
        assert info.keep == [other for other in NAMES if other != name]
    assert "cannot be predicted from w: held-out R²" in found.refused["luck"]


def test_layers_that_may_not_change_do_not():
    search = search_of(ranges=[[4, 5]])
    found = found_by(search, "ridge", ("lightness",))
    assert found.infos["lightness"].layers == [4, 5]
    assert not found.arrays["lightness"][:4].any() and found.arrays["lightness"][4:].any()
    # Area does not depend on these layers: the tool says so.
    lacking = found_by(search, "ridge", ("area",)).infos["area"].shortfalls
    assert any("of the pictures move the right way" in text for text in lacking)


def test_scores_of_given_seeds_have_directions_that_are_not_measured():
    search = search_of(keep=["area"])
    hidden = dataclasses.replace(search.ground, names=("x", *NAMES[1:]))
    search = dataclasses.replace(search, ground=hidden, check=hidden)
    found = found_by(search, "ridge", ("lightness",))
    info, step = found.infos["lightness"], found.arrays["lightness"][0]
    assert info.shortfalls == ["its effect cannot be measured"] and info.right is None
    fits, _ = search.fits(["lightness", "area"])
    assert step @ fits["lightness"].slope == pytest.approx(fits["lightness"].sigma, rel=1e-4)
    assert step @ fits["area"].slope == pytest.approx(0, abs=1e-4)


def test_boundary_directions_are_scaled_to_what_they_do():
    found = found_by(search_of(keep=[]), "boundary", ("lightness",))
    info = found.infos["lightness"]
    assert info.effect["lightness"] == pytest.approx(1, abs=0.15) and info.accuracy > 0.8


@pytest.mark.parametrize("method", ["sefa", "ganspace"])
def test_unsupervised_directions_are_labeled_with_what_they_move(method):
    search = search_of(ranges=[[4, 5]])
    styles = [StyleLayer("a", 4, RNG.normal(size=[SIZE, 12])), StyleLayer("b", 0, np.eye(SIZE))]
    found = found_by(search, method, styles=styles)
    assert list(found.infos) == [f"{method}-{i}" for i in range(3)]
    info, step = found.infos[f"{method}-0"], found.arrays[f"{method}-0"]
    w = search.sampled.w
    vector = step[4].astype(float)
    assert (w @ vector).std() / np.linalg.norm(vector) == pytest.approx(
        np.linalg.norm(vector), rel=1e-3
    )
    assert not step[:4].any()
    name = max(info.effect, key=lambda n: abs(info.effect[n]))
    assert f"{name} {info.effect[name]:+.1f}" in info.unit
    if method == "sefa":
        expected = sefa([styles[0].matrix], 1)[0]
        assert abs(expected @ vector) == pytest.approx(np.linalg.norm(vector), rel=1e-5)


def test_style_layers_of_every_family(session):
    small = {
        "num_channels": 3,
        "resolution": 16,
        "fmap_base": 64,
        "fmap_max": 8,
        "mapping_layers": 2,
    }
    sg2 = Network("G", "training.networks_stylegan2.G_main", **small, latent_size=8, dlatent_size=8,
                  mapping_fmaps=8)  # fmt: skip
    found = style_layers(sg2)
    assert [(s.name, s.layer) for s in found] == [
        ("4x4/Conv", 0), ("4x4/ToRGB", 1), ("8x8/Conv0_up", 1), ("8x8/Conv1", 2),
        ("16x16/Conv0_up", 3), ("8x8/ToRGB", 3), ("16x16/Conv1", 4), ("16x16/ToRGB", 5),
    ]  # fmt: skip
    assert found[0].matrix.shape == (8, 8)
    small |= {"resolution": 8}
    sg1 = Network("G", "training.networks_stylegan.G_style", **small, latent_size=8, dlatent_size=8,
                  mapping_fmaps=8)  # fmt: skip
    assert [s.layer for s in style_layers(sg1)] == list(range(4))


# Files


@pytest.fixture
def saved(tmp_path):
    arrays = {"lightness": RNG.normal(size=[2, 4]).astype(np.float32)}
    info = files.DirectionInfo("one σ", [0, 1], r2=0.5, effect={"lightness": 1.0}, right=0.9)
    about = files.DirectionsInfo("ab" * 32, "net.pkl", "ridge", 2, 4, 1.0, 100, 0.9,
                                 sigmas={"lightness": 10.0}, directions={"lightness": info},
                                 refused={"area": "R² 0.01"})  # fmt: skip
    path = str(tmp_path / "d.npz")
    files.save(path, files.Directions(about, arrays))
    return path, about, arrays


def test_files_there_and_back(saved):
    path, about, arrays = saved
    found = files.load(path)
    assert dataclasses.replace(found.info, arrays_sha256="") == about
    np.testing.assert_array_equal(found.arrays["lightness"], arrays["lightness"])
    shape = SimpleNamespace(input_shape=[None, 2, 4])
    Gs = SimpleNamespace(components=SimpleNamespace(synthesis=shape))
    files.check_network(found, path, Subject("net.pkl", "ab" * 32, Gs, None))
    with pytest.raises(UserError, match=r"directions of another network, net.pkl"):
        files.check_network(found, path, Subject("other.pkl", "cd" * 32, Gs, None))
    shape.input_shape = [None, 3, 4]
    with pytest.raises(UserError, match=r"directions \[2, 4\], and w of net.pkl are \[3, 4\]"):
        files.check_network(found, path, Subject("net.pkl", "ab" * 32, Gs, None))
    with pytest.raises(UserError, match="did you mean lightness"):
        files.find_direction(found, path, "lightnes")
    with pytest.raises(UserError, match=r"no direction for area: R² 0.01"):
        files.find_direction(found, path, "area")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 3}, r"float32 \[2, 4\], expected a direction .* float32 \[3, 4\]"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"directions": {}}, "expected a direction of"),
        ({"arrays_sha256": "0"}, "is not the one that"),
        ({"samples": -1}, "samples is -1"),
        ({"surprise": 1}, "there is no option surprise"),
    ],
)
def test_damaged_files(saved, change, message):
    path = files.json_path(saved[0])
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content | change, file)
    with pytest.raises(UserError, match=message):
        files.load(saved[0])


def test_files_that_are_missing_or_no_archive(saved, tmp_path):
    with open(saved[0], "wb") as file:
        file.write(b"PK nothing")
    with pytest.raises(UserError, match=r"cannot read .*d.npz"):
        files.load(saved[0])
    with pytest.raises(UserError, match=r"cannot read .*none.json: No such file"):
        files.load(str(tmp_path / "none.npz"))
