"""Perceptual path length (StyleGAN, section 4.1; StyleGAN2, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from metrics.evaluation import Evaluation
from metrics.metric import MetricBase
from training.datasets.photos.arrays import on_white

# Side that images are reduced to before they are compared.
_SIDE = 256


def path_length(distances: np.ndarray) -> float:
    """Mean of the distances from the 1st percentile (lower) to the 99th (higher).

    Args:
        distances: [n], in units of epsilon².
    """
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    return float(distances[(low <= distances) & (distances <= high)].mean(dtype=np.float64))


def slerp(a: tf.Tensor, b: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Spherical interpolation of directions.

    Args:
        a, b: [N, D].
        t: [N, 1]; 0 for a, 1 for b.
    """
    a, b = normalize(a), normalize(b)
    cosine = tf.reduce_sum(a * b, axis=-1, keepdims=True)
    angle = t * tf.math.acos(tf.clip_by_value(cosine, -1, 1))
    orthogonal = normalize(b - cosine * a)
    return normalize(a * tf.cos(angle) + orthogonal * tf.sin(angle))


def normalize(v: tf.Tensor) -> tf.Tensor:
    """Vectors [..., D] of length 1."""
    return v / tf.sqrt(tf.reduce_sum(tf.square(v), axis=-1, keepdims=True))


def prepare_images(images: tf.Tensor, crop: bool) -> tf.Tensor:
    """Generated images as the distance takes them.

    Args:
        images: [N, C, H, W], -1 to 1; transparent ones are seen on white.
        crop: cut out the face, where the pictures are those of FFHQ or CelebA-HQ.

    Returns:
        [N, 3, h, w], 0 to 255, with box means at most about 256 pixels high.
    """
    images = on_white(images)
    if crop:
        side = images.shape[2].value // 8
        images = images[:, :, side * 3 : side * 7, side * 2 : side * 6]
    images = (box_means(images) + 1) * (255 / 2)
    return tf.tile(images, [1, 3, 1, 1]) if images.shape[1].value == 1 else images


def box_means(images: tf.Tensor) -> tf.Tensor:
    """Images [N, C, H, W] reduced by a whole number to about 256 pixels' height, if larger.

    What is left of rows and columns beside whole boxes is cut off.
    """
    channels, height, width = images.shape[1:].as_list()
    if (factor := height // _SIDE) <= 1:
        return images
    boxes = [-1, channels, height // factor, factor, width // factor, factor]
    images = images[:, :, : height // factor * factor, : width // factor * factor]
    return tf.reduce_mean(tf.reshape(images, boxes), axis=[3, 5])


class PPL(MetricBase):
    """Mean squared perceptual distance of images a small step apart, over the step's square.

    Args:
        name: as reported.
        num_samples: pairs of images.
        epsilon: the step.
        space: "z": spherical steps between two latents; "w": straight ones between two w.
        sampling: "full": anywhere between the two; "end": at the first.
        crop: see `prepare_images`.
        Gs_overrides: keyword arguments of the generator's parts.
        forced: see `MetricBase`.
    """

    def __init__(
        self,
        name: str,
        num_samples: int,
        epsilon: float,
        space: str,
        sampling: str,
        crop: bool,
        *,
        Gs_overrides: Mapping[str, Any] | None = None,
        **forced: Any,
    ):
        super().__init__(name, **forced)
        # Official overrides say that each part computes in float32, as all of them do here.
        self.Gs_overrides = {
            name: value
            for name, value in (Gs_overrides or {}).items()
            if name not in ("mapping_dtype", "synthesis_dtype")
        }
        self.num_samples, self.epsilon, self.space = num_samples, epsilon, space
        self.sampling, self.crop = sampling, crop

    def use_features(self, sources) -> None:
        self._network = sources.get("lpips")

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        Gs = evaluation.Gs
        evaluation.uses(self._network, num_fakes=2 * self.num_samples)
        height = Gs.output_shape[2] // (2 if self.crop else 1)
        if min(height, Gs.output_shape[3] // (2 if self.crop else 1)) < 16:
            raise UserError(f"{self.name}: images of {Gs.output_shape[1:]} are too small for VGG16")
        replicas = evaluation.replicas((self.name, self._network.key), self._build(evaluation))
        # Both images of a pair have the same noise; each minibatch has other.
        noise = [v for n, v in Gs.components.synthesis.vars.items() if n.startswith("noise")]
        redraw = [v.initializer for v in noise]
        distances = []
        for begin, count in evaluation.minibatches(self.num_samples, pairs=True):
            latents = evaluation.latents(2 * begin, 2 * count).reshape(count, 2, -1)
            t = np.zeros([count], np.float32)
            if self.sampling == "full":
                t = evaluation.uniform("lerp", begin, count)
            tflib.run(redraw)
            labels = evaluation.labels(begin, count)
            rows = {"z0": latents[:, 0], "z1": latents[:, 1], "labels": labels, "t": t}
            distances.append(replicas.run(rows)[0])
        values = np.concatenate(distances).astype(np.float64)
        if not np.isfinite(values).all():
            raise UserError(f"{self.name}: {evaluation.snapshot} makes images that are not finite")
        return {"": path_length(values)}

    def _build(self, evaluation: Evaluation):
        Gs = evaluation.Gs
        # A step of 1e-4 is lost in half precision.
        kwargs: dict[str, Any] = {"randomize_noise": False}
        if "num_fp16_res" in Gs.components.synthesis.static_kwargs:
            kwargs["num_fp16_res"] = 0
        kwargs |= self.Gs_overrides

        def build(replica: int):
            feeds = {n: tf.placeholder(tf.float32, [None, Gs.input_shape[1]]) for n in ("z0", "z1")}
            feeds["labels"] = tf.placeholder(tf.float32, [None, Gs.input_shapes[1][1]])
            feeds["t"] = tf.placeholder(tf.float32, [None])
            dlatents = self._dlatents(Gs, feeds)
            images = Gs.components.synthesis.get_output_for(dlatents, **kwargs)
            images = prepare_images(tf.cast(images, tf.float32), self.crop)
            distance = self._network.distance(images[0::2], images[1::2])
            return feeds, [distance * (1 / self.epsilon**2)]

        return build

    def _dlatents(self, Gs, feeds: dict[str, tf.Tensor]) -> tf.Tensor:
        """w of both ends of every step, [2N, num_layers, dlatent_size], end by end."""
        mapping, labels, t = Gs.components.mapping, feeds["labels"], feeds["t"][:, tf.newaxis]
        ends = (t, t + self.epsilon)
        if self.space == "z":
            steps = [slerp(feeds["z0"], feeds["z1"], end) for end in ends]
            w = [mapping.get_output_for(z, labels, **self.Gs_overrides) for z in steps]
        else:
            w0, w1 = (
                mapping.get_output_for(feeds[z], labels, **self.Gs_overrides) for z in ("z0", "z1")
            )
            w = [w0 + (w1 - w0) * end[:, :, tf.newaxis] for end in ends]
        stacked = tf.stack(w, axis=1)
        return tf.reshape(stacked, [-1, *stacked.shape[2:].as_list()])
