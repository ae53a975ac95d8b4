"""Snapshots: networks in files. Your own code needs `load`, `load_generator` and `save`.

From a file to a network: `pickles.load` reads it and says what it is if it is something else;
`dnnlib.restricted_pickle` makes arrays and plain values of it, and nothing else; `pytorch` gives
the networks of stylegan2-ada-pytorch the form that they have in TensorFlow; each network's
state is checked by `dnnlib.tflib.network_state`, and its build function is found in the tables of
`build_functions`. The graph is built when the network is first used.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # At first use: names of published networks are known without TensorFlow.
    if name in ("load", "load_generator", "save"):
        from training.snapshots import pickles

        return getattr(pickles, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
