"""The demo's drawn product pictures: determinism, readability, variety, resolutions."""

import colorsys
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnnlib import UserError
from training.datasets.sources.drawn_products import DEMO_CLASSES, PALETTE, draw_product

ROOT = Path(__file__).resolve().parents[1]


def _pictures(count: int, resolution: int = 32, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    drawn = [draw_product(seed, index, resolution) for index in range(count)]
    return np.stack([picture for picture, _ in drawn]), np.array([label for _, label in drawn])


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    return _pictures(240)  # uint8 [240, 3, 32, 32], int [240]


def _product_mask(pictures: np.ndarray) -> np.ndarray:
    # The shadow on the floor is grey, never darker than 255 - 60.
    return pictures.min(axis=1) < 190  # [N, H, W]


def test_the_same_arguments_give_the_same_picture():
    # Other pictures in between: no generator state may leak from one call to the next.
    first, first_labels = _pictures(12)
    _pictures(5, resolution=64, seed=8)
    again, again_labels = _pictures(12)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_labels, again_labels)


def test_a_new_process_draws_the_same_bytes():
    code = (
        "import hashlib, sys\n"
        "from training.datasets.sources.drawn_products import draw_product\n"
        "for index in map(int, sys.argv[1:]):\n"
        "    picture, label = draw_product(11, index, 64)\n"
        "    print(label, hashlib.sha256(picture.tobytes()).hexdigest())\n"
    )
    indexes = [0, 5, 123456]
    command = [sys.executable, "-c", code, *map(str, indexes)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    here = [draw_product(11, index, 64) for index in indexes]
    expected = [f"{label} {hashlib.sha256(p.tobytes()).hexdigest()}" for p, label in here]
    assert run.stdout.split("\n")[:-1] == expected


def test_every_index_and_every_seed_draw_another_picture(sample):
    pictures, _ = sample
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    other, _ = _pictures(24, seed=4)
    assert not any(np.array_equal(a, b) for a, b in zip(pictures, other, strict=False))


def test_the_order_of_the_classes_depends_on_the_seed(sample):
    _, labels = sample
    _, other = _pictures(60, resolution=4, seed=4)
    assert labels[:60].tolist() != other.tolist()


@pytest.mark.parametrize("resolution", [4, 8, 32, 128, 256])
def test_shape_type_and_range(resolution):
    picture, label = draw_product(0, 1, resolution)
    assert picture.shape == (3, resolution, resolution)
    assert picture.dtype == np.uint8
    assert isinstance(label, int)
    assert 0 <= label < len(DEMO_CLASSES)
    assert picture.max() > 240 > 200 > picture.min()  # a white background and a coloured product


def test_channels_are_red_green_blue_and_every_colour_of_the_palette_is_used(sample):
    pictures, _ = sample
    masks = _product_mask(pictures)
    medians = [np.median(p[:, m], axis=1) for p, m in zip(pictures, masks, strict=True)]
    for main, _ in PALETTE:
        assert min(np.abs(median - main).max() for median in medians) < 25, main


def test_the_background_is_white_at_the_corners(sample):
    pictures, _ = sample
    corners = pictures[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_array_equal(corners, 255)


def test_the_product_is_large_and_in_the_middle(sample):
    pictures, labels = sample
    for mask, label in zip(_product_mask(pictures), labels, strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        extents = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
        assert max(extents) >= 0.70 * 32, DEMO_CLASSES[label]
        assert abs((rows[0] + rows[-1]) / 2 - 15.5) <= 4, DEMO_CLASSES[label]
        assert abs((columns[0] + columns[-1]) / 2 - 15.5) <= 2.5, DEMO_CLASSES[label]
        assert 0.15 < mask.mean() < 0.65, DEMO_CLASSES[label]


def test_six_pictures_in_a_row_have_every_class_once():
    assert len(DEMO_CLASSES) == len(set(DEMO_CLASSES)) == 6
    labels = [draw_product(5, index, 4)[1] for index in range(120)]
    groups = np.array(labels).reshape(-1, 6)
    assert (np.sort(groups, axis=1) == np.arange(6)).all()
    assert len({tuple(group) for group in groups}) > 10  # and not always in the same order


def test_silhouettes_tell_the_classes_apart(sample):
    """The nearest mean silhouette of one half of the sample names the class of the other half."""
    pictures, labels = sample
    masks = _product_mask(pictures).astype(float)
    means = np.stack([masks[:120][labels[:120] == k].mean(axis=0) for k in range(6)])
    distance = ((masks[120:, None] - means) ** 2).sum(axis=(2, 3))  # [120, 6]
    assert np.mean(distance.argmin(axis=1) == labels[120:]) > 0.97


def test_pictures_of_one_class_differ_in_shape(sample):
    pictures, labels = sample
    for k, name in enumerate(DEMO_CLASSES):
        masks = _product_mask(pictures[labels == k])
        uncertain = (masks.mean(axis=0) > 0.05) & (masks.mean(axis=0) < 0.95)
        assert uncertain.mean() > 0.05, name


def test_every_class_comes_in_many_hues(sample):
    pictures, labels = sample
    for k, name in enumerate(DEMO_CLASSES):
        chosen = pictures[labels == k]
        colours = [
            np.median(p[:, m], axis=1) for p, m in zip(chosen, _product_mask(chosen), strict=True)
        ]
        hsv = [colorsys.rgb_to_hsv(*(colour / 255)) for colour in colours]
        hues = {int(hue * 8) for hue, saturation, _ in hsv if saturation > 0.3}  # of 8 sectors
        assert len(hues) >= 5, name


def test_about_half_of_the_products_are_plain():
    """A plain t-shirt has nearly one hue and lightness over its middle; a texture has two."""
    pictures, labels = _pictures(360)
    chest = pictures[labels == DEMO_CLASSES.index("t-shirt")][:, :, 10:26, 11:21]
    spread = chest.astype(float).std(axis=(2, 3)).max(axis=1)
    assert 0.3 < np.mean(spread < 14) < 0.7


def test_a_design_is_the_same_at_every_resolution():
    large, labels = _pictures(30, resolution=64)
    small, small_labels = _pictures(30)
    np.testing.assert_array_equal(labels, small_labels)
    reduced = large.reshape(30, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    difference = np.abs(reduced - small).mean(axis=(1, 2, 3))
    assert difference.max() < 1
    # Another design of the same class is several times as far away.
    for k in range(6):
        a, b = np.flatnonzero(labels == k)[:2]
        assert np.abs(reduced[a] - small[b]).mean() > 5 * difference[a]


@pytest.mark.parametrize("resolution", [0, 2, 3, 48, 2048, -32, 32.0, "32", None])
def test_a_bad_resolution_is_a_user_error(resolution):
    with pytest.raises(UserError, match="resolution is"):
        draw_product(0, 0, resolution)


@pytest.mark.parametrize(
    ("seed", "index", "name"),
    [(-1, 0, "seed"), (0, -1, "index"), (2**64, 0, "seed"), (0, 1.5, "index")],
)
def test_a_bad_seed_or_index_is_a_user_error(seed, index, name):
    with pytest.raises(UserError, match=f"{name} is"):
        draw_product(seed, index, 32)


def test_numpy_integers_and_the_largest_seed_are_accepted():
    picture, label = draw_product(np.int64(3), np.uint8(7), np.uint8(128))
    expected, expected_label = draw_product(3, 7, 128)
    np.testing.assert_array_equal(picture, expected)
    assert label == expected_label
    assert draw_product(2**64 - 1, 2**64 - 1, 4)[0].shape == (3, 4, 4)
