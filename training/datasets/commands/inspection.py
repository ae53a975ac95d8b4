"""Commands that look into datasets, and make others of them.

Importers are imported where they run, so that errors and --help come at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from dnnlib import UserError, cli, output
from training.datasets.commands.options import (
    add_dataset,
    add_folder_option,
    add_record_options,
    output_of,
)


def add_commands(command: Callable) -> None:
    """Adds these commands to the parser; see `dataset_tool.parse_arguments`."""
    _add_pack(command)
    _add_inspection(command)


def pack(args: argparse.Namespace) -> None:
    from training.datasets.sources import pack

    if args.runner != "local":
        raise UserError(f"--runner={args.runner}: pack works only on this machine, with local")
    counts = {"num_train": args.num_train, "num_validation": args.num_validation}
    pack.pack(output_of(args), args.unpacked_dir, **counts, mirror=args.mirror, seed=args.seed)


def unpack(args: argparse.Namespace) -> None:
    extract(args)


def merge(args: argparse.Namespace) -> None:
    from training.datasets.building import merge

    merge.merge(args.tfrecord_dir, args.parts)


def display(args: argparse.Namespace) -> None:
    from training.datasets.building import inspect

    inspect.display(args.tfrecord_dir, args.output)


def extract(args: argparse.Namespace) -> None:
    from training.datasets.building import inspect

    inspect.extract(args.tfrecord_dir, args.output_dir)


def compare(args: argparse.Namespace) -> None:
    from training.datasets.building import inspect

    output.printing_is_the_work()
    if not inspect.compare(args.tfrecord_dir_a, args.tfrecord_dir_b, args.ignore_labels):
        raise SystemExit(1)


def info(args: argparse.Namespace) -> None:
    from training.datasets.building import inspect

    output.printing_is_the_work()
    inspect.info(args.tfrecord_dir)


def _add_pack(command: Callable) -> None:
    sub = command(
        unpack,
        "Write all images as PNG files, from which pack makes datasets.",
        "--tfrecord_dir=datasets/faces --output_dir=faces-unpacked",
    )
    add_folder_option(sub, "tfrecord_dir", "the dataset")
    add_folder_option(sub, "output_dir", "folder to make for the files")
    sub = command(
        pack,
        "Make a dataset of random images of an unpacked one.",
        "--unpacked_dir=faces-unpacked --tfrecord_dir=datasets/faces5k --num_train=5000 --mirror=1",
    )
    add_folder_option(sub, "unpacked_dir", "folder that unpack has made")
    add_folder_option(sub, "tfrecord_dir", "dataset folder to make")
    sub.add_argument(
        "--num_train",
        "--num-train",
        type=cli.integer(1),
        metavar="N",
        help="images for training (default: all that are not for validation)",
    )
    sub.add_argument(
        "--num_validation",
        "--num-validation",
        type=cli.integer(0),
        default=0,
        metavar="N",
        help="other images, for a second dataset TFRECORD_DIR-validation (default: 0)",
    )
    sub.add_argument(
        "--mirror",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="add each image for training a second time, mirrored (default: 0)",
    )
    sub.add_argument(
        "--seed",
        type=cli.integer(0, 2**32 - 1),
        default=123,
        metavar="N",
        help="which images (default: 123)",
    )
    add_record_options(sub)


def _add_inspection(command: Callable) -> None:
    sub = command(
        merge,
        "Join the parts of a dataset that were written with --only-shards.",
        "datasets/shirts part1/shirts part2/shirts",
    )
    add_dataset(sub)
    sub.add_argument("parts", nargs="+", type=cli.path, metavar="PART", help="folder of a part")
    sub = command(display, "Show the first images, or write them to a PNG file.", "datasets/shirts")
    add_dataset(sub, "the dataset")
    sub.add_argument(
        "--output",
        type=cli.path,
        metavar="FILE.png",
        help="write them to this file (default: show them, or say where the dataset has them)",
    )
    sub = command(extract, "Write all images as PNG files.", "datasets/shirts shirts-png")
    add_dataset(sub, "the dataset")
    sub.add_argument(
        "output_dir", type=cli.path, metavar="OUTPUT_DIR", help="folder to make for the files"
    )
    sub = command(
        compare,
        "Compare two datasets; exits with 0 if they are identical, with 1 if not.",
        "datasets/shirts backup/shirts",
    )
    sub.add_argument(
        "tfrecord_dir_a", type=cli.path, metavar="TFRECORD_DIR_A", help="the first dataset"
    )
    sub.add_argument(
        "tfrecord_dir_b", type=cli.path, metavar="TFRECORD_DIR_B", help="the second dataset"
    )
    sub.add_argument(
        "--ignore_labels",
        "--ignore-labels",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="compare only the images (default: 0)",
    )
    sub = command(info, "Print what a dataset holds, and check all of it.", "datasets/shirts")
    add_dataset(sub, "the dataset")
