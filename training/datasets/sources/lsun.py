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
from dnnlib.child_process import ChildProcess, ChildStopped
from dnnlib.util import one_line
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.format.levels import is_resolution
from training.datasets.items import Item, Source
from training.datasets.photos.decode import MAX_FILE_BYTES, Fit, Unreadable
from training.datasets.photos.reader import PictureReader

RESOLUTION = 256  # the official one
_SECONDS = 60.0  # for some keys or a value: the file may lie on a busy share
_KEYS_AT_ONCE = 1000


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


def lsun(database: Lmdb, lmdb_dir: str, output: Output) -> Source:
    """The source of `create_lsun`; `database` is from `open_lmdb`."""
    items = (Item(key) for key in database.keys())
    facts = {"source": os.path.abspath(lmdb_dir)}
    return Source(_as_many_as(output, items), lambda item: database.value(item.name), facts)


@dataclass(frozen=True)
class LmdbPictures:
    """An LMDB from `open_lmdb` with what decodes its pictures, and its folder."""

    database: Lmdb
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
        for key in database.keys():
            if _fits(pictures, Item(key), width, height):
                found = True
                yield Item(key)
            else:
                facts["unfit"] += 1
        if not found:
            raise UserError(f"none of the {facts['unfit']} pictures in {lmdb_dir} fits {what}")

    def read(item: Item) -> np.ndarray:
        picture = reader.fit(database.value(item.name), Fit(height, width)).pixels
        square = np.zeros([3, width, width], np.uint8)
        top = (width - height) // 2
        square[:, top : top + height] = picture
        return square

    what = f"{width}x{height}: expected at least that size, and not wider in proportion"
    return Source(_as_many_as(output, items()), read, facts)


def open_lmdb(lmdb_dir: str) -> Lmdb:
    """Opens an LMDB for reading, whole or not at all, to be closed.

    Raises:
        UserError: it is missing, no LMDB or truncated, or the package lmdb is missing.
    """
    try:
        import lmdb  # noqa: F401
    except ImportError as error:
        raise UserError("to read LMDB files a package is needed: pip install lmdb") from error
    return Lmdb(lmdb_dir)


class Lmdb:
    """An LMDB, which a process of its own reads: the library aborts it where pages are damaged.

    Threads may share it.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._child = ChildProcess(_answer)
        try:
            self._ask("open")
        except UserError:
            self.close()
            raise

    def close(self) -> None:
        """Ends the process."""
        self._child.close()

    def keys(self) -> Iterator[str]:
        """All keys, ascending. Raises a UserError where the LMDB is damaged."""
        last = b""
        while keys := self._ask("keys", last):
            for key in keys:
                # Pages that lead back would lead round for ever.
                if key <= last:
                    raise UserError(f"LMDB {self._folder} is damaged: its keys are out of order")
                last = key
                yield os.fsdecode(key)

    def value(self, key: str) -> bytes:
        """The value of a key. Raises `Unreadable`."""
        try:
            value = self._ask("value", os.fsencode(key))
        except UserError as error:
            raise Unreadable(str(error)) from error
        if value is None:
            raise Unreadable("it is gone: somebody has written to the LMDB")
        return value

    def _ask(self, what: str, key: bytes = b"") -> Any:
        try:
            return self._child.call(self._folder, what, key, seconds=_SECONDS, what="reading it")
        except ChildStopped as error:
            raise UserError(
                f"LMDB {self._folder} is damaged, download it again: {error}"
            ) from error


def _answer(folder: str, what: str, key: bytes) -> list[bytes] | bytes | None:
    """Runs in the process: some of the keys after a key, or the value of one."""
    import lmdb

    try:
        database = _database(folder)
        if what == "open":
            return None
        with database.begin(buffers=what == "value") as transaction:
            if what == "keys":
                return _keys_after(transaction, key)
            value = transaction.get(key)
            if value is not None and len(value) > MAX_FILE_BYTES:
                raise UserError(f"it has more than {MAX_FILE_BYTES:,} bytes")
            return None if value is None else bytes(value)
    except lmdb.Error as error:
        raise UserError(f"LMDB {folder} is damaged: {one_line(error)}") from error


def _keys_after(transaction: Any, key: bytes) -> list[bytes]:
    with transaction.cursor() as cursor:
        if not (cursor.set_range(key) if key else cursor.first()):
            return []
        keys = islice(cursor.iternext(keys=True, values=False), _KEYS_AT_ONCE + 1)
        # What is asked for is still there, unless somebody has written to the LMDB.
        return [found for number, found in enumerate(keys) if number or found != key]


@functools.lru_cache(1)
def _database(folder: str) -> Any:
    """The LMDB that the process reads."""
    import lmdb

    path = os.path.join(folder, "data.mdb")
    try:
        size = os.path.getsize(path)
        # No lock file: the folder may be read-only, and nobody writes to it.
        database = lmdb.open(folder, readonly=True, create=False, lock=False, readahead=False)
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


def _fits(pictures: LmdbPictures, item: Item, width: int, height: int) -> bool:
    """Whether `create_lsun_wide` can use a picture; true of what is none, for `build` to name."""
    try:
        wide, high = pictures.reader.size(pictures.database.value(item.name))
    except Unreadable:
        return True
    # Deviation: the official tool tears pictures that are too wide; they are left out here.
    return wide >= width and height <= round(height * wide / width) <= high
