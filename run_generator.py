#!/usr/bin/env python3
"""Makes pictures with a trained generator, and looks into snapshots."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dnnlib import cli, output, own_code
from training.pictures import catalog_command, control_commands, options, walk_options
from training.pictures.explorer import command as explorer_command

if TYPE_CHECKING:
    from dnnlib.tflib import Network

_RESULT_DIR = "results"
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

  # A video that loops through the pictures of four seeds (GIF, WebP, animated PNG, MP4):
  python run_generator.py generate-video --network=network-final.pkl --seeds=1-4 --out=video.gif

  # Directions that change attributes, and pictures changed by them (docs/control.md):
  python run_generator.py directions --network=network-final.pkl --attributes=lightness,area
  python run_generator.py edit --network=network-final.pkl --seeds=1-4 --set="lightness=+2"

  # A catalog: 20 good pictures of each class, checked for copies of photos, with a table:
  python run_generator.py generate-catalog --network=network-final.pkl --per-class=20 --out=catalog

  # All of this on a page in the browser (docs/explorer.md):
  python run_generator.py explore --network=clothing-64

  # One of NVIDIA's published networks, by its name; any https URL works too:
  python run_generator.py generate-images --network=stylegan2-car-config-f --seeds=1-4

  # As generate.py of StyleGAN2-ADA; docs/official-names.md has all of its scripts:
  python run_generator.py --outdir=out --trunc=1 --seeds=85,265 --network=network-final.pkl

  # A picture again, from what it says of itself (the seed, the network, …):
  python run_generator.py reproduce --network=network-final.pkl seed0005.png

  # What is in a snapshot; the same in the layout of the ADA repository:
  python run_generator.py info --network=network-final.pkl
  python run_generator.py convert --network=network-final.pkl --out=new.pkl --format=5

  # The generator as a model for other programs (docs/export.md):
  python run_generator.py export --network=network-final.pkl --format=savedmodel --out=model
"""


# Pictures that the official examples mix.
_ROW_SEEDS, _COL_SEEDS = [85, 100, 75, 458, 1500], [55, 821, 1789, 293]


