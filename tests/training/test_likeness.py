"""Nearest vectors, the test for copying, and what a catalog is chosen by."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.stats
from PIL import Image
from small_networks import SHAPE

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from metrics.copies import copying_z
from training.datasets.photos.arrays import to_picture, to_pixels
from training.datasets.sources.drawn_products import draw_product
from training.latents.likeness import (
    Gallery,
    Likeness,
    copy_limit,
    nearest,
    nearest_either_way,
    place_vectors,
)
from training.pictures.candidates import GROUP, candidate_seeds, regrouped_scores

RNG = np.random.default_rng(5)


def in_blocks(vectors, size):
    return ((begin, vectors[begin : begin + size]) for begin in range(0, len(vectors), size))


def test_nearest_is_that_of_all_distances():
    vectors = RNG.normal(size=[200, 6]).astype(np.float32)
    queries = RNG.normal(size=[9, 6]).astype(np.float32)
    distances = ((queries[:, np.newaxis] - vectors) ** 2).sum(axis=2)
    for size in (7, 64, 500):
        found = nearest(queries, in_blocks(vectors, size))
        np.testing.assert_array_equal(found.numbers, distances.argmin(axis=1))
        np.testing.assert_allclose(found.distances, distances.min(axis=1), rtol=1e-4, atol=1e-5)
        others = np.sort(distances, axis=1)[:, 1:51].mean(axis=1)
        np.testing.assert_allclose(found.relative, distances.min(axis=1) / others, rtol=1e-4)
    few = nearest(queries, in_blocks(vectors[:3], 2))  # Fewer others than are wanted.
    np.testing.assert_allclose(
        few.relative, np.min(distances[:, :3], 1) / np.sort(distances[:, :3])[:, 1:].mean(1), 1e-4
    )


@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (0.1, 100), (1e5, 0), (1e30, 0), (1e-30, 0), (1, 1e5)]
)
def test_copies_are_found_whatever_the_size_of_features(scale, offset):
    """Those of networks of the user's own: in clusters, far from 0, large or small."""
    vectors = RNG.normal(size=[200, 8])
    vectors[::2] += 3000
    vectors = (vectors * scale + offset).astype(np.float32)
    gallery = Gallery()
    gallery.add(vectors)
    found = nearest(vectors, gallery.blocks())
    np.testing.assert_array_equal(found.numbers, np.arange(200))
    assert found.relative.max() < 1e-3
    assert found.are_copies(copy_limit(vectors, gallery.blocks())).all()
    other = nearest(vectors[:5], ((begin, block) for begin, block in in_blocks(vectors[5:], 40)))
    assert (other.relative > 0.001).all() and np.isfinite(other.relative).all()


def test_memory_does_not_grow_with_narrow_vectors(monkeypatch):
    gallery = Gallery()
    gallery.add(np.zeros([30_000, 1], np.float32))
    assert max(len(block) for _, block in gallery.blocks()) <= 8192
    tables = []
    concatenate = np.concatenate
    monkeypatch.setattr(
        np,
        "concatenate",
        lambda x, **kw: tables.append(sum(a.size for a in x)) or concatenate(x, **kw),
    )
    nearest(np.zeros([3000, 1], np.float32), gallery.blocks())
    assert 0 < max(tables) <= 1.1 * (1 << 22)


def test_the_mirror_image_may_be_nearer():
    vectors = np.eye(4, dtype=np.float32)
    queries = np.stack([vectors[[0, 1]] * 0.9, vectors[[2, 1]]], axis=1)  # [2, 2, 4]
    found = nearest_either_way(queries, [(0, vectors)])
    assert found.numbers.tolist() == [2, 1]
    assert found.are_mirrored.tolist() == [True, True]
    assert nearest_either_way(queries[:, ::-1], [(0, vectors)]).are_mirrored.tolist() == [False] * 2
    assert found[1:].numbers.tolist() == [1]


def test_a_gallery_gives_what_it_was_given():
    gallery = Gallery()
    assert list(gallery.blocks()) == []
    vectors = RNG.normal(size=[30, 5]).astype(np.float32)
    for part in np.split(vectors, [7, 7, 20]):
        gallery.add(part)
    assert gallery.count == 30
    np.testing.assert_array_equal(gallery.take(np.array([3, 29])), vectors[[3, 29]])
    kept = np.concatenate([block for _, block in gallery.blocks()])
    np.testing.assert_array_equal(kept, vectors)
    gallery = Gallery(np.float16)
    gallery.add(vectors)
    kept = np.concatenate([block for _, block in gallery.blocks()])
    assert kept.dtype == np.float32
    np.testing.assert_allclose(kept, vectors, rtol=1e-3)


