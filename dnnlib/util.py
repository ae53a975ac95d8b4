"""Small types and text helpers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from dnnlib.lazy_names import lazy_names

# What controls a terminal, hides, changes the order of what is shown, or cannot be encoded: C0 and
# C1 controls, marks of direction, invisible characters, line separators, surrogates. Joiners (200c,
# 200d) are part of words and emoji.
_NOT_PRINTABLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f"
    "\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff\\U000e0000-\\U000e007f]"
)


T = TypeVar("T")


class UserError(Exception):
    """Something that the user can fix.

    The message is one line: what was got, what was expected, how to fix it, and the file or option
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


@contextmanager
def value_within(variable: ContextVar[T], value: T) -> Iterator[None]:
    """A context variable has this value while the block runs."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


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


def printable(text: str, keep: str = "") -> str:
    """`text` with line breaks, what controls a terminal, and undecodable bytes as escapes.

    Args:
        text: anything.
        keep: characters that stay as they are.
    """
    return _NOT_PRINTABLE.sub(
        lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode("ascii"), text
    )


def one_line(text: object, limit: int = 300) -> str:
    """`text` in one printable line of at most `limit` characters, for messages."""
    flat = printable(" ".join(str(text).split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """`did you mean NAME? ` if one of the known names is close to what was typed, else nothing."""
    names: dict[str, str] = {}
    for name in known:
        if name != text:
            names.setdefault(name.lower(), name)
    close = difflib.get_close_matches(text.lower(), names, n=1)
    return f"did you mean {names[close[0]]}? " if close else ""


# Official names for people's own scripts, which need more to be imported.
__getattr__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(
            (
                "call_func_by_name",
                "construct_class_by_name",
                "get_module_dir_by_obj_name",
                "get_module_from_obj_name",
                "get_obj_by_name",
                "get_obj_from_module",
                "get_top_level_function_name",
                "is_top_level_function",
            ),
            "dnnlib.dotted_names",
        ),
        **dict.fromkeys(
            (
                "Logger",
                "ask_yes_no",
                "copy_files_and_create_dirs",
                "get_dtype_and_ctype",
                "is_pickleable",
                "is_url",
                "list_dir_recursively_with_ignore",
                "make_cache_dir_path",
                "open_url",
                "set_cache_dir",
                "tuple_product",
            ),
            "dnnlib.official_util",
        ),
    },
)
