"""From the items of a source to a dataset: the one way that all importers share.

Threads do the work: Pillow and NumPy release the interpreter lock while they decode, resize and
average. Results come back in order, so the files do not depend on the number of threads.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import warnings
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError
from dnnlib.files import check_free, staged_directory
from dnnlib.output import tqdm
from dnnlib.threads import map_in_threads
from dnnlib.util import one_line, printable
from training.datasets.building.contact_sheet import ContactSheet
from training.datasets.format.dataset_files import Shard
from training.datasets.format.examples import ENCODINGS, Encoding
from training.datasets.format.label_file import write_labels
from training.datasets.format.level_files import RecordWriter, serialize_levels
from training.datasets.format.levels import BASE_LOG2, finest_log2, image_levels, level_count
from training.datasets.format.manifest import write_manifest
from training.datasets.items import Item, ItemList, Seen, Source
from training.datasets.photos.arrays import to_picture
from training.datasets.photos.colors import DESCRIPTION
from training.datasets.photos.decode import TRANSFORMS, Fit, Fitted, Unreadable, fit_picture
from training.datasets.photos.reader import PictureReader

MAX_NAMED = 20  # skipped files named on the screen; the manifest names all
MAX_SKIPPED = 10_000  # skipped files that the manifest names
MAX_SHARDS = 99_999
_LARGEST_NUMBER = float(np.finfo(np.float32).max)  # of labels, which are stored as float32
_LABEL_BYTES = 1 << 20  # of labels that are written at once


@dataclass(frozen=True)
class Output:
    """What the command line says of the dataset to make.

    Attributes:
        tfrecord_dir: the folder to make; its basename is the dataset's NAME.
        shuffle: store in the order of the official tools, RandomState(123); else the source's.
        resolution: height and width, a power of two; None: see `width`.
        width, height: a base grid times a power of two, see `levels`; None takes the size of the
            pictures, which must then all be the same.
        transform: how a picture is fitted to the size: one of TRANSFORMS.
        margin: added to boxes on each side, as a fraction of their size.
        min_size: leave out pictures whose shorter side is smaller.
        strict: stop at the first picture that cannot be read, rather than skip it.
        max_images: use at most so many of the pictures, in the stored order.
        dedupe: leave out pictures that look like an earlier one to the last bit.
        encoding, quality: how records hold pixels, see `Encoding`.
        levels: "all", or "finest" for the finest level only; None is all for raw records, which
            the official tools read, and finest for others, which only ours do.
        shards: number of files for each level.
        only_shards: first and last number of the shards to write, as one of several machines that
            write the same dataset; None for all.
        workers: number of threads; None is one for each core that this process may use.
    """

    tfrecord_dir: str
    shuffle: bool = True
    resolution: int | None = None
    width: int | None = None
    height: int | None = None
    transform: str = "center-crop"
    margin: float = 0.0
    min_size: int = 1
    strict: bool = False
    max_images: int | None = None
    dedupe: bool = False
    encoding: str = "raw"
    quality: int = 95
    levels: str | None = None
    shards: int = 1
    only_shards: tuple[int, int] | None = None
    workers: int | None = None

    @property
    def name(self) -> str:
        """NAME in the names of the files."""
        return os.path.basename(os.path.abspath(self.tfrecord_dir))

    def check(self) -> None:
        """Raises a UserError that names the option which is wrong."""
        size = self.size
        if size is not None and level_count(*size) is None:
            option = "--resolution" if self.resolution is not None else "--width and --height"
            what = size[0] if self.resolution is not None else f"{size[1]} and {size[0]}"
            raise UserError(
                f"{option} is {what}: expected a power of two from 4 to 4096, or for --width and "
                "--height a small grid doubled several times, like 384 and 512"
            )
        for option, value, choices in (
            ("--transform", self.transform, TRANSFORMS),
            ("--encoding", self.encoding, ENCODINGS),
            ("--levels", self.levels or "all", ("all", "finest")),
        ):
            if value not in choices:
                raise UserError(f"{option} is {value!r}: expected one of {', '.join(choices)}")
        if not 1 <= self.shards <= MAX_SHARDS:
            raise UserError(f"--shards is {self.shards}: expected 1 to {MAX_SHARDS}")
        first, last = self.only_shards or (0, 0)
        if not 0 <= first <= last < self.shards:
            raise UserError(
                f"--only-shards is {first}-{last}: expected numbers from 0 to {self.shards - 1}, "
                f"since --shards is {self.shards}"
            )
        if self.dedupe and self.only_shards:
            raise UserError("--dedupe needs to see all pictures: leave out --only-shards")

    @property
    def finest_only(self) -> bool:
        """Whether the coarser levels are left out."""
        return (self.levels or ("all" if self.encoding == "raw" else "finest")) == "finest"

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that are asked for, or None."""
        if self.resolution is not None:
            if self.width is not None or self.height is not None:
                raise UserError("--resolution stands for --width and --height: give one or two")
            return self.resolution, self.resolution
        if (self.width is None) != (self.height is None):
            raise UserError("--width and --height belong together: give both")
        return None if self.width is None else (self.height, self.width)


