"""Tables of listings with a category and pictures, which are local files or on the web."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from dnnlib import UserError
from dnnlib.bulk_downloads import DownloadOptions, file_of
from dnnlib.util import one_line
from training.datasets.items import Item, Lookup, Seen, Source, sorted_classes
from training.datasets.photos.decode import Unreadable
from training.datasets.sources.classes import multi_hot, split_mode, with_counts
from training.datasets.sources.ebay.table_files import find_tables
from training.datasets.sources.ebay.web_pictures import (
    download_pictures,
    is_url,
    larger,
    show_picture,
)
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
_NAMED_CONFLICTS = 3


@dataclass(frozen=True)
class ListingOptions:
    """What the command line says of a table of listings.

    Attributes:
        image_column, category_column: names of columns; None: by the usual names.
        image_path: path of a picture with {} for what the image column holds, as in
            "images/{}.jpg".
        encoding: of the table's text; None: it is detected.
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
        if is_url(picture):
            path = os.path.join(self.download_dir, file_of(picture))
            is_below = path.startswith(os.path.join(self.folder, ""))
            return os.path.relpath(path, self.folder) if is_below else path
        return self.local.find(picture)

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


def _download(listings: _Listings, options: DownloadOptions) -> Lookup:
    """Downloads what is on the web. Returns {name: reason} of what failed."""

    def ignore(where: str, reason: str) -> None:
        """What is left out is named when the items are listed."""

    pictures = (picture for _, picture, _ in listings.pictures(ignore))
    urls = Lookup((picture, None) for picture in pictures if is_url(picture))
    return download_pictures(urls, listings.download_dir, options)


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
        if is_url(picture):
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
