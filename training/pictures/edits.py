"""Strips of edited pictures: from none to all of a change, with measured attributes below."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dnnlib import UserError
from training.datasets.photos.arrays import on_white, save_png, to_picture
from training.latents.attributes.measured import PICTURE, Measure, combined
from training.latents.directions import files
from training.latents.directions.layers import find_ranges
from training.pictures.generation import check_pixels, read_dlatents
from training.pictures.provenance import (
    Provenance,
    classes_to_plain,
    hash_dlatents,
    hash_file,
    seeds_to_plain,
)
from training.pictures.samples import Studio
from training.pictures.sessions import Request, bar, own_measures
from training.snapshots.class_names import find_classes
from training.snapshots.pickles import Subject

_LEAST_WIDTH = 112  # Of a picture, so that the text below fits.
_LINE, _MARGIN = 14, 4  # Pixels.
_MOST_PICTURES = 10_000


@dataclass(frozen=True)
class Edit:
    """What is changed.

    Attributes:
        steps: of directions by name, in their units.
        directions: path of the file that they are in.
        ranges: layers that may change, see `find_ranges`; None: those of the directions.
        frames: pictures from none to all of the change.
    """

    steps: Mapping[str, float]
    directions: str
    ranges: Sequence | None = None
    frames: int = 5


def edit(
    subject: Subject,
    request: Request,
    change: Edit,
    dlatents_npz: str | None,
    out: str,
    metadata: bool = True,
) -> None:
    """Writes a PNG with a strip for each picture, and prints what was measured.

    Args:
        subject: the snapshot.
        request: the seeds; its truncation of None is that of the directions.
        change: what is changed.
        dlatents_npz: file of w in the place of seeds.
        out: path of the PNG.
        metadata: whether the PNG says how it was made.

    Raises:
        UserError: directions of another network, a direction or layer that there is not, or files
            that cannot be read or written.
    """
    directions = files.load(change.directions)
    files.check_network(directions, change.directions, subject)
    step = total_step(directions, change)
    psi = request.psi
    classes = [] if request.classes is None else find_classes(subject.Gs, request.classes)
    studio = Studio(subject.Gs, directions.info.truncation_psi if psi is None else psi, classes)
    if dlatents_npz is None:
        dlatents = studio.draw(request.seeds).dlatents
        names = [f"seed {seed}" for seed in request.seeds]
    else:
        dlatents = read_dlatents(dlatents_npz, subject.Gs.components.synthesis.input_shape[1:])
        names = [f"dlatent {number}" for number in range(len(dlatents))]
    if len(dlatents) * change.frames > _MOST_PICTURES:
        raise UserError(
            f"{len(dlatents)} strips of {change.frames} pictures: at most {_MOST_PICTURES} in all"
        )
    check_pixels(subject.Gs, change.frames, len(dlatents), "--seeds, --frames")
    measure = combined([PICTURE, *own_measures(subject, request)])
    xmp = Provenance(subject.sha256, metadata).xmp(
        "edit",
        "edit.png",
        seeds=seeds_to_plain(request.seeds) if dlatents_npz is None else None,
        dlatents=None if dlatents_npz is None else [hash_dlatents(w) for w in dlatents],
        classes=classes_to_plain(classes) or None,
        truncation_psi=float(studio.psi) if dlatents_npz is None else None,
        set=change.steps,
        directions=hash_file(change.directions),
        layers=change.ranges,
        frames=change.frames,
    )
    parts = np.linspace(0, 1, change.frames, dtype=np.float32)
    rows: list[list[np.ndarray]] = []
    values: list[np.ndarray] = []
    try:
        with bar(len(dlatents) * change.frames, "Editing") as progress:
            for w in dlatents:
                images = studio.images(w + parts[:, np.newaxis, np.newaxis] * step)
                values.append(measure.function(images))
                rows.append(list(images))
                progress.update(len(images))
    except KeyboardInterrupt:
        if rows:
            _save(rows, values, parts, change, measure, out, xmp)
            print(f"{len(rows)} of {len(dlatents)} strips are in {out}", file=sys.stderr)
        raise
    _save(rows, values, parts, change, measure, out, xmp)
    shown = [name for name in change.steps if name in measure.names]
    _print(names, shown, measure, np.stack(values), directions.info.sigmas)


def total_step(directions: files.Directions, change: Edit) -> np.ndarray:
    """The sum of the steps, float32 [num_layers, dlatent_size], in the layers that may change.

    Raises:
        UserError: a direction or layer that there is not, or nothing would change.
    """
    path, info = change.directions, directions.info
    total = np.zeros([info.num_layers, info.dlatent_size], np.float32)
    for name, step in change.steps.items():
        total += np.float32(step) * files.find_direction(directions, path, name)
    if change.ranges is not None:
        allowed = [n for part in find_ranges(list(change.ranges), info.num_layers) for n in part]
        total[[n for n in range(info.num_layers) if n not in allowed]] = 0
        if not total.any() and any(change.steps.values()):
            raise UserError("--layers: none of the directions changes any of these layers")
    return total


def draw_strips(
    rows: Sequence[Sequence[np.ndarray]], texts: Sequence[Sequence[Sequence[str]]]
) -> Image.Image:
    """Pictures in rows, with lines of text below each.

    Args:
        rows: images uint8 [C, H, W], as many in each row.
        texts: lines of each.
    """
    height, width = rows[0][0].shape[1:]
    factor = -(-_LEAST_WIDTH // width)
    lines = max(len(text) for row in texts for text in row)
    cell = (width * factor + 2 * _MARGIN, height * factor + lines * _LINE + 2 * _MARGIN)
    sheet = Image.new("RGB", (cell[0] * len(rows[0]), cell[1] * len(rows)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for y, (row, of_row) in enumerate(zip(rows, texts, strict=True)):
        for x, (image, text) in enumerate(zip(row, of_row, strict=True)):
            picture = to_picture(on_white(image)).convert("RGB")
            picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
            left, top = x * cell[0] + _MARGIN, y * cell[1] + _MARGIN
            sheet.paste(picture, (left, top))
            for number, line in enumerate(text):
                below = top + height * factor + number * _LINE
                pen.text((left, below), line, fill="black", font=font)
    return sheet


def _save(
    rows: Sequence[Sequence[np.ndarray]],
    values: Sequence[np.ndarray],
    parts: np.ndarray,
    change: Edit,
    measure: Measure,
    out: str,
    xmp: bytes | None,
) -> None:
    texts = [
        [_texts(change.steps, part, measure, row) for part, row in zip(parts, of_row, strict=True)]
        for of_row in values[: len(rows)]
    ]
    save_png(draw_strips(rows, texts), out, xmp)


def _texts(steps: Mapping[str, float], part: float, measure: Measure, row: np.ndarray) -> list[str]:
    """A line for each attribute that is set: its value, or else how far the step is."""
    lines = []
    for name, step in steps.items():
        if name not in measure.names:
            lines.append(f"{name}: step {step * part:+.2g}")
        else:
            lines.append(f"{name} {_show(row[measure.names.index(name)])}")
    return lines


def _show(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "not clean"


def _print(
    names: Sequence[str],
    shown: Sequence[str],
    measure: Measure,
    values: np.ndarray,
    sigmas: Mapping[str, float],
) -> None:
    for name, row in zip(names, values, strict=True):
        cells = []
        for attribute in shown:
            first, last = row[[0, -1], measure.names.index(attribute)]
            cells.append(f"{attribute} {_show(first)} to {_show(last)}")
        print(f"{name}: {', '.join(cells) or 'nothing is measured of these directions'}")
    for attribute in shown:
        column = values[:, [0, -1], measure.names.index(attribute)]
        moved = (column[:, 1] - column[:, 0]) / (sigmas.get(attribute) or 1.0)
        moved = moved[np.isfinite(moved)]
        if len(moved) > 1:
            print(f"{attribute}: {moved.mean():+.2f} standard deviations on average")
