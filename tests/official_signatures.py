"""Signatures as the official repositories have them, written as text."""

from __future__ import annotations

import inspect
from types import ModuleType


def check_signatures(module: ModuleType, text: str) -> set[str]:
    """Asserts that a module has functions like "f(x, y=1) g(x)", and returns their names."""
    expected = " ".join(text.split()).replace(") ", ")\n").splitlines()
    names = [signature.partition("(")[0] for signature in expected]
    assert [_signature(getattr(module, name)) for name in names] == expected
    return set(names)


def public_functions(module: ModuleType) -> dict[str, object]:
    """Functions of a module whose names begin with no underscore."""
    return {n: f for n, f in vars(module).items() if inspect.isfunction(f) and n[0] != "_"}


def _signature(function: object) -> str:
    """Without types."""
    signature, empty = inspect.signature(function), inspect.Parameter.empty
    parameters = [p.replace(annotation=empty) for p in signature.parameters.values()]
    return function.__name__ + str(inspect.Signature(parameters))
