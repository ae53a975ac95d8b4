"""What a user's own network says of pictures, as attributes: `run_generator.py --classifier`."""

from __future__ import annotations

import os

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.util import one_line
from metrics.feature_networks.graph_process import user_errors
from metrics.feature_networks.own_graph import OwnNetwork
from training.datasets.photos.arrays import on_white
from training.latents.attributes.measured import Measure

_MOST_OUTPUTS = 100
_AT_ONCE = 32


def classifier_measure(path: str, image_shape: list[int]) -> Measure:
    """The outputs of a network as attributes `classifier-0`, …, or `classifier` where it has one.

    Args:
        path: a frozen graph or the folder of a SavedModel, which run in a process of their own
            (see `OwnNetwork`); or an .onnx file, which onnxruntime runs here.
        image_shape: [C, H, W] of the pictures.

    Raises:
        UserError: it cannot be read, does not take such pictures, or gives too many numbers.
    """
    run = _onnx(path) if path.lower().endswith(".onnx") else _graph(path, image_shape)
    trial = run(np.zeros([1, 3, *image_shape[1:]], np.uint8))
    count = trial.shape[1]
    if count > _MOST_OUTPUTS:
        raise UserError(
            f"--classifier={path} gives {count} numbers a picture, expected at most {_MOST_OUTPUTS}"
        )
    names = [f"classifier-{number}" for number in range(count)] if count > 1 else ["classifier"]

    def function(images: np.ndarray) -> np.ndarray:
        rgb = np.repeat(images, 3, axis=1) if images.shape[1] == 1 else on_white(images)
        parts = [run(rgb[i : i + _AT_ONCE]) for i in range(0, len(rgb), _AT_ONCE)]
        return np.concatenate(parts).astype(np.float64)

    return Measure(tuple(names), function)


def _graph(path: str, image_shape: list[int]):
    network = OwnNetwork(path)
    graph = tf.Graph()
    with graph.as_default(), user_errors():
        images = tf.placeholder(tf.uint8, [None, 3, *image_shape[1:]])
        features = network.build(tf.cast(images, tf.float32))["features"]
    session = tf.Session(graph=graph)

    def run(batch: np.ndarray) -> np.ndarray:
        with user_errors():
            return session.run(features, {images: batch})

    return run


def _onnx(path: str):
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"--classifier={path}: ONNX needs onnxruntime: pip install onnxruntime, or give a "
            "frozen graph (.pb)"
        ) from None
    what = f"--classifier={os.path.basename(path)}"
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (entry,) = session.get_inputs()
    except Exception as error:  # Whatever a broken model raises there.
        raise UserError(
            f"{what} cannot be read as a model of one input: {one_line(error)}"
        ) from error
    is_last = len(entry.shape) == 4 and entry.shape[3] == 3 and entry.shape[1] != 3
    dtype = np.uint8 if "uint8" in entry.type else np.float32

    def run(batch: np.ndarray) -> np.ndarray:
        x = batch.transpose(0, 2, 3, 1) if is_last else batch
        try:
            output = session.run(None, {entry.name: np.ascontiguousarray(x, dtype)})[0]
            return np.asarray(output, np.float64).reshape(len(batch), -1)
        except Exception as error:  # Shapes that do not fit, for instance.
            raise UserError(f"{what} does not run: {one_line(error)}") from error

    return run
