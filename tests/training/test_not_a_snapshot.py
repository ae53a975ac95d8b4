"""Files that are no snapshots are called what they are, and parts of snapshots are used."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import struct

import numpy as np
import pytest
from archives import tarred, zipped

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.snapshots import conversion, description, pickles, transfer
from training.snapshots.roles import by_role

SMALL = {"resolution": 4, "latent_size": 8, "dlatent_size": 8, "mapping_layers": 1, "fmap_max": 4}


def members(*names):
    return dict.fromkeys(names, b"x")


def safetensors():
    header = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + bytes(4)


TORCH_OLD = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
PYTORCH_BROKEN = b"\x80\x03}(X\x01\x00\x00\x00Gctorch_utils.persistence\n_reconstruct\n"
PYTORCH_OTHER = b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00}\x8c\x05G_ema\x8c\x0ctorch._utils"
FILES = {
    "": "empty",
    "rosinality.pt": "PyTorch",
    "old.pt": "PyTorch",
    "broken.pkl": "PyTorch snapshot .*_reconstruct, which has no place",
    "other.pkl": "PyTorch pickle without the networks of an official repository",
    "x.pkl.gz": "gzip",
    "x.pkl.bz2": "bzip2",
    "x.pkl.xz": "xz",
    "x.tar": "a tar file",
    "x.zip": "zip file with network.pkl",
    "x.safetensors": "safetensors",
    "x.h5": "HDF5",
    "x.keras": "Keras",
    "model.ckpt.index": "TensorFlow checkpoint",
    "checkpoint": "TensorFlow checkpoint",
    "lfs.pkl": "git-lfs",
    "page.pkl": "HTML",
    "answer.pkl": "JSON",
    "quota.pkl": "text that begins with 'Google Drive",
    "photo.png": "PNG picture",
}


def content(name):
    return {
        "": b"",
        "rosinality.pt": zipped(
            **dict.fromkeys(["archive/data.pkl", "archive/version", "archive/data/0"], b"x")
        ),
        "old.pt": TORCH_OLD,
        "broken.pkl": PYTORCH_BROKEN,
        "other.pkl": PYTORCH_OTHER,
        "x.pkl.gz": gzip.compress(b"x"),
        "x.pkl.bz2": bz2.compress(b"x"),
        "x.pkl.xz": lzma.compress(b"x"),
        "x.tar": tarred("network.pkl"),
        "x.zip": zipped(**members("network.pkl")),
        "x.safetensors": safetensors(),
        "x.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "x.keras": zipped(
            **dict.fromkeys(["metadata.json", "config.json", "model.weights.h5"], b"x")
        ),
        "model.ckpt.index": bytes(60) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
        "checkpoint": b'model_checkpoint_path: "model.ckpt-1000"\n',
        "lfs.pkl": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "page.pkl": b"\xef\xbb\xbf <!DOCTYPE html><html>Sign in</html>",
        "answer.pkl": b'{"error": {"code": 403}}',
        "quota.pkl": b"Google Drive - Quota exceeded\nToo many users have viewed this file.\n",
        "photo.png": b"\x89PNG\r\n\x1a\n" + bytes(50),
    }[name]


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_called_what_they_are(tmp_path, name):
    path = tmp_path / "given.pkl"
    path.write_bytes(content(name))
    with pytest.raises(UserError, match=FILES[name]) as error:
        pickles.load(str(path))
    assert str(path) in str(error.value) and len(str(error.value)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pkl")
    for path in (str(tmp_path / "pipe.pkl"), "/dev/zero"):
        with pytest.raises(UserError, match="not a regular file"):
            pickles.load(path)


@pytest.fixture
def networks(session):
    G = Network("G", "training.networks_stylegan2.G_main", **SMALL)
    D = Network("D", "training.networks_stylegan2.D_stylegan2", resolution=4, fmap_max=4)
    Gs = G.clone("Gs")
    tflib.set_vars({Gs.vars["dlatent_avg"]: np.full(8, 3.0)})
    return G, D, Gs


def test_parts_of_snapshots(tmp_path, networks, capsys):
    G, D, Gs = networks
    path = str(tmp_path / "part.pkl")

    def roles(value):
        with open(path, "wb") as file:
            pickle.dump(value, file)
        return [n for n in ("G", "D", "Gs") if n in by_role(pickles.load(path))]

    assert roles({"G": G, "D": D, "Gs": Gs, "kimg": 5}) == ["G", "D", "Gs"]
    assert roles({"G_ema": Gs, "D": D}) == ["D", "Gs"] == roles((D, Gs)) == roles((None, D, Gs))
    assert roles((G, Gs)) == ["G", "Gs"] and roles([G, D, Gs]) == ["G", "D", "Gs"]
    assert pickles.load_generator(path).get_state(4)["name"] == "Gs"
    assert "NOTE" not in capsys.readouterr().err
    assert roles((G, D)) == ["G", "D"]
    assert pickles.load_generator(path).get_state(4)["name"] == "G"
    assert "has no Gs" in capsys.readouterr().err
    weights = transfer.read_weights(path)
    assert list(weights) == ["G", "D", "Gs"]
    assert "Lacks      Gs" in description.describe(path)
    conversion.convert(path, str(tmp_path / "part.npz"), "npz")
    assert list(by_role(pickles.load(str(tmp_path / "part.npz")))) == ["G", "D"]
    assert roles((None, D, None)) == ["D"]
    for use in (pickles.load_generator, transfer.read_weights):
        with pytest.raises(UserError, match="generator"):
            use(path)
    for other in ({"G": 1, "kimg": 5}, (None,) * 3, (G, 5), (G, D, 5), (np.zeros(2),) * 3):
        with pytest.raises(UserError, match=r"it holds a (dict of G, kimg|tuple of)"):
            roles(other)


def test_values_that_are_not_finite_are_refused_where_they_are_used(tmp_path, networks):
    G, D, Gs = networks
    tflib.set_vars({D.vars["Output/bias"]: np.float32([np.nan])})
    path = str(tmp_path / "bad.pkl")
    pickles.save((G, D, Gs), path)
    pickles.load_generator(path).run(np.zeros((1, 8)), None)
    for use in (description.describe, transfer.read_weights):
        with pytest.raises(UserError, match=r"network D has values that are not finite .* in Out"):
            use(path)
