"""Ctrl-C and SIGTERM while a run trains: the step is finished, and what was learned is saved."""

from __future__ import annotations

import os
import signal
import threading
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_HANG_UP = getattr(signal, "SIGHUP", None)  # The terminal is gone; Windows has none.
if _HANG_UP is not None:
    _NAMES[_HANG_UP] = "SIGHUP"


class Interrupted(KeyboardInterrupt):
    """A signal came within `Interrupts.raised`."""


class Interrupts:
    """Notes the first signal within its block; the second one ends the process at once.

    Signals that are ignored stay so, as SIGINT is in the background of a shell. Only the main
    thread can take signals; elsewhere the block changes nothing.

    Attributes:
        received: number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._raises = False
        self._is_own = False  # One came to this process.
        self._is_taken = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _NAMES:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def exception(self) -> BaseException:
        """What to raise: exit code 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        if self.received in (signal.SIGTERM, _HANG_UP):
            return SystemExit(128 + self.received)
        return KeyboardInterrupt()

    def take(self, number: int) -> None:
        """Notes a signal that came to another worker, from any thread; this process may still get
        a first one of its own.
        """
        self.received = self.received or number
        if self._raises:
            self._is_taken = True
            interrupt_main(signal.SIGTERM)  # The handler runs in the main thread.

    @contextmanager
    def raised(self) -> Iterator[None]:
        """A block of work that can be repeated: the first signal ends it by `Interrupted`."""
        self._raises = True
        try:
            if self.received is not None:
                raise Interrupted
            yield
        finally:
            self._raises = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._is_taken:
            self._is_taken = False
            if self._raises:
                raise Interrupted
            return
        is_first, self._is_own = not self._is_own, True
        if is_first:
            self.received = self.received or number
            doing = "stopping what is measured" if self._raises else "finishing the step"
            text = f"\n{_NAMES[number]}: {doing}, then saving; once more stops at once\n"
            with suppress(OSError):  # A terminal that has hung up takes nothing.
                os.write(2, text.encode())  # print is not for signal handlers
        for other in self._previous:
            # A terminal that is closed says so twice: itself, and through the shell.
            signal.signal(other, signal.SIG_IGN if other == _HANG_UP else signal.SIG_DFL)
        if not is_first:  # It came while the first one was being noted.
            os.kill(os.getpid(), number)
        elif self._raises:
            raise Interrupted
