"""fetch_ebay against a real server that behaves as eBay's Browse API is documented to."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from http_server import Server, in_turn, page, picture, reset, status

from dnnlib import UserError
from dnnlib.bulk_downloads import DownloadOptions
from dnnlib.retries import Backoff
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.sources.ebay import api, browse
from training.datasets.sources.ebay.api import Search
from training.datasets.sources.ebay.browse import STATE, TABLE, fetch_ebay
from training.datasets.sources.ebay.importer import create_from_ebay

TOOL = Path(__file__).parents[2] / "dataset_tool.py"
CLIENT_ID, SECRET = "Me-Pictures-PRD-geheim1", "PRD-geheim2-a+b/c="
OPTIONS = DownloadOptions(rate=1000.0, backoff=Backoff(attempts=3, first=0.01, longest=1.0))
SEARCH = "/buy/browse/v1/item_summary/search"
TOKEN = "/identity/v1/oauth2/token"
CATEGORIES = [("112581", "Lamps"), ("20625", "Clocks"), ("3197", "Furniture")]


class Ebay:
    """The API on a `Server`, and the pictures of its listings.

    Attributes:
        items: what a search finds.
        calls: parameters of the searches that were answered or not.
        failures: answers to be given, one each, instead of the next searches'.
        warnings: part of each answer.
        token_seconds: for how long tokens are valid.
        valid: the token that counts.
    """

    def __init__(self, server):
        self.server = server
        self.items, self.calls, self.failures, self.warnings = [], [], [], []
        self.token_seconds, self.valid, self.tokens = 7200, None, 0
        server.routes |= {TOKEN: self.token, SEARCH: self.search}

    def add_items(self, count):
        for i in range(len(self.items), len(self.items) + count):
            self.items.append(self.item(i))
        return self

    def item(self, i, picture_id=None, size=225):
        picture_id = picture_id or f"pic{i}"
        path = f"/images/g/{picture_id}/s-l{{}}.jpg"
        self.server.routes.setdefault(path.format(1600), picture(i))
        categories = [CATEGORIES[i % 3], ("1", "Collectibles")]
        return {
            "itemId": f"v1|{1000 + i}|0",
            "title": f"Thing {i}",
            "categories": [{"categoryId": n, "categoryName": name} for n, name in categories],
            "image": {"imageUrl": self.server.url + path.format(size)},
            "thumbnailImages": [{"imageUrl": self.server.url + path.format(500)}],
            "price": {"value": "9.90", "currency": "USD"},
            "condition": "New",
            "itemWebUrl": f"https://www.ebay.com/itm/{1000 + i}",
        }

    def token(self, request):
        expected = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        form = parse_qs(request.body.decode())
        if request.headers["Authorization"] != f"Basic {expected}":
            error = {
                "error": "invalid_client",
                "error_description": f"client authentication failed for {CLIENT_ID} {SECRET}",
            }
            return self.json(request, error, 401)
        assert form == {
            "grant_type": ["client_credentials"],
            "scope": ["https://api.ebay.com/oauth/api_scope"],
        }
        self.tokens += 1
        self.valid = f"v^1.1#geheim-token-{self.tokens}"
        content = {"access_token": self.valid, "expires_in": self.token_seconds}
        return self.json(request, content | {"token_type": "Application Access Token"})

    def search(self, request):
        query = {k: v[0] for k, v in parse_qs(urlsplit(request.path).query).items()}
        self.calls.append(query | {"marketplace": request.headers["X-EBAY-C-MARKETPLACE-ID"]})
        if self.failures:
            failure = self.failures.pop(0)
            if failure is not None:
                return failure(request)
        if request.headers["Authorization"] != f"Bearer {self.valid}":
            return self.error(request, 401, 1001, f"Invalid access token {self.valid}")
        limit, offset = int(query.get("limit", 50)), int(query.get("offset", 0))
        if not {"q", "category_ids", "epid", "gtin"} & query.keys():
            return self.error(request, 400, 12001, "The call must have a valid 'q' parameter.")
        if not 1 <= limit <= 200:
            return self.error(request, 400, 12006, "The 'limit' value should be between 1 and 200.")
        if offset % limit or not 0 <= offset <= 9999:
            return self.error(request, 400, 12029, "The offset must be a multiple of limit.")
        return self.json(request, self.page(offset, limit))

    def page(self, offset, limit):
        content = {"href": self.server.url, "total": len(self.items)}
        content |= {"limit": limit, "offset": offset}
        if self.items[offset : offset + limit]:
            content["itemSummaries"] = self.items[offset : offset + limit]
        if len(self.items) > offset + limit:
            content["next"] = self.server.url + SEARCH
        if self.warnings:
            content["warnings"] = self.warnings
        return content

    @staticmethod
    def json(request, content, code=200, headers=None):
        kind = {"Content-Type": "application/json", **(headers or {})}
        request.send(json.dumps(content).encode(), code, kind)

    @classmethod
    def error(cls, request, code, number, message, headers=None):
        error = {"errorId": number, "domain": "API_BROWSE", "category": "REQUEST"}
        error |= {"message": message, "longMessage": f"{message} See the documentation."}
        cls.json(request, {"errors": [error | {"parameters": []}]}, code, headers)


def failing(code, number, message, headers=None):
    return lambda request: Ebay.error(request, code, number, message, headers)


@pytest.fixture
def ebay(monkeypatch):
    with Server() as server:
        monkeypatch.setenv("EBAY_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("EBAY_CLIENT_SECRET", f" {SECRET}\n")
        monkeypatch.setenv("EBAY_API_URL", server.url + "/")
        yield Ebay(server)


def fetch(folder, search=None, limit=1000, page_size=10, options=OPTIONS):
    fetch_ebay(str(folder), search or Search(query="lamp"), limit, options, page_size)


def table(folder):
    return [json.loads(line) for line in (folder / TABLE).read_text().splitlines()]


def state(folder):
    return json.loads((folder / STATE).read_text())


def pictures_asked(ebay):
    return [path for path in ebay.server.paths if path.startswith("/images/g/")]


def assert_no_secrets(folder, *texts):
    """Neither in what was printed nor in what was written."""
    written = [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    for text in [*(t.encode() for t in texts), *written, str(list(folder.rglob("*"))).encode()]:
        assert b"geheim" not in text
        assert base64.b64encode(SECRET.encode())[2:-4] not in text


def test_pages_become_a_table_and_pictures(ebay, tmp_path, capsys):
    ebay.add_items(25)
    search = Search("desk lamp", "112581", "EBAY_DE", "new", "price:[10..50],priceCurrency:EUR")
    fetch(tmp_path / "lamps", search)
    offsets = [call.pop("offset") for call in ebay.calls]
    assert offsets == ["0", "10", "20"]
    assert ebay.calls[0] == {
        "q": "desk lamp",
        "category_ids": "112581",
        "filter": "price:[10..50],priceCurrency:EUR,conditions:{NEW}",
        "limit": "10",
        "marketplace": "EBAY_DE",
    }
    rows = table(tmp_path / "lamps")
    assert [row["item_id"] for row in rows] == [f"v1|{1000 + i}|0" for i in range(25)]
    assert rows[4] == {
        "image": rows[4]["image"],
        "image_url": ebay.server.url + "/images/g/pic4/s-l1600.jpg",
        "picture_id": "pic4",
        "title": "Thing 4",
        "category": "Clocks",
        "category_id": "20625",
        "categories": ["Clocks", "Collectibles"],
        "category_ids": ["20625", "1"],
        "item_id": "v1|1004|0",
        "condition": "New",
        "price": "9.90",
        "currency": "USD",
        "url": "https://www.ebay.com/itm/1004",
    }
    for i, row in enumerate(rows):
        assert (tmp_path / "lamps" / row["image"]).read_bytes() == picture(i)
    assert ebay.tokens == 1 and state(tmp_path / "lamps")["calls"]["count"] == 3
    output = capsys.readouterr()
    assert "must hold the right to use the pictures" in output.out
    assert "25 pictures of 25 listings, 0 failed" in output.out
    assert_no_secrets(tmp_path, output.out, output.err)
    # What is there is not asked for again.
    count = len(ebay.server.paths)
    fetch(tmp_path / "lamps", search)
    assert len(ebay.server.paths) == count


def test_create_from_ebay_reads_the_folder(ebay, tmp_path):
    ebay.add_items(9)
    ebay.server.routes["/images/g/pic7/s-l1600.jpg"] = page
    fetch(tmp_path / "lamps")
    create_from_ebay(Output(str(tmp_path / "set"), shuffle=False), str(tmp_path / "lamps"))
    dataset = TFRecordDataset(str(tmp_path / "set"))
    manifest = read_manifest(find_dataset(str(tmp_path / "set")))
    assert manifest["label_names"] == ["Clocks", "Furniture", "Lamps"]
    assert dataset.labels.argmax(axis=1).tolist() == [2, 0, 1, 2, 0, 1, 2, 1]
    assert [entry["file"] for entry in manifest["skipped"]] == [
        table(tmp_path / "lamps")[7]["image"]
    ]


def test_pictures_of_variations_are_taken_once(ebay, tmp_path):
    ebay.items = [
        ebay.item(0, "a"),
        ebay.item(1, "a", size=500),
        ebay.item(2, "b")
        | {"additionalImages": [{"imageUrl": ebay.item(3, "c")["image"]["imageUrl"]}]},
        ebay.item(4, "b")
        | {"additionalImages": [ebay.item(5, "c")["image"], ebay.item(6, "d")["image"]]},
    ]
    fetch(tmp_path / "one")
    assert [(r["item_id"], r["picture_id"]) for r in table(tmp_path / "one")] == [
        ("v1|1000|0", "a"),
        ("v1|1002|0", "b"),
    ]
    fetch(tmp_path / "all", Search("lamp", additional_images=True))
    assert [(r["item_id"][3:7], r["picture_id"]) for r in table(tmp_path / "all")] == [
        ("1000", "a"),
        ("1002", "b"),
        ("1002", "c"),
        ("1004", "d"),
    ]


def test_what_may_be_absent(ebay, tmp_path):
    base = ebay.server.url
    items = [
        {"itemId": "1"},
        {"itemId": "2", "image": {}, "thumbnailImages": []},
        {"itemId": "3", "thumbnailImages": [{"imageUrl": f"{base}/images/g/x/s-l500.jpg"}]},
        {"itemId": "4", "image": {"imageUrl": f"{base}/old/a.jpg?s-l225.jpg"}, "categories": None},
        {"itemId": "5", "image": {"imageUrl": 7}, "categories": [7], "price": "free"},
        "nonsense",
    ]
    ebay.items = items
    ebay.server.routes |= {"/images/g/x/s-l1600.jpg": picture(0), "/old/a.jpg": picture(1)}
    fetch(tmp_path / "lamps")
    rows = table(tmp_path / "lamps")
    assert [(row["item_id"], row["picture_id"]) for row in rows] == [
        ("3", "x"),
        ("4", f"{base}/old/a.jpg?s-l225.jpg"),
    ]
    assert rows[1]["category"] is None and rows[1]["categories"] == []
    # No results at all.
    ebay.items = []
    fetch(tmp_path / "none")
    assert table(tmp_path / "none") == [] and state(tmp_path / "none")["done"]


def test_a_limit_and_a_higher_one(ebay, tmp_path):
    ebay.add_items(30)
    ebay.items[2] = ebay.item(2, "pic1")
    fetch(tmp_path / "lamps", limit=5)
    assert [row["picture_id"][3:] for row in table(tmp_path / "lamps")] == list("01345")
    assert len(pictures_asked(ebay)) == 5 and len(ebay.calls) == 1
    fetch(tmp_path / "lamps", limit=12)
    assert [c["offset"] for c in ebay.calls[1:]] == ["0", "10"]
    assert [row["picture_id"] for row in table(tmp_path / "lamps")][5:] == [
        f"pic{i}" for i in range(6, 13)
    ]
    assert len(pictures_asked(ebay)) == 12
    fetch(tmp_path / "lamps", limit=3)  # No fewer, no calls.
    assert len(ebay.calls) == 3


def test_at_most_10000_results(ebay, tmp_path, capsys):
    """With 40 results a call, of which all share one picture."""
    ebay.items = [ebay.item(0)] * 10_200
    fetch(tmp_path / "lamps", page_size=200)
    assert [int(c["offset"]) for c in ebay.calls] == list(range(0, 10_000, 200))
    assert "10200 results and gives the first 10000" in capsys.readouterr().err


def test_warnings_are_printed_once(ebay, tmp_path, capsys):
    ebay.add_items(25)
    ebay.warnings = [{"errorId": 12019, "message": "Some filters", "longMessage": "were ignored."}]
    fetch(tmp_path / "lamps")
    assert (
        capsys.readouterr().err.count("eBay warns: warning 12019: Some filters were ignored.") == 1
    )


def test_tokens_are_renewed(ebay, tmp_path, capsys):
    ebay.add_items(40)
    ebay.token_seconds = 0  # Each is too old for the next call.
    fetch(tmp_path / "lamps")
    assert ebay.tokens == 4
    ebay.token_seconds, ebay.tokens = 7200, 0
    ebay.failures = [None, failing(401, 1001, "Invalid access token")]
    fetch(tmp_path / "others")
    assert ebay.tokens == 2 and len(table(tmp_path / "others")) == 40
    assert state(tmp_path / "others")["calls"]["count"] == 5
    # Once only: then it is an error.
    ebay.failures = [
        failing(401, 1001, f"Invalid access token v^1.1#geheim-token-{i}") for i in (3, 4)
    ]
    with pytest.raises(UserError, match="answered 401 Unauthorized: error 1001: Inv") as error:
        fetch(tmp_path / "third")
    assert_no_secrets(tmp_path, str(error.value), *capsys.readouterr())


def test_what_may_pass_is_tried_again(ebay, tmp_path, capsys):
    ebay.add_items(12)
    internal = failing(500, 12000, "There was a problem with an eBay internal system.")
    busy = failing(429, 2001, "Too many requests.", {"Retry-After": "1"})
    ebay.failures = [internal, reset, None, busy, status(503, content=b"<html>")]
    ebay.server.routes[TOKEN] = in_turn(status(500), ebay.token)
    fetch(tmp_path / "lamps")
    assert len(table(tmp_path / "lamps")) == 12 and len(ebay.calls) == 6
    assert state(tmp_path / "lamps")["calls"]["count"] == 6
    output = capsys.readouterr().err
    assert output.count("trying again in") == 5
    assert "error 12000: There was a problem" in output and "cannot be reached; trying" in output
    assert "error 2001: Too many requests. See the documentation.; trying again in 1.0 s" in output


@pytest.mark.parametrize(
    ("failure", "message", "calls"),
    [
        (failing(400, 12001, "No query."), "eBay answered 400 Bad Request: error 12001: No qu", 1),
        (failing(400, 12006, "Limit."), "error 12006: Limit. See the documentation.", 1),
        (failing(400, 12029, "Offset."), "error 12029: Offset.", 1),
        (failing(403, 1100, "Access denied."), "403 Forbidden: error 1100: Access denied.", 1),
        (failing(500, 12000, "Internal."), "500 Internal Server Error: error 12000: Inter", 3),
        (reset, "eBay cannot be reached, 3 times: try again later", 3),
        (page, "something else than JSON", 1),
        (status(200, content=b"[1]"), "something else than JSON", 1),
        (status(302, {"Location": "/elsewhere"}), "answered 302", 1),
        (status(404, content=b"\xff\x00"), "answered 404 Not Found", 1),
        (status(400, content=b'{"errors": [7, {"errorId": null}]}'), "error None", 1),
    ],
)
def test_errors_are_one_line(ebay, tmp_path, failure, message, calls, capsys):
    ebay.add_items(12)
    ebay.failures = [None] + 3 * [failure]
    with pytest.raises(UserError) as error:
        fetch(tmp_path / "lamps")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert len(ebay.calls) == 1 + calls
    assert "/elsewhere" not in ebay.server.paths
    ebay.failures.clear()
    fetch(tmp_path / "lamps")  # Goes on.
    assert len(table(tmp_path / "lamps")) == 12 and ebay.calls[-1]["offset"] == "10"
    assert_no_secrets(tmp_path, str(error.value), *capsys.readouterr())


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "86400"}])
def test_a_quota_that_is_used_up_stops_and_goes_on_later(ebay, tmp_path, headers):
    ebay.add_items(25)
    ebay.failures = [None, failing(429, 2001, "Too many requests.", headers)]
    with pytest.raises(UserError, match=r"429.*: 10 listings are in .*lamps; run the same command"):
        fetch(tmp_path / "lamps")
    assert len(ebay.calls) == 2 and len(pictures_asked(ebay)) == 10
    fetch(tmp_path / "lamps")
    assert len(table(tmp_path / "lamps")) == 25
    assert [call["offset"] for call in ebay.calls[2:]] == ["10", "20"]


def test_calls_of_a_day_are_counted(ebay, tmp_path):
    ebay.add_items(30)
    fetch(tmp_path / "lamps", limit=10)
    content = state(tmp_path / "lamps")
    assert content["calls"]["count"] == 1
    content["calls"]["count"] = api.CALLS_A_DAY - 1
    (tmp_path / "lamps" / STATE).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"5000 searches were made today.*20 listings are in"):
        fetch(tmp_path / "lamps")
    assert len(ebay.calls) == 2
    content = state(tmp_path / "lamps")
    content["calls"]["day"] = "2020-01-01"
    (tmp_path / "lamps" / STATE).write_text(json.dumps(content))
    fetch(tmp_path / "lamps")
    assert len(ebay.calls) == 3 and state(tmp_path / "lamps")["calls"]["count"] == 1


def test_failed_pictures_are_named_and_tried_again(ebay, tmp_path, capsys):
    ebay.add_items(12)
    ebay.server.routes["/images/g/pic3/s-l1600.jpg"] = in_turn(page, picture(3))
    ebay.server.routes["/images/g/pic11/s-l1600.jpg"] = status(404)
    fetch(tmp_path / "lamps")
    output = capsys.readouterr()
    assert f"no picture from {ebay.server.url}/images/g/pic3/s-l1600.jpg: the serv" in output.err
    assert "pic11/s-l1600.jpg: the server answered 404" in output.err
    assert "10 pictures of 12 listings, 2 failed" in output.out
    count = len(ebay.server.paths)
    fetch(tmp_path / "lamps")
    assert "11 pictures of 12 listings, 1 failed" in capsys.readouterr().out
    assert len(ebay.server.paths) == count + 2


def test_another_search_is_another_folder(ebay, tmp_path):
    ebay.add_items(3)
    fetch(tmp_path / "lamps")
    before = (tmp_path / "lamps" / STATE).read_bytes()
    for search, words in (
        (Search("clock"), "with query 'lamp' and not 'clock': give the same options, or choose"),
        (Search("lamp", "12"), "category None and not '12'"),
        (Search("lamp", condition="new"), "condition None and not 'new'"),
        (Search("lamp", marketplace="EBAY_GB", sandbox=True), "marketplace 'EBAY_US' and not"),
    ):
        with pytest.raises(UserError, match="holds another search") as error:
            fetch(tmp_path / "lamps", search)
        assert words in str(error.value)
    assert (tmp_path / "lamps" / STATE).read_bytes() == before


def test_folders_that_are_not_of_fetch_ebay(ebay, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="mine is not empty and was not begun by fetch_ebay"):
        fetch(tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["a.jpg"]
    with pytest.raises(UserError, match=r"cannot write in .*a\.jpg"):
        fetch(tmp_path / "mine/a.jpg")
    ebay.add_items(2)
    fetch(tmp_path / "lamps")
    (tmp_path / "lamps" / STATE).write_text('{"search": {}}')
    with pytest.raises(UserError, match="is not as fetch_ebay wrote it"):
        fetch(tmp_path / "lamps")


def test_a_table_that_was_changed(ebay, tmp_path):
    ebay.add_items(12)
    fetch(tmp_path / "lamps", limit=10)
    path = tmp_path / "lamps" / TABLE
    text = path.read_bytes()
    path.write_bytes(text + b'{"half a row')  # As a kill leaves it.
    fetch(tmp_path / "lamps")
    assert len(table(tmp_path / "lamps")) == 12
    for damaged, words in (
        (text[:100], "is shorter than it was"),
        (b"x" + path.read_bytes()[1:], r"listings\.jsonl:1 is not as fetch_ebay wrote it"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=words):
            fetch(tmp_path / "lamps")


def test_one_process_at_a_time(ebay, tmp_path):
    ebay.add_items(2)
    go_on, arrived = threading.Event(), threading.Event()
    ebay.failures = [lambda request: (arrived.set(), go_on.wait(20), status(500)(request))]
    thread = threading.Thread(target=fetch, args=[tmp_path / "lamps"])
    thread.start()
    try:
        assert arrived.wait(20)
        with pytest.raises(UserError, match="another process is fetching into"):
            fetch(tmp_path / "lamps")
    finally:
        go_on.set()
        thread.join()
    assert len(table(tmp_path / "lamps")) == 2


def test_wrong_credentials(ebay, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EBAY_CLIENT_SECRET", "geheim-wrong")
    with pytest.raises(UserError, match=r"no token, it answered 401 Unauthorized: inval") as error:
        fetch(tmp_path / "lamps")
    assert "check EBAY_CLIENT_ID and EBAY_CLIENT_SECRET" in str(error.value)
    assert "geheim1" not in str(error.value)
    monkeypatch.setenv("EBAY_CLIENT_SECRET", "g\xebheim")
    with pytest.raises(UserError, match="EBAY_CLIENT_SECRET holds characters"):
        fetch(tmp_path / "lamps")
    for name in ("EBAY_CLIENT_SECRET", "EBAY_CLIENT_ID"):
        monkeypatch.setenv(name, "  ")
        with pytest.raises(UserError, match=f"{name} is not set.*developer"):
            fetch(tmp_path / "lamps")
    for content in (b"{}", b"[]", b"x", b'{"access_token": "a\\nb"}', b'{"access_token": 7}'):
        monkeypatch.setenv("EBAY_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("EBAY_CLIENT_SECRET", SECRET)
        ebay.server.routes[TOKEN] = content
        with pytest.raises(UserError, match="token holds none"):
            fetch(tmp_path / "lamps")
    assert not ebay.calls
    assert_no_secrets(tmp_path, *capsys.readouterr())
    assert "geheim" not in repr(api.environment_credentials())


def test_where_the_api_is(monkeypatch):
    monkeypatch.delenv("EBAY_API_URL", raising=False)
    assert api.api_url() == "https://api.ebay.com"
    assert api.api_url(sandbox=True) == "https://api.sandbox.ebay.com"
    assert not api.is_test_server(api.api_url())
    for url in (
        "http://example.com",
        "https://127.0.0.1",
        "http://127.0.0.1@example.com",
        "http://[a",
    ):
        monkeypatch.setenv("EBAY_API_URL", url)
        with pytest.raises(UserError, match="EBAY_API_URL is for tests"):
            api.api_url()


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (Search(), "--query, --category or both"),
        (Search(query="  "), "--query, --category or both"),
        (Search("a", category="lamps"), "--category=lamps: expected the number"),
        (Search("a", marketplace="US"), "--marketplace=US: expected one like EBAY_US"),
        (Search("a", marketplace="EBAY_US\r\nX: y"), "--marketplace=EBAY_US"),
        (Search("a", condition="old"), "--condition=old: expected new or used"),
    ],
)
def test_searches_that_are_none(ebay, tmp_path, search, message):
    with pytest.raises(UserError, match=message):
        fetch(tmp_path / "lamps", search)
    assert not (tmp_path / "lamps").exists() and ebay.server.paths == []
    assert Search("a", marketplace="EBAY_MOTORS_US").check() is None


def test_from_the_command_line(ebay, tmp_path, run_script):
    command = ["dataset_tool.py", "fetch_ebay", tmp_path / "lamps", "--rate=1000"]
    for arguments, words in (
        ([], "give --query, --category or both"),
        (["--query=a", "--limit=0"], "--limit: expected a whole number of at least 1"),
        (["--query=a", "--condition=old"], "--condition: invalid choice: 'old'"),
        (["--category=lamps"], "--category=lamps: expected the number"),
    ):
        bad = run_script([*command, *arguments])
        assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and words in bad.stderr, bad
    assert not (tmp_path / "lamps").exists()
    ebay.add_items(230)
    good = run_script([*command, "--query=lamp", "--limit=205", "--additional-images"])
    assert good.returncode == 0 and "205 pictures of 205 listings, 0 failed" in good.stdout, good
    assert [(c["limit"], c["offset"]) for c in ebay.calls] == [("200", "0"), ("200", "200")]
    ebay.failures = [failing(429, 2001, "Too many requests.")]
    stopped = run_script([*command, "--query=lamp", "--additional-images"])
    assert stopped.returncode == 2 and stopped.stderr.count("\n") == 1, stopped
    assert "205 listings are in" in stopped.stderr
    made = run_script(["dataset_tool.py", "create_from_ebay", tmp_path / "set", tmp_path / "lamps"])
    assert made.returncode == 0, made.stderr
    assert json.loads((tmp_path / "set/set.json").read_text())["images"] == 205
    texts = [out for done in (good, stopped, made) for out in (done.stdout, done.stderr)]
    assert_no_secrets(tmp_path, *texts)


@pytest.mark.parametrize("moment", ["pictures", "search"])
def test_a_process_that_is_killed_loses_nothing(ebay, tmp_path, moment):
    """While pictures of the first page are downloaded; while the second page is asked for."""
    ebay.add_items(230)
    held = threading.Event()
    if moment == "search":
        ebay.failures = [None, lambda request: held.wait(60)]
    command = [sys.executable, TOOL, "fetch_ebay", tmp_path / "lamps", "--query=lamp"]
    process = subprocess.Popen(
        [*map(str, command), f"--rate={50 if moment == 'pictures' else 1000}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = time.monotonic() + 60
    while len(pictures_asked(ebay)) < 30 or (moment == "search" and len(ebay.calls) < 2):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    output = process.communicate(timeout=60)[0]
    held.set()
    there = {str(p) for p in (tmp_path / "lamps/images").rglob("*.jpg")}
    assert 20 <= len(there) < 230
    assert all(browse.picture_problem(path) is None for path in there)
    asked, calls = len(pictures_asked(ebay)), len(ebay.calls)
    fetch(tmp_path / "lamps", page_size=200)
    assert len(table(tmp_path / "lamps")) == 230
    assert len(pictures_asked(ebay)) - asked == 230 - len(there)
    assert [call["offset"] for call in ebay.calls[calls:]] == ["200"]  # Never the first again.
    assert len(list((tmp_path / "lamps/images").rglob("*.jpg"))) == 230
    assert_no_secrets(tmp_path, output)
