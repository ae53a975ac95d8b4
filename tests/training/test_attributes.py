"""Attributes of pictures: the mask, color, shape and texture against NumPy, and classifiers."""

from __future__ import annotations

import numpy as np
import pytest

from dnnlib import UserError
from training.datasets.sources.drawn_products import draw_product
from training.latents.attributes import classifiers, measured, names
from training.latents.attributes.color import measure_color, to_lab
from training.latents.attributes.mask import otsu_threshold, product_mask
from training.latents.attributes.shape import measure_shape
from training.latents.attributes.texture import measure_texture, without_rim


def picture(background, product, box, side=32):
    """A box (left, top, right, bottom) of one color on another, uint8 [3, side, side]."""
    image = np.empty([3, side, side], np.uint8)
    image[:] = np.reshape(background, [3, 1, 1])
    left, top, right, bottom = box
    image[:, top:bottom, left:right] = np.reshape(product, [3, 1, 1])
    return image


def values_of(image):
    return dict(zip(measured.MEASURED, measured.measure(image[np.newaxis])[0], strict=True))


def test_lab_of_colors_that_are_published():
    """Of sRGB with the white point D65."""
    for color, lab in (
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((10, 10, 10), (2.74, 0, 0)),
    ):
        np.testing.assert_allclose(to_lab(np.uint8(color).reshape(3, 1, 1))[0, 0], lab, atol=0.1)
    white = to_lab(np.full([1, 1, 1], 255, np.uint8))
    np.testing.assert_allclose(white, [[[100, 0, 0]]], atol=1e-9)


def test_color_of_pure_colors():
    mask = np.ones([4, 4], bool)
    for color, axis, sign in (
        ((200, 40, 40), "hue-red", 1),
        ((40, 160, 60), "hue-red", -1),
        ((220, 190, 40), "hue-yellow", 1),
        ((40, 60, 200), "hue-yellow", -1),
    ):
        found = measure_color(to_lab(picture(color, color, (0, 0, 0, 0), 4)), mask)
        assert sign * found[axis] > 0.5
        assert found["saturation"] > 40
    gray = measure_color(to_lab(np.full([1, 4, 4], 119, np.uint8)), mask)
    assert gray["lightness"] == pytest.approx(50, abs=0.5)
    assert max(abs(gray[name]) for name in ("saturation", "hue-red", "hue-yellow")) < 1e-9


def test_otsu_is_the_best_of_all_thresholds():
    values = np.concatenate([np.random.default_rng(1).normal(m, 1, 60) for m in (0, 7)])

    def between(t):
        low, high = values[values <= t], values[values > t]
        return len(low) * len(high) / len(values) ** 2 * (low.mean() - high.mean()) ** 2

    found, explained = otsu_threshold(values)
    best = max(map(between, np.sort(values)[:-1]))
    assert between(found) == pytest.approx(best)
    assert explained == pytest.approx(best / values.var())


@pytest.mark.parametrize("background", [(255, 255, 255), (30, 90, 160), (0, 0, 0)])
def test_the_mask_is_the_product(background):
    image = picture(background, (200, 60, 60), (8, 10, 24, 28))
    expected = np.zeros([32, 32], bool)
    expected[10:28, 8:24] = True
    np.testing.assert_array_equal(product_mask(to_lab(image)), expected)


def test_the_mask_of_a_product_that_touches_the_border_on_uneven_light():
    light = np.linspace(-25, 25, 32)
    image = np.clip(200 + light + np.zeros([3, 32, 32]), 0, 255).astype(np.uint8)
    image[:, :, 10:22] = np.reshape([40, 40, 90], [3, 1, 1])  # From the top to the bottom.
    mask = product_mask(to_lab(image))
    assert mask[:, 10:22].all() and mask.mean() == pytest.approx(12 / 32, abs=0.01)


def test_holes_of_details_are_filled_and_those_of_handles_are_not():
    image = picture((255,) * 3, (40, 40, 40), (4, 4, 28, 28))
    image[:, 10:20, 10:20] = 255  # A handle.
    image[:, 24:26, 6:8] = 255  # A pale button.
    mask = product_mask(to_lab(image))
    assert not mask[12:18, 12:18].any() and mask[24:26, 6:8].all()


@pytest.mark.parametrize("kind", ["noise", "even", "two colors"])
def test_no_clean_background(kind):
    rng = np.random.default_rng(2)
    image = np.full([3, 32, 32], 200, np.uint8)
    if kind == "noise":
        image = rng.integers(0, 256, [3, 32, 32], dtype=np.uint8)
    elif kind == "two colors":
        image = picture((200, 30, 30), (30, 30, 200), (0, 0, 16, 16))
        image[:, 16:, 16:] = image[:, :16, :16]  # Quarters.
    assert product_mask(to_lab(image)) is None
    assert all(np.isnan(value) for value in values_of(image).values())


def test_shape_of_boxes_and_of_an_l():
    mask = np.zeros([20, 40], bool)
    mask[4:10, 8:20] = True
    found = measure_shape(mask)
    expected = {"area": 72 / 800, "aspect": 2, "center-x": 14 / 40, "center-y": 7 / 20}
    assert found == pytest.approx(expected | {"solidity": 1})
    mask[10:16, 8:14] = True  # Below the left half: 6×6, whose hull is 12×12 without a corner.
    assert measure_shape(mask)["solidity"] == pytest.approx(108 / (12 * 12 - 18))


