"""The official names of `dnnlib.util` that this project itself does without; more of them are in
`dotted_names`.
"""

from __future__ import annotations

import fnmatch
import io
import math
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterable
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from dnnlib import downloads, urls
from dnnlib.files import open_regular
from dnnlib.retries import Backoff
from dnnlib.run_dir import Tee
from dnnlib.util import UserError


class Logger(Tee):
    """Takes all that is printed to stdout and stderr, shows it, and writes it to a file too.

    Args:
        file_name: of the log; None: only stderr becomes stdout.
        file_mode: "w" for a new file, "a" to append.
        should_flush: as the official one; here the file is always up to date.
    """

    def __init__(
        self, file_name: str | None = None, file_mode: str = "w", should_flush: bool = True
    ):
        if file_mode not in ("w", "a"):
            raise UserError(f"file_mode is {file_mode!r}, expected 'w' or 'a'")
        self.should_flush = should_flush
        self.stdout, self.stderr = sys.stdout, sys.stderr
        super().__init__(sys.stdout, file_name, is_new=file_mode == "w")
        sys.stdout = sys.stderr = self

    def write(self, text: str | bytes) -> int:
        count = super().write(text.decode() if isinstance(text, bytes) else text)
        if self.should_flush:
            self.flush()
        return count

    def close(self) -> None:
        """Gives stdout and stderr back, and closes the file."""
        self.flush()
        if sys.stdout is self:
            sys.stdout = self.stdout
        if sys.stderr is self:
            sys.stderr = self.stderr
        super().close()

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


# The cache and URLs


def set_cache_dir(path: str) -> None:
    """Sets the folder of downloads, for this process and those that it starts."""
    os.environ["DNNLIB_CACHE_DIR"] = os.path.abspath(path)


def make_cache_dir_path(*paths: str) -> str:
    """A path below the folder of downloads."""
    return os.path.join(downloads.cache_folder(), *paths)


def is_url(obj: Any, allow_file_urls: bool = False) -> bool:
    """Whether it is a text with a URL that `open_url` would download, or `file://` if allowed."""
    if not isinstance(obj, str) or not urls.is_url(obj):
        return False
    try:
        parts = urlsplit(obj)
    except ValueError:
        return False
    if parts.scheme == "file":
        return allow_file_urls and bool(parts.path)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def open_url(
    url: str,
    cache_dir: str | None = None,
    num_attempts: int = 10,
    verbose: bool = True,
    return_filename: bool = False,
    cache: bool = True,
) -> IO[bytes] | str:
    """Opens a file of the web, downloaded before or now, or one of this machine.

    Downloads are whole or not there, and what is in the cache is checked at every use; see
    `downloads.fetch`, which also says where downloads may come from.

    Args:
        url: https URL, `file://` URL or path.
        cache_dir: folder of downloads; None: see `set_cache_dir`.
        num_attempts: how often a download that fails is tried in all.
        verbose: say on stderr what is downloaded.
        return_filename: return the path instead.
        cache: keep the download.

    Raises:
        UserError: the file cannot be read or downloaded.
    """
    # Deviation: the official one takes http URLs too, whose answers can be forged on the way.
    if num_attempts < 1:
        raise UserError(f"num_attempts is {num_attempts}, expected 1 or more")
    if not is_url(url):
        path = _local_path(url)
        return path if return_filename else _open(path)
    if return_filename and not cache:
        raise UserError("open_url: return_filename=True needs cache=True, which keeps the file")
    backoff = Backoff(attempts=num_attempts, longest=10.0)
    if cache:
        path = downloads.fetch(url, cache_dir, backoff=backoff, verbose=verbose)
        return path if return_filename else _open(path)
    with tempfile.TemporaryDirectory() as folder:
        path = downloads.fetch(url, folder, backoff=backoff, verbose=verbose)
        with _open(path) as file:
            return io.BytesIO(file.read())


def _local_path(url: str) -> str:
    if is_url(url, allow_file_urls=True):
        return url2pathname(urlsplit(url).path)
    if urls.is_url(url):
        raise UserError(f"{urls.show(url)}: expected an https URL, a file:// URL or a path")
    return url


def _open(path: str) -> IO[bytes]:
    try:
        return open_regular(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


# Small helpers


def ask_yes_no(question: str) -> bool:
    """Asks on the terminal until the answer is yes or no."""
    answers = {"y": True, "yes": True, "n": False, "no": False}
    while True:
        try:
            answer = input(f"{question} [y/n] ").strip().lower()
        except EOFError:
            raise UserError(f"nobody answers the question {question!r}: stdin is closed") from None
        if answer in answers:
            return answers[answer]


def tuple_product(t: Iterable) -> Any:
    """The product of all elements, 1 if there are none."""
    return math.prod(t)


def get_dtype_and_ctype(type_obj: Any) -> tuple[np.dtype, Any]:
    """NumPy's and C's type of a number, from its name, NumPy's type or C's: `float32`, c_float."""
    try:
        dtype = np.dtype(type_obj)
        return dtype, np.ctypeslib.as_ctypes_type(dtype)
    except (TypeError, NotImplementedError) as error:
        raise UserError(f"{type_obj!r} is no type of numbers that NumPy and C have") from error


def is_pickleable(obj: Any) -> bool:
    """Whether an object can be written as a pickle."""
    try:
        pickle.dumps(obj)
    except Exception:  # Its own methods may raise anything.
        return False
    return True


def list_dir_recursively_with_ignore(
    dir_path: str, ignores: list[str] | None = None, add_base_to_relative: bool = False
) -> list[tuple[str, str]]:
    """All files in a folder and its subfolders.

    Args:
        dir_path: the folder.
        ignores: patterns like `*.pyc`; files and folders whose names fit one are left out.
        add_base_to_relative: relative paths begin with the name of the folder.

    Returns:
        [(absolute path, relative path)], ordered by the latter.
    """
    if not os.path.isdir(dir_path):
        raise UserError(f"{dir_path} is not a folder")
    base = os.path.basename(os.path.abspath(dir_path)) if add_base_to_relative else ""

    def kept(names: list[str]) -> list[str]:
        return [n for n in names if not any(fnmatch.fnmatch(n, p) for p in ignores or ())]

    found = []
    for folder, folders, files in os.walk(dir_path):
        folders[:] = kept(folders)
        for name in kept(files):
            path = os.path.join(folder, name)
            relative = os.path.join(base, os.path.relpath(path, dir_path))
            found.append((os.path.abspath(path), relative))
    return sorted(found, key=lambda pair: pair[1])


def copy_files_and_create_dirs(files: Iterable[tuple[str, str]]) -> None:
    """Copies files, (source, target) each; folders of the targets are made."""
    for source, target in files:
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        shutil.copyfile(source, target)
