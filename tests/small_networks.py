"""The smallest networks that still have every kind of layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnnlib.tflib import Network
from training.snapshots import class_names, pickles

# Their keyword arguments.
SHAPE = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 8}
STYLE = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
BUILD = "training.networks_stylegan2."


def conditional_pair(label_size: int) -> tuple[Network, Network]:
    """(G, D) of StyleGAN2 for images [3, 16, 16], untrained."""
    G = Network("G", BUILD + "G_main", label_size=label_size, **SHAPE, **STYLE)
    return G, Network("D", BUILD + "D_stylegan2", label_size=label_size, **SHAPE)


def save_pair(path: Path, label_names: list[str], dlatent_avg: np.ndarray | None = None) -> Network:
    """Writes a snapshot (G, D, Gs) of a `conditional_pair` with names of classes; D."""
    G, D = conditional_pair(len(label_names))
    class_names.set_label_names(G, label_names)
    if dlatent_avg is not None:
        G.set_var("dlatent_avg", dlatent_avg)
    pickles.save((G, D, G.clone("Gs")), str(path))
    return D
