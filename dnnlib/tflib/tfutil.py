"""Session set-up and small graph-mode helpers, by their official names."""

from __future__ import annotations

import functools
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.util import UserError, one_line

# Official names of types, for the annotations of people's own networks.
TfExpression = tf.Tensor | tf.Variable | tf.Operation
TfExpressionEx = TfExpression | int | float | np.ndarray

# Official names of the settings that `init_tf` and `create_session` understand.
DEFAULT_CONFIG: Mapping[str, Any] = {
    "rnd.np_random_seed": None,  # None leaves NumPy's global generator alone, an int seeds it.
    "rnd.tf_random_seed": "auto",  # "auto": from NumPy's generator; an int; None: not seeded.
    "gpu_options.allow_growth": True,
    "graph_options.place_pruned_graph": True,
}
# Held while ops are added to a graph, which TensorFlow does not allow two threads at once.
BUILDING = threading.RLock()
# Variables of a graph that nobody but the code that made them knows of, see `initialize_later`.
_LATER = "initialize_later"


def init_tf(config_dict: Mapping[str, Any] | None = None) -> None:
    """Creates the default session of this thread, unless there is one that is open.

    Networks remember their session, so that other threads need none of their own.

    Args:
        config_dict: overrides of `DEFAULT_CONFIG`; further `a.b` keys set `ConfigProto` fields.

    Raises:
        RuntimeError: this process was forked from one in which TensorFlow runs.
    """
    assert_not_forked()
    session = tf.get_default_session()
    if session is not None and not session._closed:
        return
    config = {**DEFAULT_CONFIG, **(config_dict or {})}
    if config["rnd.np_random_seed"] is not None:
        np.random.seed(config["rnd.np_random_seed"])
    tf_seed = config["rnd.tf_random_seed"]
    if tf_seed == "auto":
        tf_seed = np.random.randint(1 << 31)
    if tf_seed is not None:
        tf.set_random_seed(tf_seed)
    for key, value in config.items():
        if key.startswith("env."):
            os.environ[key[len("env.") :]] = str(value)
    create_session(config, force_as_default=True)


def create_session(
    config_dict: Mapping[str, Any] | None = None, force_as_default: bool = False
) -> tf.Session:
    """A new session on the default graph; `a.b` keys of `config_dict` set `ConfigProto` fields.

    With `force_as_default` it is the default session of this thread from now on. Without a GPU,
    ops of scripts that name one are computed on the CPU.
    """
    assert_not_forked()
    session = tf.Session(config=session_config(config_dict))
    if force_as_default:
        # Entered and never left; the session keeps the context, which would leave when collected.
        context = session.as_default()
        context.enforce_nesting = False
        context.__enter__()
        session.default_context = context
    return session


def session_config(config_dict: Mapping[str, Any] | None = None) -> tf.ConfigProto:
    """The settings of `create_session`."""
    proto = tf.ConfigProto(allow_soft_placement=not gpu_devices())
    for key, value in {**DEFAULT_CONFIG, **(config_dict or {})}.items():
        fields = key.split(".")
        if fields[0] in ("rnd", "env"):
            continue
        target = proto
        for field in fields[:-1]:
            target = getattr(target, field)
        setattr(target, fields[-1], value)
    return proto


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """For a graph that is built of what a file says: parts that are right, but not together.

    Args:
        what: the parts, for the message of the UserError that any other exception becomes.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{what} do not fit together: {one_line(error)}") from error


@contextmanager
def graph_session(seed: int | None = None) -> Iterator[tf.Session]:
    """A new graph and session of its own, the default ones within the block.

    Args:
        seed: of the variables' initial values and of fresh noise; None: another one each time.
    """
    with tf.Graph().as_default(), create_session() as session:
        seed_graph(seed)
        yield session


def seed_graph(seed: int | None = None) -> None:
    """Seeds the random ops of the default graph, which deterministic TensorFlow insists on.

    Args:
        seed: None: one drawn by the system, or always the same with `TF_DETERMINISTIC_OPS=1`.
    """
    if seed is None:
        is_fixed = os.environ.get("TF_DETERMINISTIC_OPS", "0").lower() in ("1", "true")
        seed = 0 if is_fixed else secrets.randbits(31)
    tf.set_random_seed(seed)


@functools.cache
def _tensorflow_process() -> int:
    """The process that TensorFlow's threads run in: that of the first session, also in a fork."""
    return os.getpid()


