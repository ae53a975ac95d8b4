"""The affine layers that turn w into styles, by the layer of w that they read."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dnnlib import UserError
from dnnlib.tflib import Network

_NAME = re.compile(
    r"(?:(\d+)x\1/(Const|Conv|Conv0_up|Conv1|ToRGB)|ToRGB_lod(\d+))/"
    r"(mod_weight|StyleMod/weight)"
)


@dataclass(frozen=True)
class StyleLayer:
    """An affine layer, styles = A(w).

    Attributes:
        name: of the layer that gets the styles.
        layer: number of the w that it reads.
        matrix: float32 [dlatent_size, styles], a column for each style.
    """

    name: str
    layer: int
    matrix: np.ndarray


def style_layers(Gs: Network) -> list[StyleLayer]:
    """The style layers of a generator of StyleGAN, StyleGAN2 or ADA, in the order of layers.

    Raises:
        UserError: the network keeps its styles in another way.
    """
    synthesis = Gs.components.synthesis
    size, num_layers = synthesis.input_shape[2], synthesis.input_shape[1]
    found = []
    for name in synthesis.trainables:
        match = _NAME.fullmatch(name)
        if match:
            layer = _layer(match, num_layers)
            found.append(StyleLayer(name.rpartition("/")[0], layer, synthesis.get_var(name)))
    if not found or any(s.matrix.shape[0] != size or s.layer >= num_layers for s in found):
        raise UserError(
            f"{synthesis.build_func_name} keeps its styles in a way that is not known here: use "
            "--method=ridge, boundary or ganspace"
        )
    return sorted(found, key=lambda style: (style.layer, style.name))


def _layer(match: re.Match, num_layers: int) -> int:
    resolution, place, lod, kind = match.groups()
    if kind.startswith("StyleMod"):  # Two a resolution, none for colors.
        first = 2 * int(np.log2(int(resolution))) - 4
        return first + (place in ("Conv", "Conv1"))
    log2 = num_layers // 2 + 1 - int(lod) if lod else int(np.log2(int(resolution)))
    return log2 * 2 - {"Conv": 4, "Conv0_up": 5, "Conv1": 4}.get(place, 3)
