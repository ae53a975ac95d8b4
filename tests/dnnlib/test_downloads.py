"""Downloads, from a real server on this machine."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import multiprocessing
import os
import threading
from pathlib import Path

import http_server
import pytest

from dnnlib import UserError, downloads, urls
from dnnlib.retries import Backoff

CONTENT = bytes(range(256)) * 20_000  # More than a chunk.
FAST = Backoff(attempts=4, first=0.01, longest=0.02)


class Server(http.server.ThreadingHTTPServer):
    """Answers by path; `requests` are the paths that were asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.failures = 0  # How many answers of /sometimes fail.
        self.content = CONTENT
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # Connections are broken off on purpose.


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, content, code=200, length=None, kind="application/octet-stream", **headers):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        if length != "none":
            self.send_header("Content-Length", str(len(content) if length is None else length))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        path = self.path.split("?")[0]
        if path == "/sometimes" and server.failures:
            server.failures -= 1
            if server.failures % 2:
                self.answer(b"busy", code=503)
            else:
                self.connection.close()
        elif path == "/missing.pkl":
            self.answer(b"no", code=404)
        elif path == "/broken":
            self.answer(b"", code=500)
        elif path == "/short":
            self.answer(CONTENT[:-1], length=len(CONTENT))
        elif path == "/tiny":
            self.answer(CONTENT[:10], length=500)
        elif path == "/empty":
            self.answer(b"")
        elif path == "/page":
            self.answer(b"\n<!DOCTYPE html><html>Sign in</html>")
        elif path == "/typed":
            self.answer(b"Quota exceeded", kind="text/html; charset=utf-8")
        elif path == "/unknown-length":
            self.answer(CONTENT, length="none")
        elif path == "/redirect":
            self.answer(b"", code=302, Location="/file.pkl")
        elif path == "/away":
            self.answer(b"", code=302, Location="http://example.com/")
        else:
            self.answer(server.content)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(url, folder, **options):
    return downloads.fetch(url, str(folder), backoff=FAST, **options)


def files_in(folder):
    return sorted(n.split("_", 1)[1] for n in os.listdir(folder))


@pytest.mark.parametrize("path", ["/file.pkl", "/redirect", "/dir/file.pkl?a=1"])
def test_a_file_arrives_whole_and_once(server, tmp_path, path):
    assert downloads.cached(server.url + path, str(tmp_path)) is None
    local = fetch(server.url + path, tmp_path)
    with open(local, "rb") as file:
        assert file.read() == CONTENT
    name = path.split("?")[0].rpartition("/")[2]
    assert files_in(tmp_path) == [name, f"{name}.json", f"{name}.lock"]
    with open(local + ".json") as file:
        record = json.load(file)
    assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    count = len(server.requests)
    assert fetch(server.url + path, tmp_path) == local
    assert downloads.cached(server.url + path, str(tmp_path)) == local
    assert len(server.requests) == count


def test_each_url_has_its_own_place(server, tmp_path):
    one, two = (fetch(f"{server.url}/{d}/network.pkl", tmp_path) for d in "ab")
    assert one != two
    assert os.path.basename(one).endswith("_network.pkl")


def test_what_has_changed_in_the_cache_is_downloaded_again(server, tmp_path):
    url = server.url + "/file.pkl"
    local = fetch(url, tmp_path)
    damages = [
        lambda: open(local, "ab").write(b"x"),
        lambda: open(local, "r+b").write(b"xyz"),  # The same size.
        lambda: os.unlink(local),
        lambda: os.unlink(local + ".json"),
        lambda: open(local + ".json", "w").write("[]"),
        lambda: open(local + ".json", "w").write("{"),
    ]
    for number, damage in enumerate(damages):
        damage()
        assert fetch(url, tmp_path) == local
        assert open(local, "rb").read() == CONTENT
        assert len(server.requests) == number + 2


def test_an_expected_checksum(server, tmp_path):
    url = server.url + "/file.pkl"
    good = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(url, tmp_path, sha256=good.upper())
    for _ in range(2):  # From the cache too.
        with pytest.raises(UserError, match=f"SHA-256 {good}, expected 1234"):
            fetch(url, tmp_path, sha256="1234")


