#!/usr/bin/env python3
"""Makes pictures with a trained generator, and looks into snapshots."""

from __future__ import annotations

import argparse
import os
import re

from dnnlib import UserError, cli, output
from training.snapshots import pretrained

_EXAMPLES = """examples:
  # 26 pictures, one file each:
  python run_generator.py generate-images --network=network-final.pkl --seeds=6600-6625

  # Each of them as a hat and as shoes, with a conditional network:
  python run_generator.py generate-images --network=network-final.pkl --seeds=1-4 --class=hat,shoes

  # Styles of the columns in the pictures of the rows:
  python run_generator.py style-mixing-example --network=network-final.pkl \\
      --row-seeds=85,100,75,458,1500 --col-seeds=55,821,1789,293 --col-styles=0-3

  # 32 pictures in one PNG, a row for each class of a conditional network:
  python run_generator.py generate-grid --network=network-final.pkl --grid=8x4 --out=grid.png

  # One of NVIDIA's published networks, by its name; any https URL works too:
  python run_generator.py generate-images --network=stylegan2-car-config-f --seeds=1-4

  # What is in a snapshot; the same in the layout of the ADA repository:
  python run_generator.py info --network=network-final.pkl
  python run_generator.py convert --network=network-final.pkl --out=new.pkl --format=5
"""


def _grid_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not match or not 0 < int(match[1]) * int(match[2]) <= 10000:
        raise argparse.ArgumentTypeError(
            f"expected COLUMNSxROWS of at most 10000 pictures, like 8x4, got {text!r}"
        )
    return int(match[1]), int(match[2])


def _seeds(text: str) -> list[int]:
    seeds = cli.int_list(text)
    if max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f"seed {max(seeds)}: expected 0 to {2**32 - 1}")
    return seeds


def _parse_args() -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, text: str, example: str, makes_pictures: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {parser.prog} {name} --network=network-final.pkl {example}",
        )
        sub.add_argument(
            "--network",
            type=cli.checked(pretrained.existing),
            required=True,
            help="snapshot: a .pkl file, its https URL, the name of a published network, "
            "or an .npz of weights",
        )
        sub.add_argument(
            "--allow-pickled-code",
            action="store_true",
            help="run Python code from the snapshot if its network is not known here; "
            "only for files that you trust as you trust a program",
        )
        if makes_pictures:
            sub.add_argument(
                "--truncation-psi",
                type=cli.number(),
                default=0.5,
                help="0: the mean product, 1: full variety (default: 0.5)",
            )
        return sub

    def add_class(sub: argparse.ArgumentParser, text: str) -> None:
        sub.add_argument(
            "--class",
            dest="classes",
            metavar="CLASS",
            help="of a conditional network, by name or number, like hat, hat,shoes or 0-2" + text,
        )

    sub = command("generate-images", "Writes one PNG for each seed.", "--seeds=1-10")
    sub.add_argument("--seeds", type=_seeds, required=True, help="like 1,2,5-8")
    add_class(sub, "; several make a picture of each seed and class "
              "(default: seed modulo the number of classes)")  # fmt: skip
    cli.add_result_dir(sub.add_argument, "root of the run directories")

    sub = command(
        "style-mixing-example",
        "Mixes styles of pairs of seeds.",
        "--row-seeds=1-4 --col-seeds=5-8",
    )
    sub.add_argument("--row-seeds", type=_seeds, required=True, help="like 1,2,5-8")
    sub.add_argument("--col-seeds", type=_seeds, required=True, help="like 1,2,5-8")
    sub.add_argument(
        "--col-styles",
        type=cli.int_list,
        help="layers that take the column's style (default: 0-6)",
    )
    cli.add_result_dir(sub.add_argument, "root of the run directories")

    add_class(sub, "; several are given to the seeds in turn, those of the rows first "
              "(default: seed modulo the number of classes)")  # fmt: skip

    sub = command("generate-grid", "Writes one PNG of many pictures.", "--grid=8x4 --out=grid.png")
    sub.add_argument("--grid", type=_grid_size, default=(8, 4), help="COLUMNSxROWS (default: 8x4)")
    sub.add_argument("--seeds", type=_seeds, default=[0], help="one a picture; if there are "
                     "fewer, counting continues from the last (default: from 0)")  # fmt: skip
    sub.add_argument(
        "--out", type=cli.path, default="grid.png", help="PNG to write (default: grid.png)"
    )

    add_class(sub, ": those of the rows, in turn (default: all)")

    command("info", "Shows what is in a snapshot.", "", makes_pictures=False)

    sub = command("convert", "Writes a snapshot in another layout.", "--out=new.pkl --format=5",
                  makes_pictures=False)  # fmt: skip
    sub.add_argument("--out", type=cli.path, required=True, help=".pkl or .npz file to write")
    sub.add_argument(
        "--format",
        choices=("4", "5", "npz"),
        required=True,
        help="4: like StyleGAN2's code, 5: like ADA's, npz: weights only, with a JSON beside it",
    )
    return parser.parse_args()


