"""What programs print: always printable, and never a reason to lose work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from typing import Any, TextIO

import tqdm as _tqdm

from dnnlib.util import UserError, printable, value_within

# What progress bars of this thread tell of their steps, see `watched`.
_WATCHER: ContextVar[Callable[[str, int, int | None], None] | None] = ContextVar(
    "watcher", default=None
)
_MOVES = re.compile(r"\n*(?:\x1b\[A)+")  # Of progress bars, between the lines of several.


class NobodyReads(Exception):
    """Whoever read what a command prints has ended, as in `| head`."""


class SafeStream:
    """A text stream that shows text from anywhere, and whose failures end nothing.

    Text from files and servers may hold sequences that control a terminal, or what the stream
    cannot encode: all that is not printable is shown as escapes. What cannot be written, since
    nobody reads any more, a disk is full, or the stream or terminal is gone, is left out.

    Args:
        stream: where the text goes; None, as in a program without a terminal, drops it.

    Attributes:
        failure: of the last write that failed, or None.
        must_work: whether a write that fails raises NobodyReads or UserError.
    """

    def __init__(self, stream: TextIO | None):
        self._stream = stream
        self.failure: Exception | None = None
        self.must_work = False

    def write(self, text: str) -> int:
        if self._stream is not None:
            self._attempt(self._write, _shown(text))
        elif self.must_work:
            raise UserError("cannot print: stdout is closed")
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._stream is not None:
            self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        with suppress(AttributeError, OSError, ValueError):
            return self._stream.isatty()
        return False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self._stream, "encoding", None) or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _attempt(self, action: Callable[..., Any], *args: str) -> None:
        try:
            action(*args)
        except (OSError, ValueError) as error:  # ValueError: it was closed.
            self.failure = error
            if not self.must_work:
                return
            if isinstance(error, BrokenPipeError):
                raise NobodyReads from error
            raise UserError(f"cannot print: {reason(error)}") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class tqdm(_tqdm.tqdm):
    """A progress bar on stderr; none where there is no stderr."""

    # tqdm's own thread, which has slow bars drawn, is not waited for when the process ends: where
    # it then runs into an interpreter that is being taken down, that may end with SIGABRT.
    monitor_interval = 0

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("miniters", 0)  # No bar needs the thread: each looks at the time itself.
        if sys.stderr is None:
            kwargs["disable"] = True
        self._watcher, self._text, self._done = _WATCHER.get(), kwargs.get("desc") or "", 0
        if self._watcher is not None:
            kwargs["disable"] = True
        super().__init__(*args, **kwargs)

    def update(self, n: float | None = 1) -> bool | None:
        is_drawn = super().update(n)
        if self._watcher is not None:
            self._done += int(n or 0)
            self._watcher(self._text, self._done, self.total)
        return is_drawn

    def __iter__(self) -> Iterator:
        if self._watcher is None:
            yield from super().__iter__()
            return
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()


def watched(
    watcher: Callable[[str, int, int | None], None],
) -> AbstractContextManager[None]:
    """Progress bars of this thread that begin in the block tell a function, and not the terminal.

    Args:
        watcher: takes the text of the bar, how much is done, and of how much (None: not known). A
            KeyboardInterrupt that it raises ends the work as Ctrl-C does.
    """
    return value_within(_WATCHER, watcher)


def install() -> None:
    """Makes stdout and stderr safe for the rest of the process."""
    _occupy_closed_descriptors()
    if not isinstance(sys.stdout, SafeStream):
        sys.stdout = SafeStream(sys.stdout)
    if not isinstance(sys.stderr, SafeStream):
        sys.stderr = SafeStream(sys.stderr)


def printing_is_the_work() -> None:
    """For commands that only print: what cannot be printed ends them.

    Everything else that a command does is worth more than its messages.
    """
    if isinstance(sys.stdout, SafeStream):
        sys.stdout.must_work = True


def reason(error: Exception) -> str:
    """Why a stream or file failed, without numbers and names."""
    return getattr(error, "strerror", None) or str(error)


def _shown(text: str) -> str:
    if _MOVES.fullmatch(text):
        return text
    begin = "\r" if text.startswith("\r") else ""  # Progress bars draw over their own line.
    return begin + printable(text[len(begin) :], keep="\n\t")


def _occupy_closed_descriptors() -> None:
    """Else the next file that is opened is what native code takes for stdout or stderr."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
