#!/usr/bin/env python3
"""Makes datasets of TFRecords from pictures, and looks into them."""

from __future__ import annotations

import argparse

from dnnlib import cli


def create_from_images(args: argparse.Namespace) -> None:
    from training.datasets import images

    images.create_from_images(
        args.tfrecord_dir,
        args.image_dir,
        args.shuffle,
        args.resolution,
        args.transform,
        args.strict,
    )


def create_demo(args: argparse.Namespace) -> None:
    from training.datasets import images

    images.create_demo(args.tfrecord_dir, args.images, args.resolution, args.seed)


def display(args: argparse.Namespace) -> None:
    from training.datasets import inspect

    inspect.display(args.tfrecord_dir)


def extract(args: argparse.Namespace) -> None:
    from training.datasets import inspect

    inspect.extract(args.tfrecord_dir, args.output_dir)


def compare(args: argparse.Namespace) -> None:
    from training.datasets import inspect

    if not inspect.compare(args.tfrecord_dir_a, args.tfrecord_dir_b, args.ignore_labels):
        raise SystemExit(1)


def info(args: argparse.Namespace) -> None:
    from training.datasets import inspect

    inspect.info(args.tfrecord_dir)


def parse_arguments() -> argparse.Namespace:
    """Parses the command line; `run` of the result is the function of the command."""
    parser = cli.ArgumentParser(
        prog="dataset_tool.py",
        description=__doc__,
        epilog="example: dataset_tool.py create_from_images datasets/shirts photos/shirts "
        "--resolution=256\n\nOptions of a command: dataset_tool.py COMMAND --help",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(function, text: str, example: str) -> argparse.ArgumentParser:
        epilog = f"example: dataset_tool.py {function.__name__} {example}"
        sub = commands.add_parser(function.__name__, help=text, description=text, epilog=epilog)
        sub.set_defaults(run=function)
        return sub

    _add_creators(command)
    sub = command(display, "Show the first images, or write them to a PNG file.", "datasets/shirts")
    sub.add_argument("tfrecord_dir", type=cli.path, metavar="TFRECORD_DIR", help="the dataset")
    sub = command(extract, "Write all images as PNG files.", "datasets/shirts shirts-png")
    sub.add_argument("tfrecord_dir", type=cli.path, metavar="TFRECORD_DIR", help="the dataset")
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
    sub.add_argument("tfrecord_dir", type=cli.path, metavar="TFRECORD_DIR", help="the dataset")
    return parser.parse_args()


def _add_creators(command) -> None:
    sub = command(
        create_from_images,
        "Make a dataset from a folder of pictures and the folders in it.",
        "datasets/shirts photos/shirts --resolution=256 --transform=pad-white",
    )
    sub.add_argument(
        "tfrecord_dir", type=cli.path, metavar="TFRECORD_DIR", help="dataset folder to make"
    )
    sub.add_argument(
        "image_dir", type=cli.path, metavar="IMAGE_DIR", help="folder of pictures of any kind"
    )
    sub.add_argument(
        "--shuffle",
        type=cli.boolean,
        default=True,
        metavar="BOOL",
        help="store in a random order, always the same one; 0: sorted by path (default: 1)",
    )
    sub.add_argument(
        "--resolution",
        type=cli.integer(),
        metavar="N",
        help="fit all pictures to NxN, a power of two (default: the size that they all have)",
    )
    sub.add_argument(
        "--transform",
        choices=("center-crop", "pad-white", "stretch"),
        default="center-crop",
        help="how pictures become square (default: center-crop)",
    )
    sub.add_argument("--strict", action="store_true", help="stop at a picture that is unreadable")
    sub = command(
        create_demo,
        "Make a dataset of drawn product pictures with category labels.",
        "datasets/demo --images=3000 --resolution=32",
    )
    sub.add_argument(
        "tfrecord_dir", type=cli.path, metavar="TFRECORD_DIR", help="dataset folder to make"
    )
    sub.add_argument("--images", type=cli.integer(1), default=3000, metavar="N", help="(3000)")
    sub.add_argument(
        "--resolution", type=cli.integer(), default=32, metavar="N", help="a power of two (32)"
    )
    sub.add_argument(
        "--seed", type=cli.integer(0), default=0, metavar="N", help="which dataset to draw (0)"
    )


def main() -> None:
    args = parse_arguments()
    args.run(args)


if __name__ == "__main__":
    cli.run(main)
