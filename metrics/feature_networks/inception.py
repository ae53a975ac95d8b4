"""Inception-v3 of 2015-12-05, the network of FID, KID and the inception score.

TensorFlow published it as a frozen graph that classifies one JPEG file. Here it gets a batch of
images in place of the decoded file, and does its own resizing to 299×299.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from metrics.feature_networks.graph_process import ForeignGraph
from metrics.feature_networks.network import FeatureNetwork, sha256_of
from metrics.feature_networks.programs import INCEPTION_OUTPUTS


class Inception(FeatureNetwork):
    """Pool features and class probabilities.

    Args:
        path: `inception-2015-12-05.tgz`, or the `classify_image_graph_def.pb` in it.

    Raises:
        UserError: the file is something else.
    """

    def __init__(self, path: str):
        super().__init__("inception", sha256_of(path))
        self._path, self._graph = path, ForeignGraph("inception", path, self.sha256)

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, 2048], "softmax" [N, 1008]."""
        tensors = self._graph.build(tf.transpose(images, [0, 2, 3, 1]))
        for output, (node, width) in INCEPTION_OUTPUTS.items():
            if tensors[output].shape[1].value != width:
                raise UserError(
                    f"{self._path} is not Inception of 2015-12-05: {node} has "
                    f"{tensors[output].shape[1].value} numbers an image, expected {width}"
                )
        return tensors
