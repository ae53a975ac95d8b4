"""Sampling of images at points and along axes, with the true adjoint as its gradient.

Both are linear in the image: a sparse matrix with a few weights a row. The gradient multiplies with
the transposed matrix, and its gradient with the matrix again, so that every derivative is exact.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from tf_ops import native
from tf_ops.gradients import custom_gradient


def resample_2d(
    x: tf.Tensor, transforms: tf.Tensor, out_size: tuple[int, int], impl: str = "auto"
) -> tf.Tensor:
    """Pixel (u, v) of the result is the image at transform·(u, v, 1); outside, images are zero.

    Between pixels images are bilinear. Pixels are points at whole numbers, (0, 0) is the one at the
    top left. A neighbor that lies outside counts as zero, so that images fade out within one pixel
    beyond their border.

    # Deviation: the gradient is the adjoint of the sampling. That of TensorFlow's
    # ImageProjectiveTransform, which the official code uses, samples under the inverse transform:
    # where the transform scales or rotates this is something else.

    Args:
        x: [N, H, W, C] float; N, H and W may be unknown.
        transforms: [N, 2, 3] float, constants for the gradient; the rows give column and row of
            the point in the image. float64 keeps positions exact in images of any size.
        out_size: height and width of the result.
        impl: see `tf_ops.native`.

    Returns:
        [N, *out_size, C], differentiable in `x` any number of times. The same numbers at every run;
        only the reference on a GPU adds up in any order, so that last bits differ between runs.

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
    # In float32, positions in an image of 4000 pixels would be off by 2e-4.
    transforms = tf.cast(transforms, tf.float64)
    library = native.find("resample_2d", impl, x.dtype)
    exact = _at_least_float32(x)
    if library is None:
        multiply = _sampling_reference(exact, transforms, out_size)
    else:
        in_size = tf.shape(x)[1:3]

        def multiply(v: tf.Tensor, adjoint: bool) -> tf.Tensor:
            size = in_size if adjoint else out_size
            return library.tf_ops_resample2d(v, transforms, size, adjoint=adjoint)

    y = tf.cast(_linear(exact, multiply), x.dtype)
    y.set_shape([x.shape[0], *out_size, x.shape[3]])
    return y


def weighted_gather(
    x: tf.Tensor, indices: tf.Tensor, weights: tf.Tensor, axis: int, impl: str = "auto"
) -> tf.Tensor:
    """Row r of the result is the sum of rows indices[n, r, k] of x[n] times weights[n, r, k].

    A filter along an axis in its general form: it says for each row what to read. Rows that
    `x` does not have count as zero.

    Args:
        x: [N, ...] float, of any rank.
        indices: [N, R, K] int32, in the axis of `x`.
        weights: the same float, constants for the gradient.
        axis: of `x`, 1 or more.
        impl: see `tf_ops.native`.

    Returns:
        Like `x` with R rows in the axis, differentiable in `x` any number of times.

    Raises:
        UserError: an axis that `x` does not have.
    """
    x, indices = tf.convert_to_tensor(x), tf.convert_to_tensor(indices)
    if x.shape.ndims is None or not 1 <= axis < x.shape.ndims:
        raise UserError(f"weighted_gather: axis {axis} of shape {x.shape}, expected one after N")
    shape, rows = tf.shape(x), tf.shape(indices)[1]
    before, after = tf.reduce_prod(shape[1:axis]), tf.reduce_prod(shape[axis + 1 :])
    exact = _at_least_float32(x)
    weights = tf.cast(weights, exact.dtype)
    library = native.find("weighted_gather", impl, x.dtype)
    if library is None:
        multiply = _gather_reference(indices, weights, shape[axis])
    else:

        def multiply(v: tf.Tensor, adjoint: bool) -> tf.Tensor:
            size = shape[axis] if adjoint else rows
            return library.tf_ops_weighted_gather(v, indices, weights, size, adjoint=adjoint)

    flat = tf.reshape(exact, tf.stack([shape[0], before, shape[axis], after]))
    y = tf.cast(_linear(flat, multiply), x.dtype)
    y = tf.reshape(y, tf.concat([shape[:axis], [rows], shape[axis + 1 :]], axis=0))
    y.set_shape([*x.shape[:axis], indices.shape[1], *x.shape[axis + 1 :]])
    return y


def _at_least_float32(x: tf.Tensor) -> tf.Tensor:
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def _linear(
    x: tf.Tensor, multiply: Callable[[tf.Tensor, bool], tf.Tensor], adjoint: bool = False
) -> tf.Tensor:
    """A matrix, or its transpose, times `x`: the gradient of each is the other."""

    @custom_gradient
    def op(x):
        return multiply(x, adjoint), lambda dy: _linear(dy, multiply, not adjoint)

    return op(x)


def _gather_reference(
    indices: tf.Tensor, weights: tf.Tensor, size: tf.Tensor
) -> Callable[[tf.Tensor, bool], tf.Tensor]:
    """The matrices in full, [N, R, size]."""
    matrices = tf.zeros([tf.shape(indices)[0], tf.shape(indices)[1], size], weights.dtype)
    for k in range(indices.shape[2].value):  # At once they would take K times the memory.
        places = tf.one_hot(indices[:, :, k], size, dtype=weights.dtype)
        matrices += places * weights[:, :, k, tf.newaxis]

    def multiply(x: tf.Tensor, adjoint: bool) -> tf.Tensor:
        return tf.einsum("nsr,nosi->nori" if adjoint else "nrs,nosi->nori", matrices, x)

    return multiply


def _sampling_reference(
    x: tf.Tensor, transforms: tf.Tensor, out_size: tuple[int, int]
) -> Callable[[tf.Tensor, bool], tf.Tensor]:
    """One sparse matrix for all images of a minibatch."""
    in_size, count = tf.shape(x)[1:3], tf.shape(x)[0]
    indices, weights = _sampling_matrix(transforms, in_size, out_size, x.dtype)
    rows, columns = count * (out_size[0] * out_size[1]), count * tf.reduce_prod(in_size)
    shape = tf.cast(tf.stack([rows, columns]), tf.int64)

    def multiply(v: tf.Tensor, adjoint: bool) -> tf.Tensor:
        # On a CPU as fast as four gathers, and the transpose 3 times as fast as a scatter.
        y = tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=indices,
            a_values=weights,
            a_shape=shape,
            b=tf.reshape(v, tf.stack([rows if adjoint else columns, x.shape[3].value])),
            adjoint_a=adjoint,
        )
        size = in_size if adjoint else out_size
        return tf.reshape(y, tf.concat([[count], size, [x.shape[3].value]], axis=0))

    return multiply


def _sampling_matrix(
    transforms: tf.Tensor, in_size: tf.Tensor, out_size: tuple[int, int], dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """(indices [4M, 2] int32, weights [4M]): rows are pixels of results, columns of images."""
    height, width = out_size
    count = tf.shape(transforms)[0]
    m = transforms[..., tf.newaxis, tf.newaxis]
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
    """Indices of the two neighbors along an axis and their weights, each like `position`."""
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
