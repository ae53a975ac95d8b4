"""Ranges of layers: which layers of w a direction changes."""

from __future__ import annotations

import itertools
import re

from dnnlib import UserError

NAMES = ("coarse", "middle", "fine")


def thirds(num_layers: int) -> list[list[int]]:
    """The layers in three parts: coarse (shape), middle, and fine (color and texture)."""
    ends = [round(num_layers * part / 3) for part in range(4)]
    return [list(range(begin, end)) for begin, end in itertools.pairwise(ends)]


def parse_ranges(text: str) -> list[str | tuple[int, int]]:
    """`coarse,4-7,9`: names stay, numbers become the first and last layer.

    Raises:
        UserError: anything else.
    """
    found: list[str | tuple[int, int]] = []
    for part in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if part in (*NAMES, "all"):
            found.append(part)
        elif match and int(match[1]) <= int(match[2] or match[1]):
            found.append((int(match[1]), int(match[2] or match[1])))
        else:
            raise UserError(f"{part!r}: use numbers like 0-3, {', '.join(NAMES)} or all")
    return found


def find_ranges(ranges: list[str | tuple[int, int]] | None, num_layers: int) -> list[list[int]]:
    """The layers of each range; without any, `thirds`.

    Raises:
        UserError: a layer that the network does not have.
    """
    if ranges is None:
        return [layers for layers in thirds(num_layers) if layers]
    named = dict(zip(NAMES, thirds(num_layers), strict=True)) | {"all": list(range(num_layers))}
    found = []
    for part in ranges:
        layers = named[part] if isinstance(part, str) else list(range(part[0], part[1] + 1))
        if layers and layers[-1] >= num_layers:
            raise UserError(f"--layers: layer {layers[-1]}, the network has 0 to {num_layers - 1}")
        if layers:
            found.append(layers)
    return found
