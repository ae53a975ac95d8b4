"""Fitting the weights of a network to one for other labels or another shape of images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.ndimage

from dnnlib import tflib
from dnnlib.tflib import Network
from training.architecture.sizes import SQUARE_BASE

_LATENTS = 512  # What `latent_size` is where a network does not say.
_EMBEDDING = re.compile(r"(?:^|/)(LabelConcat|LabelEmbed)/")
_COLOR = re.compile(r"(To|From)RGB(?:_lod-?\d+)?/(?:weight|bias)$")
_OPACITY = re.compile(r"(?:(\d+)x\d+/ToRGB|ToRGB_lod-?\d+)/bias$")
# The output of the discriminators of StyleGAN2 and of StyleGAN.
_OUTPUT = re.compile(r"^(?:Output|4x4/Dense1)/(?:weight|bias)$")


@dataclass(frozen=True)
class Weights:
    """The weights of a network.

    Attributes:
        values: {name: array}.
        kwargs: keyword arguments that the network was built with.
    """

    values: Mapping[str, np.ndarray]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> Weights:
        """Those that a network has in the current session."""
        return cls(tflib.run(network.vars), network.static_kwargs)

    @property
    def score_max(self) -> int:
        """Scores of a discriminator, see `training.networks.D_main`."""
        return self.kwargs.get("score_max", 1)

    @property
    def embeds_labels(self) -> bool:
        """Whether there are layers that exist for labels only."""
        return any(map(_EMBEDDING.search, self.values))


def adapt(name: str, source: Weights, target: Weights) -> np.ndarray | None:
    """Fits a variable of one network to another; unchanged where labels and shapes are equal.

    - G's mapping network: weights of new labels are zero, so that w stays the same until they
      are learned.
    - The embedding of labels, and the scores of StyleGAN2's discriminator, which has one for each
      class: all classes get the mean. ADA's discriminator has no scores of classes, and what it
      compares an embedded label with does not fit one without labels.
    - Scores for a comparison method never become scores of being real, nor the reverse.
    - Colors: gray counts as all of them equally. Opacity that is new is complete, and does not
      matter to the discriminator until it learns more of it.
    - The constant at 4×4 and the layer that sees all of the last 4×4 are resized bilinearly for
      another `base_size`.

    Args:
        name: of a variable that both have.
        source, target: the networks.

    Returns:
        The value in the shape of the target; None if what differs is something else.
    """
    value, initial = source.values[name], target.values[name]
    is_output = _OUTPUT.search(name) is not None
    if is_output and (
        source.embeds_labels != target.embeds_labels or value.shape[:-1] != initial.shape[:-1]
    ):
        return None
    if is_output and source.score_max != target.score_max:
        return _adapt_scores(value, initial, source.score_max - 1, target.score_max - 1)
    if value.shape == initial.shape:
        return value
    if is_output:
        return None if source.embeds_labels else _adapt_scores(value, initial, 0, 0)
    if name == "G_mapping/Dense0/weight":
        latents = [weights.kwargs.get("latent_size", _LATENTS) for weights in (source, target)]
        fits = latents[0] == latents[1] and value.shape[1] == initial.shape[1]
        return _adapt_inputs(value, len(initial)) if fits else None
    if found := _EMBEDDING.search(name):
        return _adapt_embedding(value, initial, found[1] == "LabelEmbed")
    if found := _COLOR.search(name):
        is_input = found[1] == "From" and value.ndim == 4
        return _adapt_colors(value, initial, is_input, float(_makes_opaque(name, source, target)))
    return _adapt_grid(name, source, target)


def _adapt_scores(value: np.ndarray, initial: np.ndarray, more: int, wanted: int) -> np.ndarray:
    """[…, scores and `more` for a comparison method, which are the last] for `wanted` of them."""
    scores, others = np.split(value, [value.shape[-1] - more], axis=-1)
    new_scores, new_others = np.split(initial, [initial.shape[-1] - wanted], axis=-1)
    if scores.shape != new_scores.shape:
        scores = np.repeat(scores.mean(axis=-1, keepdims=True), new_scores.shape[-1], axis=-1)
    return np.concatenate([scores, others if more == wanted else new_others], axis=-1)


def _adapt_inputs(value: np.ndarray, count: int) -> np.ndarray:
    """[inputs, maps]: latents come first, then labels. Used divided by the root of the inputs."""
    kept = value[:count] * np.sqrt(count / len(value), dtype=value.dtype)
    return np.concatenate([kept, np.zeros_like(value, shape=[count - len(kept), value.shape[1]])])


def _adapt_embedding(value: np.ndarray, initial: np.ndarray, is_scaled: bool) -> np.ndarray | None:
    """[labels, maps]; scaled: used divided by the root of the labels."""
    if value.ndim != 2 or value.shape[1] != initial.shape[1]:
        return None
    mean = value.mean(axis=0, keepdims=True)
    mean *= np.sqrt(len(initial) / len(value)) if is_scaled else 1
    return np.repeat(mean, len(initial), axis=0)


def _adapt_colors(
    value: np.ndarray, initial: np.ndarray, is_input: bool, opacity: float
) -> np.ndarray | None:
    """[1, 1, colors, maps], used divided by the root of the colors; or […, colors].

    The fourth color is opacity: `opacity` stands for what is not there.
    """
    axis = -2 if is_input else -1
    now, wanted = value.shape[axis], initial.shape[axis]
    if (
        not {now, wanted} <= {1, 3, 4}
        or np.delete(value.shape, axis).tolist() != np.delete(initial.shape, axis).tolist()
    ):
        return None
    colors = value.take(range(min(now, 3)), axis)
    factor = np.sqrt(wanted / now) if is_input else 1
    if 1 in (now, wanted):
        factor *= min(now, 3) / min(wanted, 3) if is_input else 1
        colors = np.repeat(colors.mean(axis=axis, keepdims=True), min(wanted, 3), axis=axis)
    colors = colors * np.asarray(factor, value.dtype)
    if wanted < 4:
        return colors
    return np.concatenate([colors, np.full_like(colors.take([0], axis), opacity)], axis=axis)


def _makes_opaque(name: str, source: Weights, target: Weights) -> bool:
    """Whether a variable is to be the bias of an opacity that is complete.

    Where the images of all resolutions are added up, it is that of the finest, since upsampling
    darkens borders; networks that grow have one for each level, of which they show one.
    """
    if _OPACITY.search(name) is None:
        return False
    levels = {n: int(f[1]) for n in target.values if n in source.values
              and (f := _OPACITY.search(n)) and f[1]}  # fmt: skip
    return name not in levels or levels[name] == max(levels.values())


def _adapt_grid(name: str, source: Weights, target: Weights) -> np.ndarray | None:
    """What belongs to places of the coarsest grid."""
    value, initial = source.values[name], target.values[name]
    grids = [tuple(weights.kwargs.get("base_size", SQUARE_BASE)) for weights in (source, target)]
    zoom = np.divide(grids[1], grids[0])
    if name.endswith("4x4/Const/const") and value.shape[1] == initial.shape[1]:
        return _resize(value, [1, 1, *zoom])
    if name == "4x4/Dense0/weight" and value.shape[1] == initial.shape[1]:
        maps = len(value) // np.prod(grids[0])
        if maps * np.prod(grids[1]) == len(initial):
            places = value.reshape([maps, *grids[0], -1])
            # Used divided by the root of the inputs, of which a sum is to stay what it was.
            resized = _resize(places, [1, *zoom, 1]) / np.sqrt(np.prod(zoom))
            return resized.reshape(initial.shape)
    return None


def _resize(array: np.ndarray, factors: list[float]) -> np.ndarray:
    return scipy.ndimage.zoom(array, factors, order=1, mode="nearest", grid_mode=True)
