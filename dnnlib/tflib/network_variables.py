"""What one can do with the variables of a network: read, set, reset, copy, average."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil


class NetworkVariables:
    """The part of `Network` that is about its variables."""

    name: str
    scope: str
    vars: dict[str, tf.Variable]
    own_vars: dict[str, tf.Variable]
    var_global_to_local: dict[str, str]

    def as_default(self) -> AbstractContextManager[tf.Session]:
        """The network's graph and session are this thread's default ones within the block."""
        raise NotImplementedError

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
        with self.as_default():
            return tfutil.run(self.find_var(var_or_local_name))

    def set_var(self, var_or_local_name: tf.Variable | str, new_value: Any) -> None:
        """Sets a variable to an array or to what a tensor evaluates to."""
        with self.as_default():
            tfutil.set_vars({self.find_var(var_or_local_name): new_value})

    def reset_own_vars(self) -> None:
        """Initializes the variables anew, without those of components."""
        with self.as_default():
            tfutil.run([v.initializer for v in self.own_vars.values()])

    def reset_vars(self) -> None:
        """Initializes all variables anew."""
        with self.as_default():
            tfutil.run([v.initializer for v in self.vars.values()])

    def reset_trainables(self) -> None:
        """Initializes the trainable variables anew."""
        with self.as_default():
            tfutil.run([v.initializer for v in self.trainables.values()])

    def copy_own_vars_from(self, src_net: NetworkVariables) -> None:
        """Copies the values of the variables that both have, without those of components."""
        _copy_values(src_net, src_net.own_vars, self, self.own_vars)

    def copy_vars_from(self, src_net: NetworkVariables) -> None:
        """Copies the values of all variables that both networks have by the same local name."""
        _copy_values(src_net, src_net.vars, self, self.vars)

    def copy_trainables_from(self, src_net: NetworkVariables) -> None:
        """Copies the values of the trainable variables that both networks have."""
        _copy_values(src_net, src_net.trainables, self, self.trainables)

    def setup_as_moving_average_of(
        self, src_net: NetworkVariables, beta: Any = 0.99, beta_nontrainable: Any = 0.0
    ) -> tf.Operation:
        """An op that moves every variable towards that of `src_net`: v ← src + (v - src)·beta.

        Elements that would not be finite numbers any more stay as they are.

        Args:
            src_net: a network with the same variables.
            beta: decay for trainable variables, a number or scalar tensor.
            beta_nontrainable: decay for the others; 0 copies them.
        """
        with (
            tfutil.BUILDING,
            self.as_default(),
            tfutil.absolute_name_scope(self.scope + "/_MovingAvg"),
        ):
            ops = []
            for name, var in self.vars.items():
                if name in src_net.vars:
                    decay = beta if name in self.trainables else beta_nontrainable
                    moved = tfutil.lerp(src_net.vars[name], var, decay)
                    ops.append(var.assign(tf.where(tf.is_finite(moved), moved, var)))
            return tf.group(*ops)

    def setup_weight_histograms(self, title: str | None = None) -> None:
        """Adds a `tf.summary.histogram` of each trainable variable, for `save_summaries`.

        Args:
            title: what their tags begin with; None: the name of the network.
        """
        with (
            tfutil.BUILDING,
            self.as_default(),
            tf.name_scope(None),
            tf.control_dependencies(None),
        ):
            for name, var in self.trainables.items():
                tf.summary.histogram(f"{title or self.name}/{name}", var)


def _copy_values(
    source_net: NetworkVariables,
    source: Mapping[str, tf.Variable],
    target_net: NetworkVariables,
    target: Mapping[str, tf.Variable],
) -> None:
    """Through arrays: the networks may be in two graphs."""
    names = [name for name in target if name in source]
    with source_net.as_default():
        values = tfutil.run([source[name] for name in names])
    with target_net.as_default():
        tfutil.set_vars({target[n]: v for n, v in zip(names, values, strict=True)})
