"""Color of the product: lightness, saturation and hue, in CIELAB."""

from __future__ import annotations

import numpy as np

# Of sRGB (IEC 61966-2-1): linear red, green, blue to XYZ in units of the white point D65.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_TO_XYZ = _TO_XYZ / _TO_XYZ.sum(axis=1, keepdims=True)
_LINEAR_BELOW = 0.04045
_CUBE_ROOT_ABOVE = (6 / 29) ** 3
_GRAY = 4.0  # Chroma below which a product has no hue to speak of.


def to_lab(images: np.ndarray) -> np.ndarray:
    """CIELAB (CIE 15): L 0 to 100, a and b about -100 to 100.

    Args:
        images: uint8 [..., C, H, W], sRGB, or grey with one channel.

    Returns:
        float64 [..., H, W, 3].
    """
    levels = np.arange(256) / 255
    curve = np.where(levels <= _LINEAR_BELOW, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    linear = np.moveaxis(curve[images], -3, -1)
    if linear.shape[-1] == 1:
        linear = np.repeat(linear, 3, axis=-1)
    xyz = linear @ _TO_XYZ.T
    xyz = np.where(xyz > _CUBE_ROOT_ABOVE, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(xyz, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def measure_color(lab: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Attributes of color, of the product's pixels.

    lightness: mean L, 0 for black to 100 for white.
    saturation: mean chroma √(a² + b²), 0 for grey, about 100 for the purest colors.
    hue-red: Σa / Σ√(a² + b² + 4²): 1 for red, -1 for green, 0 for grey.
    hue-yellow: Σb / the same: 1 for yellow, -1 for blue.

    Args:
        lab: float [H, W, 3].
        mask: bool [H, W], not empty.
    """
    lightness, a, b = lab[mask].T
    chroma = np.sqrt(a**2 + b**2)
    total = np.sum(np.sqrt(chroma**2 + _GRAY**2))
    return {
        "lightness": float(lightness.mean()),
        "saturation": float(chroma.mean()),
        "hue-red": float(a.sum() / total),
        "hue-yellow": float(b.sum() / total),
    }
