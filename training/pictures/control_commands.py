"""The commands of run_generator.py about attributes: options, checks, and what they call.

TensorFlow is loaded by `run` only.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable
from typing import Any

from dnnlib import UserError, cli
from dnnlib.util import did_you_mean
from training.latents.attributes.names import GROUPS, MEASURED, REPRESENTATIVES, SAMPLES
from training.latents.directions.files import METHODS
from training.latents.directions.layers import parse_ranges
from training.pictures import options

COMMANDS = ("attributes", "directions", "edit")
STYLE_SPACE = "style-space"
_COUNT = 10
_FRAMES = 5
_MOST_STEP = 100.0


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds `attributes`, `directions` and `edit`.

    Args:
        command: adds a command of a name, a sentence, an example, and a truncation (None: without).
    """
    sub = command("attributes", "Measures color, shape and texture of samples.",
                  "--samples=500 --out=attributes.csv", psi="1")  # fmt: skip
    _add_samples(sub)
    sub.add_argument("--out", type=options.new_file, default="attributes.csv",
                     help="table to write (default: attributes.csv)")  # fmt: skip

    sub = command("directions", "Finds directions that change attributes.",
                  "--attributes=lightness,area --out=directions.npz", psi="1")  # fmt: skip
    _add_samples(sub)
    sub.add_argument(
        "--method",
        choices=(*METHODS, STYLE_SPACE),
        default=METHODS[0],
        help="ridge and boundary (InterFaceGAN): for attributes; sefa and ganspace: by themselves; "
        "style-space: a table of style channels by attribute (default: ridge)",
    )
    sub.add_argument(
        "--attributes",
        help=f"names, and {', '.join(GROUPS)} for all of a kind (default: all)",
    )
    sub.add_argument(
        "--keep",
        help="attributes to leave alone, names and kinds, or none (default: of "
        f"{', '.join(REPRESENTATIVES)} those of another kind)",
    )
    sub.add_argument(
        "--layers",
        type=cli.checked(parse_ranges),
        help="ranges of layers that may change, like 0-3, coarse, middle, fine, all "
        "(default: coarse,middle,fine, each as the measurements suggest)",
    )
    sub.add_argument("--count", type=cli.integer(1, 1000), default=_COUNT,
                     help="directions of sefa and ganspace, channels of style-space "
                     f"(default: {_COUNT})")  # fmt: skip
    sub.add_argument("--out", type=options.new_file, default=None,
                     help="file to write, with a .json beside it (default: directions.npz; "
                     "style-space writes a table, style-space.csv)")  # fmt: skip

    example = '--seeds=1-4 --set="lightness=+2,area=-1"'
    psi = "that of the directions"
    sub = command("edit", "Changes attributes of pictures, in steps.", example, psi=psi)
    group = sub.add_mutually_exclusive_group(required=True)
    group.add_argument("--seeds", type=options.seed_list, help="like 1,2,5-8")
    group.add_argument("--dlatents", "--projected-w", type=cli.existing_path, metavar="FILE.npz",
                       help="pictures of these w, as a projector has found them")  # fmt: skip
    sub.add_argument("--set", dest="steps", type=cli.checked(parse_steps), required=True,
                     metavar="NAME=STEP,…", help='like "lightness=+2,area=-1", in the units of the '
                     "directions: standard deviations")  # fmt: skip
    sub.add_argument("--directions", type=cli.path, default="directions.npz", metavar="FILE.npz",
                     help="what the command directions has written "
                     "(default: directions.npz)")  # fmt: skip
    sub.add_argument("--layers", type=cli.checked(parse_ranges),
                     help="layers that may change (default: those of the directions)")  # fmt: skip
    sub.add_argument("--frames", type=cli.integer(2, 100), default=_FRAMES,
                     help="pictures from none to all of the change "
                     f"(default: {_FRAMES})")  # fmt: skip
    options.add_class(sub, "; several are given to the seeds in turn (default: seed modulo the "
                      "number of classes)")  # fmt: skip
    _add_sources(sub)
    sub.add_argument("--out", type=options.new_file, default="edit.png",
                     help="PNG to write (default: edit.png)")  # fmt: skip
    options.add_metadata(sub)


def _add_samples(sub: argparse.ArgumentParser) -> None:
    group = sub.add_mutually_exclusive_group()
    group.add_argument("--samples", type=cli.integer(10, 1_000_000),
                       help=f"how many, seeds from 0 on (default: {SAMPLES})")  # fmt: skip
    group.add_argument("--seeds", type=options.seed_list, help="like 1,2,5-8")
    group.add_argument(
        "--scores",
        type=cli.existing_path,
        metavar="FILE.csv",
        help="table with a column seed, whose samples are used, and columns of numbers, which are "
        "attributes; a table of the command attributes too",
    )
    options.add_class(sub, "; several are given to the seeds in turn (default: seed modulo the "
                      "number of classes)")  # fmt: skip
    _add_sources(sub)


