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
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)
_WIDTH = 96


def keyword(doc: str, *, default: Any = dataclasses.MISSING, kw_only: bool = False) -> Any:
    """A documented field of a dataclass; without a default it must be given."""
    return dataclasses.field(default=default, kw_only=kw_only, metadata={"doc": doc})


@dataclasses.dataclass(frozen=True)
class Argument:
    """A parameter of a function, and what it means."""

    parameter: inspect.Parameter
    doc: str


def arguments(spec: type, names: Iterable[str] | None = None, **changes: Any) -> list[Argument]:
    """Fields of a spec as arguments of a function, annotated with plain types: no bounds.

    Args:
        spec: a dataclass whose fields `keyword` made.
        names: of the fields; None: all, in the order of the constructor.
        changes: attributes that the parameters get, see `inspect.Parameter.replace`.
    """
    docs = {field.name: field.metadata["doc"] for field in dataclasses.fields(spec)}
    hints, known = typing.get_type_hints(spec), inspect.signature(spec).parameters
    return [
        Argument(known[name].replace(annotation=hints[name], **changes), docs[name])
        for name in (known if names is None else names)
    ]


def document(of: Iterable[Argument]) -> str:
    """What arguments mean, as lines for the section "Args" of a docstring without margin."""
    first, others = " " * 4, " " * 8
    entries = (f"{argument.parameter.name}: {argument.doc}." for argument in of)
    return "\n".join(
        textwrap.fill(entry, _WIDTH, initial_indent=first, subsequent_indent=others)
        for entry in entries
    )


def face(
    module: str,
    name: str,
    doc: str | None,
    of: Sequence[Argument],
    call: Callable[[dict[str, Any]], Any],
) -> Callable[..., Any]:
    """A function of arguments, which `call` gets by name where they were given.

    Args:
        module, name: of the function.
        doc: its docstring, with `{fields}` in the section "Args"; None with `python -OO`.
        of: its arguments in order.
        call: what it does.
    """
    signature = inspect.Signature([argument.parameter for argument in of])

    def function(*args: Any, **kwargs: Any) -> Any:
        return call(signature.bind(*args, **kwargs).arguments)

    function.__name__ = function.__qualname__ = name
    function.__module__, function.__signature__ = module, signature
    function.__doc__ = doc and doc.replace("    {fields}", document(of))
    return function


def spread(spec: type) -> Callable[[F], F]:
    """Decorator of a function that makes a spec of its `**kwargs`: shows the fields in their place.

    The signature gets a keyword for each field, and the docstring their documentation in the place
    of `{fields}`.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[:-1]
        fields = arguments(spec, kind=inspect.Parameter.KEYWORD_ONLY)
        parameters = [*own, *(field.parameter for field in fields)]
        function.__signature__ = signature.replace(parameters=parameters)
        if doc := inspect.getdoc(function):  # Not with `python -OO`.
            function.__doc__ = doc.replace("    {fields}", document(fields))
        return function

    return decorate
