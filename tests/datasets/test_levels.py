"""Resolutions of a dataset, and images at each of them."""

import numpy as np
import pytest

from training.datasets.format import levels


def picture(height, width, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, [channels, height, width]).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "count", "base"),
    [
        (4, 4, 1, (4, 4)),
        (64, 64, 5, (4, 4)),
        (4096, 4096, 11, (4, 4)),
        (512, 384, 7, (8, 6)),
        (256, 384, 7, (4, 6)),
        (288, 512, 6, (9, 16)),
        (15, 5, 1, (15, 5)),
    ],
)
def test_a_size_is_a_base_grid_doubled(height, width, count, base):
    assert levels.level_count(height, width) == count
    assert levels.finest_log2(height, width) == count + 1
    images = levels.image_levels(
        picture(height, width, 1) if height < 999 else np.zeros([1, height, width], "u1")
    )
    assert images[-1].shape[1:] == base and len(images) == count


@pytest.mark.parametrize(
    "size", [(2, 2), (3, 8), (100, 100), (1101, 750), (8192, 8192), (4, 64), (48, 48), (5, 5)]
)
def test_sizes_that_no_dataset_has(size):
    assert levels.level_count(*size) is None
    with pytest.raises(ValueError, match="base grid"):
        levels.finest_log2(*size)


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (256, 256)])
def test_levels_are_box_means_of_the_unrounded_level_above(size):
    height, width = size
    image = picture(height, width)
    image[:, :2, :2] = [[0, 1], [1, 0]]  # means to 0.5 and on to further fractions
    image[:, height // 2 :] = 255
    result = levels.image_levels(image)
    for k, level in enumerate(result):
        # A box mean of box means is the mean over the whole box of the finest level.
        shape = 3, height >> k, 1 << k, width >> k, 1 << k
        boxes = image.astype(np.float64).reshape(shape)
        np.testing.assert_array_equal(level, np.rint(boxes.mean(axis=(2, 4))))
        assert level.dtype == np.uint8
        np.testing.assert_array_equal(levels.coarser(image, k), level)


def test_sums_of_the_largest_image_do_not_overflow():
    white = np.full([1, 4096, 4096], 255, np.uint8)
    assert all((level == 255).all() for level in levels.image_levels(white))


def test_other_types_and_shapes_are_refused():
    for image in (np.zeros([4, 4], "u1"), np.zeros([3, 12, 20], "f4"), np.zeros([3, 2, 2], "u1")):
        with pytest.raises(ValueError, match="is not"):
            levels.image_levels(image)
