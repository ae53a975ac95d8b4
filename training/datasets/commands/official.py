"""Commands for the sources of the official tools.

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
    add_shuffle,
    add_source,
    create,
)


def add_commands(command: Callable) -> None:
    """Adds these commands to the parser; see `dataset_tool.parse_arguments`."""
    _add_arrays(command)
    _add_lsun(command)
    _add_celeba(command)
    _add_hdf5(command)


def create_mnist(args: argparse.Namespace) -> None:
    from training.datasets.sources import mnist

    create(args, mnist.create_mnist, mnist_dir=args.mnist_dir)


def create_mnistrgb(args: argparse.Namespace) -> None:
    from training.datasets.sources import mnist

    choice = {"num_images": args.num_images, "random_seed": args.random_seed}
    create(args, mnist.create_mnistrgb, mnist_dir=args.mnist_dir, **choice)


def create_cifar10(args: argparse.Namespace) -> None:
    from training.datasets.sources import cifar

    folder, ignore_labels = args.cifar10_dir, args.ignore_labels
    create(args, cifar.create_cifar10, cifar10_dir=folder, ignore_labels=ignore_labels)


def create_cifar100(args: argparse.Namespace) -> None:
    from training.datasets.sources import cifar

    create(args, cifar.create_cifar100, cifar100_dir=args.cifar100_dir)


def create_svhn(args: argparse.Namespace) -> None:
    from training.datasets.sources import svhn

    create(args, svhn.create_svhn, svhn_dir=args.svhn_dir)


def create_lsun(args: argparse.Namespace) -> None:
    from training.datasets.sources import lsun

    create(args, lsun.create_lsun, lmdb_dir=args.lmdb_dir)


def create_lsun_wide(args: argparse.Namespace) -> None:
    from training.datasets.sources import lsun

    size = {"width": args.picture_width, "height": args.picture_height}
    create(args, lsun.create_lsun_wide, lmdb_dir=args.lmdb_dir, **size)


def create_celeba(args: argparse.Namespace) -> None:
    from training.datasets.sources import celeba

    create(args, celeba.create_celeba, celeba_dir=args.celeba_dir, cx=args.cx, cy=args.cy)


def create_from_hdf5(args: argparse.Namespace) -> None:
    from training.datasets.sources import hdf5

    create(args, hdf5.create_from_hdf5, hdf5_filename=args.hdf5_filename)


def convert_to_hdf5(args: argparse.Namespace) -> None:
    from training.datasets.sources import hdf5

    hdf5.convert_to_hdf5(args.hdf5_filename, args.tfrecord_dir)


def _add_arrays(command: Callable) -> None:
    """MNIST, CIFAR and SVHN."""
    mnist_dir = "folder with train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz"
    sub = command(
        create_mnist,
        "Make a dataset of MNIST's digits, 32x32 and gray, with labels.",
        "datasets/mnist downloads/mnist",
    )
    add_source(sub, "mnist_dir", mnist_dir)
    add_record_options(sub)
    sub = command(
        create_mnistrgb,
        "Make a dataset of pictures whose red, green and blue are three random digits of MNIST.",
        "datasets/mnistrgb downloads/mnist",
    )
    add_source(sub, "mnist_dir", mnist_dir)
    sub.add_argument(
        "--num_images",
        "--num-images",
        type=cli.integer(1),
        default=1_000_000,
        metavar="N",
        help="how many (default: 1000000)",
    )
    sub.add_argument(
        "--random_seed",
        "--random-seed",
        type=cli.integer(0, 2**32 - 1),
        default=123,
        metavar="N",
        help="which ones (default: 123)",
    )
    add_record_options(sub)
    sub.set_defaults(shuffle=False)
    sub = command(
        create_cifar10,
        "Make a dataset of CIFAR-10's pictures for training, 32x32, with labels.",
        "datasets/cifar10 downloads/cifar-10-batches-py",
    )
    add_source(sub, "cifar10_dir", "folder with data_batch_1 to data_batch_5")
    sub.add_argument(
        "--ignore_labels",
        "--ignore-labels",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="make it without labels (default: 0)",
    )
    add_record_options(sub)
    sub = command(
        create_cifar100,
        "Make a dataset of CIFAR-100's pictures for training, 32x32, with fine labels.",
        "datasets/cifar100 downloads/cifar-100-python",
    )
    add_source(sub, "cifar100_dir", "folder with the file train")
    add_record_options(sub)
    sub = command(
        create_svhn,
        "Make a dataset of SVHN's cropped digits for training, 32x32, with labels.",
        "datasets/svhn downloads/svhn",
    )
    add_source(sub, "svhn_dir", "folder with train_32x32.mat, or train_1.pkl, train_2.pkl, ...")
    add_record_options(sub)


def _add_lsun(command: Callable) -> None:
    lmdb_dir = "folder with the data.mdb of a category"
    sub = command(
        create_lsun,
        "Make a dataset of a category of LSUN, or of another LMDB of pictures.",
        "datasets/bedroom downloads/bedroom_train_lmdb --max_images=100000",
    )
    add_source(sub, "lmdb_dir", lmdb_dir)
    add_output_options(sub, shuffle=False, size="256x256")
    sub = command(
        create_lsun_wide,
        "Make a dataset of wide pictures of LSUN, with black above and below.",
        "datasets/car downloads/car_train_lmdb --width=512 --height=384",
    )
    add_source(sub, "lmdb_dir", lmdb_dir)
    sub.add_argument(
        "--width",
        dest="picture_width",
        type=cli.integer(),
        default=512,
        metavar="W",
        help="a power of two: pictures become WxW (default: 512)",
    )
    sub.add_argument(
        "--height",
        dest="picture_height",
        type=cli.integer(),
        default=384,
        metavar="H",
        help="of which WxH are not black (default: 384)",
    )
    add_shuffle(sub, False)
    add_record_options(sub)


def _add_celeba(command: Callable) -> None:
    sub = command(
        create_celeba,
        "Make a dataset of the middle 128x128 pixels of CelebA's aligned faces.",
        "datasets/celeba downloads/celeba",
    )
    add_source(sub, "celeba_dir", "folder with img_align_celeba_png or img_align_celeba")
    sub.add_argument(
        "--cx", type=cli.integer(), default=89, metavar="X", help="column of the middle (89)"
    )
    sub.add_argument(
        "--cy", type=cli.integer(), default=121, metavar="Y", help="row of the middle (121)"
    )
    add_record_options(sub)


def _add_hdf5(command: Callable) -> None:
    sub = command(
        create_from_hdf5,
        "Make a dataset of an HDF5 file as progressive growing of GANs used it.",
        "datasets/faces faces.h5",
    )
    add_source(sub, "hdf5_filename", "the file; labels are in NAME-labels.npy beside it")
    add_shuffle(sub)
    add_record_options(sub)
    sub = command(
        convert_to_hdf5,
        "Write a dataset to an HDF5 file, and its labels to NAME-labels.npy beside it.",
        "faces.h5 datasets/faces",
    )
    sub.add_argument(
        "hdf5_filename", type=cli.path, metavar="HDF5_FILENAME", help="the file to make"
    )
    add_dataset(sub, "the dataset")
