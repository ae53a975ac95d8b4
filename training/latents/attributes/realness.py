"""How real the discriminator of a snapshot finds pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from dnnlib import UserError, tflib, urls
from dnnlib.tflib import Network
from training.datasets.building.rank import Judge
from training.datasets.photos.decode import Fit
from training.snapshots import pickles
from training.snapshots.class_names import count_classes
from training.snapshots.roles import ALONE, by_role


@contextmanager
def open_judge(network: str) -> Iterator[Judge]:
    """What scores pictures by the discriminator of a snapshot, for the time of the block.

    Args:
        network: path, URL or name of the snapshot.

    Raises:
        UserError: as `pickles.load`; or the file holds no discriminator.
    """
    networks = by_role(pickles.load(network))
    D = networks.get("D") or networks.get(ALONE)
    if D is None or not D.build_func_name.startswith("D"):
        raise UserError(f"{urls.show_source(network)} holds no discriminator to score pictures by")
    with tflib.graph_session():
        channels, height, width = D.input_shape[1:]
        yield Judge(Fit(height, width, channels=channels), count_classes(D), partial(_scores, D))


def _scores(D: Network, images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """See `Judge`. Each image by itself: in a minibatch its score would depend on the others, by
    their standard deviation.
    """
    inputs = (images.astype(np.float32) / 127.5 - 1, labels)[: D.num_inputs]
    scores = D.run(*inputs, minibatch_size=1, return_as_list=True)[0]
    return scores.reshape(len(images), -1)[:, 0]
