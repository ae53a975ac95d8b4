"""How real the discriminator of a snapshot finds pictures."""

from __future__ import annotations

import numpy as np

from dnnlib import UserError, urls
from dnnlib.tflib import Network
from training.datasets.building.rank import Judge
from training.datasets.photos.decode import Fit
from training.snapshots import pickles
from training.snapshots.class_names import count_classes
from training.snapshots.roles import ALONE, by_role


def load_judge(network: str) -> Judge:
    """What scores pictures by the discriminator of a snapshot.

    Args:
        network: path, URL or name of the snapshot.

    Raises:
        UserError: as `pickles.load`; or the file holds no discriminator.
    """
    networks = by_role(pickles.load(network))
    D = networks.get("D") or networks.get(ALONE)
    if D is None or not D.build_func_name.startswith("D"):
        raise UserError(f"{urls.show_source(network)} holds no discriminator to score pictures by")
    channels, height, width = D.input_shape[1:]

    def score(images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        inputs = images.astype(np.float32) / 127.5 - 1
        return _scores(D, inputs, labels)

    return Judge(Fit(height, width, channels=channels), count_classes(D), score)


def _scores(D: Network, images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """[N]. Each image by itself: in a minibatch its score would depend on the others, by their
    standard deviation.
    """
    inputs = (images, labels)[: D.num_inputs]
    scores = D.run(*inputs, minibatch_size=1, return_as_list=True)[0]
    return scores.reshape(len(images), -1)[:, 0]
