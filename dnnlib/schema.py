"""What was read from a file, checked against type annotations before anything uses it.

    @dataclass(frozen=True)
    class Level:
        resolution: Annotated[int, Range(4, 4096)]
        files: list[str]

    level = parse(Level, json.loads(text), "levels[2]")

Everything is checked to the last element of the last container, and errors name the place of the
value: `levels[2].files[7] is 5, expected text`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from dnnlib.files import open_regular
from dnnlib.util import UserError, one_line

T = TypeVar("T")
_NAMES = {type(None): "null", float: "a number", int: "a whole number", str: "text"}
_NAMES |= {bool: "true or false", dict: "options by name", list: "a list", Any: "a value"}
_MAX_NAMED = 5  # Fields in an error.


@dataclasses.dataclass(frozen=True)
class Range:
    """Bounds of a number, for `Annotated[int, Range(1, 10)]`; both ends belong to it."""

    least: float = -math.inf
    most: float = math.inf


@dataclasses.dataclass(frozen=True)
class Size:
    """Most items of a container or characters of a text, for `Annotated[list[str], Size(10)]`."""

    most: int


# What containers and texts may hold where nothing else is said.
DEFAULT_SIZE = Size(1_000_000)


class _Misfit(UserError):
    """Something that is not what it should be, its place, and whether it is of the right kind."""

    def __init__(self, place: str, text: str, right_kind: bool = True):
        super().__init__(text)
        self.fit = (len(place), right_kind)


def _misfit(place: str, value: Any, expected: str, right_kind: bool = False) -> _Misfit:
    return _Misfit(place, f"{place or 'it'} is {_show(value)}, expected {expected}", right_kind)


def parse(kind: type[T], value: Any, place: str = "") -> T:
    """A value from JSON or another file as an instance of a type annotation.

    Known annotations: None, bool, int, float, str, `Any`, `Literal`, unions, `list[T]`,
    `tuple[T, ...]`, `tuple[T, U]`, `Sequence[T]`, `dict[str, T]`, `dict[int, T]` (whose keys JSON
    writes as text), dataclasses (fields that are missing get their
    defaults), and `Annotated` of these with `Range` and `Size`. A whole number
    may stand for another number. Numbers are finite. Any other class fits no value.

    Args:
        kind: the annotation.
        value: made of Python's own types.
        place: what errors call it; "" for the whole file.

    Returns:
        The value, with dataclasses, tuples and keys made of what JSON has in their place.

    Raises:
        UserError: one line that names the place of what does not fit, and what was expected.
    """
    try:
        return _parse(kind, value, place, ())
    except RecursionError:
        raise UserError(f"{place or 'it'} is nested too deeply") from None


def read_json(path: str, kind: type[T], max_bytes: int = 64 << 20) -> T:
    """The content of a JSON file, checked.

    Args:
        path: of a regular file in UTF-8.
        kind: annotation of the whole file, see `parse`.
        max_bytes: larger files are refused before they are read.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
        UserError: it is too large, not JSON, or does not fit; the message does not name the file.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UserError(f"it has more than {max_bytes:,} bytes")
    return parse_json(content, kind)


