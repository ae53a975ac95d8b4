"""Finding the run that `--resume` goes on with, its state and its options. Without TensorFlow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from dnnlib import UserError, npz, schema
from dnnlib.files import open_regular
from dnnlib.schema import Range
from dnnlib.util import one_line
from training.config.options import TrainingOptions

OPTIONS_FILE = "training_options.json"
LATEST = "latest"
STATE_FORMAT = 1
_POSITION = r"(\d{6,})(\.\d{3})?"  # See `position_name`.
META = "meta"  # Of the arrays in a state the one that describes it.
# Options that another session of the same run may have otherwise.
_FREE = ("total_kimg", "total_seconds", "keep_states")
_FREE += ("image_snapshot_ticks", "network_snapshot_ticks")
# Options of both networks that no command line has: a run takes them from its dataset.
_FROM_DATA = ("num_channels", "resolution", "label_size", "base_size")
_NOT_GIVEN = "none"
# Variables that sum what is reported, which may be anything.
STATISTICS = "Autosummary/"
_MOST = (1 << 31) - 1


class _NewerError(UserError):
    """A state of a newer format, which an older state is no substitute for."""


@dataclass(frozen=True)
class _Meta:
    """What a state says of itself; a run has counted no further than its numbers can."""

    format: int
    counters: dict[str, Annotated[float, Range(-1, _MOST)] | bool | str | None]
    variables: list[str]


_Count = Annotated[int, Range(0, _MOST)]
_Seconds = Annotated[float, Range(0, _MOST)]


@dataclass(frozen=True)
class Counters:
    """Where a run is: the counters of its state. Older states lack those with a default."""

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


_MAX_NAMED = 3  # options in an error


def find_run(result_dir: str, name: str, desc: str | None = None) -> str:
    """The run directory to go on with.

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
            f"--resume=latest: no run{which} in {result_dir} has a training-state-*.npz to go on "
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
    """Why there is nothing to go on from in a folder, and what to do."""
    names = sorted(os.listdir(folder))
    if not names:
        return "the folder is empty: name a run directory, or latest for the run that saved last"
    snapshots = [name for name in names if re.fullmatch(r"network-.*\.pkl", name)]
    if snapshots:
        numbered = sorted((n for n in snapshots if kimg_of(n) is not None), key=kimg_of)
        path = os.path.join(folder, (numbered or snapshots)[-1])
        return (
            "the folder holds snapshots, but no training-state-*.npz to go on from: start a new "
            f"run from the weights of a snapshot with --dataset and --resume={path}"
        )
    if any(re.match(r"\d{5,}-", name) for name in names):
        return f"name a run directory in it, or give --resume=latest --result-dir={folder}"
    return "the folder holds no training-state-*.npz to go on from: start the run anew"


def position_name(nimg: int, whole_kimg: bool) -> str:
    """A position in names of files, in thousands of images: `000012`, or exactly `000012.345`."""
    # Deviation: officially always whole thousands; files of short runs overwrite each other.
    kimg, rest = divmod(nimg, 1000)
    return f"{kimg:06d}" if whole_kimg else f"{kimg:06d}.{rest:03d}"


def kimg_of(path: str) -> int | float | None:
    """Thousands of images that the name of a numbered snapshot or state tells."""
    name = os.path.basename(path)
    match = re.fullmatch(rf"(?:network-snapshot|training-state)-{_POSITION}(?:\.pkl|\.npz)?", name)
    if match is None:
        return None
    return int(match[1]) if match[2] is None else float(match[1] + match[2])


def state_path(run_dir: str, cur_nimg: int, whole_kimg: bool = True) -> str:
    """Where the state belongs that a run has after so many images."""
    return os.path.join(run_dir, f"training-state-{position_name(cur_nimg, whole_kimg)}.npz")


def find_states(run_dir: str) -> list[str]:
    """Paths of the states in a run directory, the newest last."""
    found = [n for n in os.listdir(run_dir) if re.fullmatch(rf"training-state-{_POSITION}\.npz", n)]
    return [os.path.join(run_dir, name) for name in sorted(found, key=kimg_of)]


def newest_state(run_dir: str) -> str:
    """Path of the newest state that is whole and finite; prints a warning for each newer one.

    States are written atomically: only a damaged disk or a bad copy breaks one.

    Raises:
        UserError: none is whole, or one is of a newer format.
    """
    for path in (states := find_states(run_dir))[::-1]:
        try:
            for _ in read_variables(path):
                pass
        except UserError as error:
            if path == states[0] or isinstance(error, _NewerError):
                raise
            reason = str(error).removeprefix(_cannot_read(path))
            print(f"Warning: {path} is broken ({reason}): going on from the state before it")
        else:
            return path
    raise UserError(f"{run_dir} has no state any more")


