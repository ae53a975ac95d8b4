"""The state of a run, from which `--resume` continues exactly (DESIGN D8).

A file `training-state-NNNNNN.npz` beside the snapshots holds every variable of the graph (networks,
Adam's moments, means, statistics that were not reported yet) and the counters. Random numbers and
the order of the data are functions of the position in the run, so nothing of them is kept.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, npz, schema, tflib
from dnnlib.files import atomic_write, open_regular
from dnnlib.schema import Range
from dnnlib.util import one_line
from training.run.divergence import REMEDY, Diverged, non_finite
from training.run.file_names import find_states

STATE_FORMAT = 1
_META = "meta"  # Of the arrays in a state the one that describes it.
# Variables that sum what is reported, which may be anything.
_STATISTICS = "Autosummary/"
# Variables that come with the dataset, and are as large as it.
_NOT_KEPT = ("Dataset/",)
_MAX_NAMED = 5  # variables named in an error
_MOST = (1 << 31) - 1
_Count = Annotated[int, Range(0, _MOST)]
_Seconds = Annotated[float, Range(0, _MOST)]


class _NewerError(UserError):
    """A state of a newer format, which an older state is no substitute for."""


@dataclass
class Counters:
    """Where a run is, counted no further than its numbers can. Older states lack what has a
    default.

    Attributes:
        cur_nimg: images that it has trained on, and `last_nimg` before the last minibatch.
        minibatch: steps.
        cur_tick: ticks that are over.
        tick_start_nimg: `cur_nimg` when the current tick began.
        seconds: that the run has taken, and `tick_seconds` those of the current tick.
        saved_nimg, saved_whole: where a tick wrote files last, and whether their names say so in
            whole kimg.
        num_images, content: of the dataset.
    """

    cur_nimg: _Count
    last_nimg: _Count
    minibatch: _Count
    cur_tick: _Count
    tick_start_nimg: _Count
    seconds: _Seconds
    tick_seconds: _Seconds = 0.0
    saved_nimg: Annotated[int, Range(-1, _MOST)] | None = None
    saved_whole: bool = True
    num_images: _Count | None = None
    content: str | None = None

    @classmethod
    def of_new_run(cls) -> Counters:
        return cls(0, 0, 0, 0, 0, 0.0, saved_nimg=0)

    @classmethod
    def from_json(cls, values: Any) -> Counters:
        """The counters that `to_json` gave; raises a UserError if they are none."""
        return schema.parse(cls, values, "counters")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def add_step(self, num_images: int) -> None:
        """Counts a step."""
        self.last_nimg = self.cur_nimg
        self.cur_nimg += num_images
        self.minibatch += 1

    def add_tick(self) -> None:
        """Counts a tick, and begins the next."""
        self.cur_tick += 1
        self.tick_start_nimg = self.cur_nimg

    @property
    def is_between_ticks(self) -> bool:
        return self.cur_nimg == self.tick_start_nimg

    @property
    def is_named_whole(self) -> bool:
        """Whether names of files give the current position in whole kimg."""
        return self.saved_whole and self.cur_nimg == self.saved_nimg


@dataclass(frozen=True)
class _Meta:
    """What a state says of itself."""

    format: int
    counters: Counters
    variables: list[str]


@dataclass(frozen=True)
class State:
    """A state that was read.

    Attributes:
        path: its file.
        counters: of the run.
        arrays: {name: value} of the variables.
    """

    path: str
    counters: Counters
    arrays: dict[str, np.ndarray]

    def restore(self) -> None:
        """Sets the variables of the default graph, and lets go of the values.

        Raises:
            UserError: names the variables that do not fit.
        """
        variables = _variables()
        # A statistic that the run did not have yet starts from nothing; and where several workers
        # share the replicas, each has fewer.
        kept = {n: a for n, a in self.arrays.items() if n in variables or not _is_statistic(n)}
        needed = [name for name in variables if not _is_statistic(name)]
        problems = [f"{name} is missing" for name in needed if name not in kept]
        problems += [f"{name} has no place" for name in kept if name not in variables]
        for name in variables.keys() & kept.keys():
            shape, expected = kept[name].shape, tuple(variables[name].shape.as_list())
            if shape != expected:
                problems.append(f"{name} has shape {list(shape)}, not {list(expected)}")
        if problems:
            more = f" and {len(problems) - _MAX_NAMED} more" if len(problems) > _MAX_NAMED else ""
            raise UserError(
                f"state {self.path} does not fit this run: {'; '.join(problems[:_MAX_NAMED])}{more}"
            )
        tflib.set_vars({variables[name]: value for name, value in kept.items()})
        self.arrays.clear()  # As large as all that is trained.


def newest_state(run_dir: str) -> State:
    """The newest state that is whole and finite; prints a warning for each newer one.

    States are written atomically: only a damaged disk or a bad copy breaks one.

    Raises:
        UserError: none is whole, or one is of a newer format.
    """
    for path in (states := find_states(run_dir))[::-1]:
        try:
            return read_state(path)
        except UserError as error:
            if path == states[0] or isinstance(error, _NewerError):
                raise
            reason = str(error).removeprefix(_cannot_read(path))
            print(f"Warning: {path} is broken ({reason}): resuming from the state before it")
    raise UserError(f"{run_dir} has no state any more")


def read_state(path: str) -> State:
    """Reads a state; its checksums are checked on the way.

    Raises:
        UserError: not readable, of a newer format, or a value is not finite.
    """
    meta, stored = None, {}
    try:
        with open_regular(path) as file:
            for key, value in npz.read_arrays(file):
                if key == _META:
                    meta = _parse_meta(path, value.tobytes())
                else:
                    stored[key] = value
        if meta is None:
            raise UserError("it does not say what it holds")
        return State(path, meta.counters, dict(_named(stored, meta.variables)))
    except _NewerError:
        raise
    except (OSError, UserError, ValueError) as error:
        raise _unreadable(path, error) from error


def _parse_meta(path: str, text: bytes) -> _Meta:
    version = schema.parse_json(text, dict[str, Any]).get("format")
    if type(version) is int and version > STATE_FORMAT:
        raise _NewerError(
            f"state {path} has format {version}, this version reads {STATE_FORMAT}: "
            "update this software"
        )
    meta = schema.parse_json(text, _Meta)
    if meta.counters.saved_nimg is None:
        meta.counters.saved_nimg = meta.counters.tick_start_nimg
    return meta


def _named(
    arrays: Mapping[str, np.ndarray], variables: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, value) of the variables, which are finite numbers."""
    names = {f"v{i}": name for i, name in enumerate(variables)}
    for key, value in arrays.items():
        if key not in names:
            raise UserError(f"it does not say what its array {one_line(key, 60)} is")
        name = names.pop(key)
        if value.dtype.kind not in "biuf":
            raise UserError(f"{one_line(name, 100)} holds {value.dtype}, not numbers")
        if not _is_statistic(name) and not np.isfinite(value).all():
            raise UserError(f"{one_line(name, 100)} has values that are not finite (NaN, infinity)")
        yield name, value
    if names:
        raise UserError(f"it lacks {one_line(', '.join(names.values()), 100)}")


