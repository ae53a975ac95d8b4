"""Real images on their way from the dataset to the discriminator."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from training.random_streams import uniform


def process_reals(
    x: tf.Tensor,
    labels: tf.Tensor,
    lod: float | tf.Tensor,
    mirror_augment: bool,
    drange_data: Sequence[float],
    drange_net: Sequence[float],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Images of a dataset as the discriminator sees them, and their labels.

    Args:
        x: [N, C, H, W] of the level floor(lod), values in `drange_data`.
        labels: [N, label_size], which stay as they are.
        lod: level of detail, 0 for full resolution.
        mirror_augment: whether half of the images are mirrored, at random.
        drange_data: like [0, 255].
        drange_net: like [-1, 1].

    Returns:
        Images float32 of full resolution with values in `drange_net`, and labels.
    """
    sides = x.shape[2:].as_list()
    scale = (drange_net[1] - drange_net[0]) / (drange_data[1] - drange_data[0])
    images = tf.cast(x, tf.float32) * scale + (drange_net[0] - drange_data[0] * scale)
    if mirror_augment:
        images = mirror_half(images, seed=None)
    if tf.is_tensor(lod) or lod > 0:
        images = fade_and_upscale(images, tf.cast(lod, tf.float32))
    if not tf.is_tensor(lod) and None not in sides:
        images.set_shape([*x.shape[:2], *(side * 2 ** int(lod) for side in sides)])
    return images, labels


def mirror_half(images: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
    """Images [N, C, H, W], each mirrored with a chance of one half.

    Args:
        images: any.
        seed: [2] int32; None draws fresh numbers at every run.
    """
    draw = uniform([tf.shape(images)[0], 1, 1, 1], seed)
    mask = tf.broadcast_to(draw < 0.5, tf.shape(images))
    return tf.where(mask, images, tf.reverse(images, [3]))


def fade_and_upscale(images: tf.Tensor, lod: tf.Tensor) -> tf.Tensor:
    """Images of a level as progressive growing shows them to the discriminator.

    Blends them with what the next coarser level holds, by the fraction of `lod` (PGGAN, figure 2),
    and repeats pixels up to full resolution.

    Args:
        images: [N, C, H, W] of the level floor(lod).
        lod: scalar level of detail.
    """
    shape = tf.shape(images)
    n, c, h, w = (shape[i] for i in range(4))
    level = tf.floor(lod)

    def blended():
        boxes = tf.reshape(images, [n, c, h // 2, 2, w // 2, 2])
        coarse = tf.reduce_mean(boxes, axis=[3, 5], keepdims=True)
        coarse = tf.reshape(tf.tile(coarse, [1, 1, 1, 2, 1, 2]), shape)
        return tflib.lerp(images, coarse, lod - level)

    # The coarsest level is never blended, and may have sides that are odd.
    images = tf.cond(lod > level, blended, lambda: images)
    factor = tf.cast(tf.round(2.0**level), tf.int32)
    images = tf.tile(images[:, :, :, tf.newaxis, :, tf.newaxis], [1, 1, 1, factor, 1, factor])
    return tf.reshape(images, [n, c, h * factor, w * factor])
