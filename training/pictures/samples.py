"""Samples of a generator by seed: their w, their pictures, and attributes of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dnnlib import UserError, tflib
from dnnlib.output import tqdm
from dnnlib.tflib import Network
from training.latents.attributes.measured import Measure
from training.pictures.generation import classes_of_seeds, random_state
from training.pictures.grids import images_at_once
from training.snapshots.class_names import Class, Mix, class_labels

_MAPPED_AT_ONCE = 1000


@dataclass(frozen=True)
class Samples:
    """Samples of a generator.

    Attributes:
        seeds: as of `generate_images`.
        classes: int [N]; 0 for networks without; a number below 0 for each mix of classes.
        dlatents: float32 [N, num_layers, dlatent_size].
    """

    seeds: Sequence[int]
    classes: np.ndarray
    dlatents: np.ndarray


@dataclass(frozen=True)
class Studio:
    """Makes and measures samples.

    Attributes:
        Gs: a generator.
        psi: of truncation, see `G_main`.
        classes: of a conditional network, given to the seeds in turn; none: by the seed.
        bar: a progress bar of pictures that is updated, or None.
    """

    Gs: Network
    psi: float = 1.0
    classes: Sequence[Class] = field(default_factory=tuple)
    bar: tqdm | None = None

    def draw(self, seeds: Sequence[int]) -> Samples:
        """The w of seeds: latents come from RandomState(seed), as in `generate_images`."""
        Gs = self.Gs
        classes = classes_of_seeds(Gs, seeds, self.classes)
        labels = class_labels(Gs, classes)
        num_layers = Gs.components.synthesis.input_shape[1]
        parts = []
        for begin in range(0, len(seeds), _MAPPED_AT_ONCE):
            chunk = seeds[begin : begin + _MAPPED_AT_ONCE]
            z = np.concatenate([random_state(s).randn(1, *Gs.input_shape[1:]) for s in chunk])
            w = Gs.components.mapping.run(z, labels[begin : begin + len(chunk)])
            parts.append(w if w.ndim == 3 else np.repeat(w[:, np.newaxis], num_layers, axis=1))
        mean = Gs.get_var("dlatent_avg")
        dlatents = mean + (np.concatenate(parts) - mean) * np.float32(self.psi)
        if not np.isfinite(dlatents).all():
            raise UserError(f"network {Gs.name} makes w that are not finite: it is broken")
        mixes = {mix: -1 - i for i, mix in enumerate(c for c in self.classes if type(c) is Mix)}
        numbers = np.array([mixes.get(entry, entry) for entry in classes])
        return Samples(list(seeds), numbers, dlatents.astype(np.float32))

    def images(self, dlatents: np.ndarray) -> np.ndarray:
        """Pictures uint8 [N, C, H, W], with the noise that is in the network."""
        made = self.Gs.components.synthesis.run(
            dlatents,
            randomize_noise=False,
            output_transform={"func": tflib.convert_images_to_uint8},
            minibatch_size=self.minibatch,
        )
        return made

    def measure(self, dlatents: np.ndarray, measure: Measure) -> np.ndarray:
        """Attributes [N, A] of pictures, a minibatch of which is in memory at a time."""
        parts = []
        for begin in range(0, len(dlatents), self.minibatch):
            chunk = dlatents[begin : begin + self.minibatch]
            parts.append(measure.function(self.images(chunk)))
            if self.bar is not None:
                self.bar.update(len(chunk))
        return np.concatenate(parts)

    @property
    def minibatch(self) -> int:
        """Pictures at once: bounded by pixels, so that high resolutions fit in memory."""
        return images_at_once(self.Gs)
