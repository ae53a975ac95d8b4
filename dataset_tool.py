#!/usr/bin/env python3
"""Makes datasets of TFRecords from pictures, and looks into them."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from dnnlib import cli
from training.datasets.commands import inspection, official, pictures, shops
from training.datasets.commands.command import command, option, path


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
        for each in group.COMMANDS:
            each.add_to(commands, parser.prog)
    rank.add_to(commands, parser.prog)
    return parser.parse_args()


# Here and not with the others, since discriminators are not known where datasets are made.
@command(
    "photos/shirts --by=blur --out=worst-shirts",
    path("source", "folder or archive of pictures, or a dataset"),
    option(
        "--by",
        "what makes a picture bad: blur, a small size, a border that is not white, or a low score "
        "(default: blur)",
        choices=("blur", "size", "border", "score"),
        default="blur",
    ),
    option("--worst", "how many are printed (default: 20)", cli.integer(1), "N", default=20),
    option(
        "--network",
        "snapshot (path, URL or name) whose discriminator scores the pictures",
        metavar="SNAPSHOT",
    ),
    option(
        "--out",
        "folder to make, for rank.csv of all pictures and worst.png, a contact sheet of the worst",
        cli.path,
        "DIR",
    ),
)
def rank(source: str, network: str | None, **given) -> None:
    """Find the worst pictures of a folder or a dataset: blurry, small, not on white, or those that
    a discriminator finds least real.
    """
    from training.datasets.building import rank as ranking
    from training.datasets.sources.images import images_source

    if ranking.is_dataset(source):
        pictures, labels = ranking.open_dataset(source)
    else:
        pictures, labels = images_source(source, "none"), None
    opened = nullcontext()
    if network is not None:
        from training.latents.attributes.realness import open_judge

        opened = open_judge(network)
    with opened as judge:
        ranking.rank(pictures, labels, judge=judge, **given)


def create_mnist(tfrecord_dir: str, mnist_dir: str) -> None:
    """Makes a dataset of MNIST's digits; `dataset_tool.py COMMAND --help` says more of each."""
    official.create_mnist(tfrecord_dir=tfrecord_dir, mnist_dir=mnist_dir)


def create_mnistrgb(
    tfrecord_dir: str, mnist_dir: str, num_images: int = 1_000_000, random_seed: int = 123
) -> None:
    """Makes a dataset of pictures whose colors are three random digits of MNIST."""
    given = {"num_images": num_images, "random_seed": random_seed}
    official.create_mnistrgb(tfrecord_dir=tfrecord_dir, mnist_dir=mnist_dir, **given)


def create_cifar10(tfrecord_dir: str, cifar10_dir: str, ignore_labels: bool = False) -> None:
    """Makes a dataset of CIFAR-10's pictures for training."""
    given = {"cifar10_dir": cifar10_dir, "ignore_labels": bool(ignore_labels)}
    official.create_cifar10(tfrecord_dir=tfrecord_dir, **given)


def create_cifar100(tfrecord_dir: str, cifar100_dir: str) -> None:
    """Makes a dataset of CIFAR-100's pictures for training."""
    official.create_cifar100(tfrecord_dir=tfrecord_dir, cifar100_dir=cifar100_dir)


def create_svhn(tfrecord_dir: str, svhn_dir: str) -> None:
    """Makes a dataset of SVHN's cropped digits for training."""
    official.create_svhn(tfrecord_dir=tfrecord_dir, svhn_dir=svhn_dir)


def create_lsun(
    tfrecord_dir: str, lmdb_dir: str, resolution: int = 256, max_images: int | None = None
) -> None:
    """Makes a dataset of a category of LSUN."""
    given = {"resolution": resolution, "max_images": max_images}
    official.create_lsun(tfrecord_dir=tfrecord_dir, lmdb_dir=lmdb_dir, **given)


