"""Videos of walks: grids of pictures that change from frame to frame and end where they began."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from dnnlib import UserError
from dnnlib.output import tqdm
from dnnlib.tflib import Network
from training.latents.options import WalkOptions
from training.latents.truncation import Centers
from training.latents.walks import make_walk, read_direction
from training.pictures import video
from training.pictures.generation import classes_of_seeds
from training.pictures.grids import create_image_grid, images_at_once
from training.pictures.provenance import (
    UNKNOWN,
    Provenance,
    classes_to_plain,
    hash_dlatents,
    truncation_options,
)
from training.snapshots.class_names import (
    Class,
    Mix,
    class_labels,
    count_classes,
    describe_places,
    show_class,
)


def generate_video(
    Gs: Network,
    options: WalkOptions,
    centers: Centers,
    out: str,
    classes: Sequence[Class] = (),
    direction: str | None = None,
    speed: float | None = None,
    provenance: Provenance = UNKNOWN,
) -> int:
    """Writes a video of a walk; memory does not grow with its length.

    Ctrl-C finishes the file with the frames so far.

    Args:
        Gs: a generator. Its noise inputs are as they are in the snapshot, but for the walk through
            noise, whose first frame has those of the first seed.
        options: which walk.
        centers: what truncation draws w to.
        out: path of the file: .gif, .webp, .png or .mp4.
        classes: of a conditional network; those of the walk "class", of other walks given to the
            seeds in turn. Without any: all, or one by the seed.
        direction: file of the walk "direction", see `read_direction`.
        speed: frames a second; None: by the format.
        provenance: what the video says of itself.

    Returns:
        How many frames were written.

    Raises:
        UserError: classes or a direction that do not fit, or the file cannot be written.
    """
    labels = _labels(Gs, options, classes)
    layers, size = Gs.components.synthesis.input_shape[1:]
    step = read_direction(direction, layers, size) if direction else None
    walk = make_walk(Gs, options, labels, centers, step)
    columns, rows = options.size
    height, width = Gs.output_shape[2:]
    at_once = images_at_once(Gs)
    frames = walk.frames(Gs, max(at_once // (columns * rows), 1), at_once)
    xmp = provenance.xmp(
        "generate-video",
        "video",
        walk=options.kind,
        seeds=options.keyframe_seeds,
        w_frames=options.w_frames,
        grid=options.size,
        range=options.range,
        direction=None if step is None else hash_dlatents(step),
        classes=classes_to_plain(classes) or None,
        **truncation_options(options.psi, centers),
    )
    film = video.open_film(out, (columns * width, rows * height), speed, xmp)
    done = 0

    def add(images: np.ndarray) -> None:
        nonlocal done
        film.add(_picture(images, options.size))
        done += 1

    try:
        # Ctrl-C reaches the main thread alone: a frame that another one writes is whole.
        with ThreadPoolExecutor(1) as writer:
            pending: Future | None = None
            bar = {"desc": "Generating", "unit": "frame", "disable": None}
            for images in tqdm(frames, total=walk.num_frames, **bar):
                if pending is not None:
                    pending.result()
                pending = writer.submit(add, images)
        pending.result()
    except KeyboardInterrupt:
        (film.close if done else film.discard)()
        where = f"are in {out}" if done else "were made"
        print(f"{done} of {walk.num_frames} frames {where}", file=sys.stderr)
        raise
    except BaseException:
        film.discard()
        raise
    film.close()
    return done


def describe_classes(Gs: Network, options: WalkOptions, classes: Sequence[Class]) -> str:
    """Lines that say which classes a walk shows; none for a network without classes."""
    if options.kind == "class":
        names = [show_class(Gs, c) for c in classes or range(count_classes(Gs))]
        return f"  classes {', '.join(names)}\n"
    seeds = options.keyframe_seeds.T.ravel().tolist()
    return describe_places(Gs, classes_of_seeds(Gs, seeds, classes), "seed", seeds)


def _labels(Gs: Network, options: WalkOptions, classes: Sequence[Class]) -> np.ndarray:
    """Labels float32 [keyframes, pictures, label_size] of a walk."""
    seeds = options.keyframe_seeds
    if options.kind == "class":
        classes = classes or range(count_classes(Gs))
        if not classes:
            raise UserError("--walk=class: the network has no classes")
        if len(classes) < 2 or any(isinstance(entry, Mix) for entry in classes):
            raise UserError("--walk=class goes through two classes or more: name them by --class")
        return np.repeat(class_labels(Gs, classes)[:, np.newaxis], seeds.shape[1], axis=1)
    # As the seeds are, those of the first picture come first.
    labels = class_labels(Gs, classes_of_seeds(Gs, seeds.T.ravel().tolist(), classes))
    return labels.reshape(*seeds.T.shape, labels.shape[1]).transpose(1, 0, 2)


def _picture(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A grid of images [N, C, H, W] as uint8 [H, W, 3]."""
    grid = create_image_grid(images, size).transpose(1, 2, 0)
    return np.repeat(grid, 3, axis=2) if grid.shape[2] == 1 else grid
