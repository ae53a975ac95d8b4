"""Choosing pictures for a catalog: the best by the discriminator, no copies, no two alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError
from dnnlib.output import tqdm
from dnnlib.tflib import Network
from training.dataset import TFRecordDataset
from training.latents.likeness import (
    ALIKE,
    Gallery,
    Likeness,
    Neighbors,
    copy_limit,
    nearest_either_way,
    sample_numbers,
)
from training.random_streams import generator
from training.snapshots.class_names import Class, class_labels
from training.snapshots.pickles import Subject

GROUP = 8  # Candidates come in multiples of it: whole groups of the minibatch deviation.
_REGROUPINGS = 8
_MINIBATCH = 32


@dataclass(frozen=True)
class Choice:
    """Pictures that were chosen.

    Attributes:
        places: of the chosen among the candidates, best first.
        scores: of the discriminator, float [N] of all candidates.
        neighbors: nearest photos trained on, of all candidates; None where there is no check.
        copies, duplicates: how many candidates were passed over because of that.
    """

    places: list[int]
    scores: np.ndarray
    neighbors: Neighbors | None
    copies: int
    duplicates: int


class Judge:
    """Chooses among candidates of one class.

    Args:
        subject: the snapshot.
        photos: those that were trained on; None: copies are not looked for.

    Raises:
        UserError: the snapshot has no discriminator, or the photos have another size.
    """

    def __init__(self, subject: Subject, photos: TFRecordDataset | None):
        self._likeness = Likeness(subject.D, "a catalog")
        self._D: Network = subject.D
        self._photos: Gallery | None = None
        if photos is not None:
            self._photos = self._look_at(photos)
            sample = self._photos.take(sample_numbers(photos.num_images))
            self._limit = copy_limit(sample, self._photos.blocks())

    def choose(
        self,
        images: np.ndarray,
        entry: Class,
        wanted: int,
        chosen_before: Gallery,
        is_usable: Callable[[np.ndarray], bool],
    ) -> Choice:
        """Chooses so many candidates, or fewer, and adds them to those of their class.

        Args:
            images: uint8 [N, C, H, W], N a multiple of GROUP.
            entry: their class.
            wanted: how many.
            chosen_before: vectors of pictures of this class.
            is_usable: whether an image can be chosen at all.
        """
        vectors = self._likeness(images)
        labels = class_labels(self._D, [entry] * len(images))
        scores = regrouped_scores(self._D, images, labels)
        neighbors, are_copies = None, np.zeros(len(images), bool)
        if self._photos is not None:
            both = np.stack([vectors, self._likeness(images[:, :, :, ::-1])], axis=1)
            neighbors = nearest_either_way(both, self._photos.blocks())
            are_copies = neighbors.are_copies(self._limit)
        among = _squared_distances(vectors, vectors)
        # What is near, by the other candidates.
        limits = ALIKE * among.sum(axis=1) / max(len(among) - 1, 1)
        are_known = np.zeros(len(images), bool)
        for _, block in chosen_before.blocks():
            are_known |= (_squared_distances(vectors, block) < limits[:, np.newaxis]).any(axis=1)
        places: list[int] = []
        duplicates = 0
        for place in np.argsort(-scores, kind="stable").tolist():
            if len(places) == wanted:
                break
            if are_copies[place] or not is_usable(images[place]):
                continue
            if are_known[place] or (among[place, places] < limits[place]).any():
                duplicates += 1
                continue
            places.append(place)
        chosen_before.add(vectors[places])
        return Choice(places, scores, neighbors, int(are_copies.sum()), duplicates)

    def remember(self, images: np.ndarray, chosen_before: Gallery) -> None:
        """Adds pictures that were chosen in an earlier session."""
        chosen_before.add(self._likeness(images))

    def _look_at(self, photos: TFRecordDataset) -> Gallery:
        if list(photos.shape) != self._D.input_shape[1:]:
            raise UserError(
                f"dataset {photos.tfrecord_dir} has images {list(photos.shape)}, the network makes "
                f"{self._D.input_shape[1:]}: name the one that it was trained on"
            )
        if photos.num_images < 2:
            raise UserError(
                f"dataset {photos.tfrecord_dir}: copies of a single photo cannot be told: use "
                "--copy-check=false"
            )
        gallery = Gallery(np.float16)
        begins = range(0, photos.num_images, _MINIBATCH)
        for begin in tqdm(begins, desc="Looking at photos", unit="minibatch", disable=None):
            numbers = np.arange(begin, min(begin + _MINIBATCH, photos.num_images))
            gallery.add(self._likeness(photos.read_images(numbers)))
        return gallery


def regrouped_scores(D: Network, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Scores of a discriminator, float64 [N], averaged over several ways to group the images.

    The deviation within a group is part of what a discriminator sees: single scores move with the
    company that an image is in. The groups follow from N alone.

    Args:
        D: a discriminator.
        images: uint8 [N, C, H, W], N a multiple of GROUP.
        labels: float32 [N, label_size].
    """
    inputs = images.astype(np.float32) / 127.5 - 1
    total = np.zeros(len(images))
    for number in range(_REGROUPINGS):
        order = generator("catalog", "groups", number=number).permutation(len(images))
        made = D.run(inputs[order], labels[order], minibatch_size=GROUP, return_as_list=True)[0]
        total[order] += made.reshape(len(images), -1)[:, 0]
    return total / _REGROUPINGS


def candidate_seeds(first: int, wanted: int, candidates: int) -> range:
    """Seeds of so many candidates for each picture wanted, in whole groups."""
    count = -(-wanted * candidates // GROUP) * GROUP
    return range(first, first + count)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = np.einsum("nf,nf->n", a, a)[:, np.newaxis] + np.einsum("nf,nf->n", b, b)
    return np.maximum(squares - 2 * (a @ b.T), 0)
