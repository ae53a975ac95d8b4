"""TensorFlow in graph mode: session, networks, optimizer, summaries.

This is the one place where TensorFlow's V2 behaviour is switched off. Variables stay resource
variables: their reads and writes are ordered, which reference variables do not promise.
"""

import contextlib as _contextlib
import os as _os
import sys as _sys
import tempfile as _tempfile

# What matters reaches Python as an exception; TensorFlow's log is chatter to its users.
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@_contextlib.contextmanager
def _quiet_stderr():
    """Holds back what native code prints, unless the block fails.

    TensorFlow logs before it has read its own log level: on every machine without a GPU half a
    dozen lines about that. TF_CPP_MIN_LOG_LEVEL=0 shows them.
    """
    if _os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":
        yield
        return
    _sys.stderr.flush()
    stderr = _os.dup(2)
    with _tempfile.TemporaryFile() as held_back:
        _os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            _os.write(stderr, held_back.read())
            raise
        finally:
            _os.dup2(stderr, 2)
            _os.close(stderr)


with _quiet_stderr():
    import tensorflow.compat.v1 as _tf

    _tf.config.list_physical_devices()  # Looks for drivers, and complains.
_tf.logging.set_verbosity(_tf.logging.ERROR)

_tf.disable_v2_behavior()
_tf.enable_resource_variables()

from dnnlib.tflib import autosummary, network, optimizer, tfutil  # noqa: E402
from dnnlib.tflib.network import Network  # noqa: E402
from dnnlib.tflib.optimizer import Optimizer  # noqa: E402
from dnnlib.tflib.tfutil import (  # noqa: E402
    absolute_name_scope,
    absolute_variable_scope,
    assert_tf_initialized,
    convert_images_from_uint8,
    convert_images_to_uint8,
    create_session,
    exp2,
    flatten,
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
    "absolute_name_scope",
    "absolute_variable_scope",
    "assert_tf_initialized",
    "autosummary",
    "convert_images_from_uint8",
    "convert_images_to_uint8",
    "create_session",
    "exp2",
    "flatten",
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
