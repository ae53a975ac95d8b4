"""Trains StyleGAN2 on a dataset of TFRecords."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dnnlib import UserError, cli, output, urls
from dnnlib.run_dir import next_run_dir
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import did_you_mean
from metrics import METRICS
from metrics.feature_networks.sources import FeatureSources, add_feature_net_option
from training.augmentation.presets import AUGMENT_PRESETS
from training.config.comparison_methods import METHODS
from training.config.presets import ADA_NAMES
from training.run.divergence import Diverged
from training.snapshots import pretrained

if TYPE_CHECKING:
    from metrics.metric_base import MetricGroup
    from training.config.options import TrainingOptions

_EXAMPLES = """examples:
  # See the whole way from data to image grid in a few minutes, on any machine:
  python run_training.py --demo

  # Train on the dataset in ~/datasets/shoes with one GPU:
  python run_training.py --data-dir=~/datasets --dataset=shoes --mirror-augment=true

  # With the networks of StyleGAN2-ADA, and what usually works at this resolution:
  python run_training.py --data-dir=~/datasets --dataset=shoes --cfg=auto --mirror=true

  # Resume the run that was interrupted last:
  python run_training.py --resume=latest

  # A network small enough for a CPU:
  python run_training.py --data-dir=~/datasets --dataset=shoes --config=config-e \\
      --total-kimg=200 --batch=16 --fmap-base=2048 --fmap-max=128 --latent-size=128
