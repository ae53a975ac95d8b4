"""Options that commands share, and the commands that make datasets, which all have some."""

from __future__ import annotations

from collections.abc import Callable

from dnnlib import cli
from training.datasets.commands.command import (
    Argument,
    Command,
    Group,
    Importer,
    option,
    path,
    switch,
)

DATASET = path("tfrecord_dir", "the dataset")
NEW_DATASET = path("tfrecord_dir", "dataset folder to make")

TABLES = (  # of commands that read tables of pictures
    option(
        "--table-encoding",
        "of the table's text, like cp1252, mac_roman, shift_jis, gb18030 (default: detected)",
        metavar="NAME",
    ),
    switch(
        "--allow-missing",
        "continue even if most of the pictures that the table names are missing",
    ),
)

RECORDS = Group(
    "what is written",
    (
        option(
            "--max-images",
            "use only N of the pictures (default: all)",
            cli.integer(1),
            "N",
            also="--max_images",
        ),
        option(
            "--encoding",
            "how records store pixels: raw, which the official tools read, or compressed "
            "(default: raw)",
            choices=("raw", "png", "jpeg", "webp"),
            default="raw",
        ),
        option(
            "--quality",
            "of jpeg and webp, 1 to 100 (default: 95)",
            cli.integer(1, 100),
            "Q",
            default=95,
        ),
        option(
            "--levels",
            "finest: leave out the coarser levels, which are computed when they are needed "
            "(default: all for raw records, like the official tool; finest for compressed ones)",
            choices=("all", "finest"),
        ),
        option("--shards", "files for each level (1)", cli.integer(1), "N", default=1),
        option(
            "--only-shards",
            "write only the shards A to B of --shards: one part of several that are joined with "
            "the command merge",
            cli.int_range,
            "A-B",
        ),
        option("--workers", "threads (default: one for each core)", cli.integer(1), "N"),
        option(
            "--runner",
            "local: on this machine; dask: by the workers of --scheduler, which needs "
            'pip install -e ".[dask]"; others: as an Apache Beam pipeline, which needs '
            'pip install -e ".[beam]". Each worker writes some of the --shards (default: local)',
            choices=("local", "dask", "direct", "flink", "spark", "dataflow"),
            default="local",
        ),
        option(
            "--scheduler",
            "of --runner=dask: where dask scheduler runs, in a private network, like node7:8786",
            metavar="HOST:PORT",
        ),
        option(
            "--beam-option",
            "option of the Beam pipeline, may be repeated: --beam-option=--parallelism=8",
            metavar="--NAME=VALUE",
            action="append",
            default=[],
        ),
    ),
)


def _transform(text: str) -> str:
    from training.datasets.photos.fitting import parse_transform

    return parse_transform(text)


def makes_dataset(
    example: str, *arguments: Argument | Group, **defaults
) -> Callable[[Callable[..., Importer]], Command]:
    """Makes a function that returns an importer a command which makes a dataset.

    Args:
        example: See `Command`.
        arguments: What the command does not have in common with the others.
        defaults: See `Command`.
    """
    arguments = (NEW_DATASET, *arguments, RECORDS)
    return lambda function: Command(function, example, arguments, True, defaults)


def shuffle(default: bool = True) -> Argument:
    """Whether the order of the source is given up."""
    text = (
        "store in a random order, always the same one; 0: in the order of the source "
        f"(default: {default:d})"
    )
    return option("--shuffle", text, cli.boolean, "BOOL", default=default)


def fitting(shuffled: bool = True, size: str = "the size that they all have") -> Group:
    """Options of commands that convert pictures of any size, by default to `size`."""
    return Group(
        "how pictures are fitted",
        (
            shuffle(shuffled),
            option(
                "--resolution",
                f"fit all pictures to NxN, a power of two (default: {size})",
                cli.integer(),
                "N",
            ),
            option(
                "--width",
                "with --height: fit all pictures to WxH, a small grid times a power of two, like "
                "384x512 or 256x384",
                cli.integer(1),
                "W",
            ),
            option("--height", "see --width", cli.integer(1), "H"),
            option(
                "--transform",
                "how pictures get the proportions of the dataset: center-crop, stretch, or with "
                "margins: pad-white, pad-color=#rrggbb or a name like linen, pad-edge, the median "
                "color along the picture's sides (default: center-crop)",
                cli.checked(_transform),
                "HOW",
                default="center-crop",
            ),
            option(
                "--min-size",
                "leave out pictures whose shorter side has fewer pixels (default: 1; for tables of "
                "listings 2, since shops have single pixels in place of pictures)",
                cli.integer(1),
                "N",
                default=1,
            ),
            switch("--strict", "stop at a picture that cannot be read"),
            option(
                "--dedupe",
                "leave out copies of earlier pictures. exact: with the same pixels; near: also "
                "resized, compressed again or mirrored ones (default: all are kept; without a "
                "value: exact)",
                choices=("exact", "near"),
                nargs="?",
                const="exact",
            ),
        ),
    )