def build(source: Source, output: Output) -> None:
    """Converts the pictures of a source to a dataset, whole or not at all; prints a summary.

    Raises:
        UserError: No pictures, none readable, sizes differ, or the dataset cannot be written.
    """
    output.check()
    check_free(output.tfrecord_dir)  # before a million items are listed
    items = ItemList(tqdm(source.items, unit=" items", desc="listing", disable=None, leave=False))
    if not items:
        raise UserError(
            f"no pictures to convert: {_first_reason(source.skipped) or 'nothing is left'}"
        )
    if output.strict and source.skipped:
        raise UserError(_first_reason(source.skipped))
    order = np.arange(len(items))
    if output.shuffle:
        np.random.RandomState(123).shuffle(order)
    order = order[: output.max_images]
    with (
        _pillow_warnings_off(),
        PictureReader() as reader,
        staged_directory(output.tfrecord_dir) as folder,
    ):
        conversion = _Build(source, output, items, order, folder, reader)
        conversion.run()
    conversion.print_summary()


class _Build:
    """One conversion into a staged folder."""

    def __init__(
        self,
        source: Source,
        output: Output,
        items: ItemList,
        order: np.ndarray,
        folder: str,
        reader: PictureReader,
    ):
        self.source, self.output, self.reader = source, output, reader
        self.items, self.order, self.folder = items, order, folder
        self.skipped = [*source.skipped]
        self.more_skipped = getattr(source.skipped, "unnamed", 0)  # than there is room to name
        self.listing_skipped = len(source.skipped) + self.more_skipped
        self.found = len(items) + self.listing_skipped
        self.count = self.duplicates = 0
        self.profiles: Counter[str] = Counter()
        self.height, self.width = output.size or _common_size(source, items, order, reader)
        self.finest = finest_log2(self.height, self.width)
        coarsest = self.finest if output.finest_only else BASE_LOG2
        self.levels = list(range(self.finest, coarsest - 1, -1))
        self.labels = _Labels(source, items)
        self.seen = Seen() if output.dedupe else None
        self.sheet = ContactSheet()

    def run(self) -> None:
        output = self.output
        first, last = output.only_shards or (0, output.shards - 1)
        ends = np.arange(output.shards + 1) * len(self.order) // output.shards
        part = self.order[ends[first] : ends[last + 1]]
        counts = []
        fit = Fit(
            self.height,
            self.width,
            output.transform,
            self.source.channels,
            margin=output.margin,
            exact=output.size is None,
            min_size=output.min_size,
        )
        convert = _Converter(self.source, output, fit, len(self.levels), self.reader)
        items = (self.items[i] for i in part)
        with closing(map_in_threads(convert, items, output.workers)) as done:
            results = iter(tqdm(done, total=len(part), unit="img", disable=None))
            for shard in range(first, last + 1):
                size = int(ends[shard + 1] - ends[shard])
                counts.append(self._write_shard(Shard(shard, output.shards), size, results))
        if not self.count and not output.only_shards:
            raise UserError(f"no picture is readable: {_first_reason(self.skipped)}")
        self.labels.write(os.path.join(self.folder, f"{output.name}-rxx.labels"))
        self.sheet.save(os.path.join(self.folder, f"{output.name}-contact-sheet.png"))
        self._write_manifest(counts)

    def _write_shard(self, shard: Shard, size: int, results: Iterator[_Converted]) -> int:
        encoding = Encoding(self.output.encoding, self.output.quality)
        name = self.output.name
        with RecordWriter(self.folder, name, self.levels, encoding, shard) as writer:
            for _ in range(size):
                result = next(results)
                if result.reason is not None:
                    self._skip(result.item, result.reason)
                elif self.seen is not None and not self.seen.add(result.digest):
                    self.duplicates += 1
                else:
                    writer.write(result.frames)
                    self.labels.add(result.item)
                    self.sheet.add(result.pixels)
                    if result.profile is not None:
                        self.profiles[result.profile] += 1
        self.count += writer.count
        return writer.count

    def _skip(self, item: Item, reason: str) -> None:
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped.append({"file": item.name, "reason": reason})
        else:
            self.more_skipped += 1
        if self.output.strict:
            raise UserError(f"cannot read {printable(item.name)}: {reason}")

    def _write_manifest(self, shard_images: list[int]) -> None:
        output = self.output
        manifest = {**self.source.facts, "found": self.found}
        manifest |= {"shuffle": output.shuffle, "transform": output.transform, "filter": "lanczos"}
        manifest |= {"margin": output.margin, "max_images": output.max_images}
        manifest |= {"colors": DESCRIPTION, "profiles": dict(self.profiles)}
        manifest |= {"images": self.count, "channels": self.source.channels}
        if self.height == self.width:
            manifest["resolution"] = self.height
        manifest |= {"height": self.height, "width": self.width, "encoding": output.encoding}
        if output.encoding in ("jpeg", "webp"):
            manifest["quality"] = output.quality
        if output.finest_only:
            manifest["finest_only"] = True
        if output.shards > 1:
            manifest |= {"shards": output.shards, "shard_images": shard_images}
            manifest["items_sha256"] = self.items.digest  # parts of one dataset list the same
        if output.only_shards:
            manifest["only_shards"] = list(output.only_shards)
            manifest["listing_skipped"] = self.listing_skipped  # all parts have these in common
        if output.dedupe:
            manifest["duplicates"] = self.duplicates
        manifest |= self.labels.describe()
        self.skipped.sort(key=lambda entry: entry["file"])
        manifest["skipped"] = self.skipped
        if self.more_skipped:
            manifest["more_skipped"] = self.more_skipped
        write_manifest(self.folder, output.name, manifest)

    def print_summary(self) -> None:
        output = self.output
        for entry in self.skipped[:MAX_NAMED]:
            print(f"skipped {printable(entry['file'])}: {entry['reason']}", file=sys.stderr)
        skipped = len(self.skipped) + self.more_skipped
        if skipped > MAX_NAMED:
            path = os.path.join(output.tfrecord_dir, f"{output.name}.json")
            print(f"skipped {skipped - MAX_NAMED} more: see {path}", file=sys.stderr)
        text = f"{output.tfrecord_dir}: {self.count} images of {self.width}x{self.height}, "
        if self.labels.classes:
            count = len(self.labels.classes)
            text += f"{count} {'class' if count == 1 else 'classes'}, "
        if output.dedupe:
            text += f"{self.duplicates} duplicates left out, "
        ignored = self.profiles.total() - self.profiles["converted"]
        if ignored:
            text += f"{ignored} color profiles ignored, "
        print(f"{text}{skipped} files skipped")
        if output.only_shards:
            print("This is a part: join all parts with dataset_tool.py merge")


