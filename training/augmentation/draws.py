"""Random parameters of augmentation: one number for each sample, each from its own stream."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from training import random_streams


class Draws:
    """Where transformations get their random numbers from.

    Args:
        seed: [2] int32, or None for fresh numbers at every run.
        count: samples in the minibatch.
        strength: probability p of ADA, a number or a scalar tensor.
        debug_percentile: in (0, 1): every sample has every transformation, with this percentile of
            its parameters' distributions; a number, or a tensor of shape [] or [N]. None: random.

    Parameters are float32; with a percentile, float64: an error of a float32 parameter would be
    seen in large images.
    """

    def __init__(
        self,
        seed: tf.Tensor | None,
        count: int | tf.Tensor,
        strength: float | tf.Tensor,
        debug_percentile: float | tf.Tensor | None,
    ) -> None:
        self.count = count
        self.strength = tf.cast(strength, tf.float32)
        self.is_debug = debug_percentile is not None
        self._seed = seed
        self._percentile: tf.Tensor | None = None
        if self.is_debug:
            p = debug_percentile
            # A number is not rounded to float32 on its way.
            p = tf.cast(p, tf.float64) if tf.is_tensor(p) else tf.constant(p, tf.float64)
            self._percentile = tf.broadcast_to(p, [count])

    def uniform(self, name: str, low: float, high: float, use: int = 0) -> tf.Tensor:
        """[N] in [low, high)."""
        x = self._percentile
        if x is None:
            x = random_streams.uniform([self.count], self._stream(name, 2 * use + 1))
        return x * (high - low) + low

    def choice(self, name: str, number: int) -> tf.Tensor:
        """[N] whole numbers in {0, ..., number - 1}."""
        return tf.floor(self.uniform(name, 0, number))

    def normal(self, name: str, deviation: float, use: int = 0) -> tf.Tensor:
        """[N] normal with mean 0."""
        if self._percentile is None:
            x = random_streams.normal([self.count], self._stream(name, 2 * use + 1))
        else:
            # The percentiles of a deviation of 1/√2, as the official code has it.
            x = tf.math.erfinv(2 * self._percentile - 1)
        return x * deviation

    def half_normal(self, name: str, deviation: float) -> tf.Tensor:
        """[N] absolute value of a normal number."""
        if self._percentile is None:
            return tf.abs(self.normal(name, deviation))
        return tf.math.erfinv(self._percentile) * deviation

    def lognormal(self, name: str, deviation: float, use: int = 0) -> tf.Tensor:
        """[N] 2 to the power of a normal number."""
        exponent = self.normal(name, deviation, use)
        return tf.pow(tf.constant(2, exponent.dtype), exponent)

    def gate(
        self,
        name: str,
        probability: float | tf.Tensor,
        value: tf.Tensor,
        neutral: float,
        use: int = 0,
    ) -> tf.Tensor:
        """[N, ...]: `value` with some probability in each sample, else `neutral`.

        With a percentile always `value`.
        """
        if self.is_debug:
            return value
        return gated(probability, value, neutral, self.count, self._stream(name, 2 * use))

    def white(self, name: str, shape: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers of any shape, random with a percentile too."""
        return random_streams.normal(shape, self._stream(name, 3))

    def _stream(self, name: str, use: int) -> tf.Tensor | None:
        """Seed of one use of a transformation: even numbers are gates, odd ones parameters."""
        return random_streams.augment_stream(self._seed, name, use)


def gated(
    probability: float | tf.Tensor,
    value: tf.Tensor,
    neutral: float,
    count: int | tf.Tensor,
    seed: tf.Tensor | None,
) -> tf.Tensor:
    """[count, ...]: `value` with some probability in each sample, else `neutral`."""
    fires = random_streams.uniform([count], seed) < probability
    return tf.where(fires, value, tf.fill(tf.shape(value), tf.cast(neutral, value.dtype)))


def gate_augment_params(
    probability: float | tf.Tensor, params: tf.Tensor, disabled_val: float
) -> tf.Tensor:
    """Parameters of augmentation that are switched off at random, sample by sample.

    Args:
        probability: of staying as they are, a number or [N].
        params: [N, ...].
        disabled_val: what the others become.
    """
    params = tf.convert_to_tensor(params)
    return gated(probability, params, disabled_val, tf.shape(params)[0], seed=None)
