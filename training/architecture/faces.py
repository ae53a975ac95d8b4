"""How official functions, with dozens of keyword arguments, come from bodies with specs."""

from __future__ import annotations

import inspect
import re
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.tflib.static_kwargs import reject_unknown
from training.architecture.layers import to_images, to_internal

# What scripts for StyleGAN give the generators of StyleGAN2 too, where it has no meaning.
# Deviation: the official functions take any keyword argument; here others are refused.
_LEFTOVERS = frozenset({"structure", "use_noise"})
# What official inputs are, unless a docstring says it itself.
_INPUTS = {
    "latents_in": "z [N, latent_size], standard normal.",
    "labels_in": "[N, label_size], one-hot; [N, 0] without labels.",
    "dlatents_in": "w for every layer [N, num_layers, dlatent_size].",
    "images_in": "[N, num_channels, H, W] in [-1, 1].",
}


class OfficialModule:
    """Makes the functions of an official module, of bodies that modules may share.

    A body takes arguments of its own, and specs: frozen dataclasses in which every field has a
    default. The official function takes a keyword argument for every field instead, and that is
    what `inspect`, `help` and `typing.get_type_hints` see.

    Args:
        name: of the module.

    Attributes:
        build_functions: those made so far, by name.
    """

    def __init__(self, name: str):
        self._module = name
        self.build_functions: dict[str, Callable] = {}

    def build_function(
        self, name: str, body: Callable, without: str = "", is_part: bool = False, **defaults: Any
    ) -> Callable:
        """Makes a build function of `dnnlib.tflib.Network`.

        Official generators hand all their keyword arguments to both components: a body with
        `**kwargs` is given those that are of a component, and a component ignores those of the
        others.

        Args:
            name: of the build function.
            body: the network. Its own arguments are the network's inputs.
            without: names of fields, apart by spaces, that are no keyword arguments here.
            is_part: it is a component of a generator.
            defaults: of keyword arguments, where they are not those of the specs.

        Raises:
            ValueError: no spec has a field that `without` or `defaults` names.
        """
        of_body = _Body(body)
        if unknown := {*without.split(), *defaults} - of_body.fields.keys():
            raise ValueError(f"no spec has a field {', '.join(sorted(unknown))}")
        fields_here = [n for n in of_body.fields if n not in without.split()]
        parameters = of_body.choose([*of_body.own, *fields_here], defaults)
        known, table = {p.name for p in parameters}, self.build_functions
        others = [of_body.var_keyword] if of_body.var_keyword else []
        if is_part:
            others = [inspect.Parameter("_kwargs", inspect.Parameter.VAR_KEYWORD, annotation=Any)]

        def check(kwargs: dict[str, Any]) -> None:
            more = _keywords_of_other_parts(table, name) if others else ()
            meant = known.union(*more)
            for leftover in _LEFTOVERS & kwargs.keys() - meant:
                warnings.warn(
                    f"{name}() has no keyword argument {leftover!r}, which is of other networks: "
                    "leave it out",
                    stacklevel=3,
                )
                del kwargs[leftover]
            reject_unknown(f"{name}()", kwargs, meant)

        def call(values: dict[str, Any]) -> Any:
            if is_part:
                values = {n: v for n, v in values.items() if n in known}
            return of_body(values)

        table[name] = self._finish(name, of_body, parameters + others, call, check)
        return table[name]

    def layer(self, name: str, body: Callable, parameters: str, **defaults: Any) -> Callable:
        """Makes a layer for people's own networks.

        An argument `x`, of activations, and the result are [N, C, H, W] or [N, C], in whatever
        layout the body has them.

        Args:
            name: of the layer.
            body: what computes it.
            parameters: those that there are here, in their official order, apart by spaces.
            defaults: where they are not those of the body and of its specs.

        Raises:
            ValueError: the body has no such parameter.
        """
        of_body = _Body(body)

        def call(values: dict[str, Any]) -> tf.Tensor:
            if "x" not in values:
                return of_body(values)
            x = to_internal(tf.convert_to_tensor(values["x"]))
            return to_images(of_body({**values, "x": x}))

        chosen = of_body.choose(parameters.split(), defaults)
        return self._finish(name, of_body, chosen, call)

    def _finish(
        self,
        name: str,
        of_body: _Body,
        parameters: list[inspect.Parameter],
        call: Callable[[dict[str, Any]], Any],
        check: Callable[[dict[str, Any]], None] = lambda kwargs: None,
    ) -> Callable:
        """A function of these parameters, which `call` gets by name once `check` is content."""
        signature = inspect.Signature(parameters, return_annotation=of_body.hints["return"])

        def face(*args: Any, **kwargs: Any) -> Any:
            check(kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return call(bound.arguments)

        face.__name__ = face.__qualname__ = name
        face.__module__, face.__signature__ = self._module, signature
        face.__annotations__ = {p.name: p.annotation for p in parameters}
        face.__annotations__["return"] = signature.return_annotation
        names = {p.name for p in parameters}
        inputs = [n for n in of_body.own if n in names]
        keywords = names & of_body.fields.keys()
        face.__doc__ = _documented(
            inspect.getdoc(of_body.function), inputs, of_body.specs, keywords
        )
        return face


class _Body:
    """A function of specs, seen as one of their fields.

    Attributes:
        function: itself.
        hints: its types by name.
        own: its own parameters by name, and `fields` those of all specs.
        specs: the dataclasses, each with the name of its parameter.
        var_keyword: its `**kwargs`, or None.
    """

    def __init__(self, function: Callable):
        self.function, self.hints = function, typing.get_type_hints(function)
        self.own, self.fields = dict[str, inspect.Parameter](), dict[str, inspect.Parameter]()
        self.specs: dict[type, str] = {}
        self.var_keyword = None
        for parameter in inspect.signature(function).parameters.values():
            hint = self.hints[parameter.name]
            if parameter.kind == parameter.VAR_KEYWORD:
                self.var_keyword = parameter.replace(annotation=hint)
            elif is_dataclass(hint):
                self.specs[hint] = parameter.name
                self.fields |= _fields_as_parameters(hint)
            else:
                self.own[parameter.name] = parameter.replace(annotation=hint)

    def choose(self, names: Iterable[str], defaults: Mapping[str, Any]) -> list[inspect.Parameter]:
        """Parameters of its own and of specs by their names, with other defaults.

        Raises:
            ValueError: it has none of that name.
        """
        known = {**self.own, **self.fields}
        if unknown := {*names, *defaults} - known.keys():
            raise ValueError(f"{self.function.__name__} has no {', '.join(sorted(unknown))}")
        return [known[n].replace(default=defaults.get(n, known[n].default)) for n in names]

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """What it returns for its own parameters and fields of specs, where they are given."""
        given = {n: values[n] for n in self.own if n in values}
        for spec, name in self.specs.items():
            own = (field.name for field in fields(spec))
            given[name] = spec(**{n: values[n] for n in own if n in values})
        more = values.get(self.var_keyword.name, {}) if self.var_keyword else {}
        return self.function(**given, **more)


def _fields_as_parameters(spec: type) -> dict[str, inspect.Parameter]:
    hints, kind = typing.get_type_hints(spec), inspect.Parameter.POSITIONAL_OR_KEYWORD
    return {
        f.name: inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name])
        for f in fields(spec)
    }


