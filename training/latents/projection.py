"""Projection of images into W and W+ (StyleGAN2, section 5 and appendix D).

w begins at the mean of W and the noise maps at noise; both follow the slope of

    distance(image of w + noise on w, target) + weight · regularization of the noise maps

by Adam. Noise on w and the learning rate fall off in the course of the steps.

# Deviation: every target of a minibatch has its own noise maps, and the same random numbers that it
would have alone; in the official code all of them share one set of maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, tfutil
from training.latents.distances import MAX_SIDE, Distance, shrink
from training.latents.noise_maps import noise_variables, normalized, regularization
from training.latents.options import ProjectionOptions
from training.latents.starting_point import StartingPoints
from training.random_streams import normal, stream


class Projection:
    """Projects minibatches of images, one after the other, in one graph.

    Args:
        Gs: a generator; it is not changed.
        distance: see `distances`; one with an attribute `max_side` gets images of up to that many
            pixels (None: of any), others of up to `MAX_SIDE`.
        count: most targets at once.
        options: how. They can be replaced between steps by others of the same space and noise mode.

    Attributes:
        options: as given.
        cur_step: steps that were taken since `start`.

    Raises:
        UserError: the distance cannot be had of such images.
    """

    def __init__(
        self,
        Gs: Network,
        distance: Distance,
        count: int = 1,
        options: ProjectionOptions | None = None,
    ):
        self.options = options or ProjectionOptions()
        self.cur_step = 0
        self._Gs, self._count, self._active = Gs, count, 0
        self._synthesis = Gs.components.synthesis
        self._starting_points = StartingPoints(Gs)
        with tfutil.BUILDING, Gs.as_default(), tf.name_scope("Projection"):
            self._build(distance)

    def start(
        self,
        targets: Sequence[np.ndarray] | np.ndarray,
        labels: Sequence[np.ndarray | None] | None = None,
        noise_init: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Begins with other targets.

        Args:
            targets: up to `count` images [C, H, W], uint8, or floats of -1 to 1.
            labels: [label_size] of each; None, for one or all: of no class, so that the mean is
                that of all classes in equal parts.
            noise_init: noise maps to begin with, [H, W] each; None: random ones.

        Raises:
            UserError: targets, labels or noise maps that do not fit the network.
        """
        pixels = [self._checked(target) for target in targets]
        if not 1 <= len(pixels) <= self._count:
            raise UserError(f"{len(pixels)} targets: expected 1 to {self._count}")
        labels = [None] * len(pixels) if labels is None else list(labels)
        if len(labels) != len(pixels):
            raise UserError(f"{len(labels)} labels for {len(pixels)} targets")
        samples = self.options.dlatent_avg_samples
        points = [self._starting_points.find(label, samples) for label in labels]
        rows = [min(i, len(pixels) - 1) for i in range(self._count)]  # The last one fills up.
        means = np.stack([points[i].mean for i in rows])[:, np.newaxis]
        deviations = np.float32([points[i].deviation for i in rows]).reshape(-1, 1, 1)
        values = {
            self._targets: np.stack([pixels[i] for i in rows]),
            self._mean: means,
            self._deviation: deviations,
            self._w: np.broadcast_to(means, self._w.shape.as_list()),
        }
        with self._Gs.as_default() as session:
            if self._maps:
                if noise_init is None:
                    noise_init = session.run(self._first_maps, self._feeds(0))
                values |= self._checked_maps(noise_init)
            elif noise_init is not None:
                raise UserError("noise maps to begin with: there are none to optimize")
            tflib.set_vars(values)
            session.run([v.initializer for v in self._optimizer.variables()])
        self.cur_step, self._active = 0, len(pixels)

    def step(self) -> tuple[np.ndarray, float]:
        """Takes a step.

        Returns:
            (distances [N], sum of the losses), both before the step, of images of w with noise.

        Raises:
            UserError: a distance is not finite.
        """
        options, step = self.options, self.cur_step
        feeds = self._feeds(step, options.learning_rate(step), options.noise_strength(step))
        with self._Gs.as_default() as session:
            fetches = [self._distances, self._loss, self._train]
            distances, loss, _ = session.run(fetches, feeds)
        self.cur_step += 1
        return self._finite(distances), float(loss)

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """(images float32 [N, C, H, W] about -1 to 1, distances [N]) of the w that were found."""
        with self._Gs.as_default() as session:
            fetches = [self._images, self._distances]
            images, distances = session.run(fetches, self._feeds(self.cur_step))
        return images[: self._active], self._finite(distances)

    @property
    def dlatents(self) -> np.ndarray:
        """The w that were found, float32 [N, num_layers, dlatent_size]."""
        with self._Gs.as_default() as session:
            w = session.run(self._w)[: self._active]
        return np.tile(w, [1, self._synthesis.input_shape[1] // w.shape[1], 1])

    @property
    def noises(self) -> list[np.ndarray]:
        """Noise maps in use, float32 [N, 1, H, W] for every noise input."""
        with self._Gs.as_default() as session:
            maps = session.run(self._noise, self._feeds(self.cur_step))
        return [np.repeat(m, self._count // len(m), axis=0)[: self._active] for m in maps]

    # Building

    def _build(self, distance: Distance) -> None:
        layers, size = self._synthesis.input_shape[1:]
        count, of_each = self._count, layers if self.options.space == "w+" else 1
        self._w = _variable([count, of_each, size], "dlatents")
        self._mean = _variable([count, 1, size], "mean")
        self._deviation = _variable([count, 1, 1], "deviation")
        self._targets = _variable([count, *self._synthesis.output_shape[1:]], "targets")
        self._seed = tf.placeholder(tf.int32, [2], "seed")
        names = ("learning_rate", "noise_strength", "regularize_noise_weight", "wplus_penalty")
        rate, strength, weight, penalty = (tf.placeholder(tf.float32, [], n) for n in names)
        self._numbers = (rate, strength, weight, penalty)

        w = self._w.read_value()
        noise = self._build_noise()
        # The same for every target of the minibatch, as if each were alone.
        on_w = normal([1, of_each, size], stream(self._seed, "projection", 0))
        dlatents = w + on_w * strength * self._deviation
        dlatents = tf.tile(dlatents, [1, layers // of_each, 1], name="dlatents_in")
        kwargs: dict[str, Any] = {"randomize_noise": False}
        if "num_fp16_res" in self._synthesis.static_kwargs:
            kwargs["num_fp16_res"] = 0  # Slopes are small.
        images = self._synthesis.get_output_with(noise, dlatents, **kwargs)
        self._images = tf.cast(images, tf.float32)
        max_side = getattr(distance, "max_side", MAX_SIDE)
        pair = [shrink((x + 1) * 127.5, max_side) for x in (self._images, self._targets)]
        self._distances = distance(*pair)

        loss = tf.reduce_sum(self._distances)
        if self._maps:
            loss += weight * tf.reduce_sum(regularization(self._noise))
        if of_each > 1:
            squares = tf.reduce_sum(tf.square((w - self._mean) / self._deviation), axis=2)
            loss += penalty * tf.reduce_sum(tf.reduce_mean(squares, axis=1))
        self._loss = loss
        self._optimizer = tf.train.AdamOptimizer(rate, beta1=0.9, beta2=0.999)
        read = [w, *(self._noise if self._maps else [])]
        pairs = list(zip(tf.gradients(loss, read), [self._w, *self._maps], strict=True))
        with tf.control_dependencies([loss]):
            applied = self._optimizer.apply_gradients(pairs)
        with tf.control_dependencies([applied]):
            self._train = tf.group(*(m.assign(normalized(m.read_value())) for m in self._maps))

    def _build_noise(self) -> dict[str, tf.Tensor]:
        """What stands for the noise inputs of the network, by their names.

        Sets `_maps`, variables of maps to optimize, none in most modes; `_first_maps`, what they
        begin with; `_noise`, the maps in use, [N or 1, 1, H, W].
        """
        mode, inputs = self.options.noise_mode, noise_variables(self._synthesis)
        shapes = [tflib.shape_to_list(v.shape) for v in inputs.values()]
        seeds = [stream(self._seed, "projection", 1 + i) for i in range(len(shapes))]
        self._maps: list[tf.Variable] = []
        drawn = [normal(s, seed) for s, seed in zip(shapes, seeds, strict=True)]
        self._first_maps = drawn
        if mode == "optimize":
            self._maps = [
                _variable([self._count, *s[1:]], n) for n, s in zip(inputs, shapes, strict=True)
            ]
            self._noise = [m.read_value() for m in self._maps]
        elif mode == "random":
            self._noise = drawn
        elif mode == "none":
            self._noise = [tf.zeros(s) for s in shapes]
        else:
            # A copy: whoever draws images of other seeds with the network changes its own.
            copies = [_variable(s, n) for n, s in zip(inputs, shapes, strict=True)]
            values = tflib.run(list(inputs.values()))
            tflib.set_vars(dict(zip(copies, values, strict=True)))
            self._noise = [c.read_value() for c in copies]
        return dict(zip(inputs, self._noise, strict=True))

    # Checking

    def _checked(self, target: np.ndarray) -> np.ndarray:
        """A target as float32 of -1 to 1."""
        target, shape = np.asarray(target), self._synthesis.output_shape[1:]
        if list(target.shape) != shape:
            raise UserError(f"a target of shape {list(target.shape)}: the network makes {shape}")
        if target.dtype == np.uint8:
            return target.astype(np.float32) * np.float32(1 / 127.5) - 1
        if not np.isfinite(target).all():
            raise UserError("a target has pixels that are not finite")
        return target.astype(np.float32)

    def _checked_maps(self, noise_init: Sequence[np.ndarray]) -> dict[tf.Variable, np.ndarray]:
        """Values of the maps' variables: one map of a noise input for all targets."""
        if len(noise_init) != len(self._maps):
            raise UserError(f"{len(noise_init)} noise maps: the network has {len(self._maps)}")
        values = {}
        for variable, noise in zip(self._maps, noise_init, strict=True):
            shape = variable.shape.as_list()
            if list(np.shape(noise)[-2:]) != shape[-2:]:
                raise UserError(f"a noise map of {list(np.shape(noise))}: expected {shape[-2:]}")
            values[variable] = np.broadcast_to(noise, shape)
        return values

    def _finite(self, distances: np.ndarray) -> np.ndarray:
        distances = distances[: self._active]
        if not np.isfinite(distances).all():
            raise UserError(
                f"the distance of target {int(np.argmin(np.isfinite(distances)))} is not finite "
                f"after {self.cur_step} steps: the network makes such images, or the learning rate "
                "is too high"
            )
        return distances

    def _feeds(self, step: int, rate: float = 0, strength: float = 0) -> dict[tf.Tensor, Any]:
        options = self.options
        numbers = (rate, strength, options.noise_weight, options.wplus_penalty)
        return {self._seed: [options.seed, step], **dict(zip(self._numbers, numbers, strict=True))}


def _variable(shape: Sequence[int], name: str) -> tf.Variable:
    return tf.Variable(tf.zeros(shape), trainable=False, name=name)
