#!/usr/bin/env python3
"""Measures trained networks: FID, KID, inception score, path lengths, precision and recall."""

from __future__ import annotations

import argparse

from dnnlib import UserError, cli
from dnnlib.tensorflow_loader import load_tensorflow
from dnnlib.util import did_you_mean
from metrics import METRICS
from metrics.feature_networks.sources import ROLES, FeatureSources, add_feature_net_option
from training.snapshots import pretrained

_EXAMPLES = """examples:
  # Get the feature networks, some 600 MB, once:
  python run_metrics.py fetch

  # FID of every snapshot of a run, on the data that it was trained on, with a plot:
  python run_metrics.py --network=results/00000-stylegan2-shoes-1gpu-config-f --metrics=fid50k

  # FID and KID of one snapshot, ten times with other fakes:
  python run_metrics.py --network=network-final.pkl --data-dir=~/datasets --dataset=shoes \\
      --metrics=fid50k_full,kid50k_full --repeats=10

  # With your own classifier, a frozen graph; the result is called frechet-fashion-..., not FID:
  python run_metrics.py --network=network-final.pkl --dataset=datasets/shoes \\
      --metrics=fid5k_full --feature-net=fashion.pb
"""


def _metric_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in METRICS]:
        hint = did_you_mean(unknown[0], METRICS)
        text = f"no metric {unknown[0]!r}: {hint}use {', '.join(METRICS)}"
        raise argparse.ArgumentTypeError(text)
    return list(dict.fromkeys(names))


def _parse_args() -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLES)
    add = parser.add_argument
    add("command", nargs="?", choices=["fetch"], help="get the feature networks and stop")
    add(
        "--network",
        type=cli.path,
        help="snapshot (file, URL, name), or a run directory for all of its snapshots",
    )
    add(
        "--metrics",
        type=_metric_names,
        default=["fid50k"],
        help=f"separated by commas: {', '.join(METRICS)} (default: fid50k)",
    )
    add("--data-dir", type=cli.path, default="", help="root of the datasets")
    add("--dataset", type=cli.path, help="name of the dataset (default: that of the run)")
    add(
        "--mirror-augment",
        "--mirror",
        type=cli.boolean,
        help="whether the network was trained on mirrored images (default: like the run)",
    )
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
    add_feature_net_option(
        add,
        f"({', '.join(ROLES)}); without ROLE= your own frozen graph or SavedModel for fid, "
        "kid and pr",
    )
    add(
        "--allow-pickled-code",
        action="store_true",
        help="use NVIDIA's feature networks, and run the code that snapshots bring",
    )
    args = parser.parse_args()
    if args.command is None and not args.network:
        parser.error("--network is missing")
    if args.network:
        try:
            pretrained.existing(args.network)
        except UserError as error:
            parser.error(f"--network: {error}")
    return args


def main() -> None:
    args = _parse_args()
    files = dict(args.feature_net)
    own_file = files.pop("own", None)
    sources = FeatureSources(files, own_file, args.allow_pickled_code)
    if args.command == "fetch":
        sources.fetch()
        return
    from training.config.command_line import dataset_folder

    folder = None
    if args.dataset:
        folder = dataset_folder("--dataset", args.dataset, args.data_dir)
    # TensorFlow takes seconds to load, and has to wait for what can be checked without it.
    load_tensorflow()
    from dnnlib.tflib import tfutil
    from metrics.measure import measure

    tfutil.replica_devices(args.num_gpus)
    sources.check_given()
    run_dir = measure(
        args.network,
        args.metrics,
        args.result_dir,
        folder,
        args.mirror_augment,
        num_gpus=args.num_gpus,
        seed=args.seed,
        repeats=args.repeats,
        sources=sources,
        allow_pickled_code=args.allow_pickled_code,
    )
    print(f"Wrote {run_dir}")


if __name__ == "__main__":
    cli.run(main)