def read_json_object(path: str) -> dict[str, Any]:
    """The object in a small JSON file; an empty one if there is no file.

    Raises:
        UserError: the file cannot be read, or holds something else; the message names it.
    """
    try:
        return read_json(path, dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, UserError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error


def parse_json(content: bytes | str, kind: type[T]) -> T:
    """JSON as text or in UTF-8, checked; see `parse`.

    Raises:
        UserError: it is not JSON, or does not fit.
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        value = json.loads(text)
    except RecursionError:
        raise UserError("it is no JSON that can be read: it is nested too deeply") from None
    except ValueError as error:  # Bad UTF-8 and numbers of thousands of digits included.
        raise UserError(f"it is no JSON that can be read: {one_line(error)}") from None
    return parse(kind, value)


def _parse(kind: Any, value: Any, place: str, bounds: Sequence[Any]) -> Any:
    if isinstance(kind, TypeVar) or kind is Any:
        return value
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _parse(args[0], value, place, args[1:])
    if origin in (typing.Union, types.UnionType):
        return _parse_union(args, value, place, bounds)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in args):
            raise _misfit(place, value, describe(kind))
        return value
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, place)
    container = origin or kind
    if not isinstance(value, _accepted(container)) or (
        isinstance(value, bool) and container is not bool
    ):
        raise _misfit(place, value, describe(kind))
    if isinstance(value, (int, float)):
        return _check_number(kind, value, place, bounds)
    size = next((bound for bound in bounds if isinstance(bound, Size)), DEFAULT_SIZE)
    if value is not None and len(value) > size.most:
        what = "characters" if isinstance(value, str) else "items"
        raise _Misfit(
            place, f"{place or 'it'} has {len(value):,} {what}, expected at most {size.most:,}"
        )
    if isinstance(value, Mapping):
        return _parse_dict(args or (str, Any), value, place)
    if isinstance(value, (list, tuple)):
        return _parse_items(container, args, value, place)
    return value


def _accepted(kind: Any) -> type | tuple[type, ...]:
    """The classes of values that an annotation without arguments takes."""
    if kind is None:
        return type(None)
    if kind is float:
        return (int, float)
    if kind in (list, tuple, Sequence):
        return (list, tuple)
    if kind in (dict, Mapping):
        return dict
    return kind if kind in (bool, int, str, type(None)) else ()


def _parse_union(args: Sequence[Any], value: Any, place: str, bounds: Sequence[Any]) -> Any:
    misfits = []
    for member in args:
        try:
            return _parse(member, value, place, bounds)
        except _Misfit as misfit:
            misfits.append(misfit)
    # The one that fits furthest into the value knows best what is wrong with it.
    closest = max(misfits, key=lambda misfit: misfit.fit)
    if closest.fit == (len(place), False):
        raise _misfit(place, value, " or ".join(dict.fromkeys(map(describe, args)))) from None
    raise closest


def _parse_dataclass(cls: Any, values: Any, place: str) -> Any:
    if not isinstance(values, dict):
        raise _misfit(place, values, "options by name")
    prefix = f"{place}." if place else ""
    annotations = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    if unknown := sorted(prefix + _name(field) for field in values if field not in fields):
        raise _Misfit(unknown[0], f"there is no option {', '.join(unknown[:_MAX_NAMED])}")
    no_default = dataclasses.MISSING
    missing = [
        prefix + name
        for name, field in fields.items()
        if name not in values and field.default is field.default_factory is no_default
    ]
    if missing:
        text = f"{', '.join(missing[:_MAX_NAMED])} {'are' if missing[1:] else 'is'} missing"
        raise _Misfit(missing[0], text)
    parsed = {
        name: _parse(annotations[name], value, prefix + name, ()) for name, value in values.items()
    }
    return cls(**parsed)


def _parse_dict(args: Sequence[Any], values: Mapping, place: str) -> dict:
    key_kind, value_kind = args
    parsed = {}
    for key, value in values.items():
        name = f"{place}[{_name(key)}]" if key_kind is int else _join(place, _name(key))
        if key_kind is int:
            try:
                key = int(key)
            except (TypeError, ValueError):
                raise _Misfit(name, f"{name} has a name that is not a whole number") from None
        elif not isinstance(key, str):
            raise _Misfit(name, f"{name} has a name that is not text")
        parsed[key] = _parse(value_kind, value, name, ())
    return parsed


def _parse_items(container: Any, args: Sequence[Any], values: Sequence, place: str) -> Any:
    if container is tuple and args and args[-1] is not Ellipsis:
        if len(values) != len(args):
            raise _misfit(place, values, f"a list of {len(args)} items")
        kinds = args
    else:
        kinds = [args[0] if args else Any] * len(values)
    parsed = [
        _parse(kind, value, f"{place}[{i}]", ())
        for i, (kind, value) in enumerate(zip(kinds, values, strict=True))
    ]
    return tuple(parsed) if container is tuple else parsed


def _check_number(kind: Any, value: float, place: str, bounds: Sequence[Any]) -> float:
    # An integer of hundreds of digits has no place in a float.
    if isinstance(value, float) and not math.isfinite(value):
        raise _misfit(place, value, describe(kind))
    if kind is float and isinstance(value, int) and abs(value) > 1 << 1000:
        raise _misfit(place, value, describe(kind))
    for bound in bounds:
        if isinstance(bound, Range) and not bound.least <= value <= bound.most:
            raise _misfit(place, value, f"{describe(kind)} {_describe_range(bound)}", True)
    return value


def describe(kind: Any) -> str:
    """An annotation in words for people: `a list of text`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return describe(args[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(describe, args)))
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if dataclasses.is_dataclass(kind):
        return "options by name"
    if origin is tuple and args[-1] is not Ellipsis:
        return f"a list of {len(args)} items"
    if origin in (list, tuple, Sequence) and args:
        return f"a list of {describe(args[0])}"
    container = {Sequence: list, tuple: list, Mapping: dict, None: type(None)}.get(
        origin or kind, origin or kind
    )
    return _NAMES.get(container, getattr(container, "__name__", str(container)))


def _describe_range(bound: Range) -> str:
    least, most = (str(n) if isinstance(n, int) else f"{n:g}" for n in (bound.least, bound.most))
    if bound.most == math.inf:
        return f"of at least {least}"
    if bound.least == -math.inf:
        return f"of at most {most}"
    return f"from {least} to {most}"


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _name(key: Any) -> str:
    return one_line(key, 60) if isinstance(key, (str, int)) else type(key).__name__


def _show(value: Any) -> str:
    """A short text of a value, whatever its size."""
    if isinstance(value, int) and abs(value) > 1 << 99:
        return "a number of too many digits"
    if isinstance(value, (str, bytes)) and len(value) > 100:
        return repr(value[:60]) + "…"
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value):,}"
    if isinstance(value, (dict, list, tuple)):  # Which may hold any amount below.
        inner = [type(v).__name__ for v in (value.values() if isinstance(value, dict) else value)]
        if any(name not in ("int", "float", "bool", "NoneType") for name in inner):
            kinds = ", ".join(dict.fromkeys(inner))
            return f"a {type(value).__name__} of {kinds}" if inner else repr(value)
    return one_line(repr(value), 80)
