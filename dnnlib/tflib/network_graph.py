"""The graph of a network: what its build function makes of placeholders."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.tflib import static_kwargs, tfutil
from dnnlib.tflib.layer_table import count_parameters
from dnnlib.tflib.network_variables import NetworkVariables
from dnnlib.util import EasyDict, UserError

# Numbers in all variables of a network: 1 GiB in float32, eight times the largest official network.
# A snapshot of three such networks can still be read.
_MAX_SIZE = 1 << 28
# Keyword arguments that every build function is offered and may leave out.
_OFFERED = ("is_template_graph", "components")


@dataclass(frozen=True)
class NetworkGraph:
    """The attributes that a `Network` has when its graph is built, by their official names."""

    scope: str
    components: EasyDict
    input_names: list[str]
    num_inputs: int
    num_outputs: int
    input_templates: list[tf.Tensor]
    output_templates: list[tf.Tensor]
    output_names: list[str]
    input_shapes: list[list[int | None]]
    output_shapes: list[list[int | None]]
    input_shape: list[int | None]
    output_shape: list[int | None]
    own_vars: dict[str, tf.Variable]
    vars: dict[str, tf.Variable]
    var_global_to_local: dict[str, str]


def build(
    name: str, function: Callable, kwargs: Mapping[str, Any], components: EasyDict
) -> NetworkGraph:
    """Calls a build function once on placeholders, which creates the variables.

    Args:
        name: of the network; its scope is that name, made unique in the default graph.
        function: takes input tensors, its parameters without a default.
        kwargs: static keyword arguments.
        components: networks; the function adds those that it lacks.
    """
    parameters = inspect.signature(function).parameters.values()
    input_names = [
        p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD and p.default is p.empty
    ]
    graph = tf.get_default_graph()
    with tf.name_scope(None):
        scope = graph.unique_name(name.replace("/", "_"))
    with (
        tf.control_dependencies(None),
        tf.device(None),
        tfutil.absolute_variable_scope(scope),
        tfutil.absolute_name_scope(scope),
    ):
        inputs = [tf.placeholder(tf.float32, name=name) for name in input_names]
        outputs = call(function, inputs, {**kwargs, "is_template_graph": True}, components)
    input_shapes = [tfutil.shape_to_list(t.shape) for t in inputs]
    output_shapes = [tfutil.shape_to_list(t.shape) for t in outputs]
    own_vars = {
        v.op.name[len(scope) + 1 :]: v
        for v in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope + "/")
    }
    variables = own_vars | variables_of(components.values())
    if (size := count_parameters(variables.values())) > _MAX_SIZE:
        raise UserError(
            f"network {name} has {size:,} numbers in its variables, more than {_MAX_SIZE:,}: make "
            "it smaller, with keyword arguments for fewer or narrower layers"
        )
    return NetworkGraph(
        scope=scope,
        components=components,
        input_names=input_names,
        num_inputs=len(input_names),
        num_outputs=len(outputs),
        input_templates=inputs,
        output_templates=outputs,
        output_names=[t.op.name.split("/")[-1] for t in outputs],
        input_shapes=input_shapes,
        output_shapes=output_shapes,
        input_shape=input_shapes[0],
        output_shape=output_shapes[0],
        own_vars=own_vars,
        vars=variables,
        var_global_to_local={v.name: name for name, v in variables.items()},
    )


def variables_of(components: Iterable[NetworkVariables]) -> dict[str, tf.Variable]:
    """The variables of components, by their names in the whole."""
    return {f"{c.name}/{name}": v for c in components for name, v in c.vars.items()}


def call(
    function: Callable,
    inputs: list[tf.Tensor],
    kwargs: Mapping[str, Any],
    components: Mapping[str, NetworkVariables],
) -> list[tf.Tensor]:
    """The outputs of a build function.

    Raises:
        UserError: it has no such keyword argument.
    """
    kwargs = {**kwargs, "components": components}
    if not static_kwargs.takes_any(function):
        known = inspect.signature(function).parameters
        kwargs = {k: v for k, v in kwargs.items() if k not in _OFFERED or k in known}
        owner = getattr(function, "__name__", "a build function")
        static_kwargs.reject_unknown(f"{owner}()", kwargs, known)
    outputs = function(*inputs, **kwargs)
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def replacing(values: Mapping[str, tf.Tensor], network: NetworkGraph) -> Callable[..., Any] | None:
    """A getter of variables that has tensors in the place of some of a network's own; or None.

    Args:
        values: {local name: tensor}.
        network: whose variables they stand for.

    Raises:
        ValueError: the network has no variable of that name.
    """
    if unknown := set(values) - set(network.own_vars):
        raise ValueError(f"network {network.scope} has no variable {', '.join(sorted(unknown))}")
    named = {f"{network.scope}/{name}": value for name, value in values.items()}

    def get(getter: Callable, name: str, *args: Any, **kwargs: Any) -> Any:
        return named[name] if name in named else getter(name, *args, **kwargs)

    return get if named else None


def is_within(graph: tf.Graph, home: tf.Graph) -> bool:
    """Whether `graph` is `home`, or that of a function in it."""
    while graph is not home and getattr(graph, "outer_graph", None) is not None:
        graph = graph.outer_graph
    return graph is home
