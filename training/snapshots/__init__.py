"""Snapshots: networks in files. A user's own code needs `load`, `load_generator` and `save`."""

from typing import Any


def __getattr__(name: str) -> Any:
    # At first use: names of published networks are known without TensorFlow.
    if name in ("load", "load_generator", "save"):
        from training.snapshots import pickles

        return getattr(pickles, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
