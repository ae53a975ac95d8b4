"""A catalog: so many pictures of each class that are good, no copies, and no two alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from dnnlib import UserError
from dnnlib.output import tqdm
from training.dataset import TFRecordDataset
from training.datasets.photos.arrays import save_picture
from training.latents.attributes.measured import PICTURE
from training.latents.attributes.names import MEASURED
from training.latents.likeness import Gallery
from training.pictures.candidates import Choice, Judge, candidate_seeds
from training.pictures.catalog_files import CatalogFiles, ClassState, Row
from training.pictures.finishing import FORMATS, Finish, finish
from training.pictures.generation import (
    TO_UINT8,
    class_file_name,
    image_of_seed,
    random_state,
)
from training.pictures.grids import images_at_once
from training.pictures.provenance import Provenance, classes_to_plain
from training.snapshots.class_names import Class, class_labels, count_classes, show_class
from training.snapshots.pickles import Subject

_AT_ONCE = 16  # Pictures that are chosen together; what a stopped catalog loses at most.
_PATIENCE = 8  # Rounds in which nothing could be chosen, until a class is given up.
_MOST_PICTURES = 50_000
_QUALITY = 95  # Of JPEG and WebP.


@dataclass(frozen=True)
class CatalogOptions:
    """What is in a catalog.

    Attributes:
        per_class: pictures of each class.
        classes: of a conditional network; none: all.
        psi: of truncation, see `G_main`.
        candidates: pictures that each is chosen from.
        first_seed: of each class.
        finish: background, size and format.
        metadata: whether pictures say how they were made.
    """

    per_class: int
    classes: Sequence[Class] = ()
    psi: float = 0.7
    candidates: int = 4
    first_seed: int = 0
    finish: Finish = field(default_factory=Finish)
    metadata: bool = True


def generate_catalog(
    subject: Subject, photos: TFRecordDataset | None, options: CatalogOptions, out: str
) -> str:
    """Writes pictures, `catalog.csv` and `contact-sheet.png` into a folder, or continues it.

    Args:
        subject: the snapshot, with its discriminator.
        photos: those that it was trained on; None: copies are not looked for.
        options: what is in the catalog.
        out: the folder.

    Returns:
        A sentence about it.

    Raises:
        UserError: no discriminator, photos of another size, or a folder of another catalog; or,
            when all else is written, a class that lacks pictures.
    """
    Gs = subject.Gs
    classes = list(dict.fromkeys(options.classes)) or list(range(count_classes(Gs))) or [0]
    if options.per_class * len(classes) > _MOST_PICTURES:
        raise UserError(
            f"{options.per_class} pictures of each of {len(classes)} classes: a catalog has at "
            f"most {_MOST_PICTURES:,}; make several, with --class or --seed"
        )
    settings = {
        "network": subject.sha256,
        "photos": None if photos is None else photos.content,
        **{name: getattr(options, name) for name in ("psi", "candidates", "first_seed")},
        "finish": {**asdict(options.finish), "size": list(options.finish.size or [])},
    }
    files = CatalogFiles(out, settings)
    judge = Judge(subject, photos)
    maker = _Maker(subject, options, out)
    total, lacking = options.per_class * len(classes), []
    done = sum(min(len(s.rows), options.per_class) for s in files.states.values())
    bar = {"desc": "Choosing", "unit": "picture", "disable": None}
    try:
        with tqdm(total=total, initial=min(done, total), **bar) as progress:
            for entry in classes:
                state = _fill(files, judge, maker, entry, options, progress)
                if len(state.rows) < options.per_class:
                    lacking.append((entry, state))
    except KeyboardInterrupt:
        files.save_table(MEASURED, options.psi)
        made = sum(len(state.rows) for state in files.states.values())
        print(
            f"{made} of {total} pictures are in {out}: the same command continues", file=sys.stderr
        )
        raise
    files.save_table(MEASURED, options.psi)
    files.save_sheet(maker.provenance)
    if lacking:
        raise UserError(_what_lacks(lacking, subject, options, out))
    states = files.states.values()
    passed = {
        "copies of photos": sum(state.copies for state in states),
        "near-duplicates": sum(state.duplicates for state in states),
    }
    said = ", ".join(f"{count} {what}" for what, count in passed.items() if count)
    made = sum(len(state.rows) for state in states)
    return f"{made} pictures in {out}" + (f"; passed over: {said}" if said else "")


class _Maker:
    """Makes pictures of seeds, as candidates and for the catalog."""

    def __init__(self, subject: Subject, options: CatalogOptions, out: str):
        self._Gs, self._options, self._out = subject.Gs, options, out
        self.provenance = Provenance(subject.sha256, options.metadata)
        self._is_labeled = bool(count_classes(subject.Gs))

    def name(self, entry: Class) -> str:
        """What files of a class begin with."""
        return class_file_name(self._Gs, entry) if self._is_labeled else "product"

    def candidates(self, entry: Class, seeds: Sequence[int]) -> np.ndarray:
        """Pictures uint8 [N, C, H, W], with the noise that is in the network."""
        Gs, shape = self._Gs, self._Gs.input_shape[1:]
        return Gs.run(
            np.concatenate([random_state(seed).randn(1, *shape) for seed in seeds]),
            class_labels(Gs, [entry] * len(seeds)),
            truncation_psi=self._options.psi,
            randomize_noise=False,
            output_transform=TO_UINT8,
            minibatch_size=images_at_once(Gs),
        )

    def is_usable(self, image: np.ndarray) -> bool:
        """Whether an image has a background that can be replaced, if it is to be."""
        return finish(image, self._options.finish) is not None

    def write(self, entry: Class, seed: int) -> tuple[str, np.ndarray] | None:
        """Writes the picture of a seed; returns its name, and the image uint8 [C, H, W].

        None if by itself it has no background to replace, by a hair: images of a minibatch are
        rounded otherwise.
        """
        psi, how = self._options.psi, self._options.finish
        # By itself, as `generate-images` does: so that it can be made again to the last bit.
        label = class_labels(self._Gs, [entry])
        image = image_of_seed(self._Gs, seed, label, psi, "const", output_transform=TO_UINT8)
        picture = finish(image, how)
        if picture is None:
            return None
        name = f"{self.name(entry)}-seed{seed:04d}{FORMATS[how.format]}"
        xmp = self.provenance.xmp(
            "generate-images",
            f"seed{seed:04d}.png",
            seeds=[seed],
            classes=classes_to_plain([entry]) if self._is_labeled else None,
            noise_mode="const",
            truncation_psi=psi,
            size=how.size,
            background=how.background,
        )
        quality = {} if how.format == "png" else {"quality": _QUALITY}
        save_picture(picture, os.path.join(self._out, name), xmp, **quality)
        return name, image

    def row(self, entry: Class, seed: int, place: int, choice: Choice) -> Row | None:
        """Writes the picture of a candidate that was chosen, and describes it; None as `write`."""
        written = self.write(entry, seed)
        if written is None:
            return None
        name, image = written
        values = PICTURE.function(image[np.newaxis])[0]
        near = choice.neighbors
        return Row(
            file=name,
            label=show_class(self._Gs, entry) if self._is_labeled else "",
            seed=seed,
            score=float(choice.scores[place]),
            photo=None if near is None else int(near.numbers[place]),
            distance=None if near is None else float(near.relative[place]),
            attributes={
                attribute: float(value) if np.isfinite(value) else None
                for attribute, value in zip(MEASURED, values, strict=True)
            },
        )


def _fill(
    files: CatalogFiles,
    judge: Judge,
    maker: _Maker,
    entry: Class,
    options: CatalogOptions,
    progress: tqdm,
) -> ClassState:
    """Chooses pictures of a class until there are enough, or no more can be found."""
    state = files.states.get(maker.name(entry)) or ClassState(next_seed=options.first_seed)
    known = Gallery(np.float16)
    for begin in range(0, len(state.rows), _AT_ONCE):
        seeds = [row.seed for row in state.rows[begin : begin + _AT_ONCE]]
        judge.remember(maker.candidates(entry, seeds), known)
    fruitless = 0
    while len(state.rows) < options.per_class and fruitless < _PATIENCE:
        wanted = min(_AT_ONCE, options.per_class - len(state.rows))
        seeds = candidate_seeds(state.next_seed, wanted, options.candidates)
        if seeds.stop > 2**32:
            break
        images = maker.candidates(entry, seeds)
        choice = judge.choose(images, entry, wanted, known, maker.is_usable)
        made = [maker.row(entry, seeds[place], place, choice) for place in choice.places]
        rows = [row for row in made if row is not None]
        fruitless = 0 if rows else fruitless + 1
        state = ClassState(
            seeds.stop,
            state.copies + choice.copies,
            state.duplicates + choice.duplicates,
            state.rows + rows,
        )
        files.save_class(maker.name(entry), state)
        progress.update(len(rows))
    return state


def _what_lacks(
    lacking: Sequence[tuple[Class, ClassState]], subject: Subject, options: CatalogOptions, out: str
) -> str:
    parts = []
    for entry, state in lacking:
        shown = f"class {show_class(subject.Gs, entry)}" if count_classes(subject.Gs) else "there"
        parts.append(f"{shown}: {len(state.rows)} of {options.per_class}")
    copies = sum(state.copies for _, state in lacking)
    duplicates = sum(state.duplicates for _, state in lacking)
    return (
        f"{'; '.join(parts)} pictures could be found ({copies} candidates are copies of photos, "
        f"{duplicates} near-duplicates, others have no clean background if --background needs "
        f"one); what there is is in {out}: a higher --truncation-psi gives more variety"
    )
