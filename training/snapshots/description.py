"""What a snapshot holds, as text for people."""

from __future__ import annotations

import hashlib
import os

from dnnlib import urls
from dnnlib.tflib import Network
from dnnlib.tflib.layer_table import count_parameters, format_layers
from dnnlib.tflib.network_state import module_source
from training.snapshots import pickles, pretrained, pytorch
from training.snapshots.class_names import label_names
from training.snapshots.roles import ALONE, ROLES, by_role


def describe(path: str, allow_pickled_code: bool = False) -> str:
    """Text for people: where a snapshot comes from, its networks, their layers.

    Needs a session. Raises what `snapshots.load` does, and a UserError if weights do not fit.
    """
    local, shown = pretrained.local_path(path), urls.show_source(path)
    content = pickles.read(local)
    result = pickles.loads(content, shown, allow_pickled_code)
    lines = [f"Snapshot   {shown}"]
    if local != path:
        card = os.path.splitext(local)[0] + ".md"
        url = pretrained.url_of(path)
        lines += [f"Card       {card}" if url is None else f"URL        {urls.show(url)}"]
        lines += [f"File       {local}"]
    lines += [
        f"Size       {len(content):,} bytes",
        f"SHA-256    {hashlib.sha256(content).hexdigest()}",
    ]
    networks = by_role(result)
    if isinstance(result, tuple) and len(networks) < len(result):
        lines += [f"Lacks      {', '.join(r for r in ROLES if r not in networks)}"]
    for role, network in networks.items():
        source = "made of a PyTorch snapshot" if pytorch.is_snapshot(content) else _source(network)
        lines += ["", *_describe_network("Network" if role == ALONE else role, network, source)]
        if role != "G" or "Gs" not in networks:  # Gs has the same layers.
            lines += ["", format_layers(network, None, hide_layers_with_no_params=False)]
    return "\n".join(lines)


def _describe_network(role: str, network: Network, source: str) -> list[str]:
    origin = network.origin
    images = next((s for s in network.output_shapes + network.input_shapes if len(s) == 4), None)
    labels = dict(zip(network.input_names, network.input_shapes, strict=True)).get("labels_in")
    rows = {
        "name": network.name,
        "built by": f"{network.build_module}.{network.build_func_name}",
        "format": f"version {origin.version}, {source}",
        "resolution": f"{images[3]}×{images[2]}, {images[1]} channels" if images else "-",
        "labels": (labels[1] or "none") if labels else "-",
        **_describe_classes(network),
        "inputs": _shapes(network.input_names, network.input_shapes),
        "outputs": _shapes(network.output_names, network.output_shapes),
        "components": ", ".join(
            f"{key}: {c.build_func_name}" for key, c in network.components.items()
        )
        or "none",
        "options": ", ".join(f"{k}={v!r}" for k, v in network.static_kwargs.items()) or "defaults",
        "parameters": f"{count_parameters(network.trainables.values()):,} trained, "
        f"{count_parameters(network.vars.values()):,} numbers in all",
    }
    return [role, *(f"  {key:<11}{value}" for key, value in rows.items())]


def _describe_classes(network: Network) -> dict[str, str]:
    names = label_names(network)
    return {"classes": ", ".join(f"{i} {n}" for i, n in enumerate(names))} if names else {}


def _source(network: Network) -> str:
    """Who wrote it, as far as the file shows."""
    source = network.origin.build_module_src
    if source == module_source(network.build_module):
        return "written by this project"
    count = len(source.splitlines())
    what = f"{count} {'line' if count == 1 else 'lines'} of embedded source"
    return f"{what}, {'run as you allowed' if network.build_module_src == source else 'not run'}"


def _shapes(names: list[str], shapes: list[list[int | None]]) -> str:
    return ", ".join(
        f"{name} [{', '.join('N' if n is None else str(n) for n in shape)}]"
        for name, shape in zip(names, shapes, strict=True)
    )
