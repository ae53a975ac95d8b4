"""`create_from_ebay`: Stanford Online Products, or a table of listings."""

from __future__ import annotations

import os

from dnnlib import UserError
from dnnlib.bulk_downloads import DownloadOptions
from dnnlib.files import check_free
from training.datasets.build import Output, build
from training.datasets.ebay_listings import listings_source
from training.datasets.ebay_products import find_products, products_source


def create_from_ebay(
    output: Output,
    root: str,
    labels: str | None = None,
    partition: str | None = None,
    image_column: str | None = None,
    category_column: str | None = None,
    download_dir: str | None = None,
    options: DownloadOptions | None = None,
) -> None:
    """Converts Stanford Online Products, or the pictures of a table of listings.

    Args:
        output: The dataset to make.
        root: Folder with Ebay_*.txt; or a table, or a folder with one.
        labels: "super-class" (None), "class" or "none" of Stanford Online Products; "category"
            (None) or "none" of a table.
        partition: "train", "test" or "all" (None) of Stanford Online Products.
        image_column, category_column, download_dir, options: See `listings_source`.

    Raises:
        UserError: `root` is neither, an option does not belong to it, or no picture is left.
    """
    output.check()
    check_free(output.tfrecord_dir)  # Before an hour of downloads.
    products = find_products(root)
    if products is not None:
        for option, value in (
            ("--image-column", image_column),
            ("--category-column", category_column),
            ("--download-dir", download_dir),
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
        source = listings_source(
            root, labels or "category", image_column, category_column, download_dir, options
        )
    build(source, output)
