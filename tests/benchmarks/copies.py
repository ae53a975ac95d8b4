"""How well copies of photos are found, and how many distinct photos are taken for copies.

python tests/benchmarks/copies.py PHOTOS [--changed=100] [--seed=0]
"""

from __future__ import annotations

import argparse
import io
import random

import numpy as np
from PIL import Image, ImageOps

from dnnlib.output import tqdm
from training.datasets.items import Item
from training.datasets.photos import copies
from training.datasets.photos.copies import NearCopies
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.folders import open_folder


def encoded(picture: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def changed(path: str) -> dict[str, bytes]:
    """Copies of a photo, as files."""
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    smaller = {scale: ImageOps.scale(photo, scale) for scale in (0.5, 0.75)}
    return {
        **{f"resized {scale}": encoded(picture) for scale, picture in smaller.items()},
        **{f"quality {quality}": encoded(photo, quality) for quality in (60, 75, 90)},
        "mirrored": encoded(ImageOps.mirror(photo)),
        "all of it": encoded(ImageOps.mirror(smaller[0.5]), 60),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--changed", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = open_folder(args.photos)
    paths = [folder.read(Item(name)) for name in folder.names]
    near = NearCopies()
    with PictureReader() as reader:

        def fingerprint(source):
            return NearCopies.fingerprint(reader.fit(source, NearCopies.FIT))

        candidates, pairs = 0, []
        for number, path in enumerate(tqdm(paths, unit="img")):
            print_ = fingerprint(path)
            sides = near._near(print_.hash) + near._near(print_.mirrored_hash)
            candidates += len({other for _, other in sides})
            pairs += [(match, number) for match in near.matches(print_)]
            near.add(path, print_)
        found: dict[str, list[int]] = {}
        for number in tqdm(random.Random(args.seed).sample(range(len(paths)), args.changed)):
            for kind, content in changed(paths[number]).items():
                distances = [
                    m.distance for m in near.matches(fingerprint(content)) if m.number == number
                ]
                found.setdefault(kind, []).append(min(distances, default=-1))
    for kind, distances in found.items():
        share = np.mean(np.array(distances) >= 0)
        print(f"{kind:>12}: {share:.1%} found, at most {max(distances)} bits differ")
    total = len(paths) * (len(paths) - 1) // 2
    print(f"{len(paths)} photos, {total} pairs: {candidates} within {copies.MAX_DISTANCE} bits")
    for match, number in pairs:
        print(f"a pair: {paths[match.number]} {paths[number]}, {match.distance} bits")


if __name__ == "__main__":
    main()
