"""How fast `create_from_images` is, beside the same work done plainly in one thread.

    python tests/benchmarks/dataset_build.py PHOTOS [--resolution 64,256] [--runs 3]

Prints images per second, the best of the runs, importing TensorFlow not counted. The plain way
decodes each photo at full size, crops and reduces it, and writes the levels, one after the other.
"sRGB" is the tool with photos that have a profile of sRGB, "Adobe" with one of Adobe RGB, whose
pixels are converted, and "CMYK" with 300 CMYK photos, which go to other processes.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
from PIL import Image

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../datasets"))
import color_profiles

from dnnlib import cli
from dnnlib.tensorflow_loader import load_tensorflow
from training.datasets.building.build import Output
from training.datasets.sources import images
from training.datasets.sources.folders import open_folder


def plain(tfrecord_dir: str, image_dir: str, resolution: int) -> None:
    """The conversion as one writes it plainly: Pillow, NumPy, TFRecordWriter, one after another."""
    tf = load_tensorflow()
    os.mkdir(tfrecord_dir)
    sizes = [resolution >> k for k in range(resolution.bit_length() - 2)]
    writers = [tf.io.TFRecordWriter(f"{tfrecord_dir}/plain-{size}.tfrecords") for size in sizes]
    for file in open_folder(image_dir).names:
        with Image.open(os.path.join(image_dir, file)) as photo:
            rgb = photo.convert("RGB")
        side = min(rgb.size)
        x, y = (rgb.width - side) // 2, (rgb.height - side) // 2
        square = rgb.crop((x, y, x + side, y + side)).resize((resolution,) * 2, 1)
        level = np.asarray(square).transpose(2, 0, 1).astype(np.float32)
        for writer in writers:
            pixels = np.rint(level).clip(0, 255).astype(np.uint8)
            shape = tf.train.Int64List(value=pixels.shape)
            data = tf.train.BytesList(value=[pixels.tobytes()])
            features = {
                "shape": tf.train.Feature(int64_list=shape),
                "data": tf.train.Feature(bytes_list=data),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
            rows = level[:, 0::2] + level[:, 1::2]
            level = (rows[:, :, 0::2] + rows[:, :, 1::2]) * 0.25
    for writer in writers:
        writer.close()


def tool(tfrecord_dir: str, image_dir: str, resolution: int) -> None:
    """The conversion as users run it."""
    with contextlib.redirect_stdout(io.StringIO()):
        images.create_from_images(Output(tfrecord_dir, resolution=resolution), image_dir)


def with_profiles(photos: str, folder: str, mode: str, profile: bytes, count: int) -> str:
    """A folder of the first photos as JPEGs with a profile; RGB data stays as it is."""
    os.mkdir(folder)
    for number, name in enumerate(islice(open_folder(photos).names, count)):
        path = os.path.join(folder, f"{number:06}.jpg")
        with Image.open(os.path.join(photos, name)) as photo:
            if mode == "RGB" and photo.format == "JPEG" and photo.mode == "RGB":
                photo.save(path, quality="keep", subsampling="keep", icc_profile=profile)
            else:
                photo.convert(mode).save(path, quality=90, icc_profile=profile)
    return folder


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
    adobe = color_profiles.rgb(color_profiles.ADOBE_RGB, 2.2)
    srgb = color_profiles.rgb(color_profiles.SRGB, color_profiles.srgb_curve())
    with tempfile.TemporaryDirectory() as folder:
        rows = [("plain", plain, args.photos), ("tool", tool, args.photos)]
        for name, mode, profile, count in (
            ("sRGB", "RGB", srgb, None),
            ("Adobe", "RGB", adobe, None),
            ("CMYK", "CMYK", color_profiles.cmyk(500_000), 300),
        ):
            photos = os.path.join(folder, name)
            rows.append((name, tool, with_profiles(args.photos, photos, mode, profile, count)))
        for resolution in args.resolution:
            for name, build, photos in rows:
                speed = rate(build, photos, resolution, args.runs)
                print(f"{resolution:5} {name:6} {speed:8.1f} images/s", flush=True)


if __name__ == "__main__":
    cli.run(main)
