#!/usr/bin/env python3
"""Projects pictures into the latent space of a generator: finds the w that make them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dnnlib import cli
from metrics.feature_networks.sources import FeatureSources, add_feature_net_option
from training.latents.options import (
    DISTANCES,
    MOST_PSI,
    NOISE_MODES,
    SPACES,
    ProjectionOptions,
)
from training.pictures.options import NetworkCommands, add_class, add_metadata, seed_list

_EXAMPLES = """examples:
  # A photo of any size: out/target.png, proj.png, dlatents.npz, and a video of the steps:
  python run_projector.py project --network=network-final.pkl --target=photo.jpg --outdir=out

  # All pictures of a folder, closer to them, with one w for each layer:
  python run_projector.py project --network=network-final.pkl --target=photos --outdir=out \\
      --space=w+ --save-video=false

  # Generated images, with pictures of the way there:
  python run_projector.py project-generated-images --network=network-final.pkl --seeds=0,1,5

  # The first images of a dataset:
  python run_projector.py project-real-images --network=network-final.pkl \\
      --data-dir=datasets --dataset=mine --num-images=3
"""
_DEFAULTS = ProjectionOptions()
# Fields of `ProjectionOptions`.
_OPTIONS = ("num_steps", "space", "wplus_noise_weight", "wplus_penalty", "noise_mode", "seed",
            "initial_learning_rate", "initial_noise_factor")  # fmt: skip


def project_image(proj, targets, png_prefix: str, num_snapshots: int) -> None:
    """Projects images with a projector, as the official function of this name does.

    Writes `PREFIXtarget.png`, and `PREFIXstepNNNN.png` of some steps; several images side by side.

    Args:
        proj: a `projector.Projector` that has a network.
        targets: [N, C, H, W], floats of -1 to 1.
        png_prefix: path that the names of the files begin with.
        num_snapshots: pictures besides the target.
    """
    from training.pictures import projection_files

    projection_files.project_with(proj, targets, png_prefix, num_snapshots)


def project_generated_images(
    network_pkl: str,
    seeds: Sequence[int],
    num_snapshots: int,
    truncation_psi: float,
    result_dir: str | None = None,
) -> str:
    """`project-generated-images` with all else by default; returns the folder.

    That is a new run directory in `result_dir`; None: the directory of the run that
    `dnnlib.submit_run` is in, or else a new one in `results`.
    """
    from training.pictures import projections

    setup = _setup(network_pkl)
    made = projections.project_seeds(
        setup, seeds, truncation_psi, num_snapshots, **_where(result_dir)
    )
    return _with_page(made)


def project_real_images(
    network_pkl: str,
    dataset_name: str,
    data_dir: str,
    num_images: int,
    num_snapshots: int,
    result_dir: str | None = None,
) -> str:
    """`project-real-images` with all else by default; `result_dir` as above."""
    from training.pictures import projections

    folder = os.path.join(data_dir, dataset_name)
    setup = _setup(network_pkl)
    made = projections.project_dataset(
        setup, folder, num_images, num_snapshots, **_where(result_dir)
    )
    return _with_page(made)


def _with_page(run_dir: str) -> str:
    """A run directory, in which its page is written."""
    from training.run.page.report import try_page

    try_page(run_dir)
    return run_dir


def _where(result_dir: str | None) -> dict[str, str | None]:
    from dnnlib.submission import submit

    outdir = submit.current_run_dir() if result_dir is None else None
    return {"result_dir": result_dir or "results", "outdir": outdir}


def _setup(network_pkl: str, args: argparse.Namespace | None = None):
    """A `projections.Setup` of what the command line says, or of the defaults."""
    from dnnlib import tflib
    from metrics import projection_distance
    from training.pictures.projections import Setup
    from training.pictures.provenance import Provenance
    from training.snapshots.class_names import find_classes

    tflib.init_tf()
    if args is None:
        marks = Provenance.of(network_pkl)
        return Setup(*projection_distance.load(network_pkl), provenance=marks)
    sources = FeatureSources(dict(args.feature_net), None, args.allow_pickled_code)
    Gs, distance = projection_distance.load(
        network_pkl, args.distance, sources, args.allow_pickled_code
    )
    options = ProjectionOptions(**{name: getattr(args, name) for name in _OPTIONS})
    classes = [] if args.classes is None else find_classes(Gs, args.classes)
    marks = Provenance.of(network_pkl, not args.no_metadata)
    return Setup(Gs, distance, options, args.batch, classes, marks)


def _parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLES)
    commands = NetworkCommands(parser)
    command = commands.add

    sub = command("project", "Projects photos of any size.", "--target=photo.jpg --outdir=out")
    sub.add_argument(
        "--target",
        type=cli.existing_path,
        nargs="+",
        action="extend",
        required=True,
        help="pictures, or folders of them; they are cropped in the middle and resized",
    )
    sub.add_argument(
        "--outdir",
        type=cli.folder_to_write,
        required=True,
        help="folder to write to; several targets have a folder each in it",
    )
    cli.add_save_video(sub.add_argument)
    _add_common_options(sub)

    sub = command("project-generated-images", "Projects what the network makes of seeds.",
                  "--seeds=0,1,5")  # fmt: skip
    sub.add_argument("--seeds", type=seed_list, default=[0, 1, 2], help="like 1,2,5-8 "
                     "(default: 0-2)")  # fmt: skip
    psi = cli.number(-MOST_PSI, MOST_PSI)
    sub.add_argument("--truncation-psi", "--trunc", type=psi, default=1.0,
                     help="see run_generator.py (default: 1.0)")  # fmt: skip
    _add_run_options(sub)

    sub = command("project-real-images", "Projects the first images of a dataset.",
                  "--data-dir=datasets --dataset=mine")  # fmt: skip
    sub.add_argument("--data-dir", type=cli.path, default="", help="root of the datasets")
    sub.add_argument("--dataset", type=cli.path, required=True, help="name of the dataset")
    sub.add_argument("--num-images", type=cli.integer(1), default=3, help="how many (default: 3)")
    _add_run_options(sub)
    args = commands.parse(words, ["project"])
    own = [role for role, _ in args.feature_net if role == "own"]
    if own:
        parser.error("--feature-net: expected lpips=FILE or vgg16=FILE")
    return args


def _add_run_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--num-snapshots", type=cli.integer(1), default=5,
                     help="pictures of the way to each target (default: 5)")  # fmt: skip
    cli.add_result_dir(sub.add_argument)
    _add_common_options(sub)


def _add_common_options(sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument_group("how to project").add_argument

    def add_option(name: str, text: str, **kwargs) -> None:
        default = getattr(_DEFAULTS, name)
        option = "--" + name.replace("_", "-")
        add(option, default=default, help=f"{text} (default: {default})", **kwargs)

    add_option("num_steps", "steps of optimization", type=cli.integer(1))
    add_option(
        "space",
        "w: one w for all layers; w+: one for each, closer to the target, and less like other "
        "pictures of the network",
        choices=SPACES,
    )
    add_option(
        "wplus_noise_weight",
        "in w+, how strongly noise maps are kept free of the picture",
        type=cli.number(0),
    )
    add_option("wplus_penalty", "how w+ is held near the mean; 0: not", type=cli.number(0))
    add(
        "--distance",
        choices=DISTANCES,
        default=DISTANCES[0],
        help="what is minimized: LPIPS, the features of the snapshot's own discriminator, or plain "
        "pixels (default: auto, the first of these that is at hand)",
    )
    add_option(
        "noise_mode",
        "optimize: noise maps too; const: those of the network; random: other ones in every step; "
        "none",
        choices=NOISE_MODES,
    )
    add_class(
        sub,
        "; several are given to the targets in turn (default: that of the target where it is "
        "known, else all in equal parts)",
    )
    add_metadata(sub)
    add("--batch", type=cli.integer(1, 256), help="targets at once (default: by their size)")
    add_option("seed", "of the random numbers", type=cli.integer(0, 2**31 - 1))
    add_option("initial_learning_rate", "highest learning rate", type=cli.number(0))
    add_option("initial_noise_factor", "noise on w at the beginning", type=cli.number(0))
    add_feature_net_option(add, "for --distance=lpips: lpips=FILE, vgg16=FILE")
    add(
        "--allow-pickled-code",
        action="store_true",
        help="use NVIDIA's LPIPS, and run the code that snapshots bring",
    )


def main() -> None:
    args = _parse_args()
    folder = None
    if args.command == "project-real-images":
        from training.config.command_line import dataset_folder

        folder = dataset_folder("--dataset", args.dataset, args.data_dir)
    # TensorFlow takes seconds to load, and has to wait for what can be checked without it.
    from dnnlib import tflib
    from training.pictures import projections

    with tflib.graph_session():
        setup = _setup(args.network, args)
        if args.command == "project":
            written = projections.project_files(setup, args.target, args.outdir, args.save_video)
            print(
                f"Wrote {args.outdir}"
                if len(written) == 1
                else f"Wrote {len(written)} folders in {args.outdir}"
            )
        elif args.command == "project-generated-images":
            psi = args.truncation_psi
            made = projections.project_seeds(
                setup, args.seeds, psi, args.num_snapshots, args.result_dir
            )
            print(f"Wrote {_with_page(made)}")
        else:
            made = projections.project_dataset(
                setup, folder, args.num_images, args.num_snapshots, args.result_dir
            )
            print(f"Wrote {_with_page(made)}")


if __name__ == "__main__":
    cli.run(main)
