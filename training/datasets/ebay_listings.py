"""Tables of listings with a category and pictures, which are local files or on the web."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from dnnlib import UserError, urls
from dnnlib.bulk_downloads import DownloadOptions, download_all, file_of
from dnnlib.output import tqdm
from dnnlib.util import one_line
from training.datasets.folders import inside
from training.datasets.items import Item, Lookup, Seen, Source
from training.datasets.picture_reader import PictureReader
from training.datasets.pictures import Unreadable
from training.datasets.tables import LeftOut, Table, class_of, open_table

# Usual names of columns in small letters without blanks and punctuation, the best first.
IMAGE_COLUMNS = tuple(
    "image images imageurl imageurls imagelink imagelinks imagepath imagepaths imagefile "
    "imagefiles mainimage mainimageurl primaryimage primaryimageurl galleryurl img imgs imgurl "
    "imgurls picture pictures pictureurl pictureurls picurl picurls pic photo photos photourl "
    "photourls thumbnail thumbnailurl thumbnailimage imagesrc imgsrc itemimage productimage "
    "productimageurl filename file filepath path".split()
)
CATEGORY_COLUMNS = tuple(
    "category categoryname categories primarycategory primarycategoryname leafcategory "
    "leafcategoryname maincategory itemcategory productcategory listingcategory category1 "
    "categorypath subcategory producttype department class label categoryid".split()
)
LABELS = ("category", "none")
SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json")  # of tables
# A URL ends where another begins, at a | that no URL holds, and at a separator before a blank.
# Other commas and semicolons are part of it.
_BETWEEN_URLS = re.compile(
    r"\s*\|\s*|\s*[;,]\s*(?=(?:https?:)?//)|[;,]\s+|\s+(?=https?://)", re.IGNORECASE
)


def listings_source(
    root: str,
    labels: str = "category",
    image_column: str | None = None,
    category_column: str | None = None,
    download_dir: str | None = None,
    options: DownloadOptions | None = None,
) -> Source:
    """The pictures of a table of listings. Those that are on the web are downloaded first.

    Args:
        root: The table, or a folder with one.
        labels: "category" or "none".
        image_column, category_column: Names of columns; None: by the usual names.
        download_dir: Folder for downloaded pictures; None: `images` beside the table.
        options: How they are downloaded.

    Raises:
        UserError: There is not one table, columns are not found, or the folder for downloads cannot
            be written.
    """
    if labels not in LABELS:
        raise UserError(f"--labels={labels}: a table of listings has {' or '.join(LABELS)}")
    table = open_table(find_table(root))
    images = table.column("--image-column", image_column, IMAGE_COLUMNS)
    if images is None:
        raise UserError(
            f"{table.path}: no column of images is known: name it with --image-column; "
            f"{table.listing}"
        )
    categories = None
    if labels == "category":
        categories = table.column("--category-column", category_column, CATEGORY_COLUMNS)
        if categories is None:
            raise UserError(
                f"{table.path}: no column of categories is known: name it with --category-column, "
                f"or use --labels=none; {table.listing}"
            )
    folder = os.path.dirname(os.path.abspath(table.path))
    download_dir = os.path.abspath(download_dir or os.path.join(folder, "images"))
    listings = _Listings(table, images, categories, folder, download_dir)
    failures = _download(listings, options or DownloadOptions())
    facts = {
        "source": os.path.abspath(table.path),
        "labels": labels,
        "image_column": images,
        "category_column": categories,
        "repeated": 0,
    }
    source = Source((), functools.partial(_path, folder), facts)
    source.items = _items(listings, failures, source)
    return source


def find_table(root: str) -> str:
    """The path of a table: `root`, or the only table in the folder `root`."""
    if os.path.isfile(root):
        return root
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise UserError(f"cannot open {root}: {error.strerror}") from error
    tables = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
    if not tables:
        raise UserError(
            f"{root} holds neither Ebay_info.txt, Ebay_train.txt or Ebay_test.txt of Stanford "
            f"Online Products nor a table of listings ({', '.join(SUFFIXES)})"
        )
    if len(tables) > 1:
        names = one_line(", ".join(tables))
        raise UserError(f"{root} holds several tables, {names}: give the path of one")
    return os.path.join(root, tables[0])


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
    """A table with its columns.

    Attributes:
        folder: of the table, absolute.
        download_dir: absolute.
    """

    table: Table
    image_column: str
    category_column: str | None
    folder: str
    download_dir: str

    def pictures(self, left_out: LeftOut) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """(number of the line, URL or path, cells) of all pictures."""
        for number, row in self.table.rows(left_out):
            pictures = split_images(row.get(self.image_column), self.folder)
            if not pictures:
                left_out(number, f"no image in the column {self.image_column}")
            for picture in pictures:
                yield number, picture, row

    def category(self, row: dict[str, Any]) -> str | int | None:
        """The category of a row."""
        value = row.get(self.category_column)
        if isinstance(value, list):  # From the root to the leaf, or several.
            value = " > ".join(str(part) for part in value if part is not None)
        return class_of(value)

    def place(self, picture: str) -> str:
        """The name of a picture: its path from `folder`, or an absolute one outside of it.

        Raises:
            Unreadable: The table names a file that is not below its folder.
        """
        if _is_url(picture):
            path = os.path.join(self.download_dir, file_of(picture))
            is_below = path.startswith(os.path.join(self.folder, ""))
            return os.path.relpath(path, self.folder) if is_below else path
        path = picture if "/" in picture else picture.replace("\\", "/")
        inside(self.folder, path)
        return "/".join(part for part in path.split("/") if part not in ("", "."))


def split_images(cell: object, folder: str) -> list[str]:
    """The URLs and paths in a cell.

    Args:
        cell: Text: a URL or path, several separated by `|`, `;` or `,`, or a JSON list of them;
            or a list.
        folder: Where files may lie whose names hold separators.

    Returns:
        URLs with a scheme, and paths.
    """
    if isinstance(cell, str) and cell.strip().startswith("["):
        cell = _parse_list(cell.strip())
    if isinstance(cell, list):
        parts = [part for part in cell if isinstance(part, str)]
    elif not isinstance(cell, str):
        return []
    elif "//" in cell:
        parts = _BETWEEN_URLS.split(cell.strip().strip("|;,"))
    else:
        parts = _split_paths(cell.strip(), folder, "|;,")
    parts = [part.strip() for part in parts]
    return ["https:" + part if part.startswith("//") else part for part in parts if part]


def _parse_list(text: str) -> object:
    """A list written in JSON, or with single quotes as Python's `str` does; else the text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    return text