def read_variables(path: str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, value) of the variables that a state holds; its checksums are checked on the way.

    Raises:
        UserError: not readable, of a newer format, or a value is not finite.
    """
    names = {f"v{i}": name for i, name in enumerate(read_meta(path)["variables"])}
    try:
        with open_regular(path) as file:
            for key, value in npz.read_arrays(file):
                if key == META:
                    continue
                if key not in names:
                    raise UserError(f"it does not say what its array {one_line(key, 60)} is")
                name = names.pop(key)
                if value.dtype.kind not in "biuf":
                    raise UserError(f"{one_line(name, 100)} holds {value.dtype}, not numbers")
                if not name.startswith(STATISTICS) and not np.isfinite(value).all():
                    raise UserError(
                        f"{one_line(name, 100)} has values that are not finite (NaN, infinity)"
                    )
                yield name, value
        if names:
            raise UserError(f"it lacks {one_line(', '.join(names.values()), 100)}")
    except (OSError, UserError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_meta(path: str) -> dict[str, Any]:
    """What a state says of itself: its "format", "counters" and names of "variables".

    Raises:
        UserError: not readable, or of a newer format.
    """
    try:
        with open_regular(path) as file:
            content = next((value for key, value in npz.read_arrays(file) if key == META), None)
        if content is None:
            raise UserError("it does not say what it holds")
        version = schema.parse_json(content.tobytes(), dict[str, Any]).get("format")
        is_newer = type(version) is int and version > STATE_FORMAT
        meta = None if is_newer else schema.parse_json(content.tobytes(), _Meta)
    except (OSError, UserError, ValueError) as error:
        raise _unreadable(path, error) from error
    if meta is None:
        raise _NewerError(
            f"state {path} has format {version}, this version reads {STATE_FORMAT}: "
            "update this software"
        )
    return vars(meta)


def read_counters(path: str) -> Counters:
    """Where a run was when a state was written.

    Raises:
        UserError: not readable, of a newer format, or a counter is missing or none.
    """
    counters = read_meta(path)["counters"]
    try:
        return schema.parse(Counters, counters, "counters")
    except UserError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"{_cannot_read(path)}{getattr(error, 'strerror', None) or error}")


def _cannot_read(path: str) -> str:
    return f"cannot read state {path}: "


def check_data(
    options: TrainingOptions, counters: Counters, path: str, facts: Mapping[str, Any]
) -> None:
    """Compares a dataset with the one that a run was started with.

    Args:
        options: of the run, as they are stored.
        counters: of the state.
        path: of the dataset.
        facts: "num_images", "content", and of `_FROM_DATA` what the networks are built with.

    Raises:
        UserError: it is another one.
    """
    stored = {name: value for name, value in options.G_args.items() if name in _FROM_DATA}
    stored |= {name: getattr(counters, name) for name in ("num_images", "content")}
    # Older states do not say all.
    stored = {name: value for name, value in stored.items() if value is not None}
    facts = {name: facts[name] for name in facts if name != "content" or name in stored}
    different = list(_differences(json.loads(json.dumps(facts)), stored, ""))
    if different:
        # Other sizes say more than that the content is another.
        sizes = [d for d in different if d[0] != "content"]
        listed = "; ".join(f"{name} is {now}, not {was}" for name, now, was in sizes)
        listed = listed or "it has as many images of the same size, but other pictures or labels"
        raise UserError(
            f"the dataset {path} is not what the run was started with: {listed}; go on with the "
            "dataset as it was, or start a new run from the weights with --resume=SNAPSHOT.pkl"
        )


def resumed_options(run_dir: str, given: TrainingOptions | None) -> TrainingOptions:
    """The options that a run was started with.

    Args:
        run_dir: its directory.
        given: what the command line describes, to be checked against them; None if it describes no
            run. Options that do not change what a step does may be others, and are taken.

    Raises:
        UserError: the options cannot be read, or what is given is another run.
    """
    options = _read_options(os.path.join(run_dir, OPTIONS_FILE))
    if given is None:
        return options
    # How the run started is over.
    given.resume_pkl, given.resume_partial = options.resume_pkl, options.resume_partial
    if options.resume_pkl is not None:
        given.augment_args.kimg = options.augment_args.kimg
        given.G_smoothing_rampup = options.G_smoothing_rampup
    # The dataset may have moved; whether it has changed is checked when it is opened.
    options.dataset_args["tfrecord_dir"] = given.dataset_args["tfrecord_dir"]
    wanted, stored = (json.loads(json.dumps(o.to_json())) for o in (given, options))
    for network in ("G_args", "D_args"):
        known = {key: stored[network][key] for key in _FROM_DATA if key in stored[network]}
        wanted[network] = {**known, **wanted[network]}
    different = [d for d in _differences(wanted, stored, "") if d[0] not in _FREE]
    if different:
        listed = "; ".join(f"{name} {was}, not {now}" for name, now, was in different[:_MAX_NAMED])
        more = "; …" if len(different) > _MAX_NAMED else ""
        raise UserError(
            f"{run_dir} was started with {listed}{more}: give the options that it was started "
            "with, or --resume without them; a new run needs no --resume"
        )
    return options


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


def _read_options(path: str) -> TrainingOptions:
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


def _differences(wanted: Any, stored: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, wanted, stored) of the options that differ."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for key in (*wanted, *(key for key in stored if key not in wanted)):
            values = (side.get(key, _NOT_GIVEN) for side in (wanted, stored))
            yield from _differences(*values, f"{name}.{key}" if name else key)
    elif wanted != stored:
        yield name, wanted, stored
