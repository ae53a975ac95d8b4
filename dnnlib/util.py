"""Small types and text helpers."""

from __future__ import annotations

from typing import Any


class UserError(Exception):
    """Something that the user can mend.

    The message is one line: what was got, what was expected, how to mend it, and the file or option
    by name. Scripts print it on stderr and exit with code 2 (see `dnnlib.cli.run`).
    """


class EasyDict(dict):
    """A dict whose items are also attributes. Appears by this name in official snapshots."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None


def format_time(seconds: float) -> str:
    """Duration as in the official status line: `8s`, `5m 12s`, `3h 05m 12s`, `2d 03h 05m`."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 60 * 60:
        return f"{s // 60}m {s % 60:02}s"
    if s < 24 * 60 * 60:
        return f"{s // 3600}h {s // 60 % 60:02}m {s % 60:02}s"
    return f"{s // 86400}d {s // 3600 % 24:02}h {s // 60 % 60:02}m"


def one_line(text: object, limit: int = 300) -> str:
    """`text` without line breaks and not longer than `limit` characters, for error messages."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
