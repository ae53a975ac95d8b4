"""Spectral normalization (Miyato et al. 2018, arXiv:1802.05957): `--cmethod=spectralnorm`.

A weight is divided by its largest singular value σ, which power iteration estimates: one iteration
a training step, from a vector that is a variable of the network, saved with it.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network

_VECTOR = "sn"


def spectral_normalize(
    weight: tf.Tensor,
    name: str = _VECTOR,
    iterations: int = 1,
    eps: float = 1e-8,
    updates: bool = False,
) -> tf.Tensor:
    """weight / σ of the matrix that takes all inputs of a position to its outputs (section 2.1).

    Creates the variable `sn` [1, outputs] beside that of the weight. Unless `updates`, nothing
    changes it here, so that all uses of the network in a step see the same weight; `build_update`
    does.

    Args:
        weight: [.., inputs, outputs].
        name: of the variable.
        iterations: of `power_iteration` from that variable, one or more.
        eps: the least σ.
        updates: using the result keeps the vector of the last iteration in the variable.
    """
    matrix = _matrix(weight)
    init = tf.initializers.random_normal()
    shape = [1, matrix.shape[1].value]
    vector = tf.get_variable(name, shape=shape, initializer=init, trainable=False)
    u, v = power_iteration(matrix, vector)
    for _ in range(iterations - 1):
        u, v = power_iteration(matrix, u)
    sigma = tf.matmul(tf.matmul(v, matrix), u, transpose_b=True)
    weight = weight / tf.maximum(sigma[0, 0], eps)
    if not updates:
        return weight
    with tf.control_dependencies([vector.assign(u, read_value=False)]):
        return tf.identity(weight)


def power_iteration(matrix: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One iteration towards the first singular vectors (Miyato et al. 2018, algorithm 1).

    Args:
        matrix: [inputs, outputs].
        u: [1, outputs].

    Returns:
        u [1, outputs] and v [1, inputs] of unit length, constants for gradients: σ = v·matrix·uᵀ.
    """
    v = tf.math.l2_normalize(tf.matmul(u, matrix, transpose_b=True))
    u = tf.math.l2_normalize(tf.matmul(v, matrix))
    return tf.stop_gradient(u), tf.stop_gradient(v)


def build_update(D: Network) -> tf.Operation | None:
    """An op that keeps what one more iteration makes of every vector; None if there are none."""
    updates = []
    for name, vector in D.vars.items():
        scope, _, last = name.rpartition("/")
        if last == _VECTOR:
            # The factor by which the weight is scaled when used does not turn the vectors.
            u, _ = power_iteration(_matrix(D.vars[f"{scope}/weight"]), vector)
            updates.append(vector.assign(u, read_value=False))
    return tf.group(updates) if updates else None


def _matrix(weight: tf.Tensor) -> tf.Tensor:
    return tf.reshape(weight, [-1, weight.shape[-1].value])
