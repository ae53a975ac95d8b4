"""Downloads into a cache: whole or not at all, checked again at every use."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import requests

from dnnlib.files import atomic_write
from dnnlib.output import tqdm
from dnnlib.util import UserError, one_line

_CHUNK = 1 << 20
_TIMEOUT = (15, 60)  # Seconds to connect, and without any data.
_PAUSES = (1.0, 3.0, 9.0)  # Seconds before the second, third and fourth attempt.


class _Passing(Exception):
    """A failure that may not happen again."""


@dataclass(frozen=True)
class _Entry:
    """Where the download of an URL lies."""

    path: str

    @property
    def record(self) -> str:
        """JSON with size and SHA-256, written last: without it the file does not count."""
        return self.path + ".json"

    @property
    def lock(self) -> str:
        return self.path + ".lock"


def is_url(text: str) -> bool:
    """Whether a text is an URL and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def cache_folder() -> str:
    """`$DNNLIB_CACHE_DIR`, or `~/.cache/dnnlib`."""
    folder = os.environ.get("DNNLIB_CACHE_DIR")
    return os.path.abspath(folder or os.path.expanduser("~/.cache/dnnlib"))


def cached(url: str, cache_dir: str | None = None) -> str | None:
    """The file of an URL that was downloaded before, or None. Its content is not checked."""
    entry = _entry(url, cache_dir)
    return entry.path if os.path.isfile(entry.path) and os.path.isfile(entry.record) else None


def fetch(
    url: str,
    cache_dir: str | None = None,
    sha256: str | None = None,
    allow_http: bool = False,
    pauses: tuple[float, ...] = _PAUSES,
) -> str:
    """The file of an URL, downloaded unless it is in the cache already.

    A file in the cache is used if it has the SHA-256 that was recorded when it was downloaded, and
    downloaded anew if not. Processes that want the same file wait for the one that downloads it.

    Args:
        url: https; http only from this machine itself, or if allowed.
        cache_dir: folder, created if need be; None: see `cache_folder`.
        sha256: what the file must have, in hexadecimal.
        allow_http: allow URLs whose answers could be forged on the way.
        pauses: seconds before each further attempt after a failure that may pass.

    Returns:
        Path in the cache.

    Raises:
        UserError: the server refuses, answers with a web page or breaks off; there is no
            connection; the file has another checksum; the cache cannot be written.
    """
    _check_scheme(url, allow_http)
    entry = _entry(url, cache_dir)
    try:
        os.makedirs(os.path.dirname(entry.path), exist_ok=True)
        with _locked(entry):
            known = _checksum_if_whole(entry)
            if known is None:
                known = _download(url, entry, allow_http, pauses)
    except OSError as error:
        folder = os.path.dirname(entry.path)
        raise UserError(f"cannot write in the cache {folder}: {error.strerror or error}") from error
    if sha256 is not None and known != sha256.lower():
        raise UserError(f"{show(url)} has the SHA-256 {known}, expected {sha256}")
    return entry.path


def _entry(url: str, cache_dir: str | None) -> _Entry:
    digest = hashlib.sha256(url.encode()).hexdigest()[:24]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", _split(url).path.rpartition("/")[2])[-100:]
    return _Entry(os.path.join(cache_dir or cache_folder(), f"{digest}_{name or 'file'}"))


def _check_scheme(url: str, allow_http: bool) -> None:
    parts = _split(url)
    if parts.scheme == "https" or (parts.scheme == "http" and allow_http):
        return
    if not (parts.scheme == "http" and _is_this_machine(parts.hostname or "")):
        raise UserError(f"{show(url)}: only https URLs are downloaded")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise UserError(f"an URL is not valid: {error}") from error


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def show(url: str) -> str:
    """An URL for messages, without what may be a secret: user, password, query."""
    parts = _split(url)
    host = parts.netloc.rpartition("@")[2]
    return one_line(f"{parts.scheme}://{host}{parts.path}")