def assert_not_forked() -> None:
    """Raises a RuntimeError in a fork of a process with a session, which would wait for ever."""
    if _tensorflow_process() != os.getpid():
        raise RuntimeError(
            "This process was forked from one that had a TensorFlow session, whose threads it "
            "lacks: call dnnlib.tflib.init_tf() after the fork and not before it, or start "
            "processes with multiprocessing's 'spawn'"
        )


def assert_tf_initialized() -> None:
    """Raises a RuntimeError that names the cure if there is no default session."""
    if tf.get_default_session() is None:
        raise RuntimeError("No default TensorFlow session: call dnnlib.tflib.init_tf() first")
    assert_not_forked()


def run(fetches: Any, feed_dict: Mapping | None = None, **kwargs: Any) -> Any:
    """Runs `fetches` in the default session.

    Args:
        fetches: what `Session.run` takes.
        feed_dict: {placeholder: value}.
        kwargs: of `Session.run`: options, run_metadata.
    """
    assert_tf_initialized()
    later = tf.get_default_graph().get_collection_ref(_LATER)
    if later:
        waiting = list(later)
        later.clear()
        init_uninitialized_vars(waiting)
    return tf.get_default_session().run(fetches, feed_dict, **kwargs)


def initialize_later(variables: Iterable[tf.Variable]) -> None:
    """Has `run` and `init_uninitialized_vars` initialize variables that hold no value by then.

    For variables that code of ours makes for itself, statistics and moments, of which the official
    code asks nobody to think. To do it at once would run a graph that is still being built.
    """
    tf.get_default_graph().get_collection_ref(_LATER).extend(variables)


def is_tf_expression(x: Any) -> bool:
    """True if `x` is a tensor, variable or operation of a graph."""
    # Resource variables are no instances of compat.v1's `tf.Variable`.
    return tf.is_tensor(x) or isinstance(x, tf.Operation)


def shape_to_list(shape: Iterable) -> list[int | None]:
    """Static shape as a list, None where a dimension is not known."""
    return [getattr(dim, "value", dim) for dim in shape]


def flatten(x: tf.Tensor) -> tf.Tensor:
    """All elements in one dimension."""
    with tf.name_scope("Flatten"):
        return tf.reshape(x, [-1])


def log2(x: tf.Tensor) -> tf.Tensor:
    """Logarithm to base 2, elementwise."""
    with tf.name_scope("Log2"):
        return tf.log(x) * np.float32(1.0 / np.log(2.0))


def exp2(x: tf.Tensor) -> tf.Tensor:
    """2 to the power x, elementwise."""
    with tf.name_scope("Exp2"):
        return tf.exp(x * np.float32(np.log(2.0)))


def erfinv(y: tf.Tensor) -> tf.Tensor:
    """Inverse of the error function, elementwise; y in (-1, 1)."""
    with tf.name_scope("Erfinv"):
        return tf.math.erfinv(y)


def lerp(a: Any, b: Any, t: Any) -> Any:
    """a + (b - a)·t"""
    with tf.name_scope("Lerp"):
        return a + (b - a) * t


def lerp_clip(a: Any, b: Any, t: Any) -> tf.Tensor:
    """Linear interpolation with t clipped to [0, 1]."""
    with tf.name_scope("LerpClip"):
        return a + (b - a) * tf.clip_by_value(t, 0.0, 1.0)


def absolute_name_scope(scope: str) -> tf.name_scope:
    """Name scope `scope`, whatever scope is open."""
    return tf.name_scope(scope + "/")


def absolute_variable_scope(scope: str, **kwargs: Any) -> tf.variable_scope:
    """Variable scope `scope`, whatever scope is open."""
    return tf.variable_scope(
        tf.VariableScope(name=scope, reuse=tf.AUTO_REUSE), auxiliary_name_scope=False, **kwargs
    )


def init_uninitialized_vars(target_vars: Iterable[tf.Variable] | None = None) -> None:
    """Runs the initializers of those variables that hold no value yet. Adds no ops to the graph."""
    if target_vars is None:
        later = tf.get_default_graph().get_collection_ref(_LATER)
        target_vars = list(dict.fromkeys([*tf.global_variables(), *later]))
        later.clear()
    target_vars = list(target_vars)
    is_set = are_initialized(target_vars)
    run([v.initializer for v, done in zip(target_vars, is_set, strict=True) if not done])


