"""What lies in a run directory, for its page. Files may be missing, damaged, of other versions."""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dnnlib import UserError, npz, schema
from dnnlib.files import lines_of, open_regular
from dnnlib.run_dir import LOG
from dnnlib.util import one_line
from training.run.file_names import (
    BEST,
    FINAL,
    METRICS,
    OPTIONS_FILE,
    REALS,
    STATS,
    find_states,
    kimg_of,
)

MACHINE = "Machine: "  # Begins a line of the log.
_DEVICES = ("Building TensorFlow graph on ", "...")
_DIVERGED = "training.run.divergence.Diverged: "
_MOST_PICTURES = 60
T = TypeVar("T")


@dataclass(frozen=True)
class Fakes:
    """A grid of fakes: the name of its file, and when it was made, for people."""

    name: str
    label: str


@dataclass(frozen=True)
class Measurement:
    """A row of a metric-NAME.jsonl.

    Attributes:
        snapshot: that was measured.
        kimg: of the snapshot; None: not known.
        results: by suffix of the metric's name.
        notes: what the reader should know.
    """

    snapshot: str
    kimg: float | None
    results: Mapping[str, float]
    notes: tuple[str, ...] = ()


@dataclass
class RunFiles:
    """What was found.

    Attributes:
        folder: the run directory.
        options: of training_options.json, unchecked.
        stats: rows of stats.jsonl by kimg; finite numbers only.
        metrics: rows by the name of the metric.
        best: best-snapshot.json, unchecked.
        fakes: grids over time.
        has_reals: whether there is a grid of reals.
        pictures: names of other pictures, as projections write them.
        more_pictures: how many there are besides.
        snapshot: name of the best one, else the last; None: there is none.
        is_over: whether there is a final snapshot.
        counters: of the newest state that can be read, unchecked.
        machine: what it ran on last.
        failure: why it diverged; "" if it did not.
        problems: what could not be read.
    """

    folder: str
    options: dict[str, Any] = field(default_factory=dict)
    stats: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, list[Measurement]] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    fakes: list[Fakes] = field(default_factory=list)
    has_reals: bool = False
    pictures: list[str] = field(default_factory=list)
    more_pictures: int = 0
    snapshot: str | None = None
    is_over: bool = False
    counters: dict[str, Any] = field(default_factory=dict)
    machine: str = ""
    failure: str = ""
    problems: list[str] = field(default_factory=list)

    def option(self, *path: str) -> Any:
        """An option by its path, like ("sched_args", "minibatch_size_base"); None without it."""
        value: Any = self.options
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def number(self, *path: str) -> float | None:
        """As `option`, if it is a finite number."""
        return finite(self.option(*path))

    @property
    def last(self) -> dict[str, float]:
        """The last row of the statistics."""
        return self.stats[-1] if self.stats else {}


