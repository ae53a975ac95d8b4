"""The files of a catalog: pictures, a table, and what a stopped catalog is continued from."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np

from dnnlib import UserError, schema
from dnnlib.files import atomic_write
from dnnlib.schema import Range, Size
from training.datasets.photos.arrays import read_picture, save_png, to_pixels
from training.pictures.edits import draw_strips
from training.pictures.finishing import on_white
from training.pictures.provenance import Provenance

_TABLE, _STATE, _SHEET = "catalog.csv", "catalog.json", "contact-sheet.png"
_SHEET_COLUMNS, _SHEET_ROWS = 8, 40
_THUMBNAIL = 128


@dataclass(frozen=True)
class Row:
    """A picture of a catalog.

    Attributes:
        file: its name.
        label: its class, for people; "" for a network without classes.
        seed: of the picture.
        score: of the discriminator.
        photo: number of the nearest photo trained on; None where there was no check.
        distance: to it, relative to the distances of the next 50.
        attributes: what was measured, by name; None where there is no clean background.
    """

    file: Annotated[str, Size(300)]
    label: Annotated[str, Size(300)]
    seed: int
    score: float
    photo: int | None
    distance: float | None
    attributes: dict[str, float | None]


@dataclass
class ClassState:
    """How far a class is.

    Attributes:
        next_seed: the first that was not a candidate yet.
        copies, duplicates: candidates that were passed over.
        rows: its pictures.
    """

    next_seed: Annotated[int, Range(0, 2**32)] = 0
    copies: int = 0
    duplicates: int = 0
    rows: list[Row] = field(default_factory=list)


@dataclass
class _State:
    settings: dict[str, Any]
    classes: dict[str, ClassState]


class CatalogFiles:
    """The folder of a catalog.

    Pictures are written first, then what says that they belong to it: a catalog that was stopped at
    any moment continues where it was.

    Args:
        folder: made if it is not there.
        settings: what a catalog depends on; one that was stopped continues with the same only.

    Attributes:
        states: by name of the class.

    Raises:
        UserError: the folder holds another catalog or other files, or cannot be written.
    """

    def __init__(self, folder: str, settings: Mapping[str, Any]):
        self.folder, self._settings = folder, dict(settings)
        self.states: dict[str, ClassState] = {}
        try:
            os.makedirs(folder, exist_ok=True)
            names = os.listdir(folder)
        except OSError as error:
            raise UserError(f"cannot make --out={folder}: {error.strerror}") from error
        if _STATE in names:
            self._read()
        elif names:
            raise UserError(
                f"--out={folder}: the folder has other files in it, and no {_STATE} of a catalog "
                "to continue: name a new folder"
            )
        else:
            self._save()

    def save_class(self, name: str, state: ClassState) -> None:
        """Takes a class as far as it is; its pictures are written."""
        self.states[name] = state
        self._save()

    def save_table(self, columns: Sequence[str], psi: float) -> str:
        """Writes the table of all pictures; returns its path."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        head = ["file", "class", "seed", "psi", "score", *columns, "nearest_photo", "distance"]
        writer.writerow(head)
        for state in self.states.values():
            for row in state.rows:
                values = [row.attributes.get(name) for name in columns]
                writer.writerow(
                    [row.file, row.label, row.seed, psi, _number(row.score)]
                    + [_number(v) for v in values]
                    + ["" if row.photo is None else row.photo, _number(row.distance)]
                )
        path = os.path.join(self.folder, _TABLE)
        self._write(path, text.getvalue())
        return path

    def save_sheet(self, provenance: Provenance) -> None:
        """Writes a sheet of the first pictures of the first classes, a row for each."""
        rows, texts = [], []
        for state in list(self.states.values())[:_SHEET_ROWS]:
            shown = state.rows[:_SHEET_COLUMNS]
            pictures = [self._thumbnail(row.file) for row in shown]
            if pictures:
                gaps = _SHEET_COLUMNS - len(pictures)
                rows.append(pictures + [np.full_like(pictures[0], 255)] * gaps)
                texts.append([[f"{row.label} {row.seed}".strip()] for row in shown] + [[]] * gaps)
        if rows:
            sheet = draw_strips(rows, texts)
            save_png(
                sheet, os.path.join(self.folder, _SHEET), provenance.xmp("generate-catalog", _SHEET)
            )

    def _thumbnail(self, file: str) -> np.ndarray:
        """A picture of the catalog on white, uint8 [3, H, W]."""
        picture = read_picture(os.path.join(self.folder, file))
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return to_pixels(on_white(picture))

    def _read(self) -> None:
        path = os.path.join(self.folder, _STATE)
        try:
            found = schema.read_json(path, _State)
        except (OSError, UserError) as error:
            raise UserError(f"cannot continue {path}: {error}") from error
        for name, value in self._settings.items():
            if found.settings.get(name) != value:
                raise UserError(
                    f"--out={self.folder}: the catalog in it has {name} "
                    f"{found.settings.get(name)!r}, not {value!r}: name a new folder, or continue "
                    "with the same"
                )
        self.states = found.classes
        for state in self.states.values():
            state.rows = [row for row in state.rows if self._is_there(row.file)]

    def _is_there(self, file: str) -> bool:
        return os.path.basename(file) == file and os.path.isfile(os.path.join(self.folder, file))

    def _save(self) -> None:
        state = asdict(_State(self._settings, self.states))
        self._write(os.path.join(self.folder, _STATE), json.dumps(state, indent=1) + "\n")

    def _write(self, path: str, text: str) -> None:
        try:
            with atomic_write(path, "w") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