@dataclass(frozen=True)
class _Converted:
    """What became of an item: its records, or the reason why there are none."""

    item: Item
    reason: str | None = None
    frames: list[tuple[bytes, ...]] | None = None
    pixels: np.ndarray | None = None  # uint8 [channels, height, width]
    digest: bytes = b""
    profile: str | None = None  # what became of its color profile, see `colors.to_srgb`


class _Converter:
    """Reads an item and makes its records. Threads share one."""

    def __init__(
        self, source: Source, output: Output, fit: Fit, levels: int, reader: PictureReader
    ):
        self._source, self._output, self._fit = source, output, fit
        self._levels, self._reader = levels, reader
        self._encoding = Encoding(output.encoding, output.quality)

    def __call__(self, item: Item) -> _Converted:
        try:
            fitted = self._fitted(item)
        except Unreadable as error:
            return _Converted(item, str(error))
        pixels = fitted.pixels
        frames = serialize_levels(image_levels(pixels, self._levels), self._encoding)
        digest = hashlib.sha256(pixels).digest()[:16] if self._output.dedupe else b""
        return _Converted(item, None, frames, pixels, digest, fitted.profile)

    def _fitted(self, item: Item) -> Fitted:
        data = self._source.read(item)
        fit = self._fit if item.box is None else dataclasses.replace(self._fit, box=item.box)
        if not isinstance(data, np.ndarray):
            return self._reader.fit(data, fit)
        data = data[np.newaxis] if data.ndim == 2 else data
        if data.shape == (fit.channels, fit.height, fit.width):
            return Fitted(np.ascontiguousarray(data))
        return fit_picture(to_picture(data), fit)


