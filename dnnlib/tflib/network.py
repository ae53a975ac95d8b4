"""Network: a build function, its keyword arguments and its variables, as in the official code.

A build function takes input tensors (its parameters without a default), creates or reuses variables
with `tf.get_variable`, and returns output tensors. Calling it again with other inputs or dynamic
keyword arguments gives another expression over the same variables.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from tqdm import tqdm

from dnnlib.tflib import build_functions, layer_table, network_state, run_graph, tfutil
from dnnlib.tflib.build_functions import parameter_names, unknown_keyword
from dnnlib.tflib.network_variables import NetworkVariables
from dnnlib.tflib.pickled_code import run_pickled_code
from dnnlib.util import EasyDict, UserError

# Set when the graph of a network is built; a network read from a snapshot builds at first use.
_GRAPH_ATTRIBUTES = frozenset(
    "scope components input_names num_inputs num_outputs input_templates output_templates "
    "output_names input_shapes output_shapes input_shape output_shape own_vars vars "
    "var_global_to_local".split()
)


class Network(NetworkVariables):
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
        origin: what the snapshot said that this network was read from, without the values; None
            for a network that was made here.

    Raises:
        UserError: the build function or one of the keyword arguments is not known.
    """

    def __init__(self, name: str, func_name: str | Callable, **static_kwargs: Any):
        tfutil.assert_tf_initialized()
        self.name = str(name)
        self.static_kwargs = EasyDict(static_kwargs)
        self._build_func, self._build_module = build_functions.find_by_name(func_name)
        self._pending_values: dict[str, np.ndarray] | None = None
        self._saved_components: dict[str, Network] = {}
        self._build_source: str | None = None  # Embedded source that was run.
        self.origin: network_state.SavedState | None = None
        self._build_graph()

    def __getattr__(self, attribute: str) -> Any:
        # Reached only for attributes that are not set: those of a graph that is not built yet.
        if attribute in _GRAPH_ATTRIBUTES and "static_kwargs" in self.__dict__:
            try:
                self._build_graph()
            except BaseException:  # Not half a graph, which a second use would take for a whole.
                for name in _GRAPH_ATTRIBUTES:
                    self.__dict__.pop(name, None)
                raise
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
        self.output_templates, self.num_outputs = outputs, len(outputs)
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
        # Components that the snapshot lacks were made by the build function: their values are due.
        variables = dict(self.own_vars)
        for key, component in self.components.items():
            if key not in self._saved_components:
                variables.update({f"{component.name}/{n}": v for n, v in component.vars.items()})
        network_state.check_values(self.name, self._pending_values, variables)
        tfutil.set_vars({variables[n]: v for n, v in self._pending_values.items()})
        self._pending_values = None

    def _call(self, inputs: list[tf.Tensor], dynamic_kwargs: Mapping[str, Any]) -> list[tf.Tensor]:
        kwargs = {**self.static_kwargs, **dynamic_kwargs, "components": self.components}
        known = inspect.signature(self._build_func).parameters.values()
        if not any(p.kind == p.VAR_KEYWORD for p in known):
            names = parameter_names([self._build_func])
            kwargs = {k: v for k, v in kwargs.items() if k not in _OFFERED or k in names}
            unknown = sorted(set(kwargs) - names)
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

    @property
    def build_func_name(self) -> str:
        return self._build_func.__name__

    @property
    def build_module(self) -> str:
        """The official module of the build function."""
        return self._build_module

    @property
    def build_module_src(self) -> str:
        """What snapshots embed for the official code: one line, unless embedded source was run."""
        return self._build_source or build_functions.module_source(self._build_module)

    def clone(self, name: str | None = None, **new_static_kwargs: Any) -> Network:
        """A network of its own with the same structure and values."""
        kwargs = {**self.static_kwargs, **new_static_kwargs}
        net = Network(name or self.name, self._build_func, **kwargs)
        net._build_source = self._build_source
        net.copy_vars_from(self)
        return net

    @property
    def num_pending_bytes(self) -> int:
        """Size of the values that a snapshot gave and the graph does not have yet."""
        return sum(value.nbytes for value in (self._pending_values or {}).values())

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
        assume_frozen: bool = False,
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
            assume_frozen: official keyword without effect: variables are always read anew.
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
        options = (input_transform, output_transform, num_gpus, dynamic_kwargs)
        key = run_graph.cache_key(options)
        if key not in self._run_cache:
            self._run_cache[key] = run_graph.build(self, *options)
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

    # Showing

    def list_ops(self) -> list[tf.Operation]:
        """The operations of the template graph, without those that `run` and others added."""
        own, added = self.scope + "/", self.scope + "/_"
        operations = tf.get_default_graph().get_operations()
        return [o for o in operations if o.name.startswith(own) and not o.name.startswith(added)]

    def list_layers(self) -> list[layer_table.Layer]:
        """(layer name, output of its last op, trainable variables), in the order of creation."""
        return layer_table.list_layers(self)

    def print_layers(
        self, title: str | None = None, hide_layers_with_no_params: bool = False
    ) -> None:
        """Prints a table: layer, trainable parameters, output shape, weight shape."""
        print(f"\n{layer_table.format_layers(self, title, hide_layers_with_no_params)}\n")

    # Snapshots

    def __getstate__(self) -> dict[str, Any]:
        """State in the official layout, in the format version that its official code writes."""
        return self.get_state()

    def get_state(self, version: int | None = None) -> dict[str, Any]:
        """State in the official layout: plain data, and networks as components.

        Args:
            version: 4 or 5; None: as the official code of this network writes. 5 needs the shapes
                of inputs and outputs, so that the graph is built where they are not known yet.

        Raises:
            UserError: a keyword argument that is no plain value.
        """
        version = version or (5 if self._build_module == build_functions.ADA else 4)
        shapes = {}
        if version >= 5:
            known = self.origin.shapes if self.origin else {}
            shapes = {f: known.get(f) or getattr(self, f) for f in network_state.SHAPE_FIELDS}
        if self._pending_values is not None:  # Read from a snapshot and not used since.
            values, components = self._pending_values, self._saved_components
        else:
            arrays = tfutil.run(list(self.own_vars.values()))
            values, components = dict(zip(self.own_vars, arrays, strict=True)), self.components
        return {
            "version": version,
            "name": self.name,
            "static_kwargs": network_state.official_kwargs(self.name, self.static_kwargs),
            "components": dict(components),
            "build_module_src": self.build_module_src,
            "build_func_name": self.build_func_name,
            "variables": [(name, np.asarray(value)) for name, value in values.items()],
            **shapes,
        }

    def __setstate__(self, state: Any) -> None:
        """Takes the values and keyword arguments of a snapshot. Runs nothing that it holds."""
        self.set_state(state)

    def set_state(self, state: Any, pickled_code_of: str | None = None) -> None:
        """Takes the state of a network in a snapshot; the graph is built when it is needed.

        Args:
            state: in the official layout, format versions 2 to 5.
            pickled_code_of: name of a trusted file whose embedded source may be run where our
                tables do not have the network; None: never.

        Raises:
            UserError: the state is not complete or not sound, or the network is not known.
        """
        if vars(self):
            raise UserError(f"network {self.name} in snapshot has two states")
        saved = network_state.parse_state(state, Network)
        self.name, self.static_kwargs, self.origin = saved.name, saved.static_kwargs, saved
        self._saved_components, self._pending_values = saved.components, saved.variables
        self._build_source = None
        try:
            self._build_func, self._build_module = build_functions.find_for_snapshot(saved)
            for component in saved.components.values():
                component._use_module(self._build_module)
        except UserError:
            if pickled_code_of is None or not saved.build_module_src:
                raise
            self._use_pickled_code(pickled_code_of)
        saved.variables = {}  # Else they would stay in memory when the graph has them.

    def _use_module(self, module: str) -> None:
        """A component comes from the module of the whole, which knows better than itself."""
        if self.origin is not None and self._build_source is None:
            self._build_func = build_functions.find_component(module, self.origin)
            self._build_module = module

    def _use_pickled_code(self, file: str) -> None:
        self._build_source = self.origin.build_module_src
        name = self.origin.build_func_name
        self._build_func = run_pickled_code(self._build_source, name, self.name, file)
        self._build_module = self._build_func.__module__
        for component in self._saved_components.values():
            origin = component.origin
            if origin is not None and origin.build_module_src and component._build_source is None:
                component._use_pickled_code(file)


# Keyword arguments that every build function is offered and may leave out.
_OFFERED = ("is_template_graph", "components")