"""


HELD_OUT = "validation"  # What --metricdata calls the images of --validation.
# Options of one session of a run, not of the run itself.
_OF_A_SESSION = {"resume", "result_dir", "total_kimg", "snap", "keep", "dry_run"}
_OF_A_SESSION |= {"metrics", "metricdata", "feature_net"}


def _parse_args() -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLES)
    _add_basics(parser.add_argument)
    _add_steps(parser.add_argument)
    _add_saving(parser.add_argument)
    group = parser.add_argument_group("augmentation of what the discriminator sees (ADA)")
    _add_augmentation(group.add_argument)
    group = parser.add_argument_group("comparison methods: other ways to train on little data")
    _add_comparison(group.add_argument)
    group = parser.add_argument_group("smaller networks and shorter schedules, for small machines")
    _add_sizes(group.add_argument)
    args = parser.parse_args()
    _check(args, parser)
    return args


def _add_basics(add: Callable) -> None:
    """What to train on, with which configuration."""
    cli.add_result_dir(add)
    add("--data-dir", type=cli.path, help="root of the datasets")
    add("--dataset", type=cli.path, help="name of the dataset: a folder in --data-dir")
    add(
        "--config",
        "--cfg",
        default="config-f",
        help="of StyleGAN2: config-a to config-f, or config-e-G{orig,skip,resnet}-"
        f"D{{orig,skip,resnet}}; of StyleGAN2-ADA: {', '.join(ADA_NAMES)} (default: config-f)",
    )
    cli.add_num_gpus(add)
    add(
        "--total-kimg",
        "--kimg",
        type=cli.number(0.001),
        help="length in thousands of images (default: config's, mostly 25000)",
    )
    add(
        "--mirror-augment",
        "--mirror",
        type=cli.boolean,
        default=False,
        help="flip half of the images (false)",
    )
    add(
        "--validation",
        type=cli.integer(1),
        metavar="N",
        help="hold out N images, chosen by --seed, that are never trained on; how much lower the "
        "discriminator scores them is reported as r_v (default: none)",
    )
    add("--cond", type=cli.boolean, default=True, help="use the dataset's labels (true)")
    add(
        "--dry-run",
        "-n",
        action="store_true",
        help="print the options, and on stderr what the run would be and how long it would take; "
        "then stop",
    )
    add(
        "--demo",
        action="store_true",
        help="draw a small dataset, train on it for a few minutes on a CPU, and generate a grid",
    )


def _add_steps(add: Callable) -> None:
    """What a step does."""
    add("--gamma", type=cli.number(0), help="weight of the R1 regularization (default: config's)")
    add("--seed", type=cli.integer(0, 2**31 - 1), help="fixes the whole run (default: 1000)")
    add("--batch", type=cli.integer(1), help="images a step (default: config's)")
    add(
        "--batch-gpu",
        type=cli.integer(1),
        help="images at once on a device; the rest of --batch "
        "is accumulated (default: by configuration and resolution)",
    )
    add(
        "--precision",
        choices=("fp32", "mixed"),
        default="fp32",
        help="mixed computes the four highest resolutions in float16 on GPUs, and in bfloat16 on "
        "CPUs that have it; fp32 does what the configuration says, which for those of "
        "StyleGAN2-ADA includes float16 on GPUs (default: fp32)",
    )


def _add_saving(add: Callable) -> None:
    """Snapshots: what is kept, measured, resumed."""
    add("--snap", type=cli.integer(1), help="ticks between snapshots (default: 10)")
    add("--keep", type=cli.integer(1), help="states for --resume that are kept (default: 2)")
    add(
        "--resume",
        type=cli.path,
        metavar="FROM",
        help="resume a run exactly: a run directory, or latest for the run that saved last, with "
        "all options that it was started with except --metrics; or start a new run from the "
        "weights of a snapshot: a file, an https URL, or the name of a published network",
    )
    add(
        "--resume-partial",
        action="store_true",
        help="start from a snapshot even if few of its weights fit",
    )
    add(
        "--freezed",
        type=cli.integer(0),
        metavar="N",
        help="do not train the first N layers of the discriminator (Freeze-D)",
    )
    add(
        "--metrics",
        default="none",
        help=f"measured for every snapshot: {', '.join(METRICS)}, separated by commas, or none "
        "(default: none)",
    )
    add(
        "--metricdata",
        type=cli.path,
        metavar="NAME",
        help="dataset that --metrics compare with: a folder in --data-dir, or a path; or "
        "validation, the images that --validation holds out (default: the images that are trained "
        "on)",
    )
    add_feature_net_option(add, "for --metrics, as for run_metrics.py")


def _add_augmentation(add: Callable) -> None:
    add(
        "--aug",
        choices=("noaug", "ada", "adarv", "fixed"),
        help="ada: as much as the discriminator overfits; adarv: the same, measured on the images "
        "of --validation; fixed: by --p (default: ada for the configurations of StyleGAN2-ADA, "
        "else noaug)",
    )
    add(
        "--augpipe",
        metavar="NAME",
        help=f"which transformations: {', '.join(AUGMENT_PRESETS)} (default: bgc)",
    )
    add("--p", type=cli.number(0, 1), help="probability of each transformation, for --aug=fixed")
    add(
        "--target",
        type=cli.number(-1, 1),
        help="overfitting to aim at, for --aug=ada (default: 0.6) and --aug=adarv (0.5)",
    )


def _add_comparison(add: Callable) -> None:
    names = "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items())
    add(
        "--cmethod",
        choices=tuple(METHODS),
        default="nocmethod",
        metavar="NAME",
        help=f"{names} (default: nocmethod)",
    )
    add(
        "--dcap",
        type=cli.number(0.001),
        metavar="X",
        help="feature maps of the discriminator, times those of the configuration (default: 1)",
    )


def _add_sizes(add: Callable) -> None:
    add("--resolution", type=cli.integer(4), help="train at a coarser level of the data")
    add("--fmap-base", type=cli.integer(1), help="scales the number of feature maps")
    add("--fmap-max", type=cli.integer(1), help="maximum number of feature maps (512)")
    add("--latent-size", type=cli.integer(1), help="size of z and w (512)")
    add("--mapping-layers", type=cli.integer(1), help="depth of the mapping network (8 or 2)")
    add("--lrate", type=cli.number(0), help="learning rate (default: config's)")
    add(
        "--lod-kimg",
        type=cli.number(0.001),
        help="configs a-d: thousands of images at a resolution, and again for fading in the next "
        "(600)",
    )
    add(
        "--ema-kimg",
        type=cli.number(0),
        help="half-life of the weight average in thousands of images (default: config's)",
    )


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses options that exclude each other."""
    # Deviation: the official default is fid50k.
    unknown = [name for name in args.metrics.split(",") if name not in ("none", *METRICS)]
    if unknown:
        hint = did_you_mean(unknown[0], METRICS)
        parser.error(f"--metrics={unknown[0]}: {hint}use {', '.join(('none', *METRICS))}")
    if args.metrics == "none":
        if args.metricdata is not None:
            parser.error("--metricdata is what metrics compare with: add --metrics")
        if args.feature_net:
            parser.error("--feature-net is what metrics look through: add --metrics")
    if args.demo:
        free = {"demo", "result_dir", "data_dir", "seed", "dry_run"}
        if names := _listed(set(parser.given()) - free):
            parser.error(f"--demo chooses {names} itself: leave it out")
    _check_resume(args, parser)


