"""Small types and text helpers."""

from __future__ import annotations

import re
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")
_JSON_NAMES = {type(None): "null", float: "a number", int: "a whole number", str: "text"}
_JSON_NAMES |= {bool: "true or false", dict: "options by name"}
# What controls a terminal, hides, changes the order of what is shown, or cannot be encoded: C0 and
# C1 controls, marks of direction, invisible characters, line separators, surrogates. Joiners (200c,
# 200d) are part of words and emoji.
_NOT_PRINTABLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f"
    "\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff\\U000e0000-\\U000e007f]"
)


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


def dataclass_from_json(cls: type[T], values: Any, name: str = "") -> T:
    """A dataclass from what JSON has kept of it. Of containers only the kind is checked.

    Args:
        cls: the dataclass.
        values: {field: value}; fields that are missing get their defaults.
        name: what errors call it, with a dot; "" for the whole file.

    Raises:
        UserError: no dictionary, a field that there is not, or a value of another type than its
            annotation says. Whole numbers may stand for others.
    """
    if not isinstance(values, dict):
        raise UserError(f"{name.rstrip('.') or 'it'} is {values!r}, expected options by name")
    annotations = typing.get_type_hints(cls)
    if unknown := sorted(name + field for field in values.keys() - annotations.keys()):
        raise UserError(f"there is no option {', '.join(unknown)}")
    for field, value in values.items():
        annotation = annotations[field]
        is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
        members = typing.get_args(annotation) if is_union else (annotation,)
        allowed = {typing.get_origin(member) or member for member in members}
        if type(value) not in allowed | ({int} if float in allowed else set()):
            expected = " or ".join(sorted(_JSON_NAMES.get(kind, kind.__name__) for kind in allowed))
            raise UserError(f"{name}{field} is {value!r}, expected {expected}")
    return cls(**values)


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
