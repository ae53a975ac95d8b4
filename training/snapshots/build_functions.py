"""Which function builds a network that was read: found in our tables, by name and evidence.

Several official modules have build functions of the same names: `G_mapping` is in all three. A
snapshot does not say which module it means; the official code runs the source that is embedded in
the file. We never do, so the module is inferred from what a snapshot says as data.

Networks of the user's own are beside the tables, see `dnnlib.own_code`.

The public functions up to `find_component` are `dnnlib.tflib.build_tables.BuildTables`, through
which `Network` asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dnnlib import own_code
from dnnlib.tflib import static_kwargs
from dnnlib.tflib.network_state import SavedState, module_source
from dnnlib.util import EasyDict, UserError, one_line
from training import networks, networks_stylegan, networks_stylegan2
from training.architecture.specs import ScoresSpec
from training.snapshots.keyword_ranges import RANGES

STYLEGAN2 = networks_stylegan2.__name__  # NVlabs/stylegan2, configurations B to F
STYLEGAN = networks_stylegan.__name__  # NVlabs/stylegan2, configuration A
ADA = networks.__name__  # NVlabs/stylegan2-ada

# {module: {name: build function}}, those to prefer first. Nothing else in a snapshot leads to code
# (DESIGN D3).
BUILD_MODULES: Mapping[str, Mapping[str, Callable]] = {
    STYLEGAN2: networks_stylegan2.BUILD_FUNCTIONS,
    STYLEGAN: networks_stylegan.BUILD_FUNCTIONS,
    ADA: networks.BUILD_FUNCTIONS,
}

# Parts of variable names, and the modules that make such variables.
_VARIABLE_MARKS = {
    "LabelEmbed": (ADA,),
    "LabelConcat": (STYLEGAN2, STYLEGAN),
    "lod": (STYLEGAN2, STYLEGAN),
    "mod_weight": (STYLEGAN2, ADA),
    "StyleMod": (STYLEGAN,),
}
_ONE_LINE = re.compile(r"\s*from ([\w.]+) import \*\s*")

# Parameters of build functions that are never part of a network's description.
_NOT_STATIC = frozenset(("components", "is_template_graph", "random_seed", "return_dlatents"))
# Keyword arguments that some official snapshots hold and that say nothing: these values of them are
# left out. `structure` only where the network does not grow, see `_grows`.
_INERT: Mapping[str, tuple[Any, ...]] = {
    "structure": ("auto", "fixed", "linear", "recursive"),
    "is_template_graph": (False,),
    "force_clean_graph": (False,),
}
_GROWING = ("G_style", "G_synthesis_stylegan_revised", "D_stylegan", "D_basic")


def official_module(function: Callable) -> str | None:
    """The official module that has a function of ours, whatever file its code is in."""
    for module, table in BUILD_MODULES.items():
        if table.get(getattr(function, "__name__", None)) is function:
            return module
    return None


def format_version(module: str) -> int:
    """The format version of snapshots that the official code of a module writes."""
    return 5 if module == ADA else 4


def official_kwargs(module: str, function: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of a build function as official readers understand them.

    They refuse those that they do not know, as `random_seed`, which is ours alone. Those of PyTorch
    take the whole minibatch for a group where StyleGAN2's discriminator does not say.
    """
    known = {key: value for key, value in kwargs.items() if key != "random_seed"}
    if module == STYLEGAN2 and function == "D_stylegan2":
        known.setdefault("mbstd_group_size", ScoresSpec.mbstd_group_size)
    return known


def meaningful_kwargs(state: SavedState) -> EasyDict:
    """Keyword arguments of a snapshot without those that say nothing."""
    kwargs = EasyDict(state.static_kwargs)
    # Forks for images that are not square give both sides: nothing new where they are equal.
    for key in ("resolution_w", "resolution_h"):
        if type(kwargs.get(key)) is int and kwargs[key] == kwargs.get("resolution"):
            del kwargs[key]
    grows = _grows(state)
    for key, values in _INERT.items():
        value = kwargs.get(key)
        if type(value) in (bool, str) and value in values and not (key == "structure" and grows):
            del kwargs[key]
    return kwargs


def _grows(state: SavedState) -> bool:
    """Whether a network may grow progressively, so that its `structure` matters."""
    if state.build_func_name == "G_main":
        functions = [c.build_func_name for c in state.components.values()]
        functions.append(state.static_kwargs.get("synthesis_func"))
        return any(f in _GROWING for f in functions if isinstance(f, str))
    if state.build_func_name == "G_synthesis":  # Of config A, which grows, or of ADA.
        return not any("mod_weight" in variable.split("/") for variable in state.variables)
    return state.build_func_name in _GROWING


def find_for_snapshot(state: SavedState) -> tuple[Callable, str]:
    """Build function and module of a network that was read, from our own tables only.

    Raises:
        UserError: no module has such a function, or the module has no such keyword argument.
    """
    module = _infer_module(state)
    own = own_code.networks.find(f"{module}.{state.build_func_name}")
    if own is not None:
        _check_own(own, state.static_kwargs, f"network {state.name} in snapshot")
        return own, module
    return _checked(module, state), module


