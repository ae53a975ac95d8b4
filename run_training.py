"""Trains StyleGAN2 on a dataset of TFRecords."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

from dnnlib import UserError, cli, cluster, output, own_code, urls
from dnnlib.run_dir import next_run_dir
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import did_you_mean
from metrics import METRICS
from metrics.feature_networks.sources import FeatureSources, add_feature_net_option
from training.config.parser import add_options
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

  # From a folder of photos to a catalog, in eight hours; all else is chosen, and said:
  python run_training.py --data=~/photos --hours=8

  # As train.py of StyleGAN2-ADA, with its options and defaults; docs/official-names.md has all:
  python run_training.py --outdir=results --gpus=1 --data=~/datasets/shoes --mirror=1 --aug=ada

  # Resume the run that was interrupted last:
  python run_training.py --resume=latest

  # Two processes of this machine train together; docs/distributed.md has several machines:
  python run_training.py --data-dir=~/datasets --dataset=shoes --num-workers=2

  # A network small enough for a CPU:
  python run_training.py --data-dir=~/datasets --dataset=shoes --config=config-e \\
      --total-kimg=200 --batch=16 --fmap-base=2048 --fmap-max=128 --latent-size=128
"""


HELD_OUT = "validation"  # What --metricdata calls the images of --validation.
# Options of one session of a run, not of the run itself.
_OF_A_SESSION = {"resume", "result_dir", "total_kimg", "hours", "snap", "keep", "dry_run"}
_OF_A_SESSION |= {"metrics", "metricdata", "feature_net"}
_OF_A_SESSION |= {"workers", "worker_index", "slurm", "num_workers", "worker_timeout"}
_OWN_CODE = {"G_func": "G_args", "D_func": "D_args"}
_OWN_CODE |= {"G_loss": "G_loss_args", "D_loss": "D_loss_args"}
_OF_A_SESSION |= _OWN_CODE.keys()  # A run that names functions of the user's needs them again.


