"""Keyword arguments as frozen dataclasses: each one's default and documentation stand once.

    @dataclass(frozen=True)
    class BlurSpec:
        width: float = keyword("deviation of the Gaussian, in pixels", default=1.0)

Inside, functions take a `BlurSpec`. The function for users takes keywords and makes a spec of them;
its signature and documentation come from here, so that `help` shows every keyword.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)
_WIDTH = 96


def keyword(doc: str, *, default: Any = dataclasses.MISSING, kw_only: bool = False) -> Any:
    """A documented field of a dataclass; without a default it must be given."""
    return dataclasses.field(default=default, kw_only=kw_only, metadata={"doc": doc})


def parameters(spec: type) -> list[inspect.Parameter]:
    """The parameters of a spec's constructor, annotated with plain types: no bounds."""
    hints = typing.get_type_hints(spec)
    found = inspect.signature(spec).parameters.values()
    return [parameter.replace(annotation=hints[parameter.name]) for parameter in found]


def document(spec: type, names: Iterable[str] | None = None) -> str:
    """What fields of a spec mean, as lines for the section "Args" of a docstring without margin.

    Args:
        spec: a dataclass whose fields `keyword` made.
        names: of the fields; None: all, in the order of the constructor.
    """
    docs = {field.name: field.metadata["doc"] for field in dataclasses.fields(spec)}
    names = inspect.signature(spec).parameters if names is None else names
    first, others = " " * 4, " " * 8
    entries = (f"{name}: {docs[name]}." for name in names)
    return "\n".join(
        textwrap.fill(entry, _WIDTH, initial_indent=first, subsequent_indent=others)
        for entry in entries
    )


def spread(spec: type) -> Callable[[F], F]:
    """Decorator of a function that makes a spec of its `**kwargs`: shows the fields in their place.

    The signature gets a keyword for each field, and the docstring their documentation in the place
    of `{fields}`.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[:-1]
        fields = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters(spec)]
        function.__signature__ = signature.replace(parameters=[*own, *fields])
        if doc := inspect.getdoc(function):  # Not with `python -OO`.
            function.__doc__ = doc.replace("    {fields}", document(spec))
        return function

    return decorate
