"""LSUN and what else is in an LMDB of encoded pictures (`create_lsun`, `create_lsun_wide`)."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.util import one_line
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.format.levels import is_resolution
from training.datasets.items import Item, Source
from training.datasets.photos.decode import Fit, Unreadable
from training.datasets.photos.reader import PictureReader

RESOLUTION = 256  # the official one


def create_lsun(output: Output, lmdb_dir: str) -> None:
    """Makes a dataset of the pictures of one category, cut to squares around their centers.

    Args:
        output: what to make; without a size in it, it becomes 256x256. An official dataset is not
            shuffled. Of an unshuffled one `max_images` are the first ones.
        lmdb_dir: folder with `data.mdb`; its values are pictures of any format that Pillow reads.

    Raises:
        UserError: no LMDB, the package lmdb is missing, or the dataset cannot be written.
    """
    output.check()
    if output.size is None:
        output = dataclasses.replace(output, resolution=RESOLUTION)
    with closing(open_lmdb(lmdb_dir)) as database:
        build(lsun(database, lmdb_dir, output), output)


def create_lsun_wide(output: Output, lmdb_dir: str, width: int = 512, height: int = 384) -> None:
    """Makes a dataset of wide pictures with black above and below, which makes them squares.

    A picture is cut to the proportions of width x height around its center, resized to that, and
    put into the middle of width x width. Narrower ones, and wider ones than these proportions, are
    left out.

    Args:
        output: what to make, with no size in it. An official dataset is not shuffled. Of an
            unshuffled one `max_images` are the first ones that fit.
        lmdb_dir: as for `create_lsun`.
        width: width of the pictures, a power of two.
        height: height of the part that is not black, at most `width`.

    Raises:
        UserError: a size is wrong, no LMDB, the package lmdb is missing, no picture fits, or the
            dataset cannot be written.
    """
    output.check()
    if not is_resolution(width):
        raise UserError(f"--width is {width}: expected a power of two from 4 to 4096")
    if not 1 <= height <= width:
        raise UserError(f"--height is {height}: expected 1 to {width}, which is the --width")
    with closing(open_lmdb(lmdb_dir)) as database, PictureReader() as reader:
        source = lsun_wide(LmdbPictures(database, reader, lmdb_dir), output, width, height)
        build(source, output)
    print(f"{source.facts['unfit']} pictures did not fit {width}x{height}", file=sys.stderr)


def lsun(database: Any, lmdb_dir: str, output: Output) -> Source:
    """The source of `create_lsun`; `database` is from `open_lmdb`."""
    items = (Item(key) for key in _keys(database, lmdb_dir))
    facts = {"source": os.path.abspath(lmdb_dir)}
    return Source(_as_many_as(output, items), functools.partial(_value, database), facts)


@dataclass(frozen=True)
class LmdbPictures:
    """An LMDB from `open_lmdb` with what decodes its pictures, and its folder."""

    database: Any
    reader: PictureReader
    folder: str


def lsun_wide(pictures: LmdbPictures, output: Output, width: int, height: int) -> Source:
    """The source of `create_lsun_wide`."""
    database, reader, lmdb_dir = pictures.database, pictures.reader, pictures.folder
    facts = {"source": os.path.abspath(lmdb_dir), "picture_height": height, "unfit": 0}

    def items() -> Iterator[Item]:
        # Sizes are looked at here and not in `read`, so that only what fits counts for max_images.
        # The others, which may be most, are counted and not named.
        found = False
        for key in _keys(database, lmdb_dir):
            if _fits(pictures, Item(key), width, height):
                found = True
                yield Item(key)
            else:
                facts["unfit"] += 1
        if not found:
            raise UserError(f"none of the {facts['unfit']} pictures in {lmdb_dir} fits {what}")

    def read(item: Item) -> np.ndarray:
        picture = reader.fit(_value(database, item), Fit(height, width)).pixels
        square = np.zeros([3, width, width], np.uint8)
        top = (width - height) // 2
        square[:, top : top + height] = picture
        return square

    what = f"{width}x{height}: expected at least that size, and not wider in proportion"
    return Source(_as_many_as(output, items()), read, facts)


def open_lmdb(lmdb_dir: str) -> Any:
    """Opens an LMDB for reading, whole or not at all: an `lmdb.Environment` to be closed.

    Raises:
        UserError: it is missing, no LMDB or truncated, or the package lmdb is missing.
    """
    try:
        import lmdb
    except ImportError as error:
        raise UserError("to read LMDB files a package is needed: pip install lmdb") from error
    path = os.path.join(lmdb_dir, "data.mdb")
    try:
        size = os.path.getsize(path)
        # No lock file: the folder may be read-only, and nobody writes to it.
        database = lmdb.open(lmdb_dir, readonly=True, create=False, lock=False, readahead=False)
    except OSError as error:
        raise UserError(f"cannot read LMDB {path}: {error.strerror}") from error
    except lmdb.Error as error:
        raise UserError(f"{path} is no LMDB, or a damaged one: {one_line(error)}") from error
    claimed = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    if size < claimed:  # Reading what is not there would end the process.
        database.close()
        raise UserError(
            f"LMDB {path} is truncated: it has {size} bytes of {claimed}; download it again"
        )
    return database


def _as_many_as(output: Output, items: Iterable[Item]) -> Iterable[Item]:
    """Without shuffling, no more need to be listed than are to be used."""
    # Deviation: a picture that turns out to be broken counts for max_images.
    return items if output.shuffle else islice(items, output.max_images)


def _keys(database: Any, lmdb_dir: str) -> Iterator[str]:
    import lmdb

    try:
        with database.begin() as transaction, transaction.cursor() as cursor:
            for key in cursor.iternext(keys=True, values=False):
                yield os.fsdecode(key)
    except lmdb.Error as error:
        raise UserError(f"LMDB {lmdb_dir} is damaged: {one_line(error)}") from error


def _value(database: Any, item: Item) -> bytes:
    import lmdb

    try:
        with database.begin() as transaction:
            value = transaction.get(os.fsencode(item.name))
    except lmdb.Error as error:
        raise Unreadable(f"the LMDB is damaged: {one_line(error)}") from error
    if value is None:
        raise Unreadable("it is gone: somebody has written to the LMDB")
    return value


def _fits(pictures: LmdbPictures, item: Item, width: int, height: int) -> bool:
    """Whether `create_lsun_wide` can use a picture; true of what is none, for `build` to name."""
    try:
        wide, high = pictures.reader.size(_value(pictures.database, item))
    except Unreadable:
        return True
    # Deviation: the official tool tears pictures that are too wide; they are left out here.
    return wide >= width and height <= round(height * wide / width) <= high
