"""Network: a build function, its keyword arguments and its variables, as in the official code.

A build function takes input tensors (its parameters without a default), creates or reuses variables
with `tf.get_variable`, and returns output tensors. Calling it again with other inputs or dynamic
keyword arguments gives another expression over the same variables.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from tqdm import tqdm

from dnnlib.tflib import tfutil
from dnnlib.util import EasyDict, UserError

# Modules whose BUILD_FUNCTIONS table may be asked for a build function named in a snapshot. Nothing
# else in a snapshot leads to code (DESIGN D3). Names only: this package imports none of them.
BUILD_MODULES = ("training.networks_stylegan2",)

# Set when the graph of a network is built; a network read from a snapshot builds at first use.
_GRAPH_ATTRIBUTES = frozenset(
    "scope components input_names num_inputs num_outputs input_templates output_templates "
    "output_names input_shapes output_shapes input_shape output_shape own_vars vars "
    "var_global_to_local".split()
)


class Network:
    """A network by its official interface.

    Args:
        name: scope of the variables, made unique in the graph.
        func_name: build function: `module.function`, or the function itself.
        static_kwargs: passed to every call of the build function, and kept in snapshots.

    Attributes:
        vars: {local name: variable}, those of components included.
        own_vars: without those of components.
        trainables: the trainable ones among `vars`.
        components: {name: Network}, created by the build function.
        input_shapes, output_shapes: lists of shapes, the batch dimension None.
        input_shape, output_shape: the first of them.

    Raises:
        UserError: the build function or one of the keyword arguments is not known.
    """

    def __init__(self, name: str, func_name: str | Callable, **static_kwargs: Any):
        tfutil.assert_tf_initialized()
        self.name = str(name)
        self.static_kwargs = EasyDict(static_kwargs)
        self._build_func, self._build_module = _find_build_func(func_name)
        self._pending_values: dict[str, np.ndarray] | None = None
        self._saved_components: dict[str, Network] = {}
        self._build_graph()

    def __getattr__(self, attribute: str) -> Any:
        # Reached only for attributes that are not set: those of a graph that is not built yet.
        if attribute in _GRAPH_ATTRIBUTES and "static_kwargs" in self.__dict__:
            self._build_graph()
            return self.__dict__[attribute]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    # Building

    def _build_graph(self) -> None:
        """Calls the build function once on placeholders, which creates the variables."""
        tfutil.assert_tf_initialized()
        self.input_names = [
            p.name
            for p in inspect.signature(self._build_func).parameters.values()
            if p.kind == p.POSITIONAL_OR_KEYWORD and p.default is p.empty
        ]
        self.num_inputs = len(self.input_names)
        self.components = EasyDict(self._saved_components)
        self._run_cache: dict[Any, tuple[list[tf.Tensor], list[tf.Tensor]]] = {}
        graph = tf.get_default_graph()
        with tf.name_scope(None):
            self.scope = graph.unique_name(self.name.replace("/", "_"))
        with (
            tf.control_dependencies(None),
            tf.device(None),
            tfutil.absolute_variable_scope(self.scope),
            tfutil.absolute_name_scope(self.scope),
        ):
            self.input_templates = [
                tf.placeholder(tf.float32, name=name) for name in self.input_names
            ]
            outputs = self._call(self.input_templates, {"is_template_graph": True})
        self.output_templates = outputs
        self.num_outputs = len(outputs)
        self.output_names = [t.op.name.split("/")[-1] for t in outputs]
        self.input_shapes = [tfutil.shape_to_list(t.shape) for t in self.input_templates]
        self.output_shapes = [tfutil.shape_to_list(t.shape) for t in outputs]
        self.input_shape, self.output_shape = self.input_shapes[0], self.output_shapes[0]
        self.own_vars = {
            v.op.name[len(self.scope) + 1 :]: v
            for v in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, self.scope + "/")
        }
        self.vars = dict(self.own_vars)
        for component in self.components.values():
            self.vars.update({f"{component.name}/{n}": v for n, v in component.vars.items()})
        self.var_global_to_local = {v.name: name for name, v in self.vars.items()}
        self._set_initial_values()

    def _set_initial_values(self) -> None:
        if self._pending_values is None:
            tfutil.init_uninitialized_vars(self.own_vars.values())
            return
        _check_values(self.name, self._pending_values, self.own_vars)
        tfutil.set_vars({self.own_vars[n]: v for n, v in self._pending_values.items()})
        self._pending_values = None

    def _call(self, inputs: list[tf.Tensor], dynamic_kwargs: Mapping[str, Any]) -> list[tf.Tensor]:
        kwargs = {**self.static_kwargs, **dynamic_kwargs, "components": self.components}
        known = inspect.signature(self._build_func).parameters.values()
        if not any(p.kind == p.VAR_KEYWORD for p in known):
            kwargs = {k: v for k, v in kwargs.items() if k not in _OFFERED or k in _names(known)}
            unknown = sorted(set(kwargs) - _names(known))
            if unknown:
                raise unknown_keyword(self._build_func.__name__, unknown)
        outputs = self._build_func(*inputs, **kwargs)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    def get_output_for(
        self, *in_expr: tf.Tensor, return_as_list: bool = False, **dynamic_kwargs: Any
    ) -> Any:
        """The network's outputs for other inputs, as expressions over the same variables.

        Args:
            in_expr: one tensor an input, float32, shaped as `input_shapes`. None: no columns.
            return_as_list: a list even where there is one output.
            dynamic_kwargs: override the static keyword arguments.
        """
        if len(in_expr) != self.num_inputs:
            raise ValueError(f"{self.name} takes {self.input_names}, got {len(in_expr)} inputs")
        scope = self.scope  # Builds the graph first where that is still to be done.
        with tfutil.absolute_variable_scope(scope), tf.name_scope(self.name.replace("/", "_")):
            inputs = []
            for expr, shape in zip(in_expr, self.input_shapes, strict=True):
                if expr is None:
                    expr = tf.zeros([tf.shape(in_expr[0])[0], *shape[1:]])
                expr = tf.cast(expr, tf.float32)
                expr.set_shape([None, *shape[1:]])
                inputs.append(expr)
            outputs = self._call(inputs, dynamic_kwargs)
        if return_as_list or len(outputs) > 1:
            return list(outputs) if return_as_list else tuple(outputs)
        return outputs[0]

    # Variables

    @property
    def build_func_name(self) -> str:
        return self._build_func.__name__

    @property
    def trainables(self) -> dict[str, tf.Variable]:
        return {name: var for name, var in self.vars.items() if var.trainable}

    def get_var_local_name(self, var_or_global_name: tf.Variable | str) -> str:
        """Name within this network of a variable, or of its global name."""
        name = getattr(var_or_global_name, "name", var_or_global_name)
        return self.var_global_to_local[name]

    def find_var(self, var_or_local_name: tf.Variable | str) -> tf.Variable:
        """The variable of a local name; a variable is returned as it is."""
        return (
            self.vars[var_or_local_name]
            if isinstance(var_or_local_name, str)
            else var_or_local_name
        )

    def get_var(self, var_or_local_name: tf.Variable | str) -> np.ndarray:
        """Value of a variable."""
        return tfutil.run(self.find_var(var_or_local_name))

    def set_var(self, var_or_local_name: tf.Variable | str, new_value: Any) -> None:
        """Sets a variable to an array or to what a tensor evaluates to."""
        tfutil.set_vars({self.find_var(var_or_local_name): new_value})

    def reset_own_vars(self) -> None:
        """Initializes the variables anew, without those of components."""
        tfutil.run([v.initializer for v in self.own_vars.values()])

    def reset_vars(self) -> None:
        """Initializes all variables anew."""
        tfutil.run([v.initializer for v in self.vars.values()])

    def reset_trainables(self) -> None:
        """Initializes the trainable variables anew."""
        tfutil.run([v.initializer for v in self.trainables.values()])

    def clone(self, name: str | None = None, **new_static_kwargs: Any) -> Network:
        """A network of its own with the same structure and values."""
        kwargs = {**self.static_kwargs, **new_static_kwargs}
        net = Network(name or self.name, self._build_func, **kwargs)
        net.copy_vars_from(self)
        return net

    def copy_own_vars_from(self, src_net: Network) -> None:
        """Copies the values of the variables that both have, without those of components."""
        _copy_values(src_net.own_vars, self.own_vars)

    def copy_vars_from(self, src_net: Network) -> None:
        """Copies the values of all variables that both networks have by the same local name."""
        _copy_values(src_net.vars, self.vars)

    def copy_trainables_from(self, src_net: Network) -> None:
        """Copies the values of the trainable variables that both networks have."""
        _copy_values(src_net.trainables, self.trainables)

    def setup_as_moving_average_of(
        self, src_net: Network, beta: Any = 0.99, beta_nontrainable: Any = 0.0
    ) -> tf.Operation:
        """An op that moves every variable towards that of `src_net`: v ← src + (v - src)·beta.

        Args:
            src_net: a network with the same variables.
            beta: decay for trainable variables, a number or scalar tensor.
            beta_nontrainable: decay for the others; 0 copies them.
        """
        with tfutil.absolute_name_scope(self.scope + "/_MovingAvg"):
            ops = []
            for name, var in self.vars.items():
                if name in src_net.vars:
                    decay = beta if name in self.trainables else beta_nontrainable
                    ops.append(var.assign(tfutil.lerp(src_net.vars[name], var, decay)))
            return tf.group(*ops)

    # Running

    def run(
        self,
        *in_arrays: np.ndarray | None,
        input_transform: Mapping[str, Any] | None = None,
        output_transform: Mapping[str, Any] | None = None,
        return_as_list: bool = False,
        print_progress: bool = False,
        minibatch_size: int | None = None,
        num_gpus: int = 1,
        **dynamic_kwargs: Any,
    ) -> Any:
        """Evaluates the network on arrays, in minibatches.

        Args:
            in_arrays: one array an input, [N, ...]; None stands for an input without columns.
            input_transform: {func: called with the input tensors and the other items}.
            output_transform: the same for the outputs, e.g. dict(func=convert_images_to_uint8).
            return_as_list: a list even where there is one output.
            print_progress: show a progress bar where stderr is a screen.
            minibatch_size: images at once; all of them if None.
            num_gpus: devices that share each minibatch.
            dynamic_kwargs: override static keyword arguments.

        Returns:
            Array, or a list of arrays. The expression for a set of options is built once.
        """
        count = next(len(array) for array in in_arrays if array is not None)
        arrays = [
            np.zeros([count, *shape[1:]], np.float32) if array is None else np.asarray(array)
            for array, shape in zip(in_arrays, self.input_shapes, strict=True)
        ]
        if any(len(array) != count for array in arrays):
            raise ValueError(f"{self.name}: inputs of {[len(a) for a in arrays]} rows")
        key = _cache_key(input_transform, output_transform, num_gpus, dynamic_kwargs)
        if key not in self._run_cache:
            self._run_cache[key] = self._build_run(
                input_transform, output_transform, num_gpus, dynamic_kwargs
            )
        inputs, outputs = self._run_cache[key]
        step = max(minibatch_size or count, 1)
        parts = []
        for begin in tqdm(
            range(0, max(count, 1), step),
            desc=self.name,
            unit="minibatch",
            disable=None if print_progress else True,  # None: where stderr is a screen.
        ):
            feed = {t: a[begin : begin + step] for t, a in zip(inputs, arrays, strict=True)}
            parts.append(tfutil.run(outputs, feed))
        results = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return results if return_as_list or len(results) > 1 else results[0]

    def _build_run(self, input_transform, output_transform, num_gpus, dynamic_kwargs):
        devices = tfutil.replica_devices(num_gpus)
        with tf.name_scope(None), tfutil.absolute_name_scope(self.scope + "/_Run"):
            inputs = [tf.placeholder(tf.float32, [None, *s[1:]]) for s in self.input_shapes]
            # Nearly equal parts, so that any minibatch can be shared by any number of devices.
            rows = tf.shape(inputs[0])[0]
            bounds = [rows * i // len(devices) for i in range(len(devices) + 1)]
            parts = []
            for i, device in enumerate(devices):
                with tf.device(device), tf.name_scope(f"Replica{i}"):
                    part = [t[bounds[i] : bounds[i + 1]] for t in inputs]
                    part = _transform(part, input_transform)
                    part = self.get_output_for(*part, return_as_list=True, **dynamic_kwargs)
                    parts.append(_transform(part, output_transform))
            outputs = [tf.concat(column, axis=0) for column in zip(*parts, strict=True)]
        return inputs, outputs

    # Showing

    def list_ops(self) -> list[tf.Operation]:
        """The operations of the template graph, without those that `run` and others added."""
        prefix = self.scope + "/"
        operations = tf.get_default_graph().get_operations()
        template = [op for op in operations if op.name.startswith(prefix)]
        return [op for op in template if not op.name.startswith(prefix + "_")]

    def list_layers(self) -> list[tuple[str, tf.Tensor | None, list[tf.Variable]]]:
        """(layer name, output of its last op, trainable variables), in the order of creation."""
        layers: dict[str, tuple[tf.Tensor | None, list[tf.Variable]]] = {}
        for component in self.components.values():
            for name, output, variables in component.list_layers():
                layers[f"{component.name}/{name}"] = (output, variables)
        variables_of: dict[str, list[tf.Variable]] = {}
        for name, var in self.own_vars.items():
            variables_of.setdefault(name.rpartition("/")[0], []).append(var)
        operations = self.list_ops()
        for name, variables in variables_of.items():
            inside = f"{self.scope}/{name}/" if name else None
            outputs = [
                op.outputs[0]
                for op in operations
                if inside and op.name.startswith(inside) and op.outputs
                if op.outputs[0].dtype == tf.float32
                and op.type not in ("ReadVariableOp", "VarHandleOp")
            ]
            trainable = [v for v in variables if v.trainable]
            layers[name or "variables"] = (outputs[-1] if outputs else None, trainable)
        return [(name, *rest) for name, rest in layers.items()]

    def print_layers(
        self, title: str | None = None, hide_layers_with_no_params: bool = False
    ) -> None:
        """Prints a table: layer, trainable parameters, output shape, weight shape."""
        rows = [(title or self.name, "Params", "OutputShape", "WeightShape"), ("---",) * 4]
        total = 0
        for name, output, variables in self.list_layers():
            params = sum(int(np.prod(tfutil.shape_to_list(v.shape))) for v in variables)
            if hide_layers_with_no_params and not params:
                continue
            total += params
            weights = [v for v in variables if v.op.name.endswith(("/weight", "/const"))]
            shape = str(tfutil.shape_to_list(weights[0].shape)) if weights else "-"
            known = output is not None and output.shape.ndims is not None
            out_shape = _show_shape(output.shape) if known else "-"
            rows.append((name, str(params) if params else "-", out_shape, shape))
        rows += [("---",) * 4, ("Total", str(total), _show_shape(self.output_shape), "")]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        print()
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
        print()

    # Snapshots

    def __getstate__(self) -> dict[str, Any]:
        """State in the official layout, format version 4."""
        if self._pending_values is not None:  # Read from a snapshot and not used since.
            values = list(self._pending_values.items())
            components = self._saved_components
        else:
            components = self.components
            variables = list(self.own_vars.items())
            arrays = tfutil.run([var for _, var in variables])
            values = [(n, np.asarray(a)) for (n, _), a in zip(variables, arrays, strict=True)]
        return {
            "version": 4,
            "name": self.name,
            "static_kwargs": dict(self.static_kwargs),
            "components": dict(components),
            # The official code runs this text and looks the build function up in what it defines.
            "build_module_src": f"from {self._build_module} import *\n",
            "build_func_name": self.build_func_name,
            "variables": values,
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Takes the values and keyword arguments of a snapshot. Runs nothing that it holds."""
        _check_state(state)
        self.name = state["name"]
        self.static_kwargs = EasyDict(state["static_kwargs"])
        self._saved_components = dict(state["components"])
        self._build_func, self._build_module = _find_known_func(state["build_func_name"])
        self._pending_values = {name: np.asarray(value) for name, value in state["variables"]}


