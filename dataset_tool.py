#!/usr/bin/env python3
"""Makes datasets of TFRecords from pictures, and looks into them."""

from __future__ import annotations

import argparse

from dnnlib import cli
from training.datasets.commands import inspection, official, pictures, shops


def parse_arguments() -> argparse.Namespace:
    """Parses the command line; `run` of the result does what the command says."""
    parser = cli.ArgumentParser(
        prog="dataset_tool.py",
        description=__doc__,
        epilog="example: dataset_tool.py create_from_images datasets/shirts photos/shirts "
        "--resolution=256\n\nOptions of a command: dataset_tool.py COMMAND --help",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (pictures, shops, official, inspection):
        for command in group.COMMANDS:
            command.add_to(commands, parser.prog)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    args.run(args)


if __name__ == "__main__":
    cli.run(main)