def finite(value: Any) -> float | None:
    """A number from JSON as a float; None if it is none, or not finite."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):  # Whole numbers of hundreds of digits.
            return float(value) if math.isfinite(value) else None
    return None


def read_run(folder: str) -> RunFiles:
    """Everything that the page of a run directory shows.

    Raises:
        OSError: the folder cannot be listed.
    """
    names = sorted(os.listdir(folder))
    run = RunFiles(folder)
    run.options = _read_object(run, OPTIONS_FILE)
    run.best = _read_object(run, BEST)
    run.stats = _read_stats(run)
    for name in sorted(glob.glob(METRICS, root_dir=folder)):
        begin, end = METRICS.split("*")
        if rows := _read_rows(run, name, _measurement):
            run.metrics[name.removeprefix(begin).removesuffix(end)] = rows
    run.is_over, run.has_reals = FINAL in names, REALS in names
    run.fakes = _find_fakes(names)
    run.snapshot = _find_snapshot(names, run.best)
    others = list(_other_pictures(run, names))
    run.pictures, run.more_pictures = others[:_MOST_PICTURES], len(others[_MOST_PICTURES:])
    run.counters = _read_counters(folder)
    _read_log(run)
    return run


def _read_object(run: RunFiles, name: str) -> dict[str, Any]:
    try:
        return schema.read_json_object(os.path.join(run.folder, name))
    except UserError as error:
        run.problems.append(one_line(error))
        return {}


def _read_stats(run: RunFiles) -> list[dict[str, float]]:
    rows = {row["kimg"]: row for row in _read_rows(run, STATS, _stats_row)}
    return [rows[kimg] for kimg in sorted(rows)]


def _read_rows(run: RunFiles, name: str, parse: Callable[[Any], T | None]) -> list[T]:
    """The rows of a .jsonl that are sound; others are counted."""
    rows, damaged = [], 0
    for line in lines_of(os.path.join(run.folder, name)):
        row = None
        with suppress(ValueError, RecursionError):
            row = parse(json.loads(line))
        damaged += row is None
        rows += [] if row is None else [row]
    if damaged:
        run.problems.append(f"{name}: {damaged} damaged lines are left out")
    return rows


def _stats_row(row: Any) -> dict[str, float] | None:
    if not isinstance(row, dict):
        return None
    numbers = {name: finite(value) for name, value in row.items()}
    known = {name: value for name, value in numbers.items() if value is not None}
    return known if "kimg" in known else None


def _measurement(row: Any) -> Measurement | None:
    if not isinstance(row, dict) or not isinstance(row.get("results"), dict):
        return None
    results = {name: finite(value) for name, value in row["results"].items()}
    results = {name: value for name, value in results.items() if value is not None}
    notes = row.get("notes")
    notes = tuple(map(one_line, notes)) if isinstance(notes, list) else ()
    return Measurement(one_line(row.get("snapshot", "")), finite(row.get("kimg")), results, notes)


def _find_fakes(names: list[str]) -> list[Fakes]:
    begin = [Fakes(n, "before the first step") for n in names if n == "fakes_init.png"]
    found = [(kimg_of(n), n) for n in names if n.startswith("fakes") and n.endswith(".png")]
    numbered = sorted((kimg, name) for kimg, name in found if kimg is not None)
    return begin + [Fakes(name, f"{kimg:g} thousand images") for kimg, name in numbered]


def _find_snapshot(names: list[str], best: Mapping[str, Any]) -> str | None:
    if best.get("snapshot") in names:
        return best["snapshot"]
    snapshots = [n for n in names if n.startswith("network-snapshot-") and kimg_of(n) is not None]
    return FINAL if FINAL in names else max(snapshots, key=kimg_of, default=None)


def _other_pictures(run: RunFiles, names: list[str]) -> Iterator[str]:
    """Those of projections and of metrics, and sheets of catalogs; no plots of metrics."""
    for name in reversed(glob.glob("catalog-*/contact-sheet.png", root_dir=run.folder)):
        yield name.replace(os.sep, "/")
    known = {REALS, *(f.name for f in run.fakes), *(f"metric-{name}.png" for name in run.metrics)}
    # Targets before the pictures of the way to them.
    for name in sorted(names, key=lambda name: name.replace("-target.", "-.")):
        if name.endswith(".png") and not name.startswith(".") and name not in known:
            yield name


def _read_counters(folder: str) -> dict[str, Any]:
    """Of the newest state, which says what data the run is trained on."""
    for path in find_states(folder)[::-1]:
        with suppress(OSError, ValueError, KeyError, UserError), open_regular(path) as file:
            # See `training.run.state.save_state`.
            meta = schema.parse_json(npz.read_array(file, "meta").tobytes(), dict[str, Any])
            return schema.parse(dict[str, Any], meta["counters"])
    return {}


def _read_log(run: RunFiles) -> None:
    begin, end = _DEVICES
    machine, devices, last = "", "", ""
    for last in lines_of(os.path.join(run.folder, LOG)):
        if last.startswith(MACHINE):
            machine = last.removeprefix(MACHINE)
        elif last.startswith(begin):
            devices = last.removeprefix(begin).removesuffix(end)
    devices = f"trained on {devices}" if devices else ""
    run.machine = one_line("; ".join(filter(None, [machine, devices])))
    if last.startswith(_DIVERGED):
        run.failure = one_line(last.removeprefix(_DIVERGED), 1000)
