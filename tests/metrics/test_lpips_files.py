"""LPIPS and VGG16 from the files of their authors, which PyTorch wrote."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import standins
import tensorflow.compat.v1 as tf
import torch_files

import projector
from dnnlib import UserError, downloads, tflib
from dnnlib.retries import Backoff
from dnnlib.tflib import Network
from metrics import projection_distance
from metrics.feature_networks import FeatureNetworkMissing, FeatureSources, vgg16
from metrics.feature_networks.sources import ROLES

# BSD-2, see the licence beside it.
HEADS = Path(__file__).parents[1] / "data/torch/lpips-0.1.4-vgg.pth"
SCALE = 32
WIDTHS = (64, 128, 256, 512, 512)
# Where convolutions stand among torchvision's layers, in which ReLU and pooling count.
NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def torchvision(weights):
    """Weights by `.npz` keys as torchvision names and turns them."""
    layers = [*zip(vgg16.CONVOLUTIONS, [f"features.{n}" for n in NUMBERS], strict=True)]
    layers += [("fc1", "classifier.0"), ("fc2", "classifier.3")]
    result = {}
    for ours, theirs in layers:
        if f"{ours}/kernel" not in weights:
            continue
        kernel = weights[f"{ours}/kernel"]
        if ours == "fc1":  # [h·w·c, out] to [out, c·h·w]
            kernel = kernel.reshape(7, 7, -1, kernel.shape[1]).transpose(2, 0, 1, 3)
            kernel = kernel.reshape(-1, kernel.shape[3])
        result[f"{theirs}.weight"] = np.transpose(
            kernel, (3, 2, 0, 1) if kernel.ndim == 4 else None
        )
        result[f"{theirs}.bias"] = weights[f"{ours}/bias"]
    return result


def save(path, arrays, write=torch_files.archive):
    path.write_bytes(write(*torch_files.state_dict(arrays)))
    return str(path)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """Files of a VGG16 with few channels, and of heads that fit it."""
    folder = tmp_path_factory.mktemp("narrow")
    rng = np.random.default_rng(0)
    weights = standins.vgg16_weights(rng, SCALE)
    heads = {
        f"lin{i}.model.1.weight": rng.uniform(0.2, 1, [1, c // SCALE, 1, 1])
        for i, c in enumerate(WIDTHS)
    }
    vgg = save(folder / "vgg16-397923af.pth", torchvision(weights), torch_files.row)
    return weights, {"lpips": save(folder / "vgg.pth", heads), "vgg16": vgg}


@pytest.fixture
def Gs(session):
    options = {"latent_size": 8, "mapping_fmaps": 8, "mapping_layers": 1, "dlatent_size": 8}
    options |= {"resolution": 16, "num_channels": 1, "fmap_base": 32, "fmap_max": 4}
    return Network("Gs", "training.networks_stylegan2.G_main", **options)


def lpips_by_hand(a, b, weights, heads):
    """The sum over five layers, from the facts of the paper and of its authors' package."""

    def taps(images):
        x = images.transpose(0, 2, 3, 1).astype(np.float64) / 127.5 - 1
        x = (x - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        found, last = [], 1
        for name in vgg16.CONVOLUTIONS:
            if int(name[5]) > last:
                found.append(x)
                x, last = standins.pool(x, 2, np.max), int(name[5])
            x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
            x = standins.conv2d(x, weights[f"{name}/kernel"].astype(np.float64))
            x = np.maximum(x + weights[f"{name}/bias"], 0)
        return [*found, x]

    total = 0
    for i, (x, y) in enumerate(zip(taps(a), taps(b), strict=True)):
        x, y = (v / np.sqrt(np.square(v).sum(axis=3, keepdims=True) + 1e-20) for v in (x, y))
        total += (np.square(x - y) * heads[i]).sum(axis=3).mean(axis=(1, 2))
    return total


def test_lpips_of_the_real_heads_equals_sums_by_hand(tmp_path):
    """The authors' heads; a VGG16 of full width with random weights, whose file has 538 MB else."""
    rng = np.random.default_rng(1)
    weights = standins.vgg16_weights(rng, 1, dense=False)
    files = {"lpips": str(HEADS), "vgg16": save(tmp_path / "vgg.pth", torchvision(weights))}
    network = FeatureSources(files).get("lpips")
    a, b = rng.uniform(0, 255, [2, 2, 3, 32, 16]).astype("f4")
    with tflib.graph_session():
        pair = [tf.placeholder(tf.float32, [None, 3, 32, 16]) for _ in range(2)]
        distance = network.distance(*pair)
        found = tflib.run(distance, dict(zip(pair, (a, b), strict=True)))
        same = tflib.run(distance, dict(zip(pair, (a, a), strict=True)))
    heads, rest = {}, HEADS.read_bytes()
    for i, count in reversed([(4, 512), (3, 512), (1, 128), (0, 64), (2, 256)]):  # As they lie.
        heads[i] = np.frombuffer(rest[-4 * count :], "<f4").astype(np.float64)
        rest = rest[: -4 * count - 8]
    expected = lpips_by_hand(a, b, weights, heads)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(same, 0, atol=1e-9)


def test_weights_are_turned_as_ours_are(narrow, tmp_path):
    weights, files = narrow
    layers = (*vgg16.CONVOLUTIONS, *vgg16.DENSE)
    found = vgg16.read_weights(files["vgg16"], layers)
    for layer in layers:
        np.testing.assert_array_equal(found[layer][0], weights[f"{layer}/kernel"])
        np.testing.assert_array_equal(found[layer][1], weights[f"{layer}/bias"])
    network = FeatureSources(files).get("vgg16")
    with tflib.graph_session():
        x = tf.ones([1, 3, 32, 32]) * np.float32([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1)
        colors = network._colors(tf.transpose(x, [0, 2, 3, 1]))
        features, gray = tflib.run([network.build(x)["features"], colors])
    assert features.shape == (1, 4096 // SCALE)
    np.testing.assert_allclose(gray, 0, atol=1e-6)  # Theirs is the mean of ImageNet.


def test_files_that_were_mixed_up(narrow, tmp_path):
    _, files = narrow
    with pytest.raises(UserError, match=r"lacks lin0, lin1, .* expected heads of LPIPS"):
        FeatureSources({"lpips": files["vgg16"]}).get("lpips")
    with pytest.raises(UserError, match="no weights of VGG16's layer block1_conv1"):
        FeatureSources({**files, "vgg16": files["lpips"]}).get("lpips")
    with pytest.raises(UserError, match="lin0 has 64 numbers, VGG16 2 channels"):
        FeatureSources({**files, "lpips": str(HEADS)}).get("lpips")
    with pytest.raises(UserError, match=r"--feature-net=lpips=.*/x\.pth: there is no such file"):
        FeatureSources({"lpips": f"{tmp_path}/x.pth"}).get("lpips")


def put_in_cache(role, path):
    """As if it had been downloaded."""
    content, entry = Path(path).read_bytes(), downloads._entry(ROLES[role].url, None)
    Path(entry.path).write_bytes(content)
    record = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    Path(entry.record).write_text(json.dumps(record))


def test_auto_takes_lpips_where_its_files_are_in_the_cache(Gs, narrow, monkeypatch, capsys):
    _, files = narrow

    def chosen(given=()):
        sources = FeatureSources(dict(given))
        return type(projection_distance.choose("auto", Gs, None, sources)).__name__

    def refuse(*_args, **_kwargs):
        raise AssertionError("it downloads")

    monkeypatch.setattr(downloads, "_download", refuse)
    assert chosen() == "function" and "LPIPS is not at hand" in capsys.readouterr().err
    put_in_cache("lpips", HEADS)
    assert chosen() == "function"
    put_in_cache("vgg16_torchvision", files["vgg16"])
    assert chosen() == "function"
    assert "has the SHA-256" in (error := capsys.readouterr().err) and "expected 397923af" in error
    for role in ("lpips", "vgg16_torchvision"):
        monkeypatch.setitem(ROLES, role, dataclasses.replace(ROLES[role], sha256=None))
    put_in_cache("lpips", files["lpips"])
    assert chosen() == "_Lpips"
    assert chosen({"vgg16": files["vgg16"]}) == "_Lpips"
    proj = projector.Projector(num_steps=1)
    proj.dlatent_avg_samples = 10
    proj.set_network(Gs)  # The official class does so too.
    assert np.isfinite(proj.run(np.zeros([1, 1, 16, 16])).images).all()
    assert "pixels" not in capsys.readouterr().err


def test_lpips_that_is_asked_for_is_downloaded(Gs, monkeypatch):
    """From where it is published; what to do without network is said."""
    asked = []

    def refuse(url, *_args):
        asked.append(url)
        raise UserError("there is no network")

    monkeypatch.setattr(downloads, "_download", refuse)
    monkeypatch.setattr(downloads, "_BACKOFF", Backoff(1))
    with pytest.raises(FeatureNetworkMissing, match="give --feature-net=lpips=FILE"):
        projection_distance.choose("lpips", Gs, None, FeatureSources())
    with pytest.raises(FeatureNetworkMissing, match="give --feature-net=vgg16_torchvision=FILE"):
        FeatureSources({"lpips": str(HEADS)}).get("lpips")
    assert [url.rpartition("/")[2] for url in asked] == ["vgg.pth", "vgg16-397923af.pth"]
