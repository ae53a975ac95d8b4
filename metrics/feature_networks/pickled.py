"""NVIDIA's own feature networks: snapshots that bring their code, for users who allow it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from dnnlib.util import one_line
from metrics.feature_networks.network import FeatureNetwork, sha256_of
from training.snapshots import pickles
from training.snapshots.roles import by_role


class PickledNetwork(FeatureNetwork):
    """A network whose code is in its file.

    Args:
        path: of the `.pkl`.
        name: for reports.
        output: what its first output is called here.
        allow_pickled_code: run that code; without, only networks that we have too are built.
    """

    def __init__(self, path: str, name: str, output: str, allow_pickled_code: bool):
        super().__init__(name, sha256_of(path))
        self._path, self._output, self._allowed = path, output, allow_pickled_code
        self._networks: WeakKeyDictionary[tf.Graph, Network] = WeakKeyDictionary()
        self._load()  # So that what does not fit is said before any work.

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph; the output is flattened to [N, D]."""
        x = self._call(images)
        return {self._output: tf.reshape(x, [-1, int(np.prod(x.shape[1:].as_list()))])}

    def distance(self, images1: tf.Tensor, images2: tf.Tensor) -> tf.Tensor:
        """Adds a network of two inputs to the graph: distances [N]."""
        return tf.reshape(self._call(images1, images2), [-1])

    def _call(self, *images: tf.Tensor) -> tf.Tensor:
        graph = tf.get_default_graph()
        if graph not in self._networks:
            self._networks[graph] = self._load()
        network = self._networks[graph]
        # Classifiers take labels too, which are left out.
        inputs = [*images, *[None] * (network.num_inputs - len(images))]
        try:
            return network.get_output_for(*inputs, return_as_list=True)[0]
        except ValueError as error:  # Another network: a generator, say.
            raise UserError(
                f"{self._path} cannot be used as {self.name}: {one_line(error)}"
            ) from error

    def _load(self) -> Network:
        *_, network = by_role(pickles.load(self._path, self._allowed)).values()
        return network
