"""Bilinear sampling of images under affine transforms, with the true adjoint as its gradient.

Sampling is linear in the image: a sparse matrix with four weights a row, one for each neighbour of
the point that is sampled. The gradient multiplies with the transposed matrix, and its gradient with
the matrix again, so that every derivative is exact.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib import UserError


def resample_2d(x: tf.Tensor, transforms: tf.Tensor, out_size: tuple[int, int]) -> tf.Tensor:
    """Pixel (u, v) of the result is the image at transform·(u, v, 1); outside, images are zero.

    Pixels are points at whole numbers, (0, 0) is the one at the top left. A neighbour that lies
    outside counts as zero, so that images fade out within one pixel beyond their border.

    # Deviation: the gradient is the adjoint of the sampling. That of TensorFlow's
    # ImageProjectiveTransform, which the official code uses, samples under the inverse transform:
    # where the transform scales or rotates this is something else.

    Args:
        x: [N, H, W, C] float; N, H and W may be unknown.
        transforms: [N, 2, 3] float, constants for the gradient; the rows give column and row of
            the point in the image. float64 keeps positions exact in images of any size.
        out_size: height and width of the result.

    Returns:
        [N, *out_size, C], differentiable in `x` any number of times. The same numbers at every run
        on a CPU; on a GPU TensorFlow adds up in any order, so that last bits differ between runs.

    Raises:
        UserError: tensors of another rank or shape, unknown number of channels, empty result.
    """
    x, transforms = tf.convert_to_tensor(x), tf.convert_to_tensor(transforms)
    if x.shape.ndims != 4 or x.shape[3].value is None:
        raise UserError(f"resample_2d: images of shape {x.shape}, expected [N, H, W, C]")
    if transforms.shape.ndims != 3 or transforms.shape.as_list()[1:] != [2, 3]:
        raise UserError(f"resample_2d: transforms of shape {transforms.shape}, expected [N, 2, 3]")
    if min(out_size) < 1:
        raise UserError(f"resample_2d: result of {out_size} pixels, expected at least 1 × 1")
    in_size, count = tf.shape(x)[1:3], tf.shape(x)[0]
    indices, weights = _sampling_matrix(transforms, in_size, out_size, x.dtype)
    rows, columns = count * (out_size[0] * out_size[1]), count * tf.reduce_prod(in_size)
    shape = tf.cast(tf.stack([rows, columns]), tf.int64)
    y = _multiply(tf.reshape(x, [-1, x.shape[3]]), indices, weights, shape, transpose=False)
    return tf.reshape(y, [-1 if x.shape[0].value is None else x.shape[0], *out_size, x.shape[3]])


def _multiply(
    x: tf.Tensor, indices: tf.Tensor, weights: tf.Tensor, shape: tf.Tensor, transpose: bool
) -> tf.Tensor:
    """A sparse matrix, or its transpose, times a dense one; its gradient is of the same kind."""

    @tf.custom_gradient
    def op(x):
        # On a CPU as fast as four gathers, and the transpose 3 times as fast as a scatter.
        y = tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=indices, a_values=weights, a_shape=shape, b=x, adjoint_a=transpose
        )
        return y, lambda dy: _multiply(dy, indices, weights, shape, not transpose)

    return op(x)


def _sampling_matrix(
    transforms: tf.Tensor, in_size: tf.Tensor, out_size: tuple[int, int], dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """(indices [4M, 2] int32, weights [4M]): rows are pixels of results, columns of images."""
    height, width = out_size
    count = tf.shape(transforms)[0]
    # In float32, positions in an image of 4000 pixels would be off by 2e-4.
    m = tf.cast(transforms, tf.float64)[..., tf.newaxis, tf.newaxis]
    u = tf.range(width, dtype=tf.float64)
    v = tf.range(height, dtype=tf.float64)[:, tf.newaxis]
    x_taps, x_weights = _axis_taps(
        m[:, 0, 0] * u + (m[:, 0, 1] * v + m[:, 0, 2]), in_size[1], dtype
    )
    y_taps, y_weights = _axis_taps(
        m[:, 1, 0] * u + (m[:, 1, 1] * v + m[:, 1, 2]), in_size[0], dtype
    )
    # int32 reaches for 25 GB of RGB images in float32.
    first_pixel = tf.reshape(tf.range(count) * tf.reduce_prod(in_size), [-1, 1, 1])
    row_starts = [first_pixel + y * in_size[1] for y in y_taps]
    columns = tf.stack([start + x for start in row_starts for x in x_taps])
    weights = tf.stack([wy * wx for wy in y_weights for wx in x_weights])
    rows = tf.tile(tf.range(count * (height * width), dtype=tf.int64), [4])
    # Row and column are the halves of an int64, which takes a fifth of the time of stacking them.
    pairs = tf.cast(tf.reshape(columns, [-1]), tf.int64) * (1 << 32) + rows
    return tf.bitcast(pairs, tf.int32), tf.reshape(weights, [-1])


def _axis_taps(
    position: tf.Tensor, size: tf.Tensor, dtype: tf.DType
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Indices of the two neighbours along an axis and their weights, each like `position`."""
    before = tf.floor(position)
    fraction = tf.cast(position - before, dtype)
    # Far outside is as good as just outside, and fits an int32.
    before = tf.cast(tf.clip_by_value(before, -2.0, tf.cast(size, tf.float64)), tf.int32)
    taps, weights = [], []
    for index, weight in ((before, 1 - fraction), (before + 1, fraction)):
        tap = tf.clip_by_value(index, 0, size - 1)
        taps.append(tap)
        weights.append(weight * tf.cast(tf.equal(tap, index), dtype))
    return taps, weights
