"""Resampling: the compiled twin, Pillow in its place, and the definition give the same bytes."""

import numpy as np
import PIL
import pytest
from PIL import Image

from dnnlib import UserError
from tf_ops import build
from training.datasets.photos import resize

CASES = 150


@pytest.fixture(scope="module")
def native():
    try:
        build.plain_library("resize_8bit.cc")
    except UserError as error:
        pytest.skip(f"needs a C++ compiler: {error}")
    return resize._native()


def random_cases():
    """(picture, width, height, box) of all sizes, grey and coloured; one in four is whole."""
    rng = np.random.default_rng(3)
    for i in range(CASES):
        width, height, new_width, new_height = rng.integers(1, 150, 4).tolist()
        pixels = rng.integers(0, 256, [height, width, 3][: 2 + i % 2], dtype=np.uint8)
        if i % 5 == 0:
            pixels = (pixels > 127).astype(np.uint8) * 255  # overshoots are clipped
        x1, y1 = rng.integers(0, width), rng.integers(0, height)
        x2, y2 = rng.integers(x1 + 1, width + 1), rng.integers(y1 + 1, height + 1)
        box = (0, 0, width, height) if i % 4 == 0 else tuple(map(int, (x1, y1, x2, y2)))
        yield Image.fromarray(pixels), new_width, new_height, box


def test_twin_and_pillow_give_the_same_bytes(native, monkeypatch):
    assert native is not None
    expected = [resize.resize(*case) for case in random_cases()]
    monkeypatch.setattr(resize, "_native", lambda: None)
    for case, result in zip(random_cases(), expected, strict=True):
        image, width, height, box = case
        assert result.shape == (len(image.getbands()), height, width)
        np.testing.assert_array_equal(resize.resize(*case), result, err_msg=f"{image.size} {box}")


def test_pixels_that_pillow_does_not_lend_are_copied(native, monkeypatch):
    expected = [resize.resize(*case) for case in list(random_cases())[:12]]
    monkeypatch.setattr(Image.Image, "__arrow_c_array__", _no_arrow, raising=False)
    for case, result in zip(random_cases(), expected, strict=False):
        np.testing.assert_array_equal(resize.resize(*case), result)


def test_older_versions_of_pillow_are_not_asked_to_lend(native, monkeypatch):
    """Pillow 11.2 to 12.3 crash after some hundreds of pictures."""
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    monkeypatch.setattr(Image.Image, "__arrow_c_array__", lambda _: 1 / 0, raising=False)
    for case in list(random_cases())[:4]:
        resize.resize(*case)


def _no_arrow(image):
    raise ValueError("Image rows are not contiguous in memory.")


def lanczos(pixels, begin, end, size):
    """[lines, size] from float [lines, pixels], by the definition of the filter."""
    scale = (end - begin) / size
    centers = begin + (np.arange(size) + 0.5) * scale
    x = (np.arange(pixels.shape[1]) + 0.5 - centers[:, None]) / max(scale, 1)
    weights = np.where(abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(np.rint(pixels @ weights.T), 0, 255)


def test_the_result_is_that_of_the_filter():
    for image, width, height, box in list(random_cases())[:40]:
        pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1).astype(np.float64)
        for plane, result in zip(pixels, resize.resize(image, width, height, box), strict=True):
            narrow = lanczos(plane, box[0], box[2], width)
            expected = lanczos(narrow.T, box[1], box[3], height).T
            assert abs(expected - result).max() <= 2  # half-way values may round either way, twice


def test_weights_that_are_kept_take_little_memory():
    resize._kept_weights.cache_clear()
    for pixels in (300, 65_535):
        resize._weights(pixels, 0, pixels, 16)
    assert resize._kept_weights.cache_info().currsize == 1
    sizes = ((8192, 4096), (8192, 64), (64, 8192))
    most = max(resize._make_weights(n, 0, n, size).values.nbytes for n, size in sizes)
    assert most * 256 < 64 << 20


def test_large_pictures_take_pillows_way(monkeypatch):
    monkeypatch.setattr(resize, "_MAX_PIXELS", 100)
    monkeypatch.setattr(resize, "_native", lambda: pytest.fail("a copy of a large picture"))
    image = Image.new("RGB", (10, 10), (7, 8, 9))
    assert resize.resize(image, 4, 4, (0, 0, 10, 10))[:, 2, 2].tolist() == [7, 8, 9]
