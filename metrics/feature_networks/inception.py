"""Inception-v3 of 2015-12-05, the network of FID, KID and the inception score.

TensorFlow published it as a frozen graph that classifies one JPEG file. Here it gets a batch of
images in place of the decoded file, and does its own resizing to 299×299.
"""

from __future__ import annotations

import tarfile

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.util import one_line
from metrics.feature_networks import frozen_graph
from metrics.feature_networks.network import FeatureNetwork, sha256_of

_MEMBER = "classify_image_graph_def.pb"
_INPUT = "ExpandDims"  # [1, H, W, 3], 0 to 255, before the resizing.
_OUTPUTS = {"features": ("pool_3", 2048), "softmax": ("softmax", 1008)}


class Inception(FeatureNetwork):
    """Pool features and class probabilities.

    Args:
        path: `inception-2015-12-05.tgz`, or the `classify_image_graph_def.pb` in it.

    Raises:
        UserError: the file is something else.
    """

    def __init__(self, path: str):
        super().__init__("inception", sha256_of(path))
        self._path = path
        graph = frozen_graph.parse_graph(_read(path), path)
        nodes = [node for node, _ in _OUTPUTS.values()]
        self._graph = frozen_graph.cut_out(graph, _INPUT, nodes, path)
        frozen_graph.free_batch(self._graph)

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, 2048], "softmax" [N, 1008]."""
        names = [f"{node}:0" for node, _ in _OUTPUTS.values()]
        pixels = tf.transpose(images, [0, 2, 3, 1])
        tensors = frozen_graph.import_graph(self._graph, _INPUT, pixels, names, self._path)
        result = {}
        for (output, (node, width)), tensor in zip(_OUTPUTS.items(), tensors, strict=True):
            if tensor.shape.ndims is None or tensor.shape[-1].value != width:
                raise UserError(
                    f"{self._path} is not Inception of 2015-12-05: {node} has shape "
                    f"{tensor.shape}, expected {width} numbers an image"
                )
            result[output] = tf.reshape(tensor, [-1, width])
        return result


def _read(path: str) -> bytes:
    """The graph's bytes, from the archive or from the file itself."""
    try:
        if not tarfile.is_tarfile(path):
            with open(path, "rb") as file:
                return file.read()
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.rpartition("/")[2] == _MEMBER:
                    return archive.extractfile(member).read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    raise UserError(f"{path} holds no {_MEMBER}")
