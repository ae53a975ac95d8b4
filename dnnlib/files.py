"""Files and folders that are either whole or not there (DESIGN D8)."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from dnnlib.system import LOCKS_OUTLIVE_FILES, try_lock
from dnnlib.util import UserError

_UMASK_LOCK = threading.Lock()
_SUFFIX = ".partial"
_LONGEST_NAME = 200  # bytes; more is added to it, and 255 is what most file systems take.
_LONGEST_LINE, _MOST_LINES = 1 << 16, 1_000_000  # Of `lines_of`.
# A folder with more entries is looked through once in 100 times as long as that takes.
_MANY_ENTRIES, _LOOK_PAUSE = 1000, 100
_NEXT_LOOK: dict[str, float] = {}  # Folder -> when it is looked through again, `time.monotonic`.
# A share says so if it cannot sync, or not this kind of file; the write itself is whole.
_CANNOT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EROFS}
_CANNOT_SYNC |= {errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTTY}
# What some shares, and Windows, say of a rename to a name that is taken.
_NOT_OVER = {errno.EEXIST, errno.ENOTEMPTY, errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY}
_NOT_OVER |= {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def atomic_write(path: str, mode: str = "wb") -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its place when the block ends well.

    The data is on disk (fsync) before the rename, so after a crash `path` holds either what it held
    before or everything that was written. An exception leaves `path` as it was. What a killed
    process left of the same name is removed. Text is UTF-8.
    """
    folder, name = os.path.split(os.path.abspath(path))
    remove_abandoned(folder, name)
    handle, temporary = tempfile.mkstemp(prefix=_prefix(name), suffix=_SUFFIX, dir=folder)
    lock = None
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            lock = os.dup(handle) if LOCKS_OUTLIVE_FILES else None
            try_lock(handle)
            yield file
            file.flush()
            sync(file.fileno())
        _set_mode(temporary, 0o666)
        _replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _sync_folder(folder)


def append_line(path: str, line: str) -> None:
    """Adds a line to a text file, whole or not at all, in UTF-8.

    What a full disk or a machine that went down has left without an end becomes a line of its own.

    Raises:
        OSError: it cannot be written.
    """
    with open(path, "ab+", buffering=0) as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
        begin = "" if file.read(1) in (b"", b"\n") else "\n"
    append(path, f"{begin}{line}\n".encode())


def append(path: str, content: bytes) -> None:
    """Adds to a file, all or nothing.

    Raises:
        OSError: it cannot be written.
    """
    with open(path, "ab", buffering=0) as file:
        size, rest = file.seek(0, os.SEEK_END), memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise


@contextmanager
def staged_directory(path: str, mode: int = 0o777) -> Iterator[str]:
    """Yields a hidden folder beside `path` that is renamed to `path` when the block ends well.

    An exception (Ctrl-C included) removes it. What a killed process left behind is removed by the
    next one that stages the same path; a lock that dies with its owner tells the two apart.

    Raises:
        UserError: `path` exists and is not an empty folder, or its parent cannot be written.
    """
    path = os.path.abspath(path)
    check_free(path)
    with _locked_beside(path) as (staging, lock):
        yield staging
        check_free(path)
        try:
            for folder, _, names in os.walk(staging):
                for name in names:
                    _sync_file(os.path.join(folder, name))
            _set_mode(staging, mode)
            _publish(staging, path, lock)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    _sync_folder(os.path.dirname(path))


@contextmanager
def folder_beside(path: str) -> Iterator[str]:
    """Yields a hidden folder beside `path` for what goes into it; it is removed in the end.

    What a killed process left behind is removed as by `staged_directory`.

    Raises:
        UserError: the parent of `path` cannot be written.
    """
    with _locked_beside(os.path.abspath(path)) as (folder, _):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked_beside(path: str) -> Iterator[tuple[str, _FolderLock]]:
    """A new hidden folder beside `path` and its lock; an exception removes the folder."""
    parent, name = os.path.split(path)
    is_new_parent = not os.path.isdir(parent)
    try:
        os.makedirs(parent, exist_ok=True)
        remove_abandoned(parent, name)
        folder, lock = _make_locked(parent, name)
    except OSError as error:
        raise UserError(f"cannot write in {parent}: {error.strerror or error}") from error
    try:
        yield folder, lock
    except BaseException:
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)
        if is_new_parent:
            with suppress(OSError):  # Somebody else has put something there.
                os.rmdir(parent)
        raise
    finally:
        lock.close()