def are_initialized(variables: Iterable[tf.Variable]) -> list[bool]:
    """Whether variables hold values in the default session. Adds no ops to the graph."""
    # Every resource variable brings its own "is initialized" op.
    tests = [(v.graph, f"{v.op.name}/IsInitialized/VarIsInitializedOp:0") for v in variables]
    return [bool(done) for done in run([graph.get_tensor_by_name(name) for graph, name in tests])]


def set_vars(var_to_value_dict: Mapping[tf.Variable, Any]) -> None:
    """Sets variables to arrays, or to what tensors evaluate to. Arrays add no ops to the graph."""
    assert_tf_initialized()
    # The value is fed in the place of the initial value, so that the initializer stores it.
    ops, feed_dict = [], {}
    for var, value in var_to_value_dict.items():
        if is_tf_expression(value):
            value = run(value)
        value = np.asarray(value, dtype=var.dtype.base_dtype.as_numpy_dtype)
        if list(value.shape) != shape_to_list(var.shape):
            raise ValueError(
                f"variable {var.name} has shape {shape_to_list(var.shape)}, "
                f"the value has {list(value.shape)}"
            )
        ops.append(var.initializer)
        feed_dict[var.initializer.inputs[1]] = value
    run(ops, feed_dict)


def create_var_with_large_initial_value(
    initial_value: np.ndarray, *args: Any, **kwargs: Any
) -> tf.Variable:
    """A variable that holds an array, which does not become a constant of the graph.

    Args:
        initial_value: the array.
        args, kwargs: for `tf.Variable`. A graph has room for 2 GiB in all.
    """
    assert_tf_initialized()
    value = np.asarray(initial_value)
    var = tf.Variable(tf.zeros(value.shape, value.dtype), *args, **kwargs)
    set_vars({var: value})
    return var


def convert_images_from_uint8(
    images: tf.Tensor, drange: tuple[float, float] = (-1, 1), nhwc_to_nchw: bool = False
) -> tf.Tensor:
    """uint8 [0, 255] to float32 in `drange`."""
    images = tf.cast(images, tf.float32)
    if nhwc_to_nchw:
        images = tf.transpose(images, [0, 3, 1, 2])
    return images * ((drange[1] - drange[0]) / 255) + drange[0]


def convert_images_to_uint8(
    images: tf.Tensor,
    drange: tuple[float, float] = (-1, 1),
    nchw_to_nhwc: bool = False,
    shrink: int = 1,
) -> tf.Tensor:
    """float32 in `drange` to uint8, rounded to nearest (half up), values outside saturated.

    Args:
        images: [N, C, H, W].
        drange: values that become 0 and 255.
        nchw_to_nhwc: return [N, H, W, C] instead.
        shrink: average boxes of shrink×shrink pixels first; must divide H and W.
    """
    images = tf.cast(images, tf.float32)
    if shrink > 1:
        n, c, h, w = (tf.shape(images)[i] for i in range(4))
        boxes = tf.reshape(images, [n, c, h // shrink, shrink, w // shrink, shrink])
        images = tf.reduce_mean(boxes, axis=[3, 5])
    if nchw_to_nhwc:
        images = tf.transpose(images, [0, 2, 3, 1])
    scale = 255 / (drange[1] - drange[0])
    images = images * scale + (0.5 - drange[0] * scale)
    return tf.saturate_cast(images, tf.uint8)


def gpu_devices() -> list[str]:
    """Names of the GPUs that TensorFlow sees, for `tf.device`."""
    return [f"/gpu:{i}" for i in range(len(tf.config.list_physical_devices("GPU")))]


def gpu_models() -> list[str]:
    """What the GPUs that TensorFlow sees are, for people."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return [str(d.get("device_name", gpu.name)) for d, gpu in zip(details, gpus, strict=True)]


def replica_devices(num_gpus: int) -> list[str]:
    """One device a replica: GPUs, or where there is none the CPU, which replicas share.

    Raises:
        UserError: there are GPUs, but fewer than asked for.
    """
    gpus = gpu_devices()
    if num_gpus <= len(gpus):
        return gpus[:num_gpus]
    if not gpus:
        return ["/cpu:0"] * num_gpus
    raise UserError(f"--num-gpus={num_gpus}, but TensorFlow sees {len(gpus)}: use a lower number")
