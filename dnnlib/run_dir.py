"""Run directories `NNNNN-DESC` and their log, as in the official code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
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
    """Appends what the block prints to a file too."""
    with open(path, "a", encoding="utf-8") as file:
        stdout = sys.stdout
        sys.stdout = _Tee(stdout, file)
        try:
            yield
        finally:
            sys.stdout = stdout


class _Tee:
    """A text stream that writes to two."""

    def __init__(self, screen: TextIO, file: TextIO):
        self._screen = screen
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(text)
        return self._screen.write(text)

    def flush(self) -> None:
        self._file.flush()
        self._screen.flush()

    def __getattr__(self, name: str):
        return getattr(self._screen, name)