def _parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLES)
    commands = options.NetworkCommands(parser)

    def command(name: str, text: str, example: str, psi: str | None = "0.5"):
        sub = commands.add(name, text, example)
        options.add_code_options(sub)
        if psi is not None:
            options.add_truncation(sub, psi)
        if name not in ("info", "convert", "export", explorer_command.COMMAND):
            cli.add_precision(sub.add_argument)
        return sub

    sub = command("generate-images", "Writes one PNG for each seed.", "--seeds=1-10")
    group = sub.add_mutually_exclusive_group(required=True)
    group.add_argument("--seeds", type=options.seed_list, help="like 1,2,5-8")
    group.add_argument(
        "--dlatents",
        "--projected-w",
        type=cli.path,
        metavar="FILE.npz",
        help="pictures of these w, as a projector has found them, in the place of seeds",
    )
    options.add_centers(sub)
    options.add_class(sub, "; several make a picture of each seed and class "
              "(default: seed modulo the number of classes)")  # fmt: skip
    sub.add_argument(
        "--noise-mode",
        choices=("seed", "const", "random", "none"),
        help="noise inputs: drawn from the seed, as they are in the snapshot, other ones each "
        "time, or none (default: seed; with --dlatents, const)",
    )
    options.add_folders(sub)

    sub = command(
        "style-mixing-example",
        "Mixes styles of pairs of seeds.",
        "--row-seeds=1-4 --col-seeds=5-8",
        psi="0.5; with --outdir, 1",
    )
    for name, short, seeds in (("row", "rows", _ROW_SEEDS), ("col", "cols", _COL_SEEDS)):
        sub.add_argument(
            f"--{name}-seeds",
            f"--{short}",
            type=options.seed_list,
            default=seeds,
            help=f"like 1,2,5-8 (default: {','.join(map(str, seeds))})",
        )
    sub.add_argument(
        "--col-styles",
        "--styles",
        type=cli.int_list,
        help="layers that take the column's style (default: 0-6)",
    )
    options.add_folders(sub)
    options.add_class(sub, "; several are given to the seeds in turn, those of the rows first "
              "(default: seed modulo the number of classes)")  # fmt: skip

    sub = command("generate-grid", "Writes one PNG of many pictures.", "--grid=8x4 --out=grid.png")
    sub.add_argument(
        "--grid", type=options.grid_size, default=(8, 4), help="COLUMNSxROWS (default: 8x4)"
    )
    sub.add_argument(
        "--seeds",
        type=options.seed_list,
        default=[0],
        help="one a picture; if there are fewer, counting continues from the last "
        "(default: from 0)",
    )
    sub.add_argument(
        "--out", type=options.new_file, default="grid.png", help="PNG to write (default: grid.png)"
    )

    options.add_centers(sub)
    options.add_class(sub, ": those of the rows, in turn (default: all)")
    options.add_metadata(sub)

    text = "Writes a video of pictures that change and end where they began."
    sub = command("generate-video", text, "--seeds=1-4 --out=video.gif", psi=None)
    walk_options.add_video_options(sub)

    text = "Makes a picture again from what it says of itself."
    sub = commands.add("reproduce", text, "--out=again.png seed0005.png")
    sub.add_argument("picture", type=cli.existing_path, metavar="PICTURE", help="made by these "
                     "commands: an image of a seed or a w, a mix, a grid")  # fmt: skip
    sub.add_argument("--out", type=options.new_file, default="reproduced.png",
                     help="PNG to write (default: reproduced.png)")  # fmt: skip
    sub.add_argument("--dlatents", "--projected-w", type=cli.existing_path, metavar="FILE.npz",
                     help="the w of a picture that was made from w")  # fmt: skip
    options.add_code_options(sub)

    command("info", "Shows what is in a snapshot.", "", psi=None)

    example = "--out=new.pkl --format=5"
    sub = command("convert", "Writes a snapshot in another layout.", example, psi=None)
    formats = {
        "4": "like StyleGAN2's code",
        "5": "like ADA's",
        "npz": "weights only, with a JSON beside it",
        "npz-float16": "of Gs and D, at half precision, a third of the size",
    }
    sub.add_argument(
        "--out", type=options.new_file, required=True, help=".pkl or .npz file to write"
    )
    options.add_format(sub, formats)

    text = "Writes the generator as a model for other programs, checked by running it there."
    sub = command("export", text, "--format=savedmodel --out=model")
    formats = {
        "savedmodel": "TensorFlow, TensorFlow Serving",
        "keras": "for keras.layers.TFSMLayer",
        "onnx": "onnxruntime",
        "tflite": "LiteRT",
    }
    options.add_format(sub, formats)
    sub.add_argument(
        "--out", type=cli.folder_to_write, required=True, metavar="DIR", help="new folder to write"
    )

    text = "Joins the coarse layers of one network and the fine layers of another."
    sub = commands.add(
        "blend", text, "low.pkl high.pkl --resolution=32 --out=new.pkl", ("LOW", "HIGH")
    )
    options.add_code_options(sub)
    options.add_blend_options(sub)

    control_commands.add_commands(command)
    catalog_command.add_command(command)
    explorer_command.add_command(command)
    args = commands.parse(words, ["generate-images", "style-mixing-example"])
    options.check_beside_dlatents(args)
    if args.command in control_commands.COMMANDS:
        control_commands.check(args)
    elif args.command == catalog_command.COMMAND:
        catalog_command.check(args)
    elif args.command == explorer_command.COMMAND:
        explorer_command.check(args)
    elif getattr(args, "truncation_psi", 0) is None:
        # The scripts of StyleGAN2-ADA, whose name for the folder this is, have other defaults.
        is_ada = getattr(args, "outdir", None) is not None
        args.truncation_psi = 1.0 if is_ada and args.command == "style-mixing-example" else 0.5
    return args


