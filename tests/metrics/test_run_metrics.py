"""`run_metrics.py` as a user runs it, and distances of real photos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import http_server
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image, ImageFilter

from dnnlib import UserError, tflib
from metrics.feature_networks.inception import Inception
from metrics.feature_networks.own_graph import OwnNetwork
from metrics.frechet_inception_distance import fid_of_moments, streaming_moments
from metrics.measure import measure
from metrics.metric_base import MetricGroup


@pytest.fixture(scope="module")
def run_dir(workplace, tmp_path_factory):
    """A run directory with two snapshots and the options of its training."""
    folder = tmp_path_factory.mktemp("runs") / "00000-run"
    folder.mkdir()
    shutil.copy(workplace.conditional, folder / "network-snapshot-000010.pkl")
    shutil.copy(workplace.conditional, folder / "network-snapshot-000002.pkl")
    shutil.copy(workplace.conditional, folder / "network-final.pkl")
    options = {"dataset_args": {"tfrecord_dir": workplace.dataset}, "mirror_augment": True}
    (folder / "training_options.json").write_text(json.dumps(options))
    return folder


@pytest.fixture(scope="module")
def own_network(tmp_path_factory):
    """A frozen graph of 24 features: three layers of random convolutions."""
    path = tmp_path_factory.mktemp("own") / "fashion.pb"
    rng = np.random.default_rng(0)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, None, None, 3]) / 128 - 1
        for inputs, outputs in ((3, 12), (12, 24), (24, 24)):
            kernel = rng.standard_normal([3, 3, inputs, outputs]) / np.sqrt(4.5 * inputs)
            x = tf.nn.relu(tf.nn.conv2d(x, kernel.astype("f4"), strides=2, padding="VALID"))
        tf.reduce_mean(x, axis=[1, 2])
        path.write_bytes(tf.get_default_graph().as_graph_def().SerializeToString())
    return str(path)


def test_every_snapshot_of_a_run_is_measured(run_dir, own_network, run_script, tmp_path):
    result = run_script(
        [
            "run_metrics.py",
            f"--network={run_dir}",
            "--metrics=fid1k",
            "--seed=3",
            "--repeats=2",
            f"--feature-net={own_network}",
            f"--result-dir={tmp_path}",
        ]
    )
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "00000-run-metrics"
    assert f"Wrote {folder}" in result.stdout
    name = f"frechet-fashion-{OwnNetwork(own_network).sha256[:8]}-1k"
    lines = (folder / f"metric-{name}.txt").read_text().splitlines()
    assert [line.split()[0][-6:] for line in lines] == ["000002", "000010"]
    assert all(f" {name} " in line and line.endswith("repeats 2") for line in lines)
    assert "fid" not in result.stdout.replace("fid1k", "")  # It is none.
    rows = [json.loads(line) for line in (folder / f"metric-{name}.jsonl").open()]
    assert [row["kimg"] for row in rows] == [2, 10] and rows[0]["deviations"][""] > 0
    assert rows[0]["results"] == rows[1]["results"]  # One seed, and the same weights.
    assert Image.open(folder / f"metric-{name}.png").size[0] > 100
    assert "mirrored: true" in (folder / "log.txt").read_text()
    page = (folder / "report.html").read_text()
    assert f'<th scope="row">{name}</th>' in page and "<svg" in page


def test_secrets_of_an_url_are_not_kept(workplace, monkeypatch, tmp_path, capsys):
    """Nor looked for on disk, where a signed URL would be too long a name."""
    names = []
    monkeypatch.setattr(MetricGroup, "_run_all", lambda *args: names.append(args[3]))
    content = Path(workplace.conditional).read_bytes()
    with http_server.Server() as server:
        server.routes["/G.pkl"] = content
        for query in ("token=s3cret.b", "path=a/s3cret", f"long={'s3cret' * 100}/b"):
            url = f"{server.url}/G.pkl?{query}".replace("//", "//user:s3cret@")
            folder = measure(url, ["fid1k"], str(tmp_path / "results"), workplace.dataset)
    assert names == ["G"] * 3 and len(server.paths) == 3
    assert "s3cret" not in "".join([*capsys.readouterr(), *map(str, tmp_path.rglob("*"))])
    assert "s3cret" not in Path(folder, "log.txt").read_text()


def test_what_was_trained_on_is_known_beside_other_data(workplace, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(MetricGroup, "_run_all", lambda *args: seen.append(args[4]))

    def options_of(folder, **given):
        path = shutil.copy(workplace.conditional, tmp_path)
        measure(path, ["copies"], str(tmp_path / "results"), str(tmp_path / folder), **given)
        return seen.pop()

    assert options_of("x/shop").trained_args is None  # It is all that says what was trained on.
    assert options_of("more", is_other=True).trained_args == {}
    trained = {"tfrecord_dir": workplace.dataset, "validation": 10}
    file = tmp_path / "training_options.json"
    file.write_text(json.dumps({"dataset_args": trained}))
    for is_other in (True, False):
        options = options_of("more", is_other=is_other)
        assert options.trained_args == trained
        assert options.dataset_args == {"tfrecord_dir": str(tmp_path / "more")}
    file.write_text(json.dumps({"dataset_args": {**trained, "tfrecord_dir": "/gone/shop"}}))
    moved = {"tfrecord_dir": str(tmp_path / "x/shop"), "validation": 10}
    assert options_of("x/shop").trained_args == moved
    assert options_of("x/shop", is_other=True).trained_args == moved
    assert options_of("more").trained_args["tfrecord_dir"] == str(tmp_path / "more")
    assert options_of("more", is_other=True).trained_args["tfrecord_dir"] == "/gone/shop"


def test_wrong_input_gives_one_line(run_dir, run_script, tmp_path):
    def fails(*args):
        result = run_script(["run_metrics.py", f"--result-dir={tmp_path}", *args])
        assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
        return result.stderr

    assert "no metric 'fid'" in fails("--network=x", "--metrics=fid50k,fid")
    assert "--network is missing" in fails()
    assert "page: --network names a run directory" in fails("page", "--network=x")
    assert "no role 'x'" in fails("--network=x", "--feature-net=x=y")
    message = fails(f"--network={run_dir}", "--metrics=ls")
    assert "no ls: no feature network" in message and "give --feature-net=" in message


def test_without_data_or_snapshots_nothing_is_written(workplace, tmp_path):
    with pytest.raises(UserError, match="--dataset is missing"):
        measure(workplace.snapshot, ["fid50k"], str(tmp_path / "results"))
    with pytest.raises(UserError, match=r"holds no network-snapshot-\*\.pkl"):
        measure(str(tmp_path), ["fid50k"], str(tmp_path / "results"), workplace.dataset)
    assert list(tmp_path.glob("results/*")) == []


# Distances of real photos


@pytest.fixture(scope="module")
def photos(clothing):
    """60 photos of each of two kinds, 64×64."""
    kinds = []
    for kind in ("dress", "shoes"):
        paths = sorted((clothing / kind).glob("*.jpg"))[:60]
        kinds.append([Image.open(p).convert("RGB").resize((64, 64)) for p in paths])
    return kinds


@pytest.mark.parametrize("network", ["own", "inception"])
def test_distances_of_photos_are_in_the_expected_order(workplace, photos, own_network, network):
    features = OwnNetwork(own_network) if network == "own" else Inception(workplace.inception)
    mixed = [photo for kind in photos for photo in kind]
    recoloured = [
        Image.merge("RGB", (p.split()[0].point(lambda v: 255 - v), *p.split()[1:])) for p in mixed
    ]
    sets = {
        "all": mixed,
        "half": mixed[0::2],
        "other half": mixed[1::2],
        "mirrored": [p.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for p in mixed],
        "little blurred": [p.filter(ImageFilter.GaussianBlur(1)) for p in mixed],
        "blurred": [p.filter(ImageFilter.GaussianBlur(4)) for p in mixed],
        "recoloured": recoloured,
    }
    with tflib.graph_session():
        x = tf.placeholder(tf.float32, [None, 3, 64, 64])
        output = features.build(x)["features"]
        moments = {}
        for name, pictures in sets.items():
            images = np.stack([np.asarray(p).transpose(2, 0, 1) for p in pictures])
            moments[name] = streaming_moments([tflib.run(output, {x: images})])
    fid = {name: fid_of_moments(moments["all"], m) for name, m in moments.items()}
    assert abs(fid["all"]) < 1e-3 * fid["half"] or fid["all"] < 1e-3
    assert fid["mirrored"] < fid["little blurred"] < fid["blurred"]
    assert fid["mirrored"] < fid["recoloured"]
    halves = fid_of_moments(moments["half"], moments["other half"])
    assert fid["all"] < fid["half"] < halves < fid["recoloured"]
