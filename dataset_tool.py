#!/usr/bin/env python3
"""Makes datasets of TFRecords from pictures, and looks into them."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

from dnnlib import UserError, cli


def create_from_images(args: argparse.Namespace) -> None:
    from training.datasets import images

    _create(args, images.create_from_images, image_dir=args.image_dir, labels=args.labels)


def create_demo(args: argparse.Namespace) -> None:
    from training.datasets import demo_dataset

    _create(args, demo_dataset.create_demo, num_images=args.images, seed=args.seed)


def create_mnist(args: argparse.Namespace) -> None:
    from training.datasets import mnist

    _create(args, mnist.create_mnist, mnist_dir=args.mnist_dir)


def create_mnistrgb(args: argparse.Namespace) -> None:
    from training.datasets import mnist

    choice = {"num_images": args.num_images, "random_seed": args.random_seed}
    _create(args, mnist.create_mnistrgb, mnist_dir=args.mnist_dir, **choice)


def create_cifar10(args: argparse.Namespace) -> None:
    from training.datasets import cifar

    folder, ignore_labels = args.cifar10_dir, args.ignore_labels
    _create(args, cifar.create_cifar10, cifar10_dir=folder, ignore_labels=ignore_labels)


def create_cifar100(args: argparse.Namespace) -> None:
    from training.datasets import cifar

    _create(args, cifar.create_cifar100, cifar100_dir=args.cifar100_dir)


def create_svhn(args: argparse.Namespace) -> None:
    from training.datasets import svhn

    _create(args, svhn.create_svhn, svhn_dir=args.svhn_dir)


def create_lsun(args: argparse.Namespace) -> None:
    from training.datasets import lsun

    _create(args, lsun.create_lsun, lmdb_dir=args.lmdb_dir)


def create_lsun_wide(args: argparse.Namespace) -> None:
    from training.datasets import lsun

    size = {"width": args.picture_width, "height": args.picture_height}
    _create(args, lsun.create_lsun_wide, lmdb_dir=args.lmdb_dir, **size)


def create_celeba(args: argparse.Namespace) -> None:
    from training.datasets import celeba

    _create(args, celeba.create_celeba, celeba_dir=args.celeba_dir, cx=args.cx, cy=args.cy)


def create_from_hdf5(args: argparse.Namespace) -> None:
    from training.datasets import hdf5

    _create(args, hdf5.create_from_hdf5, hdf5_filename=args.hdf5_filename)


def convert_to_hdf5(args: argparse.Namespace) -> None:
    from training.datasets import hdf5

    hdf5.convert_to_hdf5(args.hdf5_filename, args.tfrecord_dir)


def pack(args: argparse.Namespace) -> None:
    from training.datasets import pack

    if args.runner != "local":
        raise UserError(f"--runner={args.runner}: pack works only on this machine, with local")
    counts = {"num_train": args.num_train, "num_validation": args.num_validation}
    pack.pack(_output(args), args.unpacked_dir, **counts, mirror=args.mirror, seed=args.seed)


def unpack(args: argparse.Namespace) -> None:
    extract(args)


def merge(args: argparse.Namespace) -> None:
    from training.datasets import merge

    merge.merge(args.tfrecord_dir, args.parts)


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


def create_from_deepfashion(args: argparse.Namespace) -> None:
    from training.datasets.deepfashion import importer

    _create(
        args,
        importer.create_from_deepfashion,
        root=args.root,
        benchmark=args.benchmark,
        labels=args.labels,
        partition=args.partition,
        crop=args.crop,
        categories=args.category,
        views=args.view,
        anno=args.anno,
        highres=args.highres,
    )


def create_from_ebay(args: argparse.Namespace) -> None:
    from training.datasets import ebay

    _create(
        args,
        ebay.create_from_ebay,
        root=args.root,
        labels=args.labels,
        partition=args.partition,
        image_column=args.image_column,
        category_column=args.category_column,
        download_dir=args.download_dir,
        options=_download_options(args, allow_private=args.allow_private_addresses),
    )


def fetch_ebay(args: argparse.Namespace) -> None:
    from training.datasets import ebay_api, ebay_browse

    search = ebay_api.Search(
        query=args.query,
        category=args.category,
        marketplace=args.marketplace,
        condition=args.condition,
        filter=args.filter,
        additional_images=args.additional_images,
        sandbox=args.sandbox,
    )
    ebay_browse.fetch_ebay(args.output_dir, search, args.limit, _download_options(args))


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

    _add_images(command)
    _add_demo(command)
    _add_arrays(command)
    _add_lsun(command)
    _add_celeba(command)
    _add_hdf5(command)
    _add_deepfashion(command)
    _add_ebay(command)
    _add_pack(command)
    _add_inspection(command)
    return parser.parse_args()


def _add_images(command: Callable) -> None:
    sub = command(
        create_from_images,
        "Make a dataset from the pictures of a folder and the folders in it, or of a zip or tar.",
        "datasets/shirts photos/shirts --resolution=256 --transform=pad-white",
    )
    _add_dataset(sub)
    sub.add_argument(
        "image_dir", type=cli.path, metavar="IMAGE_DIR", help="folder or archive of pictures"
    )
    sub.add_argument(
        "--labels",
        default="auto",
        metavar="WHAT",
        help="none; folders: the names of the folders in IMAGE_DIR; or a JSON file as of the "
        'PyTorch repositories, {"labels": [["a.png", 3], ...]}, or a CSV file with columns file '
        "and label (default: IMAGE_DIR's dataset.json if there is one, else none)",
    )
    _add_output_options(sub)


def _add_demo(command: Callable) -> None:
    sub = command(
        create_demo,
        "Make a dataset of drawn product pictures with category labels.",
        "datasets/demo --images=3000 --resolution=32",
    )
    _add_dataset(sub)
    sub.add_argument("--images", type=cli.integer(1), default=3000, metavar="N", help="(3000)")
    sub.add_argument(
        "--resolution", type=cli.integer(), default=32, metavar="N", help="a power of two (32)"
    )
    sub.add_argument(
        "--seed", type=cli.integer(0), default=0, metavar="N", help="which dataset to draw (0)"
    )
    _add_record_options(sub)
    sub.set_defaults(shuffle=False)


def _add_arrays(command: Callable) -> None:
    """MNIST, CIFAR and SVHN."""
    mnist_dir = "folder with train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz"
    sub = command(
        create_mnist,
        "Make a dataset of MNIST's digits, 32x32 and grey, with labels.",
        "datasets/mnist downloads/mnist",
    )
    _add_source(sub, "mnist_dir", mnist_dir)
    _add_record_options(sub)
    sub = command(
        create_mnistrgb,
        "Make a dataset of pictures whose red, green and blue are three random digits of MNIST.",
        "datasets/mnistrgb downloads/mnist",
    )
    _add_source(sub, "mnist_dir", mnist_dir)
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
    _add_record_options(sub)
    sub.set_defaults(shuffle=False)
    sub = command(
        create_cifar10,
        "Make a dataset of CIFAR-10's pictures for training, 32x32, with labels.",
        "datasets/cifar10 downloads/cifar-10-batches-py",
    )
    _add_source(sub, "cifar10_dir", "folder with data_batch_1 to data_batch_5")
    sub.add_argument(
        "--ignore_labels",
        "--ignore-labels",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="make it without labels (default: 0)",
    )
    _add_record_options(sub)
    sub = command(
        create_cifar100,
        "Make a dataset of CIFAR-100's pictures for training, 32x32, with fine labels.",
        "datasets/cifar100 downloads/cifar-100-python",
    )
    _add_source(sub, "cifar100_dir", "folder with the file train")
    _add_record_options(sub)
    sub = command(
        create_svhn,
        "Make a dataset of SVHN's cropped digits for training, 32x32, with labels.",
        "datasets/svhn downloads/svhn",
    )
    _add_source(sub, "svhn_dir", "folder with train_32x32.mat, or train_1.pkl, train_2.pkl, ...")
    _add_record_options(sub)


def _add_lsun(command: Callable) -> None:
    lmdb_dir = "folder with the data.mdb of a category"
    sub = command(
        create_lsun,
        "Make a dataset of a category of LSUN, or of another LMDB of pictures.",
        "datasets/bedroom downloads/bedroom_train_lmdb --max_images=100000",
    )
    _add_source(sub, "lmdb_dir", lmdb_dir)
    _add_output_options(sub, shuffle=False, size="256x256")
    sub = command(
        create_lsun_wide,
        "Make a dataset of wide pictures of LSUN, with black above and below.",
        "datasets/car downloads/car_train_lmdb --width=512 --height=384",
    )
    _add_source(sub, "lmdb_dir", lmdb_dir)
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
    _add_shuffle(sub, False)
    _add_record_options(sub)


def _add_celeba(command: Callable) -> None:
    sub = command(
        create_celeba,
        "Make a dataset of the middle 128x128 pixels of CelebA's aligned faces.",
        "datasets/celeba downloads/celeba",
    )
    _add_source(sub, "celeba_dir", "folder with img_align_celeba_png or img_align_celeba")
    sub.add_argument(
        "--cx", type=cli.integer(), default=89, metavar="X", help="column of the middle (89)"
    )
    sub.add_argument(
        "--cy", type=cli.integer(), default=121, metavar="Y", help="row of the middle (121)"
    )
    _add_record_options(sub)


def _add_hdf5(command: Callable) -> None:
    sub = command(
        create_from_hdf5,
        "Make a dataset of an HDF5 file as progressive growing of GANs used it.",
        "datasets/faces faces.h5",
    )
    _add_source(sub, "hdf5_filename", "the file; labels are in NAME-labels.npy beside it")
    _add_shuffle(sub)
    _add_record_options(sub)
    sub = command(
        convert_to_hdf5,
        "Write a dataset to an HDF5 file, and its labels to NAME-labels.npy beside it.",
        "faces.h5 datasets/faces",
    )
    sub.add_argument(
        "hdf5_filename", type=cli.path, metavar="HDF5_FILENAME", help="the file to make"
    )
    _add_dataset(sub, "the dataset")


def _add_deepfashion(command: Callable) -> None:
    sub = command(
        create_from_deepfashion,
        "Make a dataset of a DeepFashion benchmark, DeepFashion2 or DeepFashion-MultiModal.",
        "datasets/dresses DeepFashion/In-shop --category=Dresses --labels=view --resolution=256",
    )
    _add_source(sub, "root", "the unpacked benchmark, or a folder one or two levels above it")
    add = sub.add_argument
    benchmarks = "auto category inshop consumer2shop landmark deepfashion2 multimodal".split()
    add(
        "--benchmark",
        choices=benchmarks,
        default="auto",
        help="what ROOT holds (default: auto, which looks at the files)",
    )
    add(
        "--labels",
        metavar="KIND",
        help="category, type, gender, view, attribute:NAME, item or none; an error lists what a "
        "benchmark has (default: category, or type for landmark)",
    )
    add(
        "--partition",
        choices=("train", "val", "test", "query", "gallery", "all"),
        default="all",
        help="part of the benchmark (default: all)",
    )
    add(
        "--crop",
        choices=("bbox", "none"),
        default="none",
        help="bbox: cut out the boxes of the benchmark, each item of DeepFashion2 as a picture of "
        "its own; none: whole pictures, those of DeepFashion2 by their largest item "
        "(default: none)",
    )
    add(
        "--margin",
        type=cli.number(0, 10),
        default=0.1,
        metavar="M",
        help="added to boxes on each side, as a fraction of their size (default: 0.1)",
    )
    add(
        "--category",
        type=_names,
        default=(),
        metavar="NAMES",
        help="only these, as in Dress,Tee or WOMEN/Denim (default: all)",
    )
    add(
        "--view",
        type=_names,
        default=(),
        metavar="NAMES",
        help="only these, as in front,back; shop or consumer of consumer2shop (default: all)",
    )
    add(
        "--anno",
        choices=("auto", "coarse", "fine"),
        default="auto",
        help="annotations of the category benchmark: auto takes the coarse ones, which are of all "
        "pictures, if they are there (default: auto)",
    )
    add(
        "--highres",
        action="store_true",
        help="take the pictures of img_highres, not of img",
    )
    _add_output_options(sub)


def _add_ebay(command: Callable) -> None:
    sub = command(
        create_from_ebay,
        "Make a dataset of Stanford Online Products, or of a table of listings with pictures.",
        "datasets/lamps lamps/listings.csv --image-column=photo --resolution=256",
    )
    _add_source(
        sub,
        "root",
        "folder with Ebay_*.txt; or a table of listings (CSV, TSV, JSON lines) or a folder with "
        "one, whose pictures are local files or URLs",
    )
    add = sub.add_argument
    add(
        "--labels",
        metavar="KIND",
        help="super-class, class or none of Stanford Online Products (default: super-class; class "
        "has 22634 classes, which makes a large file); category or none of a table "
        "(default: category)",
    )
    add(
        "--partition",
        choices=("train", "test", "all"),
        help="part of Stanford Online Products (default: all)",
    )
    add(
        "--image-column",
        metavar="NAME",
        help="column of URLs or of paths from the table's folder on; several in a cell are "
        "separated by | ; or , or are a JSON list (default: by usual names, like image)",
    )
    add("--category-column", metavar="NAME", help="(default: by usual names, like category)")
    add(
        "--download-dir",
        type=cli.path,
        metavar="DIR",
        help="folder for pictures from the web; those that are there are not downloaded again "
        "(default: images, beside the table)",
    )
    add(
        "--allow-private-addresses",
        action="store_true",
        help="also download from private and local addresses; a proxy of the environment decides "
        "itself where it connects",
    )
    _add_download_options(sub)
    _add_output_options(sub)
    sub = command(
        fetch_ebay,
        "Fetch the pictures of listings that eBay's Browse API finds, for create_from_ebay. Needs "
        "EBAY_CLIENT_ID and EBAY_CLIENT_SECRET in the environment, and the right to use the "
        "pictures. The same command again goes on where it ended.",
        'lamps --query="desk lamp" --limit=2000',
    )
    sub.add_argument("output_dir", type=cli.path, metavar="OUT_FOLDER", help="folder to fill")
    add = sub.add_argument
    add("--query", metavar="WORDS", help="words to look for")
    add("--category", metavar="N", help="number of an eBay category")
    add(
        "--limit",
        type=cli.integer(1, 10_000),
        default=1000,
        metavar="N",
        help="listings to fetch, at most 10000 of a query (default: 1000)",
    )
    add("--marketplace", default="EBAY_US", metavar="ID", help="(default: EBAY_US)")
    add("--condition", choices=("new", "used"), help="only new or used things (default: all)")
    add(
        "--filter",
        metavar="FILTER",
        help="further filters of the Browse API, like price:[10..50],priceCurrency:USD",
    )
    add(
        "--additional-images",
        action="store_true",
        help="all pictures of a listing, not only its first",
    )
    add("--sandbox", action="store_true", help="search eBay's sandbox, with its own credentials")
    _add_download_options(sub)


def _add_download_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--jobs",
        type=cli.integer(1, 64),
        default=8,
        metavar="N",
        help="downloads at the same time (default: 8)",
    )
    sub.add_argument(
        "--rate",
        type=cli.number(0.01, 1000),
        default=8.0,
        metavar="N",
        help="requests a second to one host (default: 8)",
    )


def _download_options(args: argparse.Namespace, allow_private: bool = False):
    from dnnlib.bulk_downloads import DownloadOptions

    return DownloadOptions(args.jobs, args.rate, allow_private=allow_private)


def _add_pack(command: Callable) -> None:
    sub = command(
        unpack,
        "Write all images as PNG files, from which pack makes datasets.",
        "--tfrecord_dir=datasets/faces --output_dir=faces-unpacked",
    )
    _add_folder_option(sub, "tfrecord_dir", "the dataset")
    _add_folder_option(sub, "output_dir", "folder to make for the files")
    sub = command(
        pack,
        "Make a dataset of random images of an unpacked one.",
        "--unpacked_dir=faces-unpacked --tfrecord_dir=datasets/faces5k --num_train=5000 --mirror=1",
    )
    _add_folder_option(sub, "unpacked_dir", "folder that unpack has made")
    _add_folder_option(sub, "tfrecord_dir", "dataset folder to make")
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
    _add_record_options(sub)


def _add_source(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    _add_dataset(sub)
    sub.add_argument(name, type=cli.path, metavar=name.upper(), help=text)


def _add_folder_option(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    sub.add_argument(
        f"--{name}",
        f"--{name.replace('_', '-')}",
        type=cli.path,
        required=True,
        metavar="DIR",
        help=text,
    )


def _add_inspection(command: Callable) -> None:
    sub = command(
        merge,
        "Join the parts of a dataset that were written with --only-shards.",
        "datasets/shirts part1/shirts part2/shirts",
    )
    _add_dataset(sub)
    sub.add_argument("parts", nargs="+", type=cli.path, metavar="PART", help="folder of a part")
    sub = command(display, "Show the first images, or write them to a PNG file.", "datasets/shirts")
    _add_dataset(sub, "the dataset")
    sub = command(extract, "Write all images as PNG files.", "datasets/shirts shirts-png")
    _add_dataset(sub, "the dataset")
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
    _add_dataset(sub, "the dataset")


def _add_dataset(sub: argparse.ArgumentParser, text: str = "dataset folder to make") -> None:
    sub.add_argument("tfrecord_dir", type=cli.path, metavar="TFRECORD_DIR", help=text)


def _add_output_options(
    sub: argparse.ArgumentParser, shuffle: bool = True, size: str = "the size that they all have"
) -> None:
    """Options of commands that convert pictures of any size, by default to `size`."""
    group = sub.add_argument_group("how pictures are fitted")
    add = group.add_argument
    _add_shuffle(group, shuffle)
    add(
        "--resolution",
        type=cli.integer(),
        metavar="N",
        help=f"fit all pictures to NxN, a power of two (default: {size})",
    )
    add("--width", type=cli.integer(1), metavar="W", help="together with --height, instead of ")
    add(
        "--height",
        type=cli.integer(1),
        metavar="H",
        help="--resolution: fit all pictures to WxH, a small grid times a power of two, "
        "like 384x512 or 256x384",
    )
    add(
        "--transform",
        choices=("center-crop", "pad-white", "stretch"),
        default="center-crop",
        help="how pictures get the proportions of the dataset (default: center-crop)",
    )
    add("--strict", action="store_true", help="stop at a picture that is unreadable")
    add(
        "--dedupe", action="store_true", help="leave out pictures that are the same to the last bit"
    )
    _add_record_options(sub)


def _add_shuffle(group, default: bool = True) -> None:
    group.add_argument(
        "--shuffle",
        type=cli.boolean,
        default=default,
        metavar="BOOL",
        help="store in a random order, always the same one; 0: in the order of the source "
        f"(default: {default:d})",
    )


def _add_record_options(sub: argparse.ArgumentParser) -> None:
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
        help="how records hold pixels: raw as the official tools read them, or compressed "
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
        "(default: all for raw records, as officially; finest for compressed ones)",
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


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"expected names like Dress,Tee, got {text!r}")
    return names


def _create(args: argparse.Namespace, importer: Callable, **kwargs) -> None:
    """Calls an importer with the output that the arguments describe, here or on Beam's workers."""
    output = _output(args)
    if args.runner == "local":
        importer(output, **kwargs)
        return
    from training.datasets import beam

    beam.run(functools.partial(importer, **kwargs), output, args.runner, args.beam_option)


def _output(args: argparse.Namespace):
    """The `Output` that the options describe, with defaults where a command has no option."""
    import dataclasses

    from training.datasets.build import Output

    names = {field.name for field in dataclasses.fields(Output)}
    return Output(**{name: value for name, value in vars(args).items() if name in names})


def main() -> None:
    args = parse_arguments()
    args.run(args)


if __name__ == "__main__":
    cli.run(main)
