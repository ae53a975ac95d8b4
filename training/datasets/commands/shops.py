"""Commands for the datasets of shops.

Importers are imported where they run, so that errors and --help come at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from dnnlib import cli
from training.datasets.commands.options import (
    add_output_options,
    add_source,
    add_table_options,
    create,
)


def add_commands(command: Callable) -> None:
    """Adds these commands to the parser; see `dataset_tool.parse_arguments`."""
    _add_deepfashion(command)
    _add_ebay(command)


def create_from_deepfashion(args: argparse.Namespace) -> None:
    from training.datasets.sources.deepfashion import importer

    create(
        args,
        importer.create_from_deepfashion,
        root=args.root,
        benchmark=args.benchmark,
        labels=args.labels,
        partition=args.partition,
        crop=args.crop,
        categories=args.category,
        views=args.view,
        anno=args.anno,
        highres=args.highres,
    )


def create_from_ebay(args: argparse.Namespace) -> None:
    from training.datasets.sources.ebay import importer
    from training.datasets.sources.ebay.listings import ListingOptions

    listing = ListingOptions(
        args.image_column,
        args.category_column,
        args.image_path,
        args.table_encoding,
        args.download_dir,
        args.allow_missing,
    )
    create(
        args,
        importer.create_from_ebay,
        root=args.root,
        labels=args.labels,
        partition=args.partition,
        options=_download_options(args, allow_private=args.allow_private_addresses),
        listing=listing,
    )


def fetch_ebay(args: argparse.Namespace) -> None:
    from training.datasets.sources.ebay import api, browse

    search = api.Search(
        query=args.query,
        category=args.category,
        marketplace=args.marketplace,
        condition=args.condition,
        filter=args.filter,
        additional_images=args.additional_images,
        sandbox=args.sandbox,
    )
    browse.fetch_ebay(args.output_dir, search, args.limit, _download_options(args))


def _add_deepfashion(command: Callable) -> None:
    sub = command(
        create_from_deepfashion,
        "Make a dataset of a DeepFashion benchmark, DeepFashion2 or DeepFashion-MultiModal.",
        "datasets/dresses DeepFashion/In-shop --category=Dresses --labels=view --resolution=256",
    )
    add_source(sub, "root", "the unpacked benchmark, or a folder one or two levels above it")
    add = sub.add_argument
    benchmarks = "auto category inshop consumer2shop landmark deepfashion2 multimodal".split()
    add(
        "--benchmark",
        choices=benchmarks,
        default="auto",
        help="what ROOT holds (default: auto, which looks at the files)",
    )
    add(
        "--labels",
        metavar="KIND",
        help="category (default; of landmark: type), type, gender, group, gender/category (as "
        "MEN/Denim), group/category, color, view, source, style, attribute:NAME, item or none; an "
        "error lists those of a benchmark",
    )
    add(
        "--partition",
        choices=("train", "val", "test", "query", "gallery", "all"),
        default="all",
        help="part of the benchmark (default: all)",
    )
    add(
        "--crop",
        choices=("bbox", "none"),
        default="none",
        help="bbox: cut out the boxes of the benchmark, each item of DeepFashion2 as a picture of "
        "its own; none: whole pictures, those of DeepFashion2 by their largest item "
        "(default: none)",
    )
    add(
        "--margin",
        type=cli.number(0, 10),
        default=0.1,
        metavar="M",
        help="added to boxes on each side, as a fraction of their size (default: 0.1)",
    )
    add(
        "--category",
        type=_names,
        default=(),
        metavar="NAMES",
        help="only these, as in Dress,Tee or WOMEN/Denim (default: all)",
    )
    add(
        "--view",
        type=_names,
        default=(),
        metavar="NAMES",
        help="only these, as in front,back; shop or consumer of consumer2shop (default: all)",
    )
    add(
        "--anno",
        choices=("auto", "coarse", "fine"),
        default="auto",
        help="annotations of the category benchmark: auto takes the coarse ones, which are of all "
        "pictures, if they are there (default: auto)",
    )
    add(
        "--highres",
        action="store_true",
        help="take the pictures of img_highres, not of img",
    )
    add_output_options(sub)


def _add_ebay(command: Callable) -> None:
    sub = command(
        create_from_ebay,
        "Make a dataset of Stanford Online Products, or of a table of listings with pictures.",
        "datasets/lamps lamps/listings.csv --image-column=photo --resolution=256",
    )
    add_source(
        sub,
        "root",
        "folder with Ebay_*.txt; or a table of listings (CSV, TSV, JSON, pages of eBay's Browse "
        "API, Parquet) or a folder with one, whose pictures are local files or URLs",
    )
    add = sub.add_argument
    add(
        "--labels",
        metavar="KIND",
        help="super-class, class or none of Stanford Online Products (default: super-class; class "
        "has 22634 classes, which makes a large file); category, category:multi for pictures in "
        "several, or none of a table (default: category)",
    )
    add(
        "--partition",
        choices=("train", "test", "all"),
        help="part of Stanford Online Products (default: all)",
    )
    add(
        "--image-column",
        metavar="NAME",
        help="column of URLs, or of paths relative to the table's folder; several in a cell are "
        "separated by | ; or , or are a JSON list (default: by usual names, like image)",
    )
    add("--category-column", metavar="NAME", help="(default: by usual names, like category)")
    add(
        "--image-path",
        metavar="PATH",
        help="path of a picture with {} for what the image column holds, like images/{}.jpg",
    )
    add_table_options(sub)
    add(
        "--download-dir",
        type=cli.path,
        metavar="DIR",
        help="folder for pictures from the web; those already there are not downloaded again "
        "(default: images, beside the table)",
    )
    add(
        "--allow-private-addresses",
        action="store_true",
        help="also download from private and local addresses; a proxy that the environment sets "
        "decides by itself where it connects",
    )
    _add_download_options(sub)
    add_output_options(sub)
    sub.set_defaults(min_size=2)
    sub = command(
        fetch_ebay,
        "Fetch the pictures of listings that eBay's Browse API finds, for create_from_ebay. Needs "
        "EBAY_CLIENT_ID and EBAY_CLIENT_SECRET in the environment, and the right to use the "
        "pictures. The same command again continues where it ended.",
        'lamps --query="desk lamp" --limit=2000',
    )
    sub.add_argument("output_dir", type=cli.path, metavar="OUT_FOLDER", help="folder to fill")
    add = sub.add_argument
    add("--query", metavar="WORDS", help="words to look for")
    add("--category", metavar="N", help="number of an eBay category")
    add(
        "--limit",
        type=cli.integer(1, 10_000),
        default=1000,
        metavar="N",
        help="listings to fetch, at most 10000 of a query (default: 1000)",
    )
    add("--marketplace", default="EBAY_US", metavar="ID", help="(default: EBAY_US)")
    add("--condition", choices=("new", "used"), help="only new or used things (default: all)")
    add(
        "--filter",
        metavar="FILTER",
        help="further filters of the Browse API, like price:[10..50],priceCurrency:USD",
    )
    add(
        "--additional-images",
        action="store_true",
        help="all pictures of a listing, not only its first",
    )
    add("--sandbox", action="store_true", help="search eBay's sandbox, with its own credentials")
    _add_download_options(sub)


def _add_download_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--jobs",
        type=cli.integer(1, 64),
        default=8,
        metavar="N",
        help="downloads at the same time (default: 8)",
    )
    sub.add_argument(
        "--rate",
        type=cli.number(0.01, 1000),
        default=8.0,
        metavar="N",
        help="requests a second to one host (default: 8)",
    )


def _download_options(args: argparse.Namespace, allow_private: bool = False):
    from dnnlib.bulk_downloads import DownloadOptions

    return DownloadOptions(args.jobs, args.rate, allow_private=allow_private)


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"expected names like Dress,Tee, got {text!r}")
    return names