def _check_resume(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Options beside --resume, which means one thing for a run and another for a snapshot."""
    shown = urls.show_source(args.resume or "")
    folder, name = os.path.split(shown)
    if name.startswith("training-state-"):
        parser.error(f"--resume={shown}: name the run directory, --resume={folder or '.'}")
    if args.resume is not None and not _is_run(args.resume) and args.dataset is not None:
        try:
            pretrained.existing(args.resume)
        except UserError as error:
            parser.error(f"--resume: {error}")
    if args.resume_partial and (args.resume is None or _is_run(args.resume)):
        parser.error("--resume-partial is for new runs from the weights of --resume=SNAPSHOT")
    if args.resume is None or args.dataset is not None:
        return
    if not _is_run(args.resume):
        parser.error(
            f"--resume={shown}: there is no such run directory; to start a new run from the "
            "weights of a snapshot, name a --dataset too"
        )
    if names := _listed(set(parser.given()) - _OF_A_SESSION - {"data_dir"}):
        parser.error(f"--resume continues with the options of the run: leave out {names}")


def _listed(options: set[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in sorted(options))


def main() -> None:
    args = _parse_args()
    # TensorFlow takes seconds to load, and has to wait for what can be checked without it.
    from training.config.command_line import dataset_folder, demo_options, options_from_args

    run_dir = None
    if _is_run(args.resume):
        options, run_dir = _resumed(args)
    else:
        options = demo_options(args) if args.demo else options_from_args(args)
    metric_folder = None
    held_out = args.metricdata == HELD_OUT and "validation" in options.dataset_args
    if args.metricdata is not None and not held_out:
        metric_folder = dataset_folder("--metricdata", args.metricdata, args.data_dir)
    if args.dry_run:
        output.printing_is_the_work()
        print(json.dumps(options.to_json(), indent=2), flush=True)
        _print_plan(args, options, run_dir)
        return
    load_tensorflow()
    from training import training_loop

    if args.demo:
        from training.run.demo import run_demo

        run_demo(options, args.result_dir, training_loop.train)
        return
    metrics = _metrics(args, options, metric_folder, held_out)
    try:
        if run_dir is not None:
            training_loop.resume(options, run_dir, metrics)
        else:
            training_loop.train(options, args.result_dir, _description(args), metrics)
    except Diverged as error:
        print(f"run_training.py: error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def _print_plan(args: argparse.Namespace, options: TrainingOptions, run_dir: str | None) -> None:
    """What the run would be, on stderr: stdout has the options for programs."""
    if run_dir is None:
        desc = "stylegan2-demo-1gpu" if args.demo else _description(args)
        run_dir = next_run_dir(args.result_dir, desc)
    print(f"Run directory: {run_dir}", file=sys.stderr)
    if args.demo and not os.path.isdir(options.dataset_args["tfrecord_dir"]):
        return  # It is drawn first.
    load_tensorflow()
    from training.run import plan

    try:
        print(plan.describe(options), file=sys.stderr)
    except UserError as error:
        print(f"No more can be said: {error}", file=sys.stderr)


def _metrics(
    args: argparse.Namespace, options: TrainingOptions, folder: str | None, held_out: bool
) -> MetricGroup | None:
    """The metrics that --metrics names, with the dataset of --metricdata in `folder`, or with the
    images that are held out.
    """
    names = [name for name in args.metrics.split(",") if name != "none"]
    if not names:
        return None
    from metrics.evaluation import MetricOptions, other_dataset_args
    from metrics.metric_base import MetricGroup

    dataset_args = options.dataset_args
    if folder is not None:
        dataset_args = other_dataset_args(folder, dataset_args)
    files = dict(args.feature_net)
    own_file = files.pop("own", None)
    sources = FeatureSources(files, own_file)
    sources.check_given()
    return MetricGroup(
        names,
        MetricOptions(
            dataset_args,
            options.mirror_augment,
            options.num_gpus,
            sources=sources,
            held_out=held_out,
        ),
    )


def _description(args: argparse.Namespace) -> str:
    """What the name of a run directory ends with."""
    name = os.path.basename(os.path.normpath(args.dataset))
    desc = f"stylegan2-{name}-{args.num_gpus}gpu-{args.config}"
    desc += "" if args.cmethod == "nocmethod" else f"-{args.cmethod}"
    return desc if args.dcap is None else f"{desc}-dcap{args.dcap:g}"


def _is_run(resume: str | None) -> bool:
    """Whether --resume continues a run, rather than starting one from a snapshot."""
    return resume == "latest" or (resume is not None and os.path.isdir(resume))


def _resumed(args: argparse.Namespace) -> tuple[TrainingOptions, str]:
    """The options of the run that --resume names, and its directory."""
    from training.config.command_line import options_from_args, set_session_options
    from training.run import resume

    desc = None if args.dataset is None else _description(args)
    run_dir = resume.find_run(args.result_dir, args.resume, desc)
    given = None
    if args.dataset is not None:
        given = options_from_args(argparse.Namespace(**{**vars(args), "resume": None}))
    options = resume.resumed_options(run_dir, given)
    resume.find_data(options, args.data_dir)
    set_session_options(options, args)
    if args.total_kimg is not None:
        options.total_seconds = None  # The demo's: who asks for more has more time.
    return options, run_dir


if __name__ == "__main__":
    cli.run(main)
