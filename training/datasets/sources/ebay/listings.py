"""Tables of listings with a category and pictures, which are local files or on the web."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from dnnlib import UserError, urls
from dnnlib.bulk_downloads import DownloadOptions, download_all, file_of
from dnnlib.file_kinds import KINDS, recognize
from dnnlib.output import tqdm
from dnnlib.util import one_line
from training.datasets.items import Item, Lookup, Seen, Source, sorted_classes
from training.datasets.photos.decode import Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.classes import multi_hot, split_mode, with_counts
from training.datasets.sources.embedded import EmbeddedPictures
from training.datasets.sources.local_pictures import LocalPictures
from training.datasets.tables.cells import (
    category_names,
    category_of,
    class_of,
    classes_in,
    split_images,
)
from training.datasets.tables.columns import (
    CATEGORY_COLUMNS,
    ID_COLUMNS,
    IMAGE_COLUMNS,
    category_column,
    further_image_columns,
    image_columns,
)
from training.datasets.tables.tables import LeftOut, Table, open_table

LABELS = ("category", "none")
# Of tables, and of packed ones.
_FEEDS = (".xml", ".rss", ".atom")
_MAX_FEEDS = 20  # that are looked into: a folder may have an XML file for each picture
SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet")
_PACKED = (".gz", ".bz2", ".xz")
# Hugging Face's name for the table of a folder of pictures.
_METADATA = re.compile(r"metadata\.(jsonl|csv|parquet)")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(-[0-9a-f]+)?\.parquet")
# All sizes of a picture on eBay have the same address but for the longest side.
_SIZE = re.compile(r"/s-l(\d+)(?=\.\w+(?:\?|$))")
_LARGEST = 1600
_NAMED_CONFLICTS = 3


@dataclass(frozen=True)
class ListingOptions:
    """What the command line says of a table of listings.

    Attributes:
        image_column, category_column: names of columns; None: by the usual names.
        image_path: path of a picture with {} for what the image column holds, as in
            "images/{}.jpg".
        encoding: of the table's text; None is found out.
        download_dir: folder for downloaded pictures; None: `images` beside the table.
        allow_missing: whether most of the pictures may be missing.
        downloads: how pictures are downloaded.
    """

    image_column: str | None = None
    category_column: str | None = None
    image_path: str | None = None
    encoding: str | None = None
    download_dir: str | None = None
    allow_missing: bool = False
    downloads: DownloadOptions = DownloadOptions()  # noqa: RUF009 (it is frozen)


def listings_source(
    root: str,
    labels: str = "category",
    listing: ListingOptions | None = None,
) -> Source:
    """The pictures of a table of listings. Those that are on the web are downloaded first.

    Args:
        root: The table, or a folder with one.
        labels: "category", "none", or "category:multi" for pictures in several categories.
        listing: How the table is read and its pictures are found.

    Raises:
        UserError: There is not one table, columns are not found, or the folder for downloads cannot
            be written.
    """
    listing = listing or ListingOptions()
    kind, mode = split_mode(labels)
    if kind not in LABELS or (mode is not None and kind == "none"):
        raise UserError(
            f"--labels={labels}: a table of listings has {' or '.join(LABELS)}, and category:multi"
        )
    known = (*IMAGE_COLUMNS, *CATEGORY_COLUMNS, *ID_COLUMNS)
    paths = find_tables(root)
    tables = [open_table(path, encoding=listing.encoding, known=known) for path in paths]
    listings = _listings(tables, kind == "category", listing)
    failures = _download(listings, listing.downloads)
    facts = {
        "source": os.path.abspath(root if len(paths) > 1 else paths[0]),
        "labels": labels,
        "image_column": listings.image_columns[0],
        "category_column": listings.category_column,
        "repeated": 0,
    }
    source = Source((), listings.read, facts)
    items = _items(listings, failures, source, mode)
    items = _multi(items, source) if mode == "multi" else items
    source.items = with_counts(items, source, "categories", mode == "multi")
    return source


def find_table(root: str) -> str:
    """The path of a table: `root`, or the only table in the folder `root`."""
    paths = find_tables(root)
    if len(paths) > 1:
        names = one_line(", ".join(map(os.path.basename, paths)))
        raise UserError(f"{root} holds several tables, {names}: give the path of one")
    return paths[0]


def find_tables(root: str) -> list[str]:
    """The path of a table, or of several that are pages or parts of one.

    Args:
        root: The table; or a folder with one, with JSON files, which are pages of an API, or with
            all parts of a Parquet table; `metadata.csv` and the like go before others.
    """
    if not os.path.isdir(root) and os.path.exists(root):
        return [root]
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise UserError(f"cannot open {root}: {error.strerror}") from error
    tables = [n for n in names if _is_table(n) and os.path.isfile(os.path.join(root, n))]
    if not tables:
        feeds = (os.path.join(root, name) for name in names if name.endswith(_FEEDS))
        for path in islice(feeds, _MAX_FEEDS):
            if os.path.isfile(path) and (kind := recognize(path)) is KINDS["feed"]:
                raise UserError(f"{path} is {kind.said}")
        raise UserError(
            f"{root} holds neither Ebay_info.txt, Ebay_train.txt or Ebay_test.txt of Stanford "
            f"Online Products nor a table of listings ({', '.join(SUFFIXES)})"
        )
    metadata = [name for name in tables if _METADATA.fullmatch(name)]
    tables = metadata if len(metadata) == 1 else tables
    is_pages = all(name.lower().endswith(".json") for name in tables)
    shards = {match[1] if (match := _SHARD.fullmatch(name)) else None for name in tables}
    if len(tables) > 1 and not is_pages and (len(shards) > 1 or None in shards):
        names = one_line(", ".join(tables))
        raise UserError(f"{root} holds several tables, {names}: give the path of one")
    return [os.path.join(root, name) for name in tables]


def larger(url: str) -> str:
    """The address of an eBay picture in its largest size; other URLs as they are."""
    match = _SIZE.search(url)
    if match is None or int(match[1]) >= _LARGEST:
        return url
    return _SIZE.sub(f"/s-l{_LARGEST}", url).replace("/thumbs/images/g/", "/images/g/")


def picture_problem(picture: str | bytes) -> str | None:
    """Why a path or the content of a file is no whole picture; None if it is one."""
    with PictureReader() as reader:
        return reader.problem(picture)


def show_picture(picture: str) -> str:
    """A URL or path for messages, URLs without what may be a secret."""
    if not _is_url(picture):
        return one_line(picture)
    try:
        return urls.show(picture)
    except UserError:
        return "a URL"


@dataclass(frozen=True)
class _Listings:
    """Tables with their columns.

    Attributes:
        tables: with the same columns, in one folder.
        image_columns: of a row the first counts that has pictures.
        further_columns: have further pictures of the same thing.
        folder: of the tables, absolute.
        download_dir: absolute.
        image_path: see `ListingOptions`.
        names: {number of a category: its name}, as rows tell them.
        embedded: pictures that are in the tables themselves.
    """

    tables: list[Table]
    image_columns: list[str]
    further_columns: list[str]
    category_column: str | None
    folder: str
    download_dir: str
    image_path: str | None
    local: LocalPictures
    embedded: EmbeddedPictures = field(default_factory=EmbeddedPictures)
    names: dict[str, str] = field(default_factory=dict)

    def pictures(self, left_out: LeftOut) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(where a row is, URL or path, cells) of all pictures."""
        for table in self.tables:
            name = os.path.basename(table.path)
            handle: tuple[object, object] = (None, None)
            handles = table.known(("handle", "urlhandle"))

            def tell(number: int, reason: str, name: str = name) -> None:
                left_out(f"{name}:{number}", reason)

            for number, row in table.rows(tell):
                self.names.update(category_names(row.get(self.category_column)))
                # Shopify's further pictures of a product have rows that only repeat its handle.
                product = row.get(handles[0]) if handles else None
                if product and product == handle[0]:
                    if class_of(category_of(row.get(self.category_column))) is None:
                        row[self.category_column] = handle[1]
                else:
                    handle = product, row.get(self.category_column)
                pictures = self._in_row(row, f"{name}:{number}")
                if not pictures:
                    tell(number, f"no image in the column {self.image_columns[0]}")
                for picture in pictures:
                    yield f"{name}:{number}", picture, row

    def _in_row(self, row: dict[str, Any], where: str) -> list[str]:
        pictures = self._in_cells(row, where, self.image_columns)
        for column in self.further_columns:
            pictures += self._in_cells(row, f"{where} {column}", [column])
        return list(dict.fromkeys(pictures))

    def _in_cells(self, row: dict[str, Any], where: str, columns: list[str]) -> list[str]:
        """The pictures of the first cell that has any."""
        for column in columns:
            cell = row.get(column)
            if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
                return [self.embedded.add(where, cell["bytes"])]
            if isinstance(cell, bytes):
                return [self.embedded.add(where, cell)]
            if self.image_path is not None:
                text = str(cell).strip() if isinstance(cell, (str, int)) else ""
                return [self.image_path.replace("{}", text)] if text else []
            if isinstance(cell, int) and not isinstance(cell, bool):
                cell = str(cell)  # the number of a product
            if pictures := split_images(cell, self.folder):
                return pictures
        return []

    def categories(self, row: dict[str, Any], mode: str | None) -> list[str | int]:
        """The category of a row, or for "multi" all of them."""
        cell = row.get(self.category_column)
        if mode != "multi":
            label = class_of(category_of(cell, row.get("leafCategoryIds"), self.names))
            return [] if label is None else [label]
        if isinstance(cell, list) and any(isinstance(part, dict) for part in cell):
            cell = [category_of([part], None, self.names) for part in cell]
        return classes_in(cell)

    def place(self, picture: str) -> str:
        """The name of a picture: its path from `folder`, or an absolute one outside of it.

        Raises:
            Unreadable: The table names a file that is not below its folder.
        """
        if self.embedded.has(picture):
            return picture
        if _is_url(picture):
            path = os.path.join(self.download_dir, file_of(picture))
            is_below = path.startswith(os.path.join(self.folder, ""))
            return os.path.relpath(path, self.folder) if is_below else path
        return self.local.find(picture)

    def is_there(self, place: str) -> bool:
        """Whether there is a file for a picture."""
        return self.embedded.has(place) or os.path.exists(os.path.join(self.folder, place))

    def read(self, item: Item) -> str | bytes:
        """See `Source.read`."""
        if self.embedded.has(item.name):
            return self.embedded.read(item.name)
        return os.path.join(self.folder, item.name)