@pytest.mark.parametrize(
    ("path", "message", "attempts"),
    [
        ("/missing.pkl", "answered 404 Not Found", 1),
        ("/broken", "answered 500", 4),
        ("/short", r"short file: .*5119999 of 5120000 bytes|short file: the connection", 4),
        ("/tiny", "short file", 4),
        ("/empty", "empty file", 4),
        ("/page", "HTML page", 1),
        ("/typed", "HTML page", 1),
        ("/away", "http://example.com/: only https", 1),
    ],
)
def test_what_is_no_file_is_an_error(server, tmp_path, path, message, attempts):
    with pytest.raises(UserError, match=message) as error:
        fetch(server.url + path, tmp_path)
    assert "\n" not in str(error.value)
    assert len(server.requests) == attempts
    assert path in str(error.value) or path == "/away"
    assert [n for n in files_in(tmp_path) if not n.endswith(".lock")] == []
    assert downloads.cached(server.url + path, str(tmp_path)) is None


def test_what_fails_sometimes_is_tried_again(server, tmp_path, capsys):
    server.failures = 3
    assert open(fetch(server.url + "/sometimes", tmp_path), "rb").read() == CONTENT
    assert len(server.requests) == 4
    assert capsys.readouterr().err.count("trying again") == 3


def test_no_server(tmp_path):
    with pytest.raises(UserError, match="connection failed"):
        fetch("http://127.0.0.1:9/file.pkl", tmp_path)


