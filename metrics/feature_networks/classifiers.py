"""The attribute classifiers of linear separability, from files of the user."""

from __future__ import annotations

import os
import re

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from metrics.feature_networks.network import FeatureNetwork
from metrics.feature_networks.own_graph import OwnNetwork
from metrics.feature_networks.pickled import PickledNetwork

_NUMBERED = re.compile(r".*-(\d\d)-[^/]*?(\.pkl|\.pb)?")


class _GraphClassifier(FeatureNetwork):
    """A frozen graph or SavedModel that takes 0 to 255 and gives one logit."""

    def __init__(self, path: str, name: str):
        self._network = OwnNetwork(path)
        super().__init__(name, self._network.sha256)

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds it to the graph: "features" [N, 1] of images [N, 3, H, W] of -1 to 1."""
        return self._network.build((images + 1) * (255 / 2))


def read_classifiers(folder: str, count: int, allow_pickled_code: bool) -> list[FeatureNetwork]:
    """Classifiers that give one logit [N, 1] for images [N, 3, 256, 256] of -1 to 1.

    Args:
        folder: with a file or SavedModel `…-NN-….pkl`, `….pb` or without extension for each.
        count: how many there have to be: NN from 00 on.
        allow_pickled_code: run the code that `.pkl` files bring.

    Raises:
        UserError: one is missing.
    """
    found = {}
    try:
        for name in sorted(os.listdir(folder)):
            if match := _NUMBERED.fullmatch(name):
                found[int(match[1])] = os.path.join(folder, name)
    except OSError as error:
        raise UserError(
            f"cannot read the folder of classifiers {folder}: {error.strerror}"
        ) from error
    missing = [f"{i:02}" for i in range(count) if i not in found]
    if missing:
        raise UserError(
            f"{folder} lacks the classifiers {', '.join(missing)}: expected {count} files like "
            "celebahq-classifier-00-male.pkl"
        )
    result = []
    for i in range(count):
        name = f"classifier-{i:02}"
        if found[i].endswith(".pkl"):
            result.append(PickledNetwork(found[i], name, "features", allow_pickled_code))
        else:
            result.append(_GraphClassifier(found[i], name))
    return result