def generate_images(
    network_pkl: str,
    seeds: Sequence[int] | None,
    truncation_psi: float | None,
    outdir: str | None = None,
    class_idx: int | None = None,
    dlatents_npz: str | None = None,
) -> str:
    """Makes a picture of each seed, as the official functions of this name do.

    Args:
        network_pkl: file, URL or name of a snapshot.
        seeds: 0 to 2^32 - 1.
        truncation_psi: 0 for the mean to 1 for full variety; None: 0.5.
        outdir: folder for `seedNNNN.png`; None: that of the run that `dnnlib.submit_run` is in,
            or else a new one in `results`.
        class_idx: of a conditional network; None: by the seed.
        dlatents_npz: file of w to make `dlatentNN.png` of, in the place of seeds.

    Returns:
        The folder.

    Raises:
        UserError: as the script's errors.
    """
    from dnnlib.submission import submit
    from training.pictures import generation
    from training.pictures.provenance import Provenance

    psi = 0.5 if truncation_psi is None else truncation_psi
    classes = [] if class_idx is None else [class_idx]

    outdir = outdir or submit.current_run_dir()

    def make(Gs: Network) -> str:
        where = {"outdir": outdir, "provenance": Provenance.of(network_pkl)}
        if dlatents_npz is not None:
            return generation.generate_from_dlatents(Gs, dlatents_npz, _RESULT_DIR, **where)
        return generation.generate_images(Gs, seeds, psi, _RESULT_DIR, classes, **where)

    return _with_generator(network_pkl, make)


def style_mixing_example(
    network_pkl: str,
    row_seeds: Sequence[int],
    col_seeds: Sequence[int],
    truncation_psi: float,
    col_styles: Sequence[int],
    outdir: str | int | None = None,
    minibatch_size: int = 4,
) -> str:
    """Mixes styles of pairs of seeds, as the official functions of this name do.

    Args:
        network_pkl: file, URL or name of a snapshot.
        row_seeds, col_seeds: of the pictures that are mixed.
        truncation_psi: 0 for the mean to 1 for full variety.
        col_styles: layers that take the column's style.
        outdir: folder for `ROW-COL.png` and `grid.png`; None: as of `generate_images`. A number is
            `minibatch_size`, which is the sixth parameter in the StyleGAN2 repository.
        minibatch_size: pictures at once.

    Returns:
        The folder.

    Raises:
        UserError: as the script's errors.
    """
    from dnnlib.submission import submit
    from training.pictures import generation
    from training.pictures.provenance import Provenance

    folder, size = (None, outdir) if isinstance(outdir, int) else (outdir, minibatch_size)
    where = {"outdir": folder or submit.current_run_dir(), "minibatch_size": size}
    where |= {"provenance": Provenance.of(network_pkl)}
    args = (row_seeds, col_seeds, truncation_psi, col_styles, _RESULT_DIR)
    return _with_generator(
        network_pkl, lambda Gs: generation.style_mixing_example(Gs, *args, **where)
    )


def _trained_on(run_dir: str, data_dir: str | None) -> dict[str, Any]:
    """Arguments of the dataset of a run directory, which may have moved; none of another folder."""
    from training.run import resume
    from training.run.file_names import OPTIONS_FILE

    if not os.path.isfile(os.path.join(run_dir, OPTIONS_FILE)):
        return {}
    options = resume.read_options(run_dir)
    resume.find_data(options, data_dir)
    return options.dataset_args


def _with_generator(network_pkl: str, make: Callable[[Network], str]) -> str:
    """What `make` returns for the generator of a snapshot, in a session of its own."""
    from dnnlib import tflib
    from training.snapshots import pickles

    with tflib.graph_session():
        return make(pickles.load_generator(network_pkl))


