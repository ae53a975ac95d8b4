"""Scripts in the manner of those that people wrote for the official code run unchanged.

Each runs with `tensorflow.compat.v1` imported by itself, and by `python -m dnnlib.run_script` with
plain `import tensorflow as tf`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnnlib import downloads, tflib
from dnnlib.tflib import Network
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.snapshots import pickles, pretrained

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "official_scripts"
GDRIVE = "gdrive:networks/stylegan2-cat-config-f.pkl"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """A small network of 16x16 pixels with noise."""
    path = tmp_path_factory.mktemp("network") / "network.pkl"
    shape = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 16}
    latents = {"latent_size": 16, "dlatent_size": 16, "mapping_fmaps": 16, "mapping_layers": 2}
    with tflib.graph_session(3):
        G = Network("G", func_name="training.networks_stylegan2.G_main", **shape, **latents)
        D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **shape)
        for name in G.vars:
            if name.endswith("noise_strength"):
                G.set_var(name, 0.3)
        pickles.save((G, D, G.clone("Gs")), str(path))
    return path


@pytest.fixture(params=["compat.v1", "runner"])
def run_official(request, tmp_path, run_script, cache):
    """Runs a script of tests/official_scripts in an empty folder, in one of the two ways."""

    def run(name, *args):
        script = tmp_path / name
        text = (SCRIPTS / name).read_text(encoding="utf-8")
        assert text.count("import tensorflow as tf") == 1
        if request.param == "compat.v1":
            text = text.replace("import tensorflow as tf", "import tensorflow.compat.v1 as tf")
        script.write_text(text, encoding="utf-8")
        runner = [] if request.param == "compat.v1" else ["-m", "dnnlib.run_script"]
        done = run_script([*runner, script, *args], cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def fill_cache(url: str, source: Path) -> None:
    """As if `source` had been downloaded from there."""
    entry = downloads._entry(url, None)
    Path(entry.path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, entry.path)
    content = source.read_bytes()
    record = {"url": url, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    Path(entry.record).write_text(json.dumps(record))


def test_pictures_of_a_published_network(run_official, tmp_path, snapshot):
    fill_cache(pretrained.url_of(GDRIVE), snapshot)
    out = run_official("pictures.py", f"--network={GDRIVE}", f"--out={tmp_path / 'out'}")
    assert "mean length of w" in out
    pictures = {p.name: np.array(Image.open(p)) for p in (tmp_path / "out").glob("*.png")}
    assert set(pictures) == {"seed0001.png", "seed0002.png", "mixed.png"}
    assert all(p.std() > 10 for p in pictures.values())
    with Image.open(tmp_path / "out" / "walk.gif") as walk:
        assert walk.n_frames == 5


def test_two_networks_become_one(run_official, tmp_path, snapshot):
    out = run_official("blend.py", snapshot, snapshot, tmp_path / "blended")
    assert "largest value" in out
    side = 3 * Image.open(tmp_path / "blended.png").height // 2
    assert Image.open(tmp_path / "blended.png").width == side


def test_a_picture_is_projected(run_official, tmp_path, snapshot):
    random = np.random.default_rng(0).integers(0, 255, [16, 16, 3], np.uint8)
    Image.fromarray(random).save(tmp_path / "target.png")
    (tmp_path / "out").mkdir()
    out = run_official("project.py", snapshot, tmp_path / "target.png", tmp_path / "out")
    assert "projected with TensorFlow" in out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "target.png",
        "step0006.png",
        "step0012.png",
    }


def test_a_network_and_a_loop_of_ones_own(run_official, tmp_path):
    create_demo(
        Output(str(tmp_path / "data" / "drawn"), shuffle=False, resolution=8), num_images=20
    )
    out = run_official("own_training.py", tmp_path / "data", tmp_path / "results")
    assert "trained in" in out
    [run_dir] = (tmp_path / "results").iterdir()
    assert run_dir.name == "00000-tiny"
    assert "trained in" in (run_dir / "log.txt").read_text()
    assert Image.open(run_dir / "fakes.png").size == (16, 16)
