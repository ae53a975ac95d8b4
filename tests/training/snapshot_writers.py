"""Snapshots as others write them, and readers as others have them, for tests.

Nothing here uses our own writer: files are made from states, which tests may change.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import re
import sys

import numpy as np
import pytest

import run_generator
from dnnlib import EasyDict, cli
from dnnlib.tflib import Network

# What official files embed where ours have one line. Reading must work all the same.
OFFICIAL_SOURCE = "raise RuntimeError('source embedded in a network pickle was executed')\n"


class Stub:
    """Pickles as a `dnnlib.tflib.network.Network` with any state."""

    __class__ = Network  # Which is what the pickler asks for.

    def __init__(self, state):
        self.state = state


def stub_of(network, **changes):
    """The state of a network, with changes to it and to its components."""
    state = network.get_state()
    state["components"] = {k: stub_of(c, **changes) for k, c in state["components"].items()}
    state.update(changes)
    return Stub({k: v for k, v in state.items() if v is not None})


class _Pickler(pickle._Pickler):
    def reducer_override(self, obj):
        if isinstance(obj, Stub):
            return copyreg.__newobj__, (Network,), obj.state
        return NotImplemented


def dumps(obj, protocol=4):
    """Pickle of stubs, and of whatever holds them."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=protocol).dump(obj)
    return buffer.getvalue()


def one(path, **changes):
    """Writes a snapshot of one discriminator of 4×4 pixels, with changes to its state.

    A change is a value, a function of the value, or None for a field that is left out.
    """
    shapes = {
        "4x4/FromRGB/weight": (1, 1, 3, 2),
        "4x4/FromRGB/bias": (2,),
        "4x4/Conv/weight": (3, 3, 3, 2),
        "4x4/Conv/bias": (2,),
        "4x4/Dense0/weight": (32, 2),
        "4x4/Dense0/bias": (2,),
        "Output/weight": (2, 1),
        "Output/bias": (1,),
    }
    random = np.random.default_rng(3)
    variables = [(n, random.normal(size=s).astype(np.float32)) for n, s in shapes.items()]
    state = {"version": 4, "name": "D", "static_kwargs": {"resolution": 4, "fmap_max": 2}}
    state.update(components={}, build_module_src="raise 1", build_func_name="D_stylegan2")
    state["variables"] = variables
    for key, value in changes.items():
        state[key] = value(state[key]) if callable(value) else value
    state = {key: value for key, value in state.items() if value is not None}
    path.write_bytes(dumps(Stub(state)))
    return str(path)


# The keyword arguments that the official PyTorch readers know, by build function: they refuse a
# file with any other.
_PYTORCH_COMMON = """
    label_size resolution num_channels fmap_base fmap_max num_fp16_res conv_clamp architecture
    resample_kernel nonlinearity mapping_layers mapping_fmaps mapping_lrmul structure
""".split()
PYTORCH_KEYWORDS = {
    "G": {
        *_PYTORCH_COMMON,
        *"latent_size dlatent_size label_fmaps mapping_nonlinearity w_avg_beta use_noise".split(),
        *"truncation_psi truncation_cutoff style_mixing_prob".split(),
    },
    "D": {
        *_PYTORCH_COMMON,
        *"mbstd_group_size mbstd_num_features freeze_layers conditioning".split(),
    },
}


class _TFNetwork(EasyDict):
    """What PyTorch's readers have in the place of a network: attributes from the state."""


def read_like_pytorch(path):
    """(G, D, Gs), each {variable name: array} and its options, as PyTorch's readers take them.

    Raises:
        ValueError: where they would.
    """

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("dnnlib.tflib.network", "Network"):
                return _TFNetwork
            return super().find_class(module, name)

    with open(path, "rb") as file:
        data = Reader(file).load()
    if not isinstance(data, tuple) or len(data) != 3:
        raise ValueError("not three networks")
    return tuple(_convert(net, kind) for net, kind in zip(data, "GDG", strict=True))


def _convert(net, kind):
    if not isinstance(net, _TFNetwork) or net.__dict__["version"] < 4:
        raise ValueError("format version too low")
    kwargs = net.__dict__["static_kwargs"]
    unknown = set(kwargs) - PYTORCH_KEYWORDS[kind]
    if unknown:
        raise ValueError(f"unknown keyword {sorted(unknown)}")
    params = {}

    def collect(prefix, part):
        for name, value in part.__dict__["variables"]:
            assert type(name) is str and type(value) is np.ndarray
            params[prefix + name] = value
        for name, component in part.__dict__["components"].items():
            collect(f"{prefix}{name}/", component)

    collect("", net)
    return params, kwargs


PYTORCH_PATTERNS = {  # Of the names that the converters look for, those of every network.
    "G": r"(mapping/(LabelEmbed|Dense\d+)/(weight|bias)|dlatent_avg|lod|synthesis/noise\d+"
    r"|synthesis/4x4/Const/const"
    r"|synthesis/\d+x\d+/(Conv|Conv0_up|Conv1|ToRGB)/"
    r"(weight|bias|mod_weight|mod_bias|noise_strength)|synthesis/\d+x\d+/Skip/weight)",
    "D": r"(\d+x\d+/(FromRGB|Conv|Conv0|Conv1_down|Dense0)/(weight|bias)|\d+x\d+/Skip/weight"
    r"|Output/(weight|bias)|(LabelEmbed|Mapping\d+)/(weight|bias))",
}


def unknown_to_pytorch(params, kind):
    """Names of variables that the converters would not look for."""
    return [name for name in params if not re.fullmatch(PYTORCH_PATTERNS[kind], name)]


def command_line(monkeypatch, capsys, *args):
    """(exit code, stderr) of `run_generator.py`."""
    monkeypatch.setattr(sys, "argv", ["run_generator.py", *map(str, args)])
    with pytest.raises(SystemExit) as end:
        cli.run(run_generator.main)
    return end.value.code, capsys.readouterr().err