def save_state(path: str, counters: Counters, keep: int) -> None:
    """Writes the state of the default graph, atomically, and removes others.

    Those are removed that are older than the newest `keep`, and those of later positions: a run
    that was resumed from an older state, because they were broken, writes them anew.

    Args:
        path: as from `file_names.state_path`.
        counters: of the run, found again in `read_state`.
        keep: how many states stay, this one and those before it.

    Raises:
        Diverged: a variable is not finite; UserError: the file cannot be written. Older states are
            left as they are.
    """
    names = list(_variables())
    values = tflib.run([_variables()[name] for name in names])
    kept = {n: v for n, v in zip(names, values, strict=True) if not _is_statistic(n)}
    if bad := non_finite(kept):
        raise Diverged(f"no state is saved: {', '.join(bad[:_MAX_NAMED])} not finite: {REMEDY}")
    meta = _Meta(STATE_FORMAT, counters, names)
    text = json.dumps(dataclasses.asdict(meta)).encode()
    # Numbers for names: those of variables have characters that are special in archives.
    arrays = {f"v{i}": value for i, value in enumerate(values)}
    try:
        with atomic_write(path) as file:
            np.savez(file, **{_META: np.frombuffer(text, np.uint8)}, **arrays)
        states = find_states(os.path.dirname(path))
        end = [os.path.basename(p) for p in states].index(os.path.basename(path)) + 1
        for other in (*states[: max(end - keep, 0)], *states[end:]):
            os.unlink(other)
    except OSError as error:
        raise UserError(f"cannot write state {path}: {error.strerror or error}") from error


def trained_variables() -> list[tf.Variable]:
    """The variables that make up a run, without its statistics."""
    return [v for name, v in _variables().items() if not _is_statistic(name)]


def _is_statistic(name: str) -> bool:
    return name.startswith(_STATISTICS)


def _variables() -> dict[str, tf.Variable]:
    """The variables of the default graph by name."""
    found = [*tf.global_variables(), *tf.get_collection(tf.GraphKeys.LOCAL_VARIABLES)]
    return {v.name: v for v in found if not v.name.startswith(_NOT_KEPT)}


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"{_cannot_read(path)}{getattr(error, 'strerror', None) or error}")


def _cannot_read(path: str) -> str:
    return f"cannot read state {path}: "
