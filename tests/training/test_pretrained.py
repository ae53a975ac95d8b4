"""Names of published networks, and snapshots by URL."""

from __future__ import annotations

import functools
import http.server
import threading
from unittest.mock import Mock

import numpy as np
import pytest

from dnnlib import UserError, downloads, tflib
from dnnlib.tflib import Network
from training.snapshots import description, pickles, pretrained
from training.snapshots.transfer import read_weights

CDN = "https://nvlabs-fi-cdn.nvidia.com/"


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ("stylegan2-ffhq-config-f", "stylegan2/networks/stylegan2-ffhq-config-f.pkl"),
        ("stylegan2-car-config-a.pkl", "stylegan2/networks/stylegan2-car-config-a.pkl"),
        ("gdrive:networks/stylegan2-church-config-f.pkl",
         "stylegan2/networks/stylegan2-church-config-f.pkl"),
        ("gdrive:networks/table2/stylegan2-car-config-e-Gskip-Dresnet.pkl",
         "stylegan2/networks/table2/stylegan2-car-config-e-Gskip-Dresnet.pkl"),
        ("stylegan2-ffhq-config-e-Gorig-Dskip",
         "stylegan2/networks/table2/stylegan2-ffhq-config-e-Gorig-Dskip.pkl"),
        ("stylegan2-ada/pretrained/metfaces.pkl", "stylegan2-ada/pretrained/metfaces.pkl"),
        ("afhqdog", "stylegan2-ada/pretrained/afhqdog.pkl"),
        ("ffhq.pkl", "stylegan2-ada/pretrained/ffhq.pkl"),
        ("ffhq256", "stylegan2-ada/pretrained/transfer-learning-source-nets/"
                    "ffhq-res256-mirror-paper256-noaug.pkl"),
        *((path, path) for path in (
            "stylegan2/networks/some.pkl",
            "stylegan2/networks/table2/some.pkl",
            "stylegan2-ada/pretrained/some.pkl",
            "stylegan2-ada/pretrained/paper-fig7c-training-set-sweeps/some.pkl",
            "stylegan2-ada/pretrained/paper-fig8a-comparison-methods/some.pkl",
            "stylegan2-ada/pretrained/paper-fig8b-discriminator-capacity/some.pkl",
            "stylegan2-ada/pretrained/paper-fig11a-small-datasets/some.pkl",
            "stylegan2-ada/pretrained/paper-fig11b-cifar10/deeper/some.pkl",
            "stylegan2-ada/pretrained/transfer-learning-source-nets/some.pkl",
        )),
    ],
)  # fmt: skip
def test_names(spec, url):
    assert pretrained.url_of(spec) == CDN + url


def test_what_is_no_name():
    assert pretrained.url_of("https://example.com/G.pkl") == "https://example.com/G.pkl"
    for path in (
        "network-final.pkl",
        "results/ffhq/x.pkl",
        "stylegan2-cat-config-b",
        "",
        "./stylegan2/networks/some.pkl",
        "stylegan2-ada/pretrained/paper-fig11b-cifar10/some.npz",
        "stylegan2-ada/license.pkl",
    ):
        assert pretrained.url_of(path) is None
        assert pretrained.local_path(path) == path
    with pytest.raises(UserError, match=r"did you mean .*stylegan2-ffhq-config-f"):
        pretrained.url_of("gdrive:networks/stylegan2-ffhq-config-g.pkl")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("stylegan2-ada/pretrained/paper-fig11b-cifar/some.pkl",
         "no folder paper-fig11b-cifar .*did you mean .*pretrained/paper-fig11b-cifar10/"),
        ("stylegan2-ada/pretrained/transfer-learning/some.pkl", "mean .*learning-source-nets/"),
        ("stylegan2/networks/table1/some.pkl", "did you mean stylegan2/networks/table2/"),
        ("stylegan2-ada/pretrained/mine/some.pkl", "use paper-fig7c-training-set-sweeps, "),
    ],
)  # fmt: skip
def test_mistyped_folders(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        pickles.load(spec)


def test_the_list():
    names = pretrained.names()
    assert len(names) == 18 + 18 + 7 + 5
    assert len(set(names.values())) == len(names)


def test_files_come_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "fetch", lambda url: "downloaded")
    (tmp_path / "metfaces").mkdir()  # A folder is no snapshot.
    assert pretrained.local_path("metfaces") == "downloaded"
    (tmp_path / "afhqcat").write_bytes(b"")
    assert pretrained.local_path("afhqcat") == "afhqcat"
    for folder in ("mine", "paper-fig11b-cifar10"):
        path = tmp_path / "stylegan2-ada/pretrained" / folder / "G.pkl"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        spec = str(path.relative_to(tmp_path))
        assert pretrained.local_path(spec) == spec


