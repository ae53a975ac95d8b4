"""Batches of transformation matrices in homogeneous coordinates, by their official names.

Arguments are numbers or tensors [N]; N is 1 where all are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

Element = float | tf.Tensor


def construct_batch_of_matrices(*rows: Sequence[Element]) -> tf.Tensor:
    """Matrices [N, R, C] of the elements of their rows, in the type of the first tensor.

    Args:
        rows: R rows of C elements each.
    """
    elements = [element for row in rows for element in row]
    tensors = [e for e in elements if tf.is_tensor(e)]
    dtype = tensors[0].dtype if tensors else tf.float32
    batch = next((tf.zeros_like(e) for e in tensors if e.shape.ndims), tf.zeros([1], dtype))
    elements = [
        e if tf.is_tensor(e) and e.shape.ndims else batch + tf.cast(e, dtype) for e in elements
    ]
    return tf.reshape(tf.stack(elements, axis=1), [-1, len(rows), len(rows[0])])


def translate_2d(tx: Element, ty: Element) -> tf.Tensor:
    """Shifts by (tx, ty), [N, 3, 3]."""
    return construct_batch_of_matrices([1, 0, tx], [0, 1, ty], [0, 0, 1])


def translate_3d(tx: Element, ty: Element, tz: Element) -> tf.Tensor:
    """Shifts by (tx, ty, tz), [N, 4, 4]."""
    return construct_batch_of_matrices([1, 0, 0, tx], [0, 1, 0, ty], [0, 0, 1, tz], [0, 0, 0, 1])


def scale_2d(sx: Element, sy: Element) -> tf.Tensor:
    """Scales by sx and sy, [N, 3, 3]."""
    return construct_batch_of_matrices([sx, 0, 0], [0, sy, 0], [0, 0, 1])


def scale_3d(sx: Element, sy: Element, sz: Element) -> tf.Tensor:
    """Scales by sx, sy and sz, [N, 4, 4]."""
    return construct_batch_of_matrices([sx, 0, 0, 0], [0, sy, 0, 0], [0, 0, sz, 0], [0, 0, 0, 1])


def rotate_2d(theta: Element) -> tf.Tensor:
    """Turns by the angle theta, from the x-axis to the y-axis, [N, 3, 3]."""
    c, s = tf.cos(theta), tf.sin(theta)
    return construct_batch_of_matrices([c, -s, 0], [s, c, 0], [0, 0, 1])


def rotate_3d(v: np.ndarray | tf.Tensor, theta: Element) -> tf.Tensor:
    """Turns by the angle theta about the axis v, [N, 4, 4] (Rodrigues' formula).

    Args:
        v: unit vector [3] or [N, 3]; further numbers in the last axis are left out.
        theta: the angle.
    """
    theta = tf.convert_to_tensor(theta)
    x, y, z = (tf.cast(v[..., i], theta.dtype) for i in range(3))
    c, s = tf.cos(theta), tf.sin(theta)
    t = 1 - c
    return construct_batch_of_matrices(
        [t * x * x + c, t * x * y - s * z, t * x * z + s * y, 0],
        [t * x * y + s * z, t * y * y + c, t * y * z - s * x, 0],
        [t * x * z - s * y, t * y * z + s * x, t * z * z + c, 0],
        [0, 0, 0, 1],
    )


def translate_2d_inv(tx: Element, ty: Element) -> tf.Tensor:
    """The inverse of `translate_2d`."""
    return translate_2d(-tx, -ty)


def scale_2d_inv(sx: Element, sy: Element) -> tf.Tensor:
    """The inverse of `scale_2d`."""
    return scale_2d(1 / sx, 1 / sy)


def rotate_2d_inv(theta: Element) -> tf.Tensor:
    """The inverse of `rotate_2d`."""
    return rotate_2d(-theta)
