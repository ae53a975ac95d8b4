"""Graphs of others run in a process of their own, whatever they do to it.

The list of allowed operations keeps a graph from files and from Python. It cannot keep it from
sizes and shapes for which a kernel of TensorFlow takes all memory, hangs or crashes. So all that is
of the graph, reading it included, happens in a child; here is only a node that hands images over
and gets numbers back.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.child_process import ChildProcess, limit_memory
from dnnlib.util import one_line
from metrics.feature_networks import frozen_graph
from metrics.feature_networks.programs import READERS

_READ_SECONDS = 30.0
_TRIAL_SECONDS = 30.0
_IMAGE_SECONDS = 30.0  # On a busy CPU, VGG16 takes seconds for an image of 1024×1024.
_MEMORY = 3 << 29
_THREAD_MEMORY = 32 << 20  # Of each core's threads.
_PIXEL_MEMORY = 1 << 10  # 64 maps of float32, four times.
_LEAST_PIXELS = 512**2  # An image that a network enlarges.
_MAX_FEATURES = 1 << 15


@dataclass(frozen=True)
class ForeignGraph:
    """A graph in the child process.

    Attributes:
        kind: which of `programs.READERS` reads it.
        path: its file.
        sha256: of the file: what has changed is read again.
        input, dtype, shape: see `programs.Program`.
        outputs: {name: tensor}.
    """

    kind: str
    path: str
    sha256: str
    input: str = field(init=False)
    dtype: str = field(init=False)
    shape: tuple[int, ...] = field(init=False)
    outputs: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        found = self._call(None, "", _READ_SECONDS)
        for name in ("input", "dtype", "outputs"):
            object.__setattr__(self, name, found[name])
        object.__setattr__(self, "shape", tuple(found["shape"]))

    def widths(self, shape: list[int], device: str = "") -> dict[str, int]:
        """How many numbers each output has for an image: the graph is tried with two.

        Args:
            shape: of an image as the graph takes it, without the batch.
            device: of TensorFlow.

        Raises:
            UserError: it does not run, or does not give one vector an image.
        """
        images = np.random.default_rng(0).integers(0, 256, [2, *shape], dtype=np.uint8)
        result = {}
        for name, array in self._run(images, device, _TRIAL_SECONDS).items():
            width = [n for n in array.shape[1:] if n != 1] or list(array.shape[1:2])
            if array.shape[:1] != (2,) or len(width) != 1 or not 0 < width[0] <= _MAX_FEATURES:
                raise UserError(
                    f"{self.path}: output {self.outputs[name]} has shape {list(array.shape)} for "
                    f"two images, expected one vector an image, of at most {_MAX_FEATURES} numbers"
                )
            result[name] = width[0]
        return result

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds a node to the graph that runs this one: outputs float32 [N, D].

        It has no gradient; what runs it should do so inside `user_errors`.

        Args:
            images: as the graph takes them, [N, …], of a known size.
        """
        device = images.device
        widths = self.widths(images.shape[1:].as_list(), device)
        names = list(self.outputs)

        def call(batch: np.ndarray) -> list[np.ndarray]:
            try:
                seconds = _TRIAL_SECONDS + _IMAGE_SECONDS * len(batch)
                arrays = self._run(batch, device, seconds)
                return [np.float32(arrays[n]).reshape(len(batch), widths[n]) for n in names]
            except UserError as error:
                raise _GraphFailed(one_line(error)) from None
            except ValueError:
                text = f"{self.path} gives other numbers of features for other images"
                raise _GraphFailed(one_line(text)) from None

        with tf.device("/device:CPU:0"):
            tensors = tf.numpy_function(call, [images], [tf.float32] * len(names))
        for name, tensor in zip(names, tensors, strict=True):
            tensor.set_shape([None, widths[name]])
        return dict(zip(names, tensors, strict=True))

    def _run(self, images: np.ndarray, device: str, seconds: float) -> dict[str, np.ndarray]:
        if images.dtype != np.uint8:  # Most are whole numbers, which take a quarter of the way.
            as_bytes = images.astype(np.uint8)
            images = as_bytes if np.array_equal(as_bytes, images) else images
        return self._call(images, device, seconds)

    def _call(self, images: np.ndarray | None, device: str, seconds: float) -> dict[str, Any]:
        file = [self.kind, os.path.abspath(self.path), self.sha256]
        return _process().call(file, images, device, seconds=seconds, what=self.path)


class _GraphFailed(Exception):
    """By this name the message is found again in that of TensorFlow."""


@contextmanager
def user_errors() -> Iterator[None]:
    """What fails in a node of `ForeignGraph.build` comes out as the UserError that it was."""
    try:
        yield
    except tf.errors.UnknownError as error:
        found = re.search(rf"{_GraphFailed.__name__}: (.*)", str(error))
        if found is None:
            raise
        raise UserError(found[1]) from None


@functools.cache
def _process() -> ChildProcess:
    """One for all graphs: TensorFlow takes seconds to start. It ends with this process."""
    return ChildProcess(_answer)


# In the child


def _answer(file: list[str], images: np.ndarray | None, device: str) -> dict[str, Any]:
    """Describes a graph, or runs it on images. `file`: kind, path and SHA-256."""
    # With a GPU, the driver takes what it takes.
    pixels = 0 if images is None else len(images) * max(images[0].size // 3, _LEAST_PIXELS)
    threads = _THREAD_MEMORY * (os.cpu_count() or 1)
    limit_memory(0 if "GPU" in device else _MEMORY + threads + _PIXEL_MEMORY * pixels)
    loaded = _Loaded.get(*file)
    if images is None:
        program = loaded.program
        return {
            "input": program.input,
            "dtype": program.dtype,
            "shape": program.shape,
            "outputs": dict(program.outputs),
        }
    return loaded.run(images, device)


class _Loaded:
    """A program with a session for each device."""

    def __init__(self, kind: str, path: str):
        self.program = READERS[kind](path)
        self._sessions: dict[str, tuple] = {}
        self._open("")  # So that what TensorFlow does not take is said before any work.

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def get(kind: str, path: str, sha256: str) -> _Loaded:
        return _Loaded(kind, path)

    def _open(self, device: str) -> tuple:
        if device not in self._sessions:
            program, config = self.program, tf.ConfigProto(allow_soft_placement=True)
            config.gpu_options.allow_growth = True
            with tf.Graph().as_default() as graph, tf.device(device or None):
                shape = [None, *program.shape[1:]] if program.shape else None
                shape = shape and [None if size == -1 else size for size in shape]
                x = tf.placeholder(program.dtype, shape)
                names = list(program.outputs.values())
                tensors = frozen_graph.import_graph(
                    program.graph, program.input, x, names, program.where
                )
                outputs = dict(zip(program.outputs, tensors, strict=True))
            self._sessions[device] = (tf.Session(graph=graph, config=config), x, outputs)
        return self._sessions[device]

    def run(self, images: np.ndarray, device: str) -> dict[str, np.ndarray]:
        session, x, outputs = self._open(device)
        try:
            arrays = session.run(outputs, {x: images.astype(x.dtype.as_numpy_dtype)})
            return {name: np.asarray(array).astype(np.float32) for name, array in arrays.items()}
        except (tf.errors.OpError, ValueError, TypeError) as error:
            # What went wrong stands between the names of nodes and a trace.
            text = str(getattr(error, "message", error)).split("\n\t [[")[0].strip()
            text = one_line(text.splitlines()[-1] if text else type(error).__name__)
            raise UserError(f"{self.program.where} does not run: {text}") from error