def _check_files(args: argparse.Namespace) -> None:
    """Says at once what can be said about paths without TensorFlow, which takes seconds to load.

    Raises:
        UserError: there is no such snapshot; there is no folder to write to.
    """
    network = args.network
    if pretrained.url_of(network) is None and not os.path.isfile(network):
        if os.path.isdir(network):
            raise UserError(
                f"cannot read snapshot {network}: it is a folder; name a .pkl file in it"
            )
        try:
            os.stat(network)  # A pipe, for instance, is refused where it is read.
        except OSError as error:
            hint = "" if os.path.sep in network else pretrained.suggestion(network)
            raise UserError(f"cannot read snapshot {network}: {error.strerror}{hint}") from error
    if out := getattr(args, "out", None):
        folder = os.path.dirname(os.path.abspath(out))
        if not os.path.isdir(folder) or os.path.isdir(out):
            reason = "it is a folder" if os.path.isdir(out) else f"there is no folder {folder}"
            raise UserError(f"cannot write {out}: {reason}")
    result_dir = getattr(args, "result_dir", None)
    if result_dir and os.path.exists(result_dir) and not os.path.isdir(result_dir):
        raise UserError(f"--result-dir={result_dir}: it is a file, expected a folder")


def main() -> None:
    args = _parse_args()
    _check_files(args)
    # TensorFlow takes seconds to load, and has to wait for what can be checked without it.
    from dnnlib import tflib
    from training.pictures import generation
    from training.snapshots import conversion, description, pickles
    from training.snapshots.class_names import describe_places, find_classes

    network, trusted = args.network, args.allow_pickled_code
    with tflib.graph_session():
        if args.command == "info":
            output.printing_is_the_work()
            print(description.describe(network, trusted))
            return
        if args.command == "convert":
            conversion.convert(network, args.out, args.format, trusted)
            print(f"Wrote {args.out}")
            return
        Gs = pickles.load_generator(network, trusted)
        psi = args.truncation_psi
        classes = [] if args.classes is None else find_classes(Gs, args.classes)
        if args.command == "generate-grid":
            rows = generation.generate_grid(Gs, args.grid, args.seeds, psi, args.out, classes)
            print(f"Wrote {args.out}")
            print(describe_places(Gs, rows, "row", range(1, len(rows) + 1)), end="")
            return
        if args.command == "generate-images":
            seeds = args.seeds
            out_dir = generation.generate_images(Gs, seeds, psi, args.result_dir, classes)
        else:
            seeds = list(dict.fromkeys([*args.row_seeds, *args.col_seeds]))
            out_dir = generation.style_mixing_example(
                Gs, args.row_seeds, args.col_seeds, psi, args.col_styles, args.result_dir, classes
            )
        print(f"Wrote {out_dir}")
        if args.command == "style-mixing-example" or len(classes) < 2:  # Else files say which.
            of_seeds = generation.classes_of_seeds(Gs, seeds, classes)
            print(describe_places(Gs, of_seeds, "seed", seeds), end="")


if __name__ == "__main__":
    cli.run(main)
