"""Commands for the sources of the official tools."""

from __future__ import annotations

from functools import partial

from dnnlib import cli
from training.datasets.commands.command import (
    Importer,
    boolean,
    command,
    folder_option,
    official_seed,
    option,
    path,
)
from training.datasets.commands.options import DATASET, fitting, makes_dataset, shuffle

_MNIST_DIR = path(
    "mnist_dir", "folder with train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz"
)
_LMDB_DIR = path("lmdb_dir", "folder with the data.mdb of a category")


@makes_dataset("datasets/mnist downloads/mnist", _MNIST_DIR)
def create_mnist(**given) -> Importer:
    """Make a dataset of MNIST's digits, 32x32 and gray, with labels."""
    from training.datasets.sources import mnist

    return partial(mnist.create_mnist, **given)


@makes_dataset(
    "datasets/mnistrgb downloads/mnist",
    _MNIST_DIR,
    option("--num_images", "how many (default: 1000000)", cli.integer(1), "N", default=1_000_000),
    official_seed("--random_seed", "which ones"),
    shuffle=False,
)
def create_mnistrgb(**given) -> Importer:
    """Make a dataset of pictures whose red, green and blue are three random digits of MNIST."""
    from training.datasets.sources import mnist

    return partial(mnist.create_mnistrgb, **given)


@makes_dataset(
    "datasets/cifar10 downloads/cifar-10-batches-py",
    path("cifar10_dir", "folder with data_batch_1 to data_batch_5"),
    boolean("--ignore_labels", "make it without labels (default: 0)"),
)
def create_cifar10(**given) -> Importer:
    """Make a dataset of CIFAR-10's pictures for training, 32x32, with labels."""
    from training.datasets.sources import cifar

    return partial(cifar.create_cifar10, **given)


@makes_dataset(
    "datasets/cifar100 downloads/cifar-100-python",
    path("cifar100_dir", "folder with the file train"),
)
def create_cifar100(**given) -> Importer:
    """Make a dataset of CIFAR-100's pictures for training, 32x32, with fine labels."""
    from training.datasets.sources import cifar

    return partial(cifar.create_cifar100, **given)


@makes_dataset(
    "datasets/svhn downloads/svhn",
    path("svhn_dir", "folder with train_32x32.mat, or train_1.pkl, train_2.pkl, ..."),
)
def create_svhn(**given) -> Importer:
    """Make a dataset of SVHN's cropped digits for training, 32x32, with labels."""
    from training.datasets.sources import svhn

    return partial(svhn.create_svhn, **given)


@makes_dataset(
    "datasets/bedroom downloads/bedroom_train_lmdb --max_images=100000",
    _LMDB_DIR,
    fitting(shuffled=False, size="256x256"),
)
def create_lsun(**given) -> Importer:
    """Make a dataset of a category of LSUN, or of another LMDB of pictures."""
    from training.datasets.sources import lsun

    return partial(lsun.create_lsun, **given)


@makes_dataset(
    "datasets/car downloads/car_train_lmdb --width=512 --height=384",
    _LMDB_DIR,
    option(
        "--width",
        "a power of two: pictures become WxW (default: 512)",
        cli.integer(),
        "W",
        dest="picture_width",
        default=512,
    ),
    option(
        "--height",
        "of which WxH are not black (default: 384)",
        cli.integer(),
        "H",
        dest="picture_height",
        default=384,
    ),
    shuffle(False),
)
def create_lsun_wide(picture_width: int, picture_height: int, **given) -> Importer:
    """Make a dataset of wide pictures of LSUN, with black above and below."""
    from training.datasets.sources import lsun

    return partial(lsun.create_lsun_wide, width=picture_width, height=picture_height, **given)


@makes_dataset(
    "datasets/celeba downloads/celeba",
    path("celeba_dir", "folder with img_align_celeba_png or img_align_celeba"),
    option("--cx", "column of the middle (89)", cli.integer(), "X", default=89),
    option("--cy", "row of the middle (121)", cli.integer(), "Y", default=121),
)
def create_celeba(**given) -> Importer:
    """Make a dataset of the middle 128x128 pixels of CelebA's aligned faces."""
    from training.datasets.sources import celeba

    return partial(celeba.create_celeba, **given)


@makes_dataset(
    "datasets/faces faces.h5",
    path("hdf5_filename", "the file; labels are in NAME-labels.npy beside it"),
    shuffle(),
)
def create_from_hdf5(**given) -> Importer:
    """Make a dataset of an HDF5 file as progressive growing of GANs used it."""
    from training.datasets.sources import hdf5

    return partial(hdf5.create_from_hdf5, **given)


_NEW_HDF5 = path("hdf5_filename", "the file to make")
_COMPRESS = option(
    "--compress",
    "store images compressed (default: 0)",
    cli.boolean,
    "BOOL",
    nargs="?",
    const=True,
    default=False,
)


@command("faces.h5 datasets/faces", _NEW_HDF5, DATASET, _COMPRESS)
def convert_to_hdf5(**given) -> None:
    """Write a dataset to an HDF5 file, and its labels to NAME-labels.npy beside it."""
    from training.datasets.sources import hdf5

    hdf5.convert_to_hdf5(**given)


@command(
    "faces.h5 photos/faces",
    _NEW_HDF5,
    path("image_dir", "folder or archive of pictures, all of the same size"),
    _COMPRESS,
)
def hdf5_from_images(**given) -> None:
    """Write pictures to an HDF5 file as progressive growing of GANs used it."""
    from training.datasets.sources import hdf5

    hdf5.hdf5_from_images(**given)


@command(
    "--brecahad_dir=downloads/brecahad/images --output_dir=brecahad-crops --cropsize=512",
    folder_option("--brecahad_dir", "folder of the micrographs"),
    folder_option("--output_dir", "folder to make for the crops"),
    option("--cropsize", "width and height (default: 256)", cli.integer(2), "N", default=256),
)
def extract_brecahad_crops(**given) -> None:
    """Write crops of BreCaHAD's micrographs as PNG files."""
    from training.datasets.sources import brecahad

    brecahad.extract_brecahad_crops(**given)


COMMANDS = (
    *(create_mnist, create_mnistrgb, create_cifar10, create_cifar100, create_svhn),
    *(create_lsun, create_lsun_wide, create_celeba, create_from_hdf5, convert_to_hdf5),
    *(hdf5_from_images, extract_brecahad_crops),
)