# Keyword arguments that every build function is offered and may leave out.
_OFFERED = ("is_template_graph", "components")


def unknown_keyword(function: str, names: Iterable[str]) -> UserError:
    """The error for keyword arguments that a build function does not have."""
    return UserError(f"{function}() has no keyword argument {', '.join(map(repr, names))}")


def _names(parameters: Iterable[inspect.Parameter]) -> set[str]:
    return {p.name for p in parameters}


def _find_build_func(func_name: str | Callable) -> tuple[Callable, str]:
    """Build function and its module. A dotted name is imported: it comes from code, not data."""
    if callable(func_name):
        return func_name, func_name.__module__
    module_name, _, function = func_name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), function), module_name
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"no build function {func_name!r}: {error}") from error


def _find_known_func(name: str) -> tuple[Callable, str]:
    """Build function that a snapshot names, from our own tables only."""
    known: list[str] = []
    for module_name in BUILD_MODULES:
        table = importlib.import_module(module_name).BUILD_FUNCTIONS
        if name in table:
            return table[name], module_name
        known += table
    raise UserError(f"snapshot names the build function {name!r}; known are {', '.join(known)}")


def _check_state(state: Mapping[str, Any]) -> None:
    fields = ("version", "name", "static_kwargs", "components", "build_func_name", "variables")
    missing = [f for f in fields if f not in state]
    if missing:
        raise UserError(f"network in snapshot lacks {', '.join(missing)}")
    if state["version"] not in (2, 3, 4, 5):
        raise UserError(
            f"network in snapshot has format version {state['version']}, known are 2 to 5"
        )


