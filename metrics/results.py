"""Results in files: official lines, JSON, and a plot of each metric over the training."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from dnnlib import UserError
from dnnlib.files import atomic_write
from dnnlib.util import format_time
from training.run.file_names import kimg_of

_FORMAT = "%-10.4f"
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
        with open(base + ".txt", "a", encoding="utf-8") as file:
            file.write(result_line(report, formats) + "\n")
        rows = [*_read_rows(base + ".jsonl"), asdict(report) | {"kimg": kimg_of(report.snapshot)}]
        with atomic_write(base + ".jsonl", "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        plot(report.metric, run_dir)
    except OSError as error:
        raise UserError(f"cannot write {base}.*: {error.strerror or error}") from error


def _read_rows(path: str) -> list[dict]:
    """The rows of a file that are whole: a machine that goes down may leave half of one."""
    if not os.path.exists(path):
        return []
    rows = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError):
                rows.append(json.loads(line))
    return rows


def plot(metric: str, run_dir: str) -> None:
    """Draws `metric-NAME.png` from `metric-NAME.jsonl`, if it has snapshots with a kimg.

    Of several measurements of a snapshot the last counts.
    """
    # Late, since it takes a second to load; without pyplot, which keeps figures and a backend.
    from matplotlib.figure import Figure

    base = os.path.join(run_dir, f"metric-{metric}")
    rows = _read_rows(base + ".jsonl")
    by_kimg = {row["kimg"]: row for row in rows if row["kimg"] is not None}
    if not by_kimg:
        return
    rows = [by_kimg[kimg] for kimg in sorted(by_kimg)]
    names = list(rows[-1]["results"])
    figure = Figure(figsize=(8, 3 * len(names)), layout="constrained")
    for axes, suffix in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        axes.errorbar(
            [row["kimg"] for row in rows],
            [row["results"][suffix] for row in rows],
            yerr=[row["deviations"].get(suffix, 0) for row in rows],
            marker="o",
            capsize=3,
        )
        axes.set_xlabel("thousands of images")
        axes.set_ylabel(metric + suffix)
        axes.grid(True, alpha=0.3)
    with atomic_write(base + ".png") as file:
        figure.savefig(file, format="png")
