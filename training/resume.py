"""Finding the run that `--resume` goes on with, its state and its options. Without TensorFlow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from dnnlib import UserError
from dnnlib.util import one_line
from training.options import TrainingOptions

OPTIONS_FILE = "training_options.json"
LATEST = "latest"
# Options that another session of the same run may have otherwise.
_FREE = ("total_kimg", "total_seconds", "keep_states")
_FREE += ("image_snapshot_ticks", "network_snapshot_ticks")


def find_run(result_dir: str, name: str, desc: str | None = None) -> tuple[str, str]:
    """The run directory and the newest state in it.

    Args:
        result_dir: root of the run directories.
        name: a run directory, or "latest" for the one with the newest state.
        desc: what the name of the latest run ends with; None for any.

    Raises:
        UserError: there is no run with a state.
    """
    if name != LATEST:
        states = find_states(name)
        if not states:
            what = "no training-state-*.npz" if os.listdir(name) else "nothing"
            raise UserError(
                f"--resume={name}: the folder holds {what} to go on from; to start a new run from "
                "a snapshot name its .pkl"
            )
        return name, states[-1]
    found = [
        (os.stat(states[-1]).st_mtime_ns, entry.path, states[-1])
        for entry in (os.scandir(result_dir) if os.path.isdir(result_dir) else ())
        if entry.is_dir() and (desc is None or entry.name.endswith(f"-{desc}"))
        if (states := find_states(entry.path))
    ]
    if not found:
        which = f" called NNNNN-{desc}" if desc else ""
        raise UserError(
            f"--resume=latest: no run{which} in {result_dir} has a training-state-*.npz to go on "
            "from; --result-dir says where to look"
        )
    _, run_dir, state = max(found)
    return run_dir, state


def state_path(run_dir: str, cur_nimg: int) -> str:
    """Where the state belongs that a run has after so many images."""
    return os.path.join(run_dir, f"training-state-{cur_nimg // 1000:06d}.npz")


def find_states(run_dir: str) -> list[str]:
    """Paths of the states in a run directory, the newest last. All are whole: see `save_state`."""
    found = [re.fullmatch(r"training-state-(\d{6,})\.npz", name) for name in os.listdir(run_dir)]
    found = sorted((match for match in found if match), key=lambda match: int(match[1]))
    return [os.path.join(run_dir, match[0]) for match in found]


def resumed_options(run_dir: str, given: TrainingOptions | None) -> TrainingOptions:
    """The options that a run was started with.

    Args:
        run_dir: its directory.
        given: what the command line describes, to be checked against them; None if it describes no
            run. Options that do not change what a step does may be others, and are taken.

    Raises:
        UserError: the options cannot be read, or what is given is another run.
    """
    path = os.path.join(run_dir, OPTIONS_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            stored = json.load(file)
        options = TrainingOptions.from_json(stored)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    if given is None:
        return options
    # How the run started is over.
    given.resume_pkl, given.resume_partial = options.resume_pkl, options.resume_partial
    if options.resume_pkl is not None:
        given.augment_args.kimg = options.augment_args.kimg
        given.G_smoothing_rampup = options.G_smoothing_rampup
    wanted = json.loads(json.dumps(given.to_json()))
    # The data set may have moved; how many images it has is checked when it is opened.
    options.dataset_args["tfrecord_dir"] = wanted["dataset_args"].pop("tfrecord_dir")
    complete = {**options.to_json(), "dataset_args": options.dataset_args}
    different = list(_differences(wanted, json.loads(json.dumps(complete)), ""))
    if different:
        name, value, was = different[0]
        raise UserError(
            f"{run_dir} was started with {name} {was}, not {value}: leave the option out, or start "
            "a new run without --resume"
        )
    return options


def _differences(wanted: Any, stored: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, wanted, stored) of the options that differ; what is stored may hold more."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for key, value in wanted.items():
            if name or key not in _FREE:
                yield from _differences(value, stored.get(key), f"{name}.{key}" if name else key)
    elif wanted != stored:
        yield name, wanted, stored
