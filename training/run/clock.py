"""How long a run, this session of it, and a tick take."""

from __future__ import annotations

import time

from dnnlib.util import format_time
from training.run.reports import kimg_text


class Clock:
    """Seconds of a run.

    Args:
        seconds: that earlier sessions of the run took.
        tick_seconds: that they took of the current tick.

    Attributes:
        maintenance: seconds between the last tick and the current one, in which files are written.
    """

    def __init__(self, seconds: float, tick_seconds: float):
        self._seconds, self._tick_seconds = seconds, tick_seconds
        # After the first tick, which starts the graph: when that was over, and the position.
        self._session_start: tuple[float, int] | None = None
        self.maintenance = 0.0
        self.start()

    def start(self) -> None:
        """Starts the clock, once more if there was something else to do first."""
        now = time.monotonic()
        self._start, self._tick_start = now - self._seconds, now - self._tick_seconds
        self._tick_end = now

    def seconds(self) -> float:
        """Of the run."""
        return time.monotonic() - self._start

    def tick_seconds(self) -> float:
        """Of the current tick."""
        return time.monotonic() - self._tick_start

    def end_tick(self) -> tuple[float, float]:
        """Ends the tick. Returns the seconds of the run and of the tick."""
        self._tick_end = time.monotonic()
        return self._tick_end - self._start, self._tick_end - self._tick_start

    def start_tick(self, cur_nimg: int) -> None:
        """Starts the next tick, at a position in images."""
        self._tick_start = time.monotonic()
        self.maintenance = self._tick_start - self._tick_end
        if self._session_start is None:
            self._session_start = self._tick_start, cur_nimg

    def progress(self, cur_nimg: int, total_kimg: float, total_seconds: float | None) -> str:
        """For the status line, when a tick has ended: the length of the run, and what is left of
        it at the speed of this session after its first tick.
        """
        total = total_kimg * 1000
        text = f"of {kimg_text(round(total))} kimg"
        if self._session_start is None:
            return f"{text}, starts the graph"
        start, start_nimg = self._session_start
        left = (self._tick_end - start) / (cur_nimg - start_nimg) * max(total - cur_nimg, 0)
        if total_seconds is not None:
            left = min(left, max(total_seconds - (self._tick_end - self._start), 0))
        return f"{text}, {format_time(left)} left"
