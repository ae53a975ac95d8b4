"""The table of a network's layers: names, parameters, shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil

Layer = tuple[str, tf.Tensor, list[tf.Variable]]


class LayeredNetwork(Protocol):
    """What the table needs of a network."""

    name: str
    scope: str
    components: Mapping[str, LayeredNetwork]
    own_vars: Mapping[str, tf.Variable]
    output_shape: list[int | None]

    def list_ops(self) -> list[tf.Operation]: ...


def list_layers(network: LayeredNetwork) -> list[Layer]:
    """(layer name, output of its last op, trainable variables), in the order of creation.

    Variables without a layer, like `dlatent_avg`, are layers of their own, with their values.
    """
    layers: dict[str, tuple[tf.Tensor, list[tf.Variable]]] = {}
    for component in network.components.values():
        for name, output, variables in list_layers(component):
            layers[f"{component.name}/{name}"] = (output, variables)
    variables_of: dict[str, list[tf.Variable]] = {}
    for name, var in network.own_vars.items():
        variables_of.setdefault(name.rpartition("/")[0] or name, []).append(var)
    operations = network.list_ops()
    for name, variables in variables_of.items():
        outputs = [_value(variables[0])]
        if name not in network.own_vars:
            outputs += [
                op.outputs[0]
                for op in operations
                if op.name.startswith(f"{network.scope}/{name}/") and op.outputs
                if op.outputs[0].dtype.is_floating
                if op.type not in ("ReadVariableOp", "VarHandleOp")
            ]
        layers[name] = (outputs[-1], [v for v in variables if v.trainable])
    return [(name, *rest) for name, rest in layers.items()]


def format_layers(
    network: LayeredNetwork, title: str | None, hide_layers_with_no_params: bool
) -> str:
    """Table: layer, trainable parameters, output shape, weight shape."""
    rows = [(title or network.name, "Params", "OutputShape", "WeightShape"), ("---",) * 4]
    total = 0
    for name, output, variables in list_layers(network):
        params = count_parameters(variables)
        if hide_layers_with_no_params and not params:
            continue
        total += params
        weights = [v for v in variables if v.op.name.endswith(("/weight", "/const"))]
        shape = str(tfutil.shape_to_list(weights[0].shape)) if weights else "-"
        out_shape = "-" if output.shape.ndims is None else _show_shape(output.shape)
        rows.append((name, str(params) if params else "-", out_shape, shape))
    rows += [("---",) * 4, ("Total", str(total), _show_shape(network.output_shape), "")]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def count_parameters(variables: Iterable[tf.Variable]) -> int:
    """How many numbers variables hold."""
    return sum(int(np.prod(tfutil.shape_to_list(v.shape))) for v in variables)


def _value(variable: tf.Variable) -> tf.Tensor:
    """The value of a variable, of the op that every resource variable brings."""
    return variable.graph.get_tensor_by_name(f"{variable.op.name}/Read/ReadVariableOp:0")


def _show_shape(shape: Iterable) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in tfutil.shape_to_list(shape)) + ")"
