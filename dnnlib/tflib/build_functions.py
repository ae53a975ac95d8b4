"""Which code builds a network: by name from user code, or from our tables for a snapshot.

Several official modules have build functions of the same names: `G_mapping` is in all three. A
snapshot does not say which module it means; the official code runs the source that is embedded in
the file. We never do, so the module is inferred from what a snapshot says as data.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dnnlib.tflib import static_kwargs
from dnnlib.util import UserError, one_line

if TYPE_CHECKING:
    from dnnlib.tflib.network_state import SavedState

STYLEGAN2 = "training.networks_stylegan2"  # NVlabs/stylegan2, configurations B to F
STYLEGAN = "training.networks_stylegan"  # NVlabs/stylegan2, configuration A
ADA = "training.networks"  # NVlabs/stylegan2-ada

# Modules whose BUILD_FUNCTIONS table may be asked for a build function named in a snapshot, those
# to prefer first. Nothing else in a snapshot leads to code (DESIGN D3). Names only: this package
# imports none of them before they are needed.
BUILD_MODULES = (STYLEGAN2, STYLEGAN, ADA)

# Parts of variable names, and the modules that make such variables.
_VARIABLE_MARKS = {
    "LabelEmbed": (ADA,),
    "LabelConcat": (STYLEGAN2, STYLEGAN),
    "lod": (STYLEGAN2, STYLEGAN),
    "mod_weight": (STYLEGAN2, ADA),
    "StyleMod": (STYLEGAN,),
}
_ONE_LINE = re.compile(r"\s*from ([\w.]+) import \*\s*")


def find_by_name(func_name: str | Callable) -> tuple[Callable, str]:
    """Build function and its module. A dotted name is imported: it comes from code, not data.

    Raises:
        UserError: there is no such function.
    """
    if callable(func_name):
        return func_name, official_module(func_name)
    module_name, _, function = func_name.rpartition(".")
    try:
        func = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"no build function {func_name!r}: {error}") from error
    return func, _official_home(func) or module_name


def official_module(func: Callable) -> str:
    """The official module that has a function, though the code may be in another file of ours."""
    return _official_home(func) or func.__module__


def _official_home(func: Callable) -> str | None:
    if func.__module__.split(".")[0] == "training":
        for module in BUILD_MODULES:
            if build_table(module).get(func.__name__) is func:
                return module
    return None


def build_table(module: str) -> Mapping[str, Callable]:
    """The build functions of one of `BUILD_MODULES`, by name."""
    return importlib.import_module(module).BUILD_FUNCTIONS


def module_source(module: str) -> str:
    """The text that snapshots embed: the official code runs it and looks the function up in it."""
    return f"from {module} import *\n"


def find_for_snapshot(state: SavedState) -> tuple[Callable, str]:
    """Build function and module of a network that was read, from our own tables only.

    Raises:
        UserError: no module has such a function, or the module has no such keyword argument.
    """
    module = _infer_module(state)
    return _checked(module, state), module


def find_component(module: str, state: SavedState) -> Callable:
    """Build function of a component whose whole belongs to `module`.

    Raises:
        UserError: the module does not have it.
    """
    if state.build_func_name not in build_table(module):
        raise UserError(
            f"network {state.name} in snapshot names the build function {state.build_func_name!r}, "
            f"which {module}, where the whole comes from, does not have"
        )
    return _checked(module, state)


def find_for_options(args: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Arguments of `Network` from options that may have been read from a file.

    Args:
        args: `func_name`, a dotted name that must be in one of our tables, and keyword arguments.
        name: of the options, for messages.

    Returns:
        The same with the function in place of its name.

    Raises:
        UserError: no table has the function, or it has no such keyword argument.
    """
    kwargs = dict(args)
    module, _, function = str(kwargs.pop("func_name", None)).rpartition(".")
    table = build_table(module) if module in BUILD_MODULES else {}
    if function not in table:
        known = ", ".join(f"{m}.{f}" for m in BUILD_MODULES for f in build_table(m))
        shown = one_line(repr(args.get("func_name")), 100)
        raise UserError(f"{name}.func_name is {shown}, which is no network; known are {known}")
    static_kwargs.check(table.values(), kwargs, f"{name}: ")
    return {"func_name": table[function], **kwargs}


def _checked(module: str, state: SavedState) -> Callable:
    """The build function of a network that was read, its keyword arguments checked."""
    table = build_table(module)
    where = f"network {state.name} in snapshot: "
    unknown = sorted(set(state.static_kwargs) - _keywords(module))
    if unknown:
        raise unknown_keyword(f"{module}.{state.build_func_name}", unknown, where)
    function = table[state.build_func_name]
    kwargs, functions = state.static_kwargs, table.values()
    if not any(p.kind == p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
        # What only its siblings have is refused when it is built: others may be used without it.
        kwargs = {key: kwargs[key] for key in kwargs.keys() & parameter_names([function])}
        functions = [function]
    static_kwargs.check(functions, kwargs, where)
    return function


def _infer_module(state: SavedState) -> str:
    name = state.build_func_name
    fitting = [m for m in BUILD_MODULES if name in build_table(m)]
    if not fitting:
        known = sorted({f for m in BUILD_MODULES for f in build_table(m)})
        raise UserError(
            f"network {state.name} in snapshot names the build function {name!r}; "
            f"known are {', '.join(known)} (for a file that you trust, --allow-pickled-code runs "
            "the code that it brings)"
        )
    if match := _ONE_LINE.fullmatch(state.build_module_src):
        if match[1] not in fitting:
            raise UserError(
                f"network {state.name} in snapshot names the build function {match[1]}.{name}; "
                f"{name} is known in {', '.join(fitting)}"
            )
        return match[1]
    # Each piece of evidence narrows the choice, the strongest first; one that fits none is void.
    for evidence in _evidence(state):
        fitting = [m for m in fitting if evidence(m)] or fitting
    return fitting[0]


def _evidence(state: SavedState) -> Iterable[Callable[[str], bool]]:
    """Predicates of module names."""
    functions = [c.build_func_name for c in state.components.values()]
    functions += [state.static_kwargs.get(k) for k in ("mapping_func", "synthesis_func")]
    functions = [f for f in functions if isinstance(f, str)]
    yield lambda module: all(f in build_table(module) for f in functions)

    parts = {part for name in state.variables for part in name.split("/")}
    for part in parts & set(_VARIABLE_MARKS):
        yield lambda module, part=part: module in _VARIABLE_MARKS[part]
    if state.build_func_name == "G_main" and "lod" not in state.variables:
        yield lambda module: module == ADA
    yield lambda module: set(state.static_kwargs) <= _keywords(module)
    yield lambda module: (module == ADA) == (state.version >= 5)

    defined = set(re.findall(r"^def (\w+)\(", state.build_module_src, re.MULTILINE))
    yield lambda module: set(build_table(module)) <= defined


def unknown_keyword(function: str, names: Iterable[str], where: str = "") -> UserError:
    """The error for keyword arguments that a build function does not have."""
    return UserError(f"{where}{function}() has no keyword argument {', '.join(map(repr, names))}")


def parameter_names(functions: Iterable[Callable]) -> set[str]:
    """Names of the parameters that functions spell out."""
    return {
        p.name
        for function in functions
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _keywords(module: str) -> set[str]:
    # A snapshot's network may hold keyword arguments of its siblings: the official generators hand
    # all of theirs to both components.
    return parameter_names(build_table(module).values()) - static_kwargs.NOT_STATIC
