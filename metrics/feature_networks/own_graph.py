"""A user's own feature network: a frozen graph or a SavedModel, read as data."""

from __future__ import annotations

import os
import re

import tensorflow.compat.v1 as tf

from metrics.feature_networks.graph_process import ForeignGraph
from metrics.feature_networks.network import FeatureNetwork, files_of, sha256_of


class OwnNetwork(FeatureNetwork):
    """A network that takes images and gives one vector for each.

    Its only placeholder gets red, green, blue of 0 to 255, [N, H, W, 3] or [N, 3, H, W] as it
    declares, float32 or uint8, resized (bilinear) where it declares a size. Its only output is
    taken, or that of the signature `serving_default` of a SavedModel. It runs in a process of its
    own.

    Args:
        path: a `.pb` file, or the folder of a SavedModel.
        name: for reports; None: the file's name.

    Raises:
        UserError: the file is something else, its input or output is not clear, or it holds an
            operation that a feature network may not use.
    """

    def __init__(self, path: str, name: str | None = None):
        is_folder = os.path.isdir(path)
        stem = os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
        name = re.sub(r"[^A-Za-z0-9_]+", "-", name or stem).strip("-") or "network"
        super().__init__(name, sha256_of(*(files_of(path) if is_folder else [path])))
        self._path, self._graph = path, ForeignGraph("own", path, self.sha256)

    @property
    def contract(self) -> str:
        """What goes in and what comes out, as read from the file."""
        graph = self._graph
        size = " × ".join(str(s) if s > 0 else "any" for s in self._size())
        order = "[N, 3, H, W]" if self._is_channels_first() else "[N, H, W, 3]"
        dtype = "whole numbers (uint8)" if graph.dtype == "uint8" else "float32"
        return (
            f"{self.name} takes {graph.input}, {order}, size {size}, red, green, blue of 0 to 255, "
            f"{dtype}; gives {graph.outputs['features']}"
        )

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, D]."""
        x = tf.transpose(images, [0, 2, 3, 1])
        size = [s if s > 0 else x.shape[1 + i].value for i, s in enumerate(self._size())]
        if size != x.shape[1:3].as_list():
            x = tf.image.resize_bilinear(x, size, half_pixel_centers=True)
        x = tf.transpose(x, [0, 3, 1, 2]) if self._is_channels_first() else x
        if self._graph.dtype == "uint8":
            x = tf.saturate_cast(tf.round(x), tf.uint8)
        return self._graph.build(x)

    def _is_channels_first(self) -> bool:
        shape = self._graph.shape
        return len(shape) == 4 and shape[1] == 3 and shape[3] != 3

    def _size(self) -> tuple[int, ...]:
        """(height, width) that it declares, -1 for any."""
        shape = self._graph.shape or (-1,) * 4
        return shape[2:4] if self._is_channels_first() else shape[1:3]
