"""Files and folders that are whole or absent, with processes that are really killed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib import UserError, files
from dnnlib.files import append_line, atomic_write, staged_directory
from dnnlib.run_dir import log_output, make_run_dir

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "file"
    with atomic_write(str(path)) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with atomic_write(str(path), "w") as file:
        file.write("text")
        file.flush()
        assert path.read_bytes() == b"new"  # Readers see the old one until the end.
    assert path.read_text() == "text"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), atomic_write(str(path)) as file:
        file.write(b"half of the n")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_files_get_the_permissions_of_the_user(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(str(tmp_path / "file")) as file:
            file.write(b"x")
        with staged_directory(str(tmp_path / "folder")) as staging:
            Path(staging, "inside").write_text("x")
        assert os.umask(0o027) == 0o027  # Put back as it was.
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_data_is_on_disk_before_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    with atomic_write(str(tmp_path / "file")) as file:
        file.write(b"x")
    assert calls == ["fsync", "replace", "fsync"]  # The second one is for the folder.


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write("file") as file:
        file.write(b"x")
    with staged_directory("folder") as staging:
        Path(staging, "inside").write_text("x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_folder_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder"
    with staged_directory(str(path)) as staging:
        Path(staging, "inside").write_text("x")
        assert not path.exists()
        assert Path(staging).parent == path.parent
    assert (path / "inside").read_text() == "x"
    assert os.listdir(path.parent) == ["folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_no_folder(tmp_path, error):
    with pytest.raises(error), staged_directory(str(tmp_path / "folder")) as staging:
        Path(staging, "inside").write_text("x")
        raise error
    assert os.listdir(tmp_path) == []


def test_a_folder_in_use_is_kept(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with staged_directory(str(path)) as staging:  # Empty: may be taken.
        Path(staging, "a").write_text("x")
    with pytest.raises(UserError, match="folder exists already"), staged_directory(str(path)):
        pass
    assert os.listdir(path) == ["a"]
    late = tmp_path / "late"
    with pytest.raises(UserError, match="late exists already"), staged_directory(str(late)):
        late.write_text("made meanwhile")
    assert late.read_text() == "made meanwhile"
    assert sorted(os.listdir(tmp_path)) == ["folder", "late"]


def test_of_two_that_make_a_folder_the_first_one_stays(tmp_path, monkeypatch):
    """The other is faster while the files of this one are put on disk."""
    path = tmp_path / "folder"

    def sync(file):
        path.mkdir()
        (path / "a").write_text("theirs")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync_file", sync)
        with (
            pytest.raises(UserError, match="folder exists already"),
            staged_directory(str(path)) as staging,
        ):
            Path(staging, "a").write_text("ours")
    assert (path / "a").read_text() == "theirs" and os.listdir(tmp_path) == ["folder"]
    # In the moment before the very rename, where it is checked no more.
    monkeypatch.setattr(files, "check_free", lambda path: None)
    with pytest.raises(UserError, match="cannot write"), staged_directory(str(path)) as staging:
        Path(staging, "a").write_text("ours")
    assert (path / "a").read_text() == "theirs" and os.listdir(tmp_path) == ["folder"]


def test_lines_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    append_line(str(path), "ä")
    with path.open("a") as file:
        file.write("half")
    append_line(str(path), "whole")
    assert path.read_text() == "ä\nhalf\nwhole\n"
    with path.open("ab") as file:  # What a machine that went down may leave.
        file.truncate(path.stat().st_size - 3)
    with pytest.raises(OSError):
        append_line("/dev/full", "x")
    small = 'ulimit -f 1; trap \'\' XFSZ; exec "$0" "$@"'  # A file of one block is full.
    code = f"""
import sys
from dnnlib.files import append_line
for i in range(3):
    try:
        append_line({str(tmp_path / "full")!r}, str(i) * 400)
    except OSError as error:
        print(error.strerror)
"""
    done = subprocess.run(
        ["bash", "-c", small, sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "File too large\n"
    assert (tmp_path / "full").read_text() == f"{'0' * 400}\n{'1' * 400}\n"


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    path = str(tmp_path / "file" / "folder")
    with pytest.raises(UserError, match=r"cannot write in .*file"), staged_directory(path):
        pass


def test_what_the_dead_left_is_removed_and_what_the_living_stage_is_not(tmp_path):
    path = tmp_path / "folder"
    abandoned, foreign = tmp_path / ".folder.dead.partial", tmp_path / ".folderol.dead.partial"
    for folder in (abandoned, foreign):
        folder.mkdir()
        (folder / "junk").write_text("x")
    with staged_directory(str(path)) as first:
        assert not abandoned.exists()
        Path(first, "a").write_text("x")
        with pytest.raises(KeyboardInterrupt), staged_directory(str(path)) as second:
            assert second != first
            raise KeyboardInterrupt
    assert os.listdir(path) == ["a"]
    assert foreign.exists()


def test_a_large_folder_is_not_looked_through_for_every_file(tmp_path, monkeypatch):
    """Else ten thousand pictures cost a hundred million names; small ones always are."""
    monkeypatch.setattr(files, "_MANY_ENTRIES", 20)
    monkeypatch.setattr(files, "_LOOK_PAUSE", 1e6)
    looks = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looks.append(path) or scandir(path))
    for i in range(60):
        abandoned = tmp_path / f".{i}.dead.partial"
        if i < 20:
            abandoned.write_text("x")
        with atomic_write(str(tmp_path / str(i))) as file:
            file.write(b"x")
        assert not abandoned.exists()
    assert len(looks) == 22
    (tmp_path / ".0.dead.partial").write_text("x")
    files.remove_abandoned(str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 60


STAGE = """
import sys, time
from dnnlib.files import atomic_write, staged_directory
kind, path = sys.argv[1:]
print("ready", flush=True)
data = bytes(range(256)) * 40000
while True:
    if kind == "file":
        with atomic_write(path) as file:
            for i in range(0, len(data), 1 << 20):
                file.write(data[i:i + (1 << 20)])
    else:
        with staged_directory(path) as staging:
            for i in range(20):
                with open(f"{staging}/{i}", "wb") as file:
                    file.write(data[: 1 << 18])
        break
