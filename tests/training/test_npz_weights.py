"""Snapshots as weights only: what does not fit is refused."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pytest
import snapshot_writers as others

from dnnlib import UserError, tflib
from training.snapshots import npz_weights, pickles


def test_one_network_as_weights(session, tmp_path):
    npz_weights.save(pickles.load(others.one(tmp_path / "D.pkl")), str(tmp_path / "D.npz"))
    assert pickles.load(str(tmp_path / "D.npz")).build_func_name == "D_stylegan2"


def test_half_precision(session, tmp_path):
    path = others.one(tmp_path / "D.pkl")
    D = pickles.load(path)
    assert D.vars  # Built.
    small = str(tmp_path / "half.npz")
    networks = (pickles.load(path), D, pickles.load(path))  # Stand for G, D and Gs.
    npz_weights.save(networks, small, half=True)
    with np.load(small) as file:
        assert {a.dtype for name, a in file.items() if name != "meta"} == {np.dtype(np.float16)}
    G, read, Gs = pickles.load(small)
    assert G is None and Gs is not None
    for name, value in tflib.run(D.vars).items():
        half = np.asarray(value).astype(np.float16).astype(value.dtype)
        np.testing.assert_array_equal(read.get_var(name), half)
    D.set_var("Output/bias", [7e4])
    with pytest.raises(UserError, match=r"D/Output/bias .* too large for float16"):
        npz_weights.save(networks, small, half=True)


def test_weights_files_that_do_not_fit(session, tmp_path):
    good = tmp_path / "D.npz"
    npz_weights.save(pickles.load(others.one(tmp_path / "D.pkl")), str(good))
    with np.load(good) as file:
        arrays = dict(file)
    bad = tmp_path / "bad.npz"

    def refused(message, **changes):
        np.savez(bad, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
        with pytest.raises(UserError, match=message):
            pickles.load(str(bad))

    refused("lacks network/Output/bias", **{"network/Output/bias": None})
    refused("description lacks network/extra", **{"network/extra": np.zeros(2)})
    refused("not one with networks", meta=None)
    refused("array network/Output/bias", **{"network/Output/bias": np.array(["a"], "S")})
    np.savez_compressed(bad, **arrays)
    with pytest.raises(UserError, match="compressed"):
        pickles.load(str(bad))
    content = good.read_bytes()
    for length in range(100, len(content) - 1, 311):
        bad.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"bad\.npz"):
            pickles.load(str(bad))
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }          \n"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(UserError, match="has 0 bytes of data"):
        pickles.load(str(bad))
