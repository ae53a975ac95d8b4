"""Progressive augmentation (PA-GAN, Zhang and Khoreva 2019, arXiv:1901.10422): `--cmethod=pagan`.

The discriminator gets random bits with every image. Where their checksum is odd, it has to call
reals fake and fakes real, so that each bit in use makes its task harder. How many are in use
follows the overfitting (ADA, appendix on comparison methods).
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import layout
from training.architecture.layers import dense_layer
from training.random_streams import stream, uniform


def draw_bits(
    count: int | tf.Tensor,
    strength: float | tf.Tensor,
    num: int,
    fade: float,
    seed: tf.Tensor | None,
) -> tf.Tensor:
    """Bits [N, num], 0 or 1.

    Bit i = 1, 2, … is 1 with probability clip((strength·num - i + 1) / fade, 0, 1) / 2. So
    ⌈strength·num⌉ bits are in use, the newest perhaps less often than half of the time.

    Args:
        count: N.
        strength: p, 0 to 1.
        num: bits in use at p = 1.
        fade: of the way from one bit to the next, the part in which the new one fades in. With the
            default of `D_main`, 0.5, the probability is min(max(p·num - i + 1, 0), 0.5).
        seed: [2] int32, or None for fresh numbers at every run.
    """
    in_use = strength * num - np.arange(num, dtype=np.float32)
    probabilities = tf.clip_by_value(tf.cast(in_use, tf.float32) / fade, 0, 1) / 2
    draws = uniform([count, num], stream(seed, "labels"))
    return tf.cast(draws < probabilities, tf.float32)


def checksum(bits: tf.Tensor) -> tf.Tensor:
    """[N, 1]: 1 where an even number of bits [N, num] is set, -1 where it is odd."""
    return 1 - 2 * tf.math.floormod(tf.reduce_sum(bits, axis=1, keepdims=True), 2)


def embed_bits(bits: tf.Tensor, fmaps: int) -> tf.Tensor:
    """What bits add to the features that a 1×1 convolution makes of the image, before its bias.

    As in the paper, where bits are further channels of the image, the same at every pixel: a
    1×1 convolution of those and of the image is the sum of one of each.

    Args:
        bits: [N, num].
        fmaps: of the convolution.

    Returns:
        activations of one pixel, [N, fmaps, 1, 1] in the internal layout.
    """
    with tf.variable_scope("Bits"):
        x = dense_layer(bits, fmaps)
    return layout.convert(x[:, :, np.newaxis, np.newaxis], layout.NCHW, layout.internal_format())
