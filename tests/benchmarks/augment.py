"""Milliseconds of the augmentation pipeline, and its share of a training step.

    python tests/benchmarks/augment.py --batch=16 --strength=0.5

Forward, with the gradient for the images, and with the gradient of that, as R1 needs it; RGB,
presets bgc and bgcfnc. The step is that of config F with feature maps 2048/128 and latents of 128:
in it the generator's images are augmented forward and backward, those of the discriminator forward
twice, and every 16th time there is R1. Beside them what one plain convolution takes here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import tflib  # isort: skip
import tensorflow.compat.v1 as tf
import train_step

from training.augmentation.pipeline import augment
from training.augmentation.presets import augment_preset


def milliseconds(operation: tf.Operation, repeats: int) -> float:
    """Median over runs after the first one."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        tflib.run(operation)
        times.append((time.perf_counter() - start) * 1000)
    return round(sorted(times[1:])[repeats // 2], 1)


def convolution(repeats: int) -> float:
    """3×3, 128 to 128 maps, on 16 images of 64×64."""
    with tflib.graph_session():
        x = tf.Variable(tf.random_normal([16, 64, 64, 128]))
        w = tf.Variable(tf.random_normal([3, 3, 128, 128]))
        y = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME")
        tflib.init_uninitialized_vars()
        return milliseconds(y.op, repeats)


def pipeline(preset: str, resolution: int, batch: int, strength: float, repeats: int) -> dict:
    """Each order of derivatives of a preset."""
    with tflib.graph_session(seed=0):
        images = tf.Variable(tf.random_normal([batch, 3, resolution, resolution]))
        result = augment(images, strength, augment_preset(preset))
        gradient = tf.gradients(tf.square(result), images)[0]
        second = tf.gradients(tf.square(gradient), result)[0]
        tflib.init_uninitialized_vars()
        return {
            "preset": preset,
            "resolution": resolution,
            "forward_ms": milliseconds(result.op, repeats),
            "forward_backward_ms": milliseconds(gradient.op, repeats),
            "penalty_ms": milliseconds(second.op, repeats),
        }


def step_milliseconds(resolution: int, batch: int) -> float:
    """A training step without augmentation, regularization at its intervals included."""
    options = {"config": "config-f", "fmap_base": 2048, "fmap_max": 128, "latent_size": 128}
    options |= {"precision": "fp32", "aug": "noaug", "cycles": 1}
    args = argparse.Namespace(resolution=resolution, batch=batch, **options)
    with tempfile.TemporaryDirectory() as folder:
        return train_step.measure(args, folder)["sec_per_kimg"] * batch


def share(figures: dict, step_ms: float) -> float:
    """Of the augmentation in a step that has it."""
    own = figures["forward_backward_ms"] + 2 * figures["forward_ms"] + figures["penalty_ms"] / 16
    return round(own / (own + step_ms), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--strength", type=float, default=0.5, help="p of ADA")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    print(json.dumps({"convolution_ms": convolution(args.repeats)}))
    for resolution in (64, 256):
        step_ms = step_milliseconds(resolution, args.batch)
        for preset in ("bgc", "bgcfnc"):
            figures = pipeline(preset, resolution, args.batch, args.strength, args.repeats)
            figures |= {"step_ms": round(step_ms), "share_of_step": share(figures, step_ms)}
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
