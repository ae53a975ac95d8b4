"""What a run that `submit_run` started knows of itself: its times, and whether it should stop."""

from __future__ import annotations

import time
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from dnnlib.util import UserError

# Of the thread or task that runs, so that two runs in one process do not see each other.
_CURRENT: ContextVar[RunContext | None] = ContextVar("run_context", default=None)
# Those of the process, for threads that a run has started.
_OPEN: list[RunContext] = []


class RunContext:
    """The context of a run, current until it is closed.

    Args:
        submit_config: of the run.
        config_module: as the official one, which prints it; nothing here depends on it.
    """

    def __init__(self, submit_config: Any, config_module: ModuleType | None = None):
        self.submit_config = submit_config
        self.config_module = config_module
        self.has_closed = False
        self._start = self._last_update = time.time()
        self._last_interval = 0.0
        self._outer = _CURRENT.get()
        _CURRENT.set(self)
        _OPEN.append(self)

    def update(self, loss: float = 0, cur_epoch: int = 0, max_epoch: int | None = None) -> None:
        """Notes that the run is under way; the arguments are those of other places to run in."""
        now = time.time()
        self._last_interval = now - self._last_update
        self._last_update = now

    def should_stop(self) -> bool:
        """Whether the run should end: never by itself. Ctrl-C raises KeyboardInterrupt as usual."""
        return False

    def get_time_since_start(self) -> float:
        """Seconds since the context was made."""
        return time.time() - self._start

    def get_time_since_last_update(self) -> float:
        """Seconds since the last `update`, or since the start."""
        return time.time() - self._last_update

    def get_last_update_interval(self) -> float:
        """Seconds between the last two updates."""
        return self._last_interval

    def close(self) -> None:
        """Ends the context; the one before it is current again."""
        if not self.has_closed:
            self.has_closed = True
            _OPEN.remove(self)
            if _CURRENT.get() is self:
                _CURRENT.set(self._outer)

    def __enter__(self) -> RunContext:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @staticmethod
    def get() -> RunContext:
        """The current context.

        Raises:
            UserError: no run is under way, or several are and this thread belongs to none.
        """
        context = current()
        if context is None:
            raise UserError("RunContext.get(): no run is under way; start it with submit_run")
        return context


def current() -> RunContext | None:
    """The context of this thread; in a thread without one, that of the process's only run."""
    context = _CURRENT.get()
    if context is None and len({id(c.submit_config) for c in _OPEN}) == 1:
        context = _OPEN[-1]
    return context
