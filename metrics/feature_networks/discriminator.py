"""The discriminator of a snapshot as a feature network: needs no download and knows the domain."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network
from metrics.feature_networks.network import FeatureNetwork
from training.latents.likeness import place_vectors


class DiscriminatorFeatures(FeatureNetwork):
    """See `place_vectors`.

    Args:
        D: a discriminator.
        sha256: of the snapshot that it is from.
    """

    sees_opacity = True  # If the network does.

    def __init__(self, D: Network, sha256: str):
        super().__init__("discriminator", sha256)
        self._D = D

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, F] of images of the network's own size."""
        images = images[:, : self._D.input_shape[1]]  # Gray pictures come three times.
        return {"features": place_vectors(self._D, images * (1 / 127.5) - 1)}
