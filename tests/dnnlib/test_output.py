"""Text from anywhere is printable, and streams that fail lose no work."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib import UserError, output
from dnnlib.output import SafeStream
from dnnlib.run_dir import log_output
from dnnlib.util import one_line, printable

ROOT = Path(__file__).resolve().parents[2]
# A title, a cleared screen, C1's CSI, a line that is drawn over, a bell, right to left, hidden
# text, an undecodable byte.
HOSTILE = "\x1b]0;pwn\x07\x1b[2J\x9b2J\rok\x08\u202egnp.exe\u200b\u2066\U000e0041\udcff"


def test_printable_text():
    assert printable("naïve 👗\n\x1b[31m\udcff") == "naïve 👗\\n\\x1b[31m\\udcff"
    assert printable("a\tb\nc\rd", keep="\n\t") == "a\tb\nc\\rd"
    # What names of products are made of: blanks of other scripts, joiners, accents, any alphabet.
    for text in ("連衣裙　２", "می\u200cخواهم", "👩\u200d👗", "e\u0301\xa0é", "Röcke", "\ue000"):
        assert printable(text) == text
    shown = printable(HOSTILE)
    assert shown.isascii() and shown.isprintable()
    assert one_line("a\r\nb\u2028c\x1b[2J\x85d") == "a b c\\x1b[2J d"
    assert len(one_line("\x1b" * 1000, 50)) == 50


def test_a_stream_shows_escapes_and_leaves_our_own_lines_alone():
    stream = io.StringIO()
    safe = SafeStream(stream)
    print("tick 1\n\tnext", HOSTILE, file=safe)
    first, rest = stream.getvalue().split(" \\x1b")
    assert first == "tick 1\n\tnext"
    assert rest.endswith("\n") and rest[:-1].isascii() and rest[:-1].isprintable()


def test_a_stream_that_does_not_say_what_it_takes():
    class Old(io.StringIO):
        encoding = None

        def write(self, text):
            text.encode("ascii")
            return super().write(text)

    stream = Old()
    SafeStream(stream).writelines(["Röcke\n", "a\x1b\n"])
    assert stream.getvalue() == "R\\xf6cke\na\\x1b\n"


def test_a_stream_that_takes_ascii_only():
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", errors="strict") as stream:
        print("Röcke 連衣裙 – \udce9", file=SafeStream(stream), flush=True)
        assert raw.getvalue() == b"R\\xf6cke \\u9023\\u8863\\u88d9 \\u2013 \\udce9\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_bars_move_and_names_in_them_do_not(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", SafeStream(terminal))
    with output.tqdm(total=2, desc=f"a{HOSTILE}", disable=None) as outer:
        with output.tqdm(total=2, desc="inner", disable=None, leave=False) as inner:
            inner.update()
        outer.update(2)
    text = terminal.getvalue()
    assert "100%" in text and "\r" in text and "\x1b[A" in text
    assert "\x1b" not in text.replace("\x1b[A", "")
    assert all("a\\x1b]0;pwn" in part for part in text.split("\r") if part.startswith("a"))


@pytest.mark.parametrize("code", [errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, None])
def test_a_stream_that_fails(monkeypatch, code):
    class Failing(io.StringIO):
        def write(self, text):
            raise ValueError("closed file") if code is None else OSError(code, os.strerror(code))

    safe = SafeStream(Failing())
    print("lost", file=safe, flush=True)
    assert safe.failure is not None
    monkeypatch.setattr(sys, "stdout", safe)
    output.printing_is_the_work()
    with pytest.raises(output.NobodyReads if code == errno.EPIPE else UserError):
        print("lost")


def test_without_streams_as_a_library(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert list(output.tqdm(range(3), disable=None)) == [0, 1, 2]
    output.printing_is_the_work()
    with log_output(str(tmp_path / "log.txt")):
        print(HOSTILE, flush=True)
        with output.tqdm.external_write_mode():
            print("tick")
    assert (tmp_path / "log.txt").read_text() == printable(HOSTILE) + "\ntick\n"


def test_progress_leaves_no_thread_and_slow_bars_move():
    """A thread that the interpreter meets while it is taken down may abort the process."""
    tool = (
        "import io, threading, time; from dnnlib.output import tqdm\n"
        "shown = io.StringIO()\n"
        "bar = tqdm(total=1000, file=shown, mininterval=0.01)\n"
        "for _ in range(900): bar.update()\n"  # Fast, and then slow.
        "time.sleep(0.02); bar.update(); print('901/1000' in shown.getvalue())\n"
        "print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", tool], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "True\n1\n", done.stderr


TOOL = """
import sys, warnings
from dnnlib import UserError, cli, output
from dnnlib.files import atomic_write