class _Labels:
    """Labels of the images that are written: numbers of classes, or rows."""

    def __init__(self, source: Source, items: ItemList):
        in_use = items.classes
        # Rows of ones and zeros have classes too, where pictures are in several.
        is_named = source.classes and (in_use or len(source.classes) == items.row_size)
        self.classes = list(source.classes) if is_named else in_use
        self._names = [str(source.label_names.get(label, label)) for label in self.classes]
        self._dense = {label: i for i, label in enumerate(self.classes)}
        self._row_size = items.row_size
        self._values = array("f" if items.row_size else "l")
        self._count = 0

    def add(self, item: Item) -> None:
        self._count += 1
        if self._row_size:
            if not isinstance(item.label, tuple) or len(item.label) != self._row_size:
                raise UserError(f"{printable(item.name)} has no label of {self._row_size} numbers")
            if not all(-_LARGEST_NUMBER <= value <= _LARGEST_NUMBER for value in item.label):
                raise UserError(
                    f"{printable(item.name)} has a label that is not finite, {list(item.label)}: "
                    "leave it out, or fill the gap in its labels"
                )
            self._values.extend(item.label)
        elif self.classes:
            if item.label is None or isinstance(item.label, tuple):
                raise UserError(f"{printable(item.name)} has no label, unlike others")
            self._values.append(self._dense[item.label])

    def write(self, path: str) -> None:
        if self._row_size or self.classes:
            write_labels(path, self._rows(), self._count, self._row_size or len(self.classes))

    def _rows(self) -> Iterator[np.ndarray]:
        values = np.frombuffer(self._values, self._values.typecode)
        if self._row_size:
            yield values.reshape(self._count, self._row_size)
            return
        step = max(1, _LABEL_BYTES // (4 * len(self.classes)))
        for begin in range(0, self._count, step):
            chunk = values[begin : begin + step]
            rows = np.zeros([len(chunk), len(self.classes)], np.float32)
            rows[np.arange(len(chunk)), chunk] = 1
            yield rows

    def describe(self) -> dict:
        """What the manifest says: names of the classes, and their original numbers or names."""
        return {"label_names": self._names, "label_ids": self.classes}


def _common_size(
    source: Source, items: ItemList, order: np.ndarray, reader: PictureReader
) -> tuple[int, int]:
    """Height and width of all readable pictures, upright; they must agree if no size is given."""
    hint = "choose a size that all are fitted to, for example --resolution=256"
    size, first = None, None
    for item in map(items.__getitem__, np.sort(order)):
        try:
            data = source.read(item)
            if isinstance(data, np.ndarray):
                return _checked_size(data.shape[-2:], item, hint)
            width, height = reader.size(data)
        except Unreadable:
            continue
        found = _checked_size((height, width), item, hint)
        if size not in (None, found):
            raise UserError(
                f"sizes differ: {printable(first)} is {size[1]}x{size[0]}, "
                f"{printable(item.name)} is {found[1]}x{found[0]}: {hint}"
            )
        size, first = found, item.name
    return size or (4, 4)  # nothing is readable: the caller says so


def _checked_size(size: tuple[int, int], item: Item, hint: str) -> tuple[int, int]:
    if level_count(*size) is None:
        raise UserError(
            f"{printable(item.name)} is {size[1]}x{size[0]}, not a square with a power of two nor "
            f"a small grid doubled several times: {hint}"
        )
    return size


@contextmanager
def _pillow_warnings_off() -> Iterator[None]:
    # Odd EXIF data or palettes, and pictures of 90 to 180 megapixels, which are read all the same.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def _first_reason(skipped: list[dict[str, str]]) -> str:
    if not skipped:
        return ""
    entry = skipped[0]
    return f"cannot read {printable(entry['file'])}: {one_line(entry['reason'])}"
