"""The options of run_training.py: names of the StyleGAN2 and of the ADA repository, side by side.

What they mean is in `training.config.command_line`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dnnlib import cli, own_code
from training.augmentation.presets import AUGMENT_PRESETS
from training.config.comparison_methods import METHODS
from training.config.presets import ADA_NAMES


def add_options(
    parser: cli.ArgumentParser, metrics: Sequence[str], add_feature_net: Callable
) -> None:
    """Adds all options to a parser.

    Args:
        parser: of run_training.py.
        metrics: names of metrics.
        add_feature_net: adds --feature-net, with the method `add_argument` of a parser.
    """
    _add_basics(parser.add_argument)
    _add_steps(parser.add_argument)
    _add_saving(parser.add_argument, metrics)
    add_feature_net(parser.add_argument)
    group = parser.add_argument_group("augmentation of what the discriminator sees (ADA)")
    _add_augmentation(group.add_argument)
    group = parser.add_argument_group("comparison methods: other ways to train on little data")
    _add_comparison(group.add_argument)
    group = parser.add_argument_group("smaller networks and shorter schedules, for small machines")
    _add_sizes(group.add_argument)
    group = parser.add_argument_group("several machines, see docs/distributed.md")
    _add_workers(group.add_argument)
    group = parser.add_argument_group("networks and losses of your own, see docs/own-code.md")
    _add_own_code(group.add_argument)


def _add_basics(add: Callable) -> None:
    """What to train on, with which configuration."""
    cli.add_result_dir(add, "root of the run directories (default: results)", "--outdir")
    add("--data-dir", type=cli.path, help="root of the datasets")
    add("--dataset", type=cli.path, help="name of the dataset: a folder in --data-dir")
    cli.add_dataset_path(add, "--data", "train.py")
    add(
        "--config",
        "--cfg",
        help="of StyleGAN2: config-a to config-f, or config-e-G{orig,skip,resnet}-"
        f"D{{orig,skip,resnet}}; of StyleGAN2-ADA: {', '.join(ADA_NAMES)} (default: config-f; "
        "with --data, auto)",
    )
    cli.add_num_gpus(add)
    add(
        "--total-kimg",
        "--kimg",
        type=cli.number(0.001),
        help="length in thousands of images (default: config's, mostly 25000)",
    )
    add(
        "--hours",
        type=cli.number(0.001),
        help="end after so many hours if the run is not over before",
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
        "CPUs that are faster in it; fp32 does what the configuration says, which for those of "
        "StyleGAN2-ADA includes float16 on GPUs (default: fp32)",
    )


def _add_saving(add: Callable, metrics: Sequence[str]) -> None:
    """Snapshots: what is kept, measured, resumed."""
    add("--snap", type=cli.integer(1), help="ticks between snapshots (default: config's, 10 or 50)")
    add("--keep", type=cli.integer(1), help="states for --resume that are kept (default: 2)")
    add(
        "--resume",
        type=cli.path,
        metavar="FROM",
        help="resume a run exactly: a run directory, or latest for the run that saved last, with "
        "all options that it was started with except --metrics; or start a new run from the "
        "weights of a snapshot: a file, an https URL, or the name of a published network; or "
        "noresume (default)",
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
        help=f"measured for every snapshot: {', '.join(metrics)}, or MODULE.CLASS of your own, "
        "separated by commas, or none (default: none)",
    )
    add(
        "--metricdata",
        type=cli.path,
        metavar="NAME",
        help="dataset that --metrics compare with: a folder in --data-dir, or a path; or "
        "validation, the images that --validation holds out (default: the images that are trained "
        "on)",
    )


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
        help=f"which transformations: {', '.join(AUGMENT_PRESETS)} (default: bgc; those with "
        "-white leave a white background white)",
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
    add("--resolution", "--res", type=cli.integer(4), help="train at a coarser level of the data")
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


def _add_workers(add: Callable) -> None:
    add(
        "--workers",
        metavar="HOST:PORT,…",
        help="addresses of the processes that train together, the same list for each; each has "
        "--num-gpus devices, and --batch is of all (default: what TF_CONFIG says, else none)",
    )
    add(
        "--worker-index",
        type=cli.integer(0),
        metavar="I",
        help="which of --workers this process is; 0 writes all files",
    )
    add("--slurm", action="store_true", help="the processes are the tasks that srun has started")
    add(
        "--num-workers",
        type=cli.integer(1, 64),
        metavar="N",
        help="start so many processes on this machine, to try it",
    )
    add(
        "--worker-timeout",
        type=cli.number(1),
        default=600,
        metavar="SECONDS",
        help="how long to wait for other workers in a step, before the first one 6 times as long "
        "(default: 600)",
    )


def _add_own_code(add: Callable) -> None:
    own_code.add_network_options(add, "in the place of the configuration's")
    for role in ("G", "D"):
        add(
            f"--{role}-loss",
            metavar="MODULE.FUNCTION",
            help=f"loss {role}_… of your own, called like the official ones",
        )
