"""Each transformation of augmentation against a few lines of NumPy.

Parameters are made known by `debug_percentile`. Geometry is checked on pictures that are products
of cosines: reflected at their borders they continue as the same cosines, so that the value at any
position is known, and a symmetric filter does nothing but multiply them.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import assert_close
from scipy.ndimage import convolve1d, correlate1d, map_coordinates
from scipy.special import erfinv

from dnnlib import UserError
from training.augment import augment_pipeline
from training.augmentation.draws import Draws
from training.augmentation.geometry import transform_images
from training.augmentation.wavelets import SYM2, SYM6, band_filters, reflecting_filter

RANDOM = np.random.default_rng(2)
# The wavelet is not quite symmetric: turned and mirrored pictures move by 0.1 pixels.
TOLERANCE = 0.03
HEIGHT, WIDTH = 41, 56
WAVES = ((3, 1), (1, 2), (0, 4))  # Half periods along height and width, for each channel.
P = 0.8
NORMAL = erfinv(2 * P - 1)  # The percentile of a normal number, as golden/README.md has it.


def waves(x, y):
    """[3, ...]: the cosines at positions in pixels."""
    return np.stack(
        [
            np.cos(np.pi * a * y / (HEIGHT - 1)) * np.cos(np.pi * b * x / (WIDTH - 1))
            for a, b in WAVES
        ]
    )


def grid():
    return np.meshgrid(np.arange(WIDTH, dtype=float), np.arange(HEIGHT, dtype=float))


def run(session, images, **options):
    images, _ = augment_pipeline(tf.constant(np.asarray(images), tf.float32), None, **options)
    return session.run(images)


# What the paper's transformations do to a picture, as the position (from the center, y down) in
# the old picture that comes to (x, y).
GEOMETRY = {
    "xflip": lambda x, y: (-x, y),
    "rotate90": lambda x, y: (y, -x),
    "xint": lambda x, y: (x - round(0.6 * 0.125 * WIDTH), y - round(0.6 * 0.125 * HEIGHT)),
    "scale": lambda x, y: (x / 2 ** (0.2 * NORMAL), y / 2 ** (0.2 * NORMAL)),
    "rotate": lambda x, y: turned(x, y, 0.6 * np.pi),
    "aniso": lambda x, y: (x / 2 ** (0.2 * NORMAL), y * 2 ** (0.2 * NORMAL)),
    "xfrac": lambda x, y: (x - 0.125 * NORMAL * WIDTH, y - 0.125 * NORMAL * HEIGHT),
}


def turned(x, y, angle):
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry(session, name):
    x, y = grid()
    images = waves(x, y)[np.newaxis]
    got = run(session, images, debug_percentile=P, **{name: 1})
    old_x, old_y = GEOMETRY[name](x - (WIDTH - 1) / 2, y - (HEIGHT - 1) / 2)
    expected = waves(old_x + (WIDTH - 1) / 2, old_y + (HEIGHT - 1) / 2)
    assert np.abs(expected - images[0]).max() > 0.3
    np.testing.assert_allclose(got[0], expected, atol=TOLERANCE)


def test_geometry_in_one_go_keeps_the_order(session):
    x, y = grid()
    options = {"xflip": 1, "scale": 1, "rotate": 1, "aniso": 1, "xfrac": 1}
    got = run(session, [waves(x, y)], debug_percentile=P, **options)
    old_x, old_y = x - (WIDTH - 1) / 2, y - (HEIGHT - 1) / 2
    for name in reversed(options):  # The last transformation is the first to be undone.
        old_x, old_y = GEOMETRY[name](old_x, old_y)
    expected = waves(old_x + (WIDTH - 1) / 2, old_y + (HEIGHT - 1) / 2)
    np.testing.assert_allclose(got[0], expected, atol=2 * TOLERANCE)


def resampled(image, old_position):
    """What the paper's steps make of an image [H, W]: all of it reflected, upsampled by 2 with the
    wavelet, read between four samples at `old_position`, downsampled with the wavelet reversed.
    """
    height, width = image.shape
    taps, margin = np.array(SYM6), len(SYM6) // 4
    x = np.pad(image.astype(np.float64), [(height - 1,) * 2, (width - 1,) * 2], mode="reflect")
    for axis in (0, 1):
        x = np.insert(x, np.arange(1, x.shape[axis] + 1), 0, axis=axis)
        x = convolve1d(x, np.sqrt(2) * taps, axis, mode="constant", origin=-1)
    half = [np.arange(2 * (n + 2 * margin)) / 2 - margin for n in (height, width)]
    new_y, new_x = np.meshgrid(*half, indexing="ij")
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    old_x, old_y = old_position(new_x - centre_x, new_y - centre_y)
    positions = [2 * (old_y + centre_y + height - 1), 2 * (old_x + centre_x + width - 1)]
    x = map_coordinates(x, positions, order=1, mode="grid-constant")
    for axis in (0, 1):
        x = correlate1d(x, np.sqrt(0.5) * taps, axis, mode="constant", origin=-1)
    return x[2 * margin : -2 * margin : 2, 2 * margin : -2 * margin : 2]


# Shifts of .3, .6 and .9 lie between two pixels of these sizes.
@pytest.mark.parametrize(("size", "p"), [((20, 30), 0.3), ((9, 20), 0.6), ((64, 15), 0.9)])
def test_any_size_and_percentile_is_resampled_exactly(session, size, p):
    image = RANDOM.uniform(-1, 1, size).astype(np.float32)
    factor = 2 ** (0.2 * erfinv(2 * p - 1))
    steps = {
        "xflip": lambda x, y: (x * (1 - 2 * (p >= 0.5)), y),
        "rotate90": lambda x, y: turned(x, y, np.pi / 2 * np.floor(4 * p)),
        "xint": lambda x, y: (x - pixels[1], y - pixels[0]),
        "scale": lambda x, y: (x / factor, y / factor),
        "rotate": lambda x, y: turned(x, y, (2 * p - 1) * np.pi),
        "aniso": lambda x, y: (x / factor, y * factor),
        "xfrac": lambda x, y: (x - shift * size[1], y - shift * size[0]),
    }
    pixels = np.rint(np.float32(0.125 * (2 * p - 1)) * np.array(size, np.float32))
    shift = 0.125 * erfinv(2 * p - 1)

    def all_steps(x, y):
        for name in reversed(steps):
            x, y = steps[name](x, y)
        return x, y

    cases = {(name,): step for name, step in steps.items()} | {tuple(steps): all_steps}
    for names, old_position in cases.items():
        got = run(
            session, image[np.newaxis, np.newaxis], debug_percentile=p, **dict.fromkeys(names, 1)
        )
        expected = resampled(image, old_position)
        np.testing.assert_allclose(got[0, 0], expected, atol=4e-6, err_msg=str(names))


@pytest.mark.parametrize("p", [0.3, np.array([0.1, 0.8])])
def test_a_percentile_replaces_chance(session, p):
    """Whatever strength and multipliers are above 0; also one for each sample."""
    images = RANDOM.uniform(-1, 1, (2, 3, 8, 12)).astype(np.float32)
    got = run(session, images, strength=0, debug_percentile=p, brightness=0.01, xint=0.5, cutout=1)
    for i, one in enumerate(np.broadcast_to(p, 2)):
        expected = run(session, images, debug_percentile=one, brightness=1, xint=1, cutout=1)[i]
        np.testing.assert_array_equal(got[i], expected)
        assert np.abs(expected - images[i]).max() > 0.1


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_other_types_are_computed_in_float32(session, dtype):
    images = tf.cast(tf.constant(RANDOM.uniform(-1, 1, (1, 3, 8, 8))), dtype)
    options = {"debug_percentile": 0.8, "scale": 1, "hue": 1, "imgfilter": 1, "cutout": 1}
    got, _ = augment_pipeline(images, None, **options)
    expected, _ = augment_pipeline(tf.cast(images, tf.float32), None, **options)
    assert got.dtype == dtype
    np.testing.assert_array_equal(*session.run([got, tf.cast(expected, dtype)]))


def test_shifts_by_whole_pixels_are_exact(session):
    images = RANDOM.normal(size=(2, 3, 12, 15))
    got = run(session, images, debug_percentile=0.1, xint=1, xint_max=0.25)
    down, right = round(-0.8 * 0.25 * 12), round(-0.8 * 0.25 * 15)
    extended = np.pad(images, [(0, 0), (0, 0), (5, 5), (5, 5)], mode="reflect")
    expected = extended[:, :, 5 - down : 17 - down, 5 - right : 20 - right]
    np.testing.assert_allclose(got, expected, atol=5e-6)


def test_beyond_one_reflection_there_is_nothing(session):
    shift = np.eye(3)[np.newaxis]
    images = tf.ones([1, 1, 8, 8])
    for distance, value in ((-4, 1), (-30, 0), (4, 1), (30, 0)):
        shift[0, :2, 2] = distance
        got = session.run(transform_images(images, [tf.constant(shift)]))
        np.testing.assert_allclose(got, np.full((1, 1, 8, 8), value), atol=1e-5)


def test_a_sample_does_not_depend_on_the_others(session):
    images = tf.constant(RANDOM.normal(size=(2, 3, 16, 16)), tf.float32)
    matrices = np.stack([np.eye(3), np.diag([3.0, 4.0, 1.0])])
    together = session.run(transform_images(images, [tf.constant(matrices)]))
    alone = session.run(transform_images(images[:1], [tf.constant(matrices[:1])]))
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)


CONTRAST, SATURATION = 2 ** (0.5 * NORMAL), 2**NORMAL
COLORS = {
    "brightness": lambda rgb: rgb + 0.2 * NORMAL,
    "contrast": lambda rgb: rgb * CONTRAST,
    "lumaflip": lambda rgb: rgb - 2 * rgb.mean(axis=1, keepdims=True),
    "saturation": lambda rgb: rgb.mean(axis=1, keepdims=True) * (1 - SATURATION) + rgb * SATURATION,
}


@pytest.mark.parametrize("name", COLORS)
def test_colors(session, name):
    images = RANDOM.normal(size=(2, 3, 5, 4))
    assert_close(run(session, images, debug_percentile=P, **{name: 1}), COLORS[name](images))
    gray = RANDOM.normal(size=(2, 1, 5, 4))
    expected = COLORS[name](np.repeat(gray, 3, axis=1)).mean(axis=1, keepdims=True)
    assert_close(run(session, gray, debug_percentile=P, **{name: 1}), expected)


def test_hue(session):
    """A third of a turn about the gray axis takes red to green, green to blue, blue to red."""
    images = RANDOM.normal(size=(2, 3, 5, 4))
    got = run(session, images, debug_percentile=5 / 6, hue=1)
    assert_close(got, images[:, [2, 0, 1]])
    got = run(session, images[:, :1], debug_percentile=5 / 6, hue=1)
    assert_close(got, images[:, :1])


def test_colors_keep_the_order(session):
    images = RANDOM.normal(size=(2, 3, 5, 4))
    expected = images
    for function in COLORS.values():
        expected = function(expected)
    assert_close(run(session, images, debug_percentile=P, **dict.fromkeys(COLORS, 1)), expected)


def test_image_filter_multiplies_waves(session):
    """The response of each band follows from that of the wavelet, |H(ω)|²/2."""

    def low(w):
        return np.abs(np.sum(SYM2 * np.exp(-1j * w * np.arange(4)))) ** 2 / 2

    def response(w):
        high = low(w + np.pi)
        bands = [low(w) * low(2 * w) * low(4 * w), low(w) * low(2 * w) * low(4 * w + np.pi)]
        return np.array([*bands, low(w) * low(2 * w + np.pi), high])

    gains = np.ones(4)
    for band, power in enumerate(np.array([10, 1, 1, 1]) / 13):
        if band != 1:
            factor = 2 ** (0.7 * NORMAL)
            gains[band] *= factor
            gains /= np.sqrt(1 + power * (factor**2 - 1))
    x, y = grid()
    options = {"imgfilter": 1, "imgfilter_std": 0.7, "imgfilter_bands": (1, 0, 1, 1)}
    got = run(session, [waves(x, 5 * y)], debug_percentile=P, **options)
    expected = [
        wave
        * (gains @ response(5 * np.pi * a / (HEIGHT - 1)))
        * (gains @ response(np.pi * b / (WIDTH - 1)))
        for wave, (a, b) in zip(waves(x, 5 * y), WAVES, strict=True)
    ]
    assert_close(got, [expected], 1e-5)


def test_noise_is_white_and_has_the_deviation_of_the_sample(session):
    images = np.zeros([2, 3, 64, 64])
    got = run(session, images, debug_percentile=P, noise=1, noise_std=0.3)
    sigma = 0.3 * erfinv(P)
    np.testing.assert_allclose(got.std(axis=(1, 2, 3)), sigma, rtol=0.03)
    np.testing.assert_allclose(got.mean(axis=(1, 2, 3)), 0, atol=4 * sigma / np.sqrt(3 * 64**2))
    flat = got.reshape(2, -1) / sigma
    assert abs(np.mean(flat[0] * flat[1])) < 0.05  # Samples and pixels are independent.
    assert abs(np.mean(flat[:, 1:] * flat[:, :-1])) < 0.05


def test_deviations_of_noise_are_half_normal(session):
    images = np.zeros([3000, 1, 6, 6])
    sigma = np.sqrt(
        np.mean(run(session, images, noise=1, seed=tf.constant([3, 4])) ** 2, (1, 2, 3))
    )
    np.testing.assert_allclose(np.sqrt(np.mean(sigma**2)), 0.1, rtol=0.05)
    assert abs(np.mean(sigma < 0.1) - 0.683) < 0.03


@pytest.mark.parametrize("percentile", [0.1, 0.5, 0.75])
def test_cutout(session, percentile):
    images = RANDOM.normal(size=(1, 2, 10, 15))
    got = run(session, images, debug_percentile=percentile, cutout=1, cutout_size=0.43)
    expected = images.astype(np.float32)
    for y, x in np.ndindex(10, 15):
        if abs((y + 0.5) / 10 - percentile) < 0.215 and abs((x + 0.5) / 15 - percentile) < 0.215:
            expected[:, :, y, x] = 0
    np.testing.assert_array_equal(got, expected)


def test_random_parameters_have_the_papers_distributions(session):
    draws = Draws(tf.constant([1, 2]), 20000, 1, None)
    uniform, choice, normal, lognormal, two = session.run(
        [
            draws.uniform("hue", -3, 1),
            draws.choice("rotate90", 4),
            draws.normal("xfrac", 0.125),
            draws.lognormal("scale", 0.2),
            draws.normal("xfrac", 0.125, 1),
        ]
    )
    assert uniform.min() >= -3 and uniform.max() < 1 and abs(uniform.mean() + 1) < 0.03
    np.testing.assert_allclose(np.bincount(choice.astype(int)), [5000] * 4, rtol=0.06)
    np.testing.assert_allclose(
        [normal.std(), two.std(), np.log2(lognormal).std()], [0.125, 0.125, 0.2], rtol=0.03
    )
    assert abs(np.corrcoef(normal, two)[0, 1]) < 0.03


@pytest.mark.parametrize(("wavelet", "moments"), [(SYM2, 2), (SYM6, 6)])
def test_wavelets_are_orthonormal_with_vanishing_moments(wavelet, moments):
    taps = np.array(wavelet)
    assert len(taps) == 2 * moments
    assert abs(np.sum(taps) - np.sqrt(2)) < 1e-9
    overlaps = np.correlate(taps, taps, "full")[len(taps) - 1 :: 2]
    np.testing.assert_allclose(overlaps, np.eye(moments)[0], atol=1e-9)
    high = taps * (-1.0) ** np.arange(len(taps))
    for power in range(moments):
        assert abs(np.sum(high * (np.arange(len(taps)) / len(taps)) ** power)) < 1e-9


def test_bands_are_symmetric_and_add_up_to_the_image():
    bands = band_filters()
    np.testing.assert_allclose(bands, bands[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(
        bands.sum(axis=0), np.eye(1, bands.shape[1], bands.shape[1] // 2)[0], atol=1e-9
    )
    np.testing.assert_allclose(bands.sum(axis=1), [1, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize(("size", "margin"), [(1, 0), (1, 3), (2, 7), (5, 4), (5, 13), (9, 2)])
def test_reflecting_filter_is_padding_and_convolution(session, size, margin):
    signal, taps = RANDOM.normal(size=size), RANDOM.normal(size=(3, 7))
    extended = (
        np.pad(signal, margin, mode="reflect") if size > 1 else np.full(1 + 2 * margin, signal)
    )
    for factor in (1, 2):
        spread = np.zeros(factor * len(extended))
        spread[::factor] = extended
        expected = np.stack([np.convolve(spread, row) for row in taps])  # Tap 3 is the middle.
        rows = np.arange(len(expected[0])) - factor * margin - 3
        indices, weights = session.run(
            reflecting_filter(tf.constant(taps), tf.constant(rows, tf.int32), size, margin, factor)
        )
        assert indices.shape[-1] == -(-7 // factor)
        read = np.append(signal, 0)[indices]  # Index -1 is a zero.
        np.testing.assert_allclose((weights * read).sum(axis=-1), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ([2, 3, None, 8], {"xflip": 1}, r"known C, H and W, which set_shape\(\)"),
        ([3, 8, 8], {"xflip": 1}, "images of shape"),
        ([2, 2, 8, 8], {"hue": 1}, "2 channels"),
        ([2, 3, 8, 8], {"imgfilter": 1, "imgfilter_bands": (1, 1)}, "imgfilter_bands"),
    ],
)
def test_bad_arguments_are_named(session, shape, options, message):
    with pytest.raises(UserError, match=message):
        augment_pipeline(tf.placeholder(tf.float32, shape), None, **options)


def test_images_of_whole_numbers_are_refused(session):
    with pytest.raises(UserError, match=r"uint8 images: expected float32, usually in \[-1, 1\]"):
        augment_pipeline(tf.zeros([1, 3, 8, 8], tf.uint8), None, cutout=1)