@contextlib.contextmanager
def _locked(entry: _Entry) -> Iterator[None]:
    """Holds a lock that dies with this process."""
    handle = os.open(entry.lock, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another process that downloads the same file", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _checksum_if_whole(entry: _Entry) -> str | None:
    try:
        with open(entry.record, encoding="utf-8") as file:
            record = json.load(file)
        if os.path.getsize(entry.path) != record["size"]:
            return None
        digest = hashlib.sha256()
        with open(entry.path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() if digest.hexdigest() == record["sha256"] else None
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def _download(url: str, entry: _Entry, allow_http: bool, pauses: tuple[float, ...]) -> str:
    """Fills an entry and returns the file's SHA-256."""
    _remove_partial(entry)
    print(f"Downloading {show(url)}", file=sys.stderr)
    for pause in (*pauses, None):
        try:
            with atomic_write(entry.path) as file:
                digest, size = _receive(url, file, allow_http)
            break
        except _Passing as error:
            if pause is None:
                raise UserError(f"cannot download {show(url)}: {error}") from error
            print(f"{error}; trying again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)
    with atomic_write(entry.record, "w") as file:
        json.dump({"url": show(url), "size": size, "sha256": digest}, file)
    return digest


def _remove_partial(entry: _Entry) -> None:
    """Removes what killed processes left; the lock says that none of them is at work."""
    folder, name = os.path.split(entry.path)
    for other in os.scandir(folder):
        if other.name.startswith(f".{name}.") and other.name.endswith(".partial"):
            os.unlink(other.path)


def _receive(url: str, file, allow_http: bool) -> tuple[str, int]:
    """Writes what the server sends. Returns its SHA-256 and size."""
    digest, size, total = hashlib.sha256(), 0, None
    # Without compression, so that the announced length is that of the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "dnnlib"}

    def check_redirect(response: requests.Response, **_options) -> None:
        if response.is_redirect:  # Before it is followed.
            _check_scheme(urljoin(response.url, response.headers["location"]), allow_http)

    options = {"headers": headers, "hooks": {"response": check_redirect}}
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT, **options) as response:
            _check_status(url, response)
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            bar = tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=None)
            with bar:
                for chunk in response.iter_content(_CHUNK):
                    if size == 0:
                        _check_content(url, response, chunk)
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    bar.update(len(chunk))
    except requests.exceptions.SSLError as error:
        raise UserError(f"cannot download {show(url)}: the server's certificate is not valid or "
                        "the connection is not secure") from error  # fmt: skip
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise UserError(f"cannot download {show(url)}: it is not a valid URL") from error
    except requests.RequestException as error:
        # Its text may have the whole URL in it, with secrets.
        what = "timed out" if isinstance(error, requests.Timeout) else "connection failed"
        if size or isinstance(error, requests.exceptions.ChunkedEncodingError):
            of = "" if total is None else f" of {total}"
            what = f"short file: the connection broke off, with {size}{of} bytes received"
        raise _Passing(what) from error
    if total is not None and size != total:
        raise _Passing(f"short file: got {size} of {total} bytes")
    if size == 0:
        raise _Passing("the server sent an empty file")
    return digest.hexdigest(), size


def _check_status(url: str, response: requests.Response) -> None:
    code = response.status_code
    if code >= 500 or code in (408, 429):
        raise _Passing(f"the server answered {code} {one_line(response.reason, 60)}")
    if code != 200:
        raise UserError(
            f"cannot download {show(url)}: the server answered {code} "
            f"{one_line(response.reason, 60)}"
        )


def _check_content(url: str, response: requests.Response, begin: bytes) -> None:
    if is_page(response, begin):
        raise UserError(
            f"cannot download {show(url)}: the server answered with an HTML page, not with a file "
            "(it may ask to log in, or have refused a large download)"
        )


def is_page(response: requests.Response, begin: bytes) -> bool:
    """Whether an answer that begins so is a web page."""
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    text = begin[:512].lstrip().lower()
    is_typed = kind in ("text/html", "application/xhtml+xml")
    return is_typed or text.startswith((b"<!doctype", b"<html"))
