"""Random numbers as a function of (seed, position in the run) (DESIGN D4).

A seed is an int32 pair [run seed, image counter]. Each use of randomness has its own stream, so
that adding one use never changes another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dnnlib.tensorflow_loader import load_tensorflow

if TYPE_CHECKING:  # Commands on datasets need the streams of NumPy, and no TensorFlow.
    import tensorflow.compat.v1 as tf

# Deviation: the official code draws from generators with a state.
# The number of a stream is its place in its table: add new ones at the end.
_STREAMS = (
    "replica",
    "G_loss",
    "G_reg",
    "D_loss",
    "latents",
    "labels",
    "mixing_latents",
    "mixing_cutoff",
    "noise",
    "pl_noise",
    "mirror",
    "gp_mixing",
    "augment",
    "projection",
)
# Transformations of augmentation, below a seed of the stream "augment".
_AUGMENT_STREAMS = (
    "xflip",
    "rotate90",
    "xint",
    "scale",
    "rotate",
    "aniso",
    "post_rotate",
    "xfrac",
    "brightness",
    "contrast",
    "lumaflip",
    "hue",
    "saturation",
    "imgfilter",
    "noise",
    "cutout",
)
_AUGMENT_USES = 16  # Of one transformation: its gates, then its parameters.


def stream(seed: tf.Tensor | None, name: str, index: int = 0) -> tf.Tensor | None:
    """Seed of a stream, derived from another seed.

    Args:
        seed: [2] int32; None stays None: fresh numbers at every run.
        name: one of the names in the table.
        index: number of the replica or layer, where there are several.
    """
    if seed is None:
        return None
    return _fold_in(_fold_in(seed, _STREAMS.index(name)), index)


def _fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Another seed. Random ops read theirs in the host's memory: a GPU would be waited for."""
    tf = load_tensorflow()
    with tf.device("/cpu:0"):
        return tf.random.experimental.stateless_fold_in(seed, number)


def fresh_seed() -> tf.Tensor:
    """[2] int32, another one at every run: all that follows from it belongs together."""
    tf = load_tensorflow()
    return tf.random_uniform([2], maxval=2**31 - 1, dtype="int32")


def augment_stream(seed: tf.Tensor | None, name: str, use: int) -> tf.Tensor | None:
    """Seed of one use of a transformation of augmentation.

    Args:
        seed: [2] int32; None stays None: fresh numbers at every run.
        name: one of the names in the table.
        use: an even number for a gate, an odd one for a parameter.
    """
    if seed is None:
        return None
    return _fold_in(seed, _AUGMENT_STREAMS.index(name) * _AUGMENT_USES + use)


def normal(shape, seed: tf.Tensor | None) -> tf.Tensor:
    """Standard normal float32; a `seed` of None draws fresh numbers at every run."""
    tf = load_tensorflow()
    if seed is None:
        return tf.random_normal(shape)
    return tf.random.stateless_normal(shape, seed)


def uniform(shape, seed: tf.Tensor | None, maxval=1.0, dtype="float32") -> tf.Tensor:
    """Uniform in [0, maxval); a `seed` of None draws fresh numbers at every run."""
    tf = load_tensorflow()
    if seed is None:
        return tf.random_uniform(shape, maxval=maxval, dtype=dtype)
    return tf.random.stateless_uniform(shape, seed, maxval=maxval, dtype=dtype, minval=0)


# NumPy's streams by use, in rooms whose keys differ: the number is the last word of the counter.
_NUMPY_STREAMS = {
    "dataset": {"order": 0, "labels": 1, "grids": 2, "split": 3, "validation": 4, "mirror": 5},
    "metrics": {"latents": 0, "labels": 1, "lerp": 2, "subsets": 3},
    "metric_reals": {"subset": 0, "mirror": 1},
    "drawn_products": {"picture": 0, "class": 1},
    "truncation": {"clusters": 0},
    "catalog": {"groups": 0},
}


def generator(
    room: str, use: str, key: Sequence[int] | np.ndarray = (0, 0), number: int = 0
) -> np.random.Generator:
    """NumPy's random numbers as a function of a key, what they are for, and a counter.

    Args:
        room, use: names in the table.
        key: two integers, like a seed and an epoch; uint64 [2] where they may be large.
        number: of the image or the like.
    """
    counter = [0, 0, number, _NUMPY_STREAMS[room][use]]
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
