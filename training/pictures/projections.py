"""What run_projector.py makes: targets, what they are projected to, and the way there, in files."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dnnlib import UserError
from dnnlib.output import tqdm
from dnnlib.tflib import Network
from training.dataset import TFRecordDataset
from training.datasets.photos.decode import Fit, Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.folders import open_folder
from training.latents.distances import Distance
from training.latents.options import ProjectionOptions
from training.latents.projection import Projection
from training.pictures import video
from training.pictures.generation import (
    class_labels,
    classes_of_seeds,
    image_of_seed,
    make_folder,
)
from training.pictures.projection_files import (
    Files,
    FinalFiles,
    StepFiles,
    Target,
    snapshot_steps,
)
from training.pictures.provenance import UNKNOWN, Provenance
from training.snapshots.class_names import count_classes

# Targets at once: bounded by pixels, so that high resolutions fit in memory.
_MINIBATCH_PIXELS = 1 << 17
_MOST_AT_ONCE = 8


@dataclass(frozen=True)
class Setup:
    """What is projected with what.

    Attributes:
        Gs: a generator.
        distance: see `training.latents.distances`.
        options: how to project.
        minibatch: targets at once; None: by their size.
        classes: of a conditional network, given to the targets in turn; none: the target's own
            class where it is known, else all classes in equal parts.
        provenance: what pictures say of themselves.
    """

    Gs: Network
    distance: Distance
    options: ProjectionOptions = field(default_factory=ProjectionOptions)
    minibatch: int | None = None
    classes: Sequence[int] = ()
    provenance: Provenance = UNKNOWN


def project_seeds(
    setup: Setup,
    seeds: Sequence[int],
    truncation_psi: float,
    num_snapshots: int,
    result_dir: str,
    outdir: str | None = None,
) -> str:
    """Projects generated images into a new run directory, which is returned.

    Their latents and noise come from the seeds as in `generate_images`, and so do classes.

    Args:
        setup: with what.
        seeds: one an image.
        truncation_psi: see `G_main`.
        num_snapshots: pictures of each, besides the target.
        result_dir: root of the run directories.
        outdir: folder to write to, in the place of a new run directory.
    """
    Gs = setup.Gs
    labels = class_labels(Gs, classes_of_seeds(Gs, seeds, setup.classes))
    out_dir = make_folder(result_dir, "project-generated-images", outdir)

    def targets() -> Iterator[Target]:
        for i, seed in enumerate(seeds):
            name = f"seed{seed:04d}"
            prefix = os.path.join(out_dir, f"{name}-")
            image = image_of_seed(Gs, seed, labels[i : i + 1], truncation_psi)
            yield Target(name, prefix, image, labels[i], is_generated=True)

    steps = snapshot_steps(setup.options.num_steps, num_snapshots)
    _project(setup, targets(), len(seeds), _step_files(setup, steps), out_dir)
    return out_dir


def project_dataset(
    setup: Setup,
    folder: str,
    num_images: int,
    num_snapshots: int,
    result_dir: str,
    outdir: str | None = None,
) -> str:
    """Projects the first images of a dataset into a new run directory, which is returned.

    Args:
        setup: with what. A conditional network gets the labels of the dataset, if they fit it.
        folder: of the dataset.
        num_images: how many.
        num_snapshots: pictures of each, besides the target.
        result_dir: root of the run directories.
        outdir: folder to write to, in the place of a new run directory.

    Raises:
        UserError: the images are not of the network's size.
    """
    dataset = TFRecordDataset(folder)
    try:
        shape = setup.Gs.output_shape[1:]
        if list(dataset.shape) != shape:
            raise UserError(
                f"dataset {folder} has images of {list(dataset.shape)}, the network makes {shape}"
            )
        count = min(num_images, dataset.num_images)
        labels: list[np.ndarray | None] = [None] * count
        if dataset.label_size == count_classes(setup.Gs):
            labels = list(dataset.labels[:count])
        labels = _chosen_labels(setup, labels)
        out_dir = make_folder(result_dir, "project-real-images", outdir)

        def targets() -> Iterator[Target]:
            for i in range(count):
                name = f"image{i:04d}"
                image = dataset.read_images(np.array([i]))[0]
                yield Target(name, os.path.join(out_dir, f"{name}-"), image, labels[i])

        steps = snapshot_steps(setup.options.num_steps, num_snapshots)
        _project(setup, targets(), count, _step_files(setup, steps), out_dir)
        return out_dir
    finally:
        dataset.close()


def project_files(
    setup: Setup,
    paths: Sequence[str],
    out_dir: str,
    save_video: bool,
    projection: Projection | None = None,
) -> list[str]:
    """Projects pictures: photos of any size are cropped in the middle and resized (Lanczos).

    One file has its files in `out_dir`, as in the ADA repository; several have a folder each.

    Args:
        setup: with what.
        paths: files, and folders of pictures; in these, what is no picture is passed over.
        out_dir: made if need be.
        save_video: whether to write a film of each.
        projection: one of this generator and distance to use again, whose options become those of
            `setup`, of the same space and noise mode; None: a new one.

    Returns:
        The folders of the files of each target.

    Raises:
        UserError: a file is no picture, or there is none.
    """
    height, width = setup.Gs.output_shape[2:]
    fit = Fit(height, width, channels=setup.Gs.output_shape[1])
    with PictureReader() as reader:
        found = [(path, os.path.basename(path), True) for path in paths if os.path.isfile(path)]
        for folder in (path for path in paths if not os.path.isfile(path)):
            names = list(open_folder(folder).names)
            found += [(os.path.join(folder, name), name, False) for name in names]
        if not found:
            raise UserError(f"--target={paths[0]}: there is no picture in this folder")
        is_alone = len(paths) == len(found) == 1 and found[0][2]
        folders = [out_dir] if is_alone else _folders(out_dir, [name for _, name, _ in found])
        labels = _chosen_labels(setup, [None] * len(found))
        written = []

        def targets() -> Iterator[Target]:
            for (path, name, is_named), folder, label in zip(found, folders, labels, strict=True):
                try:
                    pixels = reader.fit(path, fit).pixels
                except Unreadable as error:
                    if is_named:
                        raise UserError(f"cannot read target {path}: {error}") from error
                    print(f"NOTE: {path} is passed over: {error}", file=sys.stderr)
                    continue
                _make_folder(folder)
                written.append(folder)
                yield Target(name, os.path.join(folder, ""), pixels, label)

        num_steps = setup.options.num_steps
        if save_video:
            video.say_what_is_missing()
        _project(
            setup,
            targets(),
            len(found),
            lambda target: FinalFiles(target, save_video, num_steps, setup.provenance),
            out_dir,
            projection,
        )
    if not written:
        raise UserError(f"--target={paths[0]}: no picture in this folder could be read")
    return written


def _step_files(setup: Setup, steps: set[int]) -> Callable[[Target], Files]:
    return lambda target: StepFiles(target, steps, setup.provenance)


def _project(
    setup: Setup,
    targets: Iterable[Target],
    total: int,
    open_files: Callable[[Target], Files],
    out_dir: str,
    projection: Projection | None = None,
) -> None:
    """Projects targets in minibatches, in one graph, and writes the files of each.

    Ctrl-C writes what was found so far.
    """
    options = setup.options
    count = min(setup.minibatch or _targets_at_once(setup.Gs), max(total, 1))
    done, rounds = 0, -(-total // count)
    if projection is not None:
        projection.options = options
    rest = iter(targets)
    bar = {"desc": "Projecting", "unit": "step", "disable": None}
    with tqdm(total=rounds * options.num_steps, **bar) as progress:
        while chunk := list(itertools.islice(rest, count)):
            projection = projection or Projection(setup.Gs, setup.distance, count, options)
            projection.start([t.pixels for t in chunk], [t.label for t in chunk])
            files = [open_files(target) for target in chunk]
            try:
                for step in range(1, options.num_steps + 1):
                    distances, _ = projection.step()
                    progress.set_postfix(distance=f"{distances.mean():.4f}", refresh=False)
                    progress.update()
                    if any(of_target.wants(step) for of_target in files):
                        images, _ = projection.evaluate()
                        for of_target, image in zip(files, images, strict=True):
                            if of_target.wants(step):
                                of_target.add(step, image)
            except KeyboardInterrupt:
                _close(projection, chunk, files)
                print(
                    f"{done} of {total} targets are in {out_dir}, and {len(chunk)} as they were "
                    f"after {projection.cur_step} steps",
                    file=sys.stderr,
                )
                raise
            except BaseException:
                for of_target in files:
                    of_target.discard()
                raise
            _close(projection, chunk, files)
            done += len(chunk)


def _close(projection: Projection, targets: list[Target], files: list[Files]) -> None:
    images, distances = projection.evaluate()
    dlatents = projection.dlatents
    for i, (target, of_target) in enumerate(zip(targets, files, strict=True)):
        of_target.close(images[i], dlatents[i : i + 1])
        tqdm.write(f"{target.name}: distance {distances[i]:.4f}", file=sys.stdout)


def _targets_at_once(Gs: Network) -> int:
    pixels = int(np.prod(Gs.output_shape[2:]))
    return int(np.clip(_MINIBATCH_PIXELS // pixels, 1, _MOST_AT_ONCE))


def _chosen_labels(setup: Setup, labels: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """Labels of targets: those of the classes in turn, or their own."""
    if not setup.classes:
        return list(labels)
    chosen = class_labels(setup.Gs, setup.classes)
    return [chosen[i % len(chosen)] for i in range(len(labels))]


def _folders(out_dir: str, names: Sequence[str]) -> list[str]:
    """A folder for each file, by its name without suffix, each another one."""
    folders: dict[str, None] = {}
    for name in names:
        stem = os.path.splitext(name)[0].replace(os.sep, "_").replace("/", "_") or "target"
        path, number = os.path.join(out_dir, stem), 1
        while path in folders:
            number += 1
            path = os.path.join(out_dir, f"{stem}-{number}")
        folders[path] = None
    return list(folders)


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}") from error