def test_the_licence_is_shown_at_first_use(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr(downloads, "cached", seen.get)
    monkeypatch.setattr(downloads, "fetch", lambda url: seen.setdefault(url, "file"))
    for spec, licence in (
        ("cifar10", "stylegan2-ada/license"),
        ("stylegan2-cat-config-f", "stylegan2/license"),
        ("stylegan2-ada/pretrained/paper-fig11a-small-datasets/some.pkl", "stylegan2-ada/license"),
        (f"{CDN}stylegan2-ada/pretrained/paper-fig11b-cifar10/a.pkl", "stylegan2-ada/license"),
        (f"{CDN}stylegan2/networks/table2/some.pkl", "stylegan2/license"),
        (f"{CDN}stylegan2/networks/b.pkl".replace("nvidia", "NVIDIA"), "stylegan2/license"),
    ):
        for count in (1, 0):
            assert pretrained.local_path(spec) == "file"
            note = capsys.readouterr().err
            assert note.count("non-commercial use only") == note.count(licence) == count
    assert pretrained.local_path("https://example.com/G.pkl") == "file"
    assert capsys.readouterr().err == ""


def test_a_misspelt_name_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"No such file.*did you mean .*stylegan2-horse-config-f"):
        pickles.load("stylegan2-horse-conf-f.pkl")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """(folder that a server shows, its URL)"""
    # The folder of downloads only: native operations would be compiled anew in another.
    monkeypatch.setattr(downloads, "cache_folder", lambda: str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_snapshot_by_url(served, session):
    folder, url = served
    options = {"latent_size": 8, "dlatent_size": 8, "mapping_layers": 1}
    G = Network("G", "training.networks_stylegan2.G_main", resolution=4, fmap_max=4, **options)
    pickles.save(G, str(folder / "G.pkl"))
    loaded = pickles.load_generator(f"{url}/G.pkl")
    z = np.zeros((1, 8))
    np.testing.assert_array_equal(
        loaded.run(z, None, randomize_noise=False), G.run(z, None, randomize_noise=False)
    )
    text = description.describe(f"{url}/G.pkl")
    assert f"URL        {url}/G.pkl" in text
    assert "cache" in text
    with pytest.raises(UserError, match="answered 404"):
        pickles.load(f"{url}/none.pkl")
    (folder / "page.pkl").write_bytes(b"<html>Sign in</html>")
    with pytest.raises(UserError, match="HTML page"):
        pickles.load(f"{url}/page.pkl")


def test_messages_of_a_snapshot_by_url_hold_no_secret(served, session, monkeypatch):
    folder, url = served
    D = Network("D", "training.networks.D_main", resolution=4, fmap_max=4)
    pickles.save(D, str(folder / "D.pkl"))
    url = f"{url}/D.pkl?token=secret".replace("//", "//user:secret@")
    for load in (pickles.load_generator, read_weights):
        with pytest.raises(UserError, match=r"^http://127.0.0.1:\d+/D.pkl holds ") as error:
            load(url)
        assert "secret" not in str(error.value)
    monkeypatch.setattr(pickles, "_MAX_BYTES", 9)
    with pytest.raises(UserError, match=r"snapshot http://127.0.0.1:\d+/D.pkl has "):
        pickles.read(url)
    monkeypatch.setattr(pickles, "open_regular", Mock(side_effect=OSError(5, "broken disk")))
    with pytest.raises(UserError, match=r"snapshot http://127.0.0.1:\d+/D.pkl: broken disk"):
        pickles.read(url)


def test_a_name_where_a_path_is_expected(served, session, monkeypatch):
    folder, url = served
    D = Network("D", "training.networks.D_main", resolution=4, fmap_max=4)
    (folder / "stylegan2-ada/pretrained").mkdir(parents=True)
    pickles.save(D, str(folder / "stylegan2-ada/pretrained/brecahad.pkl"))
    monkeypatch.setattr(pretrained, "BASE", url + "/")
    loaded = pickles.load("brecahad")
    for name, value in tflib.run(D.vars).items():
        np.testing.assert_array_equal(loaded.get_var(name), value)
