"""Files and folders that are either whole or not there (DESIGN D8)."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from dnnlib.util import UserError

_UMASK_LOCK = threading.Lock()


@contextmanager
def atomic_write(path: str, mode: str = "wb") -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its place when the block ends well.

    The data is on disk (fsync) before the rename, so after a crash `path` holds either what it held
    before or everything that was written. An exception leaves `path` as it was. What a killed
    process left of the same name is removed.
    """
    folder, name = os.path.split(os.path.abspath(path))
    _remove_abandoned(folder, name)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".partial", dir=folder)
    try:
        with os.fdopen(handle, mode) as file:
            _lock(handle)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


@contextmanager
def staged_directory(path: str) -> Iterator[str]:
    """Yields a hidden folder beside `path` that is renamed to `path` when the block ends well.

    An exception (Ctrl-C included) removes it. What a killed process left behind is removed by the
    next one that stages the same path; a lock that dies with its owner tells the two apart.

    Raises:
        UserError: `path` exists and is not an empty folder, or its parent cannot be written.
    """
    path = os.path.abspath(path)
    parent, name = os.path.split(path)
    check_free(path)
    is_new_parent = not os.path.isdir(parent)
    try:
        os.makedirs(parent, exist_ok=True)
        _remove_abandoned(parent, name)
        staging, lock = _make_locked(parent, name)
    except OSError as error:
        raise UserError(f"cannot write in {parent}: {error.strerror or error}") from error
    try:
        yield staging
        check_free(path)
        try:
            for entry in os.scandir(staging):
                _sync_file(entry.path)
            os.chmod(staging, 0o777 & ~_umask())
            os.replace(staging, path)
            _sync_folder(parent)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new_parent:
            with suppress(OSError):  # Somebody else has put something there.
                os.rmdir(parent)
        raise
    finally:
        os.close(lock)


def open_regular(path: str) -> IO[bytes]:
    """Opens a file for reading, unless it is something that could go on or wait for ever.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
    """

    def open_at_once(name: str, flags: int) -> int:
        # Without O_NONBLOCK, a pipe waits for a writer.
        handle = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is a folder, pipe or device, not a regular file", name)
        return handle

    return open(path, "rb", opener=open_at_once)


def _make_locked(parent: str, name: str) -> tuple[str, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        staging = tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=parent)
        lock = os.open(staging, os.O_RDONLY)
        _lock(lock)
        if os.path.isdir(staging):
            return staging, lock
        os.close(lock)  # Another process took it for abandoned before it was locked.


def check_free(path: str) -> None:
    """Raises a UserError if a folder at `path` would replace something."""
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise UserError(f"{path} exists already: choose another name, or remove it first")


def _remove_abandoned(parent: str, name: str) -> None:
    """Removes what processes that were killed left of `name`; their locks died with them."""
    for entry in list(os.scandir(parent)):
        if not (entry.name.startswith(f".{name}.") and entry.name.endswith(".partial")):
            continue
        try:
            lock = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue  # Gone already, or not ours.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)
        except OSError:
            pass  # Another process is writing it right now, or nobody can tell.
        finally:
            os.close(lock)


def _lock(handle: int) -> None:
    """Marks a file as being written. Where the file system has no locks, nothing is removed."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)


def _sync_file(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Syncing a folder makes the rename in it durable; it is the same call as for a file.
_sync_folder = _sync_file


def _umask() -> int:
    # mkstemp and mkdtemp make private entries; what we publish gets the user's usual permissions.
    # To read the mask is to set it for a moment, in which no other thread must do the same.
    with _UMASK_LOCK:
        value = os.umask(0o077)
        os.umask(value)
    return value
