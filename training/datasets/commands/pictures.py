"""Commands for pictures of the users' own, and for drawn ones."""

from __future__ import annotations

from functools import partial

from dnnlib import cli
from training.datasets.commands.command import Importer, option, path
from training.datasets.commands.options import TABLES, fitting, makes_dataset

_CHANNELS = option(
    "--channels",
    "rgb: transparent parts become white; rgba: opacity is a fourth channel, which networks learn "
    "too (default: rgb)",
    choices=("rgb", "rgba"),
)


@makes_dataset(
    "datasets/shirts photos/shirts --resolution=256 --transform=pad-white",
    path("image_dir", "folder or archive of pictures"),
    option(
        "--labels",
        "none; folders: the names of the folders in IMAGE_DIR; or a JSON file like that of "
        'the PyTorch repositories, {"labels": [["a.png", 3], ...]}, or a table (CSV, TSV, JSON, '
        "Parquet) with columns like file and label; FILE:multi for pictures in several classes, "
        "FILE:single if each text is one class whatever is in it (default: IMAGE_DIR's "
        "dataset.json or metadata.jsonl, .csv, .parquet if there is one, else none)",
        metavar="WHAT",
        default="auto",
    ),
    option("--file-column", "column of files of a table (default: a known one)", metavar="NAME"),
    option("--label-column", "column of labels (default: a known one)", metavar="NAME"),
    *TABLES,
    _CHANNELS,
    option(
        "--alpha",
        "with --channels=rgba, where opacity comes from: file, or from-white: the white around a "
        "product becomes transparent (default: file)",
        choices=("file", "from-white"),
    ),
    fitting(),
)
def create_from_images(image_dir: str, labels: str, table_encoding: str, **given) -> Importer:
    """Make a dataset from the pictures of a folder and the folders in it, or of a zip or tar."""
    from training.datasets.sources import images
    from training.datasets.sources.labels import LabelOptions

    options = LabelOptions(encoding=table_encoding, **given)
    return partial(images.create_from_images, image_dir=image_dir, labels=labels, options=options)


@makes_dataset(
    "datasets/demo --images=3000 --resolution=32",
    option("--images", "(3000)", cli.integer(1), "N", dest="num_images", default=3000),
    option("--resolution", "a power of two (32)", cli.integer(), "N", default=32),
    option("--seed", "which dataset to draw (0)", cli.integer(0), "N", default=0),
    _CHANNELS,
    shuffle=False,
)
def create_demo(**given) -> Importer:
    """Make a dataset of drawn product pictures with category labels."""
    from training.datasets.sources import demo_dataset

    return partial(demo_dataset.create_demo, **given)


COMMANDS = (create_from_images, create_demo)
