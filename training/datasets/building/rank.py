"""Which pictures of a folder, an archive or a dataset are the worst: `rank` of dataset_tool.py.

Each picture gets numbers, and the worst have the least of the one that is chosen.

Sharpness is how much of an edge one pixel climbs where the edge is steepest, see `sharpness`. Of 80
photos of clothing, each compared with blurred ones of others, 91 to 100 % were sharper (by the kind
of blur; reduced to a third, 97 %). The variance of the Laplacian, which is usual, is small for
plain garments and large for patterns: by it 78 to 100 % were.
"""

from __future__ import annotations

import csv
import os
import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from dnnlib import UserError
from dnnlib.files import check_free, staged_directory
from dnnlib.output import tqdm
from dnnlib.threads import map_in_threads
from dnnlib.util import one_line, printable
from training.datasets.building.contact_sheet import MAX_SIDE, ContactSheet
from training.datasets.format.examples import parse_image
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.format.level_files import LevelReader
from training.datasets.format.levels import coarser
from training.datasets.items import Item, ItemList, Rows, Source
from training.datasets.photos.arrays import on_white, to_picture
from training.datasets.photos.decode import Fit, Unreadable, fit_picture
from training.datasets.photos.reader import PictureReader

# What --by may name, and the number of which the worst pictures have the least.
BY = {"blur": "sharpness", "size": "shorter_side", "border": "white_border", "score": "score"}
_COLUMNS = ("width", "height", *BY.values())
_SIDE = 256  # of what is measured, in pixels
_NEIGHBORS = 7  # pixels around an edge
_MIN_RISE = 24  # of 255; less may be noise
_OF_EDGES = 80  # percentile of their steepness
_BORDER = 1 / 32  # of height and width
_MAX_NAMED = 20  # unreadable files named on the screen
_AT_ONCE = 16  # pictures that are scored together
_SHEET_FIT = Fit(MAX_SIDE, MAX_SIDE, "pad-white")


@dataclass(frozen=True)
class Judge:
    """Scores pictures, as a discriminator does.

    Attributes:
        fit: how pictures are fitted for it.
        label_size: of the labels that `score` gets; 0: None in their place.
        score: takes uint8 [N, C, H, W] as `fit` makes them and labels float32 [N, label_size];
            gives float [N], the less the worse.
    """

    fit: Fit
    label_size: int
    score: Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def is_dataset(path: str) -> bool:
    """Whether a path is a folder of TFRecords."""
    return os.path.isdir(path) and any(n.endswith(".tfrecords") for n in os.listdir(path))


def open_dataset(tfrecord_dir: str) -> tuple[Source, np.ndarray | None]:
    """The images of a dataset, by the names that `extract` gives them, and their labels or None.

    Raises:
        UserError: no dataset, or it is damaged.
    """
    dataset = find_dataset(tfrecord_dir)
    reader = LevelReader(dataset.levels[dataset.finest])

    def read(item: Item) -> np.ndarray:
        try:
            return parse_image(reader.payload(int(item.name[3:-4])))
        except (OSError, ValueError) as error:
            raise Unreadable(f"damaged: {one_line(error)}") from error

    items = (Item(f"img{number:08}.png") for number in range(len(reader)))
    source = Source(items, read, {"source": tfrecord_dir})
    return source, read_labels(dataset, count=len(reader))


