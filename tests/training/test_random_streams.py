"""Streams of random numbers that need no TensorFlow; the others are tested with the networks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from training.random_streams import generator

LARGE = np.array([2**64 - 1, 3], np.uint64)


def philox(key, counter):
    return np.random.Generator(np.random.Philox(key=key, counter=counter)).random(4).tolist()


@pytest.mark.parametrize(
    ("arguments", "key", "counter"),
    [
        (("dataset", "order", [5, 7]), [5, 7], [0, 0, 0, 0]),
        (("dataset", "grids", [-5, 0]), [-5, 0], [0, 0, 0, 2]),
        (("dataset", "validation", [5, 7]), [5, 7], [0, 0, 0, 4]),
        (("metrics", "lerp", [5, 1], 9), [5, 1], [0, 0, 9, 2]),
        (("metric_reals", "mirror"), 0, [0, 0, 0, 1]),
        (("drawn_products", "class", LARGE), LARGE, [0, 0, 0, 1]),
    ],
)
def test_numbers_of_a_stream_never_change(arguments, key, counter):
    assert generator(*arguments).random(4).tolist() == philox(key, counter)


def test_names_that_are_not_in_the_table():
    with pytest.raises(KeyError):
        generator("dataset", "lerp")


def test_no_tensorflow_is_needed():
    code = "import sys, training.random_streams as r; r.generator('metrics', 'latents').random()"
    command = [sys.executable, "-c", f"{code}; sys.exit('tensorflow' in sys.modules)"]
    assert subprocess.run(command).returncode == 0
