"""Finding the run that `--resume` continues, its options and its dataset. Without TensorFlow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from dnnlib import UserError, schema
from training.config.memory import at_once
from training.config.options import NETWORK_SHAPE, TrainingOptions
from training.datasets.format.find_dataset import choose_level, find_dataset
from training.run.file_names import OPTIONS_FILE, find_states, kimg_of

LATEST = "latest"
# Options that another session of the same run may have otherwise.
_FREE = ("total_kimg", "total_seconds", "keep_states")
_FREE += ("image_snapshot_ticks", "network_snapshot_ticks", "makes_catalog")
_NOT_GIVEN = "none"
# What people give, by where it is in the options.
_OPTIONS = {
    "sched_args.minibatch_size_base": "--batch",
    "sched_args.minibatch_gpu_base": "--batch-gpu",
    "sched_args.G_lrate_base": "--lrate",
    "sched_args.lod_training_kimg": "--lod-kimg",
    "augment_args.mode": "--aug",
    "augment_args.p": "--p",
    "augment_args.target": "--target",
    "augment_args.preset": "--augpipe",
    "dataset_args.resolution": "--resolution",
    "dataset_args.max_label_size": "--cond (max_label_size)",
    "dataset_args.validation": "--validation",
    "D_loss_args.gamma": "--gamma",
    "D_args.freeze_layers": "--freezed",
    "G_smoothing_kimg": "--ema-kimg",
    "mirror_augment": "--mirror-augment",
    "precision": "--precision",
    "cmethod": "--cmethod",
    "num_gpus": "--num-gpus",
    "seed": "--seed",
}
_MAX_NAMED = 3  # options in an error


def find_run(result_dir: str, name: str, desc: str | None = None) -> str:
    """The run directory to continue.

    Args:
        result_dir: root of the run directories.
        name: a run directory, or "latest" for the one with the newest state.
        desc: what the name of the latest run ends with; None for any.

    Raises:
        UserError: there is no run with a state.
    """
    if name != LATEST:
        try:
            if not find_states(name):
                raise UserError(f"--resume={name}: {_why_not(name)}")
        except OSError as error:
            raise UserError(f"--resume={name}: cannot read it: {error.strerror}") from error
        return name
    found = []
    for run_dir in _subfolders(result_dir):
        if desc is None or run_dir.endswith(f"-{desc}"):
            with suppress(PermissionError):  # Somebody else's.
                if states := find_states(run_dir):
                    found.append((os.stat(states[-1]).st_mtime_ns, run_dir))
    if not found:
        which = f" called NNNNN-{desc}" if desc else ""
        raise UserError(
            f"--resume=latest: no run{which} in {result_dir} has a training-state-*.npz to resume "
            "from; --result-dir says where to look"
        )
    return max(found)[1]


def _subfolders(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    except OSError as error:
        raise UserError(f"cannot read --result-dir={folder}: {error.strerror}") from error


def _why_not(folder: str) -> str:
    """Why there is nothing to resume from in a folder, and what to do."""
    names = sorted(os.listdir(folder))
    if not names:
        return "the folder is empty: name a run directory, or latest for the run that saved last"
    snapshots = [name for name in names if re.fullmatch(r"network-.*\.pkl", name)]
    if snapshots:
        numbered = sorted((n for n in snapshots if kimg_of(n) is not None), key=kimg_of)
        path = os.path.join(folder, (numbered or snapshots)[-1])
        return (
            "the folder holds snapshots, but no training-state-*.npz to resume from: start a new "
            f"run from the weights of a snapshot with --dataset and --resume={path}"
        )
    if any(re.match(r"\d{5,}-", name) for name in names):
        return f"name a run directory in it, or give --resume=latest --result-dir={folder}"
    return "the folder holds no training-state-*.npz to resume from: start the run anew"


def resumed_options(
    run_dir: str, given: TrainingOptions | None, at_once_is_given: bool = True
) -> TrainingOptions:
    """The options that a run was started with.

    Args:
        run_dir: its directory.
        given: what the command line describes, to be checked against them; None if it describes no
            run. Options that do not change what a step does may be others, and are taken.
        at_once_is_given: whether it says how many images are at once on a device; the machine that
            the run began on chose otherwise.

    Raises:
        UserError: the options cannot be read, or what is given is another run.
    """
    options = read_options(run_dir)
    if given is None:
        return options
    # How the run started is over.
    given.resume_pkl, given.resume_partial = options.resume_pkl, options.resume_partial
    if options.resume_pkl is not None:
        given.augment_args.kimg = options.augment_args.kimg
        given.G_smoothing_rampup = options.G_smoothing_rampup
    if not at_once_is_given or _as_many_at_once(given, options):
        given.sched_args.minibatch_gpu_base = options.sched_args.minibatch_gpu_base
        given.sched_args.minibatch_gpu_dict = options.sched_args.minibatch_gpu_dict
    # The dataset may have moved; whether it has changed is checked when it is opened.
    options.dataset_args["tfrecord_dir"] = given.dataset_args["tfrecord_dir"]
    wanted, stored = (json.loads(json.dumps(o.to_json())) for o in (given, options))
    for network in ("G_args", "D_args"):
        known = {key: stored[network][key] for key in NETWORK_SHAPE if key in stored[network]}
        wanted[network] = {**known, **wanted[network]}
    different = [d for d in differences(wanted, stored, "") if d[0] not in _FREE]
    if different:
        listed = "; ".join(
            f"{_OPTIONS.get(name, name)} {was}, not {now}"
            for name, now, was in different[:_MAX_NAMED]
        )
        more = "; …" if len(different) > _MAX_NAMED else ""
        raise UserError(
            f"{run_dir} was started with {listed}{more}: give the options that it was started "
            "with, or --resume without them; a new run needs no --resume"
        )
    return options


def _as_many_at_once(given: TrainingOptions, stored: TrainingOptions) -> bool:
    """Whether both have as many images at once on a device, at the full resolution."""
    if given.sched_args.minibatch_gpu_base == stored.sched_args.minibatch_gpu_base:
        return False
    path, wanted = (given.dataset_args.get(k) for k in ("tfrecord_dir", "resolution"))
    resolution = 2 ** choose_level(find_dataset(path), wanted)
    is_same = at_once(given, resolution) == at_once(stored, resolution)
    return is_same and given.sched_args.is_constant


def find_data(options: TrainingOptions, data_dir: str | None) -> None:
    """Looks for the dataset of a run where it was, and then in another folder.

    Args:
        options: of the run; the path of the dataset is changed.
        data_dir: the other folder.

    Raises:
        UserError: it is in neither.
    """
    path = options.dataset_args["tfrecord_dir"]
    if os.path.isdir(path):
        return
    moved = os.path.join(data_dir or "", os.path.basename(path))
    if data_dir is None or not os.path.isdir(moved):
        where = "" if data_dir is None else f", nor {moved}"
        raise UserError(
            f"there is no dataset of the run: no folder {path}{where}; --data-dir names the "
            "folder that it has been moved to"
        )
    options.dataset_args["tfrecord_dir"] = moved


def read_options(run_dir: str) -> TrainingOptions:
    """The options in a run directory.

    Raises:
        UserError: they cannot be read, or are not sound.
    """
    path = os.path.join(run_dir, OPTIONS_FILE)
    try:
        options = schema.read_json(path, TrainingOptions)
        options.check_arguments()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(
            f"cannot read {path}: {error}; it has been changed, or is of another version of this "
            "software"
        ) from error
    return options


def differences(wanted: Any, stored: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, wanted, stored) of options that differ; `name` begins the names."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for key in (*wanted, *(key for key in stored if key not in wanted)):
            values = (side.get(key, _NOT_GIVEN) for side in (wanted, stored))
            yield from differences(*values, f"{name}.{key}" if name else key)
    elif wanted != stored:
        yield name, wanted, stored
