"""Inception-v3 of 2015-12-05, the network of FID, KID and the inception score.

TensorFlow published it as a frozen graph that classifies one JPEG file. Here it gets a batch of
images in place of the decoded file, and does its own resizing to 299×299.
"""

from __future__ import annotations

import tarfile

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.util import one_line
from metrics.feature_networks import frozen_graph
from metrics.feature_networks.graph_process import ForeignGraph, Program
from metrics.feature_networks.network import FeatureNetwork, sha256_of

_MEMBER = "classify_image_graph_def.pb"
_INPUT = "ExpandDims"  # [1, H, W, 3], 0 to 255, before the resizing.
_MAX_MEMBER = 1 << 30
_MAX_MEMBERS = 1000
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
        self._path, self._graph = path, ForeignGraph("inception", path, self.sha256)

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, 2048], "softmax" [N, 1008]."""
        tensors = self._graph.build(tf.transpose(images, [0, 2, 3, 1]))
        for output, (node, width) in _OUTPUTS.items():
            if tensors[output].shape[1].value != width:
                raise UserError(
                    f"{self._path} is not Inception of 2015-12-05: {node} has "
                    f"{tensors[output].shape[1].value} numbers an image, expected {width}"
                )
        return tensors


def read_program(path: str) -> Program:
    """The graph from the batch of images to the outputs; see `graph_process`."""
    graph = frozen_graph.parse_graph(_read(path), path)
    nodes = [node for node, _ in _OUTPUTS.values()]
    graph = frozen_graph.cut_out(graph, _INPUT, nodes, path)
    frozen_graph.free_batch(graph)
    outputs = {output: f"{node}:0" for output, (node, _) in _OUTPUTS.items()}
    return Program(graph, _INPUT, outputs, "float32", [-1, -1, -1, 3], path)


def _read(path: str) -> bytes:
    """The graph's bytes, from the archive or from the file itself."""
    try:
        with open_regular(path) as file:
            is_archive = tarfile.is_tarfile(file)
            file.seek(0)
            if not is_archive:
                return frozen_graph.read_file(path)
            with tarfile.open(fileobj=file) as archive:
                for _, member in zip(range(_MAX_MEMBERS), archive, strict=False):
                    if member.isfile() and member.name.rpartition("/")[2] == _MEMBER:
                        if not 0 <= member.size <= _MAX_MEMBER:
                            raise UserError(f"{path}: {_MEMBER} has {member.size} bytes")
                        return archive.extractfile(member).read()
    except UserError:
        raise
    except Exception as error:  # A damaged archive fails in many ways.
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    raise UserError(f"{path} holds no {_MEMBER}")
