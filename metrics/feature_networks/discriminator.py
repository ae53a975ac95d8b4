"""The discriminator of a snapshot as a feature network: needs no download and knows the domain."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from metrics.feature_networks.network import FeatureNetwork, sha256_of
from training.latents.likeness import place_vectors
from training.snapshots import pickles
from training.snapshots.roles import ALONE, by_role

SUFFIXES = (".pkl", ".npz")  # Of snapshots.


class DiscriminatorFeatures(FeatureNetwork):
    """`place_vectors`, times the root of their number, so that kernels of features see them.

    Args:
        sha256: of the snapshot.
        D: its discriminator, for the session that it is in; None: it is read where it is needed.
        path: of the snapshot, if D is None.

    Raises:
        UserError: it holds no discriminator.
    """

    sees_opacity = True  # If the network does.

    def __init__(self, sha256: str, D: Network | None = None, path: str = ""):
        super().__init__("discriminator", sha256)
        self._D, self._path = D, path

    @staticmethod
    def of_snapshot(path: str) -> DiscriminatorFeatures:
        """Those of the snapshot in a file."""
        network = DiscriminatorFeatures(sha256_of(path), None, path)
        network._find()
        return network

    @property
    def contract(self) -> str:
        """What it is, for people."""
        return f"{self.name} of {self._path}"

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, F] of images of the network's own size."""
        with tf.name_scope(None):
            D = self._find()
            _ = D.vars
        images = images[:, : D.input_shape[1]]  # Gray pictures come three times.
        if images.shape[1:].as_list() != D.input_shape[1:]:
            raise UserError(
                f"the discriminator of {self._path} takes images {D.input_shape[1:]}, and these "
                f"are {images.shape[1:].as_list()}"
            )
        vectors = place_vectors(D, images * (1 / 127.5) - 1)
        return {"features": vectors * vectors.shape[1].value ** 0.5}

    def _find(self) -> Network:
        if self._D is not None:
            return self._D
        networks = by_role(pickles.load(self._path))
        D = networks.get("D") or networks.get(ALONE)
        if D is None or not D.build_func_name.startswith("D_"):
            raise UserError(f"--feature-net={self._path}: the snapshot holds no discriminator")
        return D