def _split_paths(text: str, folder: str, separators: str) -> list[str]:
    if not separators or os.path.isfile(os.path.join(folder, text)):
        return [text]
    parts = text.split(separators[0])
    return [path for part in parts for path in _split_paths(part.strip(), folder, separators[1:])]


def _is_url(picture: str) -> bool:
    # Whatever the scheme: the downloader says which it takes.
    return urls.is_url(picture)


def _download(listings: _Listings, options: DownloadOptions) -> Lookup:
    """Downloads what is on the web. Returns {name: reason} of what failed."""
    pictures = (picture for _, picture, _ in listings.pictures(_ignore))
    wanted = Lookup((file_of(picture), picture) for picture in pictures if _is_url(picture))
    # The names are hashes: their order mixes hosts, so that none gets all requests at once.
    results = download_all(
        (wanted.get(name) for name in wanted), listings.download_dir, picture_problem, options
    )
    with (
        closing(results),
        tqdm(total=len(wanted), unit="img", desc="downloading", disable=None) as bar,
    ):
        failed = 0

        def failures() -> Iterator[tuple[str, str]]:
            nonlocal failed
            for url, reason in results:
                bar.update()
                if reason is not None:
                    failed += 1
                    bar.set_postfix(failed=failed)
                    yield file_of(url), reason

        table = Lookup(failures())
    if len(wanted):
        print(
            f"{listings.download_dir}: {len(wanted) - failed} pictures, {failed} downloads failed"
        )
    return table


def _ignore(number: int, reason: str) -> None:
    """What is left out is named when the items are listed."""


def _items(listings: _Listings, failures: Lookup, source: Source) -> Iterator[Item]:
    seen, name = Seen(), os.path.basename(listings.table.path)

    def left_out(number: int, reason: str, picture: str = "") -> None:
        where = f"{name}:{number} {show_picture(picture)}" if picture else f"{name}:{number}"
        source.skipped.append({"file": where, "reason": reason})

    for number, picture, row in listings.pictures(left_out):
        reason = failures.get(file_of(picture)) if _is_url(picture) else None
        label = listings.category(row) if listings.category_column else None
        if label is None and listings.category_column:
            reason = f"no category in the column {listings.category_column}"
        try:
            place = listings.place(picture)
        except Unreadable as error:
            reason = str(error)
        if reason is not None:
            left_out(number, reason, picture)
        elif seen.add(hashlib.sha256(place.encode("utf-8", "surrogatepass")).digest()):
            yield Item(place, label)
        else:
            source.facts["repeated"] += 1  # Listings share pictures: the first one's label counts.


def _path(folder: str, item: Item) -> str:
    return os.path.join(folder, item.name)
