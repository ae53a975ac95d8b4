"""Imports TensorFlow without the lines that it prints and no setting switches off."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType


def load_tensorflow() -> ModuleType:
    """The module `tensorflow.compat.v1`. TF_CPP_MIN_LOG_LEVEL=0 shows all that it prints."""
    if "tensorflow" in sys.modules:
        import tensorflow.compat.v1 as tf

        return tf
    # What matters reaches Python as an exception; TensorFlow's log is chatter to its users.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_held_back(os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0"):
        import tensorflow.compat.v1 as tf

        tf.config.list_physical_devices()  # Looks for drivers, and complains.
    tf.logging.set_verbosity(tf.logging.ERROR)
    return tf


@contextmanager
def _stderr_held_back(active: bool) -> Iterator[None]:
    """Shows what native code printed only if the block fails."""
    held_back = None
    if active:
        with suppress(OSError):  # There is no stderr, or no room.
            os.fstat(2)
            held_back = tempfile.TemporaryFile()
    if held_back is None:
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    stderr = os.dup(2)
    with held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except Exception:
            with suppress(OSError):
                held_back.seek(0)
                os.write(stderr, held_back.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
