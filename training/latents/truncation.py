"""Truncation towards centers of W that suit a picture: the mean of its class, the nearest cluster.

w ← center + (w - center)·psi. The official center is the mean of all w (StyleGAN, appendix B),
which of many kinds of products is none of them; centers of clusters are those of "Self-Distilled
StyleGAN" (Mokady et al. 2022, section 4), here nearest in W.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from dnnlib import UserError
from dnnlib.files import atomic_write, open_regular
from dnnlib.npz import read_arrays
from dnnlib.output import tqdm
from dnnlib.tflib import Network
from training.latents.options import TruncationOptions
from training.latents.starting_point import sample_dlatents
from training.random_streams import generator
from training.snapshots import pickles, pretrained
from training.snapshots.class_names import count_classes

_SAMPLES = 10000  # w that a mean, or all clusters, are computed of.
_ITERATIONS = 50


@dataclass(frozen=True)
class Centers:
    """What w are drawn to.

    Attributes:
        kind: "global": one point for all; "class": one for each class, and between them for labels
            between classes; "cluster": the nearest.
        points: float32 [N, dlatent_size].
    """

    kind: str
    points: np.ndarray

    def of(self, dlatents: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The center of each w, float32 [N, 1, dlatent_size].

        Args:
            dlatents: [N, num_layers, dlatent_size], the same in all layers.
            labels: [N, label_size], which sum to 1.
        """
        if self.kind == "class":
            found = labels @ self.points
        elif self.kind == "cluster":
            found = self.points[vq(dlatents[:, 0], self.points)[0]]
        else:
            found = np.repeat(self.points, len(dlatents), axis=0)
        return found[:, np.newaxis].astype(np.float32)


def truncated(
    Gs: Network, z: np.ndarray, labels: np.ndarray, psi: float, centers: Centers
) -> np.ndarray:
    """center + (w - center)·psi, float32 [N, num_layers, dlatent_size].

    Args:
        Gs: a generator.
        z: [N, latent_size].
        labels: [N, label_size].
        psi: 0 for the center to 1 for w itself.
        centers: of the same generator.
    """
    w = Gs.components.mapping.run(z, labels)
    center = centers.of(w, labels)
    return center + (w - center) * np.float32(psi)


def mean_center(Gs: Network) -> Centers:
    """The official center: the running mean of all w, which training keeps."""
    return Centers("global", Gs.get_var("dlatent_avg")[np.newaxis])


def find_centers(Gs: Network, options: TruncationOptions, snapshot: str | None = None) -> Centers:
    """The centers of a generator, from the file beside its snapshot, or computed and kept there.

    The file is `NAME-centers-class.npz` or `NAME-centers-cluster64.npz`, with the SHA-256 of the
    snapshot: those of another one are computed anew.

    Args:
        Gs: a generator.
        options: which centers.
        snapshot: file, URL or name that it was read from; None: nothing is kept.

    Raises:
        UserError: the network has no classes, and the options want them.
    """
    if options.kind == "global":
        return mean_center(Gs)
    count = options.clusters if options.kind == "cluster" else count_classes(Gs)
    if not count:
        raise UserError("--truncation=class: the network has no classes: use cluster, or global")
    if snapshot is None:
        return Centers(options.kind, _compute(Gs, options.kind, count))
    local, sha256 = pretrained.local_path(snapshot), pickles.sha256(snapshot)
    suffix = count if options.kind == "cluster" else ""
    path = f"{os.path.splitext(local)[0]}-centers-{options.kind}{suffix}.npz"
    points = _read(path, sha256, (count, Gs.components.synthesis.input_shape[2]))
    if points is None:
        points = _compute(Gs, options.kind, count)
        try:
            with atomic_write(path) as file:
                np.savez(file, sha256=np.array(sha256), points=points)
        except OSError as error:
            print(
                f"NOTE: cannot write {path}: {error.strerror or error}: the centers of "
                "--truncation are computed each time",
                file=sys.stderr,
            )
    return Centers(options.kind, points)


def _compute(Gs: Network, kind: str, count: int) -> np.ndarray:
    """Means of the classes, or of clusters of w of all classes in equal parts."""
    if kind == "class":
        rows = tqdm(np.eye(count, dtype=np.float32), desc="Centers", unit="class", disable=None)
        return _finite(np.stack([_mean(sample_dlatents(Gs, _SAMPLES, row)) for row in rows]))
    w = _finite(sample_dlatents(Gs, _SAMPLES)).astype(np.float64)
    # What k-means begins with are samples, so that no random numbers of SciPy are needed.
    first = generator("truncation", "clusters").choice(len(w), count, replace=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # A cluster that is empty stays where it was.
        points, _ = kmeans2(w, w[np.sort(first)], iter=_ITERATIONS, minit="matrix")
    return points.astype(np.float32)


def _mean(w: np.ndarray) -> np.ndarray:
    return w.mean(axis=0, dtype=np.float64).astype(np.float32)


def _finite(w: np.ndarray) -> np.ndarray:
    if not np.isfinite(w).all():
        raise UserError("the network makes w that are not finite: it is broken")
    return w


def _read(path: str, sha256: str, shape: tuple[int, int]) -> np.ndarray | None:
    """The points of a file of this snapshot; None if there is none, or not a whole one."""
    try:
        with open_regular(path) as file:
            arrays = dict(read_arrays(file))
    except (OSError, ValueError, UserError):
        return None
    points = arrays.get("points")
    fits = points is not None and points.dtype == np.float32 and points.shape == shape
    if not fits or str(arrays.get("sha256")) != sha256 or not np.isfinite(points).all():
        return None
    return points
