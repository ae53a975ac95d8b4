"""Writes the page of a run directory."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from dnnlib import UserError, pages
from dnnlib.files import atomic_write
from dnnlib.util import one_line
from training.datasets.photos.arrays import read_picture
from training.pictures import xmp
from training.run.divergence import Diverged
from training.run.file_names import OPTIONS_FILE, PAGE, REALS
from training.run.page.alerts import find_alerts
from training.run.page.curves import metric_plots, stats_plots
from training.run.page.data_card import make_card
from training.run.page.run_files import Measurement, RunFiles, finite, read_run
from training.run.page.summary import commands, progress, settings, summary

_MOST_EMBEDDED, _EMBEDDED_SIDE = 24, 1024
_LONGEST_OPTIONS = 100_000  # Characters.
_PAUSE = 20  # Between two pages of a run, as a multiple of the time that one takes.


class Page:
    """The page of a run that trains, which is written seldom enough to take hardly any time.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: str):
        self._run_dir, self._due = run_dir, 0.0

    def update(self) -> None:
        """Writes it, unless that would take more than a small part of the time."""
        start = time.monotonic()
        if start >= self._due:
            try_page(self._run_dir)
            end = time.monotonic()
            self._due = end + _PAUSE * (end - start)


@contextmanager
def page_of_failure(run_dir: str) -> Iterator[None]:
    """Writes the page of a run that a signal ended, or that diverged, after the block."""
    try:
        yield
    except (Diverged, KeyboardInterrupt, SystemExit):
        if os.path.exists(os.path.join(run_dir, OPTIONS_FILE)):  # It had begun.
            try_page(run_dir)
        raise


def try_page(run_dir: str) -> None:
    """As `write_page`, of work that goes on whatever happens to its page: a note says what."""
    try:
        write_page(run_dir)
    except Exception as error:
        print(
            f"NOTE: {os.path.join(run_dir, PAGE)} is not written: {one_line(error)}",
            file=sys.stderr,
        )


def write_page(run_dir: str, embed: bool = False) -> str:
    """Writes `report.html` from what lies in a run directory, and returns its path.

    Args:
        run_dir: of a training, of a measurement or of projections; also of older versions.
        embed: hold the pictures too, reduced, so that the page can be sent.

    Raises:
        UserError: there is no such folder, or the page cannot be written.
    """
    path = os.path.join(run_dir, PAGE)
    try:
        text = _render(read_run(run_dir), embed)
        with atomic_write(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # Names of files may be any bytes.
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _render(run: RunFiles, embed: bool) -> str:
    environment = pages.templates("training.run.page")
    loader = environment.loader
    style, script = (loader.get_source(environment, f"page.{kind}")[0] for kind in ("css", "js"))
    with open(pages.COPY_SCRIPT, encoding="utf-8") as file:
        script = file.read() + script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    show = _Pictures(run.folder, embed)
    reals = show(REALS) if run.has_reals else None
    return environment.get_template("page.html").render(
        run=run,
        name=one_line(os.path.basename(os.path.abspath(run.folder))),
        style=Markup(style),
        script=Markup(script),
        script_hash=digest,
        summary=list(summary(run)),
        progress=progress(run),
        alerts=find_alerts(run),
        reals=reals,
        fakes=show.fakes(run),
        pictures=[(name, show(name)) for name in run.pictures],
        plots=[(plot, Markup(plot.svg)) for plot in stats_plots(run)],
        metric_plots=[(plot, Markup(plot.svg)) for plot in metric_plots(run)],
        metrics=list(_metric_rows(run)),
        metric_notes=[(m, "; ".join(rows[-1].notes)) for m, rows in run.metrics.items()],
        best=_best(run),
        card=make_card(run),
        settings=list(settings(run)),
        options=_shown_options(run),
        commands=list(commands(run)),
    )


class _Pictures:
    """Addresses of pictures: their names, or all that they hold."""

    def __init__(self, folder: str, embed: bool):
        self._folder, self._embed = folder, embed

    def __call__(self, name: str) -> str:
        return self._embedded(name) if self._embed else _address(name)

    def fakes(self, run: RunFiles) -> list[dict[str, str]]:
        """Grids over time, evenly spaced ones where not all of them are embedded."""
        chosen = run.fakes
        if self._embed and len(chosen) > _MOST_EMBEDDED:
            numbers = np.linspace(0, len(chosen) - 1, _MOST_EMBEDDED).round().astype(int)
            chosen = [chosen[i] for i in numbers]
        return [{"label": fakes.label, "src": self(fakes.name)} for fakes in chosen]

    def _embedded(self, name: str) -> str:
        content = io.BytesIO()
        try:
            picture = read_picture(os.path.join(self._folder, name))
            kept = xmp.find(picture)
        except UserError:
            return _address(name)
        picture.thumbnail((_EMBEDDED_SIDE, _EMBEDDED_SIDE))
        marks = {} if kept is None else {"xmp": kept}
        picture.save(content, format="WEBP", quality=85, **marks)
        return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _address(name: str) -> str:
    return quote(os.fsencode(name))


def _shown_options(run: RunFiles) -> str:
    """All options, but no more than one can look at."""
    try:
        text = json.dumps(run.options, indent=2)
    except RecursionError:
        return "nested too deeply to be shown"
    return text if len(text) <= _LONGEST_OPTIONS else f"{text[:_LONGEST_OPTIONS]}…"


def _best(run: RunFiles) -> dict[str, Any] | None:
    """The best snapshot and the distances of all, see `training.run.finishing`."""
    snapshot, distances = run.best.get("snapshot"), run.best.get("distances")
    if not isinstance(snapshot, str):
        return None
    numbers = distances if isinstance(distances, dict) else {}
    numbers = {name: finite(value) for name, value in numbers.items()}
    known = [(one_line(n), f"{v:.5g}") for n, v in numbers.items() if v is not None]
    compared = one_line(run.best.get("compared with", "photos"))
    return {"snapshot": one_line(snapshot), "compared": compared, "distances": known}


def _metric_rows(run: RunFiles) -> Iterator[dict[str, str]]:
    """Newest, lowest and highest result of each number of a metric."""
    for metric, rows in run.metrics.items():
        for suffix in dict.fromkeys(s for row in rows for s in row.results):
            known = [row for row in rows if suffix in row.results]
            shown = [_result(row, suffix) for row in known]
            values = [row.results[suffix] for row in known]
            lowest, highest = (shown[values.index(f(values))] for f in (min, max))
            yield {
                "name": metric + suffix,
                "newest": shown[-1],
                "lowest": lowest,
                "highest": highest,
            }


def _result(row: Measurement, suffix: str) -> str:
    place = row.snapshot if row.kimg is None else f"{row.kimg:g} kimg"
    return f"{row.results[suffix]:.5g} ({place})"
