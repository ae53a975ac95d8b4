"""Measures the snapshots of a run, or one snapshot: what `run_metrics.py` calls."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Any

from dnnlib import UserError, urls
from dnnlib.run_dir import log_output, make_run_dir
from metrics.evaluation import MetricOptions
from metrics.metric_base import MetricGroup
from metrics.official_calls import args_of_trained, trained_options
from training.run.file_names import kimg_of
from training.run.page.report import try_page


def measure(
    network: str,
    metrics: Sequence[str],
    result_dir: str,
    dataset_dir: str | None = None,
    mirror_augment: bool | None = None,
    is_other: bool = False,
    **options: Any,
) -> str:
    """Writes metric-NAME.txt, .jsonl, .png and a page to a new run directory, which is returned.

    Args:
        network: a snapshot, or a run directory, of which every snapshot is measured.
        metrics: official names.
        result_dir: root of the run directories.
        dataset_dir: folder of TFRecords; None: the one that the run was trained on.
        mirror_augment: whether the network was trained on mirrored images; None: as the run says.
        is_other: `dataset_dir` is not the one that the network was trained on (--metricdata).
        options: further attributes of `MetricOptions`.

    Raises:
        UserError: a snapshot, dataset or metric is not there; or metrics failed, and the others
            are written.
    """
    paths = find_snapshots(network)
    trained = {} if urls.is_url(network) else trained_options(os.path.dirname(paths[0]))
    dataset_args = dict(trained.get("dataset_args", {}))
    trained_args = None
    if dataset_dir is not None:
        trained_args = args_of_trained(dataset_args, dataset_dir, is_other)
        if is_other and trained_args is None:
            trained_args = {}
        dataset_args = {"tfrecord_dir": dataset_dir}
    if "tfrecord_dir" not in dataset_args:
        raise UserError(
            "--dataset is missing: beside the network there is no training_options.json"
            " that names one"
        )
    if mirror_augment is None:
        mirror_augment = bool(trained.get("mirror_augment", False))
    options |= {"trained_args": trained_args}
    group = MetricGroup(metrics, MetricOptions(dataset_args, mirror_augment, **options))
    run_dir = make_run_dir(result_dir, "run-metrics")
    failed: dict[str, str] = {}
    with log_output(os.path.join(run_dir, "log.txt")):
        print(f"Dataset {dataset_args['tfrecord_dir']}, mirrored: {str(mirror_augment).lower()}")
        for path in paths:
            group.run(path, run_dir)
            failed.update(group.errors)
    try_page(run_dir)
    if failed:
        name, message = next(iter(failed.items()))
        more = f" (and {len(failed) - 1} more, see {run_dir}/log.txt)" if len(failed) > 1 else ""
        raise UserError(f"no {name}: {message}{more}")
    return run_dir


def find_snapshots(network: str) -> list[str]:
    """The snapshots of a run directory in the order of the training; of a snapshot, itself.

    Raises:
        UserError: a folder without snapshots.
    """
    if not os.path.isdir(network):
        return [network]
    folder = glob.escape(network)
    # The final network is the last of the numbered ones again.
    paths = glob.glob(os.path.join(folder, "network-snapshot-*.pkl"))
    # Whatever else has such a name comes first.
    paths.sort(key=lambda path: (kimg_of(path) or 0, path))
    paths = paths or glob.glob(os.path.join(folder, "network-final.pkl"))
    if not paths:
        raise UserError(f"--network: the folder {network} holds no network-snapshot-*.pkl")
    return paths
