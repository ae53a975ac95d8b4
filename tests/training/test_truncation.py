"""Centers of truncation: means of classes and clusters against NumPy, and the file beside them."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import SHAPE, STYLE

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.latents import truncation
from training.latents.options import TruncationOptions
from training.latents.starting_point import sample_dlatents
from training.pictures import generation
from training.snapshots import pickles
from training.snapshots.class_names import Mix, class_labels

CLASS, CLUSTER = TruncationOptions("class"), TruncationOptions("cluster", 5)


@pytest.fixture(scope="module")
def Gs():
    with tflib.graph_session(seed=3):
        network = Network("Gs", "training.networks.G_main", label_size=3, **SHAPE, **STYLE)
        network.set_var("dlatent_avg", np.linspace(-1, 1, 8))
        yield network


def test_means_of_classes(Gs):
    centers = truncation.find_centers(Gs, CLASS)
    z = np.random.RandomState(123).randn(10000, 8)
    for number in range(3):
        w = Gs.components.mapping.run(z, np.eye(3)[[number] * 10000])[:, 0]
        np.testing.assert_allclose(centers.points[number], w.mean(axis=0), atol=1e-5)
    labels = class_labels(Gs, [2, Mix(((0, 0.25), (1, 0.75)))])
    found = centers.of(np.zeros([2, 6, 8]), labels)
    mixed = 0.25 * centers.points[0] + 0.75 * centers.points[1]
    np.testing.assert_allclose(found[:, 0], [centers.points[2], mixed], atol=1e-6)


def test_clusters_are_those_of_k_means(Gs):
    """Each center is the mean of what it is nearest to, and w are given the nearest."""
    centers = truncation.find_centers(Gs, CLUSTER)
    w = sample_dlatents(Gs, 10000)
    distances = np.square(w[:, np.newaxis] - centers.points).sum(axis=2)
    nearest = distances.argmin(axis=1)
    assert len(set(nearest)) == 5
    spread = w.std(axis=0).max()
    for i, point in enumerate(centers.points):
        np.testing.assert_allclose(point, w[nearest == i].mean(axis=0), atol=0.02 * spread)
    whole = np.square(w - w.mean(axis=0)).sum(axis=1).mean()
    assert distances.min(axis=1).mean() < 0.8 * whole
    found = centers.of(np.repeat(w[:50, np.newaxis], 6, axis=1), np.zeros([50, 3]))
    np.testing.assert_array_equal(found[:, 0], centers.points[nearest[:50]])


def test_truncation_draws_to_the_center(Gs):
    z, labels = np.random.RandomState(0).randn(4, 8), np.eye(3)[[0, 1, 2, 0]]
    w = Gs.components.mapping.run(z, labels)
    for options in (CLASS, CLUSTER, TruncationOptions()):
        centers = truncation.find_centers(Gs, options)
        center = centers.of(w, labels)
        for psi in (0, 0.3, 1):
            expected = center + (w - center) * psi
            found = truncation.truncated(Gs, z, labels, psi, centers)
            np.testing.assert_allclose(found, expected, atol=1e-6)
    # The official center makes the official pictures.
    images = Gs.run(z, labels, truncation_psi=0.3, randomize_noise=False)
    found = truncation.truncated(Gs, z, labels, 0.3, centers)
    again = Gs.components.synthesis.run(found, randomize_noise=False)
    np.testing.assert_allclose(again, images, atol=1e-5)
    images = [generation.image_of_seed(Gs, 1, labels[:1], 0, "const", c) for c in (centers, None)]
    np.testing.assert_array_equal(*images)


def test_centers_are_kept_beside_the_snapshot(Gs, tmp_path, monkeypatch, capsys):
    path = str(tmp_path / "network.pkl")
    pickles.save(Gs, path)
    monkeypatch.setattr(truncation, "_SAMPLES", 100)
    computed = []
    compute = truncation._compute
    monkeypatch.setattr(truncation, "_compute", lambda *a: computed.append(a[1]) or compute(*a))

    def find(options):
        points = truncation.find_centers(Gs, options, path).points
        return points, [computed.pop() for _ in list(computed)]

    first, how = find(CLASS)
    kept = tmp_path / "network-centers-class.npz"
    assert how == ["class"] and kept.exists()
    again, how = find(CLASS)
    assert how == [] and np.array_equal(first, again)
    assert find(CLUSTER)[1] == ["cluster"] and find(CLUSTER)[1] == []
    assert find(TruncationOptions("cluster", 4))[1] == ["cluster"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "network-centers-class.npz",
        "network-centers-cluster4.npz",
        "network-centers-cluster5.npz",
        "network.pkl",
    ]
    kept.write_bytes(kept.read_bytes()[:-100])  # Damaged.
    assert find(CLASS)[1] == ["class"] and find(CLASS)[1] == []
    arrays = dict(np.load(kept))
    for wrong in ({"points": arrays["points"][:2]}, {"points": np.full([3, 8], np.nan, "f4")}):
        np.savez(kept, **arrays | wrong)
        assert find(CLASS)[1] == ["class"]
    pickles.save(Gs.components.mapping, path)  # Another snapshot of the same name.
    assert find(CLASS)[1] == ["class"]
    assert capsys.readouterr().err == ""
    kept.unlink()
    kept.mkdir()  # No place to write to.
    (kept / "file").touch()
    assert find(CLASS)[1] == ["class"]
    assert capsys.readouterr().err.count("are computed each time") == 1


def test_what_there_is_not(Gs, session):
    with pytest.raises(UserError, match="use global, class, cluster"):
        TruncationOptions("median")
    with pytest.raises(UserError, match="expected 1 to 1000"):
        TruncationOptions("cluster", 0)
    plain = Network("plain", "training.networks.G_main", **SHAPE, **STYLE)
    with pytest.raises(UserError, match="--truncation=class: the network has no classes"):
        truncation.find_centers(plain, CLASS)
    plain.set_var("G_mapping/Dense0/bias", np.full(8, np.inf))
    with pytest.raises(UserError, match="not finite"):
        truncation.find_centers(plain, CLUSTER)
