"""What the tests of metrics share: a small trained-looking network and its data on disk."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import standins


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """Files: `snapshot` (32×32, no labels), `conditional` (3 labels), `dataset` with labels."""
    from dnnlib import tflib
    from dnnlib.tflib import Network
    from training.snapshots import pickles

    folder = tmp_path_factory.mktemp("metrics")
    rng = np.random.default_rng(0)
    count, side = 60, 32
    low = rng.integers(0, 256, [count, 3, 4, 4], dtype=np.uint8)
    images = np.repeat(np.repeat(low, side // 4, axis=2), side // 4, axis=3)
    labels = np.eye(3, dtype=np.float32)[rng.choice(3, count, p=[0.6, 0.3, 0.1])]
    size = {"num_channels": 3, "resolution": side, "fmap_base": 64, "fmap_max": 8}
    size |= {"latent_size": 16, "dlatent_size": 16, "mapping_fmaps": 16, "mapping_layers": 2}
    paths = {}
    for name, label_size in (("snapshot", 0), ("conditional", 3)):
        with tflib.graph_session(seed=5):
            G = Network("G", "training.networks_stylegan2.G_main", label_size=label_size, **size)
            paths[name] = str(folder / f"network-snapshot-{label_size:06d}.pkl")
            pickles.save(G, paths[name])
    return SimpleNamespace(
        folder=folder,
        images=images,
        labels=labels,
        dataset=standins.make_dataset(folder / "shop", images, labels),
        inception=str(standins.save_inception(folder / "inception.tgz")),
        **paths,
    )


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Every test of metrics has a cache folder of its own."""