def _check_values(network: str, values: Mapping[str, np.ndarray], variables: Mapping) -> None:
    """Strict loading: every missing, unexpected or mis-shaped variable is named."""
    problems = [f"{n} is missing" for n in variables if n not in values]
    problems += [f"{n} is unexpected" for n in values if n not in variables]
    for name, var in variables.items():
        shape = tfutil.shape_to_list(var.shape)
        if name in values and list(values[name].shape) != shape:
            problems.append(f"{name} has shape {list(values[name].shape)}, expected {shape}")
    if problems:
        raise UserError(f"variables of network {network} do not fit: {'; '.join(problems)}")


def _copy_values(source: Mapping[str, tf.Variable], target: Mapping[str, tf.Variable]) -> None:
    names = [name for name in target if name in source]
    values = tfutil.run([source[name] for name in names])
    tfutil.set_vars({target[n]: v for n, v in zip(names, values, strict=True)})


def _transform(tensors: list[tf.Tensor], transform: Mapping[str, Any] | None) -> list[tf.Tensor]:
    if transform is None:
        return tensors
    options = dict(transform)
    result = options.pop("func")(*tensors, **options)
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _cache_key(*parts: Any) -> Any:
    def hashable(value):
        if isinstance(value, Mapping):
            return tuple(sorted((k, hashable(v)) for k, v in value.items()))
        if isinstance(value, (list, tuple)):
            return tuple(hashable(v) for v in value)
        return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value

    return hashable(parts)


def _show_shape(shape: Iterable) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in tfutil.shape_to_list(shape)) + ")"
