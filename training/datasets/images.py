"""Datasets from a folder of pictures, and from drawn ones (`create_from_images`, `create_demo`).

Threads do the work: Pillow and NumPy release the interpreter lock while they decode, resize and
average. Results come back in order, so the files do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib import UserError
from dnnlib.files import staged_directory
from training.datasets.pictures import TRANSFORMS, Unreadable, fit_image, open_image, printable
from training.datasets.records import RecordWriter, image_levels, is_resolution, write_manifest

MAX_NAMED = 20  # skipped files named on the screen; the manifest names all


def create_from_images(
    tfrecord_dir: str,
    image_dir: str,
    shuffle: bool = True,
    resolution: int | None = None,
    transform: str = "center-crop",
    strict: bool = False,
) -> None:
    """Converts all pictures in a folder and the folders in it; prints a summary.

    Args:
        tfrecord_dir: The dataset folder to make; its basename is the dataset's NAME.
        image_dir: Folder of pictures, of any size, mode and format that Pillow reads.
        shuffle: Store in the order of the official tool, RandomState(123); else sorted by path.
        resolution: Size of the dataset, a power of two from 4 to 4096; None takes the size of the
            pictures, which must then all be the same.
        transform: How a picture becomes square: one of TRANSFORMS.
        strict: Stop at the first picture that cannot be read, rather than skip it.

    Raises:
        UserError: No pictures, none readable, sizes differ, or the dataset cannot be written.
    """
    if resolution is not None and not is_resolution(resolution):
        raise UserError(f"--resolution is {resolution}: expected a power of two from 4 to 4096")
    if transform not in TRANSFORMS:
        raise UserError(f"--transform is {transform!r}: expected one of {', '.join(TRANSFORMS)}")
    files, skipped = find_images(image_dir)
    if not files:
        raise UserError(f"no image files in {image_dir} or its folders")
    if strict and skipped:
        raise _first_unreadable(skipped)
    order = np.arange(len(files))
    if shuffle:
        np.random.RandomState(123).shuffle(order)
    with _pillow_warnings_off(), staged_directory(tfrecord_dir) as folder:
        resolution = resolution or _common_size(image_dir, files)
        convert = functools.partial(_convert, image_dir, resolution, transform)
        with RecordWriter(folder, _name(tfrecord_dir), resolution) as writer:
            with _progress(convert, [files[i] for i in order]) as results:
                for result in results:
                    if isinstance(result, dict):
                        skipped.append(result)
                        if strict:
                            raise _first_unreadable(skipped)
                    else:
                        writer.add_levels(result)
        if not writer.count:
            raise UserError(f"no file in {image_dir} is readable: {_first_unreadable(skipped)}")
        skipped.sort(key=lambda entry: entry["file"])
        manifest = {"source": os.path.abspath(image_dir), "found": len(files), "shuffle": shuffle}
        manifest |= {"transform": transform, "filter": "lanczos", "skipped": skipped}
        _finish(writer, manifest, resolution, [])
    _print_summary(tfrecord_dir, writer.count, resolution, skipped)


def create_demo(
    tfrecord_dir: str, num_images: int = 3000, resolution: int = 32, seed: int = 0
) -> None:
    """Draws a dataset of product pictures with category labels; prints a summary.

    Picture `i` is a pure function of (seed, i), and so is its label; see `demo.draw_product`.

    Args:
        tfrecord_dir: The dataset folder to make; its basename is the dataset's NAME.
        num_images: How many pictures.
        resolution: Size of the pictures, a power of two from 4 to 1024.
        seed: Which dataset.

    Raises:
        UserError: An argument is out of range, or the dataset cannot be written.
    """
    from training.datasets.demo import DEMO_CLASSES, draw_product

    def draw(index: int) -> tuple[list[np.ndarray], int]:
        image, label = draw_product(seed, index, resolution)
        return image_levels(image), label

    draw(0)  # a wrong argument is reported before anything is written
    labels = np.zeros([num_images, len(DEMO_CLASSES)], dtype=np.float32)
    with staged_directory(tfrecord_dir) as folder:
        with RecordWriter(folder, _name(tfrecord_dir), resolution) as writer:
            with _progress(draw, range(num_images)) as results:
                for index, (levels, label) in enumerate(results):
                    writer.add_levels(levels)
                    labels[index, label] = 1
            writer.add_labels(labels)
        _finish(writer, {"source": "demo", "seed": seed}, resolution, list(DEMO_CLASSES))
    _print_summary(tfrecord_dir, num_images, resolution, [])


def find_images(image_dir: str) -> tuple[list[str], list[dict]]:
    """Finds the files that are pictures by their names, or else by their first bytes.

    Hidden files and folders are left out.

    Links to folders are followed, and each folder is read once.

    Returns:
        Sorted paths relative to `image_dir`, and what could not be looked into as
        [{"file": path, "reason": text}].

    Raises:
        UserError: `image_dir` is not a readable folder.
    """
    try:
        os.listdir(image_dir)
    except OSError as error:
        raise UserError(f"cannot open image folder {image_dir}: {error.strerror}") from error
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files, unreadable, seen = [], [], set()
    for folder, subfolders, names in os.walk(
        image_dir, followlinks=True, onerror=unreadable.append
    ):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() in known or _is_picture(path):
                files.append(os.path.relpath(path, image_dir))
    skipped = [
        {"file": os.path.relpath(error.filename, image_dir), "reason": error.strerror}
        for error in unreadable
    ]
    return sorted(files), skipped


def _is_picture(path: str) -> bool:
    """Whether a file whose name does not say so is a picture; browsers save such files."""
    try:
        with open_image(path):
            return True
    except Unreadable:
        return False


def _common_size(image_dir: str, files: list[str]) -> int:
    """The size of all readable pictures; they must agree when no resolution is given."""
    size, first = None, None
    for file in files:
        try:
            with open_image(os.path.join(image_dir, file)) as image:
                width, height = image.size
        except Unreadable:
            continue
        hint = "choose a size that all are fitted to, for example --resolution=256"
        if width != height or not is_resolution(width):
            raise UserError(
                f"{printable(file)} is {width}x{height}, not a square with a power of two: {hint}"
            )
        if size not in (None, width):
            raise UserError(
                f"sizes differ: {printable(first)} is {size}x{size}, "
                f"{printable(file)} is {width}x{width}: {hint}"
            )
        size, first = width, file
    return size or 4  # nothing is readable: the caller says so


def map_in_order(function: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """`map` in threads; a bounded number of results wait, so memory does not grow.

    Args:
        function: Called with each item.
        items: Read as needed.
        workers: Number of threads; None is one for each core that this process may use.

    Yields:
        The results, in the order of `items`.
    """
    if workers is None:
        limited = hasattr(os, "sched_getaffinity")
        workers = len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        pending: deque = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _convert(
    image_dir: str, resolution: int, transform: str, file: str
) -> list[np.ndarray] | dict[str, str]:
    """One picture at every level; for one that cannot be read, its entry in the manifest."""
    try:
        with open_image(os.path.join(image_dir, file)) as image:
            square = fit_image(image, resolution, transform)
    except Unreadable as error:
        return {"file": file, "reason": str(error)}
    return image_levels(square)


@contextmanager
def _progress(function: Callable, items: Sequence) -> Iterator[Iterable]:
    """`map_in_order` with a progress bar where the output is a terminal."""
    with closing(map_in_order(function, items)) as results:
        with tqdm(results, total=len(items), unit="img", disable=None) as bar:
            yield bar


@contextmanager
def _pillow_warnings_off() -> Iterator[None]:
    # Odd EXIF data or palettes, and pictures of 90 to 180 megapixels, which are read all the same.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def _name(tfrecord_dir: str) -> str:
    return os.path.basename(os.path.abspath(tfrecord_dir))


def _first_unreadable(skipped: list[dict]) -> UserError:
    return UserError(f"cannot read {printable(skipped[0]['file'])}: {skipped[0]['reason']}")


def _finish(writer: RecordWriter, manifest: dict, resolution: int, label_names: list[str]) -> None:
    facts = {"images": writer.count, "resolution": resolution, "channels": 3}
    write_manifest(writer.folder, writer.name, manifest | facts | {"label_names": label_names})


def _print_summary(tfrecord_dir: str, count: int, resolution: int, skipped: list[dict]) -> None:
    for entry in skipped[:MAX_NAMED]:
        print(f"skipped {printable(entry['file'])}: {entry['reason']}", file=sys.stderr)
    if len(skipped) > MAX_NAMED:
        name = os.path.join(tfrecord_dir, f"{_name(tfrecord_dir)}.json")
        print(f"skipped {len(skipped) - MAX_NAMED} more: see {name}", file=sys.stderr)
    print(
        f"{tfrecord_dir}: {count} images of {resolution}x{resolution}, {len(skipped)} files skipped"
    )
