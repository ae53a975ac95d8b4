"""Snapshots as weights only: an `.npz` of arrays with a description in JSON, for other programs.

Arrays are named `<network>/<variable>` with the official variable names: network `G`, `D` and `Gs`,
or `network` where there is one alone. `meta` is the description as text; the same text lies in
`NAME.json` beside `NAME.npz`, for people. Both hold numbers and names, and no code.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.files import atomic_write
from dnnlib.tflib import Network
from dnnlib.tflib.build_functions import BUILD_MODULES, module_source
from dnnlib.tflib.network_state import SHAPE_FIELDS

_KIND = "stylegan2 weights"
_ROLES = ("G", "D", "Gs")
_ALONE = "network"
_FIELDS = ("version", "name", "static_kwargs", "build_module_src", "build_func_name")


def save(networks: tuple[Network, ...] | Network, path: str) -> None:
    """Writes `path` and the description beside it, each of them atomically.

    Raises:
        UserError: a file cannot be written, or a network needs code that its snapshot brought.
    """
    named = dict(zip(_ROLES, networks, strict=True)) if isinstance(networks, tuple) else None
    arrays: dict[str, np.ndarray] = {}
    described = {
        role: _describe(network, f"{role}/", arrays)
        for role, network in (named or {_ALONE: networks}).items()
    }
    meta = json.dumps({"kind": _KIND, "networks": described}, indent=2)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, meta=np.array(meta), **arrays)
    try:
        with atomic_write(path) as file:
            file.write(buffer.getbuffer())
        with atomic_write(os.path.splitext(path)[0] + ".json", "w") as file:
            file.write(meta + "\n")
    except OSError as error:
        raise UserError(f"cannot write weights {path}: {error.strerror or error}") from error


def loads(content: bytes) -> Any:
    """(G, D, Gs) or a network, from the content of an `.npz` that `save` wrote.

    Raises:
        UserError: it is another `.npz`, or not whole.
        Exception: it is broken; any kind.
    """
    arrays = _read_arrays(content)
    meta = json.loads(str(arrays.pop("meta"))) if "meta" in arrays else None
    if not isinstance(meta, dict) or meta.get("kind") != _KIND:
        raise UserError("it is an .npz, but not one with networks")
    described = meta["networks"]
    networks = {role: _network(d, f"{role}/", arrays) for role, d in described.items()}
    if arrays:
        raise UserError(f"its description lacks {', '.join(sorted(arrays)[:10])}")
    if set(networks) == {_ALONE}:
        return networks[_ALONE]
    if set(networks) != set(_ROLES):
        raise UserError(f"it describes the networks {', '.join(networks)}, not G, D and Gs")
    return tuple(networks[role] for role in _ROLES)


def _describe(network: Network, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """JSON of a network; its values go to `arrays`."""
    state = network.get_state()
    if state["build_module_src"] not in {module_source(module) for module in BUILD_MODULES}:
        raise UserError(f"network {network.name} needs code, which an .npz does not hold")
    arrays.update({prefix + name: value for name, value in state["variables"]})
    return {
        **{key: state[key] for key in (*_FIELDS, *SHAPE_FIELDS, "metadata") if key in state},
        "variables": [name for name, _ in state["variables"]],
        "components": {
            key: _describe(component, f"{prefix}{component.name}/", arrays)
            for key, component in state["components"].items()
        },
    }


def _network(described: Mapping[str, Any], prefix: str, arrays: dict[str, np.ndarray]) -> Network:
    components = {
        key: _network(d, f"{prefix}{d['name']}/", arrays)
        for key, d in described["components"].items()
    }
    missing = [prefix + n for n in described["variables"] if prefix + n not in arrays]
    if missing:
        raise UserError(f"it lacks {', '.join(missing)}")
    variables = [(name, arrays.pop(prefix + name)) for name in described["variables"]]
    network = Network.__new__(Network)
    network.set_state({**described, "components": components, "variables": variables})
    return network


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Arrays of an uncompressed .npz, each no larger than its bytes in the file."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED for m in members):
            raise UserError("it is compressed, which files of weights are not")
        if sum(m.file_size for m in members) > len(content):
            raise UserError("it claims more data than it holds: a bomb")
        for member in members:
            name = member.filename.removesuffix(".npy")
            arrays[name] = _read_array(name, archive.read(member))
    return arrays


def _read_array(name: str, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read_header(file)
    data = data[file.tell() :]
    if dtype.kind not in "biufU" or math.prod(shape) * dtype.itemsize != len(data):
        raise UserError(
            f"its array {name} of shape {list(shape)} {dtype} has {len(data)} bytes of data"
        )
    order = "F" if fortran else "C"
    # `np.ndarray` takes texts of no characters too, which `frombuffer` does not.
    return np.ndarray(shape, dtype, data, order=order)
