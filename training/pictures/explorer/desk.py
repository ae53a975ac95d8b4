"""The files that the explorer makes: kept for a while, and saved where the user wants them."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnnlib import UserError
from dnnlib.files import atomic_write
from training.pictures.generation import make_folder

_KEPT = 16  # Results of a kind; those of a page that is open are newer.


@dataclass(frozen=True)
class Result:
    """What was made.

    Attributes:
        id: by which the browser names it.
        kind: a picture, a grid, …
        files: {suffix: path}, the picture first.
        name: of the files when they are saved, without suffix.
        facts: what the browser is told besides.
    """

    id: str
    kind: str
    files: Mapping[str, str]
    name: str
    facts: Mapping[str, Any]

    @property
    def picture(self) -> str:
        """Path of the picture or film."""
        return next(iter(self.files.values()))


class Desk:
    """Results by id, of which the oldest of each kind are thrown away.

    Args:
        folder: where results are made.
        result_dir: root of the run directories, one of which is made when something is saved.
        outdir: folder to save to in its place, or None.
    """

    def __init__(self, folder: str, result_dir: str, outdir: str | None):
        self._folder, self._result_dir, self._saved_to = folder, result_dir, None
        self._outdir, self._lock = outdir, threading.Lock()
        self._results: dict[str, Result] = {}
        self._saved: dict[str, dict[str, str]] = {}

    def new_folder(self) -> tuple[str, str]:
        """(id, path) of a folder for a result."""
        number = secrets.token_hex(8)
        path = os.path.join(self._folder, number)
        os.mkdir(path)
        return number, path

    def add(self, result: Result) -> Result:
        """Keeps a result, and throws away the oldest of its kind."""
        with self._lock:
            self._results[result.id] = result
            alike = [number for number, r in self._results.items() if r.kind == result.kind]
            for number in alike[:-_KEPT]:
                del self._results[number]
                self._saved.pop(number, None)
                self.discard(number)
        return result

    def discard(self, number: str) -> None:
        """Removes the folder of a result."""
        shutil.rmtree(os.path.join(self._folder, number), ignore_errors=True)

    def find(self, number: str) -> Result:
        """The result of an id.

        Raises:
            UserError: there is none, or it is too old.
        """
        with self._lock:
            result = self._results.get(number)
        if result is None:
            raise UserError("this picture is no longer available: make it again")
        return result

    def save(self, number: str) -> dict[str, str]:
        """Copies the files of a result, once; {suffix: path}.

        Raises:
            UserError: there is no such result, or a file cannot be written.
        """
        result = self.find(number)
        with self._lock:
            if self._saved_to is None:
                self._saved_to = make_folder(self._result_dir, "explore", self._outdir)
            if number not in self._saved:
                self._saved[number] = self._copy(result, self._saved_to)
            return self._saved[number]

    def _copy(self, result: Result, folder: str) -> dict[str, str]:
        taken = {name.partition("-")[0] for name in os.listdir(folder)}
        number = next(n for i in itertools.count(1) if (n := f"{i:04d}") not in taken)
        stem = os.path.join(folder, f"{number}-{result.name}")
        saved = {}
        # What a picture is made from comes first: whoever finds the picture finds that too.
        for suffix, path in reversed(result.files.items()):
            saved[suffix] = stem + suffix
            try:
                with open(path, "rb") as source, atomic_write(saved[suffix]) as target:
                    shutil.copyfileobj(source, target)
            except OSError as error:
                reason = error.strerror or error
                raise UserError(f"cannot write {saved[suffix]}: {reason}") from error
        return saved