def _add_sources(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--classifier",
        type=cli.existing_path,
        metavar="FILE",
        help="what a network of yours says of pictures: a frozen graph (.pb), the folder of a "
        "SavedModel, or .onnx (needs onnxruntime)",
    )
    sub.add_argument(
        "--photos",
        type=cli.existing_path,
        metavar="FOLDER",
        help="labeled photos, a folder for each label: how much pictures look like each, to the "
        "snapshot's discriminator",
    )


def parse_steps(text: str) -> dict[str, float]:
    """`lightness=+2,area=-1` as {"lightness": 2.0, "area": -1.0}.

    Raises:
        UserError: something else, or an attribute twice.
    """
    steps: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            step = float(number)
        except ValueError:
            step = float("nan")
        if not name or not abs(step) <= _MOST_STEP:
            raise UserError(
                f"{part.strip()!r}: expected NAME=STEP with a step of -{_MOST_STEP:g} to "
                f"{_MOST_STEP:g}, like lightness=+2"
            )
        if name in steps:
            raise UserError(f"{name} is set twice")
        steps[name] = step
    return steps


def check(args: argparse.Namespace) -> None:
    """Completes the options of a command, and says what is wrong with them.

    Raises:
        UserError: options that do not fit each other, or files that cannot be.
    """
    if args.command == "directions":
        _check_directions(args)
    elif args.command == "edit" and not os.path.isfile(args.directions):
        raise UserError(
            f"--directions={args.directions}: there is no such file; run_generator.py directions "
            "writes it"
        )
    if args.command != "attributes":
        suffix = os.path.splitext(args.out)[1].lower()
        wanted = {"edit": ".png"}.get(args.command, ".npz")
        wanted = ".csv" if getattr(args, "method", "") == STYLE_SPACE else wanted
        if suffix != wanted:
            raise UserError(f"--out={args.out}: expected a name that ends with {wanted}")
    if args.photos is not None and not os.path.isdir(args.photos):
        raise UserError(f"--photos={args.photos}: expected a folder with a folder for each label")


def run(args: argparse.Namespace, make_classifier: Callable) -> None:
    """Runs one of the commands, in the session that is the default.

    Args:
        args: checked.
        make_classifier: makes a measure of the file of --classifier, for images of a shape.
    """
    from training.pictures import control, edits
    from training.pictures.sessions import Request
    from training.snapshots.pickles import load_subject

    subject = load_subject(args.network, args.allow_pickled_code)
    given = vars(args)
    classifier = args.classifier and functools.partial(make_classifier, args.classifier)
    seeds = args.seeds if given.get("samples") is None else range(args.samples)
    psi = args.truncation_psi
    psi = 1.0 if psi is None and args.command != "edit" else psi
    request = Request(seeds, given.get("scores"), args.classes, psi, args.photos, classifier)
    if args.command == "attributes":
        control.measure_attributes(subject, request, args.out)
    elif args.command == "edit":
        change = edits.Edit(args.steps, args.directions, args.layers, args.frames)
        edits.edit(subject, request, change, args.dlatents, args.out, not args.no_metadata)
    elif args.method == STYLE_SPACE:
        control.rank_styles(
            subject, request, args.out, attributes=args.attributes, count=args.count
        )
    else:
        control.find_directions(
            subject,
            request,
            args.out,
            method=args.method,
            attributes=args.attributes,
            keep=args.keep,
            ranges=args.layers,
            count=args.count,
        )
    print(f"Wrote {args.out}")


def _check_directions(args: argparse.Namespace) -> None:
    for_attributes = args.method in ("ridge", "boundary", STYLE_SPACE)
    for name in ("attributes", "keep"):
        if getattr(args, name) is not None and not for_attributes:
            raise UserError(f"--{name} is for --method=ridge and boundary, not for {args.method}")
    if args.keep is not None and args.method == STYLE_SPACE:
        raise UserError("--keep is for --method=ridge and boundary, not for style-space")
    if args.out is None:
        args.out = "style-space.csv" if args.method == STYLE_SPACE else "directions.npz"
    has_others = args.scores or args.classifier or args.photos
    for name in ("attributes", "keep"):
        text: Any = getattr(args, name)
        if text in (None, "none") or has_others:
            continue
        for part in (part.strip() for part in text.split(",")):
            # Classes of the network are known when it is read.
            if part not in MEASURED and part not in GROUPS and not part.startswith("class-"):
                hint = did_you_mean(part, [*MEASURED, *GROUPS])
                known = ", ".join([*MEASURED, *GROUPS])
                raise UserError(f"--{name}: no attribute {part!r}: {hint}use {known}")
