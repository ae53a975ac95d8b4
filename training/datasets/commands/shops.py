"""Commands for the datasets of shops."""

from __future__ import annotations

import argparse
from functools import partial

from dnnlib import cli
from training.datasets.commands.command import Importer, command, option, path, switch
from training.datasets.commands.options import TABLES, fitting, makes_dataset


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"expected names like Dress,Tee, got {text!r}")
    return names


_DOWNLOADS = (
    option("--jobs", "downloads at the same time (default: 8)", cli.integer(1, 64), "N", default=8),
    option(
        "--rate",
        "requests a second to one host (default: 8)",
        cli.number(0.01, 1000),
        "N",
        default=8.0,
    ),
)


@makes_dataset(
    "datasets/dresses DeepFashion/In-shop --category=Dresses --labels=view --resolution=256",
    path("root", "the unpacked benchmark, or a folder one or two levels above it"),
    option(
        "--benchmark",
        "what ROOT holds (default: auto, which looks at the files)",
        choices="auto category inshop consumer2shop landmark deepfashion2 multimodal".split(),
        default="auto",
    ),
    option(
        "--labels",
        "category (default; of landmark: type), type, gender, group, gender/category (as "
        "MEN/Denim), group/category, color, view, source, style, attribute:NAME, item or none; an "
        "error lists those of a benchmark",
        metavar="KIND",
    ),
    option(
        "--partition",
        "part of the benchmark (default: all)",
        choices=("train", "val", "test", "query", "gallery", "all"),
        default="all",
    ),
    option(
        "--crop",
        "bbox: cut out the boxes of the benchmark, each item of DeepFashion2 as a picture of "
        "its own; none: whole pictures, those of DeepFashion2 by their largest item "
        "(default: none)",
        choices=("bbox", "none"),
        default="none",
    ),
    option(
        "--margin",
        "added to boxes on each side, as a fraction of their size (default: 0.1)",
        cli.number(0, 10),
        "M",
        default=0.1,
    ),
    option(
        "--category",
        "only these, as in Dress,Tee or WOMEN/Denim (default: all)",
        _names,
        "NAMES",
        dest="categories",
        default=(),
    ),
    option(
        "--view",
        "only these, as in front,back; shop or consumer of consumer2shop (default: all)",
        _names,
        "NAMES",
        dest="views",
        default=(),
    ),
    option(
        "--anno",
        "annotations of the category benchmark: auto takes the coarse ones, which are of all "
        "pictures, if they are there (default: auto)",
        choices=("auto", "coarse", "fine"),
        default="auto",
    ),
    switch("--highres", "take the pictures of img_highres, not of img"),
    fitting(),
)
def create_from_deepfashion(**given) -> Importer:
    """Make a dataset of a DeepFashion benchmark, DeepFashion2 or DeepFashion-MultiModal."""
    from training.datasets.sources.deepfashion import importer

    return partial(importer.create_from_deepfashion, **given)


@makes_dataset(
    "datasets/lamps lamps/listings.csv --image-column=photo --resolution=256",
    path(
        "root",
        "folder with Ebay_*.txt; or a table of listings (CSV, TSV, JSON, pages of eBay's Browse "
        "API, Parquet) or a folder with one, whose pictures are local files or URLs",
    ),
    option(
        "--labels",
        "super-class, class or none of Stanford Online Products (default: super-class; class "
        "has 22634 classes, which makes a large file); category, category:multi for pictures in "
        "several, or none of a table (default: category)",
        metavar="KIND",
    ),
    option(
        "--partition",
        "part of Stanford Online Products (default: all)",
        choices=("train", "test", "all"),
    ),
    option(
        "--image-column",
        "column of URLs, or of paths relative to the table's folder; several in a cell are "
        "separated by | ; or , or are a JSON list (default: by usual names, like image)",
        metavar="NAME",
    ),
    option("--category-column", "(default: by usual names, like category)", metavar="NAME"),
    option(
        "--image-path",
        "path of a picture with {} for what the image column holds, like images/{}.jpg",
        metavar="PATH",
    ),
    *TABLES,
    option(
        "--download-dir",
        "folder for pictures from the web; those already there are not downloaded again "
        "(default: images, beside the table)",
        cli.path,
        "DIR",
    ),
    switch(
        "--allow-private-addresses",
        "also download from private and local addresses; a proxy that the environment sets "
        "decides by itself where it connects",
    ),
    *_DOWNLOADS,
    fitting(),
    min_size=2,
)
def create_from_ebay(
    *,
    root: str,
    labels: str | None,
    partition: str | None,
    table_encoding: str | None,
    allow_private_addresses: bool,
    jobs: int,
    rate: float,
    **given,
) -> Importer:
    """Make a dataset of Stanford Online Products, or of a table of listings with pictures."""
    from dnnlib.bulk_downloads import DownloadOptions
    from training.datasets.sources.ebay import importer
    from training.datasets.sources.ebay.listings import ListingOptions

    downloads = DownloadOptions(jobs, rate, allow_private=allow_private_addresses)
    return partial(
        importer.create_from_ebay,
        root=root,
        labels=labels,
        partition=partition,
        listing=ListingOptions(encoding=table_encoding, downloads=downloads, **given),
    )


@command(
    'lamps --query="desk lamp" --limit=2000',
    path("output_dir", "folder to fill", metavar="OUT_FOLDER"),
    option("--query", "words to look for", metavar="WORDS"),
    option("--category", "number of an eBay category", metavar="N"),
    option(
        "--limit",
        "listings to fetch, at most 10000 of a query (default: 1000)",
        cli.integer(1, 10_000),
        "N",
        default=1000,
    ),
    option("--marketplace", "(default: EBAY_US)", metavar="ID", default="EBAY_US"),
    option("--condition", "only new or used things (default: all)", choices=("new", "used")),
    option(
        "--filter",
        "further filters of the Browse API, like price:[10..50],priceCurrency:USD",
        metavar="FILTER",
    ),
    switch("--additional-images", "all pictures of a listing, not only its first"),
    switch("--sandbox", "search eBay's sandbox, with its own credentials"),
    *_DOWNLOADS,
)
def fetch_ebay(output_dir: str, limit: int, jobs: int, rate: float, **search) -> None:
    """Fetch the pictures of listings that eBay's Browse API finds, for create_from_ebay. Needs
    EBAY_CLIENT_ID and EBAY_CLIENT_SECRET in the environment, and the right to use the pictures. The
    same command again continues where it ended.
    """
    from dnnlib.bulk_downloads import DownloadOptions
    from training.datasets.sources.ebay import api, browse

    browse.fetch_ebay(output_dir, api.Search(**search), limit, DownloadOptions(jobs, rate))


COMMANDS = (create_from_deepfashion, create_from_ebay, fetch_ebay)
