"""Which network of a snapshot is which: G, D and Gs, or one that a file holds alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network

# (G, D, Gs), None in the place of what the file does not have; or what it holds alone.
Networks = tuple[Network | None, Network | None, Network | None] | Network

ROLES = ("G", "D", "Gs")
ALONE = "network"
_ALIASES = {"G_ema": "Gs"}


def by_role(networks: Networks) -> dict[str, Network]:
    """Networks by name: "G", "D" and "Gs" as far as they are there, or "network" alone."""
    if isinstance(networks, tuple):
        return {role: n for role, n in zip(ROLES, networks, strict=True) if n is not None}
    return {ALONE: networks}


def from_roles(networks: Mapping[str, Network]) -> Networks:
    """The inverse of `by_role`."""
    return networks.get(ALONE) or tuple(networks.get(role) for role in ROLES)


def build_in_order(content: Any) -> None:
    """Builds the graphs of networks of a snapshot in its order, if there is a default session.

    As the official code does when it reads them: scripts name operations by it.

    Args:
        content: of the file; what is no network stays as it is.
    """
    if tf.get_default_session() is not None:
        for network in content if isinstance(content, tuple) else [content]:
            if isinstance(network, Network):
                network.build()


def find_networks(content: Any) -> Networks | None:
    """The networks among what a pickle holds; None if it holds something else."""
    if isinstance(content, Mapping):  # As other programs write them.
        named = {_ALIASES.get(key, key): value for key, value in content.items()}
        content = tuple(named.get(role) for role in ROLES)
        content = tuple(n if isinstance(n, Network) else None for n in content)
    if isinstance(content, (tuple, list)) and len(content) == 2:  # Two of the three.
        content = _place(content)
    if isinstance(content, Network):
        return content if vars(content) else None
    if not isinstance(content, (tuple, list)) or len(content) != len(ROLES):
        return None
    found = [n for n in content if n is not None]
    return tuple(content) if found and all(map(_is_network, found)) else None


def _place(pair: Sequence[Any]) -> tuple[Any, ...] | None:
    """Two networks in their places of (G, D, Gs)."""
    if not all(map(_is_network, pair)):
        return None
    found: dict[str, Network] = {}
    for network in pair:
        is_discriminator = network.build_func_name.startswith("D")
        found["D" if is_discriminator else "Gs" if found else "G"] = network
    return tuple(found.get(role) for role in ROLES)


def _is_network(value: Any) -> bool:
    """Whether it is a network that got its state."""
    return isinstance(value, Network) and bool(vars(value))
