"""Downloads of many files into a folder: several at once, politely, and resumed where they ended.

A file's name is a function of its URL, and a file is there only when it is whole. So whoever starts
the same downloads again after Ctrl-C, a failure or a kill gets only those that are missing.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urldefrag, urlsplit

from dnnlib.files import atomic_write
from dnnlib.public_web import PublicWeb, Refused
from dnnlib.retries import Backoff, Passing
from dnnlib.threads import map_in_threads
from dnnlib.util import UserError


@dataclass(frozen=True)
class DownloadOptions:
    """How many files are downloaded.

    Attributes:
        jobs: files at the same time.
        rate: requests a second to one host.
        max_bytes: the largest file that is accepted.
        seconds: the longest time that one answer may take.
        allow_private: also from addresses that are not public, see `public_web`.
        backoff: how often and when what failed is tried again.
    """

    jobs: int = 8
    rate: float = 8.0
    max_bytes: int = 32 << 20
    seconds: float = 60.0
    allow_private: bool = False
    backoff: Backoff = Backoff()  # noqa: RUF009 (it is frozen)


def file_of(url: str) -> str:
    """Where the file of a URL is in the folder, with `/` after the folder's first level.

    The first two digits of the name are a folder, since large folders are slow.
    """
    digest = hashlib.sha256(urldefrag(url).url.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    suffix = re.search(r"\.(jpe?g|png|webp|gif|bmp|tiff?|avif)$", _path(url), re.IGNORECASE)
    return f"{digest[:2]}/{digest}{suffix[0].lower() if suffix else ''}"


def download_all(
    urls: Iterable[str],
    folder: str,
    problem: Callable[[str | bytes], str | None],
    options: DownloadOptions,
) -> Iterator[tuple[str, str | None]]:
    """Sees to it that the files of all URLs are in a folder. Close it to stop early.

    Args:
        urls: Read as needed, each URL once.
        folder: Made if need be; `file_of` says what is where in it.
        problem: Says of a path or of the content of a file why it cannot be used, None if it can.
        options: See there.

    Returns:
        (url, None), or (url, why there is no file), as they come to an end.

    Raises:
        UserError: `folder` cannot be written.
    """
    downloader = _Downloader(folder, problem, options)
    ahead = 2 * options.jobs
    return map_in_threads(downloader, urls, options.jobs, ahead, False, downloader.stop)


class _Downloader:
    """Gets one file. Threads share it."""

    def __init__(self, folder: str, problem: Callable, options: DownloadOptions):
        self._folder, self._problem, self._backoff = folder, problem, options.backoff
        self._web = PublicWeb(
            options.allow_private, options.seconds, options.max_bytes, connections=options.jobs
        )
        self._stop = threading.Event()
        self._slots = _Slots(options.rate)

    def stop(self) -> None:
        self._stop.set()
        self._web.stop()

    def __call__(self, url: str) -> tuple[str, str | None]:
        try:
            path = os.path.join(self._folder, *file_of(url).split("/"))
            if os.path.exists(path) and self._problem(path) is None:
                return url, None
            os.makedirs(os.path.dirname(path), exist_ok=True)
            content = self._get(url)
            with atomic_write(path) as file:
                file.write(content)
            return url, None
        except Refused as error:
            return url, str(error)
        except OSError as error:
            raise UserError(f"cannot write in {self._folder}: {error.strerror or error}") from error

    def _get(self, url: str) -> bytes:
        """The content of a file without problems. Raises Refused."""
        try:
            return self._backoff.repeat(
                lambda: self._attempt(url), lambda error, pause: self._wait(pause)
            )
        except Passing as error:
            raise Refused(f"{error}, {self._backoff.attempts} times") from error

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Refused("interrupted")

    def _attempt(self, url: str) -> bytes:
        host = _host(url)
        self._wait(self._slots.take(host))
        try:
            content, has_end = self._web.get(url)
        except Passing as error:
            if error.retry_after is not None:  # All threads leave the host alone.
                self._slots.hold(host, min(error.retry_after, self._backoff.longest))
            raise
        reason = self._problem(content)
        if reason is None:
            return content
        # A connection that broke off may look like the end of the file.
        raise Refused(reason) if has_end else Passing(reason)


class _Slots:
    """Times at which requests to a host may start: evenly spread, `rate` a second."""

    def __init__(self, rate: float):
        self._interval = 1 / rate
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, host: str) -> float:
        """Takes the next time that is free. Returns the seconds until then."""
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next.get(host, now))
            self._next[host] = begin + self._interval
            return begin - now

    def hold(self, host: str, seconds: float) -> None:
        """Gives no times of the next seconds."""
        with self._lock:
            end = time.monotonic() + seconds
            self._next[host] = max(end, self._next.get(host, end))


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
