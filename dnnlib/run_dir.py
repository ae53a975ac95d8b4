"""Run directories `NNNNN-DESC` and their log, as in the official code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

from dnnlib.output import SafeStream
from dnnlib.system import Busy, locked_file, read_at
from dnnlib.util import UserError, printable

LOG = "log.txt"


def make_run_dir(result_dir: str, desc: str) -> str:
    """Creates `result_dir/NNNNN-desc` with the next free number and returns its path.

    Raises:
        UserError: `result_dir` cannot be made or written.
    """
    try:
        os.makedirs(result_dir, exist_ok=True)
        while True:
            path = next_run_dir(result_dir, desc)
            try:
                os.mkdir(path)
                return path
            except FileExistsError:
                continue  # Another run took the number at the same moment.
    except OSError as error:
        raise UserError(
            f"cannot make a run directory in {result_dir}: {error.strerror}; "
            "choose another --result-dir"
        ) from error


def next_run_dir(result_dir: str, desc: str) -> str:
    """The path that `make_run_dir` would take at this moment."""
    names = os.listdir(result_dir) if os.path.isdir(result_dir) else []
    found = [re.match(r"(\d{5,})-", name) for name in names]
    number = max((int(m[1]) for m in found if m), default=-1) + 1
    return os.path.join(result_dir, f"{number:05d}-{desc}")


@contextmanager
def locked(run_dir: str) -> Iterator[None]:
    """Keeps other processes out of a run directory while the block runs.

    The lock is one on the log, so that it leaves no file behind, and ends with the process however
    that ends. Where the file system has no locks, the block runs without.

    Raises:
        UserError: another process has the lock, or the folder cannot be written.
    """
    path = os.path.join(run_dir, LOG)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_file(os.path.realpath(path)))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        except Busy:
            raise UserError(
                f"another process is working in {run_dir}: wait until it has ended, or end it first"
            ) from None
        yield


@contextmanager
def log_output(path: str) -> Iterator[None]:
    """Appends what the block prints, and the exception that ends it, to a file too.

    Where file or screen cannot be written any more (a full disk), the block continues
    (DESIGN D8); the file is given up with one warning.
    """
    stdout = sys.stdout
    tee = Tee(stdout, path)
    sys.stdout = tee
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit) as error:
        tee.log("".join(traceback.format_exception_only(error)))
        raise
    except BaseException:  # A defect of ours.
        tee.log(traceback.format_exc())
        raise
    finally:
        sys.stdout = stdout
        tee.close()


class Tee(SafeStream):
    """A text stream that writes to another one and to a file.

    Args:
        screen: the other stream, or None.
        path: of the file, which is appended to; None for no file.
        is_new: the file begins anew.
    """

    def __init__(self, screen: TextIO | None, path: str | None, is_new: bool = False):
        super().__init__(screen)
        self._path = path
        self._file: int | None = None
        if path is None:
            return
        # Unbuffered: nothing is left to be written when a run is killed or a disk is full.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_new else 0)
        self._file = os.open(path, flags, 0o666)
        size = os.fstat(self._file).st_size
        if size and read_at(self._file, 1, size - 1) != b"\n":
            self.log("\n")  # What was written last was cut off.

    def write(self, text: str) -> int:
        self.log(text)
        return super().write(text)

    def log(self, text: str) -> None:
        if self._file is None:
            return
        try:
            os.write(self._file, printable(text, keep="\n\t").encode())
        except OSError as error:
            self.close()
            super().write(f"Warning: no log any more in {self._path}: {error.strerror}\n")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
