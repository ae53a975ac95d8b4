"""Option types, and how errors reach the user."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib import UserError, cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("text", ["true", "True", "1", "yes", "T", "y", "ON"])
def test_true(text):
    assert cli.boolean(text) is True


@pytest.mark.parametrize("text", ["false", "FALSE", "0", "no", "f", "N", "off"])
def test_false(text):
    assert cli.boolean(text) is False


@pytest.mark.parametrize("text", ["", "2", "tru", "none", "yes please"])
def test_neither(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected true or false, got"):
        cli.boolean(text)


def test_what_a_command_line_has_is_told_from_defaults():
    parser = cli.ArgumentParser()
    parser.add_argument("--num-gpus", type=cli.integer(1), default=1)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--net", action="append", default=[])
    assert parser.given([]) == []
    assert parser.given(["--num-gpus=1", "--dry-run"]) == ["dry_run", "num_gpus"]
    assert parser.given(["--net=a", "--net=b"]) == ["net"]


def test_integer():
    parse = cli.integer(1, 8)
    assert [parse(t) for t in ("1", "8", " 5 ", "+3")] == [1, 8, 5, 3]
    for bad in ("0", "9", "2.0", "1e1", "", "four", "nan", "9" * 5000):
        message = "expected a whole number of at least 1 and at most 8, got"
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            parse(bad)
    assert cli.integer()("-7") == -7
    with pytest.raises(argparse.ArgumentTypeError, match="of at least 0, got '-1'"):
        cli.integer(0)("-1")
    with pytest.raises(argparse.ArgumentTypeError, match="number of at most 3, got '4'"):
        cli.integer(high=3)("4")


def test_number():
    parse = cli.number(0, 1.5)
    assert [parse(t) for t in ("0", "1.5", "1e-3", ".5")] == [0, 1.5, 0.001, 0.5]
    for bad in ("-0.1", "1.6", "", "x", "nan", "inf", "-inf", "1e999"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a number of at least 0 and"):
            parse(bad)
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number, got 'inf'"):
        cli.number()("inf")


def test_int_list():
    assert cli.int_list("5") == [5]
    assert cli.int_list("1,2,5-8") == [1, 2, 5, 6, 7, 8]
    assert cli.int_list(" 3 , 1 - 2,1") == [3, 1, 2, 1]  # Order and repetition are kept.
    for bad in ("", ",", "1,", "a", "-1", "1-", "1.5", "1--2", "1 2"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected numbers like 1,2,5-8"):
            cli.int_list(bad)
    with pytest.raises(argparse.ArgumentTypeError, match="'8-5' runs backwards"):
        cli.int_list("1,8-5")
    for huge in ("0-9999999999999", "0-999999,1-2", ",".join(["0-600000"] * 2)):
        with pytest.raises(argparse.ArgumentTypeError, match="more than a million"):
            cli.int_list(huge)


def test_parser_errors_are_one_line(capsys):
    parser = cli.ArgumentParser(prog="tool.py")
    parser.add_argument("--seeds", type=cli.int_list, required=True)
    assert parser.parse_args(["--seeds=1-3"]).seeds == [1, 2, 3]
    for arguments in ([], ["--seeds=x\\ny"], ["--seed=1"], ["--seeds=1", "--more"]):
        with pytest.raises(SystemExit) as exit_:
            parser.parse_args(arguments)
        assert exit_.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("tool.py: error: ")
        assert captured.err.endswith("(see tool.py --help)\n")
        assert captured.err.count("\n") == 1


def raising(error):
    def main():
        raise error

    return main


def test_run_reports_errors_that_the_user_can_mend(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/tool.py"])
    with pytest.raises(SystemExit) as exit_:
        cli.run(raising(UserError("no such\nfile: " + "x" * 5000)))
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tool.py: error: no such file: xxx")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 2100


def test_run_ends_with_the_right_code(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tool.py"])
    for main, code in ((lambda: None, 0), (raising(KeyboardInterrupt()), 130)):
        with pytest.raises(SystemExit) as exit_:
            cli.run(main)
        assert exit_.value.code == code
    assert capsys.readouterr().err == "tool.py: interrupted\n"
    with pytest.raises(ZeroDivisionError):  # A defect of ours keeps its traceback.
        cli.run(raising(ZeroDivisionError()))


CRASHING_TOOL = """
import atexit, ctypes, sys, threading, time
from dnnlib import UserError, cli

libc = ctypes.CDLL(None)
libc.on_exit(libc.abort, None)  # As a library does that is taken down while its threads run.

def main():
    atexit.register(print, "handler")
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
    print("work")
    END

