"""How official build functions, with dozens of keyword arguments, come from bodies with specs."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from dnnlib.tflib.static_kwargs import reject_unknown

# What official inputs are, unless a docstring says it itself.
_INPUTS = {
    "latents_in": "z [N, latent_size], standard normal.",
    "labels_in": "[N, label_size], one-hot; [N, 0] without labels.",
    "dlatents_in": "w for every layer [N, num_layers, dlatent_size].",
    "images_in": "[N, num_channels, H, W] in [-1, 1].",
}


def build_function(
    table: dict[str, Callable], *specs: type, without: str = "", **defaults: Any
) -> Callable[[Callable], Callable]:
    """Makes a build function of `dnnlib.tflib.Network`, and adds it to a table under its name.

    The decorated function takes the network's inputs and one instance of each spec. The build
    function takes the inputs and a keyword argument for every field of the specs, and that is what
    `inspect`, `help` and `typing.get_type_hints` see.

    A function with `**kwargs` is part of a generator. Official generators hand all their keyword
    arguments to both components, so each part is given those of the others as `kwargs`.

    Args:
        table: build functions of the same module by name.
        specs: frozen dataclasses in which every field has a default.
        without: names of fields, apart by spaces, that are no keyword arguments here.
        defaults: of keyword arguments, where they are not those of the specs.

    Raises:
        ValueError: no spec has a field that `without` or `defaults` names.
    """
    names = [[f.name for f in fields(s) if f.name not in without.split()] for s in specs]
    if unknown := {*without.split(), *defaults} - {f.name for s in specs for f in fields(s)}:
        raise ValueError(f"no spec has a field {', '.join(sorted(unknown))}")

    def decorate(function: Callable) -> Callable:
        signature = _signature(function, specs, names, defaults)
        parameters = signature.parameters.values()
        inputs = [p.name for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
        others = next((p.name for p in parameters if p.kind == p.VAR_KEYWORD), None)

        @functools.wraps(function)
        def face(*args: Any, **kwargs: Any) -> Any:
            known = set(signature.parameters)
            if others:
                known = known.union(*_keywords_of_other_parts(table, function.__name__)) - {others}
            reject_unknown(f"{function.__name__}()", kwargs, known)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = bound.arguments
            made = [s(**{n: values[n] for n in own}) for s, own in zip(specs, names, strict=True)]
            return function(*(values[n] for n in inputs), *made, **values.get(others, {}))

        face.__signature__ = signature
        face.__annotations__ = {p.name: p.annotation for p in parameters}
        face.__annotations__["return"] = signature.return_annotation
        keywords = {n for own in names for n in own}
        face.__doc__ = _documented(inspect.getdoc(function), inputs, specs, keywords)
        table[function.__name__] = face
        return face

    return decorate


def _signature(
    function: Callable, specs: tuple[type, ...], names: list[list[str]], defaults: Mapping[str, Any]
) -> inspect.Signature:
    """Inputs of the function, fields of its specs, and its own `**kwargs` where it has them."""
    own = inspect.signature(function)
    hints = typing.get_type_hints(function)
    given = [p.replace(annotation=hints[p.name]) for p in own.parameters.values()]
    others = [p for p in given if p.kind == p.VAR_KEYWORD]
    parameters = given[: len(given) - len(others) - len(specs)]
    for spec, wanted in zip(specs, names, strict=True):
        kinds = typing.get_type_hints(spec)
        for field in fields(spec):
            if field.name in wanted:
                default = defaults.get(field.name, field.default)
                kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
                parameters.append(
                    inspect.Parameter(
                        field.name, kind, default=default, annotation=kinds[field.name]
                    )
                )
    return inspect.Signature(parameters + others, return_annotation=hints["return"])


def _keywords_of_other_parts(table: Mapping[str, Callable], name: str) -> Iterator[set[str]]:
    """Keyword arguments of what a generator consists of besides the part `name`."""
    for other, function in table.items():
        if other.startswith("G_") and _part(other) != _part(name):
            parameters = inspect.signature(function).parameters.values()
            yield {p.name for p in parameters if p.default is not p.empty}


def _part(name: str) -> str:
    return next((part for part in ("G_mapping", "G_synthesis") if name.startswith(part)), "whole")


def _documented(
    doc: str | None, inputs: list[str], specs: tuple[type, ...], keywords: set[str]
) -> str | None:
    """A docstring, its section `Args` made of the inputs and of what the specs say of keywords."""
    if doc is None:  # Python was started with -OO.
        return None
    entries: dict[str, str] = {}
    for spec in specs:
        for cls in reversed(spec.__mro__[:-1]):  # A class speaks for its bases.
            entries.update(_attribute_entries(cls))
    texts: dict[str, list[str]] = {}
    for name, text in entries.items():
        if name in keywords:
            texts.setdefault(text, []).append(name)
    lines = "".join(f"\n    {', '.join(of)}: {text}" for text, of in texts.items())
    head, args, tail = doc.partition("\n\nArgs:\n")
    if args:
        about_inputs, gap, rest = tail.partition("\n\n")
    else:
        head, gap, rest = doc.partition("\n\nReturns:\n")
        gap, rest = gap and "\n\n", gap.lstrip() + rest
        about_inputs = "\n".join(f"    {name}: {_INPUTS[name]}" for name in inputs)
    return f"{head}\n\nArgs:\n{about_inputs}{lines}{gap}{rest}"


def _attribute_entries(cls: type) -> dict[str, str]:
    """{name: text} of the section `Attributes` of a class's own docstring."""
    _, _, section = inspect.cleandoc(cls.__dict__.get("__doc__") or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: text for names, text in entries for name in names.split(", ")}
