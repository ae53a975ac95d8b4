"""`create_from_ebay`: Stanford Online Products, or a table of listings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from dnnlib import UserError
from dnnlib.files import check_free
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.items import Item, Source
from training.datasets.photos.decode import Unreadable
from training.datasets.sources.classes import check_missing
from training.datasets.sources.ebay.listings import ListingOptions, listings_source
from training.datasets.sources.ebay.products import find_products, products_source


def create_from_ebay(
    output: Output,
    root: str,
    labels: str | None = None,
    partition: str | None = None,
    listing: ListingOptions | None = None,
) -> None:
    """Converts Stanford Online Products, or the pictures of a table of listings.

    Args:
        output: The dataset to make.
        root: Folder with Ebay_*.txt; or a table, or a folder with one.
        labels: "super-class" (None), "class" or "none" of Stanford Online Products; "category"
            (None), "category:multi" or "none" of a table.
        partition: "train", "test" or "all" (None) of Stanford Online Products.
        listing: See `listings_source`.

    Raises:
        UserError: `root` is neither, an option does not belong to it, or no picture is left.
    """
    output.check()
    check_free(output.tfrecord_dir)  # Before an hour of downloads.
    listing = listing or ListingOptions()
    products = find_products(root)
    if products is not None:
        for option, value in (
            ("--image-column", listing.image_column),
            ("--category-column", listing.category_column),
            ("--download-dir", listing.download_dir),
            ("--image-path", listing.image_path),
            ("--table-encoding", listing.encoding),
        ):
            if value is not None:
                raise UserError(
                    f"{option} is for tables of listings: {os.path.abspath(products)} holds "
                    "Stanford Online Products"
                )
        source = products_source(products, labels or "super-class", partition or "all")
    else:
        if partition is not None:
            raise UserError(
                f"--partition is for Stanford Online Products: {root} has no Ebay_*.txt"
            )
        source = listings_source(root, labels or "category", listing)
    source.items = _checked(source.items, source, root, listing.allow_missing)
    build(source, output)


def _checked(
    items: Iterable[Item], source: Source, root: str, allow_missing: bool
) -> Iterator[Item]:
    """Passes items on. Raises a UserError if the files of most are missing."""
    missing = total = 0
    for item in items:
        total += 1
        missing += _is_missing(source, item)
        yield item
    check_missing(missing, total, root, allow_missing)


def _is_missing(source: Source, item: Item) -> bool:
    try:
        picture = source.read(item)
        return isinstance(picture, str) and not os.path.exists(picture)
    except (Unreadable, ValueError):
        return False  # it is named for another reason