def test_texture_against_numpy():
    rng = np.random.default_rng(3)
    lab = np.stack([rng.uniform(30, 70, [24, 24]), *np.zeros([2, 24, 24])], axis=2)
    mask = np.zeros([24, 24], bool)
    mask[4:20, 4:20] = True
    inside = lab[5:19, 5:19, 0]
    found = measure_texture(lab, mask)
    assert found["contrast"] == pytest.approx(inside.std())
    dy = (lab[6:20, 5:19, 0] - lab[4:18, 5:19, 0]) / 2
    dx = (lab[5:19, 6:20, 0] - lab[5:19, 4:18, 0]) / 2
    density = np.minimum(np.hypot(dx, dy) / 10, 1)
    assert found["edge-density"] == pytest.approx(density.mean())

    def blurred(sigma):
        x = np.arange(-10, 11)
        kernel = np.exp(-(x**2) / (2 * sigma**2)) * (np.abs(x) <= int(4 * sigma + 0.5))
        spread = [np.zeros([44, 44]), np.zeros([44, 44])]
        for plane, source in zip(spread, (lab[..., 0] * mask, mask), strict=True):
            plane[10:34, 10:34] = source
        rows = [sum(k * np.roll(p, s, 0) for k, s in zip(kernel, x, strict=True)) for p in spread]
        both = [sum(k * np.roll(p, s, 1) for k, s in zip(kernel, x, strict=True)) for p in rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (both[0] / both[1])[10:34, 10:34]

    fine = np.sqrt(np.mean((lab[..., 0] - blurred(0.5))[5:19, 5:19] ** 2))
    middle = np.sqrt(np.mean((blurred(0.5) - blurred(1.0))[5:19, 5:19] ** 2))
    assert found["fine-detail"] == pytest.approx(fine, rel=1e-6)
    assert found["middle-detail"] == pytest.approx(middle, rel=1e-6)


def test_the_outline_is_no_texture_and_stripes_are():
    plain = picture((255,) * 3, (90, 40, 40), (6, 6, 26, 26))
    striped = plain.copy()
    striped[:, 6:26:4, 6:26] = 20
    assert values_of(plain)["edge-density"] == values_of(plain)["contrast"] == 0
    assert values_of(striped)["edge-density"] > 0.2
    assert without_rim(np.eye(3, dtype=bool)).sum() == 3


def test_drawn_products_are_measured_as_they_were_drawn():
    """Lightness and area against the pixels that are not near white."""
    images = np.stack([draw_product(7, index, 64)[0] for index in range(24)])
    found = measured.measure(images)
    assert np.isfinite(found).all()
    masks = images.min(axis=1) < 190
    area = found[:, measured.MEASURED.index("area")]
    assert np.abs(area - masks.mean(axis=(1, 2))).max() < 0.08
    gray = [np.array([0.299, 0.587, 0.114]) @ image[:, m].mean(axis=1) for image, m in
            zip(images, masks, strict=True)]  # fmt: skip
    lightness = found[:, measured.MEASURED.index("lightness")]
    assert np.corrcoef(lightness, gray)[0, 1] > 0.95


def test_large_pictures_are_averaged_down_and_gray_ones_have_no_hue():
    large = np.repeat(np.repeat(picture((250,) * 3, (90, 50, 40), (6, 6, 26, 26)), 16, 1), 16, 2)
    assert values_of(large)["area"] == pytest.approx(400 / 1024)
    gray = values_of(picture((250,) * 3, (90,) * 3, (6, 6, 26, 26))[:1])
    assert gray["lightness"] == pytest.approx(38, abs=1) and gray["hue-red"] == pytest.approx(0)


def test_names_and_groups():
    known = [*measured.MEASURED, "class-hat"]
    find = names.find_attributes
    assert find("area,color,area", known, "--x") == ["area", *names.GROUPS["color"]]
    assert find("class-hat", known, "--x") == ["class-hat"]
    with pytest.raises(UserError, match="--x: no attribute 'lightnes': did you mean lightness"):
        find("lightnes", known, "--x")
    assert names.of_other_groups("contrast") == ["lightness", "area"]
    assert names.of_other_groups("class-hat") == list(names.REPRESENTATIVES)


def test_several_measures_are_one():
    ones = measured.Measure(("one",), lambda images: np.ones([len(images), 1]))
    both = measured.combined([measured.PICTURE, ones])
    values = both.function(np.zeros([2, 3, 16, 16], np.uint8))
    assert both.names == (*measured.MEASURED, "one") and values[:, -1].tolist() == [1, 1]


# Classifiers


def test_the_classifier_is_at_its_minimum_and_tells_how_good_it_is():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 300)
    features = rng.normal(size=[300, 4]) + 3 * np.eye(3, 4)[labels]
    found = classifiers.fit_classifier(features, labels, 3)
    assert found.is_useful and found.accuracy > 0.85 and found.baseline < 0.45
    held_out = np.zeros(300, bool)
    held_out[np.argsort(labels, kind="stable")[4::5]] = True
    x, y = (features[~held_out] - found.mean) / found.deviation, np.eye(3)[labels[~held_out]]
    p = found(features[~held_out])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    slope = x.T @ (p - y) + found.weights[:-1]
    assert np.abs(slope).max() < 0.05 and np.abs((p - y).sum(axis=0)).max() < 0.05


def test_too_few_samples_are_no_classifier(recwarn):
    with pytest.raises(UserError, match="3 samples are too few to learn labels from"):
        classifiers.fit_classifier(np.ones([3, 2]), np.arange(3), 3)
    assert not recwarn.list


def test_a_classifier_of_noise_is_not_useful():
    rng = np.random.default_rng(5)
    found = classifiers.fit_classifier(rng.normal(size=[200, 3]), rng.integers(0, 4, 200), 4)
    assert not found.is_useful
