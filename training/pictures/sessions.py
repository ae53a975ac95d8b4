"""A snapshot, samples of it, and what measures their pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib.output import tqdm
from training.latents.attributes.measured import PICTURE, Measure, combined
from training.latents.attributes.names import SAMPLES
from training.pictures.attribute_sources import Scores, class_measure, photo_measure, read_scores
from training.pictures.samples import Studio
from training.snapshots.class_names import find_classes
from training.snapshots.pickles import Subject


@dataclass(frozen=True)
class Request:
    """Which samples are measured, and by what.

    Attributes:
        seeds: of the samples; None: from 0 on.
        scores: table of scores by seed, or None.
        classes: of a conditional network, given to the seeds in turn; "" for those of the seeds.
        psi: of truncation, see `G_main`; None: that of directions.
        photos: folder of labeled photos, or None.
        classifier: makes a measure for images of a shape, or None.
    """

    seeds: Sequence[int] | None = None
    scores: str | None = None
    classes: str | None = None
    psi: float | None = 1.0
    photos: str | None = None
    classifier: Callable[[list[int]], Measure] | None = None


class Session:
    """Samples of a snapshot and what measures them.

    Args:
        subject: the snapshot.
        request: which samples, by what.

    Attributes:
        studio: makes pictures.
        samples: by seed.
        measure: everything that can be measured on any picture.
        scores: what is known of the samples only, or None.

    Raises:
        UserError: options that do not fit the network, or files that cannot be read.
    """

    def __init__(self, subject: Subject, request: Request):
        Gs = subject.Gs
        self.scores: Scores | None = None
        if request.scores is not None:
            self.scores = read_scores(request.scores)
        seeds = self.scores.seeds if self.scores else request.seeds
        classes = [] if request.classes is None else find_classes(Gs, request.classes)
        self.subject, self.request = subject, request
        self.studio = Studio(Gs, request.psi, classes)
        measures = [PICTURE, *own_measures(subject, request)]
        self.samples = self.studio.draw(range(SAMPLES) if seeds is None else seeds)
        self.measure = combined(measures)

    def add_classes(self) -> None:
        """Adds the probabilities of classes to what is measured."""
        with bar(len(self.samples.seeds), "Learning classes") as progress:
            studio = dataclasses.replace(self.studio, bar=progress)
            classes = class_measure(studio, self.subject.D, self.samples)
        self.measure = combined([self.measure, classes])

    def measured(
        self, on_interrupt: Callable[[tuple[str, ...], np.ndarray], None] | None = None
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """(names, values [N, A]) of the samples.

        What the table of scores has is not measured again.

        Args:
            on_interrupt: at Ctrl-C, gets what there is of the first samples.
        """
        names, known = self.measure.names, self.scores
        values = np.full([len(self.samples.seeds), len(names)], np.nan)
        if known is not None and set(names) <= set(known.names):
            return known.names, known.values
        # A score of the same name counts: it may come from pictures that were made otherwise.
        fresh = [i for i, name in enumerate(names) if known is None or name not in known.names]
        names = (*(known.names if known else ()), *(names[i] for i in fresh))

        def together(count: int) -> np.ndarray:
            scores = [known.values[:count]] if known else []
            return np.hstack([*scores, values[:count, fresh]])

        done = 0
        try:
            with bar(len(values), "Measuring samples") as progress:
                while done < len(values):
                    dlatents = self.samples.dlatents[done : done + self.studio.minibatch]
                    part = self.studio.measure(dlatents, self.measure)
                    values[done : done + len(part)] = part
                    done += len(part)
                    progress.update(len(part))
        except KeyboardInterrupt:
            if on_interrupt is not None:
                on_interrupt(names, together(done))
            raise
        return names, together(done)


def own_measures(subject: Subject, request: Request) -> list[Measure]:
    """Measures that the user brings: a classifier, labeled photos."""
    measures = []
    if request.classifier is not None:
        measures.append(request.classifier(subject.Gs.output_shape[1:]))
    if request.photos is not None:
        measures.append(photo_measure(subject.Gs, subject.D, request.photos))
    return measures


def bar(total: int | None, text: str) -> tqdm:
    """A progress bar of pictures."""
    return tqdm(total=total, desc=text, unit="image", disable=None)