def main():
    kind, path = sys.argv[1:]
    if kind == "help":
        cli.ArgumentParser(prog="tool.py").parse_args(["--help"])
    if kind == "list":
        output.printing_is_the_work()
    for i in range(20000):
        print("line", i)
    warnings.warn("half\\x1b[2J")
    with open(path, "w") as file:  # Must not be what a closed stdout or stderr was.
        file.write("whole")
    if kind == "defect":
        raise ZeroDivisionError("\\x1b[2J")
    if kind == "error":
        raise UserError("no \\x1b[2J")
    if kind == "os":
        open(path + "/\\x1b[2J")

cli.run(main)
"""


@pytest.mark.parametrize(
    ("kind", "redirect", "code", "done"),
    [
        ("work", ">/dev/full", 0, True),
        ("work", ">&-", 0, True),
        ("work", "2>&-", 0, True),
        ("work", "<&- >&- 2>&-", 0, True),
        ("work", "2>/dev/full", 0, True),
        ("work", "| head -n 1", 0, True),
        ("list", "| head -n 1", 141, False),
        ("list", ">/dev/full", 2, False),
        ("list", ">&-", 2, False),
        ("help", ">/dev/full", 2, False),
        ("help", ">&-", 2, False),
        ("help", "2>&-", 0, False),
        ("error", ">&- 2>&-", 2, True),
        ("os", "", 2, True),
        ("defect", "", 1, True),
    ],
)
def test_programs_whose_streams_fail(tmp_path, kind, redirect, code, done):
    (tmp_path / "tool.py").write_text(TOOL)
    command = f'"$PY" tool.py {kind} file {redirect}\nexit ${{PIPESTATUS[0]}}'
    tool = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PY": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert tool.returncode == code
    assert (tmp_path / "file").exists() == done
    assert not done or (tmp_path / "file").read_text() == "whole"
    assert "\x1b" not in tool.stderr + tool.stdout
    if kind in ("error", "os") and not redirect:
        assert tool.stderr.splitlines()[-1].startswith("tool.py: error: ")
    assert ("Traceback" in tool.stderr) == (kind == "defect")
    if redirect == ">/dev/full":
        assert tool.stderr.splitlines()[-1].endswith("No space left on device")
    if redirect == ">&-" and code == 2:
        assert tool.stderr == "tool.py: error: cannot print: stdout is closed\n"
    assert ("show this help" in tool.stdout) == (kind == "help" and code == 0)


def test_a_log_takes_what_the_screen_does_not(tmp_path, capsys):
    path = tmp_path / "log.txt"
    with pytest.raises(UserError), log_output(str(path)):
        print("Röcke", HOSTILE)
        raise UserError(HOSTILE)
    lines = path.read_text().splitlines()
    assert lines[0] == f"Röcke {printable(HOSTILE)}"
    assert lines[1].isprintable() and lines[1].startswith("dnnlib.util.UserError: ")


def test_bars_tell_a_watcher_and_end_when_it_says_so():
    told = []
    with output.watched(lambda *step: told.append(step)):
        assert list(output.tqdm("ab", desc="letters")) == ["a", "b"]
        with output.tqdm(total=5, desc="steps") as bar:
            bar.update(2)
            bar.update()
    assert list(output.tqdm("ab", disable=True)) == ["a", "b"]
    assert told == [("letters", 1, 2), ("letters", 2, 2), ("steps", 2, 5), ("steps", 3, 5)]

    def stop(text, done, total):
        raise KeyboardInterrupt

    seen = []
    with output.watched(stop), pytest.raises(KeyboardInterrupt):
        for letter in output.tqdm("ab"):
            seen.append(letter)
    assert seen == ["a"]
