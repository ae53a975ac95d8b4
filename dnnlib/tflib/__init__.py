"""TensorFlow in graph mode: session, networks, optimizer, summaries.

This is the one place where TensorFlow's V2 behavior is switched off. Variables stay resource
variables: their reads and writes are ordered, which reference variables do not promise.
"""

from dnnlib.tensorflow_loader import load_tensorflow as _load_tensorflow

_tf = _load_tensorflow()
_tf.disable_v2_behavior()
_tf.enable_resource_variables()

from dnnlib.tflib import autosummary, network, optimizer, tfutil  # noqa: E402
from dnnlib.tflib.network import Network  # noqa: E402
from dnnlib.tflib.optimizer import Optimizer  # noqa: E402
from dnnlib.tflib.tfutil import (  # noqa: E402
    TfExpression,
    TfExpressionEx,
    absolute_name_scope,
    absolute_variable_scope,
    assert_tf_initialized,
    convert_images_from_uint8,
    convert_images_to_uint8,
    create_session,
    create_var_with_large_initial_value,
    erfinv,
    exp2,
    flatten,
    graph_session,
    init_tf,
    init_uninitialized_vars,
    is_tf_expression,
    lerp,
    lerp_clip,
    log2,
    run,
    set_vars,
    shape_to_list,
)

__all__ = [
    "Network",
    "Optimizer",
    "TfExpression",
    "TfExpressionEx",
    "absolute_name_scope",
    "absolute_variable_scope",
    "assert_tf_initialized",
    "autosummary",
    "convert_images_from_uint8",
    "convert_images_to_uint8",
    "create_session",
    "create_var_with_large_initial_value",
    "erfinv",
    "exp2",
    "flatten",
    "graph_session",
    "init_tf",
    "init_uninitialized_vars",
    "is_tf_expression",
    "lerp",
    "lerp_clip",
    "log2",
    "network",
    "optimizer",
    "run",
    "set_vars",
    "shape_to_list",
    "tfutil",
]
