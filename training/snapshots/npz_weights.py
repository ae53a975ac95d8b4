"""Snapshots as weights only: an `.npz` of arrays with a description in JSON, for other programs.

Arrays are named `<network>/<variable>` with the official variable names: network `G`, `D` and `Gs`,
or `network` where there is one alone. `meta` is the description as text; the same text lies in
`NAME.json` beside `NAME.npz`, for people. Both hold numbers and names, and no code.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from dnnlib import UserError, npz, schema
from dnnlib.files import atomic_write
from dnnlib.schema import Size
from dnnlib.tflib import Network
from dnnlib.tflib.network_state import SHAPE_FIELDS
from dnnlib.util import one_line
from training.snapshots.build_functions import is_ours
from training.snapshots.roles import ALONE, ROLES, Networks, by_role, from_roles

_KIND = "stylegan2 weights"
_FIELDS = ("version", "name", "static_kwargs", "build_module_src", "build_func_name")


@dataclass(frozen=True)
class _Described:
    """A network in the description, as `Network.get_state` gives it but for the values."""

    version: int
    name: str
    static_kwargs: dict[str, Any]
    build_func_name: str
    variables: Annotated[list[str], Size(10_000)]
    components: dict[str, _Described]
    build_module_src: str = ""
    input_shapes: Any = None
    output_shapes: Any = None
    input_names: Any = None
    output_names: Any = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Meta:
    kind: Literal["stylegan2 weights"]
    networks: Annotated[dict[str, _Described], Size(3)]


def save(networks: Networks, path: str, half: bool = False) -> None:
    """Writes `path` and the description beside it, each of them atomically.

    Args:
        networks: what to write.
        path: an `.npz`.
        half: write float16, and no G where there is Gs: a third of the size.

    Raises:
        UserError: a file cannot be written, a network needs code that its snapshot brought, or a
            value is too large for float16.
    """
    arrays: dict[str, np.ndarray] = {}
    roles = by_role(networks)
    if half and "Gs" in roles:
        roles.pop("G", None)
    described = {role: _describe(network, f"{role}/", arrays) for role, network in roles.items()}
    if half:
        arrays = {name: _half(name, value) for name, value in arrays.items()}
    meta = json.dumps({"kind": _KIND, "networks": described}, indent=2)
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.array(meta), **arrays)
    try:
        with atomic_write(path) as file:
            file.write(buffer.getbuffer())
        with atomic_write(os.path.splitext(path)[0] + ".json", "w") as file:
            file.write(meta + "\n")
    except OSError as error:
        raise UserError(f"cannot write weights {path}: {error.strerror or error}") from error


def loads(content: bytes) -> Networks:
    """(G, D, Gs) or a network, from the content of an `.npz` that `save` wrote.

    Raises:
        UserError: it is another `.npz`, or not whole.
        Exception: it is broken; any kind.
    """
    arrays = dict(npz.read_arrays(io.BytesIO(content)))
    text = str(arrays.pop("meta", ""))
    if _KIND not in text:
        raise UserError("it is an .npz, but not one with networks")
    try:
        described = schema.parse_json(text, _Meta).networks
    except UserError as error:
        raise UserError(f"its description is wrong: {error}") from error
    networks = {role: _network(d, f"{role}/", arrays) for role, d in described.items()}
    if arrays:
        shown = ", ".join(one_line(name, 60) for name in sorted(arrays)[:10])
        raise UserError(f"its description lacks {shown}")
    if set(networks) != {ALONE} and not (networks and set(networks) <= set(ROLES)):
        shown = one_line(", ".join(networks), 60) or "none"
        raise UserError(f"it describes the networks {shown}, not G, D and Gs")
    return from_roles(networks)


def _describe(network: Network, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """JSON of a network; its values go to `arrays`."""
    state = network.get_state()
    if not is_ours(state["build_module_src"]):
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


def _half(name: str, value: np.ndarray) -> np.ndarray:
    if value.dtype.kind != "f":
        return value
    if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
        raise UserError(f"{name} has values that are too large for float16: write float32")
    return value.astype(np.float16)


def _network(described: _Described, prefix: str, arrays: dict[str, np.ndarray]) -> Network:
    components = {
        key: _network(d, f"{prefix}{d.name}/", arrays) for key, d in described.components.items()
    }
    missing = [prefix + n for n in described.variables if prefix + n not in arrays]
    if missing:
        shown = ", ".join(one_line(name, 60) for name in missing[:10])
        raise UserError(f"it lacks {shown}")
    variables = {name: arrays.pop(prefix + name, None) for name in described.variables}
    network = Network.__new__(Network)
    network.set_state({**vars(described), "components": components, "variables": variables})
    return network
