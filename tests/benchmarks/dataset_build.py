"""How fast `create_from_images` is, beside the same work done plainly in one thread.

    python tests/benchmarks/dataset_build.py PHOTOS [--resolution 64,256] [--runs 3]

Prints images per second, the best of the runs, importing TensorFlow not counted. The plain way
decodes each photo at full size, crops and reduces it, and writes the levels, one after the other.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from dnnlib import cli
from dnnlib.tensorflow_loader import load_tensorflow
from training.datasets import images
from training.datasets.build import Output
from training.datasets.folders import open_folder


def plain(tfrecord_dir: str, image_dir: str, resolution: int) -> None:
    """The conversion without threads and without reduced decoding."""
    os.mkdir(tfrecord_dir)
    with records.RecordWriter(tfrecord_dir, "plain", resolution) as writer:
        for file in images.find_images(image_dir)[0]:
            with Image.open(os.path.join(image_dir, file)) as photo:
                rgb = photo.convert("RGB")
            side = min(rgb.size)
            x, y = (rgb.width - side) // 2, (rgb.height - side) // 2
            square = rgb.crop((x, y, x + side, y + side)).resize((resolution,) * 2, 1)
            writer.add(np.asarray(square).transpose(2, 0, 1))


def tool(tfrecord_dir: str, image_dir: str, resolution: int) -> None:
    """The conversion as users run it."""
    with contextlib.redirect_stdout(io.StringIO()):
        images.create_from_images(Output(tfrecord_dir, resolution=resolution), image_dir)


def rate(build: Callable, image_dir: str, resolution: int, runs: int) -> float:
    """Images per second of the fastest of `runs` builds."""
    seconds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            build(os.path.join(folder, "set"), image_dir, resolution)
            seconds.append(time.perf_counter() - start)
    return len(open_folder(image_dir).names) / min(seconds)


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--resolution", type=cli.int_list, default=[64, 256])
    parser.add_argument("--runs", type=cli.integer(1), default=3)
    args = parser.parse_args()
    load_tensorflow()
    for resolution in args.resolution:
        for build in (plain, tool):
            speed = rate(build, args.photos, resolution, args.runs)
            print(f"{resolution:5} {build.__name__:6} {speed:8.1f} images/s", flush=True)


if __name__ == "__main__":
    cli.run(main)
