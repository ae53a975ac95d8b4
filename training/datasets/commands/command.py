"""A command of dataset_tool.py: its text, its arguments, and the function that does it.

The name of a command is the name of its function, its help text is the function's docstring, and
the function gets the values of its arguments as keyword arguments. It imports what it needs when it
runs, so that errors and --help come at once.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from dnnlib import UserError, cli

if TYPE_CHECKING:
    from training.datasets.building.output import Output

# What a command that makes a dataset returns: an importer that lacks only its `Output`.
Importer = Callable[["Output"], None]


class Argument(NamedTuple):
    """An option or a positional argument: its names, and what argparse shall know of it."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]


class Group(NamedTuple):
    """Options under a title of their own in the help text."""

    title: str
    arguments: Sequence[Argument]


def option(
    name: str,
    text: str,
    type: Callable[[str], Any] | None = None,
    metavar: str | None = None,
    also: str | None = None,
    **settings,
) -> Argument:
    """An option, with another name if need be; `settings` are of `argparse.add_argument`.

    One with underscores, as the official tools have, can be written with dashes too.
    """
    names = tuple(dict.fromkeys((name, also or name.replace("_", "-"))))
    settings |= {"help": text, "metavar": metavar, "type": type}
    return Argument(names, {key: value for key, value in settings.items() if value is not None})


def switch(name: str, text: str) -> Argument:
    """An option without a value, which is off if it is not given."""
    return option(name, text, action="store_true")


def boolean(name: str, text: str) -> Argument:
    """An option with true or false as its value, false if it is not given."""
    return option(name, text, cli.boolean, "BOOL", default=False)


def official_seed(name: str, text: str) -> Argument:
    """A seed as NumPy's `RandomState` takes it, with the official default."""
    return option(name, f"{text} (default: 123)", cli.integer(0, 2**32 - 1), "N", default=123)


def path(name: str, text: str, **settings) -> Argument:
    """A positional argument, a path; `settings` are of `argparse.add_argument`."""
    settings = {"type": cli.path, "metavar": name.upper(), "help": text} | settings
    return Argument((name,), settings)


def folder_option(name: str, text: str) -> Argument:
    """An option for a folder, which must be given."""
    return option(name, text, cli.path, "DIR", required=True)


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        function: does the work; of a command that makes a dataset, returns the importer that does.
        example: arguments that it may be called with.
        arguments: its own, and those of what it has in common with other commands.
        makes_dataset: whether arguments named like fields of `Output` become one, for the importer.
        defaults: values that differ from what arguments have, or of fields without an argument.
    """

    function: Callable
    example: str
    arguments: Sequence[Argument | Group]
    makes_dataset: bool = False
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def add_to(self, commands: argparse._SubParsersAction, prog: str) -> None:
        """Makes it known to a parser, whose result has `run`, see there, as an attribute."""
        name, text = self.function.__name__, " ".join((self.function.__doc__ or "").split())
        epilog = f"example: {prog} {name} {self.example}"
        parser = commands.add_parser(name, help=text, description=text, epilog=epilog)
        _add(parser, self.arguments)
        parser.set_defaults(run=self.run, **self.defaults)

    def __call__(self, **given: Any) -> None:
        """Does what a command line would; what is not given has the default that it has there."""
        parser = argparse.ArgumentParser()
        _add(parser, self.arguments)
        parser.set_defaults(**self.defaults)
        names = [action.dest for action in parser._actions if action.dest != "help"]
        values = {name: parser.get_default(name) for name in (*names, *self.defaults)}
        self.run(argparse.Namespace(**{**values, **given}))

    def run(self, args: argparse.Namespace) -> None:
        """Does what a command line says, here or on the workers of a cluster."""
        values = {name: value for name, value in vars(args).items() if name != "run"}
        if not self.makes_dataset:
            self.function(**values)
            return
        runner, beam_option = values.pop("runner"), values.pop("beam_option")
        scheduler = values.pop("scheduler")
        if (runner == "dask") != (scheduler is not None):
            raise UserError("--runner=dask and --scheduler=HOST:PORT belong together: give both")
        output = take_output(values)
        importer = self.function(**values)
        if runner == "local":
            importer(output)
        elif runner == "dask":
            from training.datasets.building import dask_cluster

            dask_cluster.run(importer, output, scheduler)
        else:
            from training.datasets.building import beam

            beam.run(importer, output, runner, beam_option)


def take_output(values: dict[str, Any]) -> Output:
    """Moves what describes an output out of `values`, with defaults where there is nothing."""
    from training.datasets.building.output import Output

    names = [field.name for field in dataclasses.fields(Output) if field.name in values]
    return Output(**{name: values.pop(name) for name in names})


def command(example: str, *arguments: Argument | Group) -> Callable[[Callable], Command]:
    """Makes a function a command."""
    return lambda function: Command(function, example, arguments)


def _add(parser: argparse._ActionsContainer, arguments: Sequence[Argument | Group]) -> None:
    for argument in arguments:
        if isinstance(argument, Group):
            _add(parser.add_argument_group(argument.title), argument.arguments)
        else:
            parser.add_argument(*argument.names, **argument.settings)