def _listings(tables: list[Table], has_categories: bool, listing: ListingOptions) -> _Listings:
    """Tables with their columns, which are printed."""
    columns = tuple(dict.fromkeys(column for table in tables for column in table.columns))
    first = replace(tables[0], columns=columns) if len(tables) > 1 else tables[0]
    folder = os.path.dirname(os.path.abspath(first.path))
    local = LocalPictures(folder)
    if listing.image_path is not None:
        if listing.image_path.count("{}") != 1:
            raise UserError(
                f"--image-path={listing.image_path}: expected a path with one {{}} for what the "
                "image column holds, as in images/{}.jpg"
            )
        images = [first.column("--image-column", listing.image_column, tuple(ID_COLUMNS))]
        images = images if images[0] is not None else image_columns(first, None)
    else:
        images = image_columns(first, listing.image_column) or _id_column(first, local)
    if not images:
        raise UserError(
            f"{first.path}: no column of images is known: name it with --image-column; "
            f"{first.listing}"
        )
    categories = None
    if has_categories:
        categories = category_column(first, listing.category_column)
    is_named = listing.image_column is not None or listing.image_path is not None
    further = [] if is_named else further_image_columns(first, images[0])
    further = [column for column in further if column not in images]
    named = f"column{'s' * bool(further)} {one_line(', '.join([images[0], *further]), 200)}"
    print(
        f"{os.path.basename(first.path)}: pictures are in the {named}"
        + (f", categories in {one_line(categories, 100)}" if categories is not None else "")
    )
    last, used = first.columns[-1], (*images, *further)
    tables = [replace(t, is_strict=last == categories and last not in used) for t in tables]
    download_dir = os.path.abspath(listing.download_dir or os.path.join(folder, "images"))
    template = listing.image_path
    return _Listings(tables, images, further, categories, folder, download_dir, template, local)


