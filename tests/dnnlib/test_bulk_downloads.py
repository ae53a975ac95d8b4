"""Downloads of many files and of URLs that nobody vouches for, from a real server."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest
from http_server import (
    Server,
    announced,
    drip,
    in_turn,
    page,
    picture,
    redirect,
    reset,
    status,
)

from dnnlib import UserError, public_web
from dnnlib.bulk_downloads import DownloadOptions, download_all, file_of
from dnnlib.public_web import PublicWeb, Refused, is_public
from dnnlib.retries import Backoff, Passing, retry_after

PICTURE = picture()
FAST = Backoff(attempts=4, first=0.01, longest=0.05)


@pytest.fixture
def server():
    with Server() as server:
        yield server


def problem(content):
    """Files are good if they begin as a JPEG and end as one."""
    if isinstance(content, str):
        with open(content, "rb") as file:
            content = file.read()
    if not content.startswith(b"\xff\xd8"):
        return "not an image"
    return None if content.endswith(b"\xff\xd9") else "truncated"


def options(**changes):
    defaults = {"rate": 1000.0, "allow_private": True, "backoff": FAST, "seconds": 5.0}
    return DownloadOptions(**{**defaults, **changes})


def download(urls, folder, **changes):
    with closing(download_all(urls, str(folder), problem, options(**changes))) as results:
        return dict(results)


def files(folder):
    return sorted(os.path.join(d, n) for d, _, names in os.walk(folder) for n in names)


def content_of(folder, url):
    return (folder / file_of(url)).read_bytes()


def test_many_files_arrive_and_are_not_fetched_again(server, tmp_path):
    urls = [f"{server.url}/{i}.jpg?size=1" for i in range(40)]
    for i in range(40):
        server.routes[f"/{i}.jpg"] = picture(i)
    assert download(iter(urls), tmp_path / "new/pictures") == dict.fromkeys(urls)
    for i, url in enumerate(urls):
        assert content_of(tmp_path / "new/pictures", url) == picture(i)
    assert len(server.paths) == 40
    assert len(files(tmp_path)) == 40
    os.unlink(tmp_path / "new/pictures" / file_of(urls[3]))
    (tmp_path / "new/pictures" / file_of(urls[5])).write_bytes(PICTURE[:50])
    assert download(urls, tmp_path / "new/pictures") == dict.fromkeys(urls)
    assert sorted(server.paths[40:]) == ["/3.jpg?size=1", "/5.jpg?size=1"]
    assert content_of(tmp_path / "new/pictures", urls[5]) == picture(5)


def test_names_of_files():
    assert file_of("http://a/b.JPG?x=1") != file_of("http://a/b.JPG?x=2")
    assert file_of("http://a/b.JPG#top") == file_of("http://a/b.JPG")
    name = file_of("http://a/b.JPG?x=1")
    assert name.endswith(".jpg") and name[:2] == name[3:5] and len(name) == 2 + 1 + 32 + 4
    assert "." not in file_of("http://a/../../etc/passwd")
    assert "." not in file_of("http://[::1/b.jpg")  # Not valid, and no reason to stop.


@pytest.mark.parametrize(
    "answers",
    [
        [status(503)] * 3,
        [status(429, {"Retry-After": "0"}), status(500), status(408)],
        [reset, reset, reset],
        [announced(PICTURE[:-100], len(PICTURE))] * 3,  # The server breaks off.
        [announced(PICTURE[:-100], None)] * 3,  # So that it looks like the end.
        [status(200, content=b"")],
    ],
)
def test_what_may_pass_is_tried_again(server, tmp_path, answers):
    url = server.url + "/a.jpg"
    server.routes["/a.jpg"] = in_turn(*answers, PICTURE)
    assert download([url], tmp_path) == {url: None}
    assert content_of(tmp_path, url) == PICTURE
    assert len(server.paths) == len(answers) + 1


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [
        (status(404), "answered 404 Not Found", 1),
        (status(403), "answered 403", 1),
        (page, "HTML page", 1),
        (b"\n <HTML>Sign in", "HTML page", 1),
        (b"GIF89a", "not an image", 1),
        (PICTURE[:-100], "truncated", 1),  # All that the server announced.
        (status(503), "answered 503 Service Unavailable, 4 times", 4),
        (reset, "connection failed, 4 times", 4),
        (announced(PICTURE[:-100], len(PICTURE)), "connection broke off, 4 times", 4),
        (announced(PICTURE, 99_999_999), "larger than the 100000 bytes", 1),
        (announced(b"\xff\xd8" + bytes(200_000), None), "larger than the 100000 bytes", 1),
        (redirect("/a.jpg"), "more than 5 redirects", 6),
        (redirect("file:///etc/passwd"), "only http and https", 1),
        (redirect("http://[::1"), "not a valid URL", 1),
        (redirect("https:///a"), "not a valid URL", 1),
    ],
)
def test_failures_are_named_and_others_go_on(server, tmp_path, answer, reason, requests):
    url, good = server.url + "/a.jpg", server.url + "/good.jpg"
    server.routes.update({"/a.jpg": answer, "/good.jpg": PICTURE})
    results = download([url, good], tmp_path, max_bytes=100_000)
    assert results[good] is None
    assert re.search(reason, results[url]), results
    assert server.paths.count("/a.jpg") == requests
    assert len(files(tmp_path)) == 1


def test_redirects_are_followed(server, tmp_path):
    server.routes.update(
        {"/a": redirect("b?x"), "/b?x": redirect(server.url + "/c"), "/c": PICTURE}
    )
    url = server.url + "/a"
    assert download([url], tmp_path) == {url: None}


@pytest.mark.parametrize("head", [False, True])
def test_a_slow_drip_has_an_end(server, tmp_path, head):
    url = server.url + "/a.jpg"
    server.routes["/a.jpg"] = drip(PICTURE, head=head)  # 50 ms a byte: minutes
    begin = time.monotonic()
    assert "longer than the 0.4 s" in download([url], tmp_path, seconds=0.4)[url]
    assert time.monotonic() - begin < 20
    assert len(server.paths) == 1


def test_the_time_ends_also_where_bytes_never_do(server):
    server.routes["/a.jpg"] = PICTURE
    with pytest.raises(Refused, match="longer than the 0 s"):
        PublicWeb(allow_private=True, seconds=0).get(server.url + "/a.jpg")


def test_a_connection_serves_several_requests_each_with_its_own_time(server):
    web = PublicWeb(allow_private=True, seconds=0.5)
    ports = []
    server.routes["/a"] = lambda request: (ports.append(request.client_address), request.send(b"a"))
    for _ in range(3):
        assert web.get(server.url + "/a") == (b"a", True)
        time.sleep(0.2)
    assert len(set(ports)) == 1


def test_the_rate_holds_for_all_threads(server, tmp_path):
    urls = [f"{server.url}/{i}" for i in range(7)]
    server.routes.update({f"/{i}": PICTURE for i in range(7)})
    download(urls, tmp_path, rate=20)
    assert server.times[-1] - server.times[0] > 0.25  # Six intervals of 50 ms, but for jitter.


def test_retry_after_holds_all_threads(server, tmp_path):
    urls = [f"{server.url}/{i}" for i in range(12)]
    server.routes.update({f"/{i}": PICTURE for i in range(12)})
    server.routes["/0"] = in_turn(status(429, {"Retry-After": "1"}), PICTURE)
    backoff = Backoff(attempts=2, first=0.01, longest=0.6)  # The cap.
    results = download(urls, tmp_path, rate=20, jobs=2, backoff=backoff)
    assert set(results.values()) == {None}
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert 0.4 < max(gaps) < 0.95


def test_the_header_retry_after():
    later = datetime.now(timezone.utc) + timedelta(seconds=30)
    date = later.strftime("%a, %d %b %Y %H:%M:%S")
    assert 25 < retry_after({"Retry-After": date + " GMT"}) <= 30
    assert 25 < retry_after({"Retry-After": date + " -0000"}) <= 30
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"Retry-After": " 12 "}) == 12
    for text in ("", "soon", "-1", "1e9", "9" * 40, "Wed, 99 Oct 2015"):
        assert retry_after({"Retry-After": text}) is None
    assert retry_after({}) is None


def test_pauses_grow_and_are_capped():
    backoff = Backoff(attempts=9, first=1.0, longest=10.0)
    for attempt, longest in enumerate([1, 2, 4, 8, 10, 10]):
        pauses = {backoff.pause(attempt) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert backoff.pause(0, retry_after=5.0) == 5.0
    assert backoff.pause(0, retry_after=3600.0) == 10.0
    assert backoff.pause(3, retry_after=0.0) >= 4.0


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 0.0.0.0 100.64.0.1 "
    "224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 198.18.0.1 192.0.2.1 ::1 :: fe80::1 fe80::1%1 "
    "fc00::1 fd12::1 fec0::1 ff02::1 2001:db8::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a00:1 "
    "::127.0.0.1 64:ff9b::7f00:1 64:ff9b::10.0.0.1 2002:7f00:1:: 2002:a00:1::1 2001:0:1::1".split(),
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    "8.8.8.8 1.1.1.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1".split(),
)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "user:pass@127.0.0.1",
        "example.com@127.0.0.1",
        "0.0.0.0",
        "0",
        "127。0。0。1",
    ],
)
@pytest.mark.parametrize("has_proxy", [False, True])
def test_this_machine_is_refused_however_it_is_spelled(
    server, tmp_path, monkeypatch, host, has_proxy
):
    if has_proxy:  # The proxy would connect; it is the server that must not be asked.
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
    url = f"http://{host}:{server.server_port}/a.jpg"
    results = download([url], tmp_path, allow_private=False)
    assert "public address" in results[url] or "valid URL" in results[url]
    assert server.paths == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.jpg",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://",
        "http:///a.jpg",
        "https://[::1/a.jpg",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "http://" + "a" * 300 + ".com/",
        "http://\ud800.com/",
        "http://ex\x00ample.com/",
    ],
)
def test_what_is_no_url_is_named(tmp_path, url):
    results = download([url], tmp_path)
    assert "only http and https" in results[url] or "valid URL" in results[url], results
    assert files(tmp_path) == []


def resolve_to(monkeypatch, *answers):
    """Makes the DNS answer for any name, each time with the next address."""
    real, calls = socket.getaddrinfo, []

    def getaddrinfo(host, port, *args, **options):
        if host.replace(".", "").isdigit() or ":" in host:
            return real(host, port, *args, **options)
        calls.append(host)
        addresses = answers[min(len(calls), len(answers)) - 1]
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return calls


def test_names_that_lead_to_private_addresses(server, monkeypatch):
    resolve_to(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(Refused, match=r"127\.0\.0\.1 is not a public address"):
        PublicWeb().get(f"http://pictures.example:{server.server_port}/a.jpg")
    assert server.paths == []


def test_the_address_that_was_checked_is_the_one_that_is_used(server, monkeypatch):
    """A DNS that answers with a public address first and with a private one next."""
    calls = resolve_to(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    connected = []

    def connect(address, *args, **options):
        connected.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(public_web, "create_connection", connect)
    with pytest.raises(Passing, match="connection failed"):
        PublicWeb().get(f"http://pictures.example:{server.server_port}/a.jpg")
    assert connected == [("8.8.8.8", server.server_port)]
    assert calls == ["pictures.example"]


def test_a_redirect_to_this_machine_is_refused(server, monkeypatch):
    """The first host counts as public here; where it leads does not."""
    monkeypatch.setattr(public_web, "is_public", lambda address: address == "127.0.0.1")
    server.routes["/a.jpg"] = redirect(f"http://127.0.0.2:{server.server_port}/secret")
    server.routes["/secret"] = PICTURE
    with pytest.raises(Refused, match=r"127\.0\.0\.2 is not a public address"):
        PublicWeb().get(server.url + "/a.jpg")
    assert server.paths == ["/a.jpg"]


def test_a_host_that_does_not_exist_is_not_tried_again(monkeypatch):
    def getaddrinfo(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Refused, match=r"no host nowhere\.example"):
        PublicWeb().get("http://nowhere.example/a.jpg")

    def fails(*args, **options):
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(Passing, match="connection failed"):
        PublicWeb().get("http://nowhere.example/a.jpg")


def test_a_proxy_of_the_environment_is_used(server, monkeypatch):
    """It is on this machine, and gets the whole URL."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.routes["http://pictures.example/a.jpg"] = PICTURE
    assert PublicWeb().get("http://pictures.example/a.jpg") == (PICTURE, True)