def rank(
    source: Source,
    labels: np.ndarray | None,
    by: str,
    worst: int = 20,
    out: str | None = None,
    judge: Judge | None = None,
) -> None:
    """Measures pictures and prints the worst.

    Args:
        source: the pictures.
        labels: float32 [N, label_size], or None.
        by: a key of BY.
        worst: how many are printed.
        out: folder to make, for rank.csv with all pictures, the worst first, and worst.png; or
            None.
        judge: gives scores, or None.

    Raises:
        UserError: no pictures; no score to rank by, or no labels for it; `out` cannot be written.
    """
    if by == "score" and judge is None:
        raise UserError("--by=score needs a discriminator: add --network=SNAPSHOT")
    found = 0 if labels is None else labels.shape[1]
    if judge and judge.label_size not in (0, found):
        raise UserError(
            f"{source.facts['source']} has {found or 'no'} labels, the discriminator of --network "
            f"needs {judge.label_size}: give the dataset that it was trained on"
        )
    if out is not None:
        check_free(out)
    items = ItemList(tqdm(source.items, unit=" items", desc="listing", disable=None, leave=False))
    with PictureReader() as reader:
        ranking = _Ranking(source, labels, judge, items, reader)
        ranking.measure()
        order = ranking.order(by)
        if out is not None:
            with staged_directory(out) as folder:
                ranking.write_table(os.path.join(folder, "rank.csv"), order)
                ranking.write_sheet(os.path.join(folder, "worst.png"), order[:worst])
    ranking.print(by, order[:worst])
    if out is not None:
        print(f"{os.path.join(out, 'rank.csv')} has all of them, worst.png shows the worst")


class _Ranking:
    """Numbers of pictures, in a temporary file."""

    def __init__(
        self,
        source: Source,
        labels: np.ndarray | None,
        judge: Judge | None,
        items: ItemList,
        reader: PictureReader,
    ):
        self._source, self._labels, self._judge = source, labels, judge
        self._items, self._reader = items, reader
        self._row = struct.Struct(f"{len(_COLUMNS)}d")
        self._rows = Rows(self._row.size)
        self._numbers = array("q")  # of the items that have rows

    def measure(self) -> None:
        """Measures all pictures.

        Raises:
            UserError: none can be read.
        """
        pending: list[tuple[int, dict[str, float], np.ndarray]] = []
        with closing(map_in_threads(self._measured, range(len(self._items)))) as results:
            bar = tqdm(results, total=len(self._items), unit="img", disable=None)
            for number, result in enumerate(bar):
                if isinstance(result, Unreadable):
                    name = self._items[number].name
                    self._source.skipped.append({"file": name, "reason": str(result)})
                    continue
                pending.append((number, *result))
                if len(pending) == _AT_ONCE:
                    self._keep(pending)
        self._keep(pending)
        if not self._numbers:
            first = self._source.skipped[0]
            raise UserError(
                f"no picture is readable: cannot read {printable(first['file'])}: {first['reason']}"
            )

    def order(self, by: str) -> np.ndarray:
        """Places of the pictures among the rows, the worst first; int64 [N]."""
        column = _COLUMNS.index(BY[by])
        values = (self._values(place)[column] for place in range(len(self._numbers)))
        return np.argsort(np.fromiter(values, np.float64), kind="stable")

    def write_table(self, path: str, order: np.ndarray) -> None:
        """Writes the numbers of pictures as CSV."""
        try:
            with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("file", *_COLUMNS))
                for name, values in self._in_order(order):
                    cells = ("" if np.isnan(value) else f"{value:.6g}" for value in values)
                    writer.writerow((name, *cells))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error

    def write_sheet(self, path: str, order: np.ndarray) -> None:
        """Writes a contact sheet of pictures as PNG."""
        sheet = ContactSheet()
        for place in order:
            if sheet.is_full:
                break
            try:
                data = self._source.read(self._items[self._numbers[place]])
                sheet.add(self._fitted(data, _SHEET_FIT))
            except Unreadable:
                continue  # It has vanished since.
        sheet.save(path)

    def print(self, by: str, order: np.ndarray) -> None:
        """Prints pictures, and what could not be read."""
        skipped = self._source.skipped
        for entry in skipped[:_MAX_NAMED]:
            print(f"skipped {printable(entry['file'])}: {entry['reason']}", file=sys.stderr)
        column = _COLUMNS.index(BY[by])
        print(
            f"{self._source.facts['source']}: {len(self._numbers)} pictures, "
            f"{len(skipped) + skipped.unnamed} files skipped; the {len(order)} with the least "
            f"{BY[by].replace('_', ' ')}:"
        )
        for name, values in self._in_order(order):
            size = f"{values[0]:.0f}x{values[1]:.0f}"
            print(f"{values[column]:10.4g}  {size:>11}  {printable(name)}")

    def _in_order(self, order: np.ndarray) -> Iterator[tuple[str, tuple[float, ...]]]:
        for place in order.tolist():
            yield self._items[self._numbers[place]].name, self._values(place)

    def _values(self, place: int) -> tuple[float, ...]:
        return self._row.unpack(self._rows[place])

    def _keep(self, pending: list[tuple[int, dict[str, float], np.ndarray]]) -> None:
        """Scores pictures if there is a judge, and writes their rows."""
        if not pending:
            return
        scores = np.full(len(pending), np.nan)
        if self._judge is not None:
            numbers = [number for number, *_ in pending]
            labels = self._labels[numbers] if self._judge.label_size else None
            scores = self._judge.score(np.stack([pixels for *_, pixels in pending]), labels)
        for (number, values, _), score in zip(pending, scores, strict=True):
            self._numbers.append(number)
            row = {**values, "score": float(score)}
            self._rows.append(self._row.pack(*(row[name] for name in _COLUMNS)))
        pending.clear()

    def _measured(self, number: int) -> tuple[dict[str, float], np.ndarray | None] | Unreadable:
        """The numbers of a picture but its score, and its pixels for the judge."""
        try:
            data = self._source.read(self._items[number])
            if isinstance(data, np.ndarray):
                # All are of one size, and enlarging would only hide how sharp they are.
                pixels, (height, width) = data, data.shape[-2:]
                while max(pixels.shape) > _SIDE:
                    pixels = coarser(pixels, 1)
            else:
                width, height = self._reader.size(data)
                scale = _SIDE / max(width, height)
                fit = Fit(max(1, round(height * scale)), max(1, round(width * scale)), "stretch")
                pixels = self._fitted(data, fit)
            pixels = on_white(pixels)
            for_judge = self._fitted(data, self._judge.fit) if self._judge else None
        except Unreadable as error:
            return error
        values = {"width": width, "height": height, "shorter_side": min(width, height)}
        values |= {"sharpness": sharpness(pixels), "white_border": white_border(pixels)}
        return values, for_judge

    def _fitted(self, data: str | bytes | np.ndarray, fit: Fit) -> np.ndarray:
        if not isinstance(data, np.ndarray):
            return self._reader.fit(data, fit).pixels
        if data.shape == (fit.channels, fit.height, fit.width):
            return data
        return fit_picture(to_picture(data), fit).pixels


