"""Options of augmentation, and which transformations a name like `bgc` switches on.

Needs no TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dnnlib import UserError
from dnnlib.schema import Range
from dnnlib.util import did_you_mean
from training.augmentation.spec import AugmentSpec

# ADA, section 2.4 and appendix B: six groups with 18 transformations (imgfilter counts as four).
AUGMENT_GROUPS = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}

# Preset -> groups. ADA, figure 4: each group adds to those before it.
AUGMENT_PRESETS = {
    **{group: (group,) for group in AUGMENT_GROUPS},
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
    # Deviation: as bg and bgc, but white stays white, see `training.augmentation.color`; the
    # official code has no such presets.
    "bg-white": ("blit", "geom"),
    "bgc-white": ("blit", "geom", "color"),
}
_KEEPS_WHITE = "-white"
_CHANGES_WHITE = ("brightness", "lumaflip")  # About white too.

# Mode in which p follows the overfitting -> value of the heuristic that it aims at: r_t, r_v
# (ADA, section 3.1).
TARGETS = {"ada": 0.6, "adarv": 0.5}

# Deviation: the official code bounds p only below. Augmentations leak into the generated images at
# high p: below 0.8 they do not in practice (ADA, section 2.2).
MAX_STRENGTH = 0.8


@dataclass
class AugmentOptions:
    """Options of `adaptive`, by the names of the ADA repository's command line."""

    # noaug; fixed: p as given; ada, adarv: p follows the overfitting that r_t or r_v tells.
    mode: Literal["noaug", "fixed", "ada", "adarv"] = "noaug"
    preset: str = "bgc"  # Which transformations: a key of `AUGMENT_PRESETS`.
    p: Annotated[float, Range(0, 1)] = 0.0  # Of fixed.
    target: float = TARGETS["ada"]
    # Thousands of images in which p can go from 0 to 1.
    kimg: Annotated[float, Range(0.001, 1e9)] = 500.0
    interval: Annotated[int, Range(1, 1 << 20)] = 4  # Minibatches between moves of p.


def augment_preset(name: str) -> AugmentSpec:
    """A probability multiplier of 1 for each member of a preset, and the background of all.

    Args:
        name: a key of `AUGMENT_PRESETS`.

    Raises:
        UserError: another name.
    """
    if name not in AUGMENT_PRESETS:
        hint = did_you_mean(name, AUGMENT_PRESETS)
        names = ", ".join(AUGMENT_PRESETS)
        raise UserError(f"augmentation preset {name!r}: {hint}use one of {names}")
    members = [option for group in AUGMENT_PRESETS[name] for option in AUGMENT_GROUPS[group]]
    if not name.endswith(_KEEPS_WHITE):
        return AugmentSpec(**dict.fromkeys(members, 1.0))
    members = [option for option in members if option not in _CHANGES_WHITE]
    return AugmentSpec(**dict.fromkeys(members, 1.0), background=1)
