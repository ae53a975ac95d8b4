"""Functions that test_child_process.py has called in another process."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from dnnlib import UserError


def echo(*values):
    return list(values)


def misbehave(how):
    """Does what data might make a library do; returns the process' number for anything else."""
    if how == "hang":
        while True:
            time.sleep(1)
    elif how == "hang in C":  # Holds the GIL, so that no signal handler of Python runs.
        ctypes.PyDLL(None).sleep(60)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        print("Check failed: rank\33[2J", file=sys.stderr, flush=True)
        os.abort()
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    elif how == "user error":
        raise UserError("x.png is no picture")
    elif how == "error":
        raise KeyError("of a\nlibrary")
    elif how == "memory":
        return len(bytearray(1 << 30))
    elif how == "noise":
        os.write(1, b"noise" * 100_000)
        print("noise" * 100_000)
        os.write(2, b"noise" * 100_000)
    elif how == "ctrl-c":
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    elif how == "modules":
        return sorted(sys.modules)
    return os.getpid()


def reply(content):
    """Writes bytes of its own in place of a reply, as a process that has been taken over could."""
    for number in range(3, 10):
        try:
            os.write(number, content)
        except OSError:
            pass