@pytest.mark.parametrize(
    "url", ["http://example.com/G.pkl", "ftp://127.0.0.1/G.pkl", "file:///etc/passwd", "http:///a"]
)
def test_only_https(tmp_path, url):
    with pytest.raises(UserError, match="only https"):
        fetch(url, tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_url_that_is_none(tmp_path):
    with pytest.raises(UserError, match="not valid"):
        fetch("https://[::1/G.pkl", tmp_path)


def test_secrets_are_not_shown(server, tmp_path, capsys):
    for path in ("/file.pkl", "/missing.pkl", "/tiny", "/page"):
        url = server.url.replace("//", "//user:geheim@") + path + "?token=geheim"
        try:
            fetch(url, tmp_path)
        except UserError as error:
            assert "geheim" not in str(error)
    with pytest.raises(UserError) as refused:
        fetch("https://user:geheim@127.0.0.1:9/G.pkl?token=geheim", tmp_path)
    assert "geheim" not in str(refused.value)
    output = capsys.readouterr()
    assert "Downloading http://127.0.0.1" in output.err
    assert "geheim" not in output.err + output.out
    for name in os.listdir(tmp_path):
        assert "geheim" not in name
        if name.endswith(".json"):
            assert "geheim" not in (tmp_path / name).read_text()


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    assert downloads.cache_folder() == str(tmp_path / "cache")
    monkeypatch.delenv("DNNLIB_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert downloads.cache_folder() == str(tmp_path / ".cache/dnnlib")


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write in the cache .*file"):
        fetch(server.url + "/file.pkl", tmp_path / "file")


def _fetch_in_process(url, folder, results):
    results.put(downloads.fetch(url, folder))


def test_processes_share_one_download(server, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (server.url + "/file.pkl", str(tmp_path), results)
    processes = [context.Process(target=_fetch_in_process, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    paths = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert len(paths) == 1
    assert server.requests == ["/file.pkl"]


def test_what_a_killed_download_left_is_removed(server, tmp_path):
    local = fetch(server.url + "/file.pkl", tmp_path)
    left = tmp_path / f".{os.path.basename(local)}.abc.partial"
    left.write_bytes(b"half")
    os.unlink(local)
    fetch(server.url + "/file.pkl", tmp_path)
    assert not left.exists()


def test_a_file_without_an_end_is_never_taken_for_whole(server, tmp_path, capsys):
    url = server.url + "/unknown-length"
    for count in (1, 2):
        assert open(fetch(url, tmp_path), "rb").read() == CONTENT
        assert len(server.requests) == count
        assert downloads.cached(url, str(tmp_path)) is None
    assert "does not say how long the file is" in capsys.readouterr().err
    digest = hashlib.sha256(CONTENT).hexdigest()
    for _ in range(2):  # What it should be tells the whole from a part.
        fetch(url, tmp_path, sha256=digest)
    assert len(server.requests) == 3


# Answers as bytes

_PACKED = gzip.compress(CONTENT)
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def answer(head, body=CONTENT, status=b"200 OK"):
    def send(request):
        request.wfile.write(b"HTTP/1.1 " + status + b"\r\n" + head + body)
        request.close_connection = True

    return send


def length(number=5_120_000, more=b""):
    return b"Content-Length: %s\r\n%s\r\n" % (str(number).encode(), more)


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (answer(_CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)), True),
        (answer(length(len(_PACKED), b"Content-Encoding: gzip\r\n"), _PACKED), True),
        (answer(b"Content-Encoding: gzip\r\n\r\n", _PACKED), True),
        (answer(length(more=b"Content-Disposition: attachment; filename=\xff\xfe../x\r\n")), True),
        (answer(length(more=b"X-\xe4: \xff\r\nRetry-After: nan\r\n: \r\n")), True),
        (answer(b"\r\n"), False),
    ],
)
def test_answers_of_every_form_arrive(tmp_path, answer, is_kept):
    with http_server.Server() as server:
        server.routes["/x"] = answer
        assert open(fetch(server.url + "/x", tmp_path), "rb").read() == CONTENT
        assert (downloads.cached(server.url + "/x", str(tmp_path)) is not None) == is_kept


@pytest.mark.parametrize("line", [b" folded\r\n", b"no colon\r\n", b"X: y\r\n : z\r\n"])
def test_heads_that_cannot_be_parsed_are_not_logged(tmp_path, caplog, line):
    """urllib3 would, with the whole URL, to whatever handler the root logger has."""
    with http_server.Server() as server:
        server.routes["/x"] = answer(b"Content-Length: 5120000\r\n" + line + b"\r\n")
        server.routes["/y"] = answer(line + b"Content-Length: 5120000\r\n\r\n")
        for path in ("/x", "/y"):
            url = f"{server.url}{path}?token=secret".replace("//", "//user:secret@")
            with contextlib.suppress(UserError):
                assert open(fetch(url, tmp_path), "rb").read() == CONTENT
        assert len(server.paths) >= 2
    assert "secret" not in caplog.text and not caplog.records


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answer(_CHUNKED, b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT)), "connection broke off"),
        (answer(_CHUNKED, b"%x\r\n%s" % (len(CONTENT), CONTENT[:-9])), "connection broke off"),
        (answer(_CHUNKED, b"xyz\r\n" + CONTENT), "connection broke off"),
        (answer(length(len(CONTENT) + 1)), "5120000 of 5120001 bytes"),
        (answer(b"Content-Encoding: gzip\r\n\r\n", _PACKED[:-9]), "connection broke off"),
        (answer(b"Content-Encoding: gzip\r\n\r\n", CONTENT), "compression is damaged"),
        (answer(length(more=b"Content-Encoding: br\r\n")), "encoded as 'br'"),
        (answer(length("abc")), "a length of 'abc'"),
        (answer(length(-5)), "a length of '-5'"),
        (answer(length("1e3")), "a length of '1e3'"),
        (answer(length("9" * 5000)), "a length of '999"),
        (answer(length(10**15)), "larger than the 8589934592 bytes"),
        (answer(b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), "length|contradict"),
        (answer(length(), status=b"206 Partial Content"), "answered 206 Partial Content"),
        (answer(length(), status=b"204 \x1b[31mtoken"), "answered 204 No Content"),
        (answer(length(), status=b"401 Basic dXNlcjpnZWhlaW0="), "answered 401 Unauthorized$"),
        (answer(length(), status=b"999 x"), "answered 999$"),
        (answer(length(), status=b"abc"), "connection"),
        (answer(b"A: b\r\n" * 500 + b"\r\n"), "connection"),
        (answer(b"A: " + b"b" * 99_999 + b"\r\n\r\n"), "connection"),
        (answer(b"Location: https://[::1/\r\n\r\n", b"", b"302 Found"), "not a valid URL|no valid"),
        (answer(b"Location: \xff\xfe\r\n\r\n", b"", b"302 Found"), "not a valid URL|404"),
        (answer(b"Location: /x\r\n\r\n", b"", b"302 Found"), "more than 5 redirects"),
        (answer(b"Location: file:///etc/passwd\r\n\r\n", b"", b"302 Found"), "only https"),
        (answer(b"Location: https://10.0.0.1/x\r\n\r\n", b"", b"302 Found"), "not a public addr"),
        (answer(b"Location: https://localhost/x\r\n\r\n", b"", b"302 Found"), "this machine"),
        (answer(b"Location: http://localhost/x\r\n\r\n", b"", b"302 Found"), "only https"),
        (answer(b"Retry-After: 1e999\r\n\r\n", b"", b"503 Busy"), "answered 503"),
    ],
)
def test_answers_that_are_wrong_are_errors_in_one_line(tmp_path, answer, message):
    with http_server.Server() as server:
        server.routes["/x"] = answer
        with pytest.raises(UserError, match=message) as error:
            downloads.fetch(server.url + "/x", str(tmp_path), backoff=Backoff(2, 0.01))
        assert "\n" not in str(error.value) and "\x1b" not in str(error.value)
        assert downloads.cached(server.url + "/x", str(tmp_path)) is None


