"""Network: a build function, its keyword arguments and its variables, as in the official code.

A build function takes input tensors (its parameters without a default), creates or reuses variables
with `tf.get_variable`, and returns output tensors. Calling it again with other inputs or dynamic
keyword arguments gives another expression over the same variables.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import (
    layer_table,
    network_graph,
    network_state,
    run_graph,
    static_kwargs,
    tfutil,
)
from dnnlib.tflib.build_tables import build_tables, find_by_name
from dnnlib.tflib.network_graph import NetworkGraph, is_within
from dnnlib.tflib.network_state import import_handler
from dnnlib.tflib.network_variables import NetworkVariables
from dnnlib.tflib.pickled_code import run_pickled_code
from dnnlib.util import EasyDict, UserError

__all__ = ["Network", "import_handler"]

# Set when the graph of a network is built; a network read from a snapshot builds at first use.
_GRAPH_ATTRIBUTES = frozenset(field.name for field in dataclasses.fields(NetworkGraph))


# Networks that pickles of a session gave and that may be parts of others.
_WAITING: weakref.WeakKeyDictionary[tf.Session, list[weakref.ref[Network]]] = (
    weakref.WeakKeyDictionary()
)


class Network(NetworkVariables):
    """A network with the official interface.

    Args:
        name: scope of the variables, made unique in the graph.
        func_name: build function: `module.function`, or the function itself.
        static_kwargs: passed to every call of the build function, and kept in snapshots.

    Attributes:
        vars: {local name: variable}, those of components included.
        own_vars: without those of components.
        var_global_to_local: {name in the graph: local name}.
        trainables: the trainable ones among `vars`.
        components: {name: Network}, created by the build function.
        input_shapes, output_shapes: lists of shapes, the batch dimension None.
        input_shape, output_shape: the first of them.
        input_names, output_names: names; num_inputs, num_outputs: how many there are.
        input_templates, output_templates: tensors of the graph that the network was built with.
        metadata: plain values that snapshots keep with the network, like `label_names`.
        origin: what the snapshot said that this network was read from, without the values; None
            for a network that was made here.

    Raises:
        UserError: the build function or one of the keyword arguments is not known, or the network
            is too large.
    """

    def __init__(self, name: str, func_name: str | Callable, **static_kwargs: Any):
        tfutil.assert_tf_initialized()
        self._set_description(str(name), EasyDict(static_kwargs))
        self._build_func, self._build_module = find_by_name(func_name)
        self._build_graph()

    def _set_description(self, name: str, static_kwargs: EasyDict) -> None:
        self.name = name
        self.static_kwargs = static_kwargs
        self.metadata: dict[str, Any] = {}
        self.origin: network_state.SavedState | None = None
        self._pending_values: dict[str, np.ndarray] | None = None
        self._saved_components: dict[str, Network] = {}
        self._build_source: str | None = None  # Embedded source that was run.
        self._run_cache: dict[Any, run_graph.Expression | None] = {}
        self._session: tf.Session | None = tf.get_default_session()

    def __getattr__(self, attribute: str) -> Any:
        # Reached only for attributes that are not set: those of a graph that is not built yet.
        if attribute in _GRAPH_ATTRIBUTES and "static_kwargs" in self.__dict__:
            self._build_graph()
            return self.__dict__[attribute]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    # Graph and session

    @contextmanager
    def as_default(self) -> Iterator[tf.Session]:
        """The network's graph and session are this thread's default ones within the block.

        The session is the one that the network was built in, whatever thread asks. Where the
        default session is another one of the same graph and holds the network's variables, it is
        that one. A network from a snapshot is built in the session that is the default one when it
        is first used, or else when it was read.

        Raises:
            RuntimeError: there is no session, or the process was forked from the session's.
        """
        session = self._choose_session()
        with session.graph.as_default(), session.as_default():
            tfutil.assert_tf_initialized()
            yield session

    def _choose_session(self) -> tf.Session:
        current = tf.get_default_session()
        if not self._is_built():
            used = [c for c in self._saved_components.values() if c._is_built()]
            session = used[0]._session if used else current or self._session
            if session is None:
                tfutil.assert_tf_initialized()
            return session
        home = self._session
        if current is None or current is home or current.graph is not home.graph:
            return home
        with current.as_default():
            return current if all(tfutil.are_initialized(self.vars.values())) else home

    def _is_built(self) -> bool:
        return "scope" in self.__dict__

    # Building

    def build(self) -> None:
        """Builds the graph, which is otherwise done when it is needed first."""
        if not self._is_built():
            self._build_graph()

    def _build_graph(self) -> None:
        """Calls the build function once on placeholders, which creates the variables."""
        with tfutil.BUILDING, self.as_default() as session:
            if not self._is_built():  # Or another thread has just done so.
                if session.graph.seed is None:
                    tfutil.seed_graph()
                what = f"the keyword arguments and components of network {self.name} in snapshot"
                with nullcontext() if self._pending_values is None else tfutil.fitting(what):
                    components = EasyDict(self._saved_components)
                    graph = network_graph.build(
                        self.name, self._build_func, self.static_kwargs, components
                    )
                    self._set_initial_values(graph)
                # All at once, so that no thread sees half a network, nor does a second attempt.
                built = {"_session": session, "_pending_values": None}
                self.__dict__.update({**vars(graph), **built})

    def _set_initial_values(self, graph: NetworkGraph) -> None:
        if self._pending_values is None:
            tfutil.init_uninitialized_vars(graph.own_vars.values())
            return
        # Components that the snapshot lacks were made by the build function: their values are due.
        new = [c for key, c in graph.components.items() if key not in self._saved_components]
        variables = graph.own_vars | network_graph.variables_of(new)
        network_state.check_values(self.name, self._pending_values, variables)
        tfutil.set_vars({variables[n]: v for n, v in self._pending_values.items()})

    def get_output_for(
        self, *in_expr: tf.Tensor, return_as_list: bool = False, **dynamic_kwargs: Any
    ) -> Any:
        """The network's outputs for other inputs, as expressions over the same variables.

        Args:
            in_expr: one tensor an input, float32, shaped as `input_shapes`. None: all zeros.
            return_as_list: a list even where there is one output.
            dynamic_kwargs: override the static keyword arguments.

        Raises:
            ValueError: another number of inputs, or an input of another graph or shape.
        """
        return self.get_output_with({}, *in_expr, return_as_list=return_as_list, **dynamic_kwargs)

    def get_output_with(
        self,
        values: Mapping[str, tf.Tensor],
        *in_expr: tf.Tensor,
        return_as_list: bool = False,
        **dynamic_kwargs: Any,
    ) -> Any:
        """`get_output_for` with tensors in the place of some variables: {local name: tensor}.

        Raises:
            ValueError: as `get_output_for`, or the network itself has no variable of that name.
        """
        if len(in_expr) != self.num_inputs:
            raise ValueError(f"{self.name} takes {self.input_names}, got {len(in_expr)} inputs")
        home = self.input_templates[0].graph
        for name, expr in zip(self.input_names, in_expr, strict=True):
            if tfutil.is_tf_expression(expr) and not is_within(expr.graph, home):
                raise ValueError(
                    f"{name} is in another graph than network {self.name}: make it in a block "
                    f"`with {self.name}.as_default():`"
                )
        getter = network_graph.replacing(values, self)
        # A graph within ours is that of a function or of a branch: it stays.
        graph = nullcontext() if is_within(tf.get_default_graph(), home) else home.as_default()
        with (
            tfutil.BUILDING,
            graph,
            tfutil.absolute_variable_scope(self.scope, custom_getter=getter),
            tf.name_scope(self.name.replace("/", "_")),
        ):
            known = next(expr for expr in in_expr if expr is not None)
            inputs = []
            for name, expr, shape in zip(self.input_names, in_expr, self.input_shapes, strict=True):
                if expr is None:
                    expr = tf.zeros([tf.shape(known)[0], *shape[1:]])
                expr = tf.cast(expr, tf.float32)
                if not expr.shape.is_compatible_with([None, *shape[1:]]):
                    raise ValueError(
                        f"{name} of network {self.name} has shape {expr.shape}, expected "
                        f"{[None, *shape[1:]]}"
                    )
                expr.set_shape([None, *shape[1:]])
                inputs.append(expr)
            kwargs = {**self.static_kwargs, **dynamic_kwargs}
            outputs = network_graph.call(self._build_func, inputs, kwargs, self.components)
        if return_as_list or len(outputs) > 1:
            return list(outputs) if return_as_list else tuple(outputs)
        return outputs[0]

    @property
    def device(self) -> str:
        """The device that the variables were put on by name; empty: TensorFlow chooses."""
        return next((var.device for var in self.vars.values()), "")

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
        return self._build_source or network_state.module_source(self._build_module)

    def clone(self, name: str | None = None, **new_static_kwargs: Any) -> Network:
        """A network of its own with the same structure and values.

        It is made in the default session of this thread, or in that of this network.
        """
        net = self._derive(self._build_func, name, new_static_kwargs)
        net._build_source = self._build_source
        return net

    def convert(
        self, new_func_name: str | Callable, new_name: str | None = None, **new_static_kwargs: Any
    ) -> Network:
        """A network of its own with another build function, and the values of this one.

        It is made where `clone` would make it. Variables that only one of the two has, by their
        local names, are left alone.

        Args:
            new_func_name: `module.function` of the user's own code, or the function itself.
            new_name: None for the same name.
            new_static_kwargs: override those of this network, which the function must take.
        """
        return self._derive(new_func_name, new_name, new_static_kwargs)

    def _derive(
        self, function: str | Callable, name: str | None, new_kwargs: Mapping[str, Any]
    ) -> Network:
        kwargs = {**self.static_kwargs, **new_kwargs}
        with self.as_default() if tf.get_default_session() is None else nullcontext():
            net = Network(name or self.name, function, **kwargs)
        net.metadata = dict(self.metadata)
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
        """Evaluates the network on arrays, in minibatches. Works in any thread, and in several.

        An expression is built once for options that differ in nothing but numbers: keyword
        arguments that may be tensors (`truncation_psi`), and numbers with a point in the
        transforms, those captured by their functions too. Others, like whole numbers and texts in
        the transforms, need an expression for each value, which stays in memory with the graph.

        Args:
            in_arrays: one array an input, [N, ...]; None: all zeros.
            input_transform: {func: called with the input tensors and the other items}.
            output_transform: the same for the outputs, e.g. dict(func=convert_images_to_uint8).
            return_as_list: a list even where there is one output.
            print_progress: show a progress bar where stderr is a screen.
            minibatch_size: images at once; all of them if None.
            num_gpus: devices that share each minibatch.
            assume_frozen: official keyword without effect: variables are always read anew.
            dynamic_kwargs: override static keyword arguments.

        Returns:
            Array, or a list of arrays.
        """
        arrays = run_graph.complete_inputs(self, in_arrays)
        options = run_graph.Options(input_transform, output_transform, num_gpus, dynamic_kwargs)
        with self.as_default() as session:
            expression, numbers = run_graph.find(self, self._run_cache, options)
            parts = []
            for rows in run_graph.minibatches(self.name, arrays, minibatch_size, print_progress):
                feed = dict(zip(expression.inputs, rows, strict=True))
                feed.update(zip(expression.numbers, numbers, strict=True))
                parts.append(session.run(expression.outputs, feed))
        results = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return results if return_as_list or len(results) > 1 else results[0]

    @property
    def tensor_keywords(self) -> frozenset[str]:
        """Keyword arguments that may be tensors, those of components included."""
        own = static_kwargs.tensor_keywords(self._build_func)
        return own.union(*(c.tensor_keywords for c in self.components.values()))

    # Showing

    def list_ops(self) -> list[tf.Operation]:
        """The operations of the template graph, without those that `run` and others added."""
        own, added = self.scope + "/", self.scope + "/_"
        operations = self.input_templates[0].graph.get_operations()
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
            UserError: a keyword argument that is not a plain value.
        """
        tables = build_tables()
        version = version or tables.format_version(self._build_module)
        shapes = {}
        if version >= 5:
            known = self.origin.shapes if self.origin else {}
            shapes = {f: known.get(f) or getattr(self, f) for f in network_state.SHAPE_FIELDS}
        values, components = self._pending_values, self._saved_components
        if values is None:  # Not just read from a snapshot.
            with self.as_default():
                arrays = tfutil.run(list(self.own_vars.values()))
            values, components = dict(zip(self.own_vars, arrays, strict=True)), self.components
        return {
            "version": version,
            "name": self.name,
            "static_kwargs": network_state.saved_kwargs(
                self.name,
                tables.official_kwargs(self.build_module, self.build_func_name, self.static_kwargs),
            ),
            "components": dict(components),
            "build_module_src": self.build_module_src,
            "build_func_name": self.build_func_name,
            "variables": [(name, np.asarray(value)) for name, value in values.items()],
            **shapes,
            **network_state.saved_metadata(self.name, self.metadata),
        }

    def __setstate__(self, state: Any) -> None:
        """Takes the values and keyword arguments of a snapshot. Runs nothing that it holds.

        Where there is a default session, the graphs of the networks of a file are built at once and
        in its order, as by the official code: scripts name operations by it (`G_synthesis_1` is of
        the third network of a snapshot). A network that may be part of another waits for that.
        """
        self.set_state(state)
        session = tf.get_default_session()
        if session is None:
            return
        waiting = _WAITING.setdefault(session, [])
        if not self._saved_components:
            waiting.append(weakref.ref(self))
            return
        found, parts = [reference() for reference in waiting], [*self._saved_components.values()]
        waiting.clear()
        for network in [n for n in found if n is not None and n not in parts]:
            network.build()
        self.build()

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
        tables = build_tables()
        saved = network_state.parse_state(network_state.handle(state), Network)
        saved.static_kwargs = tables.meaningful_kwargs(saved)
        self._set_description(saved.name, saved.static_kwargs)
        self.origin, self.metadata = saved, saved.metadata
        self._saved_components, self._pending_values = saved.components, saved.variables
        try:
            self._build_func, self._build_module = tables.find_for_snapshot(saved)
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
            found = build_tables().find_component(module, self.origin)
            self._build_func, self._build_module = found

    def _use_pickled_code(self, file: str) -> None:
        self._build_source = self.origin.build_module_src
        name = self.origin.build_func_name
        self._build_func = run_pickled_code(self._build_source, name, self.name, file)
        self._build_module = self._build_func.__module__
        for component in self._saved_components.values():
            origin = component.origin
            if origin is not None and origin.build_module_src and component._build_source is None:
                component._use_pickled_code(file)
