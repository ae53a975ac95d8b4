"""What the augmentation pipeline does: every transformation's multiplier and parameters.

Needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnnlib.keywords import keyword


@dataclass(frozen=True)
class AugmentSpec:
    """Transformations by their official names: 18 in six groups (ADA, appendix B).

    A transformation is applied to each sample with probability strength times multiplier. One with
    a multiplier of 0 costs nothing.
    """

    # Pixel blitting.
    xflip: float = keyword("multiplier of mirroring", default=0)
    rotate90: float = keyword("multiplier of quarter turns", default=0)
    xint: float = keyword("multiplier of shifts by whole pixels", default=0)
    xint_max: float = keyword(
        "largest shift by whole pixels, as a fraction of the image's size", default=0.125
    )
    # General geometric transformations.
    scale: float = keyword("multiplier of scaling", default=0)
    rotate: float = keyword("multiplier of rotation", default=0)
    aniso: float = keyword("multiplier of anisotropic scaling", default=0)
    xfrac: float = keyword("multiplier of shifts by any distance", default=0)
    scale_std: float = keyword("standard deviation of log2 of the scale", default=0.2)
    rotate_max: float = keyword("largest angle of rotation, 1 for half a turn", default=1)
    aniso_std: float = keyword("standard deviation of log2 of the anisotropic scale", default=0.2)
    aniso_rotate_prob: float = keyword(
        "share of rotations that come before anisotropic scaling, see `geometric_transforms`",
        default=0.5,
    )
    xfrac_std: float = keyword(
        "standard deviation of shifts, as a fraction of the image's size", default=0.125
    )
    # Colors, for 3 channels, 4 or 1.
    brightness: float = keyword("multiplier of brightness", default=0)
    contrast: float = keyword("multiplier of contrast", default=0)
    lumaflip: float = keyword("multiplier of inverted luma", default=0)
    hue: float = keyword("multiplier of hue", default=0)
    saturation: float = keyword("multiplier of saturation", default=0)
    brightness_std: float = keyword("standard deviation of what brightness adds", default=0.2)
    contrast_std: float = keyword("standard deviation of log2 of the contrast", default=0.5)
    hue_max: float = keyword("largest angle of hue, 1 for half a turn", default=1)
    saturation_std: float = keyword("standard deviation of log2 of the saturation", default=1)
    # Image-space filtering.
    imgfilter: float = keyword("multiplier of amplified or damped frequencies", default=0)
    imgfilter_bands: Sequence[float] = keyword(
        "a further multiplier for each of the four bands, from low to high frequencies",
        default=(1, 1, 1, 1),
    )
    imgfilter_std: float = keyword("standard deviation of log2 of a band's factor", default=1)
    # Corruption.
    noise: float = keyword("multiplier of additive noise", default=0)
    cutout: float = keyword("multiplier of a rectangle set to zero", default=0)
    noise_std: float = keyword(
        "deviation of the noise's deviation, which is half-normal", default=0.1
    )
    cutout_size: float = keyword(
        "sides of the rectangle, as a fraction of those of the image", default=0.5
    )
    background: float = keyword(
        "the gray that geometry, contrast, filters and cutout leave as it is and lies beyond the "
        "picture: 0 mid-gray, as officially, 1 white",
        default=0,
    )