def _id_column(table: Table, local: LocalPictures) -> list[str]:
    """The column of product numbers, if there are pictures with these names."""
    for column in table.known(tuple(ID_COLUMNS)):
        for row in table.sample()[:100]:
            cell = row.get(column)
            if isinstance(cell, (str, int)) and local.has(str(cell)):
                return [column]
    return []


def _is_table(name: str) -> bool:
    if name.startswith("."):
        return False
    stem, suffix = os.path.splitext(name.lower())
    return (stem if suffix in _PACKED else name.lower()).endswith(SUFFIXES)


def _is_url(picture: str) -> bool:
    # Whatever the scheme: the downloader says which it takes.
    return urls.is_url(picture) and not picture.lower().startswith("file:")


def _download(listings: _Listings, options: DownloadOptions) -> Lookup:
    """Downloads what is on the web, each picture in its largest size if that is to be had.

    Returns:
        {name: reason} of what failed.
    """
    pictures = (picture for _, picture, _ in listings.pictures(_ignore))
    urls = Lookup((picture, None) for picture in pictures if _is_url(picture))
    wanted = Lookup((file_of(larger(url)), larger(url)) for url in urls)
    failures = Lookup(_failures(wanted, listings.download_dir, options))
    smaller = (url for url in urls if larger(url) != url and file_of(larger(url)) in failures)
    wanted_small = Lookup((file_of(url), url) for url in smaller)
    failed = len(failures) - len(wanted_small)
    if len(wanted_small):
        again = Lookup(_failures(wanted_small, listings.download_dir, options))
        failed += len(again)
        failures = Lookup([*failures.items(), *again.items()])
    if len(wanted):
        print(
            f"{listings.download_dir}: {len(wanted) - failed} pictures, {failed} downloads failed"
        )
    return failures


