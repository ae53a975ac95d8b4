"""The running mean of path lengths (StyleGAN2, section 3.2)."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.workers import ALONE, Alone


class PathLengthMean:
    """Running mean of path lengths: one variable, whatever the number of replicas.

    # Deviation: the official code keeps a mean for each GPU and loses it when a run ends; here all
    # replicas move the same one, and it belongs to what a run saves.

    Args:
        workers: whose replicas move it.

    Attributes:
        var: the mean, a scalar variable.
    """

    def __init__(self, workers: Alone = ALONE) -> None:
        self._workers = workers
        with tf.name_scope(None), tf.control_dependencies(None):
            self.var = tf.Variable(0.0, trainable=False, name="pl_mean")
        self._replicas: list[tf.Tensor] = []

    def update(self, lengths: tf.Tensor, decay: float) -> tf.Tensor:
        """The mean as moved by a replica's path lengths."""
        moved = tflib.lerp(self.var, tf.reduce_mean(lengths), decay)
        self._replicas.append(tf.stop_gradient(moved))
        # The official code lets gradients flow into the moved mean; the weight of that is `decay`.
        return moved

    def apply(self) -> tf.Operation:
        """An op that stores the average over the replicas, unless it is not finite."""
        if not self._replicas:
            return tf.no_op()
        [mean] = self._workers.mean([tf.add_n(self._replicas) / len(self._replicas)])
        return self.var.assign(tf.where(tf.is_finite(mean), mean, self.var), read_value=False)
