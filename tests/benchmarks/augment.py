"""Milliseconds of the augmentation pipeline, beside what one plain convolution takes here.

    python tests/benchmarks/augment.py --batch=16 --strength=0.5

Forward, and forward with the gradient for the images; RGB, presets bgc and bgcfnc.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import tflib  # isort: skip
import tensorflow.compat.v1 as tf

from training.augment import augment_pipeline
from training.augment_presets import augment_preset


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
    """Forward, and forward and backward, of a preset."""
    with tflib.graph_session(seed=0):
        images = tf.Variable(tf.random_normal([batch, 3, resolution, resolution]))
        result, _ = augment_pipeline(images, None, strength, **augment_preset(preset))
        gradient = tf.gradients(tf.reduce_sum(tf.square(result)), images)[0]
        tflib.init_uninitialized_vars()
        return {
            "preset": preset,
            "resolution": resolution,
            "forward_ms": milliseconds(result.op, repeats),
            "forward_backward_ms": milliseconds(gradient.op, repeats),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--strength", type=float, default=0.5, help="p of ADA")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    print(json.dumps({"convolution_ms": convolution(args.repeats)}))
    for resolution in (64, 256):
        for preset in ("bgc", "bgcfnc"):
            figures = pipeline(preset, resolution, args.batch, args.strength, args.repeats)
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
