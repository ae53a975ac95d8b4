"""Tries again what failed: with growing pauses and jitter, and when a server asks for it.

urllib3's `Retry` does not serve: it repeats a request until an answer begins, while bodies break
off too, and between attempts calls are counted, hosts are left alone by all threads, and Ctrl-C
ends a pause.
"""

from __future__ import annotations

import email.utils
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

T = TypeVar("T")


class Passing(Exception):
    """A failure that may not happen again.

    Attributes:
        retry_after: seconds for which a server asks to be left alone, or None.
    """

    def __init__(self, reason: str, retry_after: float | None = None):
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Backoff:
    """Pauses that double, so that a server in trouble is left alone.

    Attributes:
        attempts: how often a thing is tried in all.
        first: seconds before the second attempt.
        longest: no pause is longer, whatever a server asks for.
    """

    attempts: int = 5
    first: float = 1.0
    longest: float = 60.0

    def repeat(self, attempt: Callable[[], T], wait: Callable[[Passing, float], None]) -> T:
        """The result of `attempt`, which is called again when it raises `Passing`.

        Args:
            attempt: what is tried.
            wait: called with each failure but the last and the seconds of the pause; waits.

        Raises:
            Passing: the last attempt failed too.
        """
        for number in range(self.attempts - 1):
            try:
                return attempt()
            except Passing as error:
                wait(error, self.pause(number, error.retry_after))
        return attempt()

    def pause(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after an attempt, counted from 0, has failed.

        Random between half and all of it, so that clients which failed together do not come back
        together; at least `retry_after`, which a server has asked for.
        """
        longest = min(self.first * 2.0**attempt, self.longest)
        pause = longest * random.uniform(0.5, 1.0)
        return pause if retry_after is None else min(max(pause, retry_after), self.longest)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the header Retry-After, which holds seconds or a date; None if it says nothing."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):  # Odd dates fail in any of these.
        return None
