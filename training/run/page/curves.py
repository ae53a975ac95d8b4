"""Curves of a run as SVG that stands in its page.

Matplotlib draws them: it is installed already, for the plots of metrics, knows axes, ticks and
units, and its SVG is small and needs no script and no server. Libraries for the browser would add
megabytes to every page, or a download. Dark mode: Matplotlib gets colors that stand for others, and
the SVG has `currentColor` and variables of the page's style in their place.

No text from files is drawn, so that none can be taken for mathematics or markup: names and legends
are HTML.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.run.page.run_files import RunFiles

_WIDTH, _HEIGHT, _FONT = 5.0, 2.2, 9
_MOST_POINTS = 300  # Of a curve; neighbors are averaged.
# Colors that stand for others, and what the page has in their place.
_INK = "#010203"
_LINES = {f"#01020{i + 4}": f"var(--line{i})" for i in range(4)}
_COLORS = {_INK: "currentColor", **_LINES}
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "page",
    "font.size": _FONT,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}

# Title, what it tells, and {legend: name in stats.jsonl}. Without any of its numbers a plot is left
# out.
_PLOTS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("Losses", "They need not fall: the networks compete. Steady is good.",
     {"G": "Loss/G/loss", "D": "Loss/D/loss"}),
    ("Scores of D", "The further apart, the easier D tells them apart.",
     {"reals": "Loss/scores/real", "fakes": "Loss/scores/fake",
      "held out": "Loss/scores/validation"}),
    ("Overfitting", "0: none, 1: complete.", {"r_t": "Loss/signs/real", "r_v": "r_v"}),
    ("Augmentation p", "How much is augmented.", {"p": "augment"}),
    ("Regularization", "Penalties of R1 and of path lengths.",
     {"R1": "Loss/D/r1_penalty", "path length": "Loss/G/pl_penalty"}),
    ("White borders", "Share of white along the sides of fakes; of reals it is near 1.",
     {"fakes": "white_border"}),
    ("Speed", "Seconds a thousand images.", {"sec/kimg": "sec_per_kimg"}),
)  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """A plot: its title, what it tells, (legend, last value) of each curve, and the SVG."""

    title: str
    text: str
    legend: list[tuple[str, str]]
    svg: str


def stats_plots(run: RunFiles) -> list[Plot]:
    """Plots of the statistics, by thousands of images."""
    # The first tick has one step, unlike any later.
    rows = [row for row in run.stats if row.get("tick") != 0]
    plots: list[Plot] = []
    for title, text, curves in _PLOTS:
        points = {}
        for legend, name in curves.items():
            points[legend] = [(row["kimg"], row[name]) for row in rows if name in row]
        plots += _plot(title, text, points, f"curve{len(plots)}-")
    return plots


def metric_plots(run: RunFiles) -> list[Plot]:
    """A plot of each number of a metric that several snapshots have."""
    plots: list[Plot] = []
    for metric, rows in run.metrics.items():
        for suffix in dict.fromkeys(s for row in rows for s in row.results):
            # Of several measurements of a snapshot the last counts.
            points = {
                row.kimg: row.results[suffix]
                for row in rows
                if row.kimg is not None and suffix in row.results
            }
            name = metric + suffix
            plots += _plot(name, "", {name: sorted(points.items())}, f"metric{len(plots)}-", "o")
    return plots


def _plot(
    title: str,
    text: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    prefix: str,
    marker: str = "",
) -> Iterator[Plot]:
    """A plot of curves that have two points or more, if there are such."""
    known = {legend: points for legend, points in curves.items() if len(points) > 1}
    if known:
        legend = [(name, f"{points[-1][1]:.4g}") for name, points in known.items()]
        yield Plot(title, text, legend, draw(list(known.values()), prefix, marker))


def draw(curves: Sequence[Sequence[tuple[float, float]]], prefix: str, marker: str = "") -> str:
    """Curves as an SVG element for HTML.

    Args:
        curves: points (x, y) of each, at most four curves.
        prefix: of the names within the SVG, another one for each plot of a page.
        marker: of the points.
    """
    # Late, since it takes a second to load; without pyplot, which keeps figures and a backend.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    content = io.StringIO()
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        for points, color in zip(curves, _LINES, strict=False):
            axes.plot(*_thinned(points).T, color=color, marker=marker, markersize=3)
        axes.grid(True, alpha=0.25, color=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    return _for_html(content.getvalue(), prefix)


def _thinned(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Points [N, 2], N at most `_MOST_POINTS`."""
    array = np.array(points, np.float64)
    parts = np.array_split(array, min(len(array), _MOST_POINTS))
    return np.stack([part.mean(axis=0) for part in parts])


def _for_html(svg: str, prefix: str) -> str:
    """An SVG file as an element of a page: no header, no style of its own, names that are unique,
    colors of the page.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', svg)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    for name in re.findall(r' id="([^"]*)"', svg):
        svg = svg.replace(f' id="{name}"', f' id="{prefix}{name}"' if name in used else "")
    svg = re.sub(r'((?:href="|url\()#)', rf"\g<1>{prefix}", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: [\d.]+px [^;\"]*", f"font-size: {_FONT}px", svg)
    for color, meaning in _COLORS.items():
        svg = svg.replace(color, meaning)
    return svg
