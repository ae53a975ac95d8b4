"""The state of a run, from which `--resume` goes on exactly (DESIGN D8).

A file `training-state-NNNNNN.npz` beside the snapshots holds every variable of the graph (networks,
Adam's moments, means, statistics that were not reported yet) and the counters. Random numbers and
the order of the data are functions of the position in the run, so that nothing of them is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.files import atomic_write
from training.run.divergence import REMEDY, Diverged, non_finite
from training.run.resume import (
    META,
    STATE_FORMAT,
    STATISTICS,
    find_states,
    read_meta,
    read_variables,
)

_MAX_NAMED = 5  # variables named in an error
# Variables that come with the dataset, and are as large as it.
_NOT_KEPT = ("Dataset/",)


def save_state(path: str, counters: Mapping[str, Any], keep: int) -> None:
    """Writes the state of the default graph, atomically, and removes others.

    Those go that are older than the newest `keep`, and those of later positions: a run that comes
    from an older state, because they were broken, writes them anew.

    Args:
        path: as from `resume.state_path`.
        counters: numbers and text to find again in `load_state`.
        keep: how many states stay, this one and those before it.

    Raises:
        Diverged: a variable is not finite; UserError: the file cannot be written. Older states are
            left as they are.
    """
    names = list(_variables())
    values = tflib.run([_variables()[name] for name in names])
    kept = {n: v for n, v in zip(names, values, strict=True) if not n.startswith(STATISTICS)}
    if bad := non_finite(kept):
        raise Diverged(f"no state is saved: {', '.join(bad[:_MAX_NAMED])} not finite: {REMEDY}")
    meta = json.dumps({"format": STATE_FORMAT, "counters": dict(counters), "variables": names})
    # Numbers for names: those of variables have characters that are special in archives.
    arrays = {f"v{i}": value for i, value in enumerate(values)}
    try:
        with atomic_write(path) as file:
            np.savez(file, **{META: np.frombuffer(meta.encode(), np.uint8)}, **arrays)
        states = find_states(os.path.dirname(path))
        end = [os.path.basename(p) for p in states].index(os.path.basename(path)) + 1
        for other in (*states[: max(end - keep, 0)], *states[end:]):
            os.unlink(other)
    except OSError as error:
        raise UserError(f"cannot write state {path}: {error.strerror or error}") from error


def load_state(path: str) -> dict[str, Any]:
    """Sets the variables of the default graph to what a file holds.

    Returns:
        The counters.

    Raises:
        UserError: not readable, not finite, of a newer format, or of another run: names what does
            not fit.
    """
    meta = read_meta(path)
    arrays = dict(read_variables(path))
    variables = _variables()
    # A statistic that the run did not have yet starts from nothing.
    needed = [name for name in variables if not name.startswith(STATISTICS)]
    problems = [f"{name} is missing" for name in needed if name not in arrays]
    problems += [f"{name} has no place" for name in arrays if name not in variables]
    for name in variables.keys() & arrays.keys():
        shape, expected = arrays[name].shape, tuple(variables[name].shape.as_list())
        if shape != expected:
            problems.append(f"{name} has shape {list(shape)}, not {list(expected)}")
    if problems:
        more = f" and {len(problems) - _MAX_NAMED} more" if len(problems) > _MAX_NAMED else ""
        raise UserError(
            f"state {path} does not fit this run: {'; '.join(problems[:_MAX_NAMED])}{more}"
        )
    tflib.set_vars({variables[name]: value for name, value in arrays.items()})
    return dict(meta["counters"])


def _variables() -> dict[str, tf.Variable]:
    """The variables of the default graph by name."""
    found = [*tf.global_variables(), *tf.get_collection(tf.GraphKeys.LOCAL_VARIABLES)]
    return {v.name: v for v in found if not v.name.startswith(_NOT_KEPT)}
