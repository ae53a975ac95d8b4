"""Commands that look into datasets, and make others of them."""

from __future__ import annotations

from dnnlib import UserError, cli, output
from training.datasets.commands.command import (
    boolean,
    command,
    folder_option,
    official_seed,
    option,
    path,
    take_output,
)
from training.datasets.commands.options import DATASET, NEW_DATASET, RECORDS

_FILES = "folder to make for the files"


@command(
    "--tfrecord_dir=datasets/faces --output_dir=faces-unpacked",
    folder_option("--tfrecord_dir", "the dataset"),
    folder_option("--output_dir", _FILES),
    option("--resolution", "of a coarser level (default: the finest)", cli.integer(1), "N"),
)
def unpack(**given) -> None:
    """Write all images as PNG files, from which pack makes datasets."""
    from training.datasets.building import inspect

    inspect.extract(**given)


@command(
    "--unpacked_dir=faces-unpacked --tfrecord_dir=datasets/faces5k --num_train=5000 --mirror=1",
    folder_option("--unpacked_dir", "folder that unpack has made"),
    folder_option("--tfrecord_dir", "dataset folder to make"),
    option(
        "--num_train",
        "images for training (default: all that are not for validation)",
        cli.integer(1),
        "N",
    ),
    option(
        "--num_validation",
        "other images, for a second dataset TFRECORD_DIR-validation (default: 0)",
        cli.integer(0),
        "N",
        default=0,
    ),
    boolean("--mirror", "add each image for training a second time, mirrored (default: 0)"),
    official_seed("--seed", "which images"),
    RECORDS,
)
def pack(
    unpacked_dir: str, runner: str, beam_option: list[str], scheduler: str | None, **given
) -> None:
    """Make a dataset of random images of an unpacked one."""
    from training.datasets.sources import pack

    if runner != "local":
        raise UserError(f"--runner={runner}: pack works only on this machine, with local")
    pack.pack(take_output(given), unpacked_dir, **given)


@command(
    "datasets/shirts part1/shirts part2/shirts",
    NEW_DATASET,
    path("parts", "folder of a part", metavar="PART", nargs="+"),
)
def merge(**given) -> None:
    """Join the parts of a dataset that were written with --only-shards."""
    from training.datasets.building import merge

    merge.merge(**given)


@command(
    "datasets/shirts",
    DATASET,
    option(
        "--output",
        "write them to this file (default: show them, or say where the dataset has them)",
        cli.path,
        "FILE.png",
    ),
)
def display(**given) -> None:
    """Show the first images, or write them to a PNG file."""
    from training.datasets.building import inspect

    inspect.display(**given)


@command("datasets/shirts shirts-png", DATASET, path("output_dir", _FILES))
def extract(**given) -> None:
    """Write all images as PNG files."""
    from training.datasets.building import inspect

    inspect.extract(**given)


@command("datasets/shirts", DATASET)
def info(**given) -> None:
    """Print what a dataset holds, and check all of it."""
    from training.datasets.building import inspect

    output.printing_is_the_work()
    inspect.info(**given)


@command(
    "datasets/shirts backup/shirts",
    path("tfrecord_dir_a", "the first dataset"),
    path("tfrecord_dir_b", "the second dataset"),
    boolean("--ignore_labels", "compare only the images (default: 0)"),
)
def compare(**given) -> None:
    """Compare two datasets; exits with 0 if they are identical, with 1 if not."""
    from training.datasets.building import inspect

    output.printing_is_the_work()
    if not inspect.compare(**given):
        raise SystemExit(1)


COMMANDS = (unpack, pack, merge, display, extract, compare, info)
