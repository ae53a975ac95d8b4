"""Official names that are deliberately absent: whoever uses one reads why, and what to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn


class LeftOut(ImportError):
    """An official name that this project does not have. The message is one line."""


def left_out(module: str, reasons: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module that official scripts import names from:

        __getattr__ = left_out(__name__, {"get_plugin": "nothing is compiled by hand: …"})

    Args:
        module: its name.
        reasons: {official name: why it is absent, and what to use instead}.

    Returns:
        A function that raises `LeftOut` for these names (`from module import name` passes that on,
        and would hide an AttributeError), and AttributeError for others.
    """

    def get(name: str) -> NoReturn:
        if name in reasons:
            raise LeftOut(f"{module}.{name} of the official code is not here: {reasons[name]}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    get.reasons = reasons
    return get
