"""Noise maps that are optimized with w: what keeps the picture out of them (StyleGAN2, appendix D).

A noise map is [N, 1, H, W], one for every target and noise input of the synthesis network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network
from training.latents.distances import box_means

# The coarsest side that `regularization` halves maps to.
_COARSEST = 8


def noise_variables(synthesis: Network) -> dict[str, tf.Variable]:
    """The noise inputs of a synthesis network, noise0, noise1, …, each [1, 1, H, W]."""
    numbers = {name: re.fullmatch(r"noise(\d+)", name) for name in synthesis.own_vars}
    found = sorted((int(match[1]), name) for name, match in numbers.items() if match)
    return {name: synthesis.own_vars[name] for _, name in found}


@contextmanager
def noise_restored(synthesis: Network) -> Iterator[None]:
    """After the block, the noise inputs of a network are as they were before."""
    with synthesis.as_default():
        variables = list(noise_variables(synthesis).values())
        before = tflib.run(variables)
        try:
            yield
        finally:
            tflib.set_vars(dict(zip(variables, before, strict=True)))


def regularization(maps: Iterable[tf.Tensor]) -> tf.Tensor:
    """Σ over maps and their halvings of (mean n·n shifted right)² + (mean n·n shifted down)², [N].

    Equation 5 of appendix D, which is 0 where neighbors are not correlated. Shifts wrap around.
    Halving averages boxes of 2×2 pixels, until a side is 8 or less; as in the official code, and
    not in the paper, the averages are not doubled.
    """
    total = 0.0
    for noise in maps:
        while True:
            for axis in (2, 3):
                product = noise * tf.roll(noise, shift=1, axis=axis)
                total += tf.square(tf.reduce_mean(product, axis=[1, 2, 3]))
            sides = noise.shape[2:].as_list()
            if min(sides) <= _COARSEST or any(side % 2 for side in sides):
                break
            noise = box_means(noise, 2)
    return total


def normalized(noise: tf.Tensor) -> tf.Tensor:
    """A map with a mean of 0 and a mean square of 1 for each target."""
    noise = noise - tf.reduce_mean(noise, axis=[1, 2, 3], keepdims=True)
    return noise * tf.math.rsqrt(tf.reduce_mean(tf.square(noise), axis=[1, 2, 3], keepdims=True))
