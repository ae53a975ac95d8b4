"""What operating and file systems do differently, or not at all."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dnnlib.ownership import exposure

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everything else
    msvcrt = None

_LOCKED_BYTE = 1 << 30  # Windows keeps others from reading what is locked: beyond the end.
_POLL_SECONDS = 0.2
_SEEK_LOCK = threading.Lock()


# Why not the package filelock: it opens files by path, and so cannot lock what is being written or
# a folder; where there are no locks it fails, or leaves a mark that outlives its owner; and on
# Windows it removes the file, which may be a log.


class Busy(Exception):
    """Another process holds a lock."""


LOCKS_OUTLIVE_FILES = fcntl is not None  # By a duplicate; Windows renames nothing that is open.


def try_lock(handle: int) -> bool | None:
    """Locks an open file or folder until it is closed, by this process or with its end.

    Returns:
        True; False if another process has the lock; None where there are no locks, as on some
        shares.
    """
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if msvcrt is not None:
            position = os.lseek(handle, 0, os.SEEK_CUR)
            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(handle, position, os.SEEK_SET)
            return True
    except BlockingIOError:
        return False
    except OSError as error:
        return False if fcntl is None and isinstance(error, PermissionError) else None
    return None


@contextmanager
def locked_file(
    path: str, patience: float = 0.0, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be; where there are no locks, goes without.

    Args:
        path: the file, no link.
        patience: seconds to wait for another process.
        on_wait: called once if it has to.

    Raises:
        Busy: another process holds the lock for longer.
        OSError: the file cannot be opened for writing.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags, 0o666)
    try:
        deadline = math.inf if patience == math.inf else time.monotonic() + patience
        while try_lock(handle) is False:
            if time.monotonic() >= deadline:
                raise Busy
            if on_wait is not None:
                on_wait()
                on_wait = None
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def open_for_reading(path: str) -> int:
    """A descriptor for `read_at`."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def read_at(handle: int, size: int, offset: int) -> bytes:
    """Bytes of an open file, fewer at its end. Threads may share the file."""
    if hasattr(os, "pread"):
        return os.pread(handle, size, offset)
    with _SEEK_LOCK:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, size)


def processor_count() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        with suppress(OSError):
            return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> str:
    """Processor, cores, memory and system, for people, as far as the system says."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, IndexError):  # Linux
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            name = re.findall(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)[0]
    parts = [f"{processor_count()} cores of {name}"]
    if (total := memory_gb()[0]) is not None:
        parts.append(f"{total:.0f} GiB of memory")
    return ", ".join([*parts, f"{platform.system()} {platform.release()}"])


def memory_gb() -> tuple[float | None, float | None]:
    """(all, free) memory that this process may use, in GiB; None where the system does not say.

    A container has at most what the control group at its root says.
    """
    total = free = None
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf.
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    with suppress(OSError, IndexError):  # Linux
        with open("/proc/meminfo", encoding="utf-8") as file:
            free = int(re.findall(r"^MemAvailable:\s*(\d+) kB$", file.read(), re.MULTILINE)[0])
        free /= 2**20
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" without a limit, or an absurd number.
            limit = int(Path("/sys/fs/cgroup", name).read_text()) / 2**30
            total, free = (limit if size is None else min(size, limit) for size in (total, free))
    return total, free


def peak_memory_gb() -> float:
    """The most memory that this process has had, in GiB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def user_cache() -> str:
    """The folder for what can be had again: `~/.cache/dnnlib`.

    Where there is no home, as for users of containers, or it cannot be written, a folder of this
    user's own among the temporary files.
    """
    home = os.path.expanduser("~")
    folder = os.path.join(home, ".cache", "dnnlib")
    if os.path.isabs(home) and (os.path.isdir(folder) or _can_be_made(folder)):
        return folder
    user = os.getuid() if hasattr(os, "getuid") else "cache"
    for number in range(10):  # Others may have taken a name.
        other = os.path.join(tempfile.gettempdir(), f"dnnlib-{user}" + f"-{number}" * bool(number))
        with suppress(OSError):
            os.mkdir(other, 0o700)
        if os.path.isdir(other) and os.access(other, os.W_OK) and exposure(other) is None:
            return other
    return os.path.abspath(folder)


def _can_be_made(folder: str) -> bool:
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
