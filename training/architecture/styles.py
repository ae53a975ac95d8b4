"""What every generator does with w and noise, whatever its layers are (StyleGAN, section 3)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from tf_ops import layout
from training import random_streams

# Disentangled latents


def track_w_average(dlatents: tf.Tensor, mean: tf.Variable, beta: float) -> tf.Tensor:
    """dlatents, of which using them moves their running mean: mean ← batch + (mean - batch)·beta.

    A minibatch that is not finite leaves the mean alone.

    Args:
        dlatents: [N, num_layers, dlatent_size]; the first layer's are averaged.
        mean: [dlatent_size].
        beta: decay.
    """
    batch = tf.reduce_mean(dlatents[:, 0], axis=0)
    moved = tflib.lerp(batch, mean, beta)
    with tf.control_dependencies([mean.assign(tf.where(tf.is_finite(moved), moved, mean))]):
        return tf.identity(dlatents)


def mix_styles(
    dlatents: tf.Tensor,
    other: tf.Tensor,
    probability: float,
    seed: tf.Tensor | None,
    lod: tf.Tensor | None = None,
) -> tf.Tensor:
    """Layers from a random one on take the other w, with a probability (StyleGAN, section 3.1).

    Args:
        dlatents, other: [N, num_layers, dlatent_size].
        probability: of mixing.
        seed: [2] int32 or None.
        lod: level of detail, if the networks grow: each whole level leaves two layers without
            effect on the images, and the cut is among the others.
    """
    num_layers = dlatents.shape[1].value
    active_layers = num_layers if lod is None else num_layers - 2 * tf.cast(lod, tf.int32)
    # One draw decides both whether and where: a cutoff of num_layers mixes nothing.
    chance = random_streams.uniform([], random_streams.stream(seed, "mixing_cutoff", 0))
    places = tf.maximum(active_layers - 1, 1)  # A single layer has nothing to mix with: keeps w.
    cutoff = random_streams.uniform(
        [], random_streams.stream(seed, "mixing_cutoff", 1), maxval=places, dtype=tf.int32
    )
    cutoff = tf.where(chance < probability, cutoff + 1, num_layers)
    keep = tf.range(num_layers)[np.newaxis, :, np.newaxis] < cutoff
    return tf.where(tf.broadcast_to(keep, tf.shape(dlatents)), dlatents, other)


def truncate(
    dlatents: tf.Tensor,
    mean: tf.Tensor,
    psi: float | tf.Tensor,
    cutoff: int | tf.Tensor | None,
) -> tf.Tensor:
    """w ← mean + (w - mean)·psi for the first `cutoff` layers, None for all (StyleGAN, appendix B).

    Args:
        dlatents: [N, num_layers, dlatent_size].
        mean: [dlatent_size].
    """
    num_layers = dlatents.shape[1].value
    layers = np.arange(num_layers, dtype=np.float32)[np.newaxis, :, np.newaxis]
    ones = tf.ones(layers.shape)
    cut = tf.less(layers, tf.cast(num_layers if cutoff is None else cutoff, tf.float32))
    truncated = tflib.lerp(mean, dlatents, tf.where(cut, ones * psi, ones))
    # 1 changes nothing, not the last bit either, like None.
    return tf.where_v2(tf.equal(psi, 1), dlatents, truncated) if tf.is_tensor(psi) else truncated


# Noise


def noise_inputs(sizes: Iterable[tuple[int, int]]) -> list[tf.Variable]:
    """Variables noise0, noise1, …: [1, 1, height, width], not trained."""
    init = tf.initializers.random_normal()
    return [
        tf.get_variable(f"noise{i}", shape=[1, 1, *size], initializer=init, trainable=False)
        for i, size in enumerate(sizes)
    ]


def noise_image(
    x: tf.Tensor, noise_input: tf.Variable, randomize: bool, seed: tf.Tensor | None
) -> tf.Tensor:
    """Noise that broadcasts over the feature maps of activations.

    Args:
        x: activations.
        noise_input: [1, 1, H, W], used for all samples unless `randomize`.
        randomize: fresh standard normal noise for every sample instead.
        seed: [2] int32 or None, of the fresh noise.
    """
    # With one channel, NCHW and NHWC differ in shape only, not in memory.
    data_format = layout.internal_format()
    height, width = (x.shape[axis].value for axis in layout.spatial_axes(data_format))
    rows = tf.shape(x)[0] if randomize else 1
    shape = [rows, 1, height, width] if data_format == layout.NCHW else [rows, height, width, 1]
    return random_streams.normal(shape, seed) if randomize else tf.reshape(noise_input, shape)
