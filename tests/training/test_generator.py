"""What a generator does to w, where the networks' own tests do not reach: growing networks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from training.architecture.generator import mix_styles


@pytest.mark.parametrize(
    ("lod", "last"), [(None, 7), (0.0, 7), (0.9, 7), (1.0, 5), (1.5, 5), (3.0, 1)]
)
def test_styles_are_mixed_among_layers_that_reach_the_images(session, lod, last):
    """Of 8 layers, those from the cutoff on are another w; the cutoff is 1 to `last`, or none."""
    first, other = tf.zeros([2, 8, 3]), tf.ones([2, 8, 3])
    seed = tf.placeholder(tf.int32, [2])
    lod = None if lod is None else tf.constant(lod)
    mixed = mix_styles(first, other, 0.7, seed, lod)
    cutoffs = []
    for position in range(60):
        layers = tflib.run(mixed, {seed: [5, position]})
        cutoff = int((layers[0, :, 0] == 0).sum())
        expected = np.arange(8)[np.newaxis, :, np.newaxis] >= cutoff
        np.testing.assert_array_equal(layers, np.broadcast_to(expected, layers.shape))
        cutoffs.append(cutoff)
    assert set(cutoffs) == {*range(1, last + 1), 8}
    assert 8 <= cutoffs.count(8) <= 30  # 18 expected of 60; three deviations either way.
