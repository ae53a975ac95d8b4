"""From the items of a source to a dataset: the one way that all importers share.

Threads do the work: Pillow and NumPy release the interpreter lock while they decode, resize and
average. Results come back in order, so the files do not depend on the number of threads.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
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
from training.datasets.building.label_rows import LabelRows
from training.datasets.building.output import Output
from training.datasets.format.dataset_files import Shard
from training.datasets.format.examples import Encoding
from training.datasets.format.level_files import RecordWriter, serialize_levels
from training.datasets.format.levels import BASE_LOG2, finest_log2, image_levels, level_count
from training.datasets.format.manifest import write_manifest
from training.datasets.items import Item, ItemList, Source
from training.datasets.photos.arrays import to_picture
from training.datasets.photos.colors import DESCRIPTION
from training.datasets.photos.copies import KINDS, Fingerprint, fit_to_compare
from training.datasets.photos.decode import Fit, Fitted, Unreadable, fit_picture
from training.datasets.photos.reader import PictureReader

MAX_NAMED = 20  # skipped files named on the screen; the manifest names all
MAX_SKIPPED = 10_000  # skipped files that the manifest names


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
        self.channels = 4 if output.channels == "rgba" else source.channels
        self.labels = LabelRows(source, items)
        self.copies = KINDS[output.dedupe]() if output.dedupe else None
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
            self.channels,
            margin=output.margin,
            exact=output.size is None,
            min_size=output.min_size,
            alpha=output.alpha or "file",
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
                elif self.copies is not None and (
                    reason := self.copies.find(result.item.name, result.fingerprint)
                ):
                    self._leave_out(result.item, reason)
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
        self._leave_out(item, reason)
        if self.output.strict:
            raise UserError(f"cannot read {printable(item.name)}: {reason}")

    def _leave_out(self, item: Item, reason: str) -> None:
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped.append({"file": item.name, "reason": reason})
        else:
            self.more_skipped += 1

    def _write_manifest(self, shard_images: list[int]) -> None:
        output = self.output
        manifest = {**self.source.facts, "found": self.found}
        manifest |= {"shuffle": output.shuffle, "transform": output.transform, "filter": "lanczos"}
        manifest |= {"margin": output.margin, "max_images": output.max_images}
        manifest |= {"colors": DESCRIPTION, "profiles": dict(self.profiles)}
        manifest |= {"images": self.count, "channels": self.channels}
        if self.channels == 4:
            manifest["alpha"] = output.alpha or "file"
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
            manifest |= {"dedupe": output.dedupe, "duplicates": self.duplicates}
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
            text += f"{self.duplicates} duplicate{'s' * (self.duplicates != 1)} left out, "
        ignored = self.profiles.total() - self.profiles["converted"]
        if ignored:
            text += f"{ignored} color profiles ignored, "
        print(f"{text}{skipped - self.duplicates} files skipped")
        if output.only_shards:
            print("This is a part: join all parts with dataset_tool.py merge")


@dataclass(frozen=True)
class _Converted:
    """What became of an item: its records, or the reason why there are none."""

    item: Item
    reason: str | None = None
    frames: list[tuple[bytes, ...]] | None = None
    pixels: np.ndarray | None = None  # uint8 [channels, height, width]
    fingerprint: Fingerprint | bytes | None = None  # by which copies are found
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
        fit = self._fit if item.box is None else dataclasses.replace(self._fit, box=item.box)
        fingerprint = None
        try:
            data = self._source.read(item)
            fitted = self._fitted(data, fit)
            if self._output.dedupe:
                kind = KINDS[self._output.dedupe]
                fingerprint = kind.fingerprint(self._fitted(data, fit_to_compare(kind, fit)))
        except Unreadable as error:
            return _Converted(item, str(error))
        pixels = fitted.pixels
        frames = serialize_levels(image_levels(pixels, self._levels), self._encoding)
        return _Converted(item, None, frames, pixels, fingerprint, fitted.profile)

    def _fitted(self, data: str | bytes | np.ndarray, fit: Fit) -> Fitted:
        if not isinstance(data, np.ndarray):
            return self._reader.fit(data, fit)
        data = data[np.newaxis] if data.ndim == 2 else data
        if data.shape == (fit.channels, fit.height, fit.width) and not fit.digest:
            return Fitted(np.ascontiguousarray(data))
        return fit_picture(to_picture(data), fit)


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
