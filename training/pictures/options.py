"""What the commands of run_generator.py and run_projector.py have in common.

No TensorFlow here: a command line is checked before it loads.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from dnnlib import UserError, cli, own_code
from training.latents.options import CENTERS, MOST_PSI, TruncationOptions
from training.snapshots import pretrained


class NetworkCommands:
    """The commands of a script, each of one network or several.

    Args:
        parser: of the script.
    """

    def __init__(self, parser: argparse.ArgumentParser):
        self._parser = parser
        self._commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def parse(self, words: Sequence[str] | None, scripts: Sequence[str]) -> argparse.Namespace:
        """Parses a command line, also one that has options and no command.

        Args:
            words: None: of the script.
            scripts: commands that StyleGAN2-ADA has a script each for: those that options without
                a command may mean.
        """
        words = sys.argv[1:] if words is None else list(words)
        names = {word.partition("=")[0] for word in words if word.startswith("--")}
        parsers = self._commands.choices
        # A first word that is no option is a command, if a mistyped one.
        if names - {"--help"} and words[0].startswith("-") and not parsers.keys() & set(words):
            known = [c for c in scripts if names <= set(parsers[c]._option_string_actions)]
            words = [*known[:1], *words]
        return self._parser.parse_args(words)

    def add(
        self, name: str, text: str, example: str, networks: tuple[str, ...] = ()
    ) -> argparse.ArgumentParser:
        """A command with the option --network, or with networks by their places.

        Args:
            name: of the command.
            text: one sentence for the help.
            example: further options that show how to call it.
            networks: what the places are called; none: there is --network.
        """
        option = "" if networks else "--network=network-final.pkl "
        sub = self._commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {self._parser.prog} {name} {option}{example}",
        )
        for place in networks:
            kind = cli.checked(pretrained.existing_file)
            sub.add_argument(place.lower(), type=kind, metavar=place, help="snapshot")
        if not networks:
            pretrained.add_network_option(sub.add_argument)
        return sub


def new_file(text: str) -> str:
    """Path of a file to write, in a folder that is there; for `type=` of argparse."""
    path = cli.path(text)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or os.path.isdir(path):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder}"
        raise argparse.ArgumentTypeError(f"cannot write {path}: {reason}")
    return path


def seed_list(text: str) -> list[int]:
    """Seeds of 0 to 2^32 - 1, like 1,2,5-8; for `type=` of argparse."""
    seeds = cli.int_list(text)
    if max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f"seed {max(seeds)}: expected 0 to {2**32 - 1}")
    return seeds


def grid_size(text: str) -> tuple[int, int]:
    """(columns, rows) of at most 10000 pictures, like 8x4; for `type=` of argparse."""
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not match or not 0 < int(match[1]) * int(match[2]) <= 10000:
        raise argparse.ArgumentTypeError(
            f"expected COLUMNSxROWS of at most 10000 pictures, like 8x4, got {text!r}"
        )
    return int(match[1]), int(match[2])


def add_code_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options for networks that are not ours."""
    sub.add_argument(
        "--allow-pickled-code",
        action="store_true",
        help="run Python code from the snapshot if its network is not known here; "
        "only for files that you trust as you trust a program",
    )
    own_code.add_network_options(sub.add_argument)


def add_truncation(sub: argparse.ArgumentParser, default: str = "0.5", **kwargs: Any) -> None:
    """Adds --truncation-psi; `default` is what the help says of it, `kwargs` go to argparse."""
    sub.add_argument(
        "--truncation-psi",
        "--trunc",
        type=cli.number(-MOST_PSI, MOST_PSI),
        help=f"0: the mean product, 1: full variety (default: {default})",
        **kwargs,
    )


def add_format(sub: argparse.ArgumentParser, formats: dict[str, str]) -> None:
    """Adds --format, which has to be given; `formats` says what each is for."""
    about = "; ".join(f"{name}: {text}" for name, text in formats.items())
    sub.add_argument("--format", choices=[*formats], required=True, help=about)


def add_centers(sub: argparse.ArgumentParser) -> None:
    """Adds --truncation and --clusters, see `centers_of`."""
    usual = TruncationOptions()
    sub.add_argument(
        "--truncation",
        choices=CENTERS,
        default=usual.kind,
        help="which mean product: of all, of the picture's class, or of the nearest of --clusters "
        f"(default: {usual.kind})",
    )
    sub.add_argument(
        "--clusters",
        type=cli.integer(1, 1000),
        help=f"how many, with --truncation=cluster (default: {usual.clusters})",
    )


def centers_of(args: argparse.Namespace) -> TruncationOptions:
    """What the options of `add_centers` say; the default for a command without them.

    Raises:
        UserError: there are no clusters to count.
    """
    if getattr(args, "clusters", None) is None:
        return TruncationOptions(getattr(args, "truncation", TruncationOptions.kind))
    if args.truncation != "cluster":
        raise UserError(f"--clusters={args.clusters}: it is for --truncation=cluster")
    return TruncationOptions(args.truncation, args.clusters)


def check_beside_dlatents(args: argparse.Namespace) -> None:
    """Raises a UserError for options that say how w is drawn where --dlatents gives w."""
    if getattr(args, "dlatents", None) is None or "seeds" not in args:
        return
    # Deviation: the official scripts ignore them.
    given = {"--class": args.classes, "--truncation-psi": args.truncation_psi}
    given["--clusters"] = getattr(args, "clusters", None)
    kind = getattr(args, "truncation", TruncationOptions.kind)
    given["--truncation"] = None if kind == TruncationOptions.kind else kind
    if getattr(args, "noise_mode", None) == "seed":
        given["--noise-mode=seed"] = True
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option} is for --seeds: what --dlatents gives is w already")


def add_class(sub: argparse.ArgumentParser, text: str) -> None:
    """Adds --class; `text` says what several classes mean."""
    sub.add_argument(
        "--class",
        dest="classes",
        metavar="CLASS",
        help="of a conditional network, by name or number, like hat, hat,shoes or 0-2"
        f"{text}; with weights, like hat:0.7,shoes:0.3, one label between classes",
    )


def add_metadata(sub: argparse.ArgumentParser) -> None:
    """Adds --no-metadata."""
    sub.add_argument(
        "--no-metadata",
        action="store_true",
        help="leave out what pictures say of themselves: that a network made them, which one, how",
    )


def add_folders(sub: argparse.ArgumentParser) -> None:
    """Adds --result-dir and --outdir, one of which says where pictures go."""
    group = sub.add_mutually_exclusive_group()
    cli.add_result_dir(group.add_argument, "root of the run directories (default: results)")
    group.add_argument(
        "--outdir",
        type=cli.folder_to_write,
        metavar="DIR",
        help="folder to write to itself, as the scripts of StyleGAN2-ADA have it",
    )
    add_metadata(sub)


def add_blend_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of blend, but for the two networks."""
    sub.add_argument(
        "--resolution",
        type=cli.integer(8),
        required=True,
        metavar="R",
        help="layers below it are of LOW, and from it on of HIGH",
    )
    sub.add_argument(
        "--width",
        type=cli.number(0),
        default=0.0,
        help="of a soft step between them, in doublings of the resolution (default: 0, none)",
    )
    sub.add_argument("--out", type=new_file, required=True, help=".pkl file to write")