def _parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses a command line; one that is given rather than typed has UserErrors for errors."""
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLES)
    feature_net = partial(add_feature_net_option, text="for --metrics, as for run_metrics.py")
    add_options(parser, METRICS, feature_net)
    parser.raises = words is not None
    args = parser.parse_args(words)
    given = set(parser.given(words))
    _set_defaults(args, parser)
    args.given = {name: getattr(args, name) for name in given}
    _check(args, parser, given)
    return args


def _set_defaults(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """What depends on other options: --data is of the ADA repository, and has its defaults."""
    if args.resume == "noresume":
        args.resume = None
    if args.config is None:
        args.config = "config-f" if args.data is None else "auto"
    args.is_of_photos = False
    if args.data is None:
        return
    if args.dataset is not None or args.data_dir is not None:
        parser.error("--data names the whole path: leave out --dataset and --data-dir")
    if not os.path.exists(args.data):
        parser.error(f"--data: there is no folder or archive {args.data}")
    args.is_of_photos = not _is_dataset(args.data)
    if args.is_of_photos and _is_run(args.resume):
        parser.error("--resume continues with the photos of the run: leave out --data")
    if args.is_of_photos and args.hours is None and args.total_kimg is None:
        parser.error(
            f"--data={args.data} holds no TFRecords: to train on photos, say how long, with "
            "--hours or --total-kimg; dataset_tool.py makes a dataset of pictures"
        )
    args.dataset = os.path.normpath(args.data)


def _is_dataset(path: str) -> bool:
    """Whether a path is a folder with TFRecords in it."""
    try:
        return os.path.isdir(path) and any(n.endswith(".tfrecords") for n in os.listdir(path))
    except OSError as error:
        raise UserError(f"--data={path}: {error.strerror}") from error


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser, given: set[str]) -> None:
    """Refuses options that exclude each other; `given` are those of the command line."""
    # Deviation: the official default is fid50k, in the ADA repository fid50k_full.
    unknown = [name for name in args.metrics.split(",") if name not in ("none", *METRICS)]
    unknown = [name for name in unknown if "." not in name]  # The user's own.
    if unknown:
        hint = did_you_mean(unknown[0], METRICS)
        parser.error(f"--metrics={unknown[0]}: {hint}use {', '.join(('none', *METRICS))}")
    if args.metrics == "none":
        if args.metricdata is not None:
            parser.error("--metricdata is what metrics compare with: add --metrics")
        if args.feature_net and not args.is_of_photos:
            parser.error("--feature-net is what metrics look through: add --metrics")
    if args.demo:
        free = {"demo", "result_dir", "data_dir", "seed", "dry_run"}
        if names := _listed(given - free):
            parser.error(f"--demo chooses {names} itself: leave it out")
    _check_workers(args, parser, given)
    _check_resume(args, parser, given)


def _check_workers(
    args: argparse.Namespace, parser: argparse.ArgumentParser, given: set[str]
) -> None:
    ways = given & {"workers", "slurm", "num_workers"}
    if len(ways) > 1:
        parser.error(f"{_listed(ways)}: use one of them")
    if (args.workers is None) != (args.worker_index is None):
        parser.error("--workers and --worker-index belong together: the list, and who this is")


def _check_resume(
    args: argparse.Namespace, parser: argparse.ArgumentParser, given: set[str]
) -> None:
    """Options beside --resume, which means one thing for a run and another for a snapshot."""
    shown = urls.show_source(args.resume or "")
    folder, name = os.path.split(shown)
    if name.startswith("training-state-"):
        parser.error(f"--resume={shown}: name the run directory, --resume={folder or '.'}")
    if args.resume is not None and not _is_run(args.resume):
        found = cluster.find_cluster(args.workers, args.worker_index, args.slurm, os.environ)
        if found is not None and found.index > 0:
            return  # The first worker alone has to have it, and knows what it is.
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
    if names := _listed(given - _OF_A_SESSION - {"data_dir"}):
        parser.error(f"--resume continues with the options of the run: leave out {names}")


def _listed(options: set[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in sorted(options))


def main() -> None:
    args = _parse_args()
    if (args.num_workers or 1) > 1 and not args.dry_run:
        raise SystemExit(cluster.run_local_workers(args.num_workers, cluster.local_command()))
    try:
        _train(args)
    except (Diverged, cluster.WorkerLost) as error:
        print(f"run_training.py: error: {error}", file=sys.stderr)
        raise SystemExit(1 if isinstance(error, Diverged) else cluster.TRY_AGAIN) from error


def run(
    dataset: str,
    data_dir: str,
    result_dir: str,
    config_id: str,
    num_gpus: int,
    total_kimg: float | None,
    gamma: float | None,
    mirror_augment: bool,
    metrics: Sequence[str],
) -> str:
    """Trains as the StyleGAN2 repository's function of this name.

    Args:
        dataset: a folder in `data_dir`.
        data_dir: root of the datasets.
        result_dir: root of the run directories.
        config_id: config-a to config-f, for instance.
        num_gpus: of this machine.
        total_kimg: length in thousands of images; None: the configuration's.
        gamma: weight of R1; None: the configuration's.
        mirror_augment: flip half of the images.
        metrics: names; measured for every snapshot.

    Returns:
        The run directory.

    Raises:
        UserError: as the script's errors.
    """
    given = {"dataset": dataset, "data_dir": data_dir, "result_dir": result_dir}
    given |= {"config": config_id, "num_gpus": num_gpus, "total_kimg": total_kimg}
    given |= {"gamma": gamma, "mirror_augment": mirror_augment, "metrics": metrics}
    return _train(_parse_args(_words(**given)))


def setup_training_options(**hyperparam_options: Any) -> tuple[str, TrainingOptions]:
    """What the options of the ADA repository's train.py mean.

    Args:
        hyperparam_options: gpus, snap, data, res, mirror, metrics, metricdata, cfg, gamma, kimg,
            aug, p, target, augpipe, cmethod, dcap, resume, freezed; None: the default.

    Returns:
        What the name of a run directory ends with, and the options of the run, whose attributes
        have the official names as far as official options have them.

    Raises:
        UserError: as the script's errors.
    """
    from training.config.command_line import options_from_args

    args = _parse_args(_words(**hyperparam_options))
    _load_own_code(args)
    return _description(args), options_from_args(args).with_attributes()


def run_training(
    outdir: str, seed: int | None, dry_run: bool, **hyperparam_options: Any
) -> str | None:
    """Trains as the ADA repository's function of this name.

    Args:
        outdir: root of the run directories.
        seed: fixes the run; None: the default.
        dry_run: print the options, and do not train.
        hyperparam_options: see `setup_training_options`.

    Returns:
        The run directory; None after a dry run.

    Raises:
        UserError: as the script's errors.
    """
    words = _words(outdir=outdir, seed=seed, **hyperparam_options)
    return _train(_parse_args([*words, *(["--dry-run"] if dry_run else [])]))


def _words(metrics: Sequence[str] | None = None, **options: Any) -> list[str]:
    """A command line of options; of metrics, there may be none."""
    return cli.words(metrics=metrics or None, **options)


def _train(args: argparse.Namespace) -> str | None:
    """Does what a command line says; returns the run directory if a run was trained."""
    _load_own_code(args)
    found = cluster.find_cluster(args.workers, args.worker_index, args.slurm, os.environ)
    if found is not None or args.num_workers:
        # What one machine with all replicas does: the minibatch of some configurations depends.
        args.num_gpus *= args.num_workers if found is None else len(found.addresses)
    if found is not None and not args.dry_run:
        return _train_together(args, found)
    # TensorFlow takes seconds to load, and has to wait for what can be checked without it.
    from training.config.command_line import demo_options, fit_to_machine, options_from_args

    run_dir = None
    if _is_run(args.resume):
        options, run_dir = _resumed(args)
    elif args.demo:
        options = demo_options(args)
    elif args.is_of_photos:
        options = _options_of_photos(args)
        if options is None:
            return None
    else:
        options = options_from_args(args)
    if run_dir is None:
        fit_to_machine(options, args)
    metric_data = _metric_data(args, options)
    if args.dry_run:
        output.printing_is_the_work()
        print(json.dumps(options.to_json(), indent=2), flush=True)
        _print_plan(args, options, run_dir)
        return None
    load_tensorflow()
    from training import training_loop

    if args.demo:
        from training.run.demo import run_demo

        run_demo(options, args.result_dir, training_loop.train)
        return None
    metrics = _metrics(args, options, *metric_data)
    if run_dir is None:
        run_dir = training_loop.train(options, args.result_dir, _description(args), metrics)
    else:
        try:
            training_loop.resume(options, run_dir, metrics)
        except training_loop.RunIsOver:
            from training.run.finishing import is_finished

            if not options.makes_catalog or is_finished(run_dir):
                raise
            print(f"{run_dir} is trained: what is left is its best snapshot and catalog")
    if options.makes_catalog:
        from metrics.best_snapshot import find_best
        from training.run.finishing import finish_run
        from training.run.page.report import try_page

        own_net = dict(args.feature_net).get("own")
        finish_run(run_dir, options, partial(find_best, feature_net=own_net))
        try_page(run_dir)
    return run_dir


def _train_together(args: argparse.Namespace, found: cluster.Cluster) -> str | None:
    """As `_train`, of one of several workers; returns the run directory on the first of them."""
    if args.demo or args.is_of_photos:
        raise UserError(
            "several workers train on a dataset of TFRecords that each of them finds: make it with "
            "dataset_tool.py first, and name it with --dataset"
        )
    from training.config.command_line import options_from_args

    load_tensorflow()
    is_chief = found.index == 0
    options, run_dir, metrics = None, "", None
    is_run = _is_run(args.resume)
    # Whether a path names a run or a snapshot is known to the chief alone.
    asks = not is_chief and args.resume not in (None, "latest")
    if is_run and is_chief:
        options, run_dir = _resumed(args)
    elif not (is_run or asks):
        options = options_from_args(args)
    if is_chief:
        metrics = _metrics(args, options, *_metric_data(args, options), len(found.addresses))
    from dnnlib.tflib.workers import Workers
    from training import training_loop
    from training.run import agreement

    with nullcontext() if is_chief else redirect_stdout(output.SafeStream(None)):
        workers = Workers(found, args.worker_timeout)
        chief_resumes = workers.from_chief(lambda: is_run)
        is_run = chief_resumes if asks else is_run
        agreement.check_same_start(workers, is_run)
        if not is_run:
            options = options_from_args(args) if asks else options
            description = _description(args)
            run_dir = training_loop.train(options, args.result_dir, description, metrics, workers)
        else:
            options = agreement.chiefs_options(workers, options)
            if not is_chief:
                _find_data(args, options)
            training_loop.resume(options, run_dir, metrics, workers)
    return run_dir if is_chief else None


def _find_data(args: argparse.Namespace, options: TrainingOptions) -> None:
    """Looks for the dataset of a run of the chief where the own command line says."""
    from training.config.command_line import dataset_folder
    from training.run import resume

    if args.dataset is not None:
        folder = dataset_folder("--dataset", args.dataset, args.data_dir)
        options.dataset_args["tfrecord_dir"] = folder
    resume.find_data(options, args.data_dir)


def _metric_data(args: argparse.Namespace, options: TrainingOptions) -> tuple[str | None, bool]:
    """The dataset of --metricdata, and whether it stands for the images that are held out."""
    from training.config.command_line import dataset_folder

    held_out = args.metricdata == HELD_OUT and "validation" in options.dataset_args
    if args.metricdata is None or held_out:
        return None, held_out
    if args.metricdata == HELD_OUT and not os.path.isdir(
        os.path.join(args.data_dir or "", HELD_OUT)
    ):
        raise UserError(
            f"--metricdata={HELD_OUT}: no images are held out: add --validation=N, how many"
        )
    return dataset_folder("--metricdata", args.metricdata, args.data_dir), False


def _options_of_photos(args: argparse.Namespace) -> TrainingOptions | None:
    """Options for the photos of --data, of which a dataset is made; None for --dry-run."""
    start = time.monotonic()
    load_tensorflow()
    from training.config.command_line import options_from_args
    from training.run import photos

    if args.resolution is not None:
        photos.check_resolution(args.resolution)
    found = photos.look(args.data)
    seconds = None if args.hours is None else photos.training_seconds(args.hours, 0)
    choice = photos.choose(found, args.given, seconds)
    for line in choice.reasons:
        print(f"  {line}")
    for name, value in choice.options.items():
        setattr(args, name, value)
    # What does not fit together is said before photos are converted for it.
    photos.check_plan(options_from_args(args, planned=choice.resolution), choice.resolution)
    if args.dry_run:
        return None
    args.dataset = photos.build_dataset(found, args.resolution, args.result_dir, args.cond)
    if "validation" not in args.given:
        args.validation = photos.count_held_out(photos.count_images(args.dataset))
    options = options_from_args(args)
    options.makes_catalog = True
    if args.hours is not None:
        spent = time.monotonic() - start
        options.total_seconds = photos.training_seconds(args.hours, spent)
    return options


def _load_own_code(args: argparse.Namespace) -> None:
    """Imports the user's functions that options name, which then have their full names."""
    metrics = [name for name in args.metrics.split(",") if "." in name]
    if metrics or any(getattr(args, name) for name in _OWN_CODE):
        load_tensorflow()
    for name in _OWN_CODE:
        if value := getattr(args, name):
            table = own_code.networks if name.endswith("func") else own_code.losses
            option = "--" + name.replace("_", "-")
            found = table.load(option, value)
            if not found.rpartition(".")[2].startswith(f"{name[0]}_"):
                raise UserError(f"{option}={value}: its name has to begin with {name[0]}_")
            setattr(args, name, found)
    loaded = {name: own_code.metrics.load("--metrics", name) for name in metrics}
    args.metrics = ",".join(loaded.get(name, name) for name in args.metrics.split(","))


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
    args: argparse.Namespace,
    options: TrainingOptions,
    folder: str | None,
    held_out: bool,
    num_workers: int = 1,
) -> MetricGroup | None:
    """The metrics that --metrics names, with the dataset of --metricdata in `folder`, or with the
    images that are held out. The first of several workers measures, with its own devices.
    """
    names = [name for name in dict.fromkeys(args.metrics.split(",")) if name != "none"]
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
            options.num_gpus // num_workers,
            sources=sources,
            held_out=held_out,
            trained_args=None if folder is None else options.dataset_args,
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
    options = resume.resumed_options(run_dir, given, args.batch_gpu is not None)
    for name, where in _OWN_CODE.items():
        value, stored = getattr(args, name), getattr(options, where)["func_name"]
        if value is not None and value != stored:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option}={value}: {run_dir} was started with {stored}")
    resume.find_data(options, args.data_dir)
    set_session_options(options, args)
    if args.total_kimg is not None and args.hours is None:
        options.total_seconds = None  # The demo's: who asks for more has more time.
    return options, run_dir


if __name__ == "__main__":
    cli.run(main)
