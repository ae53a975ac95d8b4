"""VGG16 (Simonyan and Zisserman 2014, arXiv:1409.1556), the network of precision and recall.

Its weights come from the file that Keras publishes, which needs h5py, from that of torchvision, or
from an `.npz`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from metrics.feature_networks.network import FeatureNetwork, sha256_of
from metrics.feature_networks.weights import is_torch, read_h5, read_npz, read_torch

# Convolutions of each block; max pooling follows every block.
BLOCKS = (2, 2, 3, 3, 3)
CONVOLUTIONS = tuple(
    f"block{b}_conv{c}" for b, n in enumerate(BLOCKS, start=1) for c in range(1, n + 1)
)
DENSE = ("fc1", "fc2")
_SIDE = 224
# Mean of ImageNet, blue, green, red: these weights come from Caffe, which has colors so.
_MEAN_BGR = (103.939, 116.779, 123.68)
# Mean and deviation of ImageNet, red, green, blue, of -1 to 1: for the weights of torchvision.
_MEAN = (-0.030, -0.088, -0.188)
_DEVIATION = (0.458, 0.448, 0.450)

Weights = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Vgg16(FeatureNetwork):
    """The second fully connected layer, after its activation: features [N, 4096].

    Images are resized to 224×224 (bilinear).

    Args:
        path: `vgg16_weights_tf_dim_ordering_tf_kernels.h5`, or an `.npz` with `NAME/kernel` and
            `NAME/bias` of the layers `block1_conv1` … `block5_conv3`, `fc1`, `fc2`, for colors as
            that file has them; or torchvision's `vgg16-397923af.pth`, which was trained otherwise.

    Raises:
        UserError: the file is something else, or h5py is missing.
    """

    def __init__(self, path: str):
        super().__init__("vgg16", sha256_of(path))
        self._weights = read_weights(path, (*CONVOLUTIONS, *DENSE))
        self._colors = torch_colors if is_torch(path) else caffe_colors

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph: "features" [N, 4096]."""
        x = tf.transpose(images, [0, 2, 3, 1])
        if x.shape[1:3].as_list() != [_SIDE, _SIDE]:
            x = tf.image.resize_bilinear(x, [_SIDE, _SIDE], half_pixel_centers=True)
        variables = make_variables(self._weights)
        x = convolutions(self._colors(x), variables)[-1]
        x = _max_pool(x)
        x = tf.reshape(x, [-1, int(np.prod(x.shape[1:].as_list()))])
        for name in DENSE:
            kernel, bias = variables[name]
            x = tf.nn.relu(tf.matmul(x, kernel) + bias)
        return {"features": x}


def convolutions(x: tf.Tensor, variables: Mapping[str, tuple]) -> list[tf.Tensor]:
    """The last activations of each of the five blocks, before the pooling.

    Args:
        x: [N, H, W, 3], as the weights expect it.
        variables: from `make_variables`.
    """
    taps = []
    for block, count in enumerate(BLOCKS, start=1):
        if taps:
            x = _max_pool(x)
        for i in range(1, count + 1):
            kernel, bias = variables[f"block{block}_conv{i}"]
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME") + bias)
        taps.append(x)
    return taps


def caffe_colors(x: tf.Tensor) -> tf.Tensor:
    """[N, H, W, 3] of 0 to 255, red first, as Keras' weights expect it."""
    return tf.reverse(x, axis=[3]) - np.float32(_MEAN_BGR)


def torch_colors(x: tf.Tensor) -> tf.Tensor:
    """[N, H, W, 3] of 0 to 255, red first, as torchvision's weights expect it."""
    return (x * np.float32(2 / 255) - 1 - np.float32(_MEAN)) / np.float32(_DEVIATION)


def make_variables(weights: Weights) -> dict[str, tuple[tf.Variable, tf.Variable]]:
    """Variables with those values: a graph has no room for half a gigabyte of constants."""
    result, values = {}, {}
    for name, pair in weights.items():
        made = tuple(tf.Variable(tf.zeros(v.shape), trainable=False) for v in pair)
        result[name] = made
        values.update(zip(made, pair, strict=True))
    tflib.set_vars(values)
    return result


def read_weights(path: str, layers: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{layer: (kernel, bias)} of a file.

    Raises:
        UserError: the file cannot be read, or a layer is missing or of a wrong shape.
    """
    if is_torch(path):
        arrays = _read_torchvision(path, layers)
    else:
        arrays = _pairs(read_npz(path)) if path.endswith(".npz") else read_h5(path, layers)
    result, inputs = {}, 3
    for layer in layers:
        if layer not in arrays:
            raise UserError(f"{path} holds no weights of VGG16's layer {layer}")
        kernel, bias = arrays[layer]
        if layer == "fc1":
            inputs *= 7 * 7
        fits = kernel.shape[:-1] == ((inputs,) if layer in DENSE else (3, 3, inputs))
        if not fits or bias.shape != kernel.shape[-1:]:
            raise UserError(
                f"{path}: VGG16's layer {layer} has weights of shapes {list(kernel.shape)} and "
                f"{list(bias.shape)}, which do not follow from {inputs} inputs"
            )
        result[layer] = (kernel.astype(np.float32), bias.astype(np.float32))
        inputs = len(bias)
    return result


def _read_torchvision(
    path: str, layers: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{layer: (kernel, bias)}: theirs are [out, in, H, W] and [out, in], and go by numbers."""
    names, number = {"fc1": "classifier.0", "fc2": "classifier.3"}, 0
    for block, count in enumerate(BLOCKS, start=1):
        for i in range(1, count + 1):
            names[f"block{block}_conv{i}"] = f"features.{number}"
            number += 2  # ReLU counts.
        number += 1  # So does pooling.
    parts = [f"{names[layer]}.{part}" for layer in layers for part in ("weight", "bias")]
    arrays, result = read_torch(path, parts), {}
    for layer in layers:
        kernel, bias = (arrays.get(f"{names[layer]}.{part}") for part in ("weight", "bias"))
        if kernel is None or bias is None:
            continue
        if layer == "fc1" and kernel.ndim == 2 and kernel.shape[1] % 49 == 0:
            # Pixels are the last axes of theirs, and the first of ours.
            kernel = kernel.reshape(len(kernel), -1, 49).swapaxes(1, 2).reshape(kernel.shape)
        axes = [2, 3, 1, 0] if kernel.ndim == 4 else None
        result[layer] = (np.transpose(kernel, axes), bias)
    return result


def _pairs(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = [n.removesuffix("/kernel") for n in arrays if n.endswith("/kernel")]
    return {n: (arrays[f"{n}/kernel"], arrays[f"{n}/bias"]) for n in names if f"{n}/bias" in arrays}


def _max_pool(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
