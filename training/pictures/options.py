"""What the commands of run_generator.py and run_projector.py have in common.

No TensorFlow here: a command line is checked before it loads.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from dnnlib import cli, own_code
from training.snapshots import pretrained


class NetworkCommands:
    """The commands of a script, each of a network.

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

    def add(self, name: str, text: str, example: str) -> argparse.ArgumentParser:
        """A command with the option --network.

        Args:
            name: of the command.
            text: one sentence for the help.
            example: further options that show how to call it.
        """
        sub = self._commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {self._parser.prog} {name} --network=network-final.pkl {example}",
        )
        pretrained.add_network_option(sub.add_argument)
        return sub


def seed_list(text: str) -> list[int]:
    """Seeds of 0 to 2^32 - 1, like 1,2,5-8; for `type=` of argparse."""
    seeds = cli.int_list(text)
    if max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f"seed {max(seeds)}: expected 0 to {2**32 - 1}")
    return seeds


def new_file(text: str) -> str:
    """The path of a file in a folder that is there; for `type=` of argparse."""
    path = cli.path(text)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or os.path.isdir(path):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder}"
        raise argparse.ArgumentTypeError(f"cannot write {path}: {reason}")
    return path


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
        type=cli.number(),
        help=f"0: the mean product, 1: full variety (default: {default})",
        **kwargs,
    )


def add_class(sub: argparse.ArgumentParser, text: str) -> None:
    """Adds --class; `text` says what several classes mean."""
    sub.add_argument(
        "--class",
        dest="classes",
        metavar="CLASS",
        help="of a conditional network, by name or number, like hat, hat,shoes or 0-2" + text,
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
