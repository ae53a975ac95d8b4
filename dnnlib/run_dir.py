"""Run directories `NNNNN-DESC` and their log, as in the official code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from dnnlib.util import UserError


def make_run_dir(result_dir: str, desc: str) -> str:
    """Creates `result_dir/NNNNN-desc` with the next free number and returns its path.

    Raises:
        UserError: `result_dir` cannot be made or written.
    """
    try:
        os.makedirs(result_dir, exist_ok=True)
        while True:
            found = [re.match(r"(\d{5,})-", name) for name in os.listdir(result_dir)]
            number = max((int(m[1]) for m in found if m), default=-1) + 1
            path = os.path.join(result_dir, f"{number:05d}-{desc}")
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


@contextmanager
def log_output(path: str) -> Iterator[None]:
    """Appends what the block prints, and the exception that ends it, to a file too.

    A file that cannot be written any more (a full disk) is given up with one warning; what the
    block does goes on (DESIGN D8).
    """
    stdout = sys.stdout
    tee = _Tee(stdout, path)
    sys.stdout = tee
    try:
        yield
    except BaseException:
        tee.log(traceback.format_exc())
        raise
    finally:
        sys.stdout = stdout
        tee.close()


class _Tee:
    """A text stream that writes to another one and to a file."""

    def __init__(self, screen: TextIO, path: str):
        self._screen = screen
        self._path = path
        self._file: TextIO | None = None
        self._attempt(lambda: setattr(self, "_file", open(path, "a", encoding="utf-8")))

    def write(self, text: str) -> int:
        self.log(text)
        return self._screen.write(text)

    def flush(self) -> None:
        self._attempt(lambda: self._file and self._file.flush())
        self._screen.flush()

    def log(self, text: str) -> None:
        self._attempt(lambda: self._file and self._file.write(text))

    def close(self) -> None:
        self._attempt(lambda: self._file and self._file.close())

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self._file = None
            self._screen.write(f"Warning: no log any more in {self._path}: {error.strerror}\n")

    def __getattr__(self, name: str):
        return getattr(self._screen, name)
