"""Real images and their features, which are computed once for a dataset and a feature network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError, downloads, npz
from dnnlib.files import atomic_write, open_regular
from dnnlib.threads import map_in_threads
from metrics.feature_networks import FeatureNetwork
from training.dataset import TFRecordDataset
from training.datasets.format import matrices
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.random_streams import generator

_READ_AHEAD, _READ_THREADS = 4, 2
# A feature network that is dead would find all networks perfect.
ALL_THE_SAME = (
    "the features of all real images are the same: the feature network tells nothing, or the "
    "dataset has one image again and again"
)
_LOOKED_AT = 1000
# Changes when cached numbers would come out otherwise.
_VERSION = 1


def choose_reals(
    dataset: TFRecordDataset, max_reals: int | None, mirror: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Which images a metric uses: numbers int64 [n], ascending, and which are mirrored, bool [n].

    Every image once, or `max_reals` of them. Both choices are the same for every network.
    """
    total = dataset.num_images
    count = total if max_reals is None else min(total, max_reals)
    # Deviation: the official code takes the first so many, which in a dataset that is sorted by
    # class are not like the whole, and starts again where there are too few.
    order = generator("metric_reals", "subset").permutation(total)
    index = np.sort(order[:count])
    mirrored = generator("metric_reals", "mirror").random(total)[index] < 0.5
    return index, mirrored & mirror


@dataclass
class RealImages:
    """The reals of one metric, with a feature network.

    Attributes:
        dataset: at the resolution of the generator.
        network: that the features are of.
        index, mirrored: from `choose_reals`.
        minibatch: images at once.
        compute: images uint8 [N, C, H, W] to features float32 [N, D].
        use_cache: False: what is in the cache is computed anew.
    """

    dataset: TFRecordDataset
    network: FeatureNetwork
    index: np.ndarray
    mirrored: np.ndarray
    minibatch: int
    compute: Callable[[np.ndarray], np.ndarray]
    use_cache: bool = True

    def images(self) -> Iterator[np.ndarray]:
        """Minibatches uint8 [N, C, H, W], read ahead."""
        begins = range(0, len(self.index), self.minibatch)
        return map_in_threads(self._read, begins, _READ_THREADS, _READ_AHEAD)

    def features(self) -> Iterator[np.ndarray]:
        """Minibatches float32 [N, D]."""
        return map(self.compute, self.images())

    def cached(
        self,
        what: str,
        compute: Callable[[], dict[str, np.ndarray]],
        shapes: Mapping[str, tuple[int | None, ...]],
    ) -> dict[str, np.ndarray]:
        """Arrays that are computed once and then read from the cache.

        Args:
            what: names them among all that is computed of these images and features.
            compute: makes them.
            shapes: {name: shape}, None for what is not known; what is stored otherwise is made
                anew.
        """
        path = self._cache_path(f"{what}.npz")
        stored = _read_npz(path) if self.use_cache else None
        if stored is None or not _fits(stored, shapes):
            arrays = {name: np.asarray(value) for name, value in compute().items()}
            _write(path, lambda file: np.savez(file, **arrays))
            return arrays
        return stored

    def cached_features(self) -> np.ndarray:
        """All features float32 [n, D], a mapped file of the cache: they need not fit in memory."""
        path = self._cache_path("features.npy")
        stored = self._map(path) if self.use_cache else None
        if stored is None:
            _write(path, self._write_features)
            stored = self._map(path)
        if stored is None:
            raise UserError(f"{path} is not what was written: is its disk full or damaged?")
        if len(stored) > 1 and (stored[:_LOOKED_AT] == stored[0]).all():
            raise UserError(ALL_THE_SAME)
        return stored

    def _map(self, path: str) -> np.ndarray | None:
        try:
            array = matrices.load_array(path)
        except Exception:  # Missing, or damaged in any of the ways that a header can be.
            return None
        fits = array.ndim == 2 and len(array) == len(self.index) and array.dtype == np.dtype("<f4")
        return array if fits else None

    def _write_features(self, file) -> None:
        header_is_due = True
        for batch in self.features():
            if header_is_due:
                shape = (len(self.index), batch.shape[1])
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                header_is_due = False
            file.write(np.ascontiguousarray(batch, "<f4").data)

    def _read(self, begin: int) -> np.ndarray:
        part = slice(begin, begin + self.minibatch)
        images = self.dataset.read_images(self.index[part])
        chosen = self.mirrored[part]
        images[chosen] = images[chosen][:, :, :, ::-1]
        return images

    def _cache_path(self, name: str) -> str:
        # Deviation: the official key is the dataset's name and options.
        key = {
            "version": _VERSION,
            "content": self.dataset.content,
            "level": self.dataset.resolution_log2,
            "filter": _filter_of(self.dataset),
            "images": hashlib.sha256(self.index.tobytes()).hexdigest(),
            "mirrored": hashlib.sha256(self.mirrored.tobytes()).hexdigest(),
            "network": self.network.key,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        return os.path.join(downloads.cache_folder(), "metrics", f"{digest}-{name}")


def _filter_of(dataset: TFRecordDataset) -> str | None:
    """By which filter the pictures were reduced, where the manifest says."""
    manifest = read_manifest(find_dataset(dataset.tfrecord_dir))
    return str((manifest or {}).get("filter"))


def check_width(stored: tuple[int, ...], width: int) -> None:
    """Raises a UserError if reals that were read from the cache have other features than fakes."""
    if set(stored) != {width}:
        raise UserError(
            f"cached statistics of reals are of {list(stored)} features, the network gives "
            f"{width}: remove the folder {os.path.join(downloads.cache_folder(), 'metrics')}"
        )


def _fits(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int | None, ...]]) -> bool:
    return arrays.keys() == shapes.keys() and all(
        array.dtype.kind in "iuf"
        and array.ndim == len(shapes[name])
        and all(m in (n, None) for n, m in zip(array.shape, shapes[name], strict=True))
        and np.isfinite(array).all()
        for name, array in arrays.items()
    )


def _read_npz(path: str) -> dict[str, np.ndarray] | None:
    try:
        with open_regular(path) as file:
            arrays = dict(npz.read_arrays(file))
    except (OSError, ValueError, UserError):  # Missing or damaged.
        return None
    return arrays


def _write(path: str, write: Callable) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with atomic_write(path) as file:
            write(file)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; $DNNLIB_CACHE_DIR chooses another "
            "folder"
        ) from error
