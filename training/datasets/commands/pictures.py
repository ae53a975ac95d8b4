"""Commands for pictures of the users' own, and for drawn ones.

Importers are imported where they run, so that errors and --help come at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from dnnlib import cli
from training.datasets.commands.options import (
    add_dataset,
    add_output_options,
    add_record_options,
    add_table_options,
    create,
)


def add_commands(command: Callable) -> None:
    """Adds these commands to the parser; see `dataset_tool.parse_arguments`."""
    _add_images(command)
    _add_demo(command)


def create_from_images(args: argparse.Namespace) -> None:
    from training.datasets.sources import images
    from training.datasets.sources.labels import LabelOptions

    options = LabelOptions(
        args.file_column,
        args.label_column,
        args.table_encoding,
        allow_missing=args.allow_missing,
    )
    importer = images.create_from_images
    create(args, importer, image_dir=args.image_dir, labels=args.labels, options=options)


def create_demo(args: argparse.Namespace) -> None:
    from training.datasets.sources import demo_dataset

    create(args, demo_dataset.create_demo, num_images=args.images, seed=args.seed)


def _add_images(command: Callable) -> None:
    sub = command(
        create_from_images,
        "Make a dataset from the pictures of a folder and the folders in it, or of a zip or tar.",
        "datasets/shirts photos/shirts --resolution=256 --transform=pad-white",
    )
    add_dataset(sub)
    sub.add_argument(
        "image_dir", type=cli.path, metavar="IMAGE_DIR", help="folder or archive of pictures"
    )
    sub.add_argument(
        "--labels",
        default="auto",
        metavar="WHAT",
        help="none; folders: the names of the folders in IMAGE_DIR; or a JSON file like that of "
        'the PyTorch repositories, {"labels": [["a.png", 3], ...]}, or a table (CSV, TSV, JSON, '
        "Parquet) with columns like file and label; FILE:multi for pictures in several classes, "
        "FILE:single if each text is one class whatever is in it (default: IMAGE_DIR's "
        "dataset.json or metadata.jsonl, .csv, .parquet if there is one, else none)",
    )
    add = sub.add_argument
    add(
        "--file-column",
        metavar="NAME",
        help="column of files of a table (default: a known one)",
    )
    add("--label-column", metavar="NAME", help="column of labels (default: a known one)")
    add_table_options(sub)
    add_output_options(sub)


def _add_demo(command: Callable) -> None:
    sub = command(
        create_demo,
        "Make a dataset of drawn product pictures with category labels.",
        "datasets/demo --images=3000 --resolution=32",
    )
    add_dataset(sub)
    sub.add_argument("--images", type=cli.integer(1), default=3000, metavar="N", help="(3000)")
    sub.add_argument(
        "--resolution", type=cli.integer(), default=32, metavar="N", help="a power of two (32)"
    )
    sub.add_argument(
        "--seed", type=cli.integer(0), default=0, metavar="N", help="which dataset to draw (0)"
    )
    add_record_options(sub)
    sub.set_defaults(shuffle=False)