def sharpness(pixels: np.ndarray) -> float:
    """How steep the edges are, 0 to 1, whatever their contrast and number.

    An edge is a step between two pixels of a row or a column that is the largest of its
    neighborhood; steepness is the step divided by the difference of brightness in the neighborhood.

    Args:
        pixels: uint8 [C, height, width].

    Returns:
        Steepness that a fifth of the edges exceeds; 0 where there are none.
    """
    gray = pixels.astype(np.float32).mean(axis=0)
    steepness = []
    for lines in (gray, gray.T):
        step = np.abs(np.diff(lines, axis=1))
        rise = maximum_filter1d(lines, _NEIGHBORS, axis=1)
        rise = (rise - minimum_filter1d(lines, _NEIGHBORS, axis=1))[:, :-1]
        is_edge = (step >= maximum_filter1d(step, _NEIGHBORS, axis=1)) & (rise >= _MIN_RISE)
        steepness.append(step[is_edge] / rise[is_edge])
    edges = np.concatenate(steepness)
    return float(np.percentile(edges, _OF_EDGES)) if edges.size else 0.0


def white_border(pixels: np.ndarray) -> float:
    """How white the edges are, 0 to 1: the mean of the darkest color of their pixels.

    Args:
        pixels: uint8 [C, height, width].
    """
    darkest = pixels.min(axis=0)
    y, x = (max(1, round(side * _BORDER)) for side in darkest.shape)
    is_border = np.ones(darkest.shape, bool)
    is_border[y:-y, x:-x] = False
    return float(darkest[is_border].mean() / 255)
