"""pretrained_networks: published networks by their official names."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import pretrained_networks
from dnnlib import UserError, downloads, tflib
from dnnlib.tflib import Network
from training.snapshots import pickles

ROOT = Path(__file__).resolve().parents[1]
NAME = "gdrive:networks/stylegan2-ffhq-config-f.pkl"
URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/stylegan2-ffhq-config-f.pkl"
SMALL = {"resolution": 8, "fmap_max": 4}
STYLE = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with network-final.pkl (G, D, Gs) and Gs.pkl."""
    folder = tmp_path_factory.mktemp("networks")
    with tflib.graph_session(seed=1):
        G = Network("G", "training.networks_stylegan2.G_main", **SMALL, **STYLE)
        D = Network("D", "training.networks_stylegan2.D_stylegan2", **SMALL)
        pickles.save((G, D, G.clone("Gs")), str(folder / "network-final.pkl"))
        pickles.save(G.clone("Gs"), str(folder / "Gs.pkl"))
    return folder


def test_names():
    assert pretrained_networks.get_path_or_url(NAME) == URL
    assert pretrained_networks.gdrive_urls[NAME] == URL
    assert len(pretrained_networks.gdrive_urls) == 36
    assert pretrained_networks.get_path_or_url("results/a.pkl") == "results/a.pkl"
    assert pretrained_networks.get_path_or_url(URL) == URL
    with pytest.raises(UserError, match="did you mean"):
        pretrained_networks.get_path_or_url("gdrive:networks/stylegan2-ffhq-config-z.pkl")


def test_networks(folder, session, monkeypatch):
    G, D, Gs = pretrained_networks.load_networks(str(folder / "network-final.pkl"))
    assert [net.name for net in (G, D, Gs)] == ["G", "D", "Gs"]
    assert Gs.run(np.zeros([1, 4]), None).shape == (1, 3, 8, 8)
    fetched = []
    monkeypatch.setattr(downloads, "cached", lambda url: url)
    monkeypatch.setattr(
        downloads, "fetch", lambda url: fetched.append(url) or str(folder / "Gs.pkl")
    )
    G, D, Gs = pretrained_networks.load_networks(NAME)
    assert (G, D, Gs.name, fetched) == (None, None, "Gs", [URL])


def test_the_session_is_made(folder, monkeypatch, capsys):
    """By the example of the page, in a thread, which has no session yet."""
    page = (ROOT / "docs/official-scripts.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(import numpy as np\nimport pretrained.*?)```", page, re.DOTALL)[
        1
    ]
    monkeypatch.chdir(folder)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(exec, code, {}).result()
    assert capsys.readouterr().out.splitlines() == ["(4, 4, 4)"]
    assert (folder / "fakes.png").exists() and tf.get_default_session() is None
