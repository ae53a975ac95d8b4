#!/usr/bin/env python3
"""Measures trained networks: FID, KID, inception score, path lengths, precision and recall."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dnnlib import UserError, cli, own_code
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import did_you_mean
from metrics import METRICS
from metrics.feature_networks.sources import ROLES, FeatureSources, add_feature_net_option
from training.snapshots import pretrained

_EXAMPLES = """examples:
  # Get the feature networks, some 600 MB, once:
  python run_metrics.py fetch

  # The page of a run again, with its pictures in it, to send to somebody:
  python run_metrics.py page --network=results/00000-stylegan2-shoes-1gpu-config-f --embed

  # FID of every snapshot of a run, on the data that it was trained on, with a plot:
  python run_metrics.py --network=results/00000-stylegan2-shoes-1gpu-config-f --metrics=fid50k

  # FID and KID of one snapshot, ten times with other fakes:
  python run_metrics.py --network=network-final.pkl --data-dir=~/datasets --dataset=shoes \\
      --metrics=fid50k_full,kid50k_full --repeats=10

  # As calc_metrics.py of StyleGAN2-ADA; without --metrics, fid50k_full:
  python run_metrics.py --network=network-final.pkl --metricdata=~/datasets/shoes --mirror=1

  # With your own classifier, a frozen graph; the result is called frechet-fashion-..., not FID:
  python run_metrics.py --network=network-final.pkl --dataset=datasets/shoes \\
      --metrics=fid5k_full --feature-net=fashion.pb
"""


def _metric_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in METRICS and "." not in name]:
        hint = did_you_mean(unknown[0], METRICS)
        text = f"no metric {unknown[0]!r}: {hint}use {', '.join(METRICS)}"
        raise argparse.ArgumentTypeError(text)
    return list(dict.fromkeys(names))


def _parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses a command line; one that is given rather than typed has UserErrors for errors."""
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLES)
    add = parser.add_argument
    add(
        "command",
        nargs="?",
        choices=["fetch", "page"],
        help="fetch: get the feature networks and stop; page: write report.html of a run directory",
    )
    add(
        "--network",
        type=cli.path,
        help="snapshot (file, URL, name), or a run directory for all of its snapshots",
    )
    add(
        "--metrics",
        type=_metric_names,
        help=f"separated by commas: {', '.join(METRICS)}, or MODULE.CLASS of your own (default: "
        "fid50k; with --metricdata, fid50k_full)",
    )
    add("--data-dir", type=cli.path, default="", help="root of the datasets")
    add("--dataset", type=cli.path, help="name of the dataset (default: that of the run)")
    cli.add_dataset_path(add, "--metricdata", "calc_metrics.py")
    add(
        "--mirror-augment",
        "--mirror",
        type=cli.boolean,
        help="whether the network was trained on mirrored images (default: like the run)",
    )
    add("--embed", action="store_true", help="with page: hold the pictures too, reduced")
    cli.add_num_gpus(add)
    cli.add_result_dir(add)
    add(
        "--seed",
        type=cli.integer(0, 2**31 - 1),
        help="fixes the fakes (default: a random seed, which the results report)",
    )
    add(
        "--repeats",
        type=cli.integer(1, 1000),
        default=1,
        help="how often to measure, with new fakes each time; mean and deviation are reported (1)",
    )
    cli.add_precision(add)
    add_feature_net_option(
        add,
        f"({', '.join(ROLES)}); without ROLE= your own frozen graph or SavedModel for fid, "
        "kid and pr, or a snapshot, whose discriminator is looked through",
    )
    add(
        "--allow-pickled-code",
        action="store_true",
        help="use NVIDIA's feature networks, and run the code that snapshots bring",
    )
    own_code.add_network_options(add)
    parser.raises = words is not None
    args = parser.parse_args(words)
    if args.metrics is None:
        args.metrics = ["fid50k" if args.metricdata is None else "fid50k_full"]
    if args.metricdata is not None and (args.dataset is not None or args.data_dir):
        parser.error("--metricdata names the whole path: leave out --dataset and --data-dir")
    if args.embed and args.command != "page":
        parser.error("--embed is for the command page")
    if args.command == "page" and not os.path.isdir(args.network or ""):
        parser.error("page: --network names a run directory")
    if args.command is None and not args.network:
        parser.error("--network is missing")
    if args.network and args.command != "page":
        try:
            pretrained.existing(args.network)
        except UserError as error:
            parser.error(f"--network: {error}")
    return args