def test_neither_cookies_nor_passwords_of_the_home_folder_are_sent(server, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password geheim\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    seen = []

    def answer(request):
        seen.append(dict(request.headers))
        request.send(b"a", 200, {"Set-Cookie": "a=b"})

    server.routes["/a"] = answer
    web = PublicWeb(allow_private=True)
    for _ in range(2):
        web.get(server.url + "/a")
    assert len(seen) == 2
    assert not {"Authorization", "Cookie"} & (set(seen[0]) | set(seen[1]))


def test_reasons_hold_no_secrets(server, tmp_path):
    server.routes.update({"/a": redirect("http://x:geheim@[::1/?k=geheim"), "/c": reset})
    host = server.url.replace("//", "//user:geheim@")
    urls = [f"{host}/{name}?token=geheim" for name in "abc"]
    urls.append("http://user:geheim@127.0.0.1:9/a?token=geheim")
    reasons = download(urls, tmp_path).values()
    assert None not in reasons
    assert "geheim" not in " ".join(reasons)


def test_stopping_early_keeps_what_is_whole(server, tmp_path):
    """As Ctrl-C does: the generator is closed while downloads run."""
    go_on = threading.Event()
    server.routes.update({f"/{i}": PICTURE for i in range(5)})
    server.routes["/5"] = lambda request: (go_on.wait(5), request.send(PICTURE))
    server.routes["/6"] = status(503)
    urls = [f"{server.url}/{i}" for i in range(100)]
    backoff = Backoff(attempts=9, first=60.0)  # The pause must end too.
    with closing(
        download_all(urls, str(tmp_path), problem, options(jobs=2, backoff=backoff))
    ) as all_:
        done = [next(all_)[0] for _ in range(5)]
        while "/6" not in server.paths:
            time.sleep(0.01)
        go_on.set()
        begin = time.monotonic()
    assert time.monotonic() - begin < 20
    for url in done:
        assert content_of(tmp_path, url) == PICTURE
    assert all(name.count(".partial") == 0 for name in files(tmp_path))
    assert len(server.paths) < 20


def test_a_folder_that_cannot_be_written_stops_at_once(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    server.routes["/a.jpg"] = PICTURE
    with pytest.raises(UserError, match=r"cannot write in .*file"):
        download([server.url + "/a.jpg"], tmp_path / "file")
