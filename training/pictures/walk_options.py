"""The command line of generate-video. No TensorFlow here."""

from __future__ import annotations

import argparse

from dnnlib import UserError, cli
from training.latents.options import WALKS, WalkOptions, split_direction
from training.pictures import options, video

_USUAL = WalkOptions()


def add_video_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of generate-video, by the names of stylegan3's gen_video."""
    add = sub.add_argument
    add(
        "--walk",
        choices=WALKS,
        default=_USUAL.kind,
        help="spline: smoothly through the pictures of the seeds, in W; slerp: along arcs in Z "
        "from each to the next; class: each picture through the classes; truncation: psi up and "
        "down; direction: along --direction up and down; noise: other noise inputs "
        f"(default: {_USUAL.kind})",
    )
    add(
        "--seeds",
        type=options.seed_list,
        required=True,
        help="like 1,2,5-8: keyframes of spline and slerp, those of the first picture of a grid "
        "first; of other walks a picture each",
    )
    add("--out", "--output", type=options.new_file, required=True, help=".gif, .webp, .png or .mp4")
    options.add_metadata(sub)
    add(
        "--w-frames",
        type=cli.integer(1),
        default=_USUAL.w_frames,
        help="frames from a keyframe or class to the next, or of a walk without any "
        f"(default: {_USUAL.w_frames})",
    )
    add(
        "--num-keyframes",
        type=cli.integer(1),
        help="of each picture; seeds come again if there are fewer (default: by --seeds)",
    )
    add(
        "--grid",
        type=options.grid_size,
        help="COLUMNSxROWS (default: 1x1; without keyframes a row of all seeds)",
    )
    add("--shuffle-seed", type=cli.integer(0, 2**32 - 1), help="put the seeds in a random order")
    options.add_truncation(sub, f"{_USUAL.psi:g}")
    sub.set_defaults(truncation_psi=_USUAL.psi)
    options.add_centers(sub)
    options.add_class(sub, ": given to the seeds in turn (default: seed modulo the number of "
              "classes), or those of the walk (default: all)")  # fmt: skip
    add(
        "--range",
        type=_number_pair,
        metavar="LOW,HIGH",
        help="of psi (default: 0,1), or steps of --direction (default: -2,2)",
    )
    add(
        "--direction",
        type=_direction,
        metavar="FILE.npz[:NAME]",
        help="an array of it: NAME, as of directions, or direction; or two w, as of a projector, "
        "to go from one to the other",
    )
    add(
        "--fps",
        type=cli.number(1, 240),
        help="frames a second (default: 60 for MP4, else 25); GIF takes up to 50",
    )


def walk_of(args: argparse.Namespace) -> WalkOptions:
    """The walk that the options of generate-video describe.

    Raises:
        UserError: options that do not fit each other, or a video that cannot be written.
    """
    video.check_film(args.out, args.fps)
    if (args.walk == "direction") != (args.direction is not None):
        raise UserError("--walk=direction and --direction=FILE.npz go together: give both")
    return WalkOptions(
        args.walk,
        args.seeds,
        args.w_frames,
        args.num_keyframes,
        args.grid,
        args.shuffle_seed,
        args.truncation_psi,
        args.range,
    )


def _direction(text: str) -> str:
    file, name = split_direction(cli.path(text))
    return f"{cli.existing_path(file)}:{name}"


def _number_pair(text: str) -> tuple[float, float]:
    parts = text.split(",")
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"expected two numbers like 0,1, got {text!r}")
    low, high = map(cli.number(), parts)
    return low, high
