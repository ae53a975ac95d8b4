"""Options that commands share, and how they become an `Output`."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable

from dnnlib import cli


def create(args: argparse.Namespace, importer: Callable, **kwargs) -> None:
    """Calls an importer with the output that the arguments describe, here or on Beam's workers."""
    output = output_of(args)
    if args.runner == "local":
        importer(output, **kwargs)
        return
    from training.datasets.building import beam

    beam.run(functools.partial(importer, **kwargs), output, args.runner, args.beam_option)


def output_of(args: argparse.Namespace):
    """The `Output` that the options describe, with defaults where a command has no option."""
    from training.datasets.building.output import Output

    names = {field.name for field in dataclasses.fields(Output)}
    return Output(**{name: value for name, value in vars(args).items() if name in names})


def add_dataset(sub: argparse.ArgumentParser, text: str = "dataset folder to make") -> None:
    sub.add_argument("tfrecord_dir", type=cli.path, metavar="TFRECORD_DIR", help=text)


def add_source(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    add_dataset(sub)
    sub.add_argument(name, type=cli.path, metavar=name.upper(), help=text)


def add_folder_option(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    sub.add_argument(
        f"--{name}",
        f"--{name.replace('_', '-')}",
        type=cli.path,
        required=True,
        metavar="DIR",
        help=text,
    )


def add_output_options(
    sub: argparse.ArgumentParser, shuffle: bool = True, size: str = "the size that they all have"
) -> None:
    """Options of commands that convert pictures of any size, by default to `size`."""
    group = sub.add_argument_group("how pictures are fitted")
    add = group.add_argument
    add_shuffle(group, shuffle)
    add(
        "--resolution",
        type=cli.integer(),
        metavar="N",
        help=f"fit all pictures to NxN, a power of two (default: {size})",
    )
    add(
        "--width",
        type=cli.integer(1),
        metavar="W",
        help="with --height: fit all pictures to WxH, a small grid times a power of two, like "
        "384x512 or 256x384",
    )
    add(
        "--height",
        type=cli.integer(1),
        metavar="H",
        help="see --width",
    )
    add(
        "--transform",
        choices=("center-crop", "pad-white", "stretch"),
        default="center-crop",
        help="how pictures get the proportions of the dataset (default: center-crop)",
    )
    add(
        "--min-size",
        type=cli.integer(1),
        default=1,
        metavar="N",
        help="leave out pictures whose shorter side has fewer pixels (default: 1; for tables of "
        "listings 2, since shops have single pixels in place of pictures)",
    )
    add("--strict", action="store_true", help="stop at a picture that cannot be read")
    add("--dedupe", action="store_true", help="leave out pictures that are identical bit for bit")
    add_record_options(sub)


def add_table_options(sub: argparse.ArgumentParser) -> None:
    """Options of commands that read tables of pictures."""
    sub.add_argument(
        "--table-encoding",
        metavar="NAME",
        help="of the table's text, like cp1252, mac_roman, shift_jis, gb18030 (default: detected)",
    )
    sub.add_argument(
        "--allow-missing",
        action="store_true",
        help="continue even if most of the pictures that the table names are missing",
    )


def add_shuffle(group, default: bool = True) -> None:
    group.add_argument(
        "--shuffle",
        type=cli.boolean,
        default=default,
        metavar="BOOL",
        help="store in a random order, always the same one; 0: in the order of the source "
        f"(default: {default:d})",
    )


def add_record_options(sub: argparse.ArgumentParser) -> None:
    """Options of all commands that make a dataset."""
    add = sub.add_argument_group("what is written").add_argument
    add(
        "--max-images",
        "--max_images",
        type=cli.integer(1),
        metavar="N",
        help="use only N of the pictures (default: all)",
    )
    add(
        "--encoding",
        choices=("raw", "png", "jpeg", "webp"),
        default="raw",
        help="how records store pixels: raw, which the official tools read, or compressed "
        "(default: raw)",
    )
    add(
        "--quality",
        type=cli.integer(1, 100),
        default=95,
        metavar="Q",
        help="of jpeg and webp, 1 to 100 (default: 95)",
    )
    add(
        "--levels",
        choices=("all", "finest"),
        help="finest: leave out the coarser levels, which are computed when they are needed "
        "(default: all for raw records, like the official tool; finest for compressed ones)",
    )
    add("--shards", type=cli.integer(1), default=1, metavar="N", help="files for each level (1)")
    add(
        "--only-shards",
        type=cli.int_range,
        metavar="A-B",
        help="write only the shards A to B of --shards: one part of several that are joined with "
        "the command merge",
    )
    add("--workers", type=cli.integer(1), metavar="N", help="threads (default: one for each core)")
    add(
        "--runner",
        choices=("local", "direct", "flink", "spark", "dataflow"),
        default="local",
        help="local: on this machine; others: as an Apache Beam pipeline over the shards, which "
        'needs pip install -e ".[beam]" (default: local)',
    )
    add(
        "--beam-option",
        action="append",
        default=[],
        metavar="--NAME=VALUE",
        help="option of the Beam pipeline, may be repeated: --beam-option=--parallelism=8",
    )
