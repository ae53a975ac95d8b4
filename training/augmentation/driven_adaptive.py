"""Adaptive augmentation as scripts for the official code drive it: `tune` moves p."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.augmentation.adaptive import overfitting
from training.augmentation.pipeline import augment
from training.augmentation.presets import MAX_STRENGTH
from training.augmentation.spec import AugmentSpec

# What each heuristic is computed from, in the order of `overfitting`.
_STATS = {
    "rt": ("Loss/signs/real",),
    "rv": ("Loss/scores/real", "Loss/scores/validation", "Loss/scores/fake"),
}
_PIPELINE = "training.augment.augment_pipeline"


class AdaptiveAugment:
    """Augments images with a strength p that follows the discriminator's overfitting.

    The heuristics are r_t and r_v (ADA, equation 1), of the means of what `report_stat` was told
    and, for r_v, of what `run_validation` scores. With each `tune`, p moves towards r = target, at
    a speed of 0 to 1 in `tune_kimg` thousand images (section 3.1), and stays between 0 and 0.8.

    Args:
        apply_func: function of images, labels, `strength` and `apply_args` that returns images and
            labels, or "training.augment.augment_pipeline"; None: images stay as they are.
        apply_args: its further keyword arguments.
        initial_strength: p at the start.
        tune_heuristic: "rt", "rv", or None for a p that stays.
        tune_target: value of the heuristic at which p stays.
        tune_kimg: thousands of images in which p can go from 0 to 1.
        stat_decay_kimg: half-life, in thousands of images, of what was told; 0: `tune` forgets it.

    Raises:
        UserError: there is no such function or heuristic, or the target of one is missing.
    """

    def __init__(
        self,
        apply_func: str | Callable | None = None,
        apply_args: Mapping[str, Any] | None = None,
        initial_strength: float = 0,
        tune_heuristic: str | None = None,
        tune_target: float | None = None,
        tune_kimg: float = 500,
        stat_decay_kimg: float = 0,
    ):
        if tune_heuristic not in (None, *_STATS):
            raise UserError(f"tune_heuristic={tune_heuristic!r}: use rt, rv or None")
        if tune_heuristic is not None and tune_target is None:
            raise UserError(f"tune_heuristic={tune_heuristic!r} needs a tune_target, like 0.6")
        if isinstance(apply_func, str) and apply_func != _PIPELINE:
            raise UserError(
                f"apply_func={apply_func!r}: give the function itself, or {_PIPELINE!r}"
            )
        self.apply_func, self.apply_args = apply_func, dict(apply_args or {})
        self.tune_heuristic, self.tune_target = tune_heuristic, tune_target
        self.tune_kimg, self.stat_decay_kimg = tune_kimg, stat_decay_kimg
        with tf.name_scope(None), tf.control_dependencies(None):
            self._strength = tf.Variable(
                float(initial_strength), trainable=False, name="augment_strength"
            )
            # Sum of the numbers that were told, and how many they are.
            self._sums = {
                name: tf.Variable([0.0, 0.0], trainable=False, name=f"augment/{name}")
                for name in _STATS.get(tune_heuristic, ())
            }
        if tf.get_default_session() is not None:
            tflib.init_uninitialized_vars([self._strength, *self._sums.values()])
        self._validation: tuple[np.ndarray, np.ndarray] | None = None
        self._validation_ops: list[tuple[tf.Tensor, tf.Tensor, tf.Operation]] = []

    def get_strength_var(self) -> tf.Variable:
        """p, a scalar variable."""
        return self._strength

    def apply(
        self, images: tf.Tensor, labels: tf.Tensor, enable: bool = True
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Augmented images, and labels.

        Args:
            images: [N, C, H, W] in [-1, 1].
            labels: [N, label_size].
            enable: False: both stay as they are.
        """
        if self.apply_func is None or not enable:
            return images, labels
        if self.apply_func == _PIPELINE:
            return augment(images, self._strength, AugmentSpec(**self.apply_args)), labels
        return self.apply_func(images, labels, strength=self._strength, **self.apply_args)

    def report_stat(self, name: str, expr: tf.Tensor) -> tf.Tensor:
        """`expr`, whose mean is told to the heuristic when it is evaluated.

        Args:
            name: "Loss/signs/real", "Loss/scores/real", "Loss/scores/fake", or any other.
            expr: numbers of any shape.
        """
        if name not in self._sums:
            return expr
        values = tf.cast(tf.stop_gradient(expr), tf.float32)
        total = tf.reduce_sum(values)
        update = tf.stack([total, tf.cast(tf.size(values), tf.float32)])
        # Of a step that the optimizer skips, nothing is known.
        update = tf.where(tf.is_finite(total), update, tf.zeros_like(update))
        with tf.control_dependencies([self._sums[name].assign_add(update, read_value=False)]):
            return tf.identity(expr)

    def init_validation_set(self, D_gpus: Sequence[Network], training_set: Any) -> None:
        """Reads the images that r_v needs, and adds their scores to the graph.

        Args:
            D_gpus: the discriminator on each device.
            training_set: has `load_validation_set_np`, as a `TFRecordDataset` has.
        """
        if self.tune_heuristic != "rv":
            return
        images, labels = self._validation = training_set.load_validation_set_np()
        for D in D_gpus:
            fed = tf.placeholder(images.dtype, [None, *images.shape[1:]])
            fed_labels = tf.placeholder(labels.dtype, [None, *labels.shape[1:]])
            seen = tflib.convert_images_from_uint8(fed)
            scores = D.get_output_for(*self.apply(seen, fed_labels), is_training=True)
            told = self.report_stat("Loss/scores/validation", scores)
            self._validation_ops.append((fed, fed_labels, told.op))

    def run_validation(self, minibatch_size: int) -> None:
        """Scores the held-out images, for `tune`; without r_v, does nothing.

        Args:
            minibatch_size: images at once, over all devices.
        """
        if self._validation is None:
            return
        images, labels = self._validation
        share = max(minibatch_size // len(self._validation_ops), 1)
        for start in range(0, len(images), share * len(self._validation_ops)):
            ops, feeds = [], {}
            for number, (fed, fed_labels, op) in enumerate(self._validation_ops):
                rows = slice(start + number * share, start + (number + 1) * share)
                if len(images[rows]):
                    feeds.update({fed: images[rows], fed_labels: labels[rows]})
                    ops.append(op)
            tflib.run(ops, feeds)

    def tune(self, nimg_delta: int) -> None:
        """Moves p, by what was told since the last call.

        Args:
            nimg_delta: images of training since then.
        """
        if self.tune_heuristic is None:
            return
        sums = dict(zip(self._sums, tflib.run(list(self._sums.values())), strict=True))
        changed = {}
        r = self._heuristic(sums)
        if r is not None:
            step = np.sign(r - self.tune_target) * nimg_delta / (self.tune_kimg * 1000)
            moved = tflib.run(self._strength) + step
            changed[self._strength] = np.clip(moved, 0, MAX_STRENGTH)
        decay = 0.0
        if self.stat_decay_kimg > 0:
            decay = 0.5 ** (nimg_delta / (self.stat_decay_kimg * 1000))
        changed |= {self._sums[name]: value * decay for name, value in sums.items()}
        tflib.set_vars(changed)

    def _heuristic(self, sums: Mapping[str, np.ndarray]) -> float | None:
        """r, or None where it cannot be told."""
        if any(number == 0 for _, number in sums.values()):
            return None
        means = [float(total / number) for total, number in sums.values()]
        return means[0] if self.tune_heuristic == "rt" else overfitting(*means)
