"""LPIPS (Zhang et al. 2018, arXiv:1801.03924), the distance of path lengths and projections.

The distance of two images is Σ over five layers of VGG16 of the mean over pixels of Σ over channels
of lin · (x/|x| - y/|y|)².
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from metrics.feature_networks import vgg16
from metrics.feature_networks.network import FeatureNetwork, sha256_of
from metrics.feature_networks.weights import is_torch, read_npz, read_torch

NUM_HEADS = 5
_TINY = 1e-30  # The slope of a square root at 0, where no feature is active, is not finite.


class Lpips(FeatureNetwork):
    """The distance, from weights in files.

    The published heads belong to torchvision's VGG16: distances that compare with published ones
    need its convolutions. Those of Keras' file serve too: distances are much alike but not equal.

    Args:
        path: the authors' `vgg.pth` (v0.1); or an `.npz` with the heads `lin0` … `lin4` (64, 128,
            256, 512 and 512 numbers each) and, if they are not to come from `vgg16_path`, the
            convolutions: `block1_conv1/kernel` [3, 3, in, out] and `/bias` [out] up to
            `block5_conv3`, that take red, green, blue.
        vgg16_path: called for the file of `Vgg16` where the convolutions are to come from it.

    Raises:
        UserError: a file is something else.
    """

    def __init__(self, path: str, vgg16_path):
        heads = _read_heads(path)
        paths = [path]
        has_own_convolutions = f"{vgg16.CONVOLUTIONS[0]}/kernel" in heads
        if not has_own_convolutions:
            paths.append(vgg16_path())
        is_caffe = not has_own_convolutions and not is_torch(paths[-1])
        self._colors = vgg16.caffe_colors if is_caffe else vgg16.torch_colors
        super().__init__("lpips", sha256_of(*paths))
        self._weights = vgg16.read_weights(paths[-1], vgg16.CONVOLUTIONS)
        self._heads = []
        for i, count in enumerate(vgg16.BLOCKS):
            width = len(self._weights[f"block{i + 1}_conv{count}"][1])
            head = heads[f"lin{i}"].astype(np.float32).reshape(-1)
            if len(head) != width:
                raise UserError(f"{path}: lin{i} has {len(head)} numbers, VGG16 {width} channels")
            self._heads.append(head)

    def distance(self, images1: tf.Tensor, images2: tf.Tensor) -> tf.Tensor:
        """Adds the network to the graph: distances [N] of images [N, 3, H, W], 0 to 255."""
        x = tf.transpose(tf.concat([images1, images2], axis=0), [0, 2, 3, 1])
        total = 0.0
        taps = vgg16.convolutions(self._colors(x), vgg16.make_variables(self._weights))
        for tap, head in zip(taps, self._heads, strict=True):
            energy = tf.reduce_sum(tf.square(tap), axis=3, keepdims=True)
            norm = tf.sqrt(tf.maximum(energy, _TINY))
            first, second = tf.split(tap / (norm + 1e-10), 2, axis=0)
            weighted = tf.reduce_sum(tf.square(first - second) * head, axis=3)
            total += tf.reduce_mean(weighted, axis=[1, 2])
        return total


def _read_heads(path: str) -> Mapping[str, np.ndarray]:
    names = [f"lin{i}" for i in range(NUM_HEADS)]
    if is_torch(path):
        theirs = {f"{name}.model.1.weight": name for name in names}
        arrays = {theirs[key]: array for key, array in read_torch(path, theirs).items()}
    else:
        arrays = read_npz(path)
    if missing := [name for name in names if name not in arrays]:
        raise UserError(f"{path} lacks {', '.join(missing)}: expected heads of LPIPS")
    return arrays
