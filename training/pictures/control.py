"""What the commands about attributes make: tables, and files of directions."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence

import numpy as np

from dnnlib import UserError
from dnnlib.files import atomic_write
from training.latents.attributes.measured import Measure
from training.latents.attributes.names import MEASURED, REPRESENTATIVES, find_attributes
from training.latents.directions import files
from training.latents.directions.effects import Ground
from training.latents.directions.find import find, pictures_needed
from training.latents.directions.layers import find_ranges
from training.latents.directions.search import Found, Sampled, Search
from training.latents.directions.style_layers import style_layers
from training.latents.directions.style_space import rank_channels
from training.pictures.attribute_sources import class_attributes
from training.pictures.samples import Studio
from training.pictures.sessions import Request, Session, Subject, bar

# Samples that candidates are tried on, and samples that the result is measured on.
_TRIED_ON, _CHECKED_ON = 150, 200
_FEW_CLEAN = 0.5


def measure_attributes(subject: Subject, request: Request, out: str) -> None:
    """Writes a table of the attributes of samples, a line for each, and prints their distribution.

    Args:
        subject: the snapshot.
        request: which samples, by what.
        out: path of the CSV.

    Raises:
        UserError: as `Session`, or the file cannot be written.
    """
    session = Session(subject, request)
    if class_attributes(subject.Gs):
        try:
            session.add_classes()
        except UserError as error:
            print(f"NOTE: no {error}", file=sys.stderr)
    samples = session.samples

    def write(names: Sequence[str], values: np.ndarray) -> None:
        rows = [["seed", "class", *names]]
        for seed, number, row in zip(samples.seeds, samples.classes, values, strict=False):
            rows.append(
                [
                    seed,
                    number if number >= 0 else "",
                    *("" if np.isnan(v) else f"{v:.6g}" for v in row),
                ]
            )
        _write_table(out, rows)

    def write_part(names: Sequence[str], values: np.ndarray) -> None:
        write(names, values)
        print(f"{len(values)} of {len(samples.seeds)} samples are in {out}", file=sys.stderr)

    names, values = session.measured(write_part)
    write(names, values)
    print(f"{'attribute':24}{'mean':>11}{'deviation':>11}{'least':>11}{'most':>11}")
    for name, column in zip(names, values.T, strict=True):
        column = column[np.isfinite(column)]
        if len(column):
            numbers = (column.mean(), column.std(), column.min(), column.max())
            print(f"{name:24}" + "".join(f"{number:>11.4g}" for number in numbers))
    print(_describe_clean(names, values))


def find_directions(
    subject: Subject,
    request: Request,
    out: str,
    *,
    method: str = "ridge",
    attributes: str | None = None,
    keep: str | None = None,
    ranges: list | None = None,
    count: int = 10,
) -> None:
    """Finds directions, measures what they do, and writes both files.

    Args:
        subject: the snapshot.
        request: samples that they are found from.
        out: path of the .npz.
        method: one of `files.METHODS`.
        attributes: see `find_attributes`; None: all.
        keep: the same, or "none"; None: see `of_other_groups`.
        ranges: see `find_ranges`; None: for ridge coarse, middle and fine layers, else all.
        count: of unsupervised directions.

    Raises:
        UserError: as `Session`; an attribute or layer that there is not; no direction could be
            found; or a file cannot be written.
    """
    num_layers = subject.Gs.components.synthesis.input_shape[1]
    if ranges is None and method != "ridge":
        ranges = ["all"]
    layers = find_ranges(ranges, num_layers)
    session = Session(subject, request)
    names, kept, across = _chosen(session, attributes, keep)
    styles = style_layers(subject.Gs) if method == "sefa" else []
    sampled_names, values = session.measured()
    samples = session.samples
    sampled = Sampled(samples.dlatents[:, 0], samples.classes, sampled_names, values)
    sigmas = _sigmas(sampled, session.measure.names)
    print(_describe_clean(sampled_names, values), file=sys.stderr)
    first = (max(samples.seeds) + 1) % (1 << 31)
    found = Found()
    candidates = len(set(names) | set(REPRESENTATIVES if kept is None else kept))
    needed = pictures_needed(method, len(names), candidates, len(layers), count)
    needed = _TRIED_ON * (needed[0] + 1) + _CHECKED_ON * (needed[1] + 1)
    with bar(needed, "Trying directions") as progress:
        studio = Studio(subject.Gs, request.psi, session.studio.classes, progress)
        # What is the same in all samples does not move.
        usable = {n: s for n, s in sigmas.items() if s > 0}
        tried = _ground(studio, session.measure, usable, first, _TRIED_ON)
        checked = _ground(studio, session.measure, usable, first + _TRIED_ON, _CHECKED_ON)
        search = Search(sampled, tried, checked, layers, kept, across)
        try:
            find(search, method, names, count, styles, found)
            progress.total = progress.n  # What was refused was not tried.
        except KeyboardInterrupt:
            if found.arrays:
                _save(subject, request, out, method, search, found, sigmas)
                print(f"{len(found.arrays)} directions are in {out}", file=sys.stderr)
            raise
    if not found.arrays:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.refused.items())
        raise UserError(f"no direction could be found: {reasons}")
    _save(subject, request, out, method, search, found, sigmas)
    _print_directions(found, search)


def rank_styles(
    subject: Subject, request: Request, out: str, *, attributes: str | None, count: int
) -> None:
    """Writes a table of the style channels that belong to each attribute most (StyleSpace).

    Args:
        subject: the snapshot.
        request: samples that they are found from.
        out: path of the CSV.
        attributes: see `find_attributes`; None: all.
        count: channels of each.
    """
    layers = style_layers(subject.Gs)
    session = Session(subject, request)
    names, _, _ = _chosen(session, attributes, "none")
    known, values = session.measured()
    sampled = Sampled(session.samples.dlatents[:, 0], session.samples.classes, known, values)
    rows: list[list] = []
    for name in names:
        w, scores, _ = sampled.of(name)
        if len(scores) < 2 or np.std(scores) == 0:
            print(f"NOTE: {name} is left out: it is the same in all samples", file=sys.stderr)
            continue
        for rank, found in enumerate(rank_channels(layers, w, scores, count), 1):
            theta = f"{found.theta:.4g}"
            rows.append([name, rank, found.name, found.layer, found.channel, theta, found.sign])
    titles = ["attribute", "rank", "style", "layer", "channel", "theta", "sign"]
    _write_table(out, [titles, *rows])
    for name, rank, style, _, channel, theta, _ in rows:
        if rank == 1:
            print(f"{name}: channel {channel} of {style}, θ = {theta}")


def _write_table(path: str, rows: Sequence[Sequence]) -> None:
    try:
        with atomic_write(path, "w") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _chosen(session: Session, attributes: str | None, keep: str | None):
    """(attributes to find directions for, to keep, that differ between classes)."""
    classes = class_attributes(session.subject.Gs)
    scores = session.scores.names if session.scores else ()
    texts = [text for text in (attributes, keep) if text is not None]
    wanted = {part.strip() for text in texts for part in text.split(",")}
    across = frozenset(classes if wanted & set(classes) else ())
    if across and not across <= set(scores):
        session.add_classes()
    known = list(dict.fromkeys([*session.measure.names, *scores]))
    visible = known if across else [*known, *classes]
    if attributes is None:
        names = [name for name in known if name not in classes]
    else:
        names = find_attributes(attributes, visible, "--attributes")
    kept = None
    if keep is not None:
        kept = [] if keep == "none" else find_attributes(keep, visible, "--keep")
    return names, kept, across


def _sigmas(sampled: Sampled, names: Sequence[str]) -> dict[str, float]:
    """Standard deviations of attributes that can be measured; 0 for what nothing is known of."""
    found = {}
    for name in names:
        _, values, _ = sampled.of(name)
        spread = float(np.std(values)) if len(values) else 0.0
        is_varied = spread > 1e-9 * max(1.0, float(np.abs(values).max(initial=0)))
        found[name] = spread if is_varied else 0.0
    return found


def _ground(
    studio: Studio, measure: Measure, sigmas: dict[str, float], first: int, count: int
) -> Ground:
    columns = [measure.names.index(name) for name in sigmas]
    dlatents = studio.draw(range(first, first + count)).dlatents

    def measured(w: np.ndarray) -> np.ndarray:
        return studio.measure(w, measure)[:, columns]

    spread = np.array(list(sigmas.values()))
    return Ground(dlatents, measured(dlatents), tuple(sigmas), spread, measured)


def _save(
    subject: Subject,
    request: Request,
    out: str,
    method: str,
    search: Search,
    found: Found,
    sigmas: dict[str, float],
) -> None:
    synthesis = subject.Gs.components.synthesis
    column = search.sampled.values[:, 0]
    info = files.DirectionsInfo(
        network_sha256=subject.sha256,
        network=os.path.basename(subject.network),
        method=method,
        num_layers=synthesis.input_shape[1],
        dlatent_size=synthesis.input_shape[2],
        truncation_psi=request.psi,
        samples=len(search.sampled.w),
        clean=float(np.isfinite(column).mean()),
        sigmas=sigmas,
        directions=found.infos,
        refused=found.refused,
    )
    files.save(out, files.Directions(info, found.arrays))


def _print_directions(found: Found, search: Search) -> None:
    beside = [name for name in REPRESENTATIVES if name in search.check.names]
    print(f"{'direction':18}{'R²':>6}{'own':>7}{'right':>7}" + "".join(f"{n:>14}" for n in beside))
    for name, info in found.infos.items():
        quality = info.r2 if info.r2 is not None else info.accuracy
        own = info.effect.get(name)
        cells = [(quality, 6, ".2f"), (own, 7, "+.2f"), (info.right, 7, ".0%")]
        cells += [(info.effect.get(other), 14, "+.2f") for other in beside]
        shown = [("-" if v is None else format(v, form)).rjust(w) for v, w, form in cells]
        line = f"{name:18}" + "".join(shown)
        verdict = "; ".join(info.shortfalls) or (info.unit if own is None else "good")
        print(f"{line}  {verdict}")
    for name, reason in found.refused.items():
        print(f"{name:18}refused: {reason}")


def _describe_clean(names: Sequence[str], values: np.ndarray) -> str:
    columns = [names.index(name) for name in MEASURED if name in names]
    if not columns:
        return f"{len(values)} samples"
    clean = int(np.isfinite(values[:, columns]).all(axis=1).sum())
    text = f"{clean} of {len(values)} samples have a clean background; the others are left out"
    few = clean < _FEW_CLEAN * len(values)
    return text + (": these attributes are not for such pictures" if few else "")