def find_component(module: str, state: SavedState) -> tuple[Callable, str]:
    """Build function of a component whose whole belongs to `module`, and its own module.

    Raises:
        UserError: the module does not have it.
    """
    if module not in BUILD_MODULES:  # The user's own networks have components of any module.
        return find_for_snapshot(state)
    if state.build_func_name not in BUILD_MODULES[module]:
        raise UserError(
            f"network {state.name} in snapshot names the build function {state.build_func_name!r}, "
            f"which {module}, where the whole comes from, does not have"
        )
    return _checked(module, state), module


def _checked(module: str, state: SavedState) -> Callable:
    """The build function of a network that was read, its keyword arguments checked."""
    table, kwargs = BUILD_MODULES[module], state.static_kwargs
    function = table[state.build_func_name]
    owner = f"network {state.name} in snapshot: {module}.{state.build_func_name}()"
    # It may hold those of its siblings: the official generators hand all of theirs to both
    # components.
    _check_kwargs(table.values(), kwargs, owner)
    if not static_kwargs.takes_any(function):
        # What only its siblings have is refused when it is built: others may be used without it.
        own = static_kwargs.annotations([function], _NOT_STATIC)
        _check_kwargs([function], {key: kwargs[key] for key in kwargs.keys() & own}, owner)
    return function


def _check_own(function: Callable, kwargs: Mapping[str, Any], owner: str) -> None:
    """Keyword arguments of the user's own function: it says itself what values may be."""
    name = f"{owner}: {function.__module__}.{function.__name__}()"
    known = own_code.accepted(function, kwargs).keys() - _NOT_STATIC - {"name", "func_name"}
    static_kwargs.reject_unknown(name, kwargs, known)


def _check_kwargs(functions: Iterable[Callable], kwargs: Mapping[str, Any], owner: str) -> None:
    static_kwargs.check(functions, kwargs, owner, RANGES, _NOT_STATIC)


def _infer_module(state: SavedState) -> str:
    name = state.build_func_name
    fitting = [module for module, table in BUILD_MODULES.items() if name in table]
    own = [module for module, table in own_code.networks.by_module().items() if name in table]
    match = _ONE_LINE.fullmatch(state.build_module_src)
    if match and match[1] in own:
        return match[1]
    if not fitting and len(own) == 1:  # The official code embeds all of a module, not its name.
        return own[0]
    if not fitting:
        known = sorted({f for table in BUILD_MODULES.values() for f in table})
        raise UserError(
            f"network {state.name} in snapshot names the build function {name!r}; "
            f"known are {', '.join(known)} (one of your own: name it with --{name[:1]}-func, see "
            "docs/own-code.md; for a file that you trust, --allow-pickled-code, or "
            "allow_pickled_code=True in Python, runs the code that it brings)"
        )
    if match:
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
    yield lambda module: all(f in BUILD_MODULES[module] for f in functions)

    parts = {part for name in state.variables for part in name.split("/")}
    for part in parts & set(_VARIABLE_MARKS):
        yield lambda module, part=part: module in _VARIABLE_MARKS[part]
    if state.build_func_name == "G_main" and "lod" not in state.variables:
        yield lambda module: module == ADA
    yield lambda module: state.static_kwargs.keys() <= _keywords(module)
    yield lambda module: module == ADA if state.version >= 5 else module != ADA

    defined = set(re.findall(r"^def (\w+)\(", state.build_module_src, re.MULTILINE))
    yield lambda module: BUILD_MODULES[module].keys() <= defined


def _keywords(module: str) -> set[str]:
    return set(static_kwargs.annotations(BUILD_MODULES[module].values(), _NOT_STATIC))


def is_generator(function: str) -> bool:
    """Whether a build function makes a whole generator, by its name."""
    return function.startswith("G_") and not function.startswith(("G_mapping", "G_synthesis"))


def is_ours(network_source: str) -> bool:
    """Whether embedded source is the one line that networks of our tables have in its place."""
    return any(network_source == module_source(module) for module in BUILD_MODULES)


def find_for_options(args: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Arguments of `Network` from options that may have been read from a file.

    Args:
        args: `func_name`, a dotted name that must be in one of our tables, and keyword arguments.
        name: of the options: "G_args" for a generator, "D_args" for a discriminator.

    Returns:
        The same with the function in place of its name.

    Raises:
        UserError: no table has the function, or it has no such keyword argument.
    """
    kwargs = dict(args)
    wanted = kwargs.pop("func_name", None)
    own = own_code.networks.find(wanted)
    if own is not None and own.__name__.startswith(name[:2]):
        _check_own(own, kwargs, name)
        return {"func_name": own, **kwargs}
    is_known = is_generator if name == "G_args" else lambda function: function.startswith("D_")
    known = {
        f"{module}.{function}": (table, function)
        for module, table in BUILD_MODULES.items()
        for function in table
        if is_known(function)
    }
    if not isinstance(wanted, str) or wanted not in known:
        shown = one_line(repr(wanted), 100)
        raise UserError(
            f"{name}.func_name is {shown}, which is no network; known are {', '.join(known)}; one "
            f"of your own has to be named with --{name[0]}-func each time"
        )
    table, function = known[wanted]
    _check_kwargs(table.values(), kwargs, f"{name}: {wanted}()")
    return {"func_name": table[function], **kwargs}