def main() -> None:
    args = _parse_args()
    centers_wanted = options.centers_of(args)
    walk = walk_options.walk_of(args) if args.command == "generate-video" else None
    # TensorFlow takes seconds to load, and has to wait for what can be checked without it.
    from dnnlib import tflib
    from training.architecture.precision import computed_in
    from training.latents.truncation import find_centers
    from training.pictures import generation, reproduction, walk_videos
    from training.pictures.provenance import Provenance
    from training.snapshots import blend, conversion, description, pickles
    from training.snapshots.class_names import describe_places, find_classes

    network, trusted = getattr(args, "network", None), args.allow_pickled_code
    precision = getattr(args, "precision", "fp32")
    own_code.load_networks(args)
    with tflib.graph_session(), computed_in(precision):
        if args.command in control_commands.COMMANDS:
            from metrics.picture_scores import classifier_measure

            control_commands.run(args, classifier_measure)
            return
        if args.command == catalog_command.COMMAND:
            print(f"Wrote {catalog_command.run(args, _trained_on)}")
            return
        if args.command == explorer_command.COMMAND:
            from metrics.feature_networks import FeatureSources
            from metrics.projection_distance import choose

            explorer_command.run(args, lambda Gs, D: choose("auto", Gs, D, FeatureSources()))
            return
        if args.command == "info":
            output.printing_is_the_work()
            print(description.describe(network, trusted))
            return
        if args.command == "convert":
            conversion.convert(network, args.out, args.format, trusted)
            print(f"Wrote {args.out}")
            return
        if args.command == "export":
            from training.snapshots.export.command import export

            print(export(network, args.format, args.out, args.truncation_psi, trusted))
            return
        if args.command == "blend":
            at = (args.resolution, args.width)
            print(blend.blend_files(args.low, args.high, args.out, *at, trusted), end="")
            return
        if args.command == "reproduce":
            found = reproduction.reproduce(args.picture, network, args.out, args.dlatents, trusted)
            print(f"Wrote {args.out}: {found}")
            return
        Gs = pickles.load_generator(network, trusted)
        provenance = Provenance.of(network, not args.no_metadata)
        psi = args.truncation_psi
        classes = [] if args.classes is None else find_classes(Gs, args.classes)
        if args.command == "generate-video":
            centers = find_centers(Gs, centers_wanted, network)
            walk_videos.generate_video(
                Gs, walk, centers, args.out, classes, args.direction, args.fps, provenance
            )
            print(f"Wrote {args.out}\n{walk_videos.describe_classes(Gs, walk, classes)}", end="")
            return
        if args.command == "generate-grid":
            centers = find_centers(Gs, centers_wanted, network)
            rows = generation.generate_grid(
                Gs, args.grid, args.seeds, psi, args.out, classes, centers, provenance
            )
            print(f"Wrote {args.out}")
            print(describe_places(Gs, rows, "row", range(1, len(rows) + 1)), end="")
            return
        where = {"result_dir": args.result_dir, "outdir": args.outdir, "provenance": provenance}
        if args.command == "style-mixing-example":
            seeds = list(dict.fromkeys([*args.row_seeds, *args.col_seeds]))
            out_dir = generation.style_mixing_example(
                Gs, args.row_seeds, args.col_seeds, psi, args.col_styles, classes=classes, **where
            )
        elif args.dlatents is not None:
            where["noise_mode"] = args.noise_mode or "const"
            print(f"Wrote {generation.generate_from_dlatents(Gs, args.dlatents, **where)}")
            return
        else:
            seeds = args.seeds
            where |= {"centers": find_centers(Gs, centers_wanted, network)}
            out_dir = generation.generate_images(
                Gs, seeds, psi, classes=classes, noise_mode=args.noise_mode or "seed", **where
            )
        print(f"Wrote {out_dir}")
        if args.command == "style-mixing-example" or len(classes) < 2:  # Else files say which.
            of_seeds = generation.classes_of_seeds(Gs, seeds, classes)
            print(describe_places(Gs, of_seeds, "seed", seeds), end="")


if __name__ == "__main__":
    cli.run(main)
