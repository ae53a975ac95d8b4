"""`import tensorflow` gives TensorFlow 1 to people's own code, and TensorFlow 2 to all others."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from dnnlib.left_out import LeftOut
from dnnlib.tensorflow_loader import load_tensorflow

# Switches V2 behavior off when it is imported. It stands to the right of this package, which is
# why it is named and not imported here.
_TFLIB = "dnnlib.tflib"
_CONTRIB = "tensorflow.contrib"
_LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
# What to use in the place of packages of tf.contrib.
_INSTEAD = {
    "data": "use tf.data",
    "estimator": "write the loop yourself, with tf.Session",
    "framework": "tf has most names of it; arg_scope is in the package tf_slim",
    "image": "use tf.image, or tf.raw_ops.ImageProjectiveTransformV3 for transformations",
    "layers": "use tf.keras.layers and tf.initializers, or the package tf_slim",
    "nccl": "use tf.add_n",
    "opt": "the optimizers of tf.train and dnnlib.tflib.Optimizer are there",
    "rnn": "use tf.keras.layers",
    "slim": "pip install tf_slim, then import tf_slim as slim",
    "summary": "use tf.summary",
}
_NO_KERAS_2 = "is in Keras 2 only: pip install tf_keras"


def use_tensorflow_1() -> ModuleType:
    """From now on, `import tensorflow` in the user's own code gives TensorFlow 1.

    That is `tensorflow.compat.v1` with V2 behavior off, names that only TensorFlow 2 has, and a
    `contrib` whose parts say what to use in their place. Code in installed packages, TensorFlow and
    Keras among them, gets what it was written for. Where Keras 2 is installed (`tf_keras`) and
    TensorFlow was not imported before, `keras` and `tf.keras` are Keras 2.

    Returns:
        The module that `import tensorflow` gives.
    """
    if not isinstance(builtins.__import__, _Import):
        if "tensorflow" not in sys.modules and importlib.util.find_spec("tf_keras") is not None:
            os.environ.setdefault(_LEGACY_KERAS, "1")
        importlib.import_module(_TFLIB)
        has_keras_2 = os.environ.get(_LEGACY_KERAS) in ("1", "true", "True")
        module = _TensorFlow1(load_tensorflow(), sys.modules["tensorflow"], has_keras_2)
        builtins.__import__ = _Import(builtins.__import__, module, has_keras_2)
    return builtins.__import__.tensorflow


class _TensorFlow1(ModuleType):
    """The names of TensorFlow 1, then those of TensorFlow 2."""

    def __init__(self, v1: ModuleType, v2: ModuleType, has_keras_2: bool):
        super().__init__("tensorflow", v1.__doc__)
        self.__dict__.update(
            {name: getattr(v2, name) for name in ("__file__", "__path__", "__spec__", "compat")},
            contrib=_Contrib(),
            _versions=(v1, v2),
        )
        if not has_keras_2:
            self.keras = v2.keras
            self.layers = _Gone("tensorflow.layers", _NO_KERAS_2)

    def __getattr__(self, name: str) -> Any:
        v1, v2 = self._versions
        value = getattr(v1 if hasattr(v1, name) else v2, name)
        setattr(self, name, value)  # So that it is found at once the next time.
        return value

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *dir(self._versions[0])})


class _Gone(ModuleType):
    """A part of TensorFlow 1 that is not there: whoever uses it reads what to use instead."""

    def __init__(self, name: str, reason: str):
        super().__init__(name)
        self._reason = reason

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks modules for these.
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        raise LeftOut(f"{self.__name__}.{name} {self._reason}")


class _Contrib(_Gone):
    """`tf.contrib`: naming a package of it is no use yet; importing one happens at the top."""

    def __init__(self):
        super().__init__(_CONTRIB, "")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattr__(name)
        return _contrib_package(f"{_CONTRIB}.{name}")


def _contrib_package(name: str) -> ModuleType:
    package = name.split(".")[2]
    if package == "memory_stats":
        return _MemoryStats(name)
    instead = _INSTEAD.get(package, "look for it in tf and on PyPI")
    return _Gone(name, f"went away with TensorFlow 1: {instead}")


class _MemoryStats(ModuleType):
    """`tf.contrib.memory_stats`, which copies of the official training loop ask: bytes of a GPU."""

    def MaxBytesInUse(self) -> Any:
        return _memory_of_gpu("peak")

    def BytesInUse(self) -> Any:
        return _memory_of_gpu("current")


def _memory_of_gpu(name: str) -> Any:
    """An int64 scalar; 0 without a GPU."""
    tf = load_tensorflow()
    if not tf.config.experimental.list_physical_devices("GPU"):
        return tf.constant(0, tf.int64)
    info = tf.config.experimental.get_memory_info
    with tf.device("/cpu:0"):  # Where Python runs, whatever block this is called in.
        return tf.py_func(lambda: np.int64(info("GPU:0")[name]), [], tf.int64)


class _Import:
    """`__import__` that looks at who imports."""

    def __init__(self, original: Callable, tensorflow: ModuleType, has_keras_2: bool):
        self.tensorflow = tensorflow
        self._original = original
        self._has_keras_2 = has_keras_2
        folders = {os.path.dirname(os.path.dirname(os.path.abspath(tensorflow.__file__)))}
        folders.update(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
        self._installed = tuple(os.path.join(folder, "") for folder in folders)

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top, _, rest = name.partition(".")
        is_ours = top == "tensorflow" or (top == "keras" and self._has_keras_2)
        if level or not is_ours or self._is_installed(globals):
            return self._original(name, globals, locals, fromlist, level)
        if top == "keras":
            return self._original(f"tf_{name}", globals, locals, fromlist, level)
        if f"{name}.".startswith(f"{_CONTRIB}."):
            if not fromlist:
                return self.tensorflow
            return self.tensorflow.contrib if name == _CONTRIB else _contrib_package(name)
        if not rest:
            return self.tensorflow
        inner = self._original(name, globals, locals, fromlist, level)
        return inner if fromlist else self.tensorflow

    def _is_installed(self, globals: Mapping[str, Any] | None) -> bool:
        """Whether the code that imports is that of a package, and not the user's own."""
        file = (globals or {}).get("__file__")
        if not isinstance(file, str):  # A notebook, or what somebody types.
            return False
        path = os.path.abspath(file)
        folders = path.split(os.sep)
        return path.startswith(self._installed) or not {
            "site-packages",
            "dist-packages",
        }.isdisjoint(folders)
