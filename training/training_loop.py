"""The training loop by its official name: a run in a new directory, or one that goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from contextlib import nullcontext, suppress
from typing import Any

from dnnlib import UserError, tflib
from dnnlib.files import atomic_write
from dnnlib.run_dir import LOG, locked, log_output, make_run_dir
from dnnlib.tflib import tfutil
from training.architecture.precision import computed_in
from training.architecture.sizes import SQUARE_BASE
from training.config.options import TrainingOptions
from training.config.schedule import DEFAULT_GROUP, check_schedule
from training.dataset import TFRecordDataset
from training.datasets.format.levels import BASE_LOG2
from training.run.reports import measured_metrics
from training.run.resume import OPTIONS_FILE, check_data, newest_state, read_counters
from training.run.run import FINAL, Metrics, Run
from training.snapshots import pickles
from training.snapshots.transfer import read_weights


def train(
    options: TrainingOptions, result_dir: str, desc: str, metrics: Metrics | None = None
) -> str:
    """Trains in a new run directory `result_dir/NNNNN-desc`, which is returned.

    Args:
        options: of the run.
        result_dir: root of the run directories.
        desc: what the name of the run directory ends with.
        metrics: measured on every snapshot.

    Raises:
        UserError: as `training_loop`, or `result_dir` cannot be written.
    """
    # What can be checked without networks leaves no run directory behind.
    dataset = TFRecordDataset(**options.dataset_args)
    dataset.close()
    num_replicas = len(tfutil.replica_devices(options.num_gpus))
    group_size = options.D_args.get("mbstd_group_size", DEFAULT_GROUP) or 1
    check_schedule(dataset.resolution_log2, num_replicas, group_size, options.sched_args)
    if options.resume_pkl is not None:
        pickles.load(options.resume_pkl)
    run_dir = make_run_dir(result_dir, desc)
    try:
        with locked(run_dir), log_output(os.path.join(run_dir, LOG)):
            print(f"Run directory: {run_dir}")
            training_loop(options, run_dir, metrics=metrics)
    except UserError:
        if not os.path.exists(os.path.join(run_dir, OPTIONS_FILE)):  # It had not begun.
            shutil.rmtree(run_dir, ignore_errors=True)
        raise
    return run_dir


def resume(options: TrainingOptions, run_dir: str, metrics: Metrics | None = None) -> None:
    """Goes on with a run in its own directory, from its newest state, as if it had never ended.

    Args:
        options: of the run, as from `training.run.resume.resumed_options`.
        run_dir: its directory.
        metrics: measured on every snapshot.

    Raises:
        UserError: as `training_loop`; no state is whole or fits; another process is training there,
            or the run is over.
    """
    with locked(run_dir), log_output(os.path.join(run_dir, LOG)):
        state = newest_state(run_dir)
        counters = read_counters(state)
        is_over = counters.cur_nimg >= int(options.total_kimg * 1000)
        if options.total_seconds is not None:
            is_over = is_over or counters.seconds >= options.total_seconds
        if is_over and os.path.exists(os.path.join(run_dir, FINAL)):
            raise UserError(
                f"the run in {run_dir} is over, after {counters.cur_nimg / 1000:g} kimg: give a "
                "larger --total-kimg to train longer"
            )
        print(f"Resuming {run_dir} from {os.path.basename(state)}")
        if metrics is None and (measured := measured_metrics(run_dir)):
            print(f"Nothing is measured any more: {measured} were; --metrics names what is to be")
        training_loop(options, run_dir, state, metrics)


def training_loop(
    options: TrainingOptions,
    run_dir: str,
    state: str | None = None,
    metrics: Metrics | None = None,
) -> str:
    """Trains networks and writes a run directory.

    Args:
        options: of the run; the shape of the dataset is filled in here.
        run_dir: existing folder that gets reals.png, fakes*.png, network-snapshot-*.pkl,
            network-final.pkl, training-state-*.npz, stats.jsonl, training_options.json and
            TensorBoard events.
        state: path of a state to go on from; None starts anew.
        metrics: measured on every snapshot.

    Returns:
        Path of the final snapshot.

    Raises:
        UserError: dataset or options do not fit.
    """
    counters = None if state is None else read_counters(state)
    devices = tfutil.replica_devices(options.num_gpus)
    training_set = TFRecordDataset(**{**options.dataset_args, "seed": options.seed})
    if counters is not None:
        facts = {
            **_shape(training_set),
            "num_images": training_set.num_images,
            "content": training_set.content,
        }
        check_data(options, counters, training_set.tfrecord_dir, facts)
    options = complete_options(options, training_set)
    start = options.resume_pkl if state is None else None
    weights = None if start is None else read_weights(start)
    with tflib.graph_session(options.seed), computed_in(options.precision):
        try:
            where = os.path.join(run_dir, OPTIONS_FILE)
            with nullcontext() if state is None else tfutil.fitting(f"the options in {where}"):
                run = Run(options, run_dir, training_set, devices, metrics, weights)
            if state is not None:
                run.restore(state)
            _write_options(options, run_dir)
            # Of a run that is being made longer: until the end it is of no use, and would say that
            # the run is over.
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(run_dir, FINAL))
            return run.train()
        finally:
            training_set.close()


def complete_options(options: TrainingOptions, training_set: TFRecordDataset) -> TrainingOptions:
    """The options with the shape of the data filled in."""
    shape = _shape(training_set)
    # A run is resumed from any folder.
    path = os.path.abspath(training_set.tfrecord_dir)
    return dataclasses.replace(
        options,
        dataset_args={**options.dataset_args, "tfrecord_dir": path},
        G_args={**shape, **options.G_args},
        D_args={**shape, **options.D_args},
    )


def _shape(training_set: TFRecordDataset) -> dict[str, Any]:
    """What both networks have to know of the data, by keyword."""
    shape = {
        "num_channels": training_set.shape[0],
        "resolution": training_set.resolution,
        "label_size": training_set.label_size,
    }
    doublings = training_set.resolution_log2 - BASE_LOG2
    base_size = tuple(side >> doublings for side in training_set.shape[1:])
    if base_size != SQUARE_BASE:  # Official readers of square networks do not know the keyword.
        shape["base_size"] = base_size
    return shape


def _write_options(options: TrainingOptions, run_dir: str) -> None:
    path = os.path.join(run_dir, OPTIONS_FILE)
    try:
        with atomic_write(path, "w") as file:
            json.dump(options.to_json(), file, indent=2)
            file.write("\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
