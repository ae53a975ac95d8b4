"""Which transformations a name like `bgc` switches on. Needs no TensorFlow."""

from __future__ import annotations

from dnnlib import UserError

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
}


def augment_preset(name: str) -> dict[str, float]:
    """Keyword arguments of `augment_pipeline`: a probability multiplier of 1 for each member.

    Args:
        name: a key of `AUGMENT_PRESETS`.

    Raises:
        UserError: another name.
    """
    if name not in AUGMENT_PRESETS:
        raise UserError(f"augmentation preset {name!r}: use one of {', '.join(AUGMENT_PRESETS)}")
    return {option: 1.0 for group in AUGMENT_PRESETS[name] for option in AUGMENT_GROUPS[group]}