def _failures(wanted: Lookup, folder: str, options: DownloadOptions) -> Iterator[tuple[str, str]]:
    """(name, reason) of what could not be downloaded."""
    # The names are hashes: their order mixes hosts, so that none gets all requests at once.
    urls = (wanted.get(name) for name in wanted)
    results = download_all(urls, folder, picture_problem, options)
    bar = tqdm(total=len(wanted), unit="img", desc="downloading", disable=None)
    failed = 0
    with closing(results), bar:
        for url, reason in results:
            bar.update()
            if reason is not None:
                failed += 1
                bar.set_postfix(failed=failed)
                yield file_of(url), reason


def _ignore(where: str, reason: str) -> None:
    """What is left out is named when the items are listed."""


def _items(
    listings: _Listings, failures: Lookup, source: Source, mode: str | None
) -> Iterator[Item]:
    """The pictures; labels of "multi" are lists of classes, and pictures may come again."""
    seen, seen_labels, conflicts = Seen(), Seen(), []

    def left_out(where: str, reason: str, picture: str = "") -> None:
        where = f"{where} {show_picture(picture)}" if picture else where
        source.skipped.append({"file": where, "reason": reason})

    for where, picture, row in listings.pictures(left_out):
        reason = None
        if _is_url(picture):
            large = larger(picture)
            picture = large if file_of(large) not in failures else picture
            reason = failures.get(file_of(picture))
        found = listings.categories(row, mode) if listings.category_column else []
        if not found and listings.category_column:
            reason = f"no category in the column {listings.category_column}"
        try:
            place = listings.place(picture)
        except Unreadable as error:
            reason = str(error)
        if reason is not None:
            left_out(where, reason, picture)
            continue
        if mode == "multi":
            yield Item(place, found)
            continue
        label = found[0] if found else None
        is_new_label = seen_labels.add(_digest(f"{label!r} {place}"))
        if seen.add(_digest(place)):
            yield Item(place, label)
            continue
        source.facts["repeated"] += 1  # Listings share pictures: the first one's label counts.
        if is_new_label:
            source.facts["contradictory"] = source.facts.get("contradictory", 0) + 1
            conflicts += [f"{where} {label}"] if len(conflicts) < _NAMED_CONFLICTS else []
    if conflicts:
        print(
            f"{source.facts['contradictory']} rows give a picture another category than a row "
            f"before them, which counts: {one_line('; '.join(conflicts))}; for all of them use "
            "--labels=category:multi",
            file=sys.stderr,
        )


def _multi(items: Iterator[Item], source: Source) -> Iterator[Item]:
    """Each picture once, with 1 for each of its categories."""
    table = Lookup(((i.name, i.label) for i in items), lambda old, new: list({*old, *new}))
    source.classes = sorted_classes(label for _, found in table.items() for label in found)
    for name, found in table.items():
        yield Item(name, multi_hot(found, source.classes))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