def _keywords_of_other_parts(table: Mapping[str, Callable], name: str) -> Iterator[set[str]]:
    """Keyword arguments of what a generator consists of besides the part `name`."""
    for other, function in table.items():
        if other.startswith("G_") and _part(other) != _part(name):
            parameters = inspect.signature(function).parameters.values()
            yield {p.name for p in parameters if p.default is not p.empty}


def _part(name: str) -> str:
    return next((part for part in ("G_mapping", "G_synthesis") if name.startswith(part)), "whole")


def _documented(
    doc: str | None, inputs: list[str], specs: Iterable[type], keywords: set[str]
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
    head, args, tail = doc.partition("\n\nArgs:\n")
    if args:
        section, gap, rest = tail.partition("\n\n")
        about = [e for e in _entries(section) if set(e[0]) & set(inputs)]
    else:
        head, gap, rest = doc.partition("\n\nReturns:\n")
        gap, rest = gap and "\n\n", gap.lstrip() + rest
        about = [([name], _INPUTS[name]) for name in inputs if name in _INPUTS]
    about += [(of, text) for text, of in texts.items()]
    lines = "".join(f"\n    {', '.join(of)}: {text}" for of, text in about)
    return f"{head}\n\nArgs:{lines}{gap}{rest}"


def _attribute_entries(cls: type) -> dict[str, str]:
    """{name: text} of the section `Attributes` of a class's own docstring."""
    _, _, section = inspect.cleandoc(cls.__dict__.get("__doc__") or "").partition("Attributes:\n")
    return {name: text for names, text in _entries(section) for name in names}


def _entries(section: str) -> list[tuple[list[str], str]]:
    """(names, text) of every entry of a section."""
    found = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return [(names.split(", "), text) for names, text in found]
