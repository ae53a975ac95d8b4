"""Attributes that are measured on pictures by themselves: their names. Nothing heavy here."""

from __future__ import annotations

from collections.abc import Sequence

from dnnlib import UserError
from dnnlib.util import did_you_mean

# Of which attributes are measured, unless it is said otherwise.
SAMPLES = 2000
GROUPS: dict[str, tuple[str, ...]] = {
    "color": ("lightness", "saturation", "hue-red", "hue-yellow"),
    "shape": ("area", "aspect", "center-x", "center-y", "solidity"),
    "texture": ("edge-density", "fine-detail", "middle-detail", "coarse-detail", "contrast"),
}
MEASURED: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
# One of each group: what a direction for an attribute of another group should leave alone.
REPRESENTATIVES = ("lightness", "area", "edge-density")


def of_other_groups(name: str) -> list[str]:
    """The representatives of the groups that an attribute is not in."""
    return [r for r in REPRESENTATIVES if not any({r, name} <= set(g) for g in GROUPS.values())]


def find_attributes(text: str, known: Sequence[str], option: str) -> list[str]:
    """Attributes by name or group: `lightness,shape` is lightness and all of shape.

    Raises:
        UserError: there is no such attribute; names the nearest.
    """
    found: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part in known:
            found.append(part)
        elif part in GROUPS:
            found += [name for name in GROUPS[part] if name in known]
        else:
            choices = [*known, *GROUPS]
            hint = did_you_mean(part, choices)
            raise UserError(f"{option}: no attribute {part!r}: {hint}use {', '.join(choices)}")
    return list(dict.fromkeys(found))
