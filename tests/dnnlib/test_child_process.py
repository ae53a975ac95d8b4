"""A process that can be stopped, with real crashes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import child_functions
import numpy as np
import pytest

from dnnlib import UserError
from dnnlib.child_process import ChildProcess, ChildStopped

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def child():
    with ChildProcess(child_functions.misbehave, memory=256 << 20) as child:
        yield child


def test_what_is_passed_comes_back():
    values = [
        None,
        True,
        -3,
        2.5,
        float("inf"),
        "ü\ud800",
        b"\0\xff",
        [1, ["a"]],
        {"a": {"b": b"c"}},
    ]
    arrays = [
        np.arange(6, dtype=np.uint8).reshape(1, 2, 3)[:, :, ::-1],
        np.float32([[1.5]]),
        np.zeros([0, 4], ">i2"),
        np.array(True),
        np.float32(0.5),
    ]
    with ChildProcess(child_functions.echo) as child:
        found = child.call(*values, *arrays, {"list": arrays}, seconds=30, what="x")
        assert found[: len(values)] == values
        for one, other in zip(found[len(values) : -1] + found[-1]["list"], arrays * 2, strict=True):
            assert one.dtype == other.dtype and one.flags.writeable
            np.testing.assert_array_equal(one, other)
        large = np.random.default_rng(0).integers(0, 256, 5_000_000, dtype=np.uint8)
        np.testing.assert_array_equal(child.call(large, seconds=30, what="x")[0], large)
        with pytest.raises(TypeError, match="a set cannot be passed on"):
            child.call({1}, seconds=30, what="x")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("hang", "x.png takes longer than the 0.5 s that are allowed"),
        ("hang in C", "x.png takes longer than the 0.5 s that are allowed"),
        ("segfault", r"x.png crashed the process that read it \(SIGSEGV\)"),
        ("abort", r"x.png crashed .* \(SIGABRT: Check failed: rank"),
        ("killed", "x.png took too much memory: the system has killed"),
        ("exit", r"x.png ended the process that read it \(exit code 3\)"),
    ],
)
def test_what_ends_the_process_is_an_error_and_the_next_call_works(child, how, message):
    before = child.call("pid", seconds=30, what="x")
    begin = time.monotonic()
    with pytest.raises(ChildStopped, match=message) as error:
        child.call(how, seconds=0.5, what="x.png")
    assert "\n" not in str(error.value) and time.monotonic() - begin < 20
    assert child.call("pid", seconds=30, what="x") != before


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("user error", UserError, "x.png is no picture"),
        ("error", UserError, "y.png: KeyError: 'of a"),
        ("memory", ChildStopped, "y.png takes more memory than is allowed"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_errors_of_the_function_leave_the_process_as_it_is(child, how, kind, message):
    before = child.call("pid", seconds=30, what="x")
    with pytest.raises(UserError, match=message) as error:
        child.call(how, seconds=30, what="y.png")
    assert type(error.value) is kind and "\n" not in str(error.value)
    assert child.call("pid", seconds=30, what="x") == before


def test_a_process_that_ended_between_calls_is_started_again(child):
    process = child.call("", seconds=30, what="x")
    os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while child._process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.call("", seconds=30, what="x") != process


def test_a_closed_process_is_gone_and_leaves_no_core():
    with ChildProcess(child_functions.misbehave) as child:
        process = child.call("", seconds=30, what="x")
        limits = Path(f"/proc/{process}/limits")
        if limits.exists():
            assert re.search(r"Max core file size +0 +0 ", limits.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


LEAVING = """
import atexit, os, sys, threading
import child_functions
from dnnlib.child_process import ChildProcess
atexit.register(lambda: print(threading.active_count()))
child = ChildProcess(child_functions.echo)
child.call(seconds=60, what="it")
pid = os.fork()
if pid == 0:
    sys.exit()
os.waitpid(pid, 0)
print(child._process.pid, child._process.poll(), flush=True)
"""


def test_a_process_that_nobody_closes_ends_before_the_interpreter():
    """Its thread could abort the interpreter; and a fork leaves it alone."""
    path = os.pathsep.join([str(ROOT), os.path.dirname(child_functions.__file__)])
    done = subprocess.run(
        # Python 3.12 and newer warn of forks beside threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", LEAVING],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    in_fork, child, code, at_end = done.stdout.split()
    assert (in_fork, code, at_end) == ("1", "None", "1") and not os.path.exists(f"/proc/{child}")


def test_noise_and_signals_of_the_terminal_are_not_ours(child, capfd):
    before = child.call("noise", seconds=30, what="x")
    assert child.call("ctrl-c", seconds=30, what="x") == before
    assert capfd.readouterr() == ("", "")


def test_the_process_imports_what_its_function_needs(child):
    modules = set(child.call("modules", seconds=30, what="x"))
    assert "child_functions" in modules
    assert not modules & {"numpy", "tensorflow", "pytest", "requests"}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 8,
        b"\4" + b"\0" * 7 + b"null",
        b"\5" + b"\0" * 7 + b"[1e9]",
        b"\x0b" + b"\0" * 7 + b"[999999999]",
        b"\3" + b"\0" * 7 + b"[2]" + b"[]",
        b"\4" + b"\0" * 7 + b"[29]" + b'{"value": {"\\u0000bytes": 7}}',
        b"\6" + b"\0" * 7 + b"[9999]" + b"[" * 9999,
    ],
)
def test_a_process_that_was_taken_over_can_only_fail(content):
    with ChildProcess(child_functions.reply) as child:
        with pytest.raises(ChildStopped):
            child.call(content, seconds=2, what="x.png")


def test_threads_share_a_process_and_a_call_of_one_can_be_ended(child):
    found = []

    def call():
        for _ in range(5):
            found.append(child.call("pid", seconds=30, what="x"))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and len(set(found)) == 1


def test_only_functions_that_a_module_has(monkeypatch):
    with pytest.raises(ValueError, match="not a function that a module has"):
        ChildProcess(lambda: 0)


MAIN = """
import os, threading, time
print("main", flush=True)
import child_functions
from dnnlib.child_process import ChildProcess
threading.Thread(target=time.sleep, args=[60], daemon=True).start()
child = ChildProcess(child_functions.misbehave)
print(child.call("pid", seconds=60, what="x"), flush=True)
child.call("hang in C", seconds=2, what="x")
"""


def test_the_main_script_runs_once_and_a_call_outlives_it_by_its_limit_only(tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    path = os.pathsep.join([str(ROOT), os.path.dirname(child_functions.__file__)])
    command = [sys.executable, str(tmp_path / "main.py")]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout.readline() == "main\n"
        child = int(script.stdout.readline())
        time.sleep(0.5)  # Now it is in the middle of a call.
        script.kill()
        assert script.stdout.read() == ""
    os.kill(child, 0)
    deadline = time.monotonic() + 60
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nothing_is_imported_from_the_working_folder(tmp_path, monkeypatch):
    for name in ("json.py", "faulthandler.py", "dnnlib.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.chdir(tmp_path)
    with ChildProcess(child_functions.echo) as child:
        assert child.call(1, seconds=30, what="x") == [1]


def is_alive(process):
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
