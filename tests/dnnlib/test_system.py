"""Systems and file systems that lack something: Windows, shares, quotas, containers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dnnlib import UserError, files, system
from dnnlib.files import atomic_write, staged_directory
from dnnlib.run_dir import make_run_dir
from dnnlib.system import Busy, locked_file, read_at, try_lock, user_cache

ROOT = Path(__file__).resolve().parents[2]


def failing(code, only=lambda *_: True, instead=None):
    def call(*args, **kwargs):
        if only(*args):
            raise OSError(code, os.strerror(code))
        return instead(*args, **kwargs)

    return call


def write_both(folder):
    """A file over an old one, and a folder over an empty one."""
    file, directory = folder / "file", folder / "folder"
    file.write_text("old")
    directory.mkdir()
    with atomic_write(str(file)) as target:
        target.write(b"new")
    with staged_directory(str(directory)) as staging:
        Path(staging, "inside").write_text("x")
    assert file.read_text() == "new"
    assert (directory / "inside").read_text() == "x"
    assert sorted(os.listdir(folder)) == ["file", "folder"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP])
def test_what_cannot_be_synced(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", failing(code))
    write_both(tmp_path)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_data_that_does_not_reach_the_disk_is_not_published(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", failing(code))
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError), atomic_write(str(tmp_path / "file")) as file:
        file.write(b"new")
    with pytest.raises(UserError), staged_directory(str(tmp_path / "folder")) as staging:
        Path(staging, "inside").write_text("x")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_modes_that_cannot_be_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "chmod", failing(errno.EPERM))
    write_both(tmp_path)


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EACCES, errno.ENOTEMPTY])
def test_no_rename_over_what_is_there(tmp_path, monkeypatch, code):
    replace = failing(code, lambda _, target: os.path.lexists(target), os.replace)
    monkeypatch.setattr(os, "replace", replace)
    write_both(tmp_path)
    # What was there comes back if the second rename fails too.
    rename = failing(errno.EIO, lambda source, _: source.endswith(".partial"), os.rename)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError), atomic_write(str(tmp_path / "file")) as file:
        file.write(b"newer")
    assert (tmp_path / "file").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(system.fcntl is None, reason="needs flock")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EBADF])
def test_no_locks(tmp_path, monkeypatch, code):
    monkeypatch.setattr(system.fcntl, "flock", failing(code))
    write_both(tmp_path)
    with locked_file(str(tmp_path / "lock")), locked_file(str(tmp_path / "lock")):
        pass
    abandoned = tmp_path / ".folder2.dead.partial"
    abandoned.mkdir()
    with staged_directory(str(tmp_path / "folder2")):
        pass
    assert abandoned.exists()  # Nobody can tell whether it is.


def test_a_lock_is_waited_for(tmp_path):
    path = str(tmp_path / "lock")
    waited = threading.Event()

    def wait():
        with locked_file(path, 60, waited.set):
            return True

    with ThreadPoolExecutor(1) as pool:
        with locked_file(path):
            with pytest.raises(Busy), locked_file(path):
                pass
            other = pool.submit(wait)
            assert waited.wait(60)
            assert not other.done()
        assert other.result(60)


class Msvcrt:
    """Windows' locks of bytes, as far as one process needs them."""

    LK_NBLCK = 2

    def __init__(self):
        self.locked = set()

    def locking(self, handle, _mode, count):
        place = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR), count
        if place in self.locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        self.locked.add(place)


def test_locks_of_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", Msvcrt())
    with open(tmp_path / "file", "w+b") as file, open(tmp_path / "file", "rb") as other:
        file.write(b"abc")
        file.flush()
        assert try_lock(file.fileno()) is True
        assert try_lock(other.fileno()) is False
        file.write(b"def")
        file.flush()
        assert other.read() == b"abcdef"  # No place that anybody reads or writes is locked.
    monkeypatch.setattr(system, "msvcrt", None)
    with open(tmp_path / "file", "rb") as file:
        assert try_lock(file.fileno()) is None


def test_long_names(tmp_path):
    for name in ("n" * 250, "連" * 80):
        with atomic_write(str(tmp_path / name)) as file:
            file.write(b"x")
        with staged_directory(str(tmp_path / f"{name}dir"[-80:])) as staging:
            Path(staging, "a").write_text("x")
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    abandoned = tmp_path / (files._prefix("n" * 250) + "dead.partial")
    abandoned.write_text("x")
    with atomic_write(str(tmp_path / ("n" * 250))):
        pass
    assert not abandoned.exists()


def test_reading_at_a_place_without_pread(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(range(250)) * 40)
    handle = system.open_for_reading(str(tmp_path / "file"))
    monkeypatch.delattr(os, "pread")
    with ThreadPoolExecutor(8) as pool:
        places = [i * 37 % 9990 for i in range(2000)]
        results = pool.map(lambda place: read_at(handle, 5, place), places)
        expected = (bytes((place + i) % 250 for i in range(5)) for place in places)
        assert list(results) == list(expected)
    assert read_at(handle, 10, 9995) == bytes(range(245, 250))
    os.close(handle)


def test_ten_starts_at_once_in_one_folder(tmp_path):
    with ThreadPoolExecutor(10) as pool:
        start = threading.Barrier(10)
        paths = list(
            pool.map(lambda _: (start.wait(), make_run_dir(str(tmp_path), "a"))[1], range(10))
        )
    assert sorted(map(os.path.basename, paths)) == [f"{i:05d}-a" for i in range(10)]


CACHE = """
import os
from dnnlib.downloads import cache_folder
os.setuid(54321)
print(cache_folder())
"""


def test_the_cache_without_a_home(tmp_path, monkeypatch):
    monkeypatch.delenv("DNNLIB_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == str(tmp_path / ".cache" / "dnnlib")
    monkeypatch.setattr(system.tempfile, "gettempdir", lambda: str(tmp_path))
    other = str(tmp_path / f"dnnlib-{os.getuid()}")
    monkeypatch.setenv("HOME", "relative")
    assert user_cache() == other and os.stat(other).st_mode & 0o777 == 0o700
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache() == other
    os.chmod(other, 0o777)  # What others can write is not used.
    assert user_cache() == f"{other}-1"


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs root")
@pytest.mark.parametrize("home", [None, "/nonexistent", "/"])
def test_the_cache_of_a_user_that_nobody_knows(home):
    """As in containers."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    if home is not None:
        environment["HOME"] = home
    with tempfile.TemporaryDirectory() as temporary:
        os.chmod(temporary, 0o1777)
        result = subprocess.run(
            [sys.executable, "-c", CACHE],
            cwd="/",
            env={**environment, "TMPDIR": temporary},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.stdout.strip() == os.path.join(temporary, "dnnlib-54321"), result.stderr
