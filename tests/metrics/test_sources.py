"""Where feature networks come from: files, downloads from a real server, NVIDIA's pickles."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import standins
import tensorflow.compat.v1 as tf

from dnnlib import UserError, downloads, tflib
from dnnlib.retries import Backoff
from metrics.feature_networks import FeatureNetworkMissing, FeatureSources
from metrics.feature_networks.sources import ROLES, find_feature_net, parse_feature_net


@pytest.fixture
def server(workplace, monkeypatch):
    """A server that has the stand-in for Inception; `cut` breaks off half-way."""
    state = SimpleNamespace(content=open(workplace.inception, "rb").read(), cut=False, requests=0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.requests += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(state.content)))
            self.end_headers()
            end = len(state.content) // 2 if state.cut else None
            self.wfile.write(state.content[:end])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_address[1]}/inception-2015-12-05.tgz"
        state.stop = lambda: (running.shutdown(), running.server_close())
        use(monkeypatch, "inception", url=state.url)
        monkeypatch.setattr(
            downloads, "fetch", functools.partial(downloads.fetch, backoff=Backoff(1))
        )
        yield state
        running.shutdown()


def use(monkeypatch, role, **changes):
    monkeypatch.setitem(ROLES, role, dataclasses.replace(ROLES[role], **changes))


def test_a_network_is_downloaded_once_and_its_checksum_is_kept(server, capsys, cache):
    network = FeatureSources().get("inception")
    err = capsys.readouterr().err
    assert f"has the SHA-256 {network.sha256}" in err and "Its publishers do not state it" in err
    again = FeatureSources().get("inception")
    assert again.sha256 == network.sha256 and server.requests == 1
    assert "SHA-256" not in capsys.readouterr().err
    assert server.url in (cache / "feature-networks.json").read_text()


def test_a_file_that_changes_at_its_source_is_noticed(server, cache):
    path = FeatureSources().path("inception")
    open(path, "ab").write(b"changed on disk")
    assert FeatureSources().path("inception") == path  # Fetched anew, and whole.
    assert server.requests == 2
    open(path, "ab").write(b"changed on disk")
    server.content += b"changed at the source"
    with pytest.raises(FeatureNetworkMissing, match="the first download had"):
        FeatureSources().get("inception")


def test_a_published_checksum_is_checked(server, monkeypatch):
    use(monkeypatch, "inception", md5="0" * 32)
    with pytest.raises(FeatureNetworkMissing, match=f"has the MD5 .* state {'0' * 32}"):
        FeatureSources().get("inception")


def test_a_download_that_breaks_off_leaves_nothing_and_can_be_repeated(server, cache):
    server.cut = True
    with pytest.raises(FeatureNetworkMissing, match="--feature-net=inception=FILE"):
        FeatureSources().get("inception")
    assert not [p for p in cache.iterdir() if p.name.endswith(".tgz") or "partial" in p.name]
    server.cut = False
    assert FeatureSources().get("inception").name == "inception"


def test_without_network_the_message_says_which_file_to_give(server):
    server.stop()
    with pytest.raises(FeatureNetworkMissing, match="--feature-net=inception=FILE") as error:
        FeatureSources().path("inception")
    assert server.url in str(error.value)


def test_networks_that_are_not_published_as_data_are_asked_for():
    with pytest.raises(FeatureNetworkMissing, match=r"give --feature-net=\S+=FILE \(Inception's"):
        FeatureSources().get("inception_softmax")
    with pytest.raises(FeatureNetworkMissing, match="give --feature-net=classifiers=FILE"):
        FeatureSources().classifiers(40)


def test_fetch_gets_all_and_reports_each(server, monkeypatch, capsys):
    for role in ("vgg16", "lpips", "vgg16_torchvision"):
        use(monkeypatch, role, url=server.url, md5=None, sha256=None)
    FeatureSources().fetch()
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in out] == list(ROLES)
    assert sum("SHA-256" in line for line in out) == 4
    use(monkeypatch, "vgg16", url=server.url + "x", md5="1")
    with pytest.raises(FeatureNetworkMissing, match="MD5"):
        FeatureSources().fetch()


def test_options_of_the_command_line():
    assert parse_feature_net("vgg16=a=b.h5") == ("vgg16", "a=b.h5")
    assert parse_feature_net("folder/fashion.pb") == ("own", "folder/fashion.pb")
    with pytest.raises(UserError, match="no role 'vgg19'"):
        parse_feature_net("vgg19=x")


SOURCE = """
import tensorflow as tf

def features(images, **_kwargs):
    images.set_shape([None, 3, None, None])
    return tf.reduce_mean(images, axis=[2, 3])

def distance(first, second, **_kwargs):
    first.set_shape([None, 3, None, None])
    second.set_shape([None, 3, None, None])
    return tf.reduce_sum(tf.abs(first - second), axis=[1, 2, 3])
"""


def test_networks_with_code_run_only_where_it_is_allowed(tmp_path):
    paths = {
        "inception": standins.save_pickled_network(tmp_path / "a.pkl", SOURCE, "features"),
        "lpips": standins.save_pickled_network(tmp_path / "b.pkl", SOURCE, "distance"),
    }
    with tflib.graph_session(), pytest.raises(UserError, match="--allow-pickled-code"):
        FeatureSources(paths).get("inception")
    sources = FeatureSources(paths, allow_pickled_code=True)
    images = np.random.default_rng(0).uniform(0, 255, [2, 3, 8, 8]).astype("f4")
    network, lpips = sources.get("inception"), sources.get("lpips")
    for _ in range(2):  # In several graphs.
        with tflib.graph_session():
            x = tf.constant(images)
            built = [network.build(x)["features"], lpips.distance(x, x + 1)]
            features, distance = tflib.run(built)
        np.testing.assert_allclose(features, images.mean(axis=(2, 3)), rtol=1e-5)
        np.testing.assert_allclose(distance, [192, 192], rtol=1e-3)
    with pytest.raises(FeatureNetworkMissing, match="--feature-net=inception_softmax="):
        sources = FeatureSources({**paths, "inception_softmax": "/nowhere.pkl"}, None, True)
        sources.get_softmax()


def test_an_url_is_no_file_and_its_secrets_are_not_shown():
    with pytest.raises(UserError, match=r"^there is no file https://example\.com/x\.pb$"):
        find_feature_net("vgg16=https://user:secret@example.com/x.pb?token=secret")
