"""The command generate-catalog of run_generator.py: options, checks, and what it calls."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from dnnlib import UserError, cli, urls
from training.pictures import options
from training.pictures.finishing import FORMATS, KEEP, TRANSPARENT, Finish, parse_size
from training.snapshots import pretrained

COMMAND = "generate-catalog"
_PSI, _CANDIDATES = 0.7, 4


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command; see `control_commands.add_commands`."""
    text = "Writes good pictures of each class, no copies of photos and no two alike, and a table."
    sub = command(COMMAND, text, "--per-class=20 --out=catalog", psi=str(_PSI))
    add = sub.add_argument
    add("--per-class", type=cli.integer(1, 100_000), required=True, metavar="N",
        help="pictures of each class")  # fmt: skip
    add("--out", type=cli.folder_to_write, required=True, metavar="DIR",
        help="folder to write to; a catalog that was stopped continues")  # fmt: skip
    options.add_class(sub, " (default: all)")
    add("--candidates", type=cli.integer(1, 100), default=_CANDIDATES, metavar="N",
        help="pictures that each is chosen from, by the discriminator "
        f"(default: {_CANDIDATES})")  # fmt: skip
    add("--seed", type=cli.integer(0, 2**32 - 1), default=0, help="the first (default: 0)")
    add("--format", choices=tuple(FORMATS), default="png", help="of the files (default: png)")
    add("--size", type=cli.checked(parse_size), metavar="W[xH]",
        help="in pixels, like 512 or 600x800 (default: that of the network)")  # fmt: skip
    add("--background", default=KEEP, metavar="COLOR",
        help=f"{KEEP}, {TRANSPARENT}, or a color like white or #f4f4f4; pictures without a white "
        f"background are then passed over (default: {KEEP})")  # fmt: skip
    photos = sub.add_argument_group("copies of photos")
    photos.add_argument("--data-dir", type=cli.path, default="", help="root of the datasets")
    photos.add_argument("--dataset", type=cli.path, help="photos that the network was trained on "
                        "(default: those of the run that the network lies in)")  # fmt: skip
    photos.add_argument("--copy-check", type=cli.boolean, default=True, metavar="true|false",
                        help="whether copies of them are looked for (default: true)")  # fmt: skip
    options.add_metadata(sub)


def check(args: argparse.Namespace) -> None:
    """Says what is wrong with the options, before anything heavy is loaded.

    Raises:
        UserError: values that there are not.
    """
    args.finish = Finish(args.size, args.background, args.format)
    if args.truncation_psi is None:
        args.truncation_psi = _PSI


def run(args: argparse.Namespace, trained_on: Callable[[str, str | None], dict]) -> str:
    """Runs the command in the session that is the default; returns what to print.

    Args:
        args: checked.
        trained_on: arguments of the dataset of a run directory, which may have moved to a folder;
            none where it is no run directory.
    """
    from training.pictures.catalog import CatalogOptions, generate_catalog
    from training.snapshots.class_names import find_classes
    from training.snapshots.pickles import load_subject

    subject = load_subject(args.network, args.allow_pickled_code)
    photos = _open_photos(args, subject.Gs, trained_on) if args.copy_check else None
    wanted = CatalogOptions(
        args.per_class,
        [] if args.classes is None else find_classes(subject.Gs, args.classes),
        args.truncation_psi,
        args.candidates,
        args.seed,
        args.finish,
        not args.no_metadata,
    )
    try:
        return generate_catalog(subject, photos, wanted, args.out)
    finally:
        if photos is not None:
            photos.close()


def _open_photos(args: argparse.Namespace, Gs, trained_on: Callable[[str, str | None], dict]):
    """The photos that a network was trained on, a `TFRecordDataset`."""
    from training.config.command_line import dataset_folder
    from training.dataset import TFRecordDataset

    kwargs = {}
    if args.dataset is not None:
        kwargs = {"tfrecord_dir": dataset_folder("--dataset", args.dataset, args.data_dir)}
    elif not urls.is_url(args.network):
        folder = os.path.dirname(os.path.abspath(pretrained.local_path(args.network)))
        kwargs = trained_on(folder, args.data_dir or None)
    if "tfrecord_dir" not in kwargs:
        raise UserError(
            "the photos that the network was trained on are not known: name them with --dataset, "
            "or do without the check for copies: --copy-check=false"
        )
    resolution = Gs.static_kwargs.get("resolution", max(Gs.output_shape[2:]))
    return TFRecordDataset(**{**kwargs, "resolution": resolution})