def main() -> None:
    run_dir = _measure(_parse_args())
    if run_dir is not None:
        print(f"Wrote {run_dir}")


def run(
    network_pkl: str,
    metrics: Sequence[str],
    dataset: str | None,
    data_dir: str | None,
    mirror_augment: bool | None,
) -> str:
    """Measures a snapshot as the StyleGAN2 repository's function of this name.

    Args:
        network_pkl: file, URL or name of a snapshot, or a run directory.
        metrics: names.
        dataset: a folder in `data_dir`; None: that of the run.
        data_dir: root of the datasets.
        mirror_augment: whether the network was trained on mirrored images; None: as the run says.

    Returns:
        A new run directory in `results`, with the results.

    Raises:
        UserError: as the script's errors.
    """
    given = {"network": network_pkl, "metrics": metrics, "dataset": dataset, "data_dir": data_dir}
    return _measure(_parse_args(cli.words(**given, mirror_augment=mirror_augment)))


def calc_metrics(
    network_pkl: str,
    metric_names: Sequence[str],
    metricdata: str | None,
    mirror: bool | None,
    gpus: int | None,
) -> str:
    """Measures a snapshot as the ADA repository's function of this name.

    Args:
        network_pkl: file, URL or name of a snapshot, or a run directory.
        metric_names: names.
        metricdata: path of a dataset; None: that of the run.
        mirror: whether the network was trained on mirrored images; None: as the run says.
        gpus: of this machine; None: 1.

    Returns:
        A new run directory in `results`, with the results.

    Raises:
        UserError: as the script's errors.
    """
    given = {"network": network_pkl, "metrics": metric_names, "metricdata": metricdata}
    return _measure(_parse_args(cli.words(**given, mirror=mirror, gpus=gpus)))


def _measure(args: argparse.Namespace) -> str | None:
    """Does what a command line says; returns the run directory of a measurement, or a page."""
    if args.command == "page":
        from training.run.page.report import write_page

        return write_page(args.network, args.embed)
    files = dict(args.feature_net)
    own_file = files.pop("own", None)
    sources = FeatureSources(files, own_file, args.allow_pickled_code)
    if args.command == "fetch":
        sources.fetch()
        return None
    from training.config.command_line import dataset_folder

    folder = None
    if args.dataset:
        folder = dataset_folder("--dataset", args.dataset, args.data_dir)
    elif args.metricdata:
        folder = os.path.normpath(args.metricdata)
        if not os.path.isdir(folder):
            raise UserError(f"--metricdata: there is no folder {folder}")
    # TensorFlow takes seconds to load, and has to wait for what can be checked without it.
    load_tensorflow()
    from dnnlib.tflib import tfutil
    from metrics.measure import measure

    tfutil.replica_devices(args.num_gpus)
    sources.check_given()
    own_code.load_networks(args)
    return measure(
        args.network,
        [own_code.metrics.load("--metrics", m) if "." in m else m for m in args.metrics],
        args.result_dir,
        folder,
        args.mirror_augment,
        is_other=args.metricdata is not None,
        num_gpus=args.num_gpus,
        seed=args.seed,
        repeats=args.repeats,
        sources=sources,
        precision=args.precision,
        allow_pickled_code=args.allow_pickled_code,
    )


if __name__ == "__main__":
    cli.run(main)
