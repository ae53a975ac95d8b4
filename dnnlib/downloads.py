"""Downloads into a cache: whole or not at all, checked again at every use."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import math
import os
import re
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from dnnlib.files import atomic_write, open_regular
from dnnlib.output import tqdm
from dnnlib.public_web import PublicWeb, Refused
from dnnlib.retries import Backoff, Passing
from dnnlib.system import locked_file, user_cache
from dnnlib.urls import show
from dnnlib.util import UserError

_CHUNK = 1 << 20
_BACKOFF = Backoff(attempts=4, first=2.0)
_MAX_BYTES = 8 << 30
_SECONDS = 24 * 3600.0
_SLOWEST = (30 << 10, 30.0)  # Bytes in so many seconds of waiting.
_MAX_RECORD = 1 << 16


@dataclass(frozen=True)
class _Entry:
    """Where the download of a URL lies."""

    path: str

    @property
    def record(self) -> str:
        """JSON with size and SHA-256, written last: without it the file does not count."""
        return self.path + ".json"

    @property
    def lock(self) -> str:
        return self.path + ".lock"


def cache_folder() -> str:
    """`$DNNLIB_CACHE_DIR`, or the user's own, see `user_cache`."""
    folder = os.environ.get("DNNLIB_CACHE_DIR")
    return os.path.abspath(folder) if folder else user_cache()


def cached(url: str, cache_dir: str | None = None) -> str | None:
    """The file of a URL that was downloaded before, or None. Its content is not checked."""
    entry = _entry(url, cache_dir)
    return entry.path if os.path.isfile(entry.path) and os.path.isfile(entry.record) else None


def fetch(
    url: str,
    cache_dir: str | None = None,
    sha256: str | None = None,
    allow_http: bool = False,
    backoff: Backoff = _BACKOFF,
    verbose: bool = True,
) -> str:
    """The file of a URL, downloaded unless it is in the cache already.

    A file in the cache is used if it has the SHA-256 that was recorded when it was downloaded, and
    downloaded again if not. Processes that want the same file wait for the one that downloads it.

    A file whose end the server does not mark is downloaded again at every use, unless its SHA-256
    is given: if a part of it came, nobody could tell. Redirects lead to https URLs of public
    addresses or of the same host only.

    Args:
        url: https; http only from this machine itself, or if allowed.
        cache_dir: folder, created if need be; None: see `cache_folder`.
        sha256: what the file must have, in hexadecimal.
        allow_http: allow URLs whose answers could be forged on the way.
        backoff: how often and when what failed is tried again.
        verbose: say on stderr what is downloaded, with a progress bar.

    Returns:
        Path in the cache.

    Raises:
        UserError: the server refuses, answers with a web page, breaks off, or sends too much or
            too slowly; there is no connection; the file has another checksum; the cache cannot be
            written.
    """
    _check_scheme(url, allow_http)
    entry = _entry(url, cache_dir)
    try:
        known = _checksum_if_whole(entry)  # Also where the cache cannot be written.
        if known is None:
            os.makedirs(os.path.dirname(entry.path), exist_ok=True)
            with locked_file(entry.lock, math.inf, _say_that_it_waits):
                known = _checksum_if_whole(entry)  # Another process may have been faster.
                if known is None:
                    known = _download(url, entry, sha256, backoff, verbose)
    except OSError as error:
        folder = os.path.dirname(entry.path)
        raise UserError(f"cannot write in the cache {folder}: {error.strerror or error}") from error
    if sha256 is not None and known != sha256.lower():
        raise UserError(f"{show(url)} has the SHA-256 {known}, expected {sha256}")
    return entry.path


def _entry(url: str, cache_dir: str | None) -> _Entry:
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    # The name is that of `show`, so that nothing secret is in it.
    name = re.sub(r"[^A-Za-z0-9._-]", "_", urlsplit(show(url)).path.rpartition("/")[2])[-100:]
    return _Entry(os.path.join(cache_dir or cache_folder(), f"{digest}_{name or 'file'}"))


def _check_scheme(url: str, allow_http: bool) -> None:
    shown = show(url)
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and allow_http):
        return
    if not (parts.scheme == "http" and _is_this_machine(parts.hostname or "")):
        raise UserError(f"{shown}: only https URLs are downloaded")


def _check_redirect(first: str, url: str) -> None:
    """From https there is no way back to http, and from http only to the same host."""
    parts, begin = urlsplit(url), urlsplit(first)
    is_same = (parts.scheme, parts.hostname) == (begin.scheme, begin.hostname)
    if parts.scheme != "https" and not is_same:
        raise UserError(
            f"{show(url)}: only https URLs are downloaded, also where {show(first)} leads there"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _say_that_it_waits() -> None:
    print("Waiting for another process that downloads the same file", file=sys.stderr)


def _checksum_if_whole(entry: _Entry) -> str | None:
    try:
        with open_regular(entry.record) as file:
            record = json.loads(file.read(_MAX_RECORD))
        digest = hashlib.sha256()
        with open_regular(entry.path) as file:
            if os.fstat(file.fileno()).st_size != record["size"]:
                return None
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() if digest.hexdigest() == record["sha256"] else None
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _download(
    url: str, entry: _Entry, expected: str | None, backoff: Backoff, verbose: bool
) -> str:
    """Fills an entry and returns the file's SHA-256."""
    _remove_partial(entry)
    if verbose:
        print(f"Downloading {show(url)}", file=sys.stderr)
    # None: the bar is shown where stderr is a screen.
    no_bar = None if verbose else True
    try:
        digest, size, has_end = backoff.repeat(lambda: _receive(url, entry.path, no_bar), _wait)
    except (Refused, Passing) as error:
        raise UserError(f"cannot download {show(url)}: {error}") from error
    if has_end or (expected is not None and digest == expected.lower()):
        with atomic_write(entry.record, "w") as file:
            json.dump({"url": show(url), "size": size, "sha256": digest}, file)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.record)
        print(
            f"{show(url)}: the server does not say how long the file is; it will be downloaded "
            "again when it is used again",
            file=sys.stderr,
        )
    return digest


def _remove_partial(entry: _Entry) -> None:
    """Removes what killed processes left; the lock says that none of them is at work."""
    folder, name = os.path.split(entry.path)
    for other in os.scandir(folder):
        if other.name.startswith(f".{name}.") and other.name.endswith(".partial"):
            os.unlink(other.path)


def _wait(error: Passing, pause: float) -> None:
    print(f"{error}; trying again in {pause:.1f} s", file=sys.stderr)
    time.sleep(pause)


def _receive(url: str, path: str, no_bar: bool | None = None) -> tuple[str, int, bool]:
    """Writes what the server sends. Returns its SHA-256, its size, and whether its end is known."""
    digest, size, total = hashlib.sha256(), 0, None
    hosts = frozenset([(urlsplit(url).hostname or "").rstrip(".")])
    web = PublicWeb(seconds=_SECONDS, max_bytes=_MAX_BYTES, allowed_hosts=hosts, slowest=_SLOWEST)
    try:
        with (
            atomic_write(path) as file,
            web.open(url, lambda other: _check_redirect(url, other)) as body,
        ):
            total = body.length
            bar = tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=no_bar)
            with bar:
                for chunk in body.chunks:
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    bar.update(len(chunk))
    except Passing as error:
        if size == 0:
            raise
        of = "" if total is None else f" of {total}"
        what = f"short file: {error}, with {size}{of} bytes received"
        raise Passing(what, error.retry_after) from error
    return digest.hexdigest(), size, body.has_end
