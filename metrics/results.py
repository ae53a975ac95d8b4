"""Results in files: official lines, JSON, and a plot of each metric over the training."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import IO, Any

from dnnlib import UserError
from dnnlib.files import append_line, atomic_write, lines_of, open_regular
from dnnlib.util import format_time
from training.run.file_names import kimg_of
from training.run.page.run_files import finite
from training.run.reports import metric_row

_FORMAT = "%-10.4f"
_LONGEST_ROW = 1 << 16
_MOST_PLOTS, _LARGEST = 64, 1e100  # What a picture has room for.
_DEFAULT_FORMATS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class MetricReport:
    """What was measured on one snapshot, and how.

    Attributes:
        metric: name.
        snapshot: the snapshot's file name without extension.
        results: {suffix: mean over repeats}; a metric of one value has the suffix "".
        deviations: {suffix: standard deviation over repeats}, where there are several.
        repeats: how often it was measured, each time with other fakes.
        seconds: that it took.
        seed: of the fakes.
        num_reals, num_fakes: images that were compared; 0 where none are needed.
        feature_networks: {name: SHA-256 of the file}.
        notes: what the reader of the number should know.
        option: what --metrics calls the metric.
    """

    metric: str
    snapshot: str
    results: Mapping[str, float]
    deviations: Mapping[str, float]
    repeats: int
    seconds: float
    seed: int
    num_reals: int = 0
    num_fakes: int = 0
    feature_networks: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    option: str = ""


def result_line(report: MetricReport, formats: Mapping[str, str] = _DEFAULT_FORMATS) -> str:
    """The official line: snapshot, time, name and value.

    Args:
        report: of a metric.
        formats: {suffix: format like "%-10.4f"} of values that are written in their own.
    """
    name = report.snapshot if len(report.snapshot) < 30 else "..." + report.snapshot[-26:]
    values = " ".join(
        f"{report.metric}{s} {formats.get(s, _FORMAT) % v}" for s, v in report.results.items()
    )
    if report.repeats > 1:
        spread = " ".join(f"{value:.4f}" for value in report.deviations.values())
        values += f" deviation {spread} repeats {report.repeats}"
    return f"{name:<30s} time {format_time(report.seconds):<12s} {values}".rstrip()


def scalars(reports: Iterable[MetricReport]) -> dict[str, float]:
    """{TensorBoard tag: value}."""
    return {
        f"Metrics/{report.metric}{suffix}": value
        for report in reports
        for suffix, value in report.results.items()
    }


def write(
    report: MetricReport, run_dir: str, formats: Mapping[str, str] = _DEFAULT_FORMATS
) -> None:
    """Appends to `metric-NAME.txt` and `metric-NAME.jsonl`, and draws `metric-NAME.png` anew.

    Raises:
        UserError: the files cannot be written.
    """
    base = os.path.join(run_dir, f"metric-{report.metric}")
    try:
        append_line(base + ".txt", result_line(report, formats))
        row = asdict(report) | {"kimg": kimg_of(report.snapshot)}
        with atomic_write(base + ".jsonl") as file:
            _copy_whole_lines(base + ".jsonl", file)
            file.write((json.dumps(row) + "\n").encode())
        plot(report.metric, run_dir)
    except OSError as error:
        raise UserError(f"cannot write {base}.*: {error.strerror or error}") from error


def _copy_whole_lines(path: str, copy: IO[bytes]) -> None:
    """Copies a file, rows of other programs too, but not the half of a row at its end that is left
    of a machine that went down.
    """
    if not os.path.exists(path):
        return
    with open_regular(path) as file:
        shutil.copyfileobj(file, copy)
        begin = max(copy.tell() - _LONGEST_ROW, 0)
        file.seek(begin)
        last = file.read(_LONGEST_ROW).rpartition(b"\n")[2]
    if not last:
        return
    try:
        json.loads(last)
    except ValueError:
        if len(last) < _LONGEST_ROW:
            copy.truncate(copy.tell() - len(last))
            copy.seek(0, os.SEEK_END)
            return
    except RecursionError:
        pass
    copy.write(b"\n")


def plot(metric: str, run_dir: str) -> None:
    """Draws `metric-NAME.png` from `metric-NAME.jsonl`, if it has snapshots with a kimg.

    Of several measurements of a snapshot the last counts.
    """
    # Late, since it takes a second to load; without pyplot, which keeps figures and a backend.
    from matplotlib.figure import Figure

    name = f"metric-{metric}"
    by_kimg = {point.kimg: point for point in _points(run_dir, name + ".jsonl", metric)}
    if not by_kimg:
        return
    points = [by_kimg[kimg] for kimg in sorted(by_kimg)]
    names = list(points[-1].results)[:_MOST_PLOTS]
    figure = Figure(figsize=(8, 3 * len(names)), layout="constrained")
    for axes, suffix in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        axes.errorbar(
            [point.kimg for point in points],
            [point.results.get(suffix, math.nan) for point in points],
            yerr=[point.deviations.get(suffix, 0) for point in points],
            marker="o",
            capsize=3,
        )
        axes.set_xlabel("thousands of images")
        axes.set_ylabel(metric + suffix)
        axes.grid(True, alpha=0.3)
    with atomic_write(os.path.join(run_dir, name + ".png")) as file:
        figure.savefig(file, format="png")


def plot_missing(metric: str, run_dir: str) -> None:
    """Draws `metric-NAME.png` if it lacks what `metric-NAME.jsonl` has: a signal came between.

    Raises:
        OSError: it cannot be written.
    """
    base = os.path.join(run_dir, f"metric-{metric}")
    with suppress(FileNotFoundError):
        rows = os.stat(base + ".jsonl").st_mtime
        drawn = os.stat(base + ".png").st_mtime if os.path.exists(base + ".png") else -math.inf
        if drawn < rows:
            plot(metric, run_dir)


@dataclass(frozen=True)
class _Point:
    """What is drawn of a row."""

    kimg: float
    results: Mapping[str, float]
    deviations: Mapping[str, float]


def _points(folder: str, name: str, metric: str) -> Iterator[_Point]:
    """Of all rows that are measurements of a metric at a known kimg; others may lie between."""
    for line in lines_of(os.path.join(folder, name)):
        row = metric_row(line) or {}
        kimg, results = finite(row.get("kimg")), _numbers(row.get("results"))
        if row.get("metric") == metric and kimg is not None and results:
            yield _Point(kimg, results, _numbers(row.get("deviations")))


def _numbers(values: Any) -> dict[str, float]:
    """Those of a JSON object that a plot has room for."""
    found = {n: finite(v) for n, v in values.items()} if isinstance(values, dict) else {}
    return {n: v for n, v in found.items() if v is not None and abs(v) < _LARGEST}
