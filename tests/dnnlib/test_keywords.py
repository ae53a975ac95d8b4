"""Keyword arguments as dataclasses, and functions that show them."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest

from dnnlib.keywords import arguments, document, face, keyword, spread
from dnnlib.schema import Range


@dataclass(frozen=True)
class Blur:
    width: Annotated[float, Range(0)] = keyword("deviation of the Gaussian, " * 8 + "in pixels")
    mode: str | None = keyword("how borders are extended", default=None, kw_only=True)
    passes: int = keyword("how often", default=2)


@spread(Blur)
def blur(image: str, *, seed: int = 0, **spec: object) -> tuple[str, int, Blur]:
    """Blurs.

    Args:
        image: what.
        seed: of noise.
        {fields}

    Returns:
        What it was called with.
    """
    return image, seed, Blur(**spec)


def test_a_function_shows_the_fields_and_takes_them():
    shown = inspect.signature(blur).parameters
    assert list(shown) == ["image", "seed", "width", "passes", "mode"]
    assert [shown[name].default for name in shown][1:] == [0, inspect.Parameter.empty, 2, None]
    assert (shown["width"].annotation, shown["mode"].annotation) == (float, str | None)
    assert blur("x", width=1.0, mode="edge") == ("x", 0, Blur(1.0, mode="edge"))
    with pytest.raises(TypeError, match="widht"):
        blur("x", widht=1.0)
    with pytest.raises(TypeError, match="width"):
        blur("x")


def test_documentation_stands_among_the_arguments():
    lines = inspect.getdoc(blur).splitlines()
    assert all(len(line) <= 96 for line in lines)
    assert lines[lines.index("    seed: of noise.") + 1].startswith("    width: deviation of the G")
    assert lines[-5:-3] == ["    passes: how often.", "    mode: how borders are extended."]
    assert document(arguments(Blur, ["passes"])) == "    passes: how often."


def test_a_function_of_arguments_of_more_than_one_spec():
    of = [*arguments(Blur, ["passes"], default=3), *arguments(Blur, ["mode"])]
    called = face("somewhere", "called", "Calls.\n\nArgs:\n    {fields}", of, lambda given: given)
    assert called() == {} and called(4, mode="edge") == {"passes": 4, "mode": "edge"}
    assert str(inspect.signature(called)) == "(passes: int = 3, *, mode: str | None = None)"
    assert called.__doc__.splitlines()[3:] == [
        "    passes: how often.",
        "    mode: how borders are extended.",
    ]
    assert (called.__module__, called.__name__) == ("somewhere", "called")
    with pytest.raises(TypeError, match="width"):
        called(width=1)


def test_specs_cannot_be_changed_and_compare_by_value():
    spec = Blur(1.0)
    assert spec == Blur(1.0, 2)
    assert [a.parameter.name for a in arguments(Blur)] == ["width", "passes", "mode"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.width = 2.0