print("done", flush=True)
time.sleep(60)
"""


def killed(kind, path, delay):
    """Runs STAGE and kills it `delay` seconds after it began to write.

    None waits until it has written once. Returns how long that took: delays are shares of it, so
    that a slow or busy machine is killed in the middle too.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", STAGE, kind, path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    start = time.monotonic()
    while delay is None and not os.path.exists(path):
        time.sleep(0.001)
    duration = time.monotonic() - start
    time.sleep(delay or 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return duration


def test_killed_while_writing_a_file(tmp_path):
    path = tmp_path / "file"
    outcomes, left_behind = set(), set()
    duration = killed("file", str(path), None)
    for i in range(20):
        path.unlink(missing_ok=True)
        killed("file", str(path), duration * i / 10)
        outcomes.add(path.exists())
        if path.exists():
            assert path.read_bytes() == bytes(range(256)) * 40000
        left_behind |= {name for name in os.listdir(tmp_path) if name != "file"}
    assert True in outcomes
    assert left_behind  # Killed in the middle, too: else this test says nothing.
    with atomic_write(str(path)):
        pass
    assert os.listdir(tmp_path) == ["file"]  # The next writer of a name clears up after it.
    assert all(name.startswith(".file.") and name.endswith(".partial") for name in left_behind)


def test_killed_while_staging_a_folder(tmp_path):
    outcomes = set()
    duration = killed("folder", str(tmp_path / "whole"), None)
    # On a busy machine the first one may have been quick.
    for i in [*range(20), 40, 80, 160]:
        if i > 20 and len(outcomes) == 2:
            break
        path = tmp_path / f"folder{i:03d}"
        killed("folder", str(path), duration * i / 10)
        outcomes.add(path.exists())
        if path.exists():
            assert len(os.listdir(path)) == 20
            assert all((path / str(j)).stat().st_size == 1 << 18 for j in range(20))
        else:
            with staged_directory(str(path)) as staging:  # The next one tidies up.
                Path(staging, "a").write_text("x")
            assert os.listdir(path) == ["a"]
    assert outcomes == {True, False}
    assert all(not name.startswith(".") for name in os.listdir(tmp_path))


def test_the_lock_is_released_when_the_block_ends(tmp_path):
    path = str(tmp_path / "folder")
    with staged_directory(path):
        pass
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)


def test_run_directories_count_up(tmp_path):
    root = tmp_path / "results"
    assert make_run_dir(str(root), "a") == str(root / "00000-a")
    (root / "00041-old").mkdir()
    (root / "notes").mkdir()
    (root / "123-short").mkdir()
    assert make_run_dir(str(root), "b") == str(root / "00042-b")
    (root / "100000-long").mkdir()
    assert make_run_dir(str(root), "c") == str(root / "100001-c")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"file.*--result-dir"):
        make_run_dir(str(tmp_path / "file"), "d")


def test_output_goes_to_the_screen_and_the_log(tmp_path, capsys):
    path = tmp_path / "log.txt"
    path.write_text("before\n")
    stdout = sys.stdout
    with pytest.raises(ValueError), log_output(str(path)):
        print("tick 0")
        raise ValueError
    assert sys.stdout is stdout
    print("after")
    text = path.read_text()
    assert text.startswith("before\ntick 0\nTraceback")  # Why it ended, for who reads it later.
    assert text.endswith("ValueError\n")
    assert capsys.readouterr().out == "tick 0\nafter\n"


def test_the_log_has_a_traceback_of_defects_only(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("tick 0\ntick")  # Killed while it was written.
    for error in (UserError("no such file"), KeyboardInterrupt(), SystemExit(143)):
        with pytest.raises(type(error)), log_output(str(path)):
            raise error
    lines = ["tick 0", "tick", "dnnlib.util.UserError: no such file", "KeyboardInterrupt"]
    assert path.read_text().splitlines() == [*lines, "SystemExit: 143"]


def test_a_full_disk_ends_the_log_and_nothing_else(capsys):
    with log_output("/dev/full"):
        for i in range(3):
            print(f"tick {i}", flush=True)
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("tick")] == [
        "tick 0",
        "tick 1",
        "tick 2",
    ]
    assert out.count("Warning: no log any more") == 1


def test_a_failure_leaves_no_parent_folder_that_was_not_there(tmp_path):
    for parent in ("new", "old"):
        if parent == "old":
            (tmp_path / parent).mkdir()
        with pytest.raises(ValueError), staged_directory(str(tmp_path / parent / "folder")):
            raise ValueError
    assert os.listdir(tmp_path) == ["old"]