def open_regular(path: str) -> IO[bytes]:
    """Opens a file for reading, unless it is something without end or that could wait forever.

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


class _FolderLock:
    """Keeps a folder from being taken for abandoned, where folders can be opened and locked."""

    def __init__(self, folder: str):
        self._handle: int | None = None
        with suppress(OSError):  # On Windows
            self._handle = os.open(folder, os.O_RDONLY)
            try_lock(self._handle)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def lines_of(path: str) -> Iterator[str]:
    """Lines of a text file as far as they are of bounded length; none of a file that is not there.

    A machine that goes down may leave half of one.
    """
    with suppress(OSError), open_regular(path) as file:
        for _ in range(_MOST_LINES):
            line = file.readline(_LONGEST_LINE)
            if not line:
                return
            if text := line.decode(errors="replace").strip():
                yield text


def _make_locked(parent: str, name: str) -> tuple[str, _FolderLock]:
    """A new folder and its lock."""
    while True:
        staging = tempfile.mkdtemp(prefix=_prefix(name), suffix=_SUFFIX, dir=parent)
        lock = _FolderLock(staging)
        if os.path.isdir(staging):
            return staging, lock
        lock.close()  # Another process took it for abandoned before it was locked.


def check_free(path: str) -> None:
    """Raises a UserError if a folder at `path` would replace something."""
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise UserError(f"{path} exists already: choose another name, or remove it first")


def _prefix(name: str) -> str:
    """What the temporary names for `name` begin with."""
    encoded = os.fsencode(name)
    if len(encoded) > _LONGEST_NAME:
        name = hashlib.sha256(encoded).hexdigest()[:32]
    return f".{name}."


def remove_abandoned(parent: str, name: str | None = None) -> None:
    """Removes what processes that were killed left of `name` in a folder, or of everything there;
    their locks died with them.

    Folders of many thousand pictures are not looked through for each of them.
    """
    start = time.monotonic()
    if name is not None and start < _NEXT_LOOK.get(parent, 0):
        return
    prefix = "." if name is None else _prefix(name)
    entries = list(os.scandir(parent))
    if len(entries) > _MANY_ENTRIES:
        now = time.monotonic()
        _NEXT_LOOK[parent] = now + _LOOK_PAUSE * (now - start)
    for entry in entries:
        if not (entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)):
            continue
        try:
            lock = os.open(entry.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            continue  # Gone already, or not ours.
        try:
            if not try_lock(lock):
                continue  # Another process is writing it right now, or nobody can tell.
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)
        finally:
            os.close(lock)


def _publish(staging: str, path: str, lock: _FolderLock) -> None:
    try:
        os.replace(staging, path)
    except OSError as error:
        if error.errno not in _NOT_OVER:
            raise
        check_free(path)  # Another process may have been faster.
        lock.close()  # Some shares of Windows rename no folder that is open.
        _replace(staging, path)


def _replace(source: str, target: str) -> None:
    """Renames a file or folder to a name that may be taken, if by a folder, by an empty one.

    File systems that do not rename over what is there get it moved aside first, and back if the
    rename fails all the same.
    """
    try:
        os.replace(source, target)
        return
    except OSError as error:
        if error.errno not in _NOT_OVER or not os.path.lexists(target):
            raise
        first = error
    aside = source.removesuffix(_SUFFIX) + ".old"
    try:
        os.rename(target, aside)
    except OSError:
        raise first from None
    try:
        if is_folder := os.path.isdir(aside):
            os.rmdir(aside)  # Which fails if something has come into it.
        os.rename(source, target)
    except OSError:
        if os.path.lexists(aside):
            os.rename(aside, target)
        raise
    if not is_folder:
        with suppress(OSError):
            os.unlink(aside)


def sync(handle: int) -> None:
    """Waits until a file is on disk, where the file system can do that."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _sync_file(path: str) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        sync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: str) -> None:
    """Makes a rename in a folder last; whatever goes wrong, it has happened."""
    with suppress(OSError):
        _sync_file(path)


def _set_mode(path: str, mode: int) -> None:
    # mkstemp and mkdtemp make private entries; what we publish gets the user's usual permissions,
    # where the file system has any.
    with suppress(OSError):
        os.chmod(path, mode & ~_umask())


def _umask() -> int:
    # To read the mask is to set it for a moment, in which no other thread must do the same.
    with _UMASK_LOCK:
        value = os.umask(0o077)
        os.umask(value)
    return value
