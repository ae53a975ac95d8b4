"""Pictures of listings that are on the web."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

from dnnlib import UserError, urls
from dnnlib.bulk_downloads import DownloadOptions, download_all, file_of
from dnnlib.output import tqdm
from dnnlib.util import one_line
from training.datasets.items import Lookup
from training.datasets.photos.reader import PictureReader

# All sizes of a picture on eBay have the same address but for the longest side.
_SIZE = re.compile(r"/s-l(\d+)(?=\.\w+(?:\?|$))")
_LARGEST = 1600


def larger(url: str) -> str:
    """The address of an eBay picture in its largest size; other URLs as they are."""
    match = _SIZE.search(url)
    if match is None or int(match[1]) >= _LARGEST:
        return url
    return _SIZE.sub(f"/s-l{_LARGEST}", url).replace("/thumbs/images/g/", "/images/g/")


def picture_problem(picture: str | bytes) -> str | None:
    """Why a path or the content of a file is no whole picture; None if it is one."""
    with PictureReader() as reader:
        return reader.problem(picture)


def show_picture(picture: str) -> str:
    """A URL or path for messages, URLs without what may be a secret."""
    if not is_url(picture):
        return one_line(picture)
    try:
        return urls.show(picture)
    except UserError:
        return "a URL"


def is_url(picture: str) -> bool:
    """Whether a picture is on the web; whatever the scheme: the downloader says which it takes."""
    return urls.is_url(picture) and not picture.lower().startswith("file:")


def download_pictures(addresses: Lookup, folder: str, options: DownloadOptions) -> Lookup:
    """Downloads pictures, each in its largest size if that is to be had.

    Args:
        addresses: where they are.
        folder: for them; made if need be.
        options: how they are downloaded.

    Returns:
        {name: reason} of what failed.
    """
    wanted = Lookup((file_of(larger(url)), larger(url)) for url in addresses)
    failures = Lookup(_failures(wanted, folder, options))
    smaller = (url for url in addresses if larger(url) != url and file_of(larger(url)) in failures)
    wanted_small = Lookup((file_of(url), url) for url in smaller)
    failed = len(failures) - len(wanted_small)
    if len(wanted_small):
        again = Lookup(_failures(wanted_small, folder, options))
        failed += len(again)
        failures = Lookup([*failures.items(), *again.items()])
    if len(wanted):
        print(f"{folder}: {len(wanted) - failed} pictures, {failed} downloads failed")
    return failures


def _failures(wanted: Lookup, folder: str, options: DownloadOptions) -> Iterator[tuple[str, str]]:
    """(name, reason) of what could not be downloaded."""
    # The names are hashes: their order mixes hosts, so that none gets all requests at once.
    urls = (wanted.get(name) for name in wanted)
    results = download_all(urls, folder, picture_problem, options)
    bar = tqdm(total=len(wanted), unit="img", desc="downloading", disable=None)
    failed = 0
    with closing(results), bar:
        for url, reason in results:
            bar.update()
            if reason is not None:
                failed += 1
                bar.set_postfix(failed=failed)
                yield file_of(url), reason
