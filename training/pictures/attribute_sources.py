"""Where attributes come from: pictures themselves, classes, labeled photos, tables of scores."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError
from dnnlib.output import tqdm
from dnnlib.tflib import Network
from dnnlib.util import one_line
from training.datasets.photos.decode import Fit, Unreadable
from training.datasets.photos.reader import PictureReader
from training.datasets.sources.folders import open_folder
from training.datasets.tables.tables import open_table
from training.latents.attributes.classifiers import (
    Classifier,
    PooledFeatures,
    classifier_measure,
    fit_classifier,
)
from training.latents.attributes.measured import Measure
from training.pictures.samples import Samples, Studio
from training.snapshots.class_names import count_classes, label_names

_MOST_PHOTOS = 100_000
_FEWEST_PHOTOS = 5  # Of a label.
_MOST_COLUMNS = 1000
_AT_ONCE = 64
_NO_ATTRIBUTES = ("seed", "class")


@dataclass(frozen=True)
class Scores:
    """A table of scores: attributes by seed."""

    seeds: list[int]
    names: tuple[str, ...]
    values: np.ndarray


def read_scores(path: str) -> Scores:
    """Reads a table with a column `seed`; every other column with a number in it is an attribute.

    Empty cells and texts are no values; of texts beside numbers a note tells. The column `class`
    is none: it follows from the seed.

    Raises:
        UserError: it is no such table, or names a seed twice.
    """
    table = open_table(path, known=("seed",))
    column = table.column("--scores", None, ("seed", "seeds"))
    if column is None:
        raise UserError(f"--scores={path}: there is no column seed: {table.listing}")
    others = [name for name in table.columns if name != column and name not in _NO_ATTRIBUTES]
    if len(others) > _MOST_COLUMNS:
        raise UserError(f"--scores={path}: more than {_MOST_COLUMNS} columns")
    rows: dict[int, list[float]] = {}
    texts: dict[str, list[str]] = {name: [] for name in others}

    def refuse(line: int, reason: str) -> None:
        raise UserError(f"--scores={path}, line {line}: {reason}")

    for line, row in table.rows(refuse):
        seed = _number(row.get(column))
        if not (seed.is_integer() and 0 <= seed < 2**32):
            refuse(line, f"seed {one_line(row.get(column), 40)!r}: expected 0 to {2**32 - 1}")
        if int(seed) in rows:
            refuse(line, f"seed {int(seed)} has a line already")
        rows[int(seed)] = [_number(row.get(name)) for name in others]
        for name, value in zip(others, rows[int(seed)], strict=True):
            if np.isnan(value) and (cell := str(row.get(name) or "").strip()):
                texts[name].append(f"{one_line(cell, 40)!r} in line {line}")
    if not rows:
        raise UserError(f"--scores={path}: there are no rows")
    values = np.array(list(rows.values()), np.float64).reshape(len(rows), len(others))
    filled = np.isfinite(values).any(axis=0)
    if not filled.any():
        raise UserError(f"--scores={path}: no column has numbers: {table.listing}")
    names = tuple(name for name, has in zip(others, filled, strict=True) if has)
    for name in names:
        if found := texts[name]:
            print(
                f"NOTE: --scores={path}: {one_line(name, 40)} has {len(found)} cells that are no "
                f"numbers and count as empty, like {found[0]}",
                file=sys.stderr,
            )
    return Scores(list(rows), names, values[:, filled])


def photo_measure(Gs: Network, D: Network | None, folder: str) -> Measure:
    """How much a picture looks like labeled photos: a probability for each label, `photos-LABEL`.

    A logistic regression of the labels on the features of the snapshot's discriminator, for photos
    cropped and resized to its size. How often it is right is said on stderr.

    Args:
        Gs, D: of a snapshot.
        folder: with a folder for each label.

    Raises:
        UserError: there is no discriminator; less than two labels; or they cannot be told apart.
    """
    option = f"--photos={folder}"
    pooled = PooledFeatures(D, option)
    labels, numbers, features = _read_photos(Gs, pooled, folder, option)
    classifier = fit_classifier(features, numbers, len(labels))
    print(f"{option}: {_quality(classifier, labels)}", file=sys.stderr)
    if not classifier.is_useful:
        raise UserError(
            f"{option}: the discriminator does not tell the labels apart: "
            f"{_quality(classifier, labels)}"
        )
    return classifier_measure(pooled, classifier, _prefixed("photos", labels))


def class_measure(studio: Studio, D: Network | None, samples: Samples) -> Measure:
    """Probabilities of the classes of a conditional network, `class-NAME`.

    A logistic regression of the class that a picture was made of on the features of the snapshot's
    discriminator. How often it is right, with samples that it did not learn from, is said on
    stderr.

    Raises:
        UserError: there is no discriminator, or its features do not tell the classes apart; the
            samples are of one class, or of mixes.
    """
    names = class_attributes(studio.Gs)
    if len(set(samples.classes)) < 2 or min(samples.classes) < 0:
        raise UserError(
            "class probabilities: they are learned from samples of two classes or more, and of no "
            "mixes: leave out --class"
        )
    pooled = PooledFeatures(D, "class probabilities")
    features = studio.measure(samples.dlatents, Measure((), pooled))
    classifier = fit_classifier(features, samples.classes, len(names))
    print(f"class probabilities: {_quality(classifier, names)}", file=sys.stderr)
    if not classifier.is_useful:
        raise UserError(
            "class probabilities: the discriminator does not tell the classes apart: "
            f"{_quality(classifier, names)}"
        )
    return classifier_measure(pooled, classifier, names)


def class_attributes(Gs: Network) -> tuple[str, ...]:
    """Names of the probabilities of classes; none for a network without classes."""
    return _prefixed("class", label_names(Gs) or range(count_classes(Gs)))


def _prefixed(kind: str, labels: Sequence[object]) -> tuple[str, ...]:
    """Names of attributes for labels, each another one, without what parts names in options."""
    plain = [re.sub(r"[\s,=]+", "-", str(label)) for label in labels]
    # Names that become the same get their number.
    return tuple(
        f"{kind}-{name}" if plain.count(name) == 1 else f"{kind}-{name}-{number}"
        for number, name in enumerate(plain)
    )


def _quality(classifier: Classifier, labels: Sequence[str]) -> str:
    return (
        f"{classifier.accuracy:.0%} of held-out pictures are told right among {len(labels)} "
        f"labels, {classifier.baseline:.0%} by always naming one"
    )


def _read_photos(Gs: Network, pooled: PooledFeatures, folder: str, option: str):
    """(labels, number of the label of each photo [N], features [N, F])."""
    names = [name for name in open_folder(folder).names if "/" in name]
    of_label: dict[str, list[str]] = {}
    for name in names[:_MOST_PHOTOS]:
        of_label.setdefault(name.split("/")[0], []).append(name)
    fit = Fit(*Gs.output_shape[2:], channels=Gs.output_shape[1])
    labels = tuple(sorted(of_label))
    features: list[np.ndarray] = []
    pending: list[np.ndarray] = []
    numbers: list[int] = []
    with PictureReader() as reader:
        todo = [(number, name) for number, label in enumerate(labels) for name in of_label[label]]
        for number, name in tqdm(todo, desc="Reading photos", unit="photo", disable=None):
            path = os.path.join(folder, name)
            try:
                pending.append(reader.fit(path, fit).pixels)
            except Unreadable as error:
                tqdm.write(f"NOTE: {path} is passed over: {error}", file=sys.stderr)
                continue
            numbers.append(number)
            if len(pending) == _AT_ONCE:
                features.append(pooled(np.stack(pending)))
                pending.clear()
    if pending:
        features.append(pooled(np.stack(pending)))
    counts = np.bincount(numbers, minlength=len(labels)) if numbers else np.zeros(len(labels))
    if len(labels) < 2 or counts.min() < _FEWEST_PHOTOS:
        few = f", {labels[int(counts.argmin())]} has {int(counts.min())}" if labels else ""
        raise UserError(
            f"{option}: expected two folders or more, one for each label, with at least "
            f"{_FEWEST_PHOTOS} photos each; found {len(labels)}{few}"
        )
    return labels, np.array(numbers), np.concatenate(features)


def _number(cell: object) -> float:
    """A finite number in a cell, or NaN."""
    try:
        value = float(str(cell).strip()) if cell is not None else float("nan")
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")
