"""`fetch_ebay`: pictures of listings that eBay's Browse API finds, and a table of them.

The folder holds `listings.jsonl`, a row for each picture; `images/`; and a state in a hidden file.
Rows and state are written before the pictures of a page are downloaded. So whenever it ends, the
next run downloads what is missing and continues with the next page; no call is made twice.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from typing import Any

from dnnlib import UserError
from dnnlib.bulk_downloads import DownloadOptions, download_all, file_of
from dnnlib.files import atomic_write, sync
from dnnlib.output import tqdm
from dnnlib.system import Busy, locked_file
from dnnlib.util import one_line
from training.datasets.sources.ebay import api
from training.datasets.sources.ebay.api import BrowseApi, QuotaUsedUp, Search
from training.datasets.sources.ebay.web_pictures import larger, picture_problem, show_picture

TABLE = "listings.jsonl"
IMAGES = "images"
STATE, LOCK = ".fetch_ebay.json", ".fetch_ebay.lock"
RIGHTS = (
    "You must hold the right to use the pictures: they belong to their sellers, and eBay's API "
    "licence and user agreement restrict scraping and some uses with AI."
)
_MAX_NAMED = 20  # Failed downloads named on the screen.
_PICTURE_ID = re.compile(r"/images/g/([^/]+)/")


def fetch_ebay(
    folder: str,
    search: Search,
    limit: int = 1000,
    options: DownloadOptions | None = None,
    page_size: int = api.PAGE_SIZE,
) -> None:
    """Fetches the pictures of listings; the same call again resumes where it ended.

    `create_from_ebay` makes a dataset of the folder.

    Args:
        folder: Made if need be.
        search: What to look for; the same one each time for a folder.
        limit: Listings to have in the end. Those that share a picture with another, as variations
            do, and those without a picture do not count.
        options: How pictures are downloaded; `backoff` also holds for calls of the API.
        page_size: Results of a call.

    Raises:
        UserError: An argument or a credential is wrong, the folder has another search's pictures,
            eBay refuses, or its quota is used up. What was fetched is kept.
    """
    search.check()
    options = options or DownloadOptions()
    credentials = api.environment_credentials()
    url = api.api_url(search.sandbox)
    if api.is_test_server(url):
        options = dataclasses.replace(options, allow_private=True)
    print(RIGHTS)
    with _opened(folder, search) as fetched:
        count_call, backoff = fetched.count_call, options.backoff
        client = BrowseApi(credentials, url, search.marketplace, count_call, backoff)
        failures = _download(fetched, fetched.rows(), options)
        try:
            while fetched.listings < limit and not fetched.state["done"]:
                offset = fetched.state["offset"]
                page = client.search(search.parameters(offset, page_size))
                rows = fetched.add(page, limit, page_size)
                failures |= _download(fetched, rows, options)
        except QuotaUsedUp as error:
            raise UserError(
                f"{error}: {fetched.listings} listings are in {folder}; run the same command again "
                "later, for example tomorrow, to continue"
            ) from error
        _print_summary(fetched, failures)


class _Fetched:
    """What a folder holds, and its state."""

    def __init__(self, folder: str, search: Search, state: dict[str, Any]):
        self._search, self.state = search, state
        self.folder, self._table = folder, os.path.join(folder, TABLE)
        with open(self._table, "ab") as file:
            if file.tell() < state["table_bytes"]:
                raise UserError(f"{self._table} is shorter than it was: remove {folder}")
            file.truncate(state["table_bytes"])  # A page that was not written to its end.
        self._pictures: set[str] = set()
        items: set[str] = set()
        for row in self.rows():
            self._pictures.add(row["picture_id"])
            items.add(row["item_id"])
        self.listings = len(items)

    @property
    def images(self) -> str:
        return os.path.join(self.folder, IMAGES)

    @property
    def pictures(self) -> int:
        return len(self._pictures)

    def has(self, url: str) -> bool:
        """Whether a picture is there; whole, since it was written so."""
        return os.path.exists(os.path.join(self.images, file_of(url)))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the table."""
        with open(self._table, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    for key in ("image_url", "picture_id", "item_id"):
                        row[key] + ""
                except (ValueError, KeyError, TypeError) as error:
                    raise UserError(
                        f"{self._table}:{number} is not as fetch_ebay wrote it: remove the line"
                    ) from error
                yield row

    def count_call(self) -> None:
        """Counts a call; days are those of UTC. Raises QuotaUsedUp."""
        today = datetime.now(timezone.utc).date().isoformat()
        calls = self.state["calls"]
        if calls["day"] != today:
            calls |= {"day": today, "count": 0}
        if calls["count"] >= api.CALLS_A_DAY:
            raise QuotaUsedUp(f"{calls['count']} searches were made today, as many as eBay allows")
        calls["count"] += 1
        _write_state(self.folder, self.state)

    def add(self, page: dict[str, Any], limit: int, page_size: int) -> list[dict[str, Any]]:
        """Adds the listings of a page to the table until there are `limit`. Returns the rows."""
        offset, total = self.state["offset"], page.get("total")
        items = page.get("itemSummaries")
        items = [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []
        added: list[dict[str, Any]] = []
        is_cut = False
        for item in items:
            rows = [r for r in _rows(item, self._search) if r["picture_id"] not in self._pictures]
            if rows and self.listings >= limit:
                is_cut = True
                break
            self._pictures.update(row["picture_id"] for row in rows)
            self.listings += bool(rows)
            added += rows
        with open(self._table, "ab") as file:
            for row in added:
                file.write(json.dumps(row).encode("ascii") + b"\n")
            file.flush()
            sync(file.fileno())
            self.state["table_bytes"] = file.tell()
        if not is_cut:  # Else the page is asked for again, should the limit be raised.
            self.state["offset"] = offset + page_size
            end = min(total, api.MAX_RESULTS) if isinstance(total, int) else 0
            is_last = "next" not in page or not items
            self.state["done"] = is_last or self.state["offset"] >= (end or api.MAX_RESULTS)
        if isinstance(total, int):
            self.state["total"] = total
        _write_state(self.folder, self.state)
        return added


@contextmanager
def _opened(folder: str, search: Search) -> Iterator[_Fetched]:
    """Opens or begins a folder, and keeps other processes off it."""
    try:
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(os.path.join(folder, STATE)):
            if [n for n in os.listdir(folder) if not n.startswith((LOCK, f".{STATE}"))]:
                raise UserError(f"{folder} is not empty and was not begun by fetch_ebay")
        with locked_file(os.path.join(folder, LOCK)):
            state = _read_state(folder, search)
            _write_state(folder, state)
            yield _Fetched(folder, search, state)
    except Busy:
        raise UserError(f"another process is fetching into {folder}") from None
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from error


def _read_state(folder: str, search: Search) -> dict[str, Any]:
    """The state of a folder, or that of a new one; only of the same search."""
    path, wanted = os.path.join(folder, STATE), dataclasses.asdict(search)
    state = {"search": wanted, "offset": 0, "table_bytes": 0, "total": None, "done": False}
    state |= {"calls": {"day": "", "count": 0}}
    if not os.path.exists(path):
        return state
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if not (isinstance(found, dict) and found.keys() == state.keys()):
            raise ValueError
    except ValueError as error:
        raise UserError(f"{path} is not as fetch_ebay wrote it: choose another folder") from error
    differences = [
        f"{key} {found['search'].get(key)!r} and not {value!r}"
        for key, value in wanted.items()
        if found["search"].get(key) != value
    ]
    if differences:
        raise UserError(
            f"{folder} holds another search, with {one_line('; '.join(differences))}: give the "
            "same options, or choose another folder"
        )
    return found


def _write_state(folder: str, state: dict[str, Any]) -> None:
    with atomic_write(os.path.join(folder, STATE), "w") as file:
        json.dump(state, file, indent=1)


def _rows(item: dict[str, Any], search: Search) -> list[dict[str, Any]]:
    """Rows of the table for the pictures of a listing, each picture once."""
    urls = [_get(item, "image", "imageUrl") or _get(item, "thumbnailImages", 0, "imageUrl")]
    additional = item.get("additionalImages")
    if search.additional_images and isinstance(additional, list):
        urls += [_get(image, "imageUrl") for image in additional]
    categories = item.get("categories")
    categories = categories if isinstance(categories, list) else []
    facts = {
        "title": item.get("title"),
        "category": _get(categories, 0, "categoryName"),
        "category_id": _get(categories, 0, "categoryId"),
        "categories": [_get(category, "categoryName") for category in categories],
        "category_ids": [_get(category, "categoryId") for category in categories],
        "item_id": str(item.get("itemId")),
        "condition": item.get("condition"),
        "price": _get(item, "price", "value"),
        "currency": _get(item, "price", "currency"),
        "url": item.get("itemWebUrl"),
    }
    rows = {}
    for url in urls:
        if isinstance(url, str) and url:
            large = larger(url)
            match = _PICTURE_ID.search(large)
            picture = {"image": f"{IMAGES}/{file_of(large)}", "image_url": large}
            picture_id = match[1] if match else large
            rows.setdefault(picture_id, picture | {"picture_id": picture_id} | facts)
    return list(rows.values())


def _get(value: Any, *path: str | int) -> Any:
    """A part of JSON, None where it is not there."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _download(
    fetched: _Fetched, rows: Iterable[dict[str, Any]], options: DownloadOptions
) -> dict[str, str]:
    """Downloads the pictures of rows that are not there. Returns {URL: reason} of failures."""
    urls = [url for url in (row["image_url"] for row in rows) if not fetched.has(url)]
    failures: dict[str, str] = {}
    if not urls:
        return failures
    results = download_all(urls, fetched.images, picture_problem, options)
    bar = tqdm(total=len(urls), unit="img", desc="pictures", disable=None, leave=False)
    with closing(results), bar:
        for url, reason in results:
            bar.update()
            if reason is not None:
                failures[url] = reason
    return failures


def _print_summary(fetched: _Fetched, failures: dict[str, str]) -> None:
    for url, reason in list(failures.items())[:_MAX_NAMED]:
        print(f"no picture from {show_picture(url)}: {reason}", file=sys.stderr)
    if failures:
        print(
            f"{len(failures)} pictures failed: the same command again tries them again",
            file=sys.stderr,
        )
    total = fetched.state["total"] or 0
    if fetched.state["done"] and total > api.MAX_RESULTS:
        print(
            f"eBay knows {total} results and gives the first {api.MAX_RESULTS} of a query: "
            "narrow it down with --category, --condition or --filter, in another folder",
            file=sys.stderr,
        )
    elif fetched.state["done"]:
        print("These are all that eBay has.")
    print(
        f"{fetched.folder}: {fetched.pictures - len(failures)} pictures of {fetched.listings} "
        f"listings, {len(failures)} failed; next: dataset_tool.py create_from_ebay DATASET "
        f"{fetched.folder} --resolution=256"
    )
