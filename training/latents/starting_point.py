"""Where a projection begins: the mean of W, and how far w lie from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnnlib import UserError
from dnnlib.tflib import Network
from training.snapshots.class_names import count_classes

_SEED = 123  # Of the latents, as in the official code.
_MINIBATCH = 1000


@dataclass(frozen=True)
class StartingPoint:
    """Mean [dlatent_size] of w, and the root of the mean of |w - mean|²."""

    mean: np.ndarray
    deviation: float


class StartingPoints:
    """The starting points of a generator, one for each label; each is computed once.

    Args:
        Gs: a generator.
    """

    def __init__(self, Gs: Network):
        self._Gs = Gs
        self._known: dict[tuple[bytes | None, int], StartingPoint] = {}

    def find(self, label: np.ndarray | None, samples: int) -> StartingPoint:
        """The starting point of a class; without a label, that of all classes in equal parts.

        # Deviation: the official code gives conditional networks a label of zeros, no class that
        they know.

        Args:
            label: [label_size] or None.
            samples: latents to take.

        Raises:
            UserError: a label of another size than the network's.
        """
        size = count_classes(self._Gs)
        if label is not None:
            label = np.asarray(label, np.float32)
            if label.shape != (size,):
                raise UserError(f"a label of shape {list(label.shape)}: the network takes [{size}]")
        key = (None if label is None else label.tobytes(), samples)
        if key not in self._known:
            self._known[key] = self._compute(label, samples)
        return self._known[key]

    def _compute(self, label: np.ndarray | None, samples: int) -> StartingPoint:
        w = sample_dlatents(self._Gs, samples, label).astype(np.float64)
        mean = w.mean(axis=0)
        deviation = float(np.sqrt(np.sum(np.square(w - mean)) / samples))
        if not np.isfinite(deviation):
            raise UserError(f"network {self._Gs.name} makes w that are not finite: it is broken")
        return StartingPoint(mean.astype(np.float32), max(deviation, 1e-8))


def sample_dlatents(Gs: Network, samples: int, label: np.ndarray | None = None) -> np.ndarray:
    """w of the first layer, float32 [samples, dlatent_size], of always the same latents.

    Args:
        Gs: a generator.
        samples: how many.
        label: [label_size] of all of them; None: of all classes in turn.
    """
    size, parts = count_classes(Gs), []
    z = np.random.RandomState(_SEED).randn(samples, *Gs.input_shape[1:])
    for begin in range(0, samples, _MINIBATCH):
        rows = np.arange(begin, min(begin + _MINIBATCH, samples))
        labels = np.zeros([len(rows), size], np.float32)
        if label is not None:
            labels[:] = label
        elif size:
            labels[np.arange(len(rows)), rows % size] = 1
        w = Gs.components.mapping.run(z[rows], labels)
        parts.append(w[:, 0] if w.ndim == 3 else w)
    return np.concatenate(parts)