def create_lsun_wide(
    tfrecord_dir: str,
    lmdb_dir: str,
    width: int = 512,
    height: int = 384,
    max_images: int | None = None,
) -> None:
    """Makes a dataset of wide pictures of LSUN, with black above and below."""
    given = {"picture_width": width, "picture_height": height, "max_images": max_images}
    official.create_lsun_wide(tfrecord_dir=tfrecord_dir, lmdb_dir=lmdb_dir, **given)


def create_celeba(tfrecord_dir: str, celeba_dir: str, cx: int = 89, cy: int = 121) -> None:
    """Makes a dataset of the middle of CelebA's aligned faces."""
    official.create_celeba(tfrecord_dir=tfrecord_dir, celeba_dir=celeba_dir, cx=cx, cy=cy)


def create_from_images(tfrecord_dir: str, image_dir: str, shuffle: bool = True) -> None:
    """Makes a dataset of the pictures of a folder."""
    given = {"image_dir": image_dir, "shuffle": bool(shuffle)}
    pictures.create_from_images(tfrecord_dir=tfrecord_dir, **given)


def create_from_hdf5(tfrecord_dir: str, hdf5_filename: str, shuffle: bool = True) -> None:
    """Makes a dataset of an HDF5 file."""
    given = {"hdf5_filename": hdf5_filename, "shuffle": bool(shuffle)}
    official.create_from_hdf5(tfrecord_dir=tfrecord_dir, **given)


def convert_to_hdf5(hdf5_filename: str, tfrecord_dir: str, compress: bool = False) -> None:
    """Writes a dataset to an HDF5 file."""
    given = {"tfrecord_dir": tfrecord_dir, "compress": bool(compress)}
    official.convert_to_hdf5(hdf5_filename=hdf5_filename, **given)


def hdf5_from_images(hdf5_filename: str, image_dir: str, compress: bool = False) -> None:
    """Writes the pictures of a folder to an HDF5 file."""
    given = {"image_dir": image_dir, "compress": bool(compress)}
    official.hdf5_from_images(hdf5_filename=hdf5_filename, **given)


def extract_brecahad_crops(brecahad_dir: str, output_dir: str, cropsize: int = 256) -> None:
    """Writes crops of BreCaHAD's micrographs as PNG files."""
    given = {"output_dir": output_dir, "cropsize": cropsize}
    official.extract_brecahad_crops(brecahad_dir=brecahad_dir, **given)


def unpack(tfrecord_dir: str, output_dir: str, resolution: int | None = None) -> None:
    """Writes all images of a dataset, of one level, as PNG files."""
    inspection.unpack(tfrecord_dir=tfrecord_dir, output_dir=output_dir, resolution=resolution)


def pack(
    unpacked_dir: str,
    tfrecord_dir: str,
    num_train: int | None = None,
    num_validation: int | None = None,
    mirror: bool = False,
    seed: int | None = None,
) -> None:
    """Makes a dataset of random images of an unpacked one."""
    given = {"num_train": num_train, "num_validation": num_validation or 0, "mirror": bool(mirror)}
    if seed is not None:
        given["seed"] = seed
    inspection.pack(unpacked_dir=unpacked_dir, tfrecord_dir=tfrecord_dir, **given)


def display(tfrecord_dir: str) -> None:
    """Shows the first images of a dataset."""
    inspection.display(tfrecord_dir=tfrecord_dir)


def extract(tfrecord_dir: str, output_dir: str) -> None:
    """Writes all images of a dataset as PNG files."""
    inspection.extract(tfrecord_dir=tfrecord_dir, output_dir=output_dir)


def info(tfrecord_dir: str) -> None:
    """Prints what a dataset holds, and checks all of it."""
    from training.datasets.building import inspect

    inspect.info(tfrecord_dir)


def compare(tfrecord_dir_a: str, tfrecord_dir_b: str, ignore_labels: bool = False) -> bool:
    """Compares two datasets; returns whether they are identical."""
    from training.datasets.building import inspect

    return inspect.compare(tfrecord_dir_a, tfrecord_dir_b, ignore_labels)


def main() -> None:
    args = parse_arguments()
    args.run(args)


if __name__ == "__main__":
    cli.run(main)
