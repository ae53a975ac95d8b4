"""Every metric's formula: official numbers, and independent forms in NumPy and SciPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from metrics import linear_separability, perceptual_path_length, results
from metrics.frechet_inception_distance import fid_of_moments, frechet_distance, streaming_moments
from metrics.inception_score import inception_score
from metrics.kernel_inception_distance import kernel_distance
from metrics.precision_recall import neighborhood_radii, precision_recall

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def official(golden_dir):
    with np.load(golden_dir / "metrics.npz") as file:
        return {name: file[name] for name in file.files}


def test_official_fid(official):
    reals = streaming_moments(np.array_split(official["feat_real"], 7))
    fakes = streaming_moments([official["feat_fake"]])
    assert fid_of_moments(reals, fakes) == pytest.approx(official["fid"], rel=1e-4)


def test_official_kid(official):
    value = kernel_distance(official["feat_real"][:500], official["feat_fake"], RNG(0), 1)
    assert value == pytest.approx(official["kid_500_single_subset"], rel=2e-5)


def test_official_precision_and_recall(official):
    reals, fakes = official["feat_real"], official["feat_fake"]
    for i, k in enumerate(official["pr_nhood"]):
        radii = [neighborhood_radii(x, int(k)) for x in (reals, fakes)]
        values = precision_recall(reals, radii[0], fakes, radii[1])
        assert values == pytest.approx([official["precision"][i], official["recall"][i]], rel=1e-6)


def test_official_inception_score(official):
    batches = np.array_split(official["is_probs"], 13)
    values = inception_score(batches, 500, int(official["is_num_splits"]))
    expected = float(official["is_mean"]), float(official["is_std"])
    assert values == pytest.approx(expected, rel=1e-6)


def test_official_path_length(official):
    value = perceptual_path_length.path_length(official["ppl_distances"])
    assert value == pytest.approx(official["ppl"], rel=1e-6)


def test_moments_of_a_stream_are_those_of_the_whole():
    x = RNG(1).standard_normal([2500, 7]) * 3 + 1e6  # A mean that would cancel digits.
    moments = streaming_moments(np.array_split(x, 311))
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance(1), np.cov(x.T), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(moments.covariance(0), np.cov(x.T, bias=True), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_equals_a_general_matrix_root(seed):
    rng = RNG(seed)
    x, y = (rng.standard_normal([400, 30]) @ rng.standard_normal([30, 30]) for _ in range(2))
    c1, c2 = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * root)
    assert frechet_distance(x.mean(0), c1, y.mean(0), c2) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_with_fewer_images_than_features_and_of_constant_features():
    x, y = RNG(0).standard_normal([2, 20, 100])
    c1, c2 = np.cov(x.T), np.cov(y.T)
    x0, y0 = (v - v.mean(0) for v in (x, y))
    # tr (XᵀX YᵀY)^½ is the sum of the singular values of XYᵀ.
    trace = np.linalg.svd(x0 @ y0.T / 19, compute_uv=False).sum()
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c1 + c2) - 2 * trace
    assert frechet_distance(x.mean(0), c1, y.mean(0), c2) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(x.mean(0), c1, x.mean(0), c1) == pytest.approx(0, abs=1e-5)
    zero = np.zeros([100, 100])
    assert frechet_distance(x[0], zero, x[0], c1) == pytest.approx(np.trace(c1))


def test_features_that_are_not_finite_have_no_distance():
    good = streaming_moments([np.ones([5, 3])])
    bad = streaming_moments([np.full([5, 3], np.nan)])
    with pytest.raises(UserError, match="generated images are not finite"):
        fid_of_moments(good, bad)
    with pytest.raises(UserError, match="no images"):
        streaming_moments([])


def test_kernel_distance_is_the_unbiased_estimate():
    x, y = RNG(3).standard_normal([2, 40, 6])
    y += 0.5
    kernel = lambda a, b: (np.dot(a, b) / 6 + 1) ** 3  # noqa: E731
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
    within = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs) / len(pairs)
    between = np.mean([[kernel(a, b) for b in y] for a in x])
    assert kernel_distance(x, y, RNG(0), 1) == pytest.approx(within - 2 * between, rel=1e-5)
    same = np.mean(
        [kernel_distance(*RNG(s).standard_normal([2, 60, 4]), RNG(0), 1) for s in range(60)]
    )
    assert abs(same) < 0.02  # Zero on average, not biased by the number of images.


def test_kernel_distance_uses_subsets_of_at_most_that_size():
    x = RNG(0).standard_normal([50, 3])
    values = {kernel_distance(x, x + 1, RNG(s), 3, max_subset_size=10) for s in range(3)}
    assert len(values) == 3
    with pytest.raises(UserError, match="1 real and 50 generated"):
        kernel_distance(x[:1], x, RNG(0))


def test_precision_and_recall_by_counting(monkeypatch):
    # Blocks that do not divide the numbers of rows.
    monkeypatch.setattr("metrics.neighborhoods._ROWS", 7)
    monkeypatch.setattr("metrics.neighborhoods._COLUMNS", 11)
    # Whole numbers, which half precision holds exactly.
    rng = RNG(0)
    reals, fakes = rng.integers(-9, 9, [45, 5]), rng.integers(-6, 12, [38, 5])
    k = 3

    def radii(x):
        d = ((x[:, None] - x[None]) ** 2).sum(2)
        return np.sort(d, axis=1)[:, k]

    between = ((reals[:, None] - fakes[None]) ** 2).sum(2)
    precision = np.mean((between <= radii(reals)[:, None]).any(0))
    recall = np.mean((between <= radii(fakes)[None]).any(1))
    found = [neighborhood_radii(x.astype("f4"), k) for x in (reals, fakes)]
    np.testing.assert_array_equal(found[0], radii(reals))
    values = precision_recall(reals.astype("f4"), found[0], fakes.astype("f4"), found[1])
    assert values == (precision, recall) and 0 < precision < 1


def test_features_too_large_for_half_precision_are_compared_exactly():
    x = RNG(0).integers(-2000, 2000, [30, 4]).astype(np.float32)
    expected = np.sort(((x[:, None] - x[None]) ** 2).sum(2), axis=1)[:, 2]
    np.testing.assert_allclose(neighborhood_radii(x, 2), expected, rtol=1e-5)


def test_equal_sets_have_full_precision_and_recall():
    x = RNG(0).standard_normal([30, 4]).astype("f4")
    radii = neighborhood_radii(x, 3)
    assert precision_recall(x, radii, x, radii) == (1, 1)
    far = precision_recall(x, radii, x + 50, radii)
    assert far == (0, 0)


def test_inception_score_of_sure_and_unsure_classifiers():
    sure = np.eye(10)[np.arange(100) % 10]
    assert inception_score([sure], 100, 2) == pytest.approx((10, 0))  # No NaN of 0 · log 0.
    assert inception_score([np.full([100, 10], 0.1)], 100, 2) == pytest.approx((1, 0))


def test_path_length_leaves_the_ends_out():
    distances = np.concatenate([np.arange(1.0, 100), [1e9]])
    low, high = np.percentile(distances, [1], method="lower"), np.sort(distances)[99]
    kept = distances[(distances >= low) & (distances <= high)]
    assert perceptual_path_length.path_length(distances) == pytest.approx(kept.mean())
    assert perceptual_path_length.path_length(np.append(np.ones(300), 1e9)) == 1


def test_slerp_moves_at_even_speed_on_the_sphere(session):
    a, b = RNG(0).standard_normal([2, 5, 16]).astype("f4")
    t = np.linspace(0, 1, 5, dtype="f4")[:, None]
    slerp = perceptual_path_length.slerp(*map(tf.constant, (a, b, t)))
    found = tflib.run(slerp)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    angle = np.arccos(np.sum(unit(a) * unit(b), axis=1, keepdims=True))
    expected = (np.sin((1 - t) * angle) * unit(a) + np.sin(t * angle) * unit(b)) / np.sin(angle)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_images_of_path_lengths_are_cropped_to_faces_and_reduced(session):
    images = RNG(0).uniform(-1, 1, [1, 3, 512, 512]).astype("f4")
    found = tflib.run(perceptual_path_length.prepare_images(tf.constant(images), crop=False))
    boxes = images.reshape(1, 3, 256, 2, 256, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(found, (boxes + 1) * 127.5, atol=1e-3)
    face = tflib.run(perceptual_path_length.prepare_images(tf.constant(images), crop=True))
    np.testing.assert_allclose(face, (images[:, :, 192:448, 128:384] + 1) * 127.5, atol=1e-3)
    grey = tf.constant(images[:, :1, :64, :64])
    assert perceptual_path_length.prepare_images(grey, False).shape.as_list() == [1, 3, 64, 64]


def test_images_of_classifiers_that_are_not_square_are_reduced_too(session):
    seen = []

    def build(images):
        seen.append(images.shape.as_list())
        return {"features": tf.reduce_mean(images, axis=[1, 2])[:, :1]}

    metric = linear_separability.LS("ls", 20, 10, num_attributes=1)
    metric._classifiers = [SimpleNamespace(build=build)]
    for height, width, expected in (
        (768, 512, [256, 170]),
        (512, 768, [256, 384]),
        (64, 9, [64, 9]),
    ):
        made = {}, tf.zeros([1, 3, height, width]), tf.zeros([1, 2, 4])
        Gs = SimpleNamespace(output_shape=[None, 3, height, width])
        metric._build(SimpleNamespace(Gs=Gs, fake_images=lambda *_, **__: made))(0)  # noqa: B023
        assert seen.pop() == [1, 3, *expected]


def test_support_vector_machine_has_the_least_loss():
    rng = RNG(0)
    x = rng.standard_normal([200, 4]).astype("f4")
    y = np.where(x @ [1, -2, 0, 0.5] + 0.3 + rng.standard_normal(200) > 0, 1.0, -1.0)
    w = linear_separability.linear_svm(x, y)
    padded = np.concatenate([x, np.ones([200, 1])], axis=1)

    def loss(w):
        return w @ w / 2 + np.sum(np.maximum(1 - y * (padded @ w), 0) ** 2)

    assert all(loss(w) <= loss(w + d) for d in 1e-2 * rng.standard_normal([50, 5]))
    gradient = w - 2 * padded.T @ (y * np.maximum(1 - y * (padded @ w), 0))
    np.testing.assert_allclose(gradient, 0, atol=0.05)


def test_separability_of_what_latents_tell_and_do_not_tell():
    rng = RNG(0)
    z = rng.standard_normal([4000, 3])
    sure = 1 / (1 + np.exp(-20 * z[:, :1]))
    assert linear_separability.separability(z, sure, 2000) == pytest.approx(1, abs=0.05)
    noise = rng.uniform(size=[4000, 1])
    assert linear_separability.separability(z, noise, 2000) == pytest.approx(2, abs=0.02)
    both = np.concatenate([sure, noise], axis=1)
    assert linear_separability.separability(z, both, 2000) == pytest.approx(2, abs=0.1)
    assert linear_separability.separability(z, np.full([4000, 1], 0.9), 2000) == 1


def test_conditional_entropy():
    x, y = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool), np.array([1, 1, 0, 0, 0, 0, 1, 1], bool)
    counts = np.histogram2d(x, y, bins=2)[0]
    p = counts / 8
    cells = [(i, j) for i in (0, 1) for j in (0, 1)]
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    np.testing.assert_allclose(linear_separability.prob_normalize(counts), p)
    joint = -sum(p[c] * np.log2(p[c]) for c in cells)
    assert linear_separability.entropy(counts) == pytest.approx(joint)
    shared = sum(p[i, j] * np.log2(p[i, j] / (rows[i] * columns[j])) for i, j in cells)
    assert linear_separability.mutual_information(counts) == pytest.approx(shared)
    expected = -sum(p[i, j] * np.log2(p[i, j] / rows[i]) for i, j in cells)
    assert linear_separability.conditional_entropy(counts) == pytest.approx(expected)
    assert linear_separability.conditional_entropy(np.diag([3, 5])) == 0
    with pytest.raises(UserError, match="two axes"):
        linear_separability.prob_normalize([1, 2])


def test_features_that_are_all_the_same_are_no_distance_of_zero():
    same = streaming_moments([np.ones([5, 3]), np.ones([4, 3])])
    with pytest.raises(UserError, match="the features of all real images are the same"):
        fid_of_moments(same, same)


def test_result_lines():
    report = results.MetricReport(
        "fid50k", "network-snapshot-000000", {"": 12.34561}, {}, 1, 312, 0
    )
    line = "network-snapshot-000000        time 5m 12s       fid50k 12.3456"
    assert results.result_line(report) == line
    report = results.MetricReport(
        "pr50k3",
        "x" * 40,
        {"_precision": 0.5, "_recall": 0.25},
        {"_precision": 0.1, "_recall": 0.2},
        10,
        8,
        0,
    )
    assert results.result_line(report) == (
        "..." + "x" * 26 + "  time 8s           pr50k3_precision 0.5000     "
        "pr50k3_recall 0.2500     deviation 0.1000 0.2000 repeats 10"
    )