cli.run(main)
"""


@pytest.mark.parametrize(
    "end, code",
    [
        ("raise KeyboardInterrupt", 130),
        ("raise SystemExit(143)", 143),
        ("raise UserError('no')", 2),
        ("pass", 0),
    ],
)
def test_a_script_ends_with_its_code_whatever_its_libraries_do(tmp_path, end, code):
    script = tmp_path / "tool.py"
    script.write_text(CRASHING_TOOL.replace("END", end))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env)
    assert done.returncode == code, done.stderr
    assert done.stdout == "work\nthread\nhandler\n"  # A pipe: all of it had to be flushed.


def test_a_program_that_goes_on_after_a_script_ends_in_its_own_way(tmp_path):
    (tmp_path / "tool.py").write_text(
        "from dnnlib import cli\nif __name__ == '__main__':\n    cli.run(lambda: None)\n"
    )
    program = (
        "import atexit, runpy, sys\n"
        "atexit.register(print, 'last')\n"
        "try:\n    runpy.run_path('tool.py', run_name='__main__')\n"
        "except SystemExit:\n    sys.exit(3)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (3, "last\n")


SLOW_TOOL = """
import signal, sys, time
from dnnlib import cli

def main():
    try:
        print("begun", flush=True)
        sys.stdin.readline()
        print("went on", flush=True)
    finally:
        print("cleaning up", flush=True)
        sys.stdin.readline()
        print("cleaned up", flush=True)

if "ignored" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
cli.run(main)
"""


def test_sigterm_cleans_up_as_ctrl_c_does():
    """Once; the second one does not wait; and whoever ignores it is not ended."""
    for args, signals, code, out, err in [
        ([], 1, 143, ["cleaning up", "cleaned up"], "-c: terminated\n"),
        ([], 2, -signal.SIGTERM, ["cleaning up"], ""),
        (["ignored"], 1, 0, ["went on", "cleaning up", "cleaned up"], ""),
    ]:
        tool = subprocess.Popen(
            [sys.executable, "-c", SLOW_TOOL, *args],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert tool.stdout.readline() == "begun\n"
        tool.send_signal(signal.SIGTERM)
        printed = []
        if signals == 2:
            printed.append(tool.stdout.readline())
            tool.send_signal(signal.SIGTERM)
            tool.wait(timeout=60)
        rest, error = tool.communicate("\n\n", timeout=60)
        assert (tool.returncode, error) == (code, err)
        assert "".join(printed) + rest == "".join(line + "\n" for line in out)


def test_run_leaves_the_signal_as_it_was(capsys):
    before = signal.getsignal(signal.SIGTERM)
    for error in (UserError("no"), KeyboardInterrupt()):
        with pytest.raises(SystemExit):
            cli.run(raising(error))
        assert signal.getsignal(signal.SIGTERM) is before


def test_run_ends_quietly_where_nobody_reads(tmp_path):
    """As in `tool.py | head -1`."""
    code = (
        "from dnnlib import cli, output\n"
        "def main():\n"
        "    output.printing_is_the_work()\n"
        "    for i in range(100000):\n"
        "        print('line', i)\n"
        "cli.run(main)\n"
    )
    tool = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert tool.stdout.readline() == b"line 0\n"
    tool.stdout.close()
    assert tool.wait(timeout=60) == 141
    assert tool.stderr.read() == b""
    tool.stderr.close()


def test_what_may_have_been_meant(capsys):
    parser = cli.ArgumentParser(prog="tool.py")
    parser.add_argument("--root")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    create = commands.add_parser("create", prog="tool.py create")
    create.add_argument("--shuffle")
    create.add_argument("--filter", choices=("Box", "lanczos"))
    commands.add_parser("info", prog="tool.py info").add_argument("--labels")
    for arguments, message in [
        ([], "COMMAND is missing: use create, info"),
        (["creat"], "invalid choice: 'creat'; did you mean create? (use create, info)"),
        (["qqq"], "argument COMMAND: invalid choice: 'qqq' (use create, info)"),
        (["create", "--filter=box"], "choice: 'box'; did you mean Box? (use Box, lanczos)"),
        (["create", "--shufle=1"], "--shufle=1; did you mean --shuffle?"),
        (["create", "--rot=1"], "--rot=1; did you mean --root?"),
        (["info", "--shuffles"], "unrecognized arguments: --shuffles (see"),
        (["info", "--shuffle=1"], "--shuffle is an option of create, not of info"),
        (["--shuffle=1", "create"], "--shuffle comes after the command, create"),
        (["create", "create"], "unrecognized arguments: create (see"),
    ]:
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_an_error_of_the_operating_system_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tool.py"])
    for error, text in [
        (OSError(122, "Disk quota exceeded"), "Disk quota exceeded"),
        (OSError(27, "File too large", "a\x1b"), r"a\x1b: File too large"),
        (OSError(17, "File exists", "a", None, "b"), "a -> b: File exists"),
    ]:
        with pytest.raises(SystemExit) as exit_:
            cli.run(raising(error))
        assert exit_.value.code == 2
        assert capsys.readouterr().err == f"tool.py: error: {text}\n"


def test_a_terminal_that_hangs_up_cleans_up_too(capsys):
    def main():
        os.kill(os.getpid(), signal.SIGHUP)
        signal.pause()

    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored.
    try:
        with pytest.raises(SystemExit) as exit_:
            cli.run(main)
        assert exit_.value.code == 129
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, previous)