def test_sizes_and_speeds_have_limits(tmp_path, monkeypatch):
    with http_server.Server() as server:
        bomb = gzip.compress(bytes(1 << 22))
        server.routes["/bomb"] = answer(b"Content-Encoding: gzip\r\n\r\n", bomb)
        server.routes["/endless"] = answer(b"\r\n", bytes(1 << 22))
        server.routes["/drip"] = http_server.drip(CONTENT[:1000])
        server.routes["/head"] = http_server.drip(CONTENT[:1000], head=True)
        monkeypatch.setattr(downloads, "_MAX_BYTES", 1 << 20)
        monkeypatch.setattr(downloads, "_SLOWEST", (1000, 0.5))
        for path in ("/bomb", "/endless"):
            with pytest.raises(UserError, match="larger than the 1048576 bytes"):
                fetch(server.url + path, tmp_path)
        for path in ("/drip", "/head"):
            with pytest.raises(UserError, match=r"only \d+ bytes came in \d s"):
                fetch(server.url + path, tmp_path)
        assert len(server.paths) == 4
    assert all(name.endswith(".lock") for name in os.listdir(tmp_path))


def endless(begin, part):
    def answer(request):
        with contextlib.suppress(OSError):
            request.wfile.write(begin)
            while True:
                request.wfile.write(part)

    return answer


def test_heads_and_trailers_have_an_end(tmp_path):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    routes = {
        "/interim": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "/size": endless(chunked, b"1" * 65536),
        "/trailer": endless(chunked + b"1\r\nx\r\n0\r\n", b"X: y\r\n"),
    }
    with http_server.Server() as server:
        server.routes |= routes
        for path in routes:
            with pytest.raises(UserError, match=r"without end|broke off"):
                fetch(server.url + path, tmp_path)
        head = b"HTTP/1.1 302 Found\r\nLocation: /whole\r\n\r\n"
        server.routes |= {"/redirect": endless(head, bytes(65536)), "/whole": CONTENT}
        assert Path(fetch(server.url + "/redirect", tmp_path)).read_bytes() == CONTENT
        server.routes["/negative"] = lambda request: request.wfile.write(chunked + b"-5\r\nabc")
        with pytest.raises(UserError, match="sizes of the server's parts"):
            fetch(server.url + "/negative", tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:geheim@host/x.pkl?token=geheim",
        "https://user%3Ageheim%40host/x.pkl",
        "https://host/x.pkl%3Ftoken=geheim",
        "https://host/x.pkl%253Fsig%3Dgeheim",
        "https://host/x.pkl;X-Amz-Signature=geheim#geheim",
        "HTTPS://geheim@host/x.pkl?X-Amz-Credential=geheim&x=y/geheim",
    ],
)
def test_what_is_shown_of_an_url_holds_no_secret(url):
    assert urls.show(url).lower() == "https://host/x.pkl"
    assert os.path.basename(downloads._entry(url, "c").path).endswith("_x.pkl")


def test_what_is_an_url():
    for text in ("https://h/x", "HTTP://h", "s3://bucket/x", "a+b.c-d://"):
        assert urls.is_url(text)
    for text in ("x.pkl", "/a://b", "C:/x.pkl", "http:/x", "1s://x", "gdrive:networks/x", ""):
        assert not urls.is_url(text) and urls.show_source(text) == text


def test_a_password_with_a_slash_is_not_taken_for_a_path():
    with pytest.raises(UserError, match=r"^a URL is not valid$"):
        urls.show("https://user:gehe/im@host/x.pkl")


def test_a_record_that_is_no_file_does_not_wait(server, tmp_path):
    url = server.url + "/file.pkl"
    local = fetch(url, tmp_path)
    for place in (local + ".json", local):
        os.unlink(place)
        os.mkfifo(place)
        assert open(fetch(url, tmp_path), "rb").read() == CONTENT
    for record in ("[" * 60_000, '{"size": 1e999, "sha256": []}', "\0"):
        (tmp_path / (local + ".json")).write_text(record)
        assert open(fetch(url, tmp_path), "rb").read() == CONTENT
