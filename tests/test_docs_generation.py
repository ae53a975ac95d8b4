"""docs/generation.md: its server, used by several clients at once, and its way to fork."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = """
import os, sys
import numpy as np
from dnnlib import tflib
from training import snapshots

Gs = snapshots.load_generator(sys.argv[1])
for _ in range(2):
    if os.fork() == 0:
        tflib.init_tf()
        print(Gs.run(np.zeros([1, 4]), np.eye(3)[:1], randomize_noise=False).shape, flush=True)
        os._exit(0)
print([os.wait()[1] for _ in range(2)])
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    from dnnlib import tflib
    from dnnlib.tflib import Network
    from training.snapshots import class_names, pickles

    path = str(tmp_path_factory.mktemp("network") / "network.pkl")
    options = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1}
    options |= {"resolution": 8, "fmap_base": 32, "fmap_max": 4, "label_size": 3}
    with tflib.graph_session(seed=1):
        Gs = Network("Gs", "training.networks_stylegan2.G_main", **options)
        class_names.set_label_names(Gs, ["hat", "shoes", "bag"])
        pickles.save(Gs, path)
    return path


def test_the_server(network, run_script):
    text = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")
    server = re.search(r"```python\n(import io\n.*?)```", text, re.DOTALL)[1]
    command = [sys.executable, "-c", server, network, "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = process.stdout.readline().split("?")[0]

        def get(query):
            return requests.get(url + query, timeout=60)

        queries = [
            f"?seed={i % 3}&psi={i % 4 / 3}&class={c}" for i in range(12) for c in (0, "bag")
        ]
        with ThreadPoolExecutor(6) as pool:
            at_once = list(pool.map(get, queries))
        for query, reply in zip(queries, at_once, strict=True):
            assert reply.status_code == 200 and reply.content == get(query).content
        assert len({reply.content for reply in at_once}) > 12
        assert np.asarray(Image.open(io.BytesIO(at_once[0].content))).shape == (8, 8, 3)
        reply = get("?class=bags")
        assert reply.status_code == 400 and "did you mean 'bag'" in reply.text
    finally:
        process.kill()
        process.wait()


def test_a_network_that_was_read_before_a_fork(network, run_script):
    result = run_script(["-c", PRELOADED, network], timeout=120)
    assert result.stdout.splitlines() == ["(1, 3, 8, 8)"] * 2 + ["[0, 0]"], result.stderr