def test_the_test_for_copying_is_that_of_mann_and_whitney():
    a, b = RNG.normal(size=80), RNG.normal(0.4, size=50)
    p = scipy.stats.mannwhitneyu(a, b, use_continuity=False, method="asymptotic").pvalue
    assert copying_z(a, b) == pytest.approx(-scipy.stats.norm.isf(p / 2))
    assert copying_z(b, a) == pytest.approx(-copying_z(a, b))
    assert copying_z(a, a) == pytest.approx(0)


@pytest.fixture(scope="module")
def D():
    """A discriminator of 32x32 that has learned nothing: random features tell pictures apart."""
    with tflib.graph_session(seed=1):
        shape = {**SHAPE, "resolution": 32, "fmap_base": 4096, "fmap_max": 32}
        D = Network("D", "training.networks_stylegan2.D_stylegan2", label_size=2, **shape)
        assert D.vars
        yield D


def drawn(numbers, size=32):
    """Drawn products uint8 [N, 3, 32, 32]."""
    return np.stack([draw_product(0, number, size)[0] for number in numbers])


def test_copies_are_told_from_new_pictures(D):
    likeness = Likeness(D, "a test")
    photos, fresh, held_out = drawn(range(300)), drawn(range(300, 400)), drawn(range(400, 500))

    def compressed(image):
        content = io.BytesIO()
        to_picture(image).save(content, "JPEG", quality=80)
        return to_pixels(Image.open(content))

    vectors = likeness(photos)
    blocks = [(0, vectors)]
    copies = np.stack([compressed(image) for image in photos[:100]])
    found = nearest(likeness(copies), blocks)
    assert (found.numbers == np.arange(100)).mean() > 0.97
    limit = copy_limit(vectors[::3], blocks)
    assert limit == pytest.approx(np.quantile(nearest(vectors[::3], blocks).seconds, 0.05))
    assert found.are_copies(limit).mean() > 0.9
    both = np.stack([likeness(copies[:, :, :, ::-1]), likeness(copies)], axis=1)
    assert nearest_either_way(both, blocks).are_mirrored.mean() > 0.9
    new, held = nearest(likeness(fresh), blocks), nearest(likeness(held_out), blocks)
    assert copying_z(found.distances, held.distances) < -3
    assert abs(copying_z(new.distances, held.distances)) < 2
    assert new.are_copies(limit).mean() < 0.1


def test_vectors_follow_their_definition(D):
    images = drawn(range(2))
    found = Likeness(D, "a test")(images)
    # What blocks of 16x16 and 8x8 give: unit length in each place, averaged to 4x4.
    assert found.shape == (2, 16 * (32 + 32))
    lengths = (found.reshape(2, 2, 16, 32) ** 2).sum(axis=(2, 3))
    assert lengths[:, 1] == pytest.approx(0.5, abs=1e-4)  # Of the coarser one, all of it.
    assert (lengths[:, 0] < 0.5).all() and (lengths[:, 0] > 0.1).all()


def test_what_has_no_features_is_refused(D, session):
    with pytest.raises(UserError, match="a test: the snapshot holds no discriminator"):
        Likeness(None, "a test")
    small = Network("D", "training.networks_stylegan2.D_stylegan2", **{**SHAPE, "resolution": 4})
    with pytest.raises(UserError, match="less than 8x8"):
        place_vectors(small, np.zeros([1, 3, 4, 4], np.float32))


def test_scores_hardly_depend_on_the_company(D):
    images, labels = drawn(range(2 * GROUP)), np.eye(2, dtype=np.float32)[[0, 1] * GROUP]
    with D.as_default():
        scores = regrouped_scores(D, images, labels)
        order = RNG.permutation(len(images))
        moved = regrouped_scores(D, images[order], labels[order])
        inputs = images / np.float32(127.5) - 1
        once = D.run(inputs, labels, minibatch_size=GROUP)[:, 0]
        twice = np.zeros(len(images))
        twice[order] = D.run(inputs[order], labels[order], minibatch_size=GROUP)[:, 0]
    assert np.abs(scores[order] - moved).mean() < 0.5 * np.abs(once - twice).mean()
    assert np.corrcoef(scores, once)[0, 1] > 0.5


def test_candidates_come_in_groups():
    assert candidate_seeds(5, 3, 4) == range(5, 5 + 2 * GROUP)
    assert len(candidate_seeds(0, 1, 1)) == GROUP
